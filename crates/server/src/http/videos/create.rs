//! `POST /v1/videos`: accepted means committed to disk.

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use longtake_core::id::JobId;
use longtake_core::store::{CreateResult, IdempotencyKey, Job, NewJob, StoreError};
use std::time::Duration;
use utoipa::ToSchema;

use super::accept::accept;
use super::cost;
use super::fields::CreateFields;
use super::wire::{self, Video};
use crate::app::App;
use crate::http::auth::{Caller, Writer};
use crate::http::body;
use crate::http::error::{ApiError, ErrorBody, ErrorCode};
use crate::http::schemas::{DollarAmountSchema, InputReferenceSchema, WholeNumberSchema};

/// How often a create whose commit is unknown is repeated, with the same id, before the client is told to.
const MAX_CREATE_TRIES: usize = 3;
/// Longest idempotency key, in characters.
const MAX_KEY_CHARS: usize = 255;

/// The members of a create, for the OpenAPI document; `fields` decodes them.
#[derive(ToSchema)]
#[schema(as = CreateVideo)]
#[expect(dead_code, reason = "read by the OpenAPI generator only: the members are decoded strictly by hand")]
pub struct CreateVideoSchema {
    /// What the video shall show: 1 to 32,000 characters.
    #[schema(max_length = 32_000, min_length = 1)]
    prompt: String,
    /// A model of GET /v1/models; the first configured one if absent.
    model: Option<String>,
    /// Length in seconds, 1 to 3600; the model says which it makes.
    #[schema(value_type = Option<WholeNumberSchema>)]
    seconds: Option<String>,
    /// WIDTHxHEIGHT in pixels.
    #[schema(example = "1280x720")]
    size: Option<String>,
    /// A picture to start from.
    #[schema(value_type = Option<InputReferenceSchema>)]
    input_reference: Option<serde_json::Value>,
    /// Up to 16 pairs of strings: keys to 64, values to 512 characters.
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>)]
    metadata: Option<serde_json::Value>,
    /// Every event of the video is also sent there: https, or http where the operator allows it; to 2,048 bytes.
    #[schema(max_length = 2_048, example = "https://example.com/hooks/video")]
    webhook_url: Option<String>,
    /// The video fails as `deadline_exceeded` after this many seconds.
    #[schema(minimum = 1)]
    deadline_seconds: Option<u64>,
    /// Higher goes first: -100 to 100.
    #[schema(minimum = -100, maximum = 100)]
    priority: Option<i16>,
    /// All attempts together may cost at most this many dollars.
    #[schema(value_type = Option<DollarAmountSchema>)]
    max_cost_usd: Option<serde_json::Value>,
    /// For the route's provider, which checks it.
    #[schema(value_type = Option<Object>)]
    provider_options: Option<serde_json::Value>,
}

/// Makes a video. The answer means that it is durable; rendering follows.
#[utoipa::path(
    post, path = "/v1/videos", operation_id = "create_video", tag = "videos",
    params(("Idempotency-Key" = Option<String>, Header, description = "Same key and same fields: the same video.")),
    request_body(content(
        (CreateVideoSchema = "application/json"),
        (CreateVideoSchema = "multipart/form-data"),
    )),
    responses(
        (status = 200, body = Video),
        (status = 400, body = ErrorBody, description = "Invalid, or unsupported by the model; nothing was paid."),
        (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 409, body = ErrorBody, description = "The idempotency key was used for other fields."),
        (status = 507, body = ErrorBody),
    )
)]
pub async fn create(State(app): State<App>, Writer(caller): Writer, request: Request) -> Result<Response, ApiError> {
    let again = Again::of(request.headers())?;
    let (fields, _held) = decode(&app, request).await?;
    let made = make(&app, &caller, &fields, again).await?;
    answer(&app, &made).await
}

/// How a create says that it may be a repeated one.
pub struct Again {
    key: Option<String>,
    count: u32,
}

impl Again {
    /// From the headers of a create.
    ///
    /// # Errors
    /// `invalid_header` for an `Idempotency-Key` that is none.
    pub fn of(headers: &HeaderMap) -> Result<Self, ApiError> {
        Ok(Self { key: idempotency_key(headers)?, count: retry_count(headers) })
    }
}

/// What a create came to.
pub struct Made {
    /// The job: durable.
    pub job: Job,
    /// It was there before.
    pub replayed: bool,
}

