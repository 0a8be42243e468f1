//! `/media`: files for whoever has their names. A name cannot be guessed (see `keys`), so it is all that is asked for.

use axum::extract::{FromRequestParts, Path, State};
use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, CACHE_CONTROL,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use longtake_core::artifact::Artifact;
use longtake_core::store::Job;
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::dialect::Dialect;
use super::errors::Refusals;
use super::keys::read_key;
use crate::app::App;
use crate::http::auth::{Caller, Reader};
use crate::http::error::{ApiError, ErrorCode};
use crate::http::videos::content::deliver;

/// What a browser on any page may do: the names are the secret, not the pages.
const CORS: [(HeaderName, HeaderValue); 4] = [
    (ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    (ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD, OPTIONS")),
    (ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Range, If-Range, If-None-Match")),
    (ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Accept-Ranges, Content-Length, Content-Range, ETag")),
];

/// The rest of the path: a file's name, with its slashes.
pub struct Key(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Key {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(key)| Self(key)).map_err(|_| no_file())
    }
}

/// A stored file.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConduitMediaInfo)]
pub struct MediaInfo {
    /// Its name.
    storage_key: String,
    content_type: String,
    size_bytes: u64,
    file_name: String,
    /// Always `Video`.
    #[schema(value_type = String)]
    media_type: &'static str,
    /// In ISO 8601.
    created_at: String,
    /// Until when it is kept; null where that is for ever.
    expires_at: Option<String>,
    /// What is known of it beside.
    #[schema(value_type = Object)]
    custom_metadata: Value,
}

/// Serves a file. One range is served as asked; several at once get the whole.
#[utoipa::path(
    get, path = "/media/{*key}", operation_id = "get_media", tag = "conduit", security(()),
    params(
        ("key" = String, Path, description = "The file's name, from a result."),
        ("Range" = Option<String>, Header, description = "One range of bytes."),
    ),
    responses(
        (status = 200, content_type = "video/mp4", description = "The bytes."),
        (status = 206, content_type = "video/mp4", description = "The range asked for."),
        (status = 304, description = "The client has these bytes."),
        (status = 404, description = "No such file, or it is no longer kept."),
        (status = 412, description = "The bytes are others than `If-Match` names."),
        (status = 416, description = "The range lies outside the bytes."),
        (status = 503, description = "Ask again as `Retry-After` says."),
    )
)]
pub async fn media(
    State(app): State<App>,
    Key(key): Key,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (project, job) = read_key(&app, &key).ok_or_else(no_file)?;
    let mut response = deliver(&app, project, job, None, &method, &headers).await.map_err(as_file)?;
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=3600"));
    response.headers_mut().extend(CORS);
    Ok(response)
}

/// Lets browsers on any page ask for a file.
#[utoipa::path(
    options, path = "/media/{*key}", operation_id = "allow_media", tag = "conduit", security(()),
    params(("key" = String, Path, description = "The file's name.")),
    responses((status = 204, description = "They may."))
)]
pub async fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    response.headers_mut().extend(CORS);
    response
}

/// Describes a file of the caller's.
#[utoipa::path(
    get, path = "/media/info/{*key}", operation_id = "get_media_info", tag = "conduit",
    params(("key" = String, Path, description = "The file's name.")),
    responses((status = 200, body = MediaInfo, description = "The file."), Refusals)
)]
pub async fn info(
    State(app): State<App>,
    dialect: Dialect,
    Reader(caller): Reader,
    Key(key): Key,
) -> Result<Response, ApiError> {
    let (job, file) = owned(&app, &caller, &key).await?;
    let finished_at = job.record.finished_at.unwrap_or(job.record.created_at);
    let expires_at = app.retention().content_until(job.record.project, finished_at);
    let info = MediaInfo {
        file_name: file_name(&key),
        storage_key: key,
        content_type: file.media_type.to_string(),
        size_bytes: file.bytes,
        media_type: "Video",
        created_at: dialect.time(finished_at),
        expires_at: expires_at.map(|at| dialect.time(at)),
        custom_metadata: about(&job, &file),
    };
    Ok(dialect.answer(StatusCode::OK, &info))
}

/// What is known of a file beside its name, type and length.
pub fn about(job: &Job, file: &Artifact) -> Value {
    let media = &file.media;
    serde_json::json!({
        "model": job.request.model, "sha256": file.sha256.to_string(),
        "width": media.width, "height": media.height, "duration_ms": media.duration_ms,
    })
}

/// The caller's job behind a file's name, with the file.
///
/// # Errors
/// `not_found` for no name of ours, another project's, and a file that is not there (any more).
pub async fn owned(app: &App, caller: &Caller, key: &str) -> Result<(Job, Artifact), ApiError> {
    let (_, id) = read_key(app, key).filter(|(project, _)| *project == caller.project).ok_or_else(no_file)?;
    let job = app.store.get(caller.project, id).await?.ok_or_else(no_file)?;
    let file = job.output.clone().ok_or_else(no_file)?;
    Ok((job, file))
}

/// The last part of a file's name.
pub fn file_name(key: &str) -> String {
    key.rsplit('/').next().unwrap_or(key).to_owned()
}

/// No such file.
pub fn no_file() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "there is no such file; take its name from the result of a task")
}

/// An error about a video, to somebody who asked for a file.
pub fn as_file(error: ApiError) -> ApiError {
    match error.code() {
        ErrorCode::VideoNotFound | ErrorCode::VideoNotReady => no_file(),
        _ => error,
    }
}
