//! `POST /callbacks/{provider}/{token}`: providers' calls to us (design: docs/adr/0025-callback-tokens.md).
//!
//! The token is verified first, from itself alone: a forged one costs no body, no memory and no database. A challenge is
//! answered at once, since a create waits for it at the provider. News are evidence: stored before the 200, and they
//! decide nothing; the owner of the job reads the status again. Absent: API keys, and the words of any vendor.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest::{Context, SHA256};
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use longtake_core::attempt::Evidence;
use longtake_core::failpoint;
use longtake_core::id::{AttemptNo, JobId};
use longtake_core::provider::{Callback, CallbackNews, CallbackRequest, Exchange};
use longtake_core::store::{EvidenceRecord, Wake};
use longtake_core::time::Timestamp;
use longtake_engine::callback::read_token;

use super::body;
use super::error::{ApiError, ErrorBody, ErrorCode};
use crate::app::App;

/// Longest body that is read, in bytes.
pub const MAX_BODY_BYTES: usize = 64 << 10;
/// Calls being handled at once; a provider repeats what finds no room, or a poll sees it later.
pub const MAX_AT_ONCE: usize = 256;
/// Time for the whole body: whoever calls is a server.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// Time the database has to commit, before the provider is told to come again.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(10);
/// Stored calls that are remembered, to be known when they come again.
const MAX_REMEMBERED: usize = 8_192;

/// Takes in a call of a provider about one attempt. The address is made for the attempt and told to the provider alone.
#[utoipa::path(
    post, path = "/callbacks/{provider}/{token}", operation_id = "provider_callback", tag = "operation", security(()),
    params(
        ("provider" = String, Path, description = "The provider's name."),
        ("token" = String, Path, description = "Names the attempt; made and signed by this server."),
    ),
    request_body(content = String, content_type = "application/json", description = "As the provider sends it; at most 64 KiB."),
    responses(
        (status = 200, description = "Stored, known, or the echo of a challenge."), (status = 400, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 408, body = ErrorBody), (status = 413, body = ErrorBody),
        (status = 503, body = ErrorBody),
    )
)]
pub async fn callback(
    State(app): State<App>,
    address: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let Path((provider, token)) = address.map_err(|_| unknown_address())?;
    let secret_key = &app.engine.parts().secret_key;
    let (job, attempt) = read_token(secret_key, &provider, &token).ok_or_else(unknown_address)?;
    let _permit = Arc::clone(&app.memory.callbacks.at_once)
        .try_acquire_owned()
        .map_err(|_| ApiError::new(ErrorCode::Overloaded, "too many callbacks at once; send it again in a moment"))?;
    let (at, began) = (app.clock.now(), app.clock.monotonic());
    let late = app.clock.sleep(BODY_TIMEOUT);
    let held = tokio::select! {
        held = body::read(&app, body, MAX_BODY_BYTES) => held?,
        () = late => return Err(ApiError::new(ErrorCode::RequestTimeout, "the body came too slowly; send it again")),
    };
    match read(&app, &provider, &headers, &held.bytes) {
        Callback::Challenge(answer) => Ok(json(answer.into_string())),
        Callback::Refused => {
            let message =
                "the body is no call of this provider, or not signed by it; send what its documentation describes";
            Err(ApiError::new(ErrorCode::CallbackRefused, message))
        }
        Callback::News(news) => {
            let seen = Seen::of(&token, &held.bytes);
            if !app.memory.callbacks.knows(&seen) {
                let exchange = exchange(&app, &provider, (at, began), &news);
                store(&app, job, attempt, news, exchange).await?;
                app.memory.callbacks.remember(seen);
            }
            Ok(json("{}".to_owned()))
        }
    }
}

/// Nothing says why: whoever has no token of ours learns nothing here.
fn unknown_address() -> ApiError {
    ApiError::new(ErrorCode::NotFound, "there is no such callback address; only the ones that this server made exist")
}

fn json(body: String) -> Response {
    (StatusCode::OK, [(CONTENT_TYPE, "application/json")], body).into_response()
}

