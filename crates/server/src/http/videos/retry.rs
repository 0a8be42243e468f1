//! `POST /v1/videos/{id}/retry`: the client's word for another attempt, which may cost.

use axum::extract::State;
use axum::response::Response;
use longtake_core::store::CommandResult;
use std::sync::Arc;

use super::path::VideoId;
use super::wire::{self, Video};
use crate::app::App;
use crate::http::auth::Writer;
use crate::http::error::{ApiError, ErrorBody, ErrorCode};

/// Queues a failed or canceled video again, with its history. If an earlier attempt may still be paid, that risk is accepted.
#[utoipa::path(
    post, path = "/v1/videos/{id}/retry", operation_id = "retry_video", tag = "videos",
    params(("id" = String, Path, description = "The video.")),
    responses(
        (status = 200, body = Video), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody, description = "Neither failed nor canceled."),
    )
)]
pub async fn retry(State(app): State<App>, Writer(caller): Writer, VideoId(id): VideoId) -> Result<Response, ApiError> {
    let Some(job) = app.store.get(caller.project, id).await? else { return Err(ApiError::video_not_found()) };
    let pool = app.models.pool(&job.record.model);
    match app.store.retry(caller.project, id, Arc::clone(&caller.name), pool).await? {
        CommandResult::Done(job) => {
            app.engine.wake();
            wire::respond(&app, &job).await
        }
        CommandResult::Refused(job) => {
            let state = job.record.state.name().word();
            let message = format!("the video is {state}; only failed and canceled videos can be retried");
            Err(ApiError::new(ErrorCode::VideoNotFailed, message))
        }
        CommandResult::NotFound => Err(ApiError::video_not_found()),
    }
}
