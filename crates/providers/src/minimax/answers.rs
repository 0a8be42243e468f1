//! What answers mean, apart from errors: pure, so that every byte the vendor may send can be tried.

use longtake_core::failure::{Failure, FailureCode};
use longtake_core::id::ProviderJobId;
use longtake_core::provider::{Output, ProviderError, ProviderState, ProviderStatus};
use longtake_core::time::Timestamp;
use serde_json::Value;

use super::errors::{Words, failed_task, refused_reading, refused_submission};
use super::models::Wire;
use super::wire::{Created, FirstQueried, FirstStatus, Listed, Queried, Retrieved, Task, TaskStatus, id_text};
use crate::http::Answer;

/// What ids of the first wire begin with in our store: the two wires are asked at different addresses, and an id alone
/// does not tell where it belongs.
pub const FIRST_WIRE: &str = "v1:";
/// What a source of an output begins with when it names a file of the first wire.
pub(super) const FILE: &str = "file:";
/// How long a success may lack its URL, in seconds, before it counts as a failure.
const URL_MISSING_SECS: i64 = 600;

/// The answer to a create, of either wire.
///
/// # Errors
/// As rule R9 demands: a definite refusal, or unknown.
pub fn submission(answer: &Answer, wire: Wire, clean: &dyn Fn(&str) -> String) -> Result<ProviderJobId, ProviderError> {
    if !answer.is_success() {
        return Err(refused_submission(answer, clean));
    }
    let created: Created =
        serde_json::from_slice(&answer.body).map_err(|error| answer.unknown(&format!("no task: {error}")))?;
    // The first wire says no with HTTP 200; its task_id may be empty or not even there then.
    if created.base_resp.and_then(|base| base.status_code).is_some_and(|code| code != 0) {
        return Err(refused_submission(answer, clean));
    }
    job_id(created.task_id.as_ref(), wire).ok_or_else(|| answer.unknown("a task without a usable id"))
}

/// A task's id as our name for the provider's job.
pub(super) fn job_id(task_id: Option<&Value>, wire: Wire) -> Option<ProviderJobId> {
    // In a path, these two would name something else.
    let id = id_text(task_id).filter(|id| !matches!(id.as_str(), "." | ".."));
    let id = id.filter(|id| ProviderJobId::new(id).is_some())?;
    match wire {
        Wire::V1 => ProviderJobId::new(&format!("{FIRST_WIRE}{id}")),
        Wire::V2 => ProviderJobId::new(&id),
    }
}

const fn status_of(state: ProviderState, answer: &Answer) -> ProviderStatus {
    // Neither wire reports a percentage.
    ProviderStatus { state, progress: None, retry_after: answer.retry_after }
}

fn not_found_or(error: ProviderError, answer: &Answer) -> Result<ProviderStatus, ProviderError> {
    match error {
        ProviderError::Gone => Ok(status_of(ProviderState::NotFound, answer)),
        error => Err(error),
    }
}

/// The task in an answer of the second wire.
///
/// # Errors
/// Whatever is no task; it proves nothing about the job. `Gone` for a task it does not know.
pub fn task(answer: &Answer) -> Result<Task, ProviderError> {
    match serde_json::from_slice::<Queried>(&answer.body) {
        Ok(queried) if answer.is_success() && queried.task.status.is_some() => Ok(queried.task),
        _ if answer.is_success() && Words::of_body(&answer.body).code.is_none() => Err(answer.unknown("no task")),
        _ => Err(refused_reading(answer)),
    }
}