/// What the call says to the first account of the provider that understands it: a token does not name one.
fn read(app: &App, provider: &str, headers: &HeaderMap, body: &[u8]) -> Callback {
    let headers: Vec<(&str, &str)> =
        headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))).collect();
    let request = CallbackRequest { headers: &headers, body };
    let accounts = app.accounts.iter().filter(|(_, entry)| entry.provider.name() == provider);
    accounts
        .map(|(account, entry)| entry.provider.callback(*account, &request))
        .find(|said| *said != Callback::Refused)
        .unwrap_or(Callback::Refused)
}

fn exchange(app: &App, provider: &str, (at, began): (Timestamp, Duration), news: &CallbackNews) -> Exchange {
    let took = app.clock.monotonic().saturating_sub(began);
    Exchange {
        call: "callback",
        at,
        request: format!("POST /callbacks/{provider}/[token]").into(),
        status: Some(StatusCode::OK.as_u16()),
        duration_ms: u32::try_from(took.as_millis()).unwrap_or(u32::MAX),
        answer: news.excerpt.clone(),
    }
}

/// Makes the news durable. The call is only answered with 200 after that: else the provider sends it again.
async fn store(
    app: &App,
    job: JobId,
    attempt: AttemptNo,
    news: CallbackNews,
    exchange: Exchange,
) -> Result<(), ApiError> {
    let evidence = news.provider_job.map_or(Evidence::Unknown, Evidence::Accepted);
    let wake = if news.pending { Wake::Owner } else { Wake::OwnerAlways };
    let said = EvidenceRecord {
        job,
        attempt,
        nonce: None,
        ended: None,
        evidence,
        by_resemblance: false,
        exchanges: vec![exchange],
        wake,
    };
    failpoint::hit("C10.before");
    let late = app.clock.sleep(COMMIT_TIMEOUT);
    tokio::select! {
        stored = app.engine.testimony().submit(said) => stored?,
        () = late => return Err(ApiError::new(ErrorCode::StoreUnavailable, "the database does not answer; send it again")),
    }
    failpoint::hit("C10.after");
    app.engine.wake();
    Ok(())
}

/// One call, by what it says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Seen([u8; 32]);

impl Seen {
    fn of(token: &str, body: &[u8]) -> Self {
        let mut digest = Context::new(&SHA256);
        // All tokens have one length.
        digest.update(token.as_bytes());
        digest.update(body);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.finish().as_ref());
        Self(bytes)
    }
}

/// The newest calls that are stored: repeated ones, and replayed ones, are answered without the database. Losing it
/// costs time, never correctness: evidence is idempotent.
pub struct RecentCallbacks {
    at_once: Arc<tokio::sync::Semaphore>,
    seen: Mutex<(HashSet<Seen>, VecDeque<Seen>)>,
}

impl Default for RecentCallbacks {
    fn default() -> Self {
        Self { at_once: Arc::new(tokio::sync::Semaphore::new(MAX_AT_ONCE)), seen: Mutex::default() }
    }
}

impl RecentCallbacks {
    fn knows(&self, call: &Seen) -> bool {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).0.contains(call)
    }

    fn remember(&self, call: Seen) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, order) = &mut *seen;
        if known.insert(call.clone()) {
            order.push_back(call);
        }
        if order.len() > MAX_REMEMBERED
            && let Some(oldest) = order.pop_front()
        {
            known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_calls_are_forgotten_first() {
        let recent = RecentCallbacks::default();
        let call = |n: usize| Seen::of("token", &n.to_be_bytes());
        for n in 0..=MAX_REMEMBERED {
            recent.remember(call(n));
            recent.remember(call(n));
        }
        assert!(!recent.knows(&call(0)));
        assert!((1..=MAX_REMEMBERED).all(|n| recent.knows(&call(n))));
        assert_eq!(recent.seen.lock().unwrap().0.len(), MAX_REMEMBERED);
        assert!(!recent.knows(&Seen::of("other", &1usize.to_be_bytes())), "another attempt is another call");
    }
}
