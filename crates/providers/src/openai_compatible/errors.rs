//! What a refusal or a failure means: status, code and message → the domain's words. Source: `README.md`, "Errors".

use longtake_core::failure::{Failure, FailureCode};
use longtake_core::provider::ProviderError;

use super::wire::ErrorWords;
use crate::http::Answer;

/// Parts of codes and messages by which servers say that their content rules refused something.
const CONTENT_WORDS: [&str; 9] = [
    "moderation",
    "content_policy",
    "content policy",
    "policy_violation",
    "safety",
    "sentinel",
    "nsfw",
    "sensitive content",
    "content_filter",
];
/// Parts of codes by which they say that the account has no credit left.
const QUOTA_WORDS: [&str; 5] =
    ["insufficient_quota", "insufficient_balance", "billing_hard_limit", "insufficient credit", "insufficient_credits"];

/// What the answer to a submission proves when it is no acceptance (R9). `clean` takes key and prompt out of a message.
pub fn refused_submission(answer: &Answer, clean: &dyn Fn(&str) -> String) -> ProviderError {
    let words = ErrorWords::of_body(&answer.body);
    let rejected = |code, fallback: &str| ProviderError::Rejected(failure(code, &words, fallback, clean));
    if words.mention(&QUOTA_WORDS) && matches!(answer.status, 400..=429) {
        return account(FailureCode::ProviderQuota, "the provider account of this server has no credit left");
    }
    match answer.status {
        400 | 422 if words.mention(&CONTENT_WORDS) => {
            rejected(FailureCode::ContentPolicy, "the provider's content rules refused the request")
        }
        400 | 422 => rejected(FailureCode::InvalidRequest, "the provider found the request invalid"),
        413 => rejected(FailureCode::InvalidRequest, "the request is too large for the provider"),
        // OpenAI answers 403 for some moderation refusals too.
        403 if words.mention(&CONTENT_WORDS) => {
            rejected(FailureCode::ContentPolicy, "the provider's content rules refused the request")
        }
        401 | 403 => account(
            FailureCode::ProviderError,
            "the provider refused this server's key; its operator must check api_key",
        ),
        402 => account(FailureCode::ProviderQuota, "the provider account of this server has no credit left"),
        // Nothing of ours is at this address: the base URL or the model of the route is wrong, not the client's request.
        404 | 405 | 415 => account(
            FailureCode::ProviderError,
            "the provider has no such model or no Videos API at this address; its operator must check base_url and model",
        ),
        429 => ProviderError::RateLimited { retry_after: answer.retry_after },
        // 409 (a server with several API processes, a key in use), 408, every 5xx: it may have been accepted.
        _ => answer.unknown("not an answer that proves anything"),
    }
}

/// What an answer to a poll, a list or a cancel means when it is none.
pub fn refused_reading(answer: &Answer) -> ProviderError {
    match answer.status {
        401 | 403 => account(
            FailureCode::ProviderError,
            "the provider refused this server's key; its operator must check api_key",
        ),
        404 | 410 => ProviderError::Gone,
        429 => ProviderError::RateLimited { retry_after: answer.retry_after },
        _ => answer.unknown("no status"),
    }
}

/// Why a video failed, from its member `error`.
pub fn failed_video(words: &ErrorWords, clean: &dyn Fn(&str) -> String) -> Failure {
    let code = if words.mention(&CONTENT_WORDS) {
        FailureCode::ContentPolicy
    } else if words.mention(&QUOTA_WORDS) {
        FailureCode::ProviderQuota
    } else if words.code.to_ascii_lowercase().contains("expired") {
        FailureCode::ExpiredUpstream
    } else if is_invalid(words) {
        FailureCode::InvalidRequest
    } else {
        FailureCode::ProviderError
    };
    failure(code, words, "the provider failed on its side and gave no reason", clean)
}

/// vLLM-Omni has HTTP statuses as codes, SGLang has no code at all.
fn is_invalid(words: &ErrorWords) -> bool {
    if let Ok(status) = words.code.parse::<u16>() {
        return (400..500).contains(&status);
    }
    let code = format!("{} {}", words.code, words.kind).to_ascii_lowercase();
    let message = words.message.to_ascii_lowercase();
    ["invalid", "bad_request", "unsupported"].iter().any(|word| code.contains(word))
        || (words.code.is_empty()
            && ["invalid size", "invalid image", "unsupported size"].iter().any(|word| message.contains(word)))
}

/// For operators, not clients: nothing of the provider's own text.
fn account(code: FailureCode, message: &str) -> ProviderError {
    ProviderError::Account(Failure::new(code, message))
}

fn failure(code: FailureCode, words: &ErrorWords, fallback: &str, clean: &dyn Fn(&str) -> String) -> Failure {
    let message = clean(words.message.trim());
    if message.is_empty() { Failure::new(code, fallback) } else { Failure::new(code, &message) }
}
