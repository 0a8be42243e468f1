//! `GET, HEAD /v1/videos/{id}/content`: the bytes, streamed with constant memory, or where they are.

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt;
use http::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, LOCATION,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use longtake_core::artifact::{ArtifactKey, Digest, LinkAnswer};
use longtake_core::id::{JobId, ProjectId};
use longtake_core::state::StateName;
use longtake_core::store::Job;

use super::link::Viewer;
use super::pictures::{PictureKind, picture};
use super::range::{Answer, choose};
use crate::app::App;
use crate::config::Kept;
use crate::config::storage::Redirect;
use crate::http::auth::sha256;
use crate::http::error::{ApiError, ErrorBody, ErrorCode};
use crate::http::schemas::BytesSchema;

/// What is served: bytes in the store or in memory, and what describes them.
struct Thing {
    bytes: Source,
    len: u64,
    sha256: Digest,
    media_type: String,
    file_name: String,
}

enum Source {
    Stored(ArtifactKey),
    Memory(Bytes),
}

/// Serves the video, its thumbnail or its sprite sheet. One range is served as asked; several at once get the whole.
#[utoipa::path(
    get, path = "/v1/videos/{id}/content", operation_id = "get_video_content", tag = "videos",
    params(
        ("id" = String, Path, description = "The video."),
        ("variant" = Option<String>, Query, description = "`video` (default), `thumbnail` (WebP) or `spritesheet` (JPEG)."),
        ("expires" = Option<i64>, Query, description = "The end of a link, which needs no key."),
        ("signature" = Option<String>, Query, description = "The signature of a link."),
        ("Range" = Option<String>, Header, description = "One range of bytes."),
        ("If-Range" = Option<String>, Header, description = "The ETag the range is meant for."),
        ("If-None-Match" = Option<String>, Header, description = "304 where the bytes are these."),
    ),
    responses(
        (status = 200, content(
            (BytesSchema = "video/mp4"), (BytesSchema = "image/webp"), (BytesSchema = "image/jpeg"),
        ), description = "The bytes.", headers(
            ("ETag" = String, description = "SHA-256 of the bytes."),
            ("Accept-Ranges" = String, description = "`bytes`."),
        )),
        (status = 206, content(
            (BytesSchema = "video/mp4"), (BytesSchema = "image/webp"), (BytesSchema = "image/jpeg"),
        ), description = "The range asked for."),
        (status = 302, description = "`Location` is where the bytes are, for a while, where the server is set up so."),
        (status = 304, description = "The client has these bytes."),
        (status = 400, body = ErrorBody, description = "A parameter is none, or cannot be read."),
        (status = 403, body = ErrorBody, description = "The key may not do this, or the link is over or none of ours."),
        (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody, description = "Not completed, and no late result is there."),
        (status = 410, body = ErrorBody, description = "The bytes are no longer kept."),
        (status = 412, body = ErrorBody), (status = 416, body = ErrorBody),
    )
)]
pub async fn content(
    State(app): State<App>,
    viewer: Viewer,
    method: Method,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let asked = Asked { kind: viewer.kind, method: &method, headers: &headers, redirect: app.redirect.as_ref() };
    answer(&app, viewer.project, viewer.id, &asked).await
}

/// What is asked for.
struct Asked<'a> {
    /// A picture instead of the video.
    kind: Option<PictureKind>,
    method: &'a Method,
    headers: &'a HeaderMap,
    /// Where the answer may lead to instead.
    redirect: Option<&'a Redirect>,
}

/// The bytes of a project's video, or of a picture of it, as method, conditions and range ask.
///
/// # Errors
/// `video_not_found`, `video_not_ready`, `content_expired`, `variant_unavailable`, `precondition_failed`.
pub async fn deliver(
    app: &App,
    project: ProjectId,
    id: JobId,
    kind: Option<PictureKind>,
    method: &Method,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    answer(app, project, id, &Asked { kind, method, headers, redirect: None }).await
}

async fn answer(app: &App, project: ProjectId, id: JobId, asked: &Asked<'_>) -> Result<Response, ApiError> {
    let job = app.store.get(project, id).await?.ok_or_else(ApiError::video_not_found)?;
    let served = serve(app, &job, asked).await;
    // Retention may have removed the bytes between the look at the row and the look at them.
    match served {
        Err(_) if job.output.is_some() => {
            let now = app.store.get(project, id).await?.ok_or_else(ApiError::video_not_found)?;
            if now.output.is_some() { served } else { Err(no_bytes(app, &now)) }
        }
        served => served,
    }
}

/// The answer, as far as the row was right.
async fn serve(app: &App, job: &Job, asked: &Asked<'_>) -> Result<Response, ApiError> {
    let thing = thing(app, job, asked.kind).await?;
    let etag = format!("\"{}\"", thing.sha256);
    let (status, first, len) = match choose(asked.headers, &etag, thing.len) {
        Answer::Whole => (StatusCode::OK, 0, thing.len),
        Answer::Part(first, last) => (StatusCode::PARTIAL_CONTENT, first, last - first + 1),
        Answer::NotModified => return Ok(described(StatusCode::NOT_MODIFIED, &thing, &etag, Body::empty())),
        Answer::PreconditionFailed => {
            let message = "the stored bytes are others than If-Match names; ask without it";
            return Err(ApiError::new(ErrorCode::PreconditionFailed, message));
        }
        Answer::NotSatisfiable => return Ok(not_satisfiable(thing.len)),
    };
    if let Some(url) = elsewhere(app, &thing, asked).await? {
        return Ok(redirected(&url));
    }
    let body = if asked.method == Method::HEAD { Body::empty() } else { open(app, &thing, first, len).await? };
    let mut response = described(status, &thing, &etag, body);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(len));
    if status == StatusCode::PARTIAL_CONTENT {
        set(&mut response, CONTENT_RANGE, &format!("bytes {first}-{}/{}", first + len - 1, thing.len));
    }
    Ok(response)
}

