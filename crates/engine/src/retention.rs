//! Sweeps objects no row refers to: copies of owners that lost their claim, and what crashed uploads left.

use std::time::Duration;

use longtake_core::artifact::ArtifactKey;

use crate::config::Parts;

/// Keys looked at in one call.
const SWEEP_PAGE: usize = 500;
/// Most pages of one sweep; the next one goes on.
const MAX_PAGES: usize = 10_000;

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
pub async fn sweep(parts: &Parts, age: Duration) -> usize {
    let mut after: Option<ArtifactKey> = None;
    let mut swept = 0;
    for _ in 0..MAX_PAGES {
        let Ok(keys) = parts.artifacts.older_than(age, after.as_ref(), SWEEP_PAGE).await else { break };
        let Some(last) = keys.last().cloned() else { break };
        let Ok(referenced) = parts.store.referenced(keys.clone()).await else { break };
        for (key, _) in keys.iter().zip(referenced).filter(|(_, referenced)| !referenced) {
            match parts.artifacts.delete(key).await {
                Ok(()) => swept += 1,
                Err(error) => tracing::warn!(key = %key, %error, "an unreferenced object could not be removed"),
            }
        }
        after = Some(last);
    }
    swept
}
