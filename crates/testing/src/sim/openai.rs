//! The OpenAI shape, `/v1/videos…`, in three flavours.
//!
//! Honest enough for the official SDKs; each flavour has the traps of the server it imitates (see [`Flavour`]).
//! Absent: edits, extensions, characters; their literal paths are unknown videos here.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Path, Query, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::connection::Connection;
use super::jobs::{Phase, View};
use super::ledger::{Ending, Vendor};
use super::options::Flavour;
use super::poll::{self, DeleteFault, ListFilter, Shown};
use super::submit::{Refusal, refused as refuse, submit};
use super::{Shared, now_micros, openai_fields, results};

const VENDOR: Vendor = Vendor::OpenaiCompatible;
/// Most videos on one page of a list.
const MAX_PAGE: usize = 100;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/videos", post(create).get(list))
        .route("/v1/videos/{id}", get(retrieve).delete(delete))
        .route("/v1/videos/{id}/remix", post(remix))
        .route("/v1/videos/{id}/content", get(content))
}

type Web = State<Arc<Shared>>;

async fn create(State(shared): Web, ConnectInfo(connection): ConnectInfo<Connection>, request: Request) -> Response {
    let headers = request.headers().clone();
    if !shared.authorized(&headers) {
        return refuse(&shared, VENDOR, &Refusal::Unauthorized);
    }
    let decoded = openai_fields::decode(request, &shared.options).await;
    match decoded.and_then(|fields| openai_fields::check(&fields, &headers, &shared.options)) {
        Ok(new) => submit(shared, connection, new).await,
        Err(refusal) => refuse(&shared, VENDOR, &refusal),
    }
}

async fn remix(
    State(shared): Web,
    ConnectInfo(connection): ConnectInfo<Connection>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let headers = request.headers().clone();
    if !shared.authorized(&headers) {
        return refuse(&shared, VENDOR, &Refusal::Unauthorized);
    }
    let source = {
        let table = shared.table.lock().unwrap();
        table.find(VENDOR, &id).map(|index| Arc::clone(&table.at(index).entry))
    };
    let Some(source) = source else { return not_found(&shared) };
    let decoded = openai_fields::decode(request, &shared.options).await.map(|mut fields| {
        if let Some(fields) = fields.as_object_mut() {
            fields.insert("model".to_owned(), json!(source.model));
            fields.insert("seconds".to_owned(), json!(source.seconds.to_string()));
            fields.insert("size".to_owned(), json!(source.size));
            fields.insert("remix_of".to_owned(), json!(id));
        }
        fields
    });
    match decoded.and_then(|fields| openai_fields::check(&fields, &headers, &shared.options)) {
        Ok(mut new) => {
            new.remix_of = Some(id);
            submit(shared, connection, new).await
        }
        Err(refusal) => refuse(&shared, VENDOR, &refusal),
    }
}

