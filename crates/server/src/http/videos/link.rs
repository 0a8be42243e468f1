//! `POST /v1/videos/{id}/content/link`: a link to the bytes for somebody without a key, for a while.
//!
//! The link is the content route itself with an end and a signature, so every machine that has the secret key serves it,
//! wherever the bytes lie, and none of it is kept. Deleting the video ends it early; nothing else does.

use axum::Json;
use axum::extract::{FromRequestParts, Request, State};
use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, Uri};
use longtake_core::artifact::Digest;
use longtake_core::id::{JobId, ProjectId};
use serde::Serialize;
use utoipa::ToSchema;

use super::content::{no_bytes, variant_of};
use super::get::find;
use super::path::VideoId;
use super::pictures::PictureKind;
use crate::app::App;
use crate::http::api_keys::optional_members;
use crate::http::auth::Reader;
use crate::http::error::{ApiError, ErrorBody, ErrorCode};
use crate::http::node::{Members, integer_text};
use crate::http::query::Query;
use crate::http::signing::{is_signed, sign};

/// What links are signed for.
const PURPOSE: &str = "links to the content of videos";
/// How long a link lives where nothing is said, in seconds.
const DEFAULT_SECS: i64 = 3_600;
/// How long it may live, in seconds: seven days.
const MAX_SECS: i64 = 604_800;

/// The members of a request for a link, for the OpenAPI document.
#[derive(ToSchema)]
#[schema(as = CreateContentLink)]
#[expect(dead_code, reason = "read by the OpenAPI generator only: the members are decoded strictly by hand")]
pub struct LinkSchema {
    /// How long the link lives, 1 to 604800 seconds. Default: 3600.
    #[schema(minimum = 1, maximum = 604800, example = 3600)]
    expires_in_seconds: Option<i64>,
    /// `video` (default), `thumbnail` or `spritesheet`.
    #[schema(example = "video")]
    variant: Option<String>,
}

/// A link that needs no key.
#[derive(Debug, Serialize, ToSchema)]
pub struct ContentLink {
    /// Always `video.content_link`.
    #[schema(value_type = String, example = "video.content_link")]
    pub object: &'static str,
    /// Whoever has it may read the bytes until it ends.
    pub url: String,
    /// When it ends, in seconds since 1970.
    pub expires_at: i64,
}

/// Makes a link to the bytes that works without a key until it ends.
#[utoipa::path(
    post, path = "/v1/videos/{id}/content/link", operation_id = "create_content_link", tag = "videos",
    params(("id" = String, Path, description = "The video.")),
    request_body = Option<LinkSchema>,
    responses(
        (status = 200, body = ContentLink), (status = 400, body = ErrorBody), (status = 401, body = ErrorBody),
        (status = 403, body = ErrorBody), (status = 404, body = ErrorBody),
        (status = 409, body = ErrorBody, description = "Not completed, and no late result is there."),
        (status = 410, body = ErrorBody, description = "The bytes are no longer kept."),
    )
)]
pub async fn link(
    State(app): State<App>,
    Reader(caller): Reader,
    VideoId(id): VideoId,
    headers: HeaderMap,
    uri: Uri,
    request: Request,
) -> Result<Json<ContentLink>, ApiError> {
    let (kind, seconds) = asked(optional_members(&app, request).await?)?;
    let job = find(&app, &caller, id).await?;
    if job.output.is_none() {
        return Err(no_bytes(&app, &job));
    }
    let expires_at = app.clock.now().as_secs().saturating_add(seconds);
    let path = signed_path(&app, caller.project, id, kind, expires_at);
    let url = format!("{}{path}", base(&app, &headers, &uri));
    Ok(Json(ContentLink { object: "video.content_link", url, expires_at }))
}

/// The content's path with an end, in seconds since 1970, and a signature: good without a key until then.
pub fn signed_path(app: &App, project: ProjectId, id: JobId, kind: Option<PictureKind>, expires_at: i64) -> String {
    let variant = word(kind);
    let parts = parts_of(project, id, variant, expires_at);
    let signed = Digest(sign(app, PURPOSE, &parts.each_ref().map(Vec::as_slice)));
    format!("/v1/videos/{id}/content?variant={variant}&expires={expires_at}&signature={project}-{signed}")
}