/// Where the bytes can be had instead of here. Pictures are small, and a HEAD has its answer already.
async fn elsewhere(app: &App, thing: &Thing, asked: &Asked<'_>) -> Result<Option<String>, ApiError> {
    let (Some(redirect), Source::Stored(key), &Method::GET) = (asked.redirect, &thing.bytes, asked.method) else {
        return Ok(None);
    };
    match redirect {
        Redirect::Public(base) => Ok(Some(format!("{base}/{key}"))),
        Redirect::Signed(valid_for) => {
            let answer = LinkAnswer { media_type: &thing.media_type, file_name: &thing.file_name };
            Ok(app.artifacts.link(key, *valid_for, &answer).await?)
        }
    }
}

/// The client keeps its range. Nobody keeps the answer: the link in it ends.
fn redirected(url: &str) -> Response {
    let mut response = StatusCode::FOUND.into_response();
    set(&mut response, LOCATION, url);
    set(&mut response, CACHE_CONTROL, "private, no-store");
    // The link is as good as the bytes, so no page that it leads to hears of it.
    set(&mut response, REFERRER_POLICY, "no-referrer");
    response
}

/// The picture that a `variant` means; `None` is the video itself.
///
/// # Errors
/// `invalid_value` for a word nobody knows.
pub fn variant_of(word: Option<&str>) -> Result<Option<PictureKind>, ApiError> {
    match word {
        None | Some("video") => Ok(None),
        Some(word) => PictureKind::ALL.into_iter().find(|kind| kind.word() == word).map(Some).ok_or_else(|| {
            ApiError::about("variant", ErrorCode::InvalidValue, "must be video, thumbnail or spritesheet")
        }),
    }
}

async fn thing(app: &App, job: &Job, kind: Option<PictureKind>) -> Result<Thing, ApiError> {
    let id = job.record.job;
    let Some(video) = &job.output else { return Err(no_bytes(app, job)) };
    let Some(kind) = kind else {
        return Ok(Thing {
            bytes: Source::Stored(video.key.clone()),
            len: video.bytes,
            sha256: video.sha256,
            media_type: video.media_type.to_string(),
            file_name: format!("{id}.mp4"),
        });
    };
    let bytes = picture(app, video, kind).await?;
    Ok(Thing {
        len: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
        sha256: Digest(sha256(&bytes)),
        bytes: Source::Memory(bytes),
        media_type: kind.format().media_type().to_owned(),
        file_name: format!("{id}.{}.{}", kind.word(), kind.format().extension()),
    })
}

/// Why there is nothing to serve of a video: it is not ready, or its bytes are no longer kept.
pub fn no_bytes(app: &App, job: &Job) -> ApiError {
    let state = job.record.state.name();
    let message = match state {
        StateName::Completed => return expired(app, job),
        state if state.is_terminal() => format!("the video is {} and has no bytes; its `error` says why", state.word()),
        state => format!("the video is {}; wait until its status is completed", state.word()),
    };
    ApiError::new(ErrorCode::VideoNotReady, message)
}

/// A completed video has its bytes until retention removes them.
fn expired(app: &App, job: &Job) -> ApiError {
    let project = job.record.project;
    let until = job.record.finished_at.and_then(|at| app.retention().content_until(project, at));
    let until = until.filter(|until| *until <= app.clock.now());
    let until = until.and_then(|until| jiff::Timestamp::from_second(until.as_secs()).ok());
    let message = match (until, app.retention().of(project).content().map(|kept| Kept(Some(kept)))) {
        (Some(until), Some(kept)) => format!(
            "this server keeps the bytes of videos for {kept} ([retention]); those of this one were kept until {until} and are gone; create it anew"
        ),
        _ => "the bytes of this video were removed by the retention policy of that time; create it anew".to_owned(),
    };
    ApiError::new(ErrorCode::ContentExpired, message)
}

async fn open(app: &App, thing: &Thing, first: u64, len: u64) -> Result<Body, ApiError> {
    match &thing.bytes {
        Source::Memory(bytes) => {
            let (from, to) = (usize::try_from(first).unwrap_or(0), usize::try_from(first + len).unwrap_or(0));
            Ok(Body::from(bytes.slice(from.min(bytes.len())..to.min(bytes.len()))))
        }
        Source::Stored(key) => {
            let stream = app.artifacts.stream(key, first..first + len).await?;
            // A failure midway cuts the connection, so that nobody takes the part for the whole.
            Ok(Body::from_stream(stream.inspect(|chunk| {
                if let Err(error) = chunk {
                    tracing::error!(%error, "reading a stored video broke off");
                }
            })))
        }
    }
}

fn described(status: StatusCode, thing: &Thing, etag: &str, body: Body) -> Response {
    let mut response = (status, body).into_response();
    set(&mut response, ETAG, etag);
    set(&mut response, CONTENT_TYPE, &thing.media_type);
    set(&mut response, CONTENT_DISPOSITION, &format!("inline; filename=\"{}\"", thing.file_name));
    set(&mut response, ACCEPT_RANGES, "bytes");
    set(&mut response, CACHE_CONTROL, "private, max-age=0, must-revalidate");
    set(&mut response, X_CONTENT_TYPE_OPTIONS, "nosniff");
    response
}

fn not_satisfiable(len: u64) -> Response {
    let message = format!("no byte of the range lies within the {len} bytes");
    let mut response = ApiError::new(ErrorCode::RangeNotSatisfiable, message).into_response();
    set(&mut response, CONTENT_RANGE, &format!("bytes */{len}"));
    response
}

fn set(response: &mut Response, name: http::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
