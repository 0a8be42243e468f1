//! What a stream tells, and its two encodings: blocks of server-sent events, and JSON for WebSockets.

use longtake_core::event::EventKind;
use longtake_core::feed::FeedCursor;

use super::super::error::ApiError;

/// One thing that a stream tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Frame {
    /// A sign of life; with the cursor where that has moved, so that a client need not read the same again.
    Alive {
        /// For people who watch the line.
        word: &'static str,
        cursor: Option<FeedCursor>,
    },
    /// What happened.
    Event {
        cursor: FeedCursor,
        kind: EventKind,
        /// The public form of the event, as JSON.
        body: String,
    },
}

/// Why a stream tells nothing more. But for what is refused, a client resumes behind its last cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    /// The server stops.
    Stopping,
    /// The store failed.
    Unreadable,
    /// Resumed behind the last cursor, it would not begin again: the client shall know why.
    Refused(ApiError),
}

impl Frame {
    /// As a block of `text/event-stream`.
    pub(super) fn to_sse(&self) -> String {
        match self {
            Self::Alive { word, cursor: None } => format!(": {word}\n\n"),
            Self::Alive { word, cursor: Some(cursor) } => format!(": {word}\nid: {cursor}\n\n"),
            Self::Event { cursor, kind, body } => format!("id: {cursor}\nevent: {}\ndata: {body}\n\n", kind.word()),
        }
    }

    /// As the text of a message; `None` for a sign of life without news, for which WebSockets have pings.
    pub(super) fn to_json(&self) -> Option<String> {
        match self {
            Self::Alive { cursor: None, .. } => None,
            Self::Alive { cursor: Some(cursor), .. } => Some(format!(r#"{{"cursor":"{cursor}"}}"#)),
            Self::Event { cursor, body, .. } => Some(format!(r#"{{"cursor":"{cursor}","event":{body}}}"#)),
        }
    }
}

impl End {
    /// The last block of `text/event-stream`, if there is something to say.
    pub(super) fn to_sse(&self) -> Option<String> {
        let Self::Refused(error) = self else { return None };
        let body = serde_json::to_string(&error.body()).ok()?;
        Some(format!("event: error\ndata: {body}\n\n"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn both_encodings_say_the_same() {
        let cursor = FeedCursor { epoch: 1, xid: 0, seq: 7 };
        let (event, alive) =
            (Frame::Event { cursor, kind: EventKind::Completed, body: r#"{"a":"b"}"#.to_owned() }, |c| Frame::Alive {
                word: "still here",
                cursor: c,
            });
        assert_eq!(event.to_sse(), format!("id: {cursor}\nevent: video.completed\ndata: {{\"a\":\"b\"}}\n\n"));
        let read = |frame: &Frame| serde_json::from_str::<Value>(&frame.to_json().unwrap()).unwrap();
        assert_eq!(read(&event), json!({"cursor": cursor.to_string(), "event": {"a": "b"}}));
        assert_eq!(read(&alive(Some(cursor))), json!({"cursor": cursor.to_string()}));
        assert_eq!(alive(Some(cursor)).to_sse(), format!(": still here\nid: {cursor}\n\n"));
        assert_eq!((alive(None).to_sse(), alive(None).to_json()), (": still here\n\n".to_owned(), None));
    }
}
