//! `/v1/files`: input images sent ahead, to be named in creates by id.
//!
//! An id is the digest of the bytes, so the same image is kept once per project and no row is needed: the artifact store
//! knows what is there. An image that no video refers to is swept a day after it was last sent or named.
//! Absent: any other kind of file; a list; downloads (who has the id had the bytes).

use std::fmt;

use axum::Json;
use axum::extract::multipart::Field;
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart, Request, State};
use bytes::Bytes;
use futures::StreamExt;
use http::header::CONTENT_TYPE;
use longtake_core::artifact::{ArtifactError, ArtifactKey, Digest};
use longtake_core::id::ProjectId;
use longtake_core::time::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use super::auth::{Reader, Writer, sha256};
use super::body::{self, Gathering, Held};
use super::error::{ApiError, ErrorBody, ErrorCode};
use super::node::repeated;
use super::videos::accept::{keep, looked_at};
use super::videos::path::Name;
use crate::app::App;

/// The member of a create that names a file.
pub const PARAM: &str = "input_reference.file_id";
/// The part of the form that holds the image.
const FILE: &str = "file";
/// What files here are for, in the word of the SDKs.
const PURPOSE: &str = "vision";
/// Words for it that are accepted.
const PURPOSES: [&str; 2] = [PURPOSE, "user_data"];
/// Most parts of the form.
const MAX_PARTS: usize = 8;
/// Longest file name that is repeated, in characters.
const MAX_NAME_CHARS: usize = 255;
/// By so many bytes an image is recognised.
const HEAD_BYTES: u64 = 64;

/// The id of an uploaded image: `file_` and the SHA-256 of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileId(pub Digest);

impl FileId {
    /// What every id begins with.
    pub const PREFIX: &'static str = "file_";

    /// From its text; `None` for anything that cannot be one.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix(Self::PREFIX)?;
        let plain = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        Digest::from_hex(hex).filter(|_| hex.bytes().all(plain)).map(Self)
    }

    /// From a member of a create.
    ///
    /// # Errors
    /// `unknown_file`, naming the member.
    pub fn of_member(param: &str, text: &str) -> Result<Self, ApiError> {
        Self::parse(text).ok_or_else(|| unknown_file(param))
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::PREFIX, self.0)
    }
}

/// An uploaded image.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = File)]
pub struct FileBody {
    /// `file_` and 64 hex digits; the same bytes have the same id.
    pub id: String,
    /// Always `file`.
    #[schema(value_type = String, example = "file")]
    pub object: &'static str,
    /// Length in bytes.
    pub bytes: u64,
    /// When it was sent, in Unix seconds; null where that is not told any more: only the answer to the upload knows it.
    pub created_at: Option<i64>,
    /// Until when it is kept at least, in Unix seconds, if no video is made of it; naming it in a create begins the time
    /// anew, and a video keeps it for itself. Null where `created_at` is.
    pub expires_at: Option<i64>,
    /// As it was sent; null where that is not told any more.
    pub filename: Option<String>,
    /// Always `vision`: an input image.
    #[schema(value_type = String, example = "vision")]
    pub purpose: &'static str,
    /// As recognised by content: `image/png`, `image/jpeg` or `image/webp`.
    pub media_type: String,
    /// SHA-256 of the bytes, in hex.
    pub sha256: String,
}

/// The form, for the OpenAPI document.
#[derive(ToSchema)]
#[schema(as = UploadFile)]
#[expect(dead_code, reason = "read by the OpenAPI generator only: the form is decoded by hand")]
pub struct UploadSchema {
    /// A PNG, JPEG or WebP image.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// `vision` (default) or `user_data`.
    #[schema(value_type = Option<String>)]
    purpose: Option<String>,
}

/// Keeps an input image, to be named in creates as `input_reference: {"file_id": …}`.
#[utoipa::path(
    post, path = "/v1/files", operation_id = "upload_file", tag = "files",
    request_body(content((UploadSchema = "multipart/form-data"))),
    responses(
        (status = 200, body = FileBody),
        (status = 400, body = ErrorBody, description = "No image, or a larger one than is taken."),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody), (status = 413, body = ErrorBody),
        (status = 415, body = ErrorBody), (status = 429, body = ErrorBody), (status = 503, body = ErrorBody),
        (status = 507, body = ErrorBody),
    )
)]
pub async fn upload(
    State(app): State<App>,
    Writer(caller): Writer,
    request: Request,
) -> Result<Json<FileBody>, ApiError> {
    let (form, _held) = receive(&app, request).await?;
    if app.is_out_of_room().await {
        let message = "the artifact store is nearly full; no more files are accepted until the operator makes room";
        return Err(ApiError::new(ErrorCode::StorageFull, message));
    }
    let held = Held::from(form.bytes);
    let image = looked_at(&app, caller.project, FILE, &held)?;
    keep(&app, &image.key, &held).await?;
    let now = app.clock.now();
    Ok(Json(FileBody {
        id: FileId(image.sha256).to_string(),
        object: "file",
        bytes: image.bytes,
        created_at: Some(now.as_secs()),
        expires_at: Some(Timestamp::as_secs(now + app.engine.parts().config.sweep_age)),
        filename: form.filename,
        purpose: PURPOSE,
        media_type: image.media_type.into(),
        sha256: image.sha256.to_string(),
    }))
}

