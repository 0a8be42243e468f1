//! How long to wait: between polls, before the next attempt, and how many attempts there may be.

use std::time::Duration;

/// Returns how long to wait before the next poll of a provider job.
///
/// Doubles from `first` up to `ceiling`, counting polls since submission; never less than `Retry-After`.
pub fn poll_delay(polls_so_far: u32, first: Duration, ceiling: Duration, retry_after: Option<Duration>) -> Duration {
    // Half a doubling per poll: 1, 1, 2, 2, 4 … keeps short jobs quick without troubling long ones.
    let factor = 1u32.checked_shl(polls_so_far / 2).unwrap_or(u32::MAX);
    first.saturating_mul(factor).min(ceiling).max(retry_after.unwrap_or_default())
}

/// How many attempts a job may make by itself, and for how long it knocks at closed doors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Attempts that were judged (rejected or failed), from create or from the last retry.
    pub max_attempts: u16,
    /// Routes of the job's model; each new attempt takes the next.
    pub routes: u16,
    /// How long "not sent" and "rate limited" may go on without a break before the job fails.
    pub unavailable_limit: Duration,
}

/// First and longest wait before another attempt.
const RETRY_FIRST: Duration = Duration::from_secs(1);
const RETRY_CEILING: Duration = Duration::from_secs(60);

/// Returns how long to wait before attempt number `made + 1` of this budget; `jitter` is 0 to 255.
///
/// The first round through the routes is immediate where there is another route; after that it doubles from 1 s to 60 s, plus up to a quarter.
pub fn retry_delay(made: u16, routes: u16, retry_after: Option<Duration>, jitter: u8) -> Duration {
    if made < routes && retry_after.is_none() {
        return Duration::ZERO;
    }
    let rounds = u32::from(made.saturating_sub(routes.max(1)));
    let wait = RETRY_FIRST.saturating_mul(1u32.checked_shl(rounds).unwrap_or(u32::MAX)).min(RETRY_CEILING);
    (wait + wait.mul_f64(f64::from(jitter) / 1024.0)).max(retry_after.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_grow_to_their_ceiling_and_honour_retry_after() {
        let (first, ceiling) = (Duration::from_secs(2), Duration::from_secs(10));
        assert_eq!(poll_delay(0, first, ceiling, None), first);
        assert_eq!(poll_delay(2, first, ceiling, None), Duration::from_secs(4));
        assert_eq!(poll_delay(4_000_000, first, ceiling, None), ceiling);
        assert_eq!(poll_delay(0, first, ceiling, Some(Duration::from_secs(60))), Duration::from_secs(60));
    }

    #[test]
    fn the_next_route_is_tried_at_once_and_a_second_round_waits() {
        assert_eq!(retry_delay(1, 2, None, 255), Duration::ZERO);
        assert_eq!(retry_delay(2, 2, None, 0), Duration::from_secs(1));
        assert_eq!(retry_delay(1, 1, None, 0), Duration::from_secs(1));
        assert_eq!(retry_delay(3, 1, None, 0), Duration::from_secs(4));
        assert!(retry_delay(u16::MAX, 1, None, 255) < Duration::from_secs(76));
        assert_eq!(retry_delay(1, 2, Some(Duration::from_secs(7)), 0), Duration::from_secs(7));
    }
}
