//! MiniMax V2: real HTTP statuses, an `error` object, the result URL inside the task.
//!
//! The vendor's word for a job is "task"; it stands only in paths and fields here.
//! Absent: context-IR and regeneration, and the seven days after which the vendor forgets.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::{Value, json};

use super::connection::Connection;
use super::jobs::{Phase, View};
use super::ledger::{Ending, Vendor};
use super::poll::{self, DeleteFault, ListFilter, Shown};
use super::submit::{NewJob, Refusal, request_hash, submit};
use super::{Shared, minimax_codes, minimax_content, now_micros, results};

const VENDOR: Vendor = Vendor::MinimaxV2;
/// Most tasks on one page of a list.
const MAX_PAGE: usize = 100;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v2/video_generation", post(create))
        .route("/v2/video_generation/{id}", delete(remove))
        .route("/v2/query/video_generation", get(list))
        .route("/v2/query/video_generation/{id}", get(query))
}

type Web = State<Arc<Shared>>;

async fn create(
    State(shared): Web,
    ConnectInfo(connection): ConnectInfo<Connection>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !shared.authorized(&headers) {
        return refused(&Refusal::Unauthorized);
    }
    let body: Value = match serde_json::from_slice(&body) {
        Ok(body) => body,
        Err(error) => return coded(2013, &error.to_string()),
    };
    let checked = match minimax_content::check(&body, shared.options.insecure_inputs) {
        Ok(checked) => checked,
        Err(wrong) => return coded(2013, &wrong),
    };
    if !shared.options.models.is_empty() && !shared.options.models.contains(&checked.model) {
        return coded(2013, "this account does not have the model");
    }
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
    let new = NewJob {
        vendor: VENDOR,
        model: checked.model,
        prompt: checked.prompt,
        seconds: checked.duration,
        size: checked.resolution,
        ratio: checked.ratio,
        idempotency_key: header("idempotency-key"),
        client_ref: header("x-client-ref"),
        callback_url: checked.callback_url,
        remix_of: None,
        request_hash: request_hash(&body),
        price_usd: checked.price_usd,
    };
    submit(shared, connection, new).await
}

async fn query(
    State(shared): Web,
    ConnectInfo(connection): ConnectInfo<Connection>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    if !shared.authorized(&headers) {
        return refused(&Refusal::Unauthorized);
    }
    let fault = match poll::before(&shared, VENDOR, &connection).await {
        Ok(fault) => fault,
        Err(answer) => return answer,
    };
    let Some(shown) = poll::find(&shared, VENDOR, &id, fault) else { return coded(2013, "invalid task_id") };
    let mut answer = Json(json!({ "task": task(&shared, &shown) })).into_response();
    if let Some(seconds) = shown.retry_after_secs {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}

async fn list(
    State(shared): Web,
    ConnectInfo(connection): ConnectInfo<Connection>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    if !shared.authorized(&headers) {
        return refused(&Refusal::Unauthorized);
    }
    if let Err(answer) = poll::before(&shared, VENDOR, &connection).await {
        return answer;
    }
    let number = |name: &str, default: usize| query.get(name).map_or(Some(default), |value| value.parse().ok());
    let page = number("page_num", 1).filter(|page| *page >= 1);
    let size = number("page_size", 10).filter(|size| (1..=MAX_PAGE).contains(size));
    let (Some(page), Some(size)) = (page, size) else { return coded(2013, "page_num or page_size out of range") };
    let filter = ListFilter::next(&shared);
    let views: Vec<View> = {
        let table = shared.table.lock().unwrap();
        let newest_first = table.shown(VENDOR).rev();
        newest_first.filter_map(|(index, job)| filter.view(index, job)).filter(|view| matches(view, &query)).collect()
    };
    let shown = views.iter().skip((page - 1).saturating_mul(size)).take(size);
    let items: Vec<Value> =
        shown.map(|view| task(&shared, &Shown { view: view.clone(), word: None, retry_after_secs: None })).collect();
    Json(json!({"items": items, "total": views.len()})).into_response()
}

fn matches(view: &View, query: &HashMap<String, String>) -> bool {
    let is = |name: &str, value: &str| query.get(name).is_none_or(|wanted| wanted.is_empty() || wanted == value);
    let listed = query.get("filter.task_ids").filter(|ids| !ids.is_empty());
    let named = listed.is_none_or(|ids| ids.split(',').any(|id| id.trim() == view.entry.provider_job));
    named
        && is("filter.status", word(view.phase))
        && is("filter.model", &view.entry.model)
        && is("filter.task_type", "generation")
}

async fn remove(
    State(shared): Web,
    ConnectInfo(connection): ConnectInfo<Connection>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    if !shared.authorized(&headers) {
        return refused(&Refusal::Unauthorized);
    }
    if let Err(answer) = poll::before(&shared, VENDOR, &connection).await {
        return answer;
    }
    let now = now_micros();
    let mut table = shared.table.lock().unwrap();
    let Some(index) = table.find(VENDOR, &id) else { return coded(2013, "invalid task_id") };
    match poll::delete_fault(&shared, table.at_mut(index)) {
        Some(DeleteFault::Error) => return refused(&Refusal::ServerError),
        Some(DeleteFault::Conflict) => return coded(2013, "the task is being processed"),
        None => {}
    }
    let (ending, action, status) = match table.at(index).view(now).phase {
        Phase::Queued => (Ending::Canceled, "cancel", "cancelled"),
        phase @ (Phase::Completed | Phase::Failed) => (Ending::Deleted, "delete", word(phase)),
        phase @ (Phase::Running | Phase::Canceled) => {
            return coded(2013, &format!("a {} task cannot be cancelled or deleted", word(phase)));
        }
    };
    table.end(index, ending, now);
    Json(json!({"task_id": id, "action": action, "status": status})).into_response()
}

fn word(phase: Phase) -> &'static str {
    match phase {
        Phase::Queued => "queued",
        Phase::Running => "running",
        Phase::Completed => "succeeded",
        Phase::Failed => "failed",
        Phase::Canceled => "cancelled",
    }
}