/// Shows what is known of an uploaded image that is still kept.
#[utoipa::path(
    get, path = "/v1/files/{id}", operation_id = "get_file", tag = "files",
    params(("id" = String, Path, description = "The file.")),
    responses(
        (status = 200, body = FileBody), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody),
    )
)]
pub async fn get(State(app): State<App>, Reader(caller): Reader, Name(name): Name) -> Result<Json<FileBody>, ApiError> {
    let missing = || {
        let message = "no such file is kept; upload it with POST /v1/files";
        ApiError::new(ErrorCode::FileNotFound, message)
    };
    let FileId(sha256) = name.as_deref().and_then(FileId::parse).ok_or_else(missing)?;
    let key = ArtifactKey::input(caller.project, &sha256);
    let found = |error| if matches!(error, ArtifactError::NotFound) { missing() } else { error.into() };
    let bytes = app.artifacts.len(&key).await.map_err(found)?;
    let head = app.artifacts.read(&key, 0..HEAD_BYTES.min(bytes)).await.map_err(found)?;
    let media_type = longtake_media::sniff_image(&head).ok_or_else(missing)?;
    Ok(Json(FileBody {
        id: FileId(sha256).to_string(),
        object: "file",
        bytes,
        created_at: None,
        expires_at: None,
        filename: None,
        purpose: PURPOSE,
        media_type: media_type.to_owned(),
        sha256: sha256.to_string(),
    }))
}

/// The bytes of an uploaded image, within the memory set aside for bodies.
///
/// # Errors
/// `unknown_file` where it is not kept (any more), naming the member of a create; `overloaded`.
pub async fn read(app: &App, project: ProjectId, FileId(digest): FileId) -> Result<Held, ApiError> {
    let key = ArtifactKey::input(project, &digest);
    let found = |error| if matches!(error, ArtifactError::NotFound) { unknown_file(PARAM) } else { error.into() };
    let length = app.artifacts.len(&key).await.map_err(found)?;
    let mut chunks = app.artifacts.stream(&key, 0..length).await.map_err(found)?;
    let mut image = Gathering::default();
    while let Some(chunk) = chunks.next().await {
        image.add(app, &chunk?)?;
    }
    let held = image.done();
    if sha256(&held.bytes) != digest.0 {
        tracing::error!(key = %key, "a kept image is not the one that its name says");
        return Err(ApiError::new(ErrorCode::InternalError, "the file is damaged; upload it again"));
    }
    Ok(held)
}

fn unknown_file(param: &str) -> ApiError {
    let message = "no such file is kept; upload it with POST /v1/files, within a day before its use";
    ApiError::about(param, ErrorCode::UnknownFile, message)
}

/// What the form holds.
struct Form {
    bytes: Bytes,
    filename: Option<String>,
}

async fn receive(app: &App, request: Request) -> Result<(Form, Held), ApiError> {
    let (parts, body) = request.into_parts();
    let content_type = parts.headers.get(CONTENT_TYPE).cloned();
    let kind = content_type.as_ref().and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if !kind.trim_start().to_ascii_lowercase().starts_with("multipart/form-data") {
        let message = "send multipart/form-data with the image as the part `file`";
        return Err(ApiError::new(ErrorCode::UnsupportedMediaType, message));
    }
    let held = body::read(app, body, app.limits.max_multipart_bytes()).await?;
    let mut request = Request::new(axum::body::Body::from(held.bytes.clone()));
    if let Some(content_type) = content_type {
        request.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    DefaultBodyLimit::disable().apply(&mut request); // the body is in memory already, within its own limit
    let multipart = Multipart::from_request(request, &()).await.map_err(|_| broken_form())?;
    Ok((decode(multipart).await?, held))
}

async fn decode(mut multipart: Multipart) -> Result<Form, ApiError> {
    let (mut form, mut purpose) = (None, None);
    for _ in 0..MAX_PARTS {
        let Some(part) = multipart.next_field().await.map_err(|_| broken_form())? else {
            return form.ok_or_else(|| {
                ApiError::about(FILE, ErrorCode::MissingParameter, "send the image as the part `file`")
            });
        };
        match part.name() {
            Some(FILE) if form.is_some() => return Err(repeated(FILE)),
            Some(FILE) => {
                let filename = filename(&part);
                form = Some(Form { bytes: part.bytes().await.map_err(|_| broken_form())?, filename });
            }
            Some("purpose") if purpose.is_some() => return Err(repeated("purpose")),
            Some("purpose") => {
                let word = part.text().await.map_err(|_| broken_form())?;
                if !PURPOSES.contains(&word.as_str()) {
                    let message = "files here are input images: the purpose is vision (or user_data)";
                    return Err(ApiError::about("purpose", ErrorCode::InvalidValue, message));
                }
                purpose = Some(word);
            }
            Some(other) => {
                let message = "there is no such part; remove it, or see /openapi.json for its right name";
                return Err(ApiError::about(other, ErrorCode::UnknownParameter, message));
            }
            None => return Err(broken_form()),
        }
    }
    Err(ApiError::new(ErrorCode::InvalidMultipart, format!("the form has at most {MAX_PARTS} parts")))
}

/// The client's own name for the file; nothing is done with it.
fn filename(part: &Field<'_>) -> Option<String> {
    let name: String = part.file_name()?.chars().filter(|c| !c.is_control()).take(MAX_NAME_CHARS).collect();
    (!name.is_empty()).then_some(name)
}

fn broken_form() -> ApiError {
    ApiError::new(ErrorCode::InvalidMultipart, "the body is not well-formed multipart form data with named parts")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_its_digest_and_nothing_else() {
        let id = FileId(Digest([0xab; 32]));
        assert_eq!(FileId::parse(&id.to_string()), Some(id));
        let hex = "ab".repeat(32);
        for wrong in [
            String::new(),
            hex.clone(),
            format!("file_{}", &hex[1..]),
            format!("file_{hex}0"),
            format!("file_{}", hex.to_uppercase()),
            format!("file_+b{}", &hex[2..]),
            format!("file_{}/../x", &hex[5..]),
        ] {
            assert_eq!(FileId::parse(&wrong), None, "{wrong}");
        }
    }
}
