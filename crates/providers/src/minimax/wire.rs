//! Answers as on the wire, both contracts. Source: `README.md` of this folder.

use serde::Deserialize;
use serde_json::Value;

/// Answer to a create: the second wire has only `task_id`, the first `base_resp` beside it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Created {
    /// Text, kept as text; a number is taken too.
    pub task_id: Option<Value>,
    /// Only on the first wire.
    pub base_resp: Option<BaseResp>,
}

/// The first wire's verdict: HTTP is 200 even where it failed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct BaseResp {
    /// 0 is good.
    pub status_code: Option<i64>,
    /// In words.
    pub status_msg: Option<String>,
}

/// Second wire: answer to a query.
#[derive(Debug, Deserialize)]
pub struct Queried {
    /// The task.
    pub task: Task,
}

/// Second wire: a page of the list.
#[derive(Debug, Deserialize)]
pub struct Listed {
    /// Tasks of the last seven days, without their prompts.
    pub items: Vec<Task>,
    /// How many there are in all.
    #[serde(default)]
    pub total: Option<u64>,
}

/// Second wire: one task.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Task {
    /// Text; a number is taken too.
    pub id: Option<Value>,
    /// As sent.
    pub model: Option<String>,
    /// `generation`, `h3_context_ir` or `regeneration`.
    pub task_type: Option<String>,
    /// See [`TaskStatus`].
    pub status: Option<TaskStatus>,
    /// Unix seconds.
    pub created_at: Option<i64>,
    /// Unix seconds.
    pub updated_at: Option<i64>,
    /// `768P`.
    pub resolution: Option<String>,
    /// Whole seconds.
    pub duration: Option<i64>,
    /// May be empty.
    pub ratio: Option<String>,
    /// Code (text or number) and message of a failed task.
    pub error: Option<Value>,
    /// `url` of the result.
    pub content: Option<Content>,
}

/// Second wire: the result.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Content {
    /// Signed, without key, for a time that is not stated.
    pub url: Option<String>,
}

/// Status words of the second wire.
///
/// Source: api-reference/video-generation-v2-query, read 2026-11-23; `expired` from typed clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    /// Not begun: DELETE cancels it, free of charge.
    Queued,
    /// Begun: it cannot be stopped.
    Running,
    /// `content.url` has it.
    Succeeded,
    /// `error` says why.
    Failed,
    /// By DELETE.
    Cancelled,
    /// Seen by clients, not documented.
    Expired,
    /// A word we do not know; the job goes on.
    #[serde(other)]
    Unknown,
}

/// First wire: answer to a query.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct FirstQueried {
    /// See [`FirstStatus`].
    pub status: Option<FirstStatus>,
    /// Text; a number is taken too; empty until success.
    pub file_id: Option<Value>,
    /// Also why a task failed.
    pub base_resp: Option<BaseResp>,
}

/// Status words of the first wire.
///
/// Source: api-reference/video-generation-query, read 2026-11-23.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum FirstStatus {
    /// Accepted.
    Preparing,
    /// Accepted, waits.
    Queueing,
    /// Begun.
    Processing,
    /// `file_id` has it.
    Success,
    /// `base_resp` says why.
    Fail,
    /// A word we do not know; the job goes on.
    #[serde(other)]
    Unknown,
}

/// First wire: answer to a file's retrieval.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Retrieved {
    /// The file.
    pub file: Option<File>,
    /// 0 is good.
    pub base_resp: Option<BaseResp>,
}

/// First wire: a file.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct File {
    /// Valid for about an hour; asked for again, there is a new one.
    pub download_url: Option<String>,
}

/// Second wire: an error.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ErrorBody {
    /// `message` ends with the numeric code in parentheses.
    pub error: Option<Value>,
    /// Only on the first wire.
    pub base_resp: Option<BaseResp>,
}

/// An id that is text, or a number.
pub fn id_text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) if number.is_u64() => Some(number.to_string()),
        _ => None,
    }
}