/// The task object; it never shows the prompt.
pub(super) fn task(shared: &Shared, shown: &Shown) -> Value {
    let view = &shown.view;
    let entry = &view.entry;
    let done = view.phase == Phase::Completed;
    let usage = if done {
        let seconds = entry.seconds;
        json!({"total_seconds": seconds, "input_seconds": 0, "output_seconds": seconds, "input_image_count": 0})
    } else {
        json!({})
    };
    let error = (view.phase == Phase::Failed).then(|| {
        let code = entry.fails.as_deref().unwrap_or_default();
        json!({"code": code, "message": minimax_codes::lookup(code.parse().unwrap_or(1000)).words})
    });
    let content = if done { json!({"url": results::url(shared, view)}) } else { json!({}) };
    json!({
        "id": entry.provider_job,
        "model": entry.model,
        "task_type": "generation",
        "modality": "video",
        "status": shown.word.as_deref().unwrap_or(word(view.phase)),
        "created_at": entry.accepted_at / 1_000_000,
        "updated_at": view.changed_at / 1_000_000,
        "resolution": entry.size,
        "duration": entry.seconds,
        "ratio": entry.ratio,
        "usage": usage,
        "error": error,
        "content": content,
    })
}

/// The answer to an accepted create: the id and nothing else.
pub(super) fn accepted(view: &View) -> Response {
    Json(json!({ "task_id": view.entry.provider_job })).into_response()
}

/// The answer to a refused call.
pub(super) fn refused(refusal: &Refusal) -> Response {
    match refusal {
        Refusal::Invalid { message, .. } => coded(2013, message),
        Refusal::Coded(code) => {
            let code = code.parse().unwrap_or(1000);
            coded(code, minimax_codes::lookup(code).words)
        }
        Refusal::Unauthorized => coded(1004, minimax_codes::lookup(1004).words),
        Refusal::RateLimited { retry_after_secs } => {
            let mut answer = coded(1002, minimax_codes::lookup(1002).words);
            if let Some(seconds) = retry_after_secs {
                answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
            }
            answer
        }
        Refusal::Overloaded => coded(529, minimax_codes::lookup(529).words),
        Refusal::ServerError => coded(1000, minimax_codes::lookup(1000).words),
        Refusal::KeyConflict => coded(2013, "idempotency key conflict"),
        Refusal::CallbackCheck => coded(2013, "fail to check callback url"),
    }
}

/// `http_code` is a string, and the code stands at the end of `message`; 529 has no code of its own.
fn coded(code: u32, message: &str) -> Response {
    let found = minimax_codes::lookup(code);
    let message = if code == 529 { message.to_owned() } else { format!("{message} ({code})") };
    let body = json!({
        "type": "error",
        "error": {"type": found.kind, "message": message, "http_code": found.status.as_u16().to_string()},
        "request_id": format!("{:032x}", now_micros()),
    });
    (found.status, Json(body)).into_response()
}
