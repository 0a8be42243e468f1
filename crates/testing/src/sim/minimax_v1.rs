//! MiniMax V1 (Hailuo): HTTP 200 with `base_resp`, also on failure; the result behind a file id.
//!
//! No list, no cancel, no idempotency: a lost create can only be found through its callback.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use serde_json::{Value, json};

use super::connection::Connection;
use super::jobs::{Phase, View};
use super::ledger::Vendor;
use super::poll::{self, Shown};
use super::submit::{NewJob, Refusal, request_hash, submit};
use super::{Shared, minimax_codes, openai, results};

const VENDOR: Vendor = Vendor::MinimaxV1;
/// Longest prompt, in characters.
const MAX_PROMPT_CHARS: usize = 2000;
/// What makes a file id out of a task id.
const FILE_PREFIX: &str = "9";

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/v1/video_generation", post(create))
        .route("/v1/query/video_generation", get(query))
        .route("/v1/files/retrieve", get(file))
}

type Web = State<Arc<Shared>>;
type Parameters = Query<HashMap<String, String>>;

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
        Err(error) => return failed(2013, &error.to_string()),
    };
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(ToOwned::to_owned);
    match check(&body) {
        Ok((seconds, size, price_usd)) => {
            let new = NewJob {
                vendor: VENDOR,
                model: body["model"].as_str().unwrap_or_default().to_owned(),
                prompt: body["prompt"].as_str().unwrap_or_default().to_owned(),
                seconds,
                size,
                ratio: String::new(),
                idempotency_key: header("idempotency-key"),
                client_ref: header("x-client-ref"),
                callback_url: body["callback_url"].as_str().map(ToOwned::to_owned),
                remix_of: None,
                request_hash: request_hash(&body),
                price_usd,
            };
            submit(shared, connection, new).await
        }
        Err(wrong) => failed(2013, &wrong),
    }
}

/// Length, resolution and price, or what is wrong.
fn check(body: &Value) -> Result<(u32, String, f64), String> {
    let model = body["model"].as_str().ok_or("model is required")?;
    let prompt = body["prompt"].as_str().unwrap_or_default();
    let image = body["first_frame_image"].as_str();
    let seconds = match &body["duration"] {
        Value::Null => 6,
        value => value.as_u64().filter(|seconds| [6, 10].contains(seconds)).ok_or("duration is 6 or 10")? as u32,
    };
    let default = if model.starts_with("MiniMax-Hailuo") { "768P" } else { "720P" };
    let resolution = body["resolution"].as_str().unwrap_or(default);
    let allowed = match model {
        "MiniMax-Hailuo-2.3" | "MiniMax-Hailuo-2.3-Fast" => {
            resolution == "768P" || (resolution == "1080P" && seconds == 6)
        }
        "MiniMax-Hailuo-02" => {
            resolution == "768P" || (resolution == "1080P" && seconds == 6) || (resolution == "512P" && image.is_some())
        }
        model if ["T2V-01", "I2V-01", "S2V-01"].iter().any(|name| model.starts_with(name)) => {
            resolution == "720P" && seconds == 6
        }
        other => return Err(format!("unknown model {other}")),
    };
    if !allowed {
        return Err(format!("{model} does not make {seconds} s at {resolution}"));
    }
    if prompt.is_empty() && image.is_none() {
        return Err("prompt or first_frame_image is required".to_owned());
    }
    if prompt.chars().count() > MAX_PROMPT_CHARS {
        return Err("prompt has more than 2000 characters".to_owned());
    }
    if model == "MiniMax-Hailuo-2.3-Fast" && image.is_none() {
        return Err("MiniMax-Hailuo-2.3-Fast needs first_frame_image".to_owned());
    }
    let price_usd = match (model, resolution, seconds) {
        ("MiniMax-Hailuo-2.3-Fast", "1080P", _) => 0.33,
        ("MiniMax-Hailuo-2.3-Fast", _, 6) => 0.19,
        ("MiniMax-Hailuo-2.3-Fast", ..) => 0.32,
        (_, "512P", 6) => 0.10,
        (_, "512P", _) => 0.15,
        (_, "1080P", _) => 0.49,
        (_, _, 6) => 0.28,
        _ => 0.56,
    };
    Ok((seconds, resolution.to_owned(), price_usd))
}

