//! From `[retention]` to what the store is asked to remove: projects by number.

use std::sync::Arc;

use longtake_core::id::ProjectId;
use longtake_core::retention::Retention;
use longtake_core::store::Store;

use super::StartError;
use crate::config::Config;
use crate::http::auth::DEFAULT_PROJECT;

/// The keys that a store shows at once: with so many, there may be others.
const ALL_KEYS: usize = 1_000;

/// What to say of a project that no API key belongs to.
pub const STRANGE: &str = "no API key belongs to a project of this name; check its spelling";

/// What holds for whom.
pub struct WiredRetention {
    /// By number.
    pub policy: Retention,
    /// Projects with a policy that no API key belongs to: perhaps a slip of the pen.
    pub strange: Vec<String>,
}

/// Numbers the projects that keep something otherwise.
///
/// # Errors
/// Where the store does not work.
pub async fn retention(config: &Config, store: &Arc<dyn Store>) -> Result<WiredRetention, StartError> {
    let failed = |error| StartError::Other(format!("the projects of [retention] cannot be looked up: {error}"));
    let mut wired = WiredRetention {
        policy: Retention { default: config.retention.keep(), ..Retention::default() },
        strange: Vec::new(),
    };
    if config.project_retention.is_empty() {
        return Ok(wired);
    }
    let keys = store.keys().await.map_err(failed)?;
    let has_key = |project: ProjectId| keys.len() >= ALL_KEYS || keys.iter().any(|key| key.project == project);
    for project in &config.project_retention {
        let number = store.project(&project.name).await.map_err(failed)?;
        if number != DEFAULT_PROJECT && !has_key(number) {
            wired.strange.push(project.name.clone());
        }
        wired.policy.projects.insert(number, project.over(&config.retention));
    }
    Ok(wired)
}
