//! Waiting for a condition with a bound, instead of sleeping for luck.

use std::time::{Duration, Instant};

/// How long to pause between two looks at the condition.
const PAUSE: Duration = Duration::from_millis(5);

/// Polls `condition` until it holds. Panics with `description` when it does not hold within `bound`.
///
/// The condition is asked at least once, and once more after the bound has passed.
///
/// # Panics
/// When the bound passes first: that is the failure of the calling test.
pub async fn wait_until<F>(description: &str, bound: Duration, mut condition: F)
where
    F: AsyncFnMut() -> bool,
{
    let started = Instant::now();
    loop {
        let late = started.elapsed() >= bound;
        if condition().await {
            return;
        }
        assert!(!late, "waited {bound:?} in vain: {description}");
        tokio::time::sleep(PAUSE).await;
    }
}
