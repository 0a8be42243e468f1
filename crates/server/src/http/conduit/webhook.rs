//! Callbacks as Conduit made them: what a create says of them, and what is sent. When, and how often, is as for every webhook.
//!
//! Beside Conduit's headers go those of every webhook of ours, so a receiver can check who sent it.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use longtake_core::event::{EventKind, JobEvent};
use longtake_core::store::Job;
use longtake_core::webhook::{self, EventTypes};
use serde::Serialize;
use serde_json::{Value, json};

use super::dialect::{Dialect, Front};
use super::keys::url_of;
use super::task::task_id;
use crate::app::App;
use crate::http::auth::sha256;
use crate::http::error::{ApiError, ErrorCode};
use crate::http::events::event_body;
use crate::http::node::Members;
use crate::http::videos::webhook::WebhookWish;

/// The member with the headers.
const HEADERS: &str = "webhook_headers";
/// Most headers of one callback.
const MAX_HEADERS: usize = 32;
/// Longest header, name and value together, in bytes.
const MAX_HEADER_BYTES: usize = 4_096;
/// Headers that belong to the connection, or to us.
const OURS: [&str; 12] = [
    "host",
    "connection",
    "content-length",
    "content-type",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "expect",
    "keep-alive",
    "proxy-connection",
    "user-agent",
];

/// Who is told of a task, as its client says.
///
/// # Errors
/// Names the member or the header at fault. The address itself is looked at with the create.
pub fn wish(members: &mut Members, dialect: Dialect) -> Result<Option<WebhookWish>, ApiError> {
    let headers = members.take(HEADERS);
    let Some(url) = members.text(WebhookWish::PARAM)?.filter(|url| !url.trim().is_empty()) else { return Ok(None) };
    let headers = headers.map_or_else(|| Ok(Vec::new()), |node| node.into_members(HEADERS))?;
    if headers.len() > MAX_HEADERS {
        return Err(ApiError::about(HEADERS, ErrorCode::InvalidValue, format!("at most {MAX_HEADERS} headers")));
    }
    let mut checked = BTreeMap::new();
    for (name, value) in headers {
        let param = format!("{HEADERS}.{name}");
        let value = value.into_text(&param)?;
        let wrong = |message: &str| ApiError::about(&param, ErrorCode::InvalidValue, message);
        let lower = HeaderName::try_from(&name).map_err(|_| wrong("is no name of a header"))?;
        HeaderValue::try_from(&value).map_err(|_| wrong("is no value of a header"))?;
        if OURS.contains(&lower.as_str()) || lower.as_str().starts_with("webhook-") {
            return Err(wrong("cannot be set: it is this server's to say; leave it out"));
        }
        if name.len() + value.len() > MAX_HEADER_BYTES {
            return Err(wrong("is longer than 4096 bytes"));
        }
        if checked.insert(lower.as_str().to_owned(), value).is_some() {
            return Err(wrong("is given twice; give it once"));
        }
    }
    let types = EventTypes::of([EventKind::Completed, EventKind::Failed, EventKind::Canceled]);
    let dialect = match dialect {
        Dialect::A => webhook::Dialect::ConduitA,
        Dialect::B => webhook::Dialect::ConduitB,
    };
    Ok(Some(WebhookWish { url, types, dialect, headers: checked }))
}

/// What is sent when a task is over.
#[derive(Debug, Serialize)]
struct Body {
    task_id: String,
    /// `completed`, `failed` (also where its time was over) or `cancelled`: words that receivers know.
    status: &'static str,
    timestamp: String,
    webhook_type: &'static str,
    video_url: Option<String>,
    error: Option<String>,
    generation_duration_seconds: f64,
    model: String,
    prompt: String,
    /// The client's own pairs.
    metadata: Option<BTreeMap<String, String>>,
}

