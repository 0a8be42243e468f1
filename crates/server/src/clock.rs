//! The machine's time and randomness: the only file that asks for either.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use longtake_core::id::Random;
use longtake_core::time::{Clock, Timestamp};
use rustix::time::{ClockId, clock_gettime};

/// Counts the time a machine was suspended, which `std::time::Instant` does not on Linux.
#[cfg(target_os = "linux")]
const MONOTONIC: ClockId = ClockId::Boottime;
/// Elsewhere the best there is.
#[cfg(not(target_os = "linux"))]
const MONOTONIC: ClockId = ClockId::Monotonic;

/// The machine's clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let time = clock_gettime(ClockId::Realtime);
        Timestamp::from_micros(time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_nsec / 1_000) + offset())
    }

    fn monotonic(&self) -> Duration {
        let time = clock_gettime(MONOTONIC);
        let (seconds, nanos) = (u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0));
        Duration::new(seconds, nanos)
    }

    #[expect(clippy::disallowed_methods, reason = "this is the sleep behind the Clock")]
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A wall clock that is wrong, for the crash matrix: `LONGTAKE_TEST_CLOCK_OFFSET` is in seconds.
#[cfg(feature = "failpoints")]
fn offset() -> i64 {
    static SECONDS: std::sync::LazyLock<i64> = std::sync::LazyLock::new(|| {
        std::env::var("LONGTAKE_TEST_CLOCK_OFFSET").ok().and_then(|text| text.parse().ok()).unwrap_or(0)
    });
    SECONDS.saturating_mul(1_000_000)
}

#[cfg(not(feature = "failpoints"))]
#[inline(always)]
const fn offset() -> i64 {
    0
}

/// The operating system's random numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct OsRandom;

impl Random for OsRandom {
    fn fill(&self, bytes: &mut [u8]) {
        if aws_lc_rs::rand::fill(bytes).is_err() {
            // Ids and keys that can be guessed are worse than no server.
            eprintln!("longtake: the operating system gives no random numbers");
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_and_random_numbers_differ() {
        let (clock, before) = (SystemClock, SystemClock.monotonic());
        assert!(clock.monotonic() >= before);
        assert!(clock.now().as_secs() > 1_700_000_000);
        assert_ne!(OsRandom.u64(), OsRandom.u64());
    }
}
