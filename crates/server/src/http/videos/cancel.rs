//! `POST /v1/videos/{id}/cancel`: asks to stop; the answer shows what became of it.

use axum::extract::State;
use axum::response::Response;
use longtake_core::id::JobId;
use longtake_core::store::{CommandResult, Job};

use super::path::VideoId;
use super::wire::{self, Video};
use crate::app::App;
use crate::http::auth::{Caller, Writer};
use crate::http::error::{ApiError, ErrorBody};

/// Cancels a video. Idempotent; `cancel.outcome` is `pending` until known, and `too_late` where nothing changes.
#[utoipa::path(
    post, path = "/v1/videos/{id}/cancel", operation_id = "cancel_video", tag = "videos",
    params(("id" = String, Path, description = "The video.")),
    responses(
        (status = 200, body = Video), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody),
    )
)]
pub async fn cancel(
    State(app): State<App>,
    Writer(caller): Writer,
    VideoId(id): VideoId,
) -> Result<Response, ApiError> {
    let job = ask(&app, &caller, id).await?;
    wire::respond(&app, &job).await
}

/// Asks to stop; the job as it then is.
///
/// # Errors
/// `video_not_found`.
pub async fn ask(app: &App, caller: &Caller, id: JobId) -> Result<Job, ApiError> {
    match app.store.request_cancel(caller.project, id).await? {
        CommandResult::Done(job) | CommandResult::Refused(job) => {
            app.engine.wake();
            Ok(job)
        }
        CommandResult::NotFound => Err(ApiError::video_not_found()),
    }
}
