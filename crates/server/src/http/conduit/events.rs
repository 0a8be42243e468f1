//! `GET …/tasks/{task}/events`: what happens to a task, under the names of Conduit's hub, as server-sent events.
//!
//! Conduit's two emitters say different members; here each event has those of both.

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use longtake_core::event::{EventKind, JobEvent};
use longtake_core::store::Job;
use serde_json::{Value, json};

use super::dialect::Front;
use super::errors::Refusals;
use super::keys::url_of;
use super::retry_cancel::MAX_RETRIES;
use super::task::{TaskId, TaskState, task_id};
use crate::app::App;
use crate::http::auth::Reader;
use crate::http::error::ApiError;
use crate::http::events::open;
use crate::http::query::Query;
use crate::http::videos::wire::Video;

/// Streams what happens to a task, from the first event or from behind `Last-Event-ID`. Ends with the task.
#[utoipa::path(
    get, path = "/videos/generations/tasks/{task}/events", operation_id = "stream_task_events", tag = "conduit",
    params(
        ("task" = String, Path, description = "The task."),
        ("after" = Option<u32>, Query, description = "Begin behind this sequence number; `Last-Event-ID` wins."),
        ("Last-Event-ID" = Option<u32>, Header, description = "Begin behind this sequence number."),
    ),
    responses(
        (status = 200, content_type = "text/event-stream", body = Object, description = "`event` is `VideoGenerationStarted`, `VideoGenerationProgress`, `VideoGenerationCompleted`, `VideoGenerationFailed` or `VideoGenerationCancelled`; `id` is the sequence number."),
        Refusals,
    )
)]
pub async fn events(
    State(app): State<App>,
    front: Front,
    Reader(caller): Reader,
    TaskId(id): TaskId,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let shape = move |app: &App, job: &Job, event: &JobEvent| {
        told(app, &front, job, event).map(|(name, body)| (name, body.to_string()))
    };
    open(app, &caller, id, query, &headers, Box::new(shape)).await
}

/// One event under its name at Conduit; `None` for what Conduit has no name for.
fn told(app: &App, front: &Front, job: &Job, event: &JobEvent) -> Option<(&'static str, Value)> {
    let dialect = front.dialect;
    let video = Video::at_event(app, job, event);
    let (task, at) = (task_id(event.job), dialect.time(event.at));
    let state = TaskState::at(dialect, event.snapshot.state, event.snapshot.failure.as_ref().map(|why| why.code));
    let status = state.word();
    Some(match event.kind {
        EventKind::InProgress => (
            "VideoGenerationStarted",
            json!({"taskId": task, "provider": video.provider, "startedAt": at, "estimatedSeconds": video.eta_seconds}),
        ),
        EventKind::Completed => (
            "VideoGenerationCompleted",
            json!({
                "taskId": task, "status": status, "videoUrl": url_of(app, front, job), "previewUrl": null,
                "duration": job.request.seconds, "durationSeconds": job.request.seconds,
                "resolution": job.request.size.to_string(), "fileSize": video.bytes, "cost": video.cost_usd,
                "provider": video.provider, "model": video.model, "completedAt": at,
                "generationDuration": event.at.since(job.record.created_at).as_secs_f64(),
            }),
        ),
        EventKind::Failed => (
            "VideoGenerationFailed",
            json!({
                "taskId": task, "status": status, "error": video.error.as_ref().map(|error| &error.message),
                "errorCode": video.error.as_ref().map(|error| error.code),
                "isRetryable": state == TaskState::Failed, "maxRetries": MAX_RETRIES, "nextRetryAt": null, "failedAt": at,
            }),
        ),
        EventKind::Canceled => {
            ("VideoGenerationCancelled", json!({"taskId": task, "reason": "Task was cancelled", "cancelledAt": at}))
        }
        EventKind::LateResult => return None,
        _ => (
            "VideoGenerationProgress",
            json!({
                "taskId": task, "status": status, "progress": video.progress, "progressPercentage": video.progress,
                "message": format!("The video is {}", video.state), "timestamp": at,
            }),
        ),
    })
}
