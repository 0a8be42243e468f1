//! Medians, percentiles and how they are shown.

use std::time::Duration;

/// Results of repetitions.
#[derive(Debug, Default, Clone)]
pub struct Samples(Vec<f64>);

impl Samples {
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
        self.0.sort_by(f64::total_cmp);
    }

    /// The middle one; 0 without any.
    pub fn median(&self) -> f64 {
        percentile(&self.0, 50.0)
    }

    pub fn min(&self) -> f64 {
        self.0.first().copied().unwrap_or(0.0)
    }

    pub fn max(&self) -> f64 {
        self.0.last().copied().unwrap_or(0.0)
    }

    /// Median and, where there is more than one, the extremes.
    pub fn show(&self, decimals: usize, unit: &str) -> String {
        let median = self.median();
        if self.0.len() < 2 {
            return format!("{median:.decimals$}{unit}");
        }
        format!("{median:.decimals$}{unit} ({:.decimals$}-{:.decimals$})", self.min(), self.max())
    }
}

/// The value below which this share of ascending values lies; 0 without any.
pub fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let at = (percent / 100.0 * last as f64).round() as usize;
    sorted.get(at.min(last)).copied().unwrap_or(0.0)
}

/// Times in ascending order, in milliseconds.
#[derive(Debug, Default, Clone)]
pub struct Latencies(Vec<f64>);

impl Latencies {
    pub fn of_micros(micros: impl IntoIterator<Item = u64>) -> Self {
        let mut times: Vec<f64> = micros.into_iter().map(|micros| micros as f64 / 1_000.0).collect();
        times.sort_by(f64::total_cmp);
        Self(times)
    }

    pub fn of(times: impl IntoIterator<Item = Duration>) -> Self {
        Self::of_micros(times.into_iter().map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)))
    }

    pub fn at(&self, percent: f64) -> f64 {
        percentile(&self.0, percent)
    }

    pub fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len().max(1) as f64
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Mean and percentiles in one phrase.
    pub fn show(&self) -> String {
        format!("mean {:.2}, p50 {:.2}, p99 {:.2} ms", self.mean(), self.at(50.0), self.at(99.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_few_and_of_none() {
        assert_eq!(percentile(&[], 99.0), 0.0);
        assert_eq!(percentile(&[3.0], 1.0), 3.0);
        assert_eq!(percentile(&[1.0, 2.0, 3.0], 50.0), 2.0);
        assert_eq!(percentile(&[1.0, 2.0, 3.0], 100.0), 3.0);
    }

    #[test]
    fn the_median_of_repetitions_ignores_their_order() {
        let mut samples = Samples::default();
        for value in [9.0, 1.0, 5.0] {
            samples.push(value);
        }
        assert_eq!(samples.show(1, " s"), "5.0 s (1.0-9.0)");
    }
}
