//! The vendor's codes → the domain's words.
//!
//! Sources: api-reference/errorcode and the error table of api-reference/video-generation-v2-create, read 2026-11-23;
//! both stand in `README.md`.

use std::time::Duration;

use longtake_core::failure::{Failure, FailureCode};
use longtake_core::provider::ProviderError;
use serde_json::Value;

use super::wire::ErrorBody;
use crate::http::Answer;

/// Wait after a failed check of our callback address: a restart of what it reaches us through takes so long.
const CALLBACK_CHECK_AGAIN: Duration = Duration::from_secs(10);

/// What kind of thing a code says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The key, or a key on the wrong region's host.
    Auth,
    /// No credit or no quota.
    Quota,
    /// The request.
    Invalid,
    /// Prompt, input or output are refused by content rules.
    Content,
    /// Too many requests or jobs.
    Rate,
    /// The vendor's side; of a create, the outcome is unknown.
    Theirs,
}

/// The table of codes; `None` for a code that is not in it.
pub const fn kind_of(code: i64) -> Option<Kind> {
    Some(match code {
        1004 | 2049 => Kind::Auth,
        1008 | 2056 => Kind::Quota,
        1013 | 2013 => Kind::Invalid,
        1026 | 1027 => Kind::Content,
        1002 | 1039 | 1041 | 2045 => Kind::Rate,
        1000 | 1001 | 1024 | 1033 => Kind::Theirs,
        _ => return None,
    })
}

/// Code and message of an answer that says no.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    /// The vendor's number, if it gives one.
    pub code: Option<i64>,
    /// In words.
    pub message: String,
    /// `error.type`.
    pub kind: String,
}

impl Words {
    /// From a body of either wire.
    pub fn of_body(body: &[u8]) -> Self {
        let body: ErrorBody = serde_json::from_slice(body).unwrap_or_default();
        match (&body.error, body.base_resp) {
            (Some(error), _) if !error.is_null() => Self::of(error),
            (_, Some(base)) => Self {
                code: base.status_code.filter(|code| *code != 0),
                message: base.status_msg.unwrap_or_default(),
                kind: String::new(),
            },
            _ => Self::default(),
        }
    }

    /// From the member `error`: its `code` if it has one, else the number in parentheses at the end of the message.
    pub fn of(error: &Value) -> Self {
        let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        let message = text("message");
        let code = match error.get("code") {
            Some(Value::Number(number)) => number.as_i64(),
            Some(Value::String(text)) => text.trim().parse().ok(),
            _ => None,
        };
        Self { code: code.or_else(|| code_in(&message)), message, kind: text("type") }
    }

    /// Its own check of our callback address failed: the request is not at fault, and nothing was accepted.
    fn is_callback_check(&self) -> bool {
        self.known() == Some(Kind::Invalid) && self.message.to_ascii_lowercase().contains("check callback")
    }

    fn known(&self) -> Option<Kind> {
        self.code.and_then(kind_of)
    }
}

/// `… (2013)` → 2013.
fn code_in(message: &str) -> Option<i64> {
    let (_, code) = message.trim_end().strip_suffix(')')?.rsplit_once('(')?;
    code.parse().ok()
}

/// What the answer to a create proves when it is no acceptance (R9). The code counts before the HTTP status.
pub fn refused_submission(answer: &Answer, clean: &dyn Fn(&str) -> String) -> ProviderError {
    let words = Words::of_body(&answer.body);
    if words.is_callback_check() {
        tracing::warn!("MiniMax could not reach our callback address, so it accepts nothing: check public_url");
        return ProviderError::RateLimited { retry_after: answer.retry_after.or(Some(CALLBACK_CHECK_AGAIN)) };
    }
    match words.known() {
        Some(Kind::Theirs) => return answer.unknown("the vendor failed on its side"),
        Some(kind) => return refusal(kind, answer, &words, clean),
        None => {}
    }
    match answer.status {
        400 | 413 | 422 => refusal(Kind::Invalid, answer, &words, clean),
        401 | 403 | 404 | 405 => refusal(Kind::Auth, answer, &words, clean),
        402 => refusal(Kind::Quota, answer, &words, clean),
        429 => refusal(Kind::Rate, answer, &words, clean),
        // Documented as "overloaded, try again", in the vendor's own words only: a gateway's 529 proves nothing.
        529 if words.kind == "overloaded_error" => refusal(Kind::Rate, answer, &words, clean),
        // 500 and 200 without a known code: it may have been accepted.
        _ => answer.unknown("not an answer that proves anything"),
    }
}

/// What an answer to a query, a list or a cancel means when it is none.
pub fn refused_reading(answer: &Answer) -> ProviderError {
    let words = Words::of_body(&answer.body);
    match (words.known(), answer.status) {
        (Some(Kind::Auth), _) | (None, 401 | 403) => account(Kind::Auth),
        (Some(Kind::Quota), _) | (None, 402) => account(Kind::Quota),
        (Some(Kind::Rate), _) | (None, 429 | 529) => ProviderError::RateLimited { retry_after: answer.retry_after },
        // "invalid task_id": unknown, or older than the seven days it is remembered.
        (Some(Kind::Invalid), _) | (None, 404) => ProviderError::Gone,
        _ => answer.unknown("no status"),
    }
}

/// Why a task failed.
pub fn failed_task(words: &Words, clean: &dyn Fn(&str) -> String) -> Failure {
    let code = match words.known() {
        Some(Kind::Content) => FailureCode::ContentPolicy,
        Some(Kind::Invalid) => FailureCode::InvalidRequest,
        Some(Kind::Quota) => FailureCode::ProviderQuota,
        _ => FailureCode::ProviderError,
    };
    failure(code, words, "the provider failed on its side and gave no reason", clean)
}

fn refusal(kind: Kind, answer: &Answer, words: &Words, clean: &dyn Fn(&str) -> String) -> ProviderError {
    let rejected = |code, fallback| ProviderError::Rejected(failure(code, words, fallback, clean));
    match kind {
        Kind::Auth | Kind::Quota => account(kind),
        Kind::Rate => ProviderError::RateLimited { retry_after: answer.retry_after },
        Kind::Invalid => rejected(FailureCode::InvalidRequest, "the provider found the request invalid"),
        Kind::Content => rejected(FailureCode::ContentPolicy, "the provider's content rules refused the request"),
        Kind::Theirs => answer.unknown("the vendor failed on its side"),
    }
}

/// For operators, not clients: nothing of the vendor's own text.
fn account(kind: Kind) -> ProviderError {
    ProviderError::Account(match kind {
        Kind::Quota => {
            Failure::new(FailureCode::ProviderQuota, "the provider account of this server has no credit or quota left")
        }
        _ => Failure::new(
            FailureCode::ProviderError,
            "the provider refused this server's key; its operator must check api_key, region (a key works in one) and base_url",
        ),
    })
}

fn failure(code: FailureCode, words: &Words, fallback: &str, clean: &dyn Fn(&str) -> String) -> Failure {
    let message = clean(words.message.trim());
    if message.is_empty() { Failure::new(code, fallback) } else { Failure::new(code, &message) }
}
