//! Remix, edit and extend: no provider of this server can, and the answer says so.

use axum::extract::State;

use super::get::find;
use super::path::VideoId;
use crate::app::App;
use crate::http::auth::Writer;
use crate::http::error::{ApiError, ErrorBody, ErrorCode};

/// Remixes a video: refused, since no model of this server can.
#[utoipa::path(
    post, path = "/v1/videos/{id}/remix", operation_id = "remix_video", tag = "videos",
    params(("id" = String, Path, description = "The video.")),
    responses((status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 404, body = ErrorBody))
)]
pub async fn remix(State(app): State<App>, Writer(caller): Writer, VideoId(id): VideoId) -> ApiError {
    match find(&app, &caller, id).await {
        Ok(job) => unsupported(&format!("{} makes no remixes; create a new video instead", job.request.model)),
        Err(error) => error,
    }
}

/// Edits a video: refused, since no model of this server can.
#[utoipa::path(
    post, path = "/v1/videos/edits", operation_id = "edit_video", tag = "videos",
    responses((status = 400, body = ErrorBody), (status = 401, body = ErrorBody))
)]
pub async fn edits(_caller: Writer) -> ApiError {
    unsupported("no model of this server edits videos; create a new one instead")
}

/// Extends a video: refused, since no model of this server can.
#[utoipa::path(
    post, path = "/v1/videos/extensions", operation_id = "extend_video", tag = "videos",
    responses((status = 400, body = ErrorBody), (status = 401, body = ErrorBody))
)]
pub async fn extensions(_caller: Writer) -> ApiError {
    unsupported("no model of this server extends videos; create a longer one instead")
}

fn unsupported(message: &str) -> ApiError {
    ApiError::new(ErrorCode::UnsupportedByModel, message)
}