/// Body and headers of a callback in Conduit's words; `None` for a video whose client wants ours.
pub fn told(
    app: &App,
    spoken: webhook::Dialect,
    job: &Job,
    event: &JobEvent,
) -> Option<(Value, BTreeMap<String, String>)> {
    let dialect = match spoken {
        webhook::Dialect::Longtake => return None,
        webhook::Dialect::ConduitA => Dialect::A,
        webhook::Dialect::ConduitB => Dialect::B,
    };
    // Nobody came by any address here: without a public one the link is a path.
    let front = Front { dialect, base: app.public_url.clone().unwrap_or_default() };
    let ours = event_body(app, job, event);
    let status = match event.kind {
        EventKind::Completed => "completed",
        EventKind::Canceled => "cancelled",
        _ => "failed",
    };
    let at = jiff::Timestamp::from_microsecond(event.at.as_micros()).unwrap_or_default();
    let body = Body {
        task_id: task_id(event.job),
        status,
        timestamp: at.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string(),
        webhook_type: "video_generation_completed",
        video_url: (event.kind == EventKind::Completed).then(|| url_of(app, &front, job)),
        error: ours.data.error.map(|error| error.message),
        generation_duration_seconds: event.at.since(job.record.created_at).as_secs_f64(),
        model: job.request.model.to_string(),
        prompt: job.request.prompt.to_string(),
        metadata: Some(job.request.metadata.clone()).filter(|pairs| !pairs.is_empty()),
    };
    let mut headers = BTreeMap::from([
        ("x-webhook-type".to_owned(), "completion".to_owned()),
        ("x-webhook-timestamp".to_owned(), app.clock.now().as_secs().to_string()),
    ]);
    if dialect == Dialect::B {
        let id = sha256(ours.id.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        headers.insert("x-webhook-id".to_owned(), id);
    }
    let body = match (dialect, json!(body)) {
        (Dialect::A, body) => body,
        // In snake_case in both; B leaves nulls out.
        (Dialect::B, body) => Dialect::B.spelled(body),
    };
    Some((body, headers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::node::Node;

    fn read(json: &str) -> Result<Option<WebhookWish>, ApiError> {
        wish(&mut Members::of_body(Node::from_json(json.as_bytes()).unwrap()).unwrap(), Dialect::B)
    }

    #[test]
    fn headers_go_along_but_for_those_that_are_ours() {
        let json = r#"{"webhook_url": "https://a.example/x", "webhook_headers": {"X-Tenant": "7", "Authorization": "Bearer t"}}"#;
        let wish = read(json).unwrap().unwrap();
        let expected = [("authorization", "Bearer t"), ("x-tenant", "7")];
        assert_eq!(wish.headers, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        assert_eq!(wish.dialect, webhook::Dialect::ConduitB);
        assert!(wish.types.has(EventKind::Failed) && !wish.types.has(EventKind::Progress));
        assert_eq!(read(r#"{"webhook_headers": {"a": "b"}}"#), Ok(None), "nobody is told");
        for headers in [
            r#"{"Host": "evil"}"#,
            r#"{"Content-Length": "0"}"#,
            r#"{"Webhook-Signature": "v1,x"}"#,
            r#"{"X-A": "a\r\nX-B: b"}"#,
            r#"{"X A": "a"}"#,
            r#"{"X-A": "a", "x-a": "b"}"#,
            r#"{"X-A": 7}"#,
        ] {
            let json = format!(r#"{{"webhook_url": "https://a.example", "webhook_headers": {headers}}}"#);
            let error = read(&json).unwrap_err();
            assert!(error.body().error.param.unwrap().starts_with("webhook_headers."), "{headers}");
        }
        let many: Vec<String> = (0..=MAX_HEADERS).map(|n| format!(r#""x-{n}": "1""#)).collect();
        let json = format!(r#"{{"webhook_url": "https://a.example", "webhook_headers": {{{}}}}}"#, many.join(","));
        assert_eq!(read(&json).unwrap_err().body().error.param.as_deref(), Some("webhook_headers"));
    }
}
