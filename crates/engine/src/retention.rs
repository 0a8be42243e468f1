//! Removes what is kept no longer: by policy what is over, and objects no row refers to (copies of owners that lost
//! their claim, what crashed uploads left, what a round of retention could not remove).

use std::sync::Arc;
use std::time::Duration;

use longtake_core::artifact::ArtifactKey;
use longtake_core::id::Random;
use longtake_core::store::StoreError;

use crate::config::Parts;
use crate::metrics::{EngineMetrics, add, count};

/// Keys looked at in one call.
const SWEEP_PAGE: usize = 500;
/// Most pages of one sweep; the next one goes on.
const MAX_PAGES: usize = 10_000;

/// Jobs that one call of the store looks at.
const EXPIRE_PAGE: usize = 500;
/// Most calls of one round; the next one goes on.
const MAX_CALLS: usize = 1_000;
/// Between two calls of a round: others use the database too.
const CALL_PAUSE: Duration = Duration::from_millis(50);
/// Wait before the first round.
const FIRST_ROUND: Duration = Duration::from_secs(5);
/// After a round that did not come to the end, the next one begins so many times sooner.
const SOONER: u32 = 10;

/// What one round removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Removed {
    /// Jobs, with all that belongs to them.
    pub jobs: u64,
    /// Events.
    pub events: u64,
    /// Objects.
    pub artifacts: u64,
    /// Webhook endpoints that their clients had removed.
    pub endpoints: u64,
    /// The round ended before it was through.
    pub more: bool,
}

/// Removes what the policy keeps no longer, round after round, for as long as the engine lives.
pub(crate) async fn expire_forever(parts: Parts, metrics: Arc<EngineMetrics>) {
    let interval = parts.config.expire_interval;
    let mut wait = FIRST_ROUND;
    loop {
        parts.clock.sleep(spread(wait, &*parts.random)).await;
        wait = if expire(&parts, &metrics).await.more { interval / SOONER } else { interval };
    }
}

/// From half of it to half as much again, so that processes that started together do not fall together.
fn spread(wait: Duration, random: &dyn Random) -> Duration {
    let permille = u32::try_from(500 + random.below(1_001)).unwrap_or(1_000);
    wait * permille / 1_000
}

/// One round: pieces of the store's walk until there is no more, and the objects they leave. An error of the store ends
/// the round, not more.
pub async fn expire(parts: &Parts, metrics: &EngineMetrics) -> Removed {
    let mut removed = Removed::default();
    for call in 0..MAX_CALLS {
        if call > 0 {
            parts.clock.sleep(CALL_PAUSE).await;
        }
        let expired = match parts.store.expire(&parts.config.retention, EXPIRE_PAGE).await {
            Ok(expired) => expired,
            Err(error) => {
                count(&metrics.retention_errors);
                tracing::warn!(%error, "what is kept no longer is removed later");
                removed.more = false;
                break;
            }
        };
        removed.jobs += expired.jobs;
        removed.events += expired.events;
        removed.endpoints += expired.endpoints;
        removed.artifacts += remove_objects(parts, metrics, &expired.artifacts).await;
        removed.more = expired.more;
        if !expired.more {
            break;
        }
    }
    let Removed { jobs, events, artifacts, endpoints, more } = removed;
    add(&metrics.retention_jobs, jobs);
    add(&metrics.retention_events, events);
    add(&metrics.retention_artifacts, artifacts);
    if jobs + events + artifacts + endpoints > 0 {
        tracing::info!(jobs, events, artifacts, endpoints, more, "removed what is kept no longer");
    }
    removed
}

/// Removes objects whose rows are gone; how many. What is left here, the sweep finds: inputs always, since a create that
/// is under way may have found one there and name it in a moment. The sweep takes no object that was written lately.
async fn remove_objects(parts: &Parts, metrics: &EngineMetrics, keys: &[ArtifactKey]) -> u64 {
    let outputs: Vec<ArtifactKey> = keys.iter().filter(|key| !key.is_input()).cloned().collect();
    let mut removed = 0;
    for keys in outputs.chunks(SWEEP_PAGE) {
        match remove_unreferenced(parts, keys).await {
            Ok((gone, left)) => {
                removed += gone;
                add(&metrics.retention_errors, left);
            }
            Err(error) => {
                count(&metrics.retention_errors);
                tracing::warn!(%error, "objects whose rows are gone stay until the next sweep");
            }
        }
    }
    removed
}

/// Sweeps now and then for as long as the engine lives.
pub(crate) async fn sweep_forever(parts: Parts) {
    loop {
        parts.clock.sleep(parts.config.sweep_interval).await;
        let swept = sweep(&parts, parts.config.sweep_age).await;
        if swept > 0 {
            tracing::info!(swept, "unreferenced objects removed");
        }
    }
}

/// Removes objects of at least this age that no row refers to; returns how many. An error ends the sweep, not more.
pub async fn sweep(parts: &Parts, age: Duration) -> u64 {
    let mut after: Option<ArtifactKey> = None;
    let mut swept = 0;
    for _ in 0..MAX_PAGES {
        let keys = match parts.artifacts.older_than(age, after.as_ref(), SWEEP_PAGE).await {
            Ok(keys) => keys,
            Err(error) => {
                tracing::warn!(%error, "unreferenced objects stay until the next sweep");
                break;
            }
        };
        let Some(last) = keys.last().cloned() else { break };
        let Ok((removed, _)) = remove_unreferenced(parts, &keys).await else { break };
        swept += removed;
        after = Some(last);
    }
    swept
}

/// Removes those objects that no row refers to: an input may be another job's by now. How many are gone, and how many
/// could not be removed.
async fn remove_unreferenced(parts: &Parts, keys: &[ArtifactKey]) -> Result<(u64, u64), StoreError> {
    let (mut removed, mut left) = (0, 0);
    let referenced = parts.store.referenced(keys.to_vec()).await?;
    for (key, _) in keys.iter().zip(referenced).filter(|(_, referenced)| !referenced) {
        match parts.artifacts.delete(key).await {
            Ok(()) => removed += 1,
            Err(error) => {
                left += 1;
                tracing::warn!(key = %key, %error, "an unreferenced object could not be removed");
            }
        }
    }
    Ok((removed, left))
}
