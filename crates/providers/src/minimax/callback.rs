//! The vendor's calls to us. Source: `README.md`, "Callbacks".
//!
//! At a create it sends a challenge to the address it was given and wants it back within three seconds; later one call
//! for each change of status. Nothing is signed and no secret is shared, so only the address, which nobody can guess,
//! says that a call is the vendor's; what it tells of a result is never believed.

use longtake_core::provider::{Callback, CallbackNews};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answers::job_id;
use super::models::Wire;
use super::wire::{Task, TaskStatus};

/// Longest challenge that is echoed, in bytes.
pub const MAX_CHALLENGE_BYTES: usize = 1_024;

/// A call of either wire.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Called {
    /// To be sent back.
    challenge: Option<String>,
    /// Second wire: as in the answer to a query.
    task: Option<Task>,
    /// First wire: text; a number is taken too.
    task_id: Option<Value>,
    /// First wire.
    status: Option<CalledStatus>,
}

/// Status words in calls of the first wire; other than in its answers, they are lower case.
///
/// Source: api-reference/video-generation-t2v, read 2026-11-23.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum CalledStatus {
    /// Accepted, or begun.
    Processing,
    /// A word that ends it, or one we do not know: worth a look.
    #[serde(other)]
    Other,
}

/// Reads a call; `excerpt` says what of its body may be kept.
pub fn read(body: &[u8], excerpt: impl Fn(&[u8]) -> Box<str>) -> Callback {
    let Ok(called) = serde_json::from_slice::<Called>(body) else { return Callback::Refused };
    let news = |provider_job, pending| Callback::News(CallbackNews { provider_job, pending, excerpt: excerpt(body) });
    match called {
        Called { challenge: Some(word), task: None, task_id: None, .. } if word.len() <= MAX_CHALLENGE_BYTES => {
            Callback::Challenge(json!({ "challenge": word }).to_string().into())
        }
        Called { challenge: None, task: Some(task), .. } => match job_id(task.id.as_ref(), Wire::V2) {
            Some(job) => news(Some(job), matches!(task.status, Some(TaskStatus::Queued | TaskStatus::Running))),
            None => Callback::Refused,
        },
        Called { challenge: None, task: None, task_id: Some(id), status } => match job_id(Some(&id), Wire::V1) {
            Some(job) => news(Some(job), status == Some(CalledStatus::Processing)),
            None => Callback::Refused,
        },
        _ => Callback::Refused,
    }
}
