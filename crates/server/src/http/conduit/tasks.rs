//! `/tasks`: the generic routes of tasks. Each asks whose the task is; waiting changes nothing.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use longtake_core::id::JobId;
use longtake_core::store::Job;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use utoipa::ToSchema;

use super::dialect::{Dialect, Front};
use super::errors::{Refusals, Trouble};
use super::result::{VideoResult, old_text, result_of};
use super::retry_cancel::{self, MAX_RETRIES, retries_of};
use super::status::{error_of, updated_at};
use super::task::{TaskId, TaskState, task_id};
use crate::app::App;
use crate::http::auth::{Caller, Reader, Writer};
use crate::http::error::{ApiError, ErrorCode};
use crate::http::node::integer_text;
use crate::http::query::Query;
use crate::http::videos::get::{find, wait_for};
use crate::http::videos::wire;

/// Shortest and longest wait of a poll, in seconds; what is asked for is cut to this.
const POLL_SECS: (i64, i64) = (1, 600);
/// The wait of a poll that asks for none, in seconds.
const USUAL_POLL_SECS: i64 = 300;

/// A task, as the generic routes show it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConduitTask)]
pub struct Task {
    task_id: String,
    /// Always `video_generation`.
    #[schema(value_type = String)]
    task_type: &'static str,
    /// A word as on the video routes, but `timed_out`.
    #[schema(value_type = String)]
    state: Value,
    /// In ISO 8601.
    created_at: String,
    updated_at: String,
    completed_at: Option<String>,
    /// As on the video routes.
    #[schema(value_type = Option<VideoResult>)]
    result: Option<Value>,
    error: Option<String>,
    /// The client's own pairs. Never its key, never headers of its webhooks.
    metadata: BTreeMap<String, String>,
    progress: u8,
    progress_message: String,
    retry_count: u32,
    max_retries: u32,
    /// It failed and may be retried.
    is_retryable: bool,
    /// Always null: nothing is retried by itself once it has failed.
    next_retry_at: Option<String>,
}

/// Shows one task.
#[utoipa::path(
    get, path = "/tasks/{task}", operation_id = "get_any_task", tag = "conduit",
    params(("task" = String, Path, description = "The task.")),
    responses((status = 200, body = Task, description = "The task."), Refusals)
)]
pub async fn get(
    State(app): State<App>,
    front: Front,
    Reader(caller): Reader,
    TaskId(id): TaskId,
) -> Result<Response, ApiError> {
    let job = find(&app, &caller, id).await?;
    Ok(front.dialect.answer(StatusCode::OK, &shown(&app, &front, &job).await?))
}

/// Cancels a task. Where it is too late nothing changes.
#[utoipa::path(
    post, path = "/tasks/{task}/cancel", operation_id = "cancel_any_task", tag = "conduit",
    params(("task" = String, Path, description = "The task.")),
    responses((status = 204, description = "Asked for, or there is nothing to cancel."), Refusals)
)]
pub async fn cancel(
    State(app): State<App>,
    dialect: Dialect,
    Writer(caller): Writer,
    TaskId(id): TaskId,
) -> Result<StatusCode, Trouble> {
    retry_cancel::ask(&app, dialect, &caller, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Waits until a task is finished and shows it, finished or not. The answer begins at once; blanks keep it alive.
#[utoipa::path(
    get, path = "/tasks/{task}/poll", operation_id = "poll_any_task", tag = "conduit",
    params(
        ("task" = String, Path, description = "The task."),
        ("timeout" = Option<i64>, Query, description = "Longest wait in seconds, 1 to 600; 300 if absent."),
        ("interval" = Option<i64>, Query, description = "Read and not needed: the answer comes when there is one."),
    ),
    responses((status = 200, body = Task, description = "The task as it then is: unchanged by the wait."), Refusals)
)]
pub async fn poll(
    State(app): State<App>,
    front: Front,
    Reader(caller): Reader,
    TaskId(id): TaskId,
    query: Query,
) -> Result<Response, ApiError> {
    let limit = timeout(query)?;
    // That it is there and ours is known before the answer begins.
    let job = find(&app, &caller, id).await?;
    if TaskState::of(front.dialect, &job.record.state).is_finished() {
        return Ok(front.dialect.answer(StatusCode::OK, &shown(&app, &front, &job).await?));
    }
    let permit = Arc::clone(&app.memory.streams).try_acquire_owned().map_err(|_| {
        ApiError::new(ErrorCode::Overloaded, "too many streams and polls are open; ask again in a moment")
    })?;
    let until = app.clock.monotonic() + limit;
    let poll = Poll { app, front, caller, id, job, until, _permit: permit };
    let body = Body::from_stream(stream::unfold(Some(poll), |poll| async move {
        let (piece, poll) = poll?.next().await;
        Some((Ok::<_, Infallible>(piece), poll))
    }));
    Ok(([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], body).into_response())
}