async fn query(
    State(shared): Web,
    ConnectInfo(connection): ConnectInfo<Connection>,
    Query(query): Parameters,
    headers: HeaderMap,
) -> Response {
    if !shared.authorized(&headers) {
        return refused(&Refusal::Unauthorized);
    }
    let fault = match poll::before(&shared, VENDOR, &connection).await {
        Ok(fault) => fault,
        Err(answer) => return answer,
    };
    let id = query.get("task_id").map(String::as_str).unwrap_or_default();
    let Some(shown) = poll::find(&shared, VENDOR, id, fault) else { return failed(2013, "invalid task_id") };
    let mut answer = Json(task(&shown)).into_response();
    if let Some(seconds) = shown.retry_after_secs {
        answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}

fn task(shown: &Shown) -> Value {
    let view = &shown.view;
    let id = &view.entry.provider_job;
    let done = view.phase == Phase::Completed;
    let word = match view.phase {
        Phase::Queued => "Queueing",
        Phase::Running => "Processing",
        Phase::Completed => "Success",
        Phase::Failed | Phase::Canceled => "Fail",
    };
    let base = match (view.phase, view.entry.fails.as_deref()) {
        (Phase::Failed, Some(code)) => base_resp(code.parse().unwrap_or(1000), None),
        _ => base_resp(0, None),
    };
    json!({
        "task_id": id,
        "status": shown.word.as_deref().unwrap_or(word),
        "file_id": if done { format!("{FILE_PREFIX}{id}") } else { String::new() },
        "video_width": if done { 1366 } else { 0 },
        "video_height": if done { 768 } else { 0 },
        "base_resp": base,
    })
}

async fn file(State(shared): Web, Query(query): Parameters, headers: HeaderMap) -> Response {
    if !shared.authorized(&headers) {
        return refused(&Refusal::Unauthorized);
    }
    let file_id = query.get("file_id").map(String::as_str).unwrap_or_default();
    let id = file_id.strip_prefix(FILE_PREFIX).unwrap_or_default();
    let shown = poll::find(&shared, VENDOR, id, super::faults::PollFault::Pass);
    let Some(shown) = shown.filter(|shown| shown.view.phase == Phase::Completed) else {
        return failed(2013, "invalid file_id");
    };
    let view = &shown.view;
    Json(json!({
        "file": {
            "file_id": file_id,
            "bytes": results::total_bytes(&shared, view),
            "created_at": view.changed_at / 1_000_000,
            "filename": "output.mp4",
            "purpose": "video_generation",
            "download_url": results::url(&shared, view),
        },
        "base_resp": base_resp(0, None),
    }))
    .into_response()
}

/// The body of a V1 callback.
pub(super) fn callback(view: &View) -> Value {
    let (status, file_id) = match view.phase {
        Phase::Completed => ("success", format!("{FILE_PREFIX}{}", view.entry.provider_job)),
        Phase::Failed | Phase::Canceled => ("failed", String::new()),
        _ => ("processing", String::new()),
    };
    let code = if view.phase == Phase::Failed { view.entry.fails.as_deref() } else { None };
    let base = base_resp(code.map_or(0, |code| code.parse().unwrap_or(1000)), None);
    json!({"task_id": view.entry.provider_job, "status": status, "file_id": file_id, "base_resp": base})
}

/// The answer to an accepted create.
pub(super) fn accepted(view: &View) -> Response {
    Json(json!({"task_id": view.entry.provider_job, "base_resp": base_resp(0, None)})).into_response()
}

/// The answer to a refused call: HTTP 200, but for what comes from before the vendor's own code.
pub(super) fn refused(refusal: &Refusal) -> Response {
    match refusal {
        Refusal::Invalid { message, .. } => failed(2013, message),
        Refusal::Coded(code) => failed(code.parse().unwrap_or(1000), ""),
        Refusal::Unauthorized => failed(1004, ""),
        Refusal::RateLimited { retry_after_secs } => {
            let mut answer = failed(1002, "");
            if let Some(seconds) = retry_after_secs {
                answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
            }
            answer
        }
        Refusal::Overloaded => (openai::overloaded(), failed(1000, "overloaded")).into_response(),
        Refusal::ServerError => (axum::http::StatusCode::INTERNAL_SERVER_ERROR, failed(1000, "")).into_response(),
        Refusal::KeyConflict => failed(2013, "idempotency key conflict"),
        Refusal::CallbackCheck => failed(2013, "fail to check callback url"),
    }
}

fn base_resp(code: u32, message: Option<&str>) -> Value {
    let words = if code == 0 { "success" } else { minimax_codes::lookup(code).words };
    json!({"status_code": code, "status_msg": message.filter(|message| !message.is_empty()).unwrap_or(words)})
}

fn failed(code: u32, message: &str) -> Response {
    Json(json!({"task_id": "", "base_resp": base_resp(code, Some(message))})).into_response()
}
