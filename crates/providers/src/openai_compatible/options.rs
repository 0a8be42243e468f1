//! What `[accounts.x.options]` may say, and which extra fields a request may carry.

use longtake_core::provider::{ChargedOn, Unsupported};
use longtake_core::request::VideoRequest;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::options;

/// `[accounts.x.options]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccountOptions {
    /// How `seconds` is written.
    pub seconds_type: SecondsType,
    /// Whether the server stops a running job.
    pub cancel: Cancel,
    /// When the server charges.
    pub charged_on: Charged,
    /// The server has `POST /videos/{id}/remix`.
    pub remix: bool,
    /// Longest wait for the answer to a create, in milliseconds; 60 s by default. Must stay below `absence_settle_ms`.
    pub submit_timeout_ms: Option<u64>,
}

/// How `seconds` is written into a create.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecondsType {
    /// As text in a form, as the official SDKs do; every server we know takes it.
    #[default]
    String,
    /// As a JSON number. Only without an input image: with one, the create is a form, where everything is text.
    Integer,
}

/// What `DELETE` does to a running job.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cancel {
    /// It only forgets the record while the work, and its cost, goes on (OpenAI, SGLang).
    #[default]
    None,
    /// It stops the work (vLLM-Omni).
    Delete,
}

/// When the server charges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Charged {
    /// On submission: not known otherwise, so assumed.
    #[default]
    Submit,
    /// On success only: a failed job may be tried again by itself. True of one's own GPUs.
    Success,
}

impl From<Charged> for ChargedOn {
    fn from(charged: Charged) -> Self {
        match charged {
            Charged::Submit => Self::Submit,
            Charged::Success => Self::Success,
        }
    }
}

/// Fields that are ours to set, or that would buy more than one video.
const RESERVED: [&str; 16] = [
    "prompt",
    "model",
    "seconds",
    "size",
    "width",
    "height",
    "n",
    "num_outputs_per_prompt",
    "num_outputs",
    "stream",
    "user",
    "client_ref",
    "metadata",
    "video",
    "callback",
    "input",
];
/// Ends of names by which self-hosted servers read or write files and addresses of their own network.
const DANGEROUS_ENDS: [&str; 9] =
    ["_path", "_url", "_urls", "_dir", "_file", "_reference", "_references", "_files", "_output"];
/// Most extra fields.
const MAX_FIELDS: usize = 64;
/// Longest name of one.
const MAX_NAME_BYTES: usize = 64;
/// How deep an extra field may nest.
const MAX_DEPTH: usize = 8;

/// The extra fields of a request: passed on as they are, after this check.
///
/// # Errors
/// `Unsupported` naming the field that is ours, that reaches into the server, or that is no plain value.
pub fn extra_fields(request: &VideoRequest) -> Result<Map<String, Value>, Unsupported> {
    let fields = options::read(request)?;
    if fields.len() > MAX_FIELDS {
        return Err(Unsupported::new("provider_options", format!("at most {MAX_FIELDS} fields are possible")));
    }
    check(&fields, 0)?;
    for (name, value) in &fields {
        let carrier = matches!(name.as_str(), "extra_body" | "extra_params" | "lora");
        match value {
            Value::Null => return Err(options::wrong(name, "must not be null; leave it out")),
            // As text it would be JSON that nobody has looked into.
            Value::String(_) if carrier => return Err(options::wrong(name, "must be an object, not text")),
            _ => {}
        }
    }
    Ok(fields)
}

fn check(fields: &Map<String, Value>, depth: usize) -> Result<(), Unsupported> {
    for (name, value) in fields {
        may_be_sent(name)?;
        check_value(name, value, depth)?;
    }
    Ok(())
}

/// Whether a field of this name may be sent at all.
///
/// # Errors
/// `Unsupported` saying why not.
pub fn may_be_sent(name: &str) -> Result<(), Unsupported> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(plain) {
        let shown: String = name.chars().filter(|c| !c.is_control()).take(MAX_NAME_BYTES).collect();
        return Err(options::wrong(&shown, "is no name of a field: letters, digits and _ - . are possible"));
    }
    let lower = name.to_ascii_lowercase();
    if RESERVED.contains(&lower.as_str()) {
        return Err(options::wrong(name, "cannot be set here; use the request's own field"));
    }
    if DANGEROUS_ENDS.iter().any(|end| lower.ends_with(end)) {
        return Err(options::wrong(name, "cannot be set: the server would read or write a place of its own by it"));
    }
    Ok(())
}

fn check_value(name: &str, value: &Value, depth: usize) -> Result<(), Unsupported> {
    if depth > MAX_DEPTH {
        return Err(options::wrong(name, format!("nests deeper than {MAX_DEPTH}")));
    }
    match value {
        Value::Object(inner) => check(inner, depth + 1),
        Value::Array(items) => items.iter().try_for_each(|item| check_value(name, item, depth + 1)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_options(text: &str) -> Result<Map<String, Value>, Unsupported> {
        extra_fields(&VideoRequest {
            prompt: "a boat".into(),
            model: "m".into(),
            seconds: 4,
            size: longtake_core::request::Size { width: 1280, height: 720 },
            input: None,
            metadata: std::collections::BTreeMap::new(),
            priority: 0,
            provider_options: Some(text.into()),
            source: None,
            max_cost_usd_micros: None,
            webhook: None,
        })
    }

    #[test]
    fn plain_fields_pass_and_ours_do_not() {
        let passed =
            check_options(r#"{"seed":7,"negative_prompt":"blur","fps":24,"extra_params":{"a":[1,{"b":true}]}}"#);
        assert_eq!(passed.map(|fields| fields.len()), Ok(4));
        let refused = [
            (r#"{"prompt":"x"}"#, "provider_options.prompt"),
            (r#"{"Model":"x"}"#, "provider_options.Model"),
            (r#"{"output_path":"/etc"}"#, "provider_options.output_path"),
            (r#"{"extra_body":{"output_path":"/etc"}}"#, "provider_options.output_path"),
            (r#"{"extra_body":"{\"output_path\":1}"}"#, "provider_options.extra_body"),
            (r#"{"a":[{"video_url":"http://10.0.0.1/"}]}"#, "provider_options.video_url"),
            (r#"{"input_reference":"x"}"#, "provider_options.input_reference"),
            (r#"{"n":9}"#, "provider_options.n"),
            (r#"{"seed":null}"#, "provider_options.seed"),
            (r#"{"a\r\nb":1}"#, "provider_options.ab"),
            (r"[]", "provider_options"),
            (r"{", "provider_options"),
        ];
        for (text, param) in refused {
            assert_eq!(check_options(text).map_err(|error| error.param), Err(param.into()), "{text}");
        }
        assert!(check_options(&format!(r#"{{"a":"{}"}}"#, "x".repeat(20_000))).is_err());
    }
}