fn asked(mut members: Members) -> Result<(Option<PictureKind>, i64), ApiError> {
    const SECONDS: &str = "expires_in_seconds";
    let seconds = members.take(SECONDS).map(|node| node.into_integer(SECONDS)).transpose()?.unwrap_or(DEFAULT_SECS);
    let kind = variant_of(members.text("variant")?.as_deref())?;
    members.done("")?;
    if !(1..=MAX_SECS).contains(&seconds) {
        return Err(ApiError::about(SECONDS, ErrorCode::InvalidValue, format!("must be 1 to {MAX_SECS} seconds")));
    }
    Ok((kind, seconds))
}

fn word(kind: Option<PictureKind>) -> &'static str {
    kind.map_or("video", PictureKind::word)
}

/// What a link is good for.
fn parts_of(project: ProjectId, id: JobId, variant: &str, expires_at: i64) -> [Vec<u8>; 4] {
    [
        project.0.to_be_bytes().to_vec(),
        id.as_bytes().to_vec(),
        variant.as_bytes().to_vec(),
        expires_at.to_be_bytes().to_vec(),
    ]
}

/// What the link begins with: the public address where one is configured, else what the client itself came by.
pub fn base(app: &App, headers: &HeaderMap, uri: &Uri) -> String {
    if let Some(url) = &app.public_url {
        return url.to_string();
    }
    let told = headers.get(HOST).and_then(|host| host.to_str().ok()).and_then(|host| host.parse::<Authority>().ok());
    told.as_ref().or(uri.authority()).map_or_else(String::new, |authority| format!("http://{authority}"))
}

/// Who may read the content of the video in the path: a caller who may read, or whoever has a link.
pub struct Viewer {
    /// Whose video it is.
    pub project: ProjectId,
    /// Which video.
    pub id: JobId,
    /// The picture instead of the video.
    pub kind: Option<PictureKind>,
}

impl FromRequestParts<App> for Viewer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let linked = |pair: &str| pair.starts_with("expires=") || pair.starts_with("signature=");
        let caller = match parts.uri.query().unwrap_or("").split('&').any(linked) {
            true => None,
            false => Some(Reader::from_request_parts(parts, app).await?.0),
        };
        let VideoId(id) = VideoId::from_request_parts(parts, app).await?;
        let mut query = Query::parse(parts.uri.query().unwrap_or(""))?;
        let (expires, signature, variant) = (query.take("expires"), query.take("signature"), query.take("variant"));
        query.done("variant, and expires and signature of a link")?;
        let kind = variant_of(variant.as_deref())?;
        let project = match caller {
            Some(caller) => caller.project,
            None => opened(app, id, kind, expires.as_deref(), signature.as_deref())?,
        };
        Ok(Self { project, id, kind })
    }
}

/// Whose video a link leads to.
fn opened(
    app: &App,
    id: JobId,
    kind: Option<PictureKind>,
    expires: Option<&str>,
    signature: Option<&str>,
) -> Result<ProjectId, ApiError> {
    let invalid = || {
        let message = "the link is not one of this server, or was changed; take all of it, or ask for another one";
        ApiError::new(ErrorCode::InvalidLink, message)
    };
    let expires_at = expires.and_then(integer_text).ok_or_else(invalid)?;
    let (project, signed) = signature.and_then(|text| text.split_once('-')).ok_or_else(invalid)?;
    let project = project.parse().map(ProjectId).map_err(|_| invalid())?;
    let signed = Digest::from_hex(signed).ok_or_else(invalid)?;
    let parts = parts_of(project, id, word(kind), expires_at);
    if !is_signed(app, PURPOSE, &parts.each_ref().map(Vec::as_slice), &signed.0) {
        return Err(invalid());
    }
    if app.clock.now().as_secs() >= expires_at {
        let message = "the link is over; ask for another one with POST /v1/videos/{id}/content/link";
        return Err(ApiError::new(ErrorCode::LinkExpired, message));
    }
    Ok(project)
}
