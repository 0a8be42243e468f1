//! The Videos shape as servers really send it: every member may be absent, of another type, or new.
//!
//! Source: `README.md` of this folder.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A video, or whatever a server answers in its place.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Video {
    /// The server's id.
    pub id: Option<Value>,
    /// `video`; some servers leave it out.
    pub object: Option<Value>,
    /// See [`VideoStatus`].
    pub status: Option<VideoStatus>,
    /// 0 to 100.
    pub progress: Option<Value>,
    /// Unix seconds.
    pub created_at: Option<Value>,
    /// The model as the server calls it.
    pub model: Option<Value>,
    /// Absent in lists of SGLang.
    pub prompt: Option<Value>,
    /// `"8"`, or `8`.
    pub seconds: Option<Value>,
    /// `"1280x720"`.
    pub size: Option<Value>,
    /// The server's id of the video that this one is a remix of; `null` says that it is none, absence says nothing.
    #[serde(deserialize_with = "given")]
    pub remixed_from_video_id: Option<Value>,
    /// Code and message of a failed video.
    pub error: Option<Value>,
    /// Where the result lies, if not below `/content`: SGLang with cloud storage, some gateways.
    pub url: Option<Value>,
    /// The same in a list.
    pub urls: Option<Value>,
    /// The same at other gateways.
    pub video_url: Option<Value>,
}

/// `null` too is something a server says.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Status words of OpenAI, and of servers that add their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VideoStatus {
    /// Accepted; at SGLang it may be running already.
    Queued,
    /// Running.
    InProgress,
    /// The result can be fetched.
    #[serde(alias = "succeeded")]
    Completed,
    /// Ended without a result.
    Failed,
    /// Not of OpenAI: seen at gateways.
    #[serde(alias = "canceled")]
    Cancelled,
    /// Not of OpenAI: seen at gateways.
    Expired,
    /// A word we do not know; the job goes on.
    #[serde(other)]
    Unknown,
}

/// A page of a list.
#[derive(Debug, Clone, Deserialize)]
pub struct Page {
    /// The videos.
    pub data: Vec<Video>,
    /// Whether there is another page.
    #[serde(default)]
    pub has_more: Option<bool>,
    /// What `after` takes for it.
    #[serde(default)]
    pub last_id: Option<String>,
}

/// Code, type and message of an error in any of the shapes that servers use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErrorWords {
    /// `error.code`, as text.
    pub code: String,
    /// `error.type`.
    pub kind: String,
    /// `error.message`, `detail`, or the whole `error`.
    pub message: String,
}

impl ErrorWords {
    /// From a body: `{"error": {…}}`, `{"error": "…"}`, `{"detail": …}` (FastAPI) or `{"message": …}`.
    pub fn of_body(body: &[u8]) -> Self {
        let Ok(Value::Object(members)) = serde_json::from_slice(body) else { return Self::default() };
        match (members.get("error"), members.get("detail"), members.get("message")) {
            (Some(error), ..) if !error.is_null() => Self::of(error),
            (_, Some(detail), _) => Self { message: text_of(detail), ..Self::default() },
            (_, _, Some(message)) => Self { message: text_of(message), ..Self::default() },
            _ => Self::default(),
        }
    }

    /// From the member `error`.
    pub fn of(error: &Value) -> Self {
        let Value::Object(members) = error else { return Self { message: text_of(error), ..Self::default() } };
        let text = |name: &str| members.get(name).map(text_of).unwrap_or_default();
        Self { code: text("code"), kind: text("type"), message: text("message") }
    }

    /// Whether one of the words, in lower case, occurs anywhere.
    pub fn mention(&self, words: &[&str]) -> bool {
        let all = format!("{} {} {}", self.code, self.kind, self.message).to_ascii_lowercase();
        words.iter().any(|word| all.contains(word))
    }
}

fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        // FastAPI's list of problems: the first says enough.
        Value::Array(items) => {
            items.first().map(|item| item.get("msg").map_or(item.to_string(), text_of)).unwrap_or_default()
        }
        other => other.to_string(),
    }
}

/// The text of a member that should be one.
pub(super) fn text(value: Option<&Value>) -> Option<&str> {
    value.and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// The whole number in a member that may be a number or a text.
pub(super) fn whole(value: Option<&Value>) -> Option<i64> {
    match value? {
        Value::Number(number) => number.as_i64().or_else(|| number.as_f64().map(|number| number as i64)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}
