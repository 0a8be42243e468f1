//! What every request to a path of Conduit's passes, outermost: its dialect, its key's header, its errors' words.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::dialect::Dialect;
use super::errors::Refusal;
use crate::http::auth::RateNote;

/// Conduit's own header for keys.
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Lets a request through and translates what comes back; whatever is no path of Conduit's passes as it is.
pub async fn door(mut request: Request, next: Next) -> Response {
    let Some(dialect) = Dialect::of_path(request.uri().path()) else { return next.run(request).await };
    let path = request.uri().path().to_owned();
    take_api_key(request.headers_mut());
    let rate = RateNote::default();
    request.extensions_mut().insert(dialect);
    request.extensions_mut().insert(rate.clone());
    let mut response = next.run(request).await;
    if let Some(refusal) = Refusal::behind(&response) {
        response = refusal.told(dialect, &path, response);
    }
    tell_rate(&rate, response.headers_mut());
    response
}

/// `X-API-Key` is read as `Authorization: Bearer`, unless that is there.
fn take_api_key(headers: &mut HeaderMap) {
    if headers.contains_key(AUTHORIZATION) {
        return;
    }
    let keys: Vec<HeaderValue> = headers.get_all(API_KEY).iter().cloned().collect();
    for key in keys {
        let bearer = [b"Bearer ", key.as_bytes()].concat();
        if let Ok(mut value) = HeaderValue::from_bytes(&bearer) {
            value.set_sensitive(true);
            // Several keys become several headers, which are refused as such.
            headers.append(AUTHORIZATION, value);
        }
    }
}

fn tell_rate(rate: &RateNote, headers: &mut HeaderMap) {
    let Some(left) = rate.left() else { return };
    // To the second, rounded up: whoever waits so long has waited long enough.
    let reset = left.reset_at.as_micros().saturating_add(999_999) / 1_000_000;
    headers.insert("x-ratelimit-limit", HeaderValue::from(left.limit));
    headers.insert("x-ratelimit-remaining", HeaderValue::from(left.remaining));
    headers.insert("x-ratelimit-reset", HeaderValue::from(reset));
    headers.insert("x-ratelimit-scope", HeaderValue::from_static("virtual_key"));
}
