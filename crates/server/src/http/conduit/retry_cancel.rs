//! `POST …/tasks/{task}/retry` and `DELETE …/videos/generations/{task}`: Conduit's rules over our commands.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use longtake_core::event::JobEvent;
use longtake_core::record::CancelOutcome;
use longtake_core::state::StateName;
use longtake_core::store::{Job, StoreError};

use super::dialect::{Dialect, Front};
use super::errors::{Refusal, Refusals, Trouble};
use super::status::{TaskStatus, shown};
use super::task::{TaskId, TaskState};
use crate::app::App;
use crate::http::auth::{Caller, Writer};
use crate::http::error::{ApiError, ErrorCode};
use crate::http::videos::get::find;
use crate::http::videos::{cancel, retry};

/// How often a task may be retried through this door. `/v1/videos` knows no such limit.
pub const MAX_RETRIES: u32 = 3;
/// Events looked through for retries: a job has fewer, or began so long ago that this is past caring.
const MAX_EVENTS: usize = 1_000;

/// Queues a failed task again and drives it at once. If an earlier attempt may still be paid, that risk is accepted.
#[utoipa::path(
    post, path = "/videos/generations/tasks/{task}/retry", operation_id = "retry_task", tag = "conduit",
    params(("task" = String, Path, description = "The task.")),
    responses((status = 200, body = TaskStatus, description = "The task, pending."), Refusals)
)]
pub async fn retry(
    State(app): State<App>,
    front: Front,
    Writer(caller): Writer,
    TaskId(id): TaskId,
) -> Result<Response, Trouble> {
    let dialect = front.dialect;
    let job = find(&app, &caller, id).await?;
    refuse_unless_failed(dialect, &job)?;
    let retried = retries_of(&app, &job).await?;
    if retried >= MAX_RETRIES {
        let message = format!("Task has already been retried {retried} times (max: {MAX_RETRIES})");
        return Err(Refusal::no_retry(message).into());
    }
    let job = match retry::again(&app, &caller, id).await {
        // Somebody else was quicker.
        Err(error) if error.code() == ErrorCode::VideoNotFailed => {
            let now = find(&app, &caller, id).await?;
            refuse_unless_failed(dialect, &now)?;
            return Err(error.into());
        }
        job => job?,
    };
    let mut status = shown(&app, &front, &job).await?;
    status.error = Some(format!("Retry {}/{MAX_RETRIES} scheduled", retried + 1));
    Ok(dialect.answer(StatusCode::OK, &status))
}

fn refuse_unless_failed(dialect: Dialect, job: &Job) -> Result<(), Refusal> {
    let state = TaskState::of(dialect, &job.record.state);
    if state == TaskState::Failed {
        return Ok(());
    }
    Err(Refusal::no_retry(format!("Only failed tasks can be retried. Current state: {}", state.title())))
}

/// How often a job was retried by a client, by its events. Those that retention has removed are not counted.
///
/// # Errors
/// As the store.
pub async fn retries_of(app: &App, job: &Job) -> Result<u32, StoreError> {
    // Whatever failed had an attempt, so a retry of it has a later first one: almost no task needs a look.
    if job.record.first_attempt.0 <= 1 {
        return Ok(0);
    }
    Ok(retries_in(&app.store.events_after(job.record.job, 0, MAX_EVENTS).await?))
}

/// How often a finished job was queued again.
fn retries_in(events: &[JobEvent]) -> u32 {
    let again = |pair: &&[JobEvent]| match pair {
        [before, after] => before.snapshot.state.is_terminal() && after.snapshot.state == StateName::Queued,
        _ => false,
    };
    u32::try_from(events.windows(2).filter(again).count()).unwrap_or(u32::MAX)
}

/// Cancels a task. Where a provider has it already it is stopped there, if it can be.
#[utoipa::path(
    delete, path = "/videos/generations/{task}", operation_id = "cancel_task", tag = "conduit",
    params(("task" = String, Path, description = "The task.")),
    responses(
        (status = 204, description = "Asked for, or there is nothing to cancel."),
        (status = 409, description = "Completed, failed, or being stored."), Refusals,
    )
)]
pub async fn cancel(
    State(app): State<App>,
    dialect: Dialect,
    Writer(caller): Writer,
    TaskId(id): TaskId,
) -> Result<StatusCode, Trouble> {
    match ask(&app, dialect, &caller, id).await? {
        None => Ok(StatusCode::NO_CONTENT),
        Some(word) => Err(Refusal::no_cancel(format!("Task is already {word} and cannot be cancelled")).into()),
    }
}

/// Asks to cancel where that means anything; what the task already is where it is too late.
///
/// # Errors
/// `video_not_found`.
pub async fn ask(
    app: &App,
    dialect: Dialect,
    caller: &Caller,
    id: longtake_core::id::JobId,
) -> Result<Option<&'static str>, ApiError> {
    let job = find(app, caller, id).await?;
    match TaskState::of(dialect, &job.record.state) {
        // Over, or out of our hands: nothing changes.
        TaskState::Cancelled | TaskState::TimedOut | TaskState::Indeterminate => return Ok(None),
        state @ (TaskState::Completed | TaskState::Failed) => return Ok(Some(state.word())),
        TaskState::Pending | TaskState::Processing => {}
    }
    let job = cancel::ask(app, caller, id).await?;
    let too_late = job.record.cancel.is_some_and(|cancel| cancel.outcome == CancelOutcome::TooLate);
    Ok(match job.record.state.name() {
        StateName::Completed => Some("completed"),
        StateName::Failed => Some("failed"),
        StateName::Storing if too_late => Some("being stored"),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use longtake_core::event::EventKind;
    use longtake_core::id::JobId;
    use longtake_core::time::Timestamp;

    use super::*;

    fn events(states: &[StateName]) -> Vec<JobEvent> {
        let job = JobId::from_bytes([1; 16]);
        let event = |(ver, state): (usize, &StateName)| JobEvent {
            job,
            ver: u32::try_from(ver).unwrap() + 1,
            kind: EventKind::Queued,
            at: Timestamp::from_micros(0),
            snapshot: longtake_core::event::Snapshot {
                state: *state,
                attempt: None,
                progress: 0,
                progress_source: None,
                failure: None,
                finished_at: None,
                cancel: None,
                output: None,
            },
        };
        states.iter().enumerate().map(event).collect()
    }

    #[test]
    fn only_a_clients_retry_counts() {
        use StateName::{Completed, Failed, Queued, Running, Submitting};
        assert_eq!(retries_in(&[]), 0);
        assert_eq!(retries_in(&events(&[Queued, Submitting, Queued, Submitting, Running, Failed])), 0, "its own");
        let thrice = [Queued, Submitting, Failed, Queued, Failed, Failed, Queued, Submitting, Queued, Failed, Queued];
        assert_eq!(retries_in(&events(&thrice)), 3);
        assert_eq!(retries_in(&events(&[Queued, Running, Completed])), 0);
    }
}
