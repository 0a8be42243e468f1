//! `POST /v1/videos/{id}/cancel`: asks to stop; the answer shows what became of it.

use axum::extract::State;
use axum::response::Response;
use longtake_core::store::CommandResult;

use super::path::VideoId;
use super::wire::{self, Video};
use crate::app::App;
use crate::http::auth::Writer;
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
    match app.store.request_cancel(caller.project, id).await? {
        CommandResult::Done(job) | CommandResult::Refused(job) => {
            app.engine.wake();
            wire::respond(&app, &job).await
        }
        CommandResult::NotFound => Err(ApiError::video_not_found()),
    }
}
