//! The video id in a path. What is no id names no video: 404, whatever it is.

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use longtake_core::id::JobId;

use crate::http::error::ApiError;

/// The id in the path.
pub struct VideoId(pub JobId);

impl<S: Send + Sync> FromRequestParts<S> for VideoId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Ok(Path(text)) = Path::<String>::from_request_parts(parts, state).await else {
            return Err(ApiError::video_not_found());
        };
        text.parse().map(Self).map_err(|_| ApiError::video_not_found())
    }
}
