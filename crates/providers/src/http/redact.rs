//! What of an exchange may be kept: no key, no prompt, no query (it may be a signature), no callback token.

use reqwest::Url;
use serde_json::Value;

/// Members whose text is the client's, wherever they stand.
const PRIVATE_MEMBERS: [&str; 9] = [
    "prompt",
    "revised_prompt",
    "negative_prompt",
    "text",
    "authorization",
    "api_key",
    "headers",
    "challenge",
    "callback_url",
];
/// Behind it stand, in the path of our receiver, a provider's name and the token of an attempt.
const CALLBACKS: &str = "/callbacks/";
/// Longest string kept within an answer, in bytes.
const MAX_STRING_BYTES: usize = 400;
/// Longest answer that is looked into for an excerpt, in bytes.
const MAX_LOOKED_AT_BYTES: usize = 1024 * 1024;
/// Longest excerpt of an answer that is not JSON, in bytes.
const MAX_TEXT_BYTES: usize = 300;
/// A shorter prompt says nothing, and cutting it out would maul the text.
const MIN_PROMPT_CHARS: usize = 3;

/// What must not be kept.
#[derive(Clone, Copy)]
pub struct Redactor<'a> {
    /// The account's credential.
    pub key: Option<&'a str>,
    /// The client's prompt, where this call knows it.
    pub prompt: Option<&'a str>,
}

impl Redactor<'_> {
    /// An excerpt of an answer's body.
    pub fn excerpt(&self, body: &[u8]) -> String {
        if body.is_empty() {
            return String::new();
        }
        if body.len() > MAX_LOOKED_AT_BYTES {
            return format!("[{} bytes]", body.len());
        }
        if let Ok(mut value) = serde_json::from_slice::<Value>(body) {
            self.value(&mut value);
            return value.to_string();
        }
        let text = String::from_utf8_lossy(body);
        if text.trim_start().starts_with(['{', '[', '"']) {
            // Cut or broken JSON: where a prompt would end in it cannot be told.
            return format!("[{} bytes, not readable]", body.len());
        }
        cut(&self.text(&text), MAX_TEXT_BYTES).to_owned()
    }

    fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = cut(&self.text(text), MAX_STRING_BYTES).to_owned(),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(members) => {
                for (name, mut member) in std::mem::take(members) {
                    let private = PRIVATE_MEMBERS.contains(&name.to_ascii_lowercase().as_str());
                    match &mut member {
                        Value::Null | Value::Bool(_) | Value::Number(_) => {}
                        _ if private => member = Value::String("[redacted]".to_owned()),
                        inner => self.value(inner),
                    }
                    members.insert(self.text(&name), member);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// A text without the key, the prompt, control characters, queries of URLs and callback tokens.
    pub fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        if let Some(key) = self.key.filter(|key| !key.is_empty()) {
            text = text.replace(key, "[key]");
        }
        if let Some(prompt) = self.prompt.map(str::trim).filter(|prompt| prompt.chars().count() >= MIN_PROMPT_CHARS) {
            text = text.replace(prompt, "[prompt]");
        }
        let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
        without_tokens(&without_queries(&plain))
    }
}

/// Cuts the query off every URL in a text.
fn without_queries(text: &str) -> String {
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("://") {
        let (before, url) = rest.split_at(start + 3);
        kept.push_str(before);
        let end = url.find(|c: char| c.is_whitespace() || "\"'<>)]}".contains(c)).unwrap_or(url.len());
        let (url, after) = url.split_at(end);
        match url.find(['?', '#']) {
            Some(query) => {
                kept.push_str(&url[..query]);
                kept.push_str("?[redacted]");
            }
            None => kept.push_str(url),
        }
        rest = after;
    }
    kept.push_str(rest);
    kept
}

/// Takes the token out of every address of our receiver.
fn without_tokens(text: &str) -> String {
    let in_segment = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '~' | '%');
    let mut kept = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(CALLBACKS) {
        let (before, path) = rest.split_at(start + CALLBACKS.len());
        kept.push_str(before);
        let end = path.find(|c| !in_segment(c)).unwrap_or(path.len());
        let (provider, after) = path.split_at(end);
        kept.push_str(provider);
        rest = after;
        if let Some(token) = after.strip_prefix('/') {
            rest = token.trim_start_matches(in_segment);
            kept.push_str("/[token]");
        }
    }
    kept.push_str(rest);
    kept
}

/// An address without user, query and fragment.
pub(crate) fn address(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // Neither can fail for a URL that has a host; a URL without one has no user.
    let _without = (url.set_username(""), url.set_password(None));
    url.to_string()
}

/// The longest beginning of at most `limit` bytes that ends at a character's border.
pub(crate) fn cut(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    const REDACTOR: Redactor<'_> = Redactor { key: Some("sk-secret"), prompt: Some("a paper \"boat\"") };

    #[test]
    fn keys_prompts_and_queries_do_not_stay() {
        let body = br#"{"prompt":"a paper \"boat\"","error":{"message":"bad sk-secret in: a paper \"boat\""},
            "url":"https://cdn.test/v.mp4?sig=abc","progress":7}"#;
        let kept = REDACTOR.excerpt(body);
        for gone in ["sk-secret", "boat", "sig=abc"] {
            assert!(!kept.contains(gone), "{gone} in {kept}");
        }
        assert!(kept.contains("https://cdn.test/v.mp4?[redacted]") && kept.contains("\"progress\":7"), "{kept}");
    }

    #[test]
    fn callback_tokens_do_not_stay() {
        let body = br#"{"callback_url":"https://gw.test/callbacks/minimax/TOKEN-1_a","message":
            "fail to check https://gw.test/callbacks/minimax/TOKEN-1_a, and (/x/callbacks/minimax/TOKEN-1_a)"}"#;
        let kept = REDACTOR.excerpt(body);
        assert!(!kept.contains("TOKEN"), "{kept}");
        assert!(
            kept.contains("https://gw.test/callbacks/minimax/[token], and (/x/callbacks/minimax/[token])"),
            "{kept}"
        );
        assert_eq!(without_tokens("/callbacks/"), "/callbacks/");
        assert_eq!(without_tokens("a /callbacks/x b"), "a /callbacks/x b");
    }

    #[test]
    fn broken_json_is_not_shown() {
        assert_eq!(REDACTOR.excerpt(b"{\"prompt\":\"a pa"), "[15 bytes, not readable]");
        assert_eq!(REDACTOR.excerpt(b"<html>sk-secret</html>"), "<html>[key]</html>");
    }
}
