//! What a number of videos cost, ours and a peer's in the same terms.

use std::time::Duration;

/// One run of videos from create to stored bytes.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub videos: u64,
    /// From the first create to the last `completed`.
    pub wall: Duration,
    /// CPU time of everything that is not the database, the provider or a client.
    pub workers: Duration,
    /// CPU time of all processes of the database server.
    pub database: Duration,
}

impl Cost {
    /// Videos per second of CPU time: what one core carries, whatever the machine has.
    pub fn per_core_second(&self) -> f64 {
        self.videos as f64 / (self.workers + self.database).as_secs_f64().max(f64::MIN_POSITIVE)
    }

    pub fn per_second(&self) -> f64 {
        self.videos as f64 / self.wall.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Milliseconds of CPU time of a video: in the workers, in the database.
    pub fn milliseconds_each(&self) -> (f64, f64) {
        let each = |time: Duration| time.as_secs_f64() * 1_000.0 / self.videos.max(1) as f64;
        (each(self.workers), each(self.database))
    }

    /// In one phrase.
    pub fn show(&self) -> String {
        let (workers, database) = self.milliseconds_each();
        format!(
            "{:.0} videos/s per core ({workers:.2} ms in workers + {database:.2} ms in the database each; {:.0} videos/s)",
            self.per_core_second(),
            self.per_second()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_a_second_of_cpu_time_wherever_it_was_spent() {
        let cost = Cost {
            videos: 2_000,
            wall: Duration::from_secs(10),
            workers: Duration::from_secs(3),
            database: Duration::from_secs(5),
        };
        assert_eq!(cost.per_core_second(), 250.0);
        assert_eq!(cost.per_second(), 200.0);
        assert_eq!(cost.milliseconds_each(), (1.5, 2.5));
    }
}
