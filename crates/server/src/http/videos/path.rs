//! Names in paths. What is no video id names no video: 404, whatever it is.

use axum::extract::{FromRequestParts, Path};
use http::request::Parts;
use longtake_core::id::JobId;

use crate::http::error::ApiError;

/// The video id in the path.
pub struct VideoId(pub JobId);

/// The decoded last name in the path; `None` where it is not UTF-8.
pub struct Name(pub Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Ok(Self(Path::<String>::from_request_parts(parts, state).await.ok().map(|Path(text)| text)))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for VideoId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Name(text) = Name::from_request_parts(parts, state).await?;
        text.and_then(|text| text.parse().ok()).map(Self).ok_or_else(ApiError::video_not_found)
    }
}
