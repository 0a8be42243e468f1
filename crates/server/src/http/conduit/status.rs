//! `GET …/videos/generations/tasks/{task}`: one task, as the video routes show it.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use longtake_core::record::Record;
use longtake_core::store::{Job, StoreError};
use longtake_core::time::Timestamp;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::dialect::{Dialect, Front};
use super::errors::Refusals;
use super::result::{VideoResult, old_text, result_of};
use super::retry_cancel::{MAX_RETRIES, retries_of};
use super::task::{TaskId, TaskState, task_id};
use crate::app::App;
use crate::http::auth::Reader;
use crate::http::error::ApiError;
use crate::http::videos::get::find;
use crate::http::videos::wire;

/// A task, as the video routes show it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConduitTaskStatus)]
pub struct TaskStatus {
    /// `task_` and 32 hex digits.
    #[schema(example = "task_019a7c0de0b97d5e8a1b2c3d4e5f6a7b")]
    pub task_id: String,
    /// `pending`, `processing`, `completed`, `failed`, `cancelled`, `timedout`; below `/v1/conduit` also `indeterminate`.
    #[schema(value_type = String, example = "processing")]
    pub status: &'static str,
    /// 0 to 100; 0 where nothing is known.
    pub progress: u8,
    /// In ISO 8601.
    pub created_at: String,
    /// When something of it last changed.
    pub updated_at: String,
    /// When it was over.
    pub completed_at: Option<String>,
    /// Why it failed, or what it waits for.
    pub error: Option<String>,
    /// What it made.
    #[schema(value_type = Option<VideoResult>)]
    pub result: Option<Value>,
    /// `result` as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_raw: Option<String>,
    /// What it made.
    pub video_response: Option<VideoResult>,
}

/// Shows one task.
#[utoipa::path(
    get, path = "/videos/generations/tasks/{task}", operation_id = "get_task", tag = "conduit",
    params(("task" = String, Path, description = "The task.")),
    responses((status = 200, body = TaskStatus, description = "The task."), Refusals)
)]
pub async fn status(
    State(app): State<App>,
    front: Front,
    Reader(caller): Reader,
    TaskId(id): TaskId,
) -> Result<Response, ApiError> {
    let job = find(&app, &caller, id).await?;
    Ok(front.dialect.answer(StatusCode::OK, &shown(&app, &front, &job).await?))
}

/// A job as the video routes show it.
///
/// # Errors
/// As the store.
pub async fn shown(app: &App, front: &Front, job: &Job) -> Result<TaskStatus, ApiError> {
    let dialect = front.dialect;
    let video = wire::show(app, job).await?;
    let state = TaskState::of(dialect, &job.record.state);
    let error = error_of(app, state, job, video.error.as_ref().map(|error| error.message.as_str())).await?;
    let made = result_of(app, front, job, &video);
    let (result, result_raw, video_response) = match (dialect, made) {
        (_, None) => (None, None, None),
        (Dialect::A, Some(made)) => (Some(Value::String(old_text(job, &made))), None, Some(made)),
        (Dialect::B, Some(made)) => {
            let result = serde_json::to_value(&made).unwrap_or_default();
            let raw = result.to_string();
            (Some(result), Some(raw), None)
        }
    };
    Ok(TaskStatus {
        task_id: task_id(job.record.job),
        status: state.word(),
        progress: video.progress,
        created_at: dialect.time(job.record.created_at),
        updated_at: dialect.time(updated_at(&job.record)),
        completed_at: job.record.finished_at.map(|at| dialect.time(at)),
        error,
        result,
        result_raw,
        video_response,
    })
}

/// What `error` says of a task.
///
/// # Errors
/// As the store.
pub async fn error_of(
    app: &App,
    state: TaskState,
    job: &Job,
    failure: Option<&str>,
) -> Result<Option<String>, StoreError> {
    Ok(match state {
        TaskState::Failed | TaskState::TimedOut => failure.map(str::to_owned),
        TaskState::Cancelled => Some("Task was cancelled".to_owned()),
        TaskState::Indeterminate => {
            let text = "The provider may have taken the request, and nobody can find out: it is not sent again until late news or a person decides";
            Some(text.to_owned())
        }
        TaskState::Pending => match retries_of(app, job).await? {
            0 => None,
            n => Some(format!("Manual retry requested (attempt {n}/{MAX_RETRIES})")),
        },
        TaskState::Processing | TaskState::Completed => None,
    })
}

/// When something of it last changed, as far as its row tells.
pub fn updated_at(record: &Record) -> Timestamp {
    let attempt = record.attempt.as_ref();
    let known = [
        record.finished_at,
        attempt.map(|attempt| attempt.intent_at),
        attempt.and_then(|attempt| attempt.resolved_at),
        record.cancel.map(|cancel| cancel.requested_at),
    ];
    known.into_iter().flatten().fold(record.created_at, Timestamp::max)
}