/// The answer to a query of the second wire.
///
/// # Errors
/// Whatever is no task; it proves nothing about the job.
pub fn second_status(
    answer: &Answer,
    now: Timestamp,
    clean: &dyn Fn(&str) -> String,
) -> Result<ProviderStatus, ProviderError> {
    let task = match task(answer) {
        Ok(task) => task,
        Err(error) => return not_found_or(error, answer),
    };
    let failed = |code, message| ProviderState::Failed(Failure::new(code, message));
    let state = match task.status.unwrap_or(TaskStatus::Unknown) {
        TaskStatus::Succeeded => match task.content.and_then(|content| content.url).filter(|url| is_url(url)) {
            Some(url) => ProviderState::Done(vec![Output { source: url.into(), media_type: "video/mp4".into() }]),
            // Its URL may come a little later than its success, but not for ever.
            None if task.updated_at.is_some_and(|at| now.as_secs().saturating_sub(at) > URL_MISSING_SECS) => {
                failed(FailureCode::ProviderError, "the provider reports success but gives no result")
            }
            None => ProviderState::Pending,
        },
        TaskStatus::Failed => {
            let words = task.error.as_ref().map(Words::of).unwrap_or_default();
            ProviderState::Failed(failed_task(&words, clean))
        }
        TaskStatus::Cancelled => failed(FailureCode::ProviderError, "the provider says that it was canceled there"),
        TaskStatus::Expired => failed(FailureCode::ExpiredUpstream, "the provider let the job expire"),
        // A new word must not lose a paid video: keep polling.
        TaskStatus::Queued | TaskStatus::Running | TaskStatus::Unknown => ProviderState::Pending,
    };
    Ok(status_of(state, answer))
}

/// The answer to a query of the first wire.
///
/// # Errors
/// Whatever is no task; it proves nothing about the job.
pub fn first_status(answer: &Answer, clean: &dyn Fn(&str) -> String) -> Result<ProviderStatus, ProviderError> {
    let queried = serde_json::from_slice::<FirstQueried>(&answer.body).ok().filter(|_| answer.is_success());
    let known = Words::of_body(&answer.body).code.is_some();
    let found = queried.and_then(|queried| queried.status.map(|status| (queried, status)));
    // A refusal may carry an empty status; that is no new word.
    let found = found.filter(|(_, status)| *status != FirstStatus::Unknown || !known);
    let Some((queried, status)) = found else {
        let error = if answer.is_success() && !known { answer.unknown("no task") } else { refused_reading(answer) };
        return not_found_or(error, answer);
    };
    let base = queried.base_resp.unwrap_or_default();
    let code = base.status_code.filter(|code| *code != 0);
    let state = match status {
        FirstStatus::Success => match id_text(queried.file_id.as_ref()) {
            Some(file) => ProviderState::Done(vec![Output {
                source: format!("{FILE}{file}").into(),
                media_type: "video/mp4".into(),
            }]),
            None => ProviderState::Pending,
        },
        FirstStatus::Fail => {
            let words = Words {
                code,
                message: base.status_msg.filter(|_| code.is_some()).unwrap_or_default(),
                ..Words::default()
            };
            ProviderState::Failed(failed_task(&words, clean))
        }
        FirstStatus::Preparing | FirstStatus::Queueing | FirstStatus::Processing => ProviderState::Pending,
        // A new word must not lose a paid video: keep polling.
        FirstStatus::Unknown => ProviderState::Pending,
    };
    Ok(status_of(state, answer))
}

/// The answer to a list of the second wire.
///
/// # Errors
/// Whatever is no list.
pub fn list(answer: &Answer) -> Result<Listed, ProviderError> {
    match serde_json::from_slice(&answer.body) {
        Ok(listed) if answer.is_success() => Ok(listed),
        Err(error) if answer.is_success() && Words::of_body(&answer.body).code.is_none() => {
            Err(answer.unknown(&format!("no list: {error}")))
        }
        _ => Err(refused_reading(answer)),
    }
}

/// The address in the answer to a file's retrieval on the first wire.
///
/// # Errors
/// `Gone` where there is no such file, else whatever is no file.
pub fn download_url(answer: &Answer) -> Result<String, ProviderError> {
    let retrieved: Retrieved = match serde_json::from_slice(&answer.body) {
        Ok(retrieved) if answer.is_success() => retrieved,
        _ if answer.is_success() => return Err(answer.unknown("no file")),
        _ => return Err(refused_reading(answer)),
    };
    if retrieved.base_resp.and_then(|base| base.status_code).is_some_and(|code| code != 0) {
        return Err(refused_reading(answer));
    }
    let url = retrieved.file.and_then(|file| file.download_url).filter(|url| is_url(url));
    url.ok_or_else(|| answer.unknown("a file without an address"))
}

fn is_url(text: &str) -> bool {
    text.starts_with("https://") || text.starts_with("http://")
}
