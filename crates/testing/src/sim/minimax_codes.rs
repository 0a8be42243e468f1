//! MiniMax's error codes, one table for both wires.

use axum::http::StatusCode;

use super::openai::overloaded;

/// A code as V2 answers it: the HTTP status, `error.type`, and words for `message`.
pub(super) struct Code {
    pub(super) status: StatusCode,
    pub(super) kind: &'static str,
    pub(super) words: &'static str,
}

/// The documented meaning of a code; unknown codes are server errors.
pub(super) fn lookup(code: u32) -> Code {
    let (status, kind, words) = match code {
        1002 => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", "rate limit"),
        1039 => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", "token limit"),
        1041 => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", "connection limit"),
        2045 => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", "rate growth limit"),
        1004 => (StatusCode::UNAUTHORIZED, "authorized_error", "login fail: check your API key"),
        2049 => (StatusCode::UNAUTHORIZED, "authorized_error", "invalid api key"),
        1008 => (StatusCode::PAYMENT_REQUIRED, "insufficient_balance_error", "insufficient balance"),
        2056 => (StatusCode::PAYMENT_REQUIRED, "insufficient_balance_error", "usage limit exceeded"),
        1026 => (StatusCode::UNPROCESSABLE_ENTITY, "unprocessable_entity_error", "input new_sensitive"),
        1027 => (StatusCode::UNPROCESSABLE_ENTITY, "unprocessable_entity_error", "output new_sensitive"),
        1013 | 2013 | 400 => (StatusCode::BAD_REQUEST, "bad_request_error", "invalid params"),
        529 => (overloaded(), "overloaded_error", "overloaded"),
        1001 => (StatusCode::INTERNAL_SERVER_ERROR, "server_error", "request timeout"),
        1024 => (StatusCode::INTERNAL_SERVER_ERROR, "server_error", "internal error"),
        1033 => (StatusCode::INTERNAL_SERVER_ERROR, "server_error", "downstream error"),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "server_error", "unknown error"),
    };
    Code { status, kind, words }
}