async fn retrieve(
    State(shared): Web,
    ConnectInfo(connection): ConnectInfo<Connection>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    if !shared.authorized(&headers) {
        return refuse(&shared, VENDOR, &Refusal::Unauthorized);
    }
    let fault = match poll::before(&shared, VENDOR, &connection).await {
        Ok(fault) => fault,
        Err(answer) => return answer,
    };
    let Some(shown) = poll::find(&shared, VENDOR, &id, fault) else { return not_found(&shared) };
    let mut status = StatusCode::OK;
    if shared.options.flavour == Flavour::VllmOmni && shown.view.phase == Phase::Failed {
        // The trap of this server: the status of the GET is the job's own error, the body is still the video.
        status = failure_status(&shown.view);
    }
    let mut answer = (status, Json(video(&shared, &shown, true))).into_response();
    if let Some(milliseconds) = shared.options.poll_after_ms {
        answer.headers_mut().insert("openai-poll-after-ms", HeaderValue::from(milliseconds));
    }
    if let Some(seconds) = shown.retry_after_secs {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    with_request_id(&shared, answer)
}

async fn list(
    State(shared): Web,
    ConnectInfo(connection): ConnectInfo<Connection>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    if !shared.authorized(&headers) {
        return refuse(&shared, VENDOR, &Refusal::Unauthorized);
    }
    if let Err(answer) = poll::before(&shared, VENDOR, &connection).await {
        return answer;
    }
    let limit = query.get("limit").map_or(Ok(20), |limit| limit.parse::<usize>());
    let Some(limit) = limit.ok().filter(|limit| (1..=MAX_PAGE).contains(limit)) else {
        return refuse(&shared, VENDOR, &Refusal::invalid("limit", "limit must be from 1 to 100"));
    };
    let ascending = match query.get("order").map(String::as_str) {
        Some("asc") => true,
        Some("desc") | None => false,
        Some(_) => return refuse(&shared, VENDOR, &Refusal::invalid("order", "order must be asc or desc")),
    };
    let filter = ListFilter::next(&shared);
    let mut views = {
        let table = shared.table.lock().unwrap();
        let after = match query.get("after").map(|id| table.find(VENDOR, id)) {
            Some(None) => {
                drop(table);
                return refuse(&shared, VENDOR, &Refusal::invalid("after", "No such video: 'after'."));
            }
            Some(found) => found,
            None => None,
        };
        let shown = table.shown(VENDOR);
        let views = |(index, job)| filter.view(index, job);
        let page: Vec<View> = if ascending {
            shown
                .skip_while(|(index, _)| after.is_some_and(|after| *index <= after))
                .filter_map(views)
                .take(limit + 1)
                .collect()
        } else {
            let newest_first = shown.rev();
            newest_first
                .skip_while(|(index, _)| after.is_some_and(|after| *index >= after))
                .filter_map(views)
                .take(limit + 1)
                .collect()
        };
        page
    };
    let has_more = views.len() > limit;
    views.truncate(limit);
    let with_prompt = shared.options.list_prompt.unwrap_or(shared.options.flavour != Flavour::Sglang);
    let data: Vec<Value> = views.into_iter().map(|view| video(&shared, &plain(view), with_prompt)).collect();
    let id_of = |video: Option<&Value>| video.map(|video| video["id"].clone());
    let page = json!({
        "object": "list",
        "first_id": id_of(data.first()),
        "last_id": id_of(data.last()),
        "has_more": has_more,
        "data": data,
    });
    with_request_id(&shared, Json(page).into_response())
}

async fn delete(
    State(shared): Web,
    ConnectInfo(connection): ConnectInfo<Connection>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    if !shared.authorized(&headers) {
        return refuse(&shared, VENDOR, &Refusal::Unauthorized);
    }
    if let Err(answer) = poll::before(&shared, VENDOR, &connection).await {
        return answer;
    }
    let now = now_micros();
    let mut table = shared.table.lock().unwrap();
    let Some(index) = table.find(VENDOR, &id) else {
        drop(table);
        return not_found(&shared);
    };
    match poll::delete_fault(&shared, table.at_mut(index)) {
        Some(DeleteFault::Error) => return refuse(&shared, VENDOR, &Refusal::ServerError),
        Some(DeleteFault::Conflict) => return error(&shared, StatusCode::CONFLICT, None, "Cancellation in progress"),
        None => {}
    }
    let view = table.at(index).view(now);
    let unfinished = matches!(view.phase, Phase::Queued | Phase::Running);
    let ending = match (shared.options.flavour, view.phase) {
        (Flavour::VllmOmni, Phase::Queued) => Ending::Canceled,
        (Flavour::VllmOmni, Phase::Running) => Ending::Stopped,
        (Flavour::Openai, _) if unfinished => {
            let message = "Only completed or failed videos can be deleted.";
            return error(&shared, StatusCode::BAD_REQUEST, Some("id"), message);
        }
        _ => Ending::Deleted,
    };
    table.end(index, ending, now);
    drop(table);
    let body = if shared.options.flavour == Flavour::Sglang {
        video(&shared, &Shown { word: Some("deleted".to_owned()), ..plain(view) }, false)
    } else {
        json!({"id": id, "object": "video.deleted", "deleted": true})
    };
    with_request_id(&shared, Json(body).into_response())
}

async fn content(
    State(shared): Web,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    if !shared.authorized(&headers) {
        return refuse(&shared, VENDOR, &Refusal::Unauthorized);
    }
    let found = {
        let table = shared.table.lock().unwrap();
        table.find(VENDOR, &id).map(|index| (index, table.at(index).view(now_micros())))
    };
    let Some((index, view)) = found else { return not_found(&shared) };
    let flavour = shared.options.flavour;
    match view.phase {
        Phase::Completed => {}
        Phase::Failed if flavour == Flavour::VllmOmni => {
            return error(&shared, StatusCode::UNPROCESSABLE_ENTITY, None, "Video generation failed");
        }
        Phase::Failed => return error(&shared, StatusCode::NOT_FOUND, None, "Video generation failed"),
        _ => return error(&shared, StatusCode::NOT_FOUND, None, "Generation is still in-progress"),
    }
    let variant = query.get("variant").map(String::as_str);
    if flavour == Flavour::Sglang {
        if variant.is_some_and(|variant| variant != "0") {
            return error(&shared, StatusCode::NOT_FOUND, None, "Variant not found");
        }
        if shared.options.cloud_storage {
            let message = format!(
                "Video has been uploaded to cloud storage. Please use the cloud URL: {}",
                results::url(&shared, &view)
            );
            return error(&shared, StatusCode::BAD_REQUEST, None, &message);
        }
    }
    match variant {
        None | Some("video" | "0") => results::serve(&shared, index, &view, &headers),
        Some("thumbnail") => results::thumbnail(),
        Some("spritesheet") => results::spritesheet(),
        Some(_) => refuse(&shared, VENDOR, &Refusal::invalid("variant", "Unknown variant.")),
    }
}

fn plain(view: View) -> Shown {
    Shown { view, word: None, retry_after_secs: None }
}

fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Queued => "queued",
        Phase::Running => "in_progress",
        Phase::Completed => "completed",
        Phase::Failed => "failed",
        Phase::Canceled => "cancelled",
    }
}

