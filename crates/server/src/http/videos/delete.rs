//! `DELETE /v1/videos/{id}`: hides a finished video and removes its bytes.

use axum::Json;
use axum::extract::State;
use longtake_core::artifact::ArtifactKey;
use longtake_core::store::CommandResult;
use serde::Serialize;
use utoipa::ToSchema;

use super::path::VideoId;
use super::pictures::PictureKind;
use crate::app::App;
use crate::http::auth::Writer;
use crate::http::error::{ApiError, ErrorBody, ErrorCode};

/// The receipt of a deletion.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeletedVideo {
    /// Which.
    pub id: String,
    /// Always `video.deleted`.
    #[schema(value_type = String, example = "video.deleted")]
    pub object: &'static str,
    /// Always true.
    pub deleted: bool,
}

/// Deletes a finished video. An unfinished one must be canceled first.
#[utoipa::path(
    delete, path = "/v1/videos/{id}", operation_id = "delete_video", tag = "videos",
    params(("id" = String, Path, description = "The video.")),
    responses(
        (status = 200, body = DeletedVideo), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 409, body = ErrorBody, description = "The video is not finished."),
    )
)]
pub async fn delete(
    State(app): State<App>,
    Writer(caller): Writer,
    VideoId(id): VideoId,
) -> Result<Json<DeletedVideo>, ApiError> {
    let (result, keys) = app.store.hide(caller.project, id).await?;
    match result {
        CommandResult::Done(_) => {
            app.memory.recent_jobs.forget(caller.project, id);
            remove(&app, keys).await;
            Ok(Json(DeletedVideo { id: id.to_string(), object: "video.deleted", deleted: true }))
        }
        CommandResult::Refused(_) => {
            let message = format!("the video is not finished; cancel it first with POST /v1/videos/{id}/cancel");
            Err(ApiError::new(ErrorCode::VideoNotFinished, message))
        }
        CommandResult::NotFound => Err(ApiError::video_not_found()),
    }
}

/// What cannot be removed now is unreferenced and goes with the next sweep.
async fn remove(app: &App, keys: Vec<ArtifactKey>) {
    for key in keys {
        let pictures = PictureKind::ALL.into_iter().map(|kind| kind.key(&key));
        for key in pictures.chain([key.clone()]) {
            if let Err(error) = app.artifacts.delete(&key).await {
                tracing::warn!(%error, "an artifact of a deleted video stays until the next sweep");
            }
        }
    }
}
