//! `/downloads`: a caller's own files, to be saved; and links to them that work without a key for a while.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_DISPOSITION};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::dialect::Dialect;
use super::errors::Refusals;
use super::keys::read_key;
use super::media::{Key, about, as_file, file_name, no_file, owned};
use crate::app::App;
use crate::http::api_keys::json_members;
use crate::http::auth::Reader;
use crate::http::error::{ApiError, ErrorCode};
use crate::http::node::{Members, Node};
use crate::http::query::Query;
use crate::http::videos::content::deliver;
use crate::http::videos::link::{base, signed_path};

/// Shortest and longest life of a link, and the one that is taken where none is asked for, in minutes.
const MINUTES: (i64, i64, i64) = (1, 10_080, 60);

/// A file, as a download.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConduitDownloadInfo)]
pub struct DownloadInfo {
    file_name: String,
    content_type: String,
    size_bytes: u64,
    /// In ISO 8601.
    created_at: String,
    modified_at: String,
    /// Always `longtake`: where the bytes lie is nobody's business.
    #[schema(value_type = String)]
    storage_provider: &'static str,
    etag: String,
    supports_range_requests: bool,
    #[schema(value_type = Object)]
    additional_metadata: Value,
}

/// The members of a wish for a link, for the OpenAPI document. Either dialect's names are taken.
#[derive(ToSchema)]
#[schema(as = ConduitLinkRequest)]
#[expect(dead_code, reason = "read by the OpenAPI generator only: the members are decoded by hand")]
pub struct LinkRequestSchema {
    /// The file's name.
    file_id: String,
    /// 1 to 10080; 60 if absent.
    expiration_minutes: Option<i64>,
}

/// A link that works without a key for a while.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConduitDownloadLink)]
pub struct DownloadLink {
    url: String,
    /// In ISO 8601.
    expires_at: String,
    expiration_minutes: i64,
}

/// Serves a file of the caller's, to be saved.
#[utoipa::path(
    get, path = "/downloads/{*key}", operation_id = "download", tag = "conduit",
    params(
        ("key" = String, Path, description = "The file's name."),
        ("inline" = Option<bool>, Query, description = "To be shown, not saved."),
        ("Range" = Option<String>, Header, description = "One range of bytes."),
    ),
    responses(
        (status = 200, content_type = "video/mp4", description = "The bytes."),
        (status = 206, content_type = "video/mp4", description = "The range asked for."),
        (status = 304, description = "The client has these bytes."),
        (status = 412, description = "The bytes are others than `If-Match` names."),
        (status = 416, description = "The range lies outside the bytes."), Refusals,
    )
)]
pub async fn download(
    State(app): State<App>,
    Reader(caller): Reader,
    Key(key): Key,
    mut query: Query,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let inline = match query.take("inline").as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(ApiError::about("inline", ErrorCode::InvalidValue, "must be true or false")),
    };
    let named = read_key(&app, &key).filter(|(project, _)| *project == caller.project);
    let (project, job) = named.ok_or_else(no_file)?;
    let mut response = deliver(&app, project, job, None, &method, &headers).await.map_err(as_file)?;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, max-age=3600"));
    let manner = if inline { "inline" } else { "attachment" };
    if let Ok(value) = HeaderValue::from_str(&format!("{manner}; filename=\"{}\"", file_name(&key))) {
        headers.insert(CONTENT_DISPOSITION, value);
    }
    Ok(response)
}

/// Describes a file of the caller's.
#[utoipa::path(
    get, path = "/downloads/metadata/{*key}", operation_id = "get_download_metadata", tag = "conduit",
    params(("key" = String, Path, description = "The file's name.")),
    responses((status = 200, body = DownloadInfo, description = "The file."), Refusals)
)]
pub async fn metadata(
    State(app): State<App>,
    dialect: Dialect,
    Reader(caller): Reader,
    Key(key): Key,
) -> Result<Response, ApiError> {
    let (job, file) = owned(&app, &caller, &key).await?;
    let finished_at = job.record.finished_at.unwrap_or(job.record.created_at);
    let info = DownloadInfo {
        file_name: file_name(&key),
        content_type: file.media_type.to_string(),
        size_bytes: file.bytes,
        created_at: dialect.time(finished_at),
        modified_at: dialect.time(finished_at),
        storage_provider: "longtake",
        etag: format!("\"{}\"", file.sha256),
        supports_range_requests: true,
        additional_metadata: about(&job, &file),
    };
    Ok(dialect.answer(StatusCode::OK, &info))
}

/// Makes a link to a file of the caller's that works without a key for a while. It is a link of `/v1/videos`.
#[utoipa::path(
    post, path = "/downloads/generate-url", operation_id = "make_download_link", tag = "conduit",
    request_body = LinkRequestSchema,
    responses((status = 200, body = DownloadLink, description = "The link."), Refusals)
)]
pub async fn link(
    State(app): State<App>,
    dialect: Dialect,
    Reader(caller): Reader,
    headers: HeaderMap,
    uri: Uri,
    request: Request,
) -> Result<Response, ApiError> {
    let (key, minutes) = wanted(json_members(&app, request).await?)?;
    let (job, _) = owned(&app, &caller, &key).await?;
    let until = app.clock.now() + Duration::from_secs(minutes.unsigned_abs() * 60);
    let path = signed_path(&app, caller.project, job.record.job, None, until.as_secs());
    let (url, expires_at) = (format!("{}{path}", base(&app, &headers, &uri)), dialect.time(until));
    let link = DownloadLink { url, expires_at, expiration_minutes: minutes };
    // Here both dialects write the same.
    Ok(Dialect::B.answer(StatusCode::OK, &link))
}

/// Which file, and for how many minutes; under either dialect's names.
fn wanted(mut members: Members) -> Result<(String, i64), ApiError> {
    let mut either = |one, other| members.take(one).or_else(|| members.take(other));
    let (file, minutes) = (either("file_id", "fileId"), either("expiration_minutes", "expirationMinutes"));
    let missing = || ApiError::about("file_id", ErrorCode::MissingParameter, "File ID is required");
    let file = file.ok_or_else(missing)?.into_text("file_id")?;
    let (least, most, usual) = MINUTES;
    let minutes = match minutes {
        None => Some(usual),
        Some(Node::Number(number)) => number.as_i64(),
        Some(_) => None,
    };
    let minutes = minutes.filter(|minutes| (least..=most).contains(minutes)).ok_or_else(|| {
        let message = "Expiration must be between 1 and 10080 minutes";
        ApiError::about("expiration_minutes", ErrorCode::InvalidValue, message)
    })?;
    Ok((file, minutes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_spelling_names_a_file() {
        let read = |json: &str| wanted(Members::of_body(Node::from_json(json.as_bytes()).unwrap()).unwrap());
        assert_eq!(read(r#"{"file_id": "k"}"#), Ok(("k".to_owned(), 60)));
        assert_eq!(read(r#"{"fileId": "k", "expirationMinutes": 10080}"#), Ok(("k".to_owned(), 10_080)));
        for json in [
            "{}",
            r#"{"file_id": "k", "expiration_minutes": 0}"#,
            r#"{"file_id": "k", "expiration_minutes": 10081}"#,
            r#"{"file_id": "k", "expiration_minutes": "60"}"#,
        ] {
            assert!(read(json).is_err(), "{json}");
        }
    }
}
