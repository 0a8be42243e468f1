//! Reading `provider_options`: a JSON object of the client's, meant for one provider.

use longtake_core::provider::Unsupported;
use longtake_core::request::VideoRequest;
use serde_json::{Map, Value};

use crate::nearest::nearest;

/// Longest `provider_options`, in bytes of JSON.
const MAX_BYTES: usize = 16 * 1024;

/// The client's `provider_options`; empty if there are none.
///
/// # Errors
/// `Unsupported` where it is no JSON object or longer than 16 KiB.
pub(crate) fn read(request: &VideoRequest) -> Result<Map<String, Value>, Unsupported> {
    let Some(text) = request.provider_options.as_deref() else { return Ok(Map::new()) };
    if text.len() > MAX_BYTES {
        return Err(Unsupported::new("provider_options", format!("at most {MAX_BYTES} bytes of JSON are possible")));
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(options)) => Ok(options),
        Ok(_) => Err(Unsupported::new("provider_options", "must be a JSON object")),
        Err(error) => Err(Unsupported::new("provider_options", format!("is not JSON: {error}"))),
    }
}

/// An error about one option.
pub(crate) fn wrong(key: &str, message: impl std::fmt::Display) -> Unsupported {
    Unsupported::new(&format!("provider_options.{key}"), format!("provider_options.{key} {message}"))
}

/// Refuses every option that is not `known`, naming the nearest that is.
pub(crate) fn only(options: &Map<String, Value>, known: &[&str]) -> Result<(), Unsupported> {
    let Some(stranger) = options.keys().find(|key| !known.contains(&key.as_str())) else { return Ok(()) };
    let shown: String = stranger.chars().take(64).collect();
    let hint = nearest(&shown, known.iter().copied()).map_or(String::new(), |near| format!(", perhaps {near:?}"));
    Err(wrong(&shown, format!("is not known here{hint}; possible: {}", known.join(", "))))
}

/// An option that must be one of some words.
pub(crate) fn word<'a>(
    options: &'a Map<String, Value>,
    key: &str,
    words: &[&str],
) -> Result<Option<&'a str>, Unsupported> {
    match options.get(key) {
        None => Ok(None),
        Some(Value::String(word)) if words.contains(&word.as_str()) => Ok(Some(word)),
        Some(_) => Err(wrong(key, format!("must be one of {}", words.join(", ")))),
    }
}

/// An option that must be `true` or `false`.
pub(crate) fn switch(options: &Map<String, Value>, key: &str) -> Result<Option<bool>, Unsupported> {
    match options.get(key) {
        None => Ok(None),
        Some(Value::Bool(on)) => Ok(Some(*on)),
        Some(_) => Err(wrong(key, "must be true or false")),
    }
}
