//! How much an account or one of its models may be asked for at once, over all machines: slots and pace.
//!
//! Slots are counted from the attempts that may still run at the provider; pace is a generic cell rate algorithm over one
//! stored integer, so that a permit costs one row and no history.

use std::time::Duration;

use crate::id::PoolId;
use crate::time::Timestamp;

/// Limits over all machines. `None` is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Provider jobs at once.
    pub max_in_flight: Option<u32>,
    /// Submissions per minute, at least 1; up to a second's worth may go out at once.
    pub per_minute: Option<u32>,
}

impl Limits {
    /// No limit at all.
    pub const NONE: Self = Self { max_in_flight: None, per_minute: None };

    /// There is something to be kept.
    pub const fn any(&self) -> bool {
        self.max_in_flight.is_some() || self.per_minute.is_some()
    }
}

/// The limits one submission has to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AttemptLimits {
    /// The provider's model at the account.
    pub pool: PoolId,
    /// Of the account.
    pub account: Limits,
    /// Of the model at the account.
    pub model: Limits,
}

impl AttemptLimits {
    /// There is something to be kept.
    pub const fn any(&self) -> bool {
        self.account.any() || self.model.any()
    }
}

/// Microseconds in a minute.
const MINUTE_US: i64 = 60_000_000;

/// The pace of one account or model: permits come evenly, a second's worth may be saved up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    interval_us: i64,
    burst: i64,
}

impl Pace {
    /// `None` where there is no limit.
    pub fn of(limits: &Limits) -> Option<Self> {
        let per_minute = i64::from(limits.per_minute?.max(1));
        Some(Self { interval_us: (MINUTE_US / per_minute).max(1), burst: (per_minute / 60).max(1) })
    }

    /// Takes a permit: the new theoretical arrival time to be stored, or when one may be asked for again.
    ///
    /// # Errors
    /// The time from which on a permit can be had.
    pub fn take(&self, stored: Timestamp, now: Timestamp) -> Result<Timestamp, Timestamp> {
        let at = stored.as_micros().max(now.as_micros());
        let saved = (self.burst - 1).saturating_mul(self.interval_us);
        if at - now.as_micros() <= saved {
            Ok(Timestamp::from_micros(at.saturating_add(self.interval_us)))
        } else {
            Err(Timestamp::from_micros(at - saved))
        }
    }

    /// Permits that can be had now.
    pub fn permits(&self, stored: Timestamp, now: Timestamp) -> u32 {
        let ahead = stored.as_micros().saturating_sub(now.as_micros());
        let spent = if ahead <= 0 { 0 } else { (ahead - 1) / self.interval_us + 1 };
        u32::try_from((self.burst - spent).max(0)).unwrap_or(u32::MAX)
    }

    /// The time between two permits.
    pub fn interval(&self) -> Duration {
        Duration::from_micros(u64::try_from(self.interval_us).unwrap_or(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::from_micros(1_000_000_000_000_000);

    fn pace(per_minute: u32) -> Pace {
        Pace::of(&Limits { per_minute: Some(per_minute), max_in_flight: None }).unwrap()
    }

    /// Permits taken as fast as possible from `START` on, up to and with `until`.
    fn taken(pace: Pace, until: Timestamp) -> u32 {
        let (mut stored, mut now, mut count) = (Timestamp::from_micros(0), START, 0);
        while now <= until {
            assert_eq!(pace.permits(stored, now) > 0, pace.take(stored, now).is_ok());
            match pace.take(stored, now) {
                Ok(next) => {
                    stored = next;
                    count += 1;
                }
                Err(again) => {
                    assert!(again > now, "time goes on");
                    now = again;
                }
            }
        }
        count
    }

    #[test]
    fn a_slow_pace_gives_one_permit_at_a_time() {
        assert_eq!(taken(pace(6), START + Duration::from_secs(59)), 6);
        assert_eq!(pace(6).permits(START + Duration::from_secs(1), START), 0);
        assert_eq!(pace(6).permits(START, START), 1);
    }

    #[test]
    fn a_fast_pace_saves_up_a_second_and_no_more() {
        assert_eq!(pace(600).permits(Timestamp::from_micros(0), START), 10);
        assert_eq!(pace(600).permits(START + Duration::from_millis(301), START), 6);
        let minute = taken(pace(600), START + Duration::from_secs(60));
        assert!((600..=611).contains(&minute), "{minute}");
    }
}
