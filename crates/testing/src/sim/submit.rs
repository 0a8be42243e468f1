//! What one create goes through, whichever wire it came by: fault, orders, acceptance with its ledger line, answer.
//!
//! The ledger has the job before any byte of an answer is made; every fault "after accept" therefore bills.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::connection::Connection;
use super::faults::{CreateFault, draw, hash};
use super::jobs::{AcceptRules, Accepted, View};
use super::ledger::{Entry, Vendor};
use super::options::PromptOrders;
use super::{Shared, callbacks, minimax_v1, minimax_v2, now_micros, openai};

/// A create after its wire's own checks.
#[derive(Debug, Clone)]
pub(crate) struct NewJob {
    pub(crate) vendor: Vendor,
    pub(crate) model: String,
    pub(crate) prompt: String,
    pub(crate) seconds: u32,
    pub(crate) size: String,
    pub(crate) ratio: String,
    pub(crate) idempotency_key: Option<String>,
    pub(crate) client_ref: Option<String>,
    pub(crate) callback_url: Option<String>,
    pub(crate) remix_of: Option<String>,
    /// Digest of the decoded body.
    pub(crate) request_hash: u64,
    pub(crate) price_usd: f64,
}

/// Why a create is refused; each wire has its own words for it.
#[derive(Debug, Clone)]
pub(crate) enum Refusal {
    /// The request is wrong: what, and in which field.
    Invalid {
        message: String,
        field: Option<&'static str>,
    },
    /// A code ordered by the prompt.
    Coded(String),
    Unauthorized,
    RateLimited {
        retry_after_secs: Option<u64>,
    },
    Overloaded,
    ServerError,
    KeyConflict,
    CallbackCheck,
}

impl Refusal {
    pub(crate) fn invalid(field: &'static str, message: impl Into<String>) -> Self {
        Self::Invalid { message: message.into(), field: Some(field) }
    }
}

/// The answer to a refused create, in the words of its wire.
pub(crate) fn refused(shared: &Shared, vendor: Vendor, refusal: &Refusal) -> Response {
    match vendor {
        Vendor::OpenaiCompatible => openai::refused(shared, refusal),
        Vendor::MinimaxV2 => minimax_v2::refused(refusal),
        Vendor::MinimaxV1 => minimax_v1::refused(refusal),
    }
}

fn accepted(shared: &Shared, view: &View) -> Response {
    match view.entry.vendor {
        Vendor::OpenaiCompatible => openai::accepted(shared, view),
        Vendor::MinimaxV2 => minimax_v2::accepted(view),
        Vendor::MinimaxV1 => minimax_v1::accepted(view),
    }
}

/// Takes a create through all of it.
pub(crate) async fn submit(shared: Arc<Shared>, connection: Connection, new: NewJob) -> Response {
    let (accept_delay, answer_delay) = {
        let plan = shared.plan.lock().unwrap();
        (plan.faults.accept_delay_ms, plan.faults.answer_delay_ms)
    };
    if accept_delay == 0 && answer_delay == 0 && new.callback_url.is_none() {
        return process(&shared, &connection, new, 0, 0).await;
    }
    // In a task, because a client that gives up takes only its handler with it: the vendor still accepts.
    let task = async move { process(&shared, &connection, new, accept_delay, answer_delay).await };
    tokio::spawn(task).await.expect("a create does not panic")
}

async fn process(
    shared: &Arc<Shared>,
    connection: &Connection,
    new: NewJob,
    accept_delay: u64,
    answer_delay: u64,
) -> Response {
    let vendor = new.vendor;
    let orders = PromptOrders::parse(&new.prompt);
    let (fault, retry_after_secs, coded) = {
        let mut plan = shared.plan.lock().unwrap();
        let fault = plan.next_create(&new.prompt, &orders);
        let coded = orders.error.clone().filter(|_| match orders.times {
            Some(times) if orders.create.is_none() => plan.strikes(&new.prompt, times),
            _ => true,
        });
        (fault, plan.faults.retry_after_secs, coded)
    };
    pause(accept_delay).await;
    let refuse = |refusal: Refusal| refused(shared, vendor, &refusal);
    match fault {
        CreateFault::DropBeforeAccept => return cut(connection),
        CreateFault::ErrorBeforeAccept => return refuse(Refusal::ServerError),
        CreateFault::Overloaded => return refuse(Refusal::Overloaded),
        CreateFault::RateLimited => return refuse(Refusal::RateLimited { retry_after_secs }),
        CreateFault::Reject => {
            return refuse(Refusal::Invalid { message: "rejected by order of the test".to_owned(), field: None });
        }
        _ => {}
    }
    if let Some(code) = coded {
        return refuse(Refusal::Coded(code));
    }
    if let Some(url) = &new.callback_url
        && shared.options.callbacks
        && !callbacks::challenge(url).await
    {
        return refuse(Refusal::CallbackCheck);
    }
    let view = match accept(shared, new, &orders) {
        Accepted::New(view) => {
            shared.callbacks.watch(&view);
            view
        }
        Accepted::Same(view) => view,
        Accepted::KeyConflict => return refuse(Refusal::KeyConflict),
        Accepted::TooManyInFlight => return refuse(Refusal::RateLimited { retry_after_secs }),
    };
    pause(answer_delay).await;
    match fault {
        CreateFault::DropAfterAccept => cut(connection),
        CreateFault::ErrorAfterAccept => refuse(Refusal::ServerError),
        CreateFault::Garbage => (StatusCode::OK, "<html><body>It works!").into_response(),
        _ => accepted(shared, &view),
    }
}

fn accept(shared: &Shared, new: NewJob, orders: &PromptOrders) -> Accepted {
    let options = &shared.options;
    let mut table = shared.table.lock().unwrap();
    let count = table.jobs().len() as u64;
    let fails = draw(options.seed, "failure", count) < options.failure_rate;
    let entry = Entry {
        provider_job: String::new(),
        vendor: new.vendor,
        model: new.model,
        prompt: new.prompt,
        seconds: new.seconds,
        size: new.size,
        ratio: new.ratio,
        idempotency_key: new.idempotency_key,
        client_ref: new.client_ref,
        callback_url: new.callback_url,
        remix_of: new.remix_of,
        request_hash: new.request_hash,
        accepted_at: now_micros(),
        queue_ms: orders.queue_ms.unwrap_or(options.queue_ms),
        duration_ms: orders.duration_ms.unwrap_or(options.duration_ms),
        fails: orders.fail.clone().or_else(|| fails.then(|| options.failure_code.clone())),
        result_bytes: orders.result_bytes,
        billed_usd: new.price_usd,
    };
    let honour_key = options.idempotency_key && entry.vendor == Vendor::OpenaiCompatible;
    let rules =
        AcceptRules { honour_key, key_ttl_ms: options.idempotency_ttl_ms, max_in_flight: options.max_in_flight };
    table.accept(entry, rules)
}

/// Resets the connection; what is returned never leaves.
pub(crate) fn cut(connection: &Connection) -> Response {
    connection.cut();
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}

pub(crate) async fn pause(milliseconds: u64) {
    if milliseconds > 0 {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }
}

/// Digest of a decoded body.
pub(crate) fn request_hash(body: &serde_json::Value) -> u64 {
    hash(body.to_string().as_bytes())
}
