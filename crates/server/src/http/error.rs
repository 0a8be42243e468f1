//! Errors of the API in OpenAI's envelope: `{"error": {"message", "type", "param", "code"}}`.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::{CONNECTION, RETRY_AFTER, SEC_WEBSOCKET_VERSION, UPGRADE, WWW_AUTHENTICATE};
use longtake_core::artifact::ArtifactError;
use longtake_core::provider::Unsupported;
use longtake_core::store::StoreError;
use serde::Serialize;
use utoipa::ToSchema;

pub use super::error_code::ErrorCode;

/// An error on its way to a client. Its message says what to do, and holds no prompt and no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    code: ErrorCode,
    message: String,
    param: Option<String>,
    retry_after_secs: Option<u64>,
}

/// The envelope.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
pub struct ErrorDetail {
    /// What happened and what to do.
    pub message: String,
    /// The family, as the SDKs know it.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The member or parameter at fault.
    pub param: Option<String>,
    /// Stable; docs/errors has a page for each.
    pub code: &'static str,
}

impl ApiError {
    /// An error about the request as a whole.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), param: None, retry_after_secs: code.retry_after_secs() }
    }

    /// An error about one member or parameter.
    pub fn about(param: &str, code: ErrorCode, message: impl Into<String>) -> Self {
        Self { param: Some(bounded(param)), ..Self::new(code, message) }
    }

    /// The same, to be repeated after this many seconds.
    pub fn after_secs(self, seconds: u64) -> Self {
        Self { retry_after_secs: Some(seconds), ..self }
    }

    /// The same about another member, where it is about one: for a front door whose members have other names.
    pub fn about_instead(self, name: impl FnOnce(String) -> String) -> Self {
        Self { param: self.param.map(|param| bounded(&name(param))), ..self }
    }

    /// The stable code.
    pub const fn code(&self) -> ErrorCode {
        self.code
    }

    /// As the envelope, for where there is no response to carry it.
    pub fn body(&self) -> ErrorBody {
        let Self { code, message, param, .. } = self.clone();
        ErrorBody { error: ErrorDetail { message, kind: code.kind(), param, code: code.code() } }
    }

    /// No such video in the caller's project.
    pub fn video_not_found() -> Self {
        Self::new(ErrorCode::VideoNotFound, "there is no video with this id; list yours with GET /v1/videos")
    }
}

/// What to do when events behind a cursor are no longer kept.
pub const CURSOR_EXPIRED: &str =
    "events behind this cursor are no longer kept; read without a cursor and list what you have with GET /v1/videos";

/// Longest `param` that is repeated to a client, in characters: it may be the client's own junk.
const MAX_PARAM_CHARS: usize = 128;

fn bounded(param: &str) -> String {
    param.chars().take(MAX_PARAM_CHARS).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => {
                Self::new(ErrorCode::StorageFull, "the database is out of room; the operator must make some")
            }
            StoreError::CommitUnknown => {
                Self::new(ErrorCode::StoreUnavailable, "the database did not say whether it committed; ask again")
            }
            StoreError::Cursor => Self::new(ErrorCode::InvalidCursor, "no cursor of this server"),
            StoreError::CursorExpired => Self::new(ErrorCode::CursorExpired, CURSOR_EXPIRED),
            StoreError::Failed(source) => {
                tracing::error!(error = %source, "the store failed");
                Self::new(ErrorCode::StoreUnavailable, "the database does not answer; ask again in a moment")
            }
        }
    }
}

impl From<ArtifactError> for ApiError {
    fn from(error: ArtifactError) -> Self {
        match error {
            ArtifactError::Full => {
                Self::new(ErrorCode::StorageFull, "the artifact store is out of room; the operator must make some")
            }
            ArtifactError::Unavailable(source) => {
                tracing::error!(error = %source, "the artifact store does not answer");
                Self::new(ErrorCode::StoreUnavailable, "the artifact store does not answer; ask again in a moment")
            }
            ArtifactError::NotFound | ArtifactError::Other(_) => {
                tracing::error!(%error, "the artifact store failed");
                Self::new(
                    ErrorCode::InternalError,
                    "the stored bytes could not be read; tell the operator the request id",
                )
            }
        }
    }
}

impl From<Unsupported> for ApiError {
    fn from(unsupported: Unsupported) -> Self {
        Self::about(&unsupported.param, ErrorCode::UnsupportedByModel, unsupported.message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let code = self.code;
        let mut response = (code.status(), Json(self.body())).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after_secs {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if code == ErrorCode::InvalidApiKey {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if code == ErrorCode::UpgradeRequired {
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        if !code.should_retry() {
            headers.insert("x-should-retry", HeaderValue::from_static("false"));
        }
        // For front doors that speak another dialect: they say the same in their own words.
        response.extensions_mut().insert(self);
        response
    }
}
