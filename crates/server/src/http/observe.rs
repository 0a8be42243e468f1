//! What every request passes: its id, its bounds, its line in the log, its figures; a panic becomes a 500.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use longtake_core::id::Random;
use tokio::sync::OwnedSemaphorePermit;

use super::error::{ApiError, ErrorCode};
use crate::app::App;

/// Longest request id that is taken over from a client, in characters.
const MAX_REQUEST_ID_CHARS: usize = 64;
/// The header of the request id.
const REQUEST_ID: &str = "x-request-id";

/// Runs a request within its bounds and tells of it: never its prompt, never its key.
pub async fn observe(State(app): State<App>, request: Request, next: Next) -> Response {
    let started = app.clock.monotonic();
    let id = request_id(request.headers(), &*app.random);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().map_or("unmatched", MatchedPath::as_str).to_owned();
    let version = request.version();
    let mut response = match admit(&app, &request) {
        Ok(_permit) => AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|_| panicked(&route)),
        Err(error) => error.into_response(),
    };
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    // A proxy that keeps connections open shall open its next one elsewhere. HTTP/2 has its own farewell, at the stop.
    // A connection that becomes something else says so in the same header.
    let stays = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if version <= Version::HTTP_11 && !stays && app.draining.is_cancelled() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    let took = app.clock.monotonic().saturating_sub(started);
    let status = response.status().as_u16();
    app.metrics.record(&route, &method, status, took);
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    tracing::info!(request.id = %id, %method, route, status, took_ms, "{method} {route} {status} in {took_ms} ms");
    response
}

fn admit(app: &App, request: &Request) -> Result<Option<OwnedSemaphorePermit>, ApiError> {
    let limits = &app.limits;
    if request.uri().path_and_query().map_or(0, |target| target.as_str().len()) > limits.max_uri_bytes {
        return Err(ApiError::new(ErrorCode::UriTooLong, "the address is too long; put long values into a body"));
    }
    let headers = request.headers();
    let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if headers.len() > limits.max_headers || bytes > limits.max_header_bytes {
        return Err(ApiError::new(ErrorCode::HeadersTooLarge, "too many or too large headers; send fewer"));
    }
    // Health and metrics answer however busy the rest is.
    if !request.uri().path().starts_with("/v1/") {
        return Ok(None);
    }
    let permit = Arc::clone(&app.memory.requests).try_acquire_owned();
    permit
        .map(Some)
        .map_err(|_| ApiError::new(ErrorCode::Overloaded, "too many requests at once; ask again in a moment"))
}

fn panicked(route: &str) -> Response {
    tracing::error!(route, "a handler panicked");
    ApiError::new(ErrorCode::InternalError, "a defect of this server; tell the operator the request id").into_response()
}

/// The client's own id where it is sane, else a new one.
fn request_id(headers: &HeaderMap, random: &dyn Random) -> String {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(|id| {
        let sane = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
        (1..=MAX_REQUEST_ID_CHARS).contains(&id.len()) && id.bytes().all(sane)
    });
    given.map_or_else(|| format!("req_{:016x}{:016x}", random.u64(), random.u64()), str::to_owned)
}
