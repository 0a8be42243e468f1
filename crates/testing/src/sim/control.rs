//! Control of a simulator in another process: read its ledger and jobs, replace its faults.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::ledger::Ledger;
use super::{Faults, Shared, now_micros};

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/_sim/ledger", get(ledger))
        .route("/_sim/jobs", get(jobs))
        .route("/_sim/faults", get(read_faults).put(put_faults))
}

async fn ledger(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let ledger = Ledger::of(Arc::clone(&shared.table));
    Json(json!({
        "accepted": ledger.accepted(),
        "billed": ledger.billed(),
        "billed_usd": ledger.billed_usd(),
        "by_prompt": ledger.by_prompt(),
        "jobs": ledger.jobs().iter().map(|entry| &**entry).collect::<Vec<_>>(),
    }))
}

async fn jobs(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let now = now_micros();
    let table = shared.table.lock().unwrap();
    let rows: Vec<Value> = table
        .jobs()
        .iter()
        .map(|job| {
            let view = job.view(now);
            json!({
                "provider_job": view.entry.provider_job,
                "vendor": view.entry.vendor,
                "phase": format!("{:?}", view.phase).to_lowercase(),
                "progress": view.progress,
                "ending": job.ended.map(|(ending, _)| ending),
                "fetches": job.fetches,
                "billed": job.is_billed(),
            })
        })
        .collect();
    Json(json!({ "jobs": rows }))
}

async fn read_faults(State(shared): State<Arc<Shared>>) -> Json<Faults> {
    Json(shared.plan.lock().unwrap().faults.clone())
}

async fn put_faults(State(shared): State<Arc<Shared>>, body: bytes::Bytes) -> Response {
    match serde_json::from_slice(&body) {
        Ok(faults) => {
            shared.set_faults(faults);
            StatusCode::NO_CONTENT.into_response()
        }
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}
