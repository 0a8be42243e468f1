//! `POST /v1/videos/{id}/retry`: the client's word for another attempt, which may cost.

use axum::extract::State;
use axum::response::Response;
use longtake_core::id::JobId;
use longtake_core::store::{CommandResult, Job};
use std::sync::Arc;

use super::cost::{allows_another, pool};
use super::path::VideoId;
use super::wire::{self, Video};
use crate::app::App;
use crate::http::auth::{Caller, Writer};
use crate::http::error::{ApiError, ErrorBody, ErrorCode};

/// Queues a failed or canceled video again, with its history. If an earlier attempt may still be paid, that risk is accepted.
#[utoipa::path(
    post, path = "/v1/videos/{id}/retry", operation_id = "retry_video", tag = "videos",
    params(("id" = String, Path, description = "The video.")),
    responses(
        (status = 200, body = Video),
        (status = 400, body = ErrorBody, description = "Another attempt could cost more than `max_cost_usd` allows."),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody, description = "Neither failed nor canceled."),
    )
)]
pub async fn retry(State(app): State<App>, Writer(caller): Writer, VideoId(id): VideoId) -> Result<Response, ApiError> {
    let job = again(&app, &caller, id).await?;
    wire::respond(&app, &job).await
}

/// Queues a failed or canceled job again, to be driven at once.
///
/// # Errors
/// `video_not_found`, `video_not_failed`, `max_cost_exceeded`.
pub async fn again(app: &App, caller: &Caller, id: JobId) -> Result<Job, ApiError> {
    let Some(job) = app.store.get(caller.project, id).await? else { return Err(ApiError::video_not_found()) };
    allows_another(app, &job).await?;
    let pool = pool(app, &job.request);
    match app.store.retry(caller.project, id, Arc::clone(&caller.name), pool).await? {
        CommandResult::Done(job) => {
            app.engine.wake();
            Ok(job)
        }
        CommandResult::Refused(job) => {
            let state = job.record.state.name().word();
            let message = format!("the video is {state}; only failed and canceled videos can be retried");
            Err(ApiError::new(ErrorCode::VideoNotFailed, message))
        }
        CommandResult::NotFound => Err(ApiError::video_not_found()),
    }
}