fn timeout(mut query: Query) -> Result<Duration, ApiError> {
    let seconds = match query.take("timeout").map(|text| integer_text(&text)) {
        None => USUAL_POLL_SECS,
        Some(Some(seconds)) => seconds.clamp(POLL_SECS.0, POLL_SECS.1),
        Some(None) => {
            let message = "must be a whole number of seconds";
            return Err(ApiError::about("timeout", ErrorCode::InvalidValue, message));
        }
    };
    Ok(Duration::from_secs(seconds.unsigned_abs()))
}

/// A wait under way. JSON may begin with blanks, so a proxy that cuts quiet answers sees some.
struct Poll {
    app: App,
    front: Front,
    caller: Caller,
    id: JobId,
    /// As it was last seen.
    job: Job,
    /// On the monotonic clock.
    until: Duration,
    _permit: OwnedSemaphorePermit,
}

impl Poll {
    /// The next piece of the answer, and what follows it.
    async fn next(mut self) -> (Bytes, Option<Self>) {
        let left = self.until.saturating_sub(self.app.clock.monotonic());
        let enough = |job: &Job| TaskState::of(self.front.dialect, &job.record.state).is_finished();
        let wait = left.min(self.app.limits.heartbeat);
        match wait_for(&self.app, &self.caller, self.id, wait, enough).await {
            Ok(job) => self.job = job,
            // The status is out already: what was last seen is the best there is.
            Err(error) => {
                tracing::warn!(code = error.code().code(), "a poll ends early: its task cannot be read");
                self.until = Duration::ZERO;
            }
        }
        let finished = TaskState::of(self.front.dialect, &self.job.record.state).is_finished();
        let over = self.app.clock.monotonic() >= self.until || self.app.stopping.is_cancelled();
        if !finished && !over {
            return (Bytes::from_static(b" "), Some(self));
        }
        let task = shown(&self.app, &self.front, &self.job).await;
        let body = task.ok().and_then(|task| serde_json::to_value(task).ok()).unwrap_or(Value::Null);
        (Bytes::from(self.front.dialect.spelled(body).to_string()), None)
    }
}

async fn shown(app: &App, front: &Front, job: &Job) -> Result<Task, ApiError> {
    let dialect = front.dialect;
    let video = wire::show(app, job).await?;
    let state = TaskState::of(dialect, &job.record.state);
    let retry_count = retries_of(app, job).await?;
    let result = result_of(app, front, job, &video).map(|made| match dialect {
        Dialect::A => Value::String(old_text(job, &made)),
        Dialect::B => json!(made),
    });
    Ok(Task {
        task_id: task_id(job.record.job),
        task_type: "video_generation",
        state: match dialect {
            Dialect::A => state.number().into(),
            Dialect::B => state.generic_word().into(),
        },
        created_at: dialect.time(job.record.created_at),
        updated_at: dialect.time(updated_at(&job.record)),
        completed_at: job.record.finished_at.map(|at| dialect.time(at)),
        result,
        error: error_of(app, state, job, video.error.as_ref().map(|error| error.message.as_str())).await?,
        metadata: job.request.metadata.clone(),
        progress: video.progress,
        progress_message: format!("The video is {}", job.record.state.name().word()),
        retry_count,
        max_retries: MAX_RETRIES,
        is_retryable: state == TaskState::Failed && retry_count < MAX_RETRIES,
        next_retry_at: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_bounded() {
        let read = |text: &str| timeout(Query::parse(text).unwrap()).map(|limit| limit.as_secs());
        for (text, seconds) in
            [("", 300), ("timeout=5", 5), ("timeout=0", 1), ("timeout=-3", 1), ("timeout=86400&interval=2", 600)]
        {
            assert_eq!(read(text), Ok(seconds), "{text}");
        }
        assert_eq!(read("timeout=soon").unwrap_err().code(), ErrorCode::InvalidValue);
    }
}