/// Makes a video of decoded members, whatever shape they came in.
///
/// # Errors
/// Names the member at fault; nothing is paid.
pub async fn make(app: &App, caller: &Caller, fields: &CreateFields, again: Again) -> Result<Made, ApiError> {
    let Again { key, count } = again;
    let fingerprint = fields.fingerprint();
    if let Some(key) = &key
        && let Some(job) = known_job(app, caller, key, fingerprint).await?
    {
        return Ok(Made { job, replayed: true });
    }
    if app.is_out_of_room().await {
        let message = "the artifact store is nearly full; no more videos are accepted until the operator makes room";
        return Err(ApiError::new(ErrorCode::StorageFull, message));
    }
    let fresh = JobId::new(app.clock.now(), &*app.random);
    let video = accept(app, caller.project, fields).await?;
    let job = match key {
        Some(_) => fresh,
        None => app.memory.recent.id_for(caller.key, fingerprint, count, fresh, app.clock.monotonic()),
    };
    let idempotency = key.map(|key| IdempotencyKey { key: key.into(), fingerprint });
    let deadline = fields.deadline_seconds.map(Duration::from_secs);
    let pool = cost::pool(app, &video);
    let new = NewJob { job, project: caller.project, request: video, pool, deadline, idempotency };
    match submit(app, new).await? {
        CreateResult::Created(created) => Ok(Made { job: created, replayed: job != fresh }),
        CreateResult::Replayed(known) => Ok(Made { job: known, replayed: true }),
        CreateResult::KeyReused(_) => Err(key_reused()),
    }
}

/// The members of a create, in JSON or multipart, and the memory they take.
///
/// # Errors
/// Names the member at fault.
pub async fn decode(app: &App, request: Request) -> Result<(CreateFields, body::Held), ApiError> {
    let (parts, body) = request.into_parts();
    let content_type = parts.headers.get(CONTENT_TYPE).cloned();
    let essence = content_type.as_ref().and_then(|kind| kind.to_str().ok()).and_then(|kind| kind.split(';').next());
    match (essence.map(|essence| essence.trim().to_ascii_lowercase()).as_deref(), &content_type) {
        (Some("application/json"), _) => {
            let held = body::read(app, body, app.limits.max_create_json_bytes()).await?;
            Ok((CreateFields::from_json(&held.bytes)?, held))
        }
        (Some("multipart/form-data"), Some(content_type)) => {
            let held = body::read(app, body, app.limits.max_multipart_bytes()).await?;
            Ok((CreateFields::from_multipart(content_type, held.bytes.clone()).await?, held))
        }
        _ => {
            let message = "send application/json or multipart/form-data, and say so in Content-Type";
            Err(ApiError::new(ErrorCode::UnsupportedMediaType, message))
        }
    }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ApiError> {
    let wrong = || {
        let message = "Idempotency-Key must be given once, with 1 to 255 visible ASCII characters";
        ApiError::about("Idempotency-Key", ErrorCode::InvalidHeader, message)
    };
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let text = value.to_str().map_err(|_| wrong())?;
    let visible = (1..=MAX_KEY_CHARS).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !visible || values.next().is_some() {
        return Err(wrong());
    }
    Ok(Some(text.to_owned()))
}

/// 0 where the SDK does not say, or says nonsense.
fn retry_count(headers: &HeaderMap) -> u32 {
    let count = headers.get("x-stainless-retry-count").and_then(|value| value.to_str().ok());
    count.and_then(|count| count.parse().ok()).unwrap_or(0)
}

/// What the key stands for already. Saves fetching an input image again; the store decides all the same.
async fn known_job(app: &App, caller: &Caller, key: &str, fingerprint: [u8; 32]) -> Result<Option<Job>, ApiError> {
    match app.store.find_idempotent(caller.project, key).await? {
        None => Ok(None),
        Some((known, _)) if known != fingerprint => Err(key_reused()),
        Some((_, job)) => Ok(app.store.get(caller.project, job).await?),
    }
}

fn key_reused() -> ApiError {
    let message = "this Idempotency-Key was used for other fields; use a new key for a new video";
    ApiError::about("Idempotency-Key", ErrorCode::IdempotencyKeyReused, message)
}

async fn submit(app: &App, new: NewJob) -> Result<CreateResult, StoreError> {
    let mut tries = 1;
    loop {
        match app.engine.creates().submit(new.clone()).await {
            Err(StoreError::CommitUnknown) if tries < MAX_CREATE_TRIES => tries += 1,
            result => return result,
        }
    }
}

/// The answer that shows what a create came to.
///
/// # Errors
/// As the store.
pub async fn answer(app: &App, made: &Made) -> Result<Response, ApiError> {
    let mut response = wire::respond(app, &made.job).await?.into_response();
    if made.replayed {
        response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}