/// The status that vLLM-Omni answers the GET of a failed job with.
fn failure_status(view: &View) -> StatusCode {
    let code = view.entry.fails.as_deref().and_then(|code| code.parse::<u16>().ok());
    code.and_then(|code| StatusCode::from_u16(code).ok()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn failure(flavour: Flavour, view: &View) -> Value {
    let code = view.entry.fails.as_deref().unwrap_or_default();
    let message = format!("Video generation failed ({code})");
    match flavour {
        Flavour::Openai => json!({"code": code, "message": message}),
        Flavour::Sglang => json!({"message": message}),
        Flavour::VllmOmni => json!({"code": failure_status(view).as_u16(), "message": message}),
    }
}

/// The video object in the flavour's own fields.
fn video(shared: &Shared, shown: &Shown, with_prompt: bool) -> Value {
    let view = &shown.view;
    let entry = &view.entry;
    let flavour = shared.options.flavour;
    let done = matches!(view.phase, Phase::Completed | Phase::Failed);
    let mut video = json!({
        "id": entry.provider_job,
        "object": "video",
        "model": entry.model,
        "status": shown.word.as_deref().unwrap_or(word(view.phase)),
        "progress": view.progress,
        "created_at": entry.accepted_at / 1_000_000,
        "size": entry.size,
        "seconds": entry.seconds.to_string(),
    });
    let mut set = |name: &str, value: Value| video[name] = value;
    if with_prompt && flavour != Flavour::Sglang {
        set("prompt", json!(entry.prompt));
    }
    if view.phase == Phase::Failed {
        set("error", failure(flavour, view));
    }
    match flavour {
        Flavour::Openai => {
            set("completed_at", if done { json!(view.changed_at / 1_000_000) } else { Value::Null });
            set("expires_at", if done { json!(view.changed_at / 1_000_000 + 3600) } else { Value::Null });
            set("remixed_from_video_id", json!(entry.remix_of));
            if view.phase != Phase::Failed {
                set("error", Value::Null);
            }
        }
        Flavour::Sglang => {
            set("quality", json!("standard"));
            if shared.options.cloud_storage && view.phase == Phase::Completed {
                set("url", json!(results::url(shared, view)));
            }
        }
        Flavour::VllmOmni if view.phase == Phase::Completed => {
            set("completed_at", json!(view.changed_at / 1_000_000));
            set("file_name", json!(format!("{}.mp4", entry.provider_job)));
            set("inference_time_s", json!(f64::from(entry.duration_ms) / 1000.0));
        }
        Flavour::VllmOmni => {}
    }
    video
}

/// The answer to an accepted create: always as it was at acceptance.
pub(super) fn accepted(shared: &Shared, view: &View) -> Response {
    let mut view = view.clone();
    (view.phase, view.progress) = (Phase::Queued, 0);
    let with_prompt = shared.options.flavour != Flavour::Sglang;
    with_request_id(shared, Json(video(shared, &plain(view), with_prompt)).into_response())
}

/// The answer to a refused call.
pub(super) fn refused(shared: &Shared, refusal: &Refusal) -> Response {
    let (status, field, message) = match refusal {
        Refusal::Invalid { message, field } => (StatusCode::BAD_REQUEST, *field, message.as_str()),
        Refusal::Coded(code) => {
            // An HTTP status stands for itself; a word is the code of a 400.
            let status = code.parse::<u16>().ok().and_then(|code| StatusCode::from_u16(code).ok());
            let status = status.filter(|status| status.as_u16() >= 400).unwrap_or(StatusCode::BAD_REQUEST);
            return coded(shared, status, None, "refused by order of the prompt", code);
        }
        Refusal::Unauthorized => (StatusCode::UNAUTHORIZED, None, "Incorrect API key provided."),
        Refusal::RateLimited { retry_after_secs } => {
            let mut answer = error(shared, StatusCode::TOO_MANY_REQUESTS, None, "Rate limit reached.");
            if let Some(seconds) = retry_after_secs {
                answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
            }
            return answer;
        }
        Refusal::Overloaded => (overloaded(), None, "Overloaded."),
        Refusal::ServerError => (StatusCode::INTERNAL_SERVER_ERROR, None, "The server had an error."),
        Refusal::KeyConflict => (StatusCode::CONFLICT, None, "This idempotency key was used with another request."),
        Refusal::CallbackCheck => (StatusCode::BAD_REQUEST, None, "The callback could not be checked."),
    };
    error(shared, status, field, message)
}

/// 529, which has no name.
pub(super) fn overloaded() -> StatusCode {
    StatusCode::from_u16(529).expect("529 is in range")
}

fn not_found(shared: &Shared) -> Response {
    error(shared, StatusCode::NOT_FOUND, None, "Video not found")
}

fn error(shared: &Shared, status: StatusCode, field: Option<&str>, message: &str) -> Response {
    let code = match status.as_u16() {
        400 => "invalid_value",
        401 => "invalid_api_key",
        404 => "not_found",
        409 => "conflict",
        422 => "unprocessable",
        429 => "rate_limit_exceeded",
        529 => "overloaded",
        _ => "server_error",
    };
    coded(shared, status, field, message, code)
}

fn coded(shared: &Shared, status: StatusCode, field: Option<&str>, message: &str, code: &str) -> Response {
    let kind = match status.as_u16() {
        401 => "authentication_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    };
    let body = match shared.options.flavour {
        Flavour::Openai => json!({"error": {"message": message, "type": kind, "param": field, "code": code}}),
        Flavour::Sglang | Flavour::VllmOmni => json!({ "detail": message }),
    };
    with_request_id(shared, (status, Json(body)).into_response())
}

fn with_request_id(shared: &Shared, mut answer: Response) -> Response {
    let count = shared.requests.load(std::sync::atomic::Ordering::Relaxed);
    let id = HeaderValue::from_str(&format!("req_sim_{count}")).expect("digits are a header value");
    answer.headers_mut().insert(HeaderName::from_static("x-request-id"), id);
    answer
}
