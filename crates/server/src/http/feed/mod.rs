//! The events of all videos of a project, with no gap: `GET /v1/events` as server-sent events, `GET /v1/events/ws` as
//! messages of a WebSocket.
//!
//! `stream` pages through what is committed, then joins the hub; each event has a cursor at or below which everything was
//! sent, so a client that resumes behind it misses nothing and may see its last events again. `frame` has the two encodings
//! of what it tells, `socket` the manners of a WebSocket, `jobs` lends each event the half of its video that never changes.
//! Absent: an order between videos, and events of deleted videos.

mod frame;
mod jobs;
pub mod socket;
mod stream;

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName};
use longtake_core::event::EventKind;
use longtake_core::feed::FeedCursor;
use longtake_core::id::ProjectId;
use longtake_core::store::StoreError;

use super::auth::Reader;
use super::error::{ApiError, CURSOR_EXPIRED, ErrorBody, ErrorCode};
use super::events::Event;
use super::query::Query;
use crate::app::App;
pub use jobs::RecentJobs;
use stream::FeedStream;

/// Streams the events of all your videos, from now on or from behind a cursor. Ends when the server stops.
#[utoipa::path(
    get, path = "/v1/events", operation_id = "stream_events", tag = "videos",
    params(
        ("after" = Option<String>, Query, description = "Begin behind this cursor; `Last-Event-ID` wins. Without either: from now on."),
        ("types" = Option<String>, Query, description = "Only these types, with commas between."),
        ("Last-Event-ID" = Option<String>, Header, description = "Begin behind this cursor."),
    ),
    responses(
        (status = 200, body = Event, content_type = "text/event-stream", description = "`id` is an opaque cursor, `event` the type, `data` the event as JSON; comments keep the line alive. In order per video; after a resume the last events may come again, with the same `id` in `data`. A stream that cannot go on from its cursor ends with `event: error`, whose `data` is the envelope of an error."),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 410, body = ErrorBody, description = "Events behind the cursor are no longer kept."),
        (status = 503, body = ErrorBody),
    )
)]
pub async fn feed(
    State(app): State<App>,
    Reader(caller): Reader,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let stream = open(&app, caller.project, query, &headers).await?;
    let pieces = stream.frames().filter_map(|told| {
        let text = told.map_or_else(|end| end.to_sse(), |frame| Some(frame.to_sse()));
        std::future::ready(text.map(|text| Ok::<_, Infallible>(Bytes::from(text))))
    });
    let headers = [
        (CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, Body::from_stream(pieces)).into_response())
}

/// Begins to tell a project's events, as query and headers ask.
async fn open(app: &App, project: ProjectId, query: Query, headers: &HeaderMap) -> Result<FeedStream, ApiError> {
    let asked = Asked::read(query, headers)?;
    let permit = Arc::clone(&app.memory.streams).try_acquire_owned().map_err(|_| {
        ApiError::new(ErrorCode::Overloaded, "too many event streams are open; ask again in a moment or poll")
    })?;
    // Also the proof that the cursor is one: later there is no status to say it with.
    let first = app.store.feed(Some(project), asked.after, stream::PAGE).await;
    let first = first.map_err(|error| match error {
        StoreError::Cursor => invalid_cursor(asked.param),
        StoreError::CursorExpired => ApiError::about(asked.param, ErrorCode::CursorExpired, CURSOR_EXPIRED),
        error => error.into(),
    })?;
    Ok(FeedStream::new(app.clone(), project, asked.types, asked.after, first, permit))
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    after: Option<FeedCursor>,
    /// Where the cursor stands.
    param: &'static str,
    types: Option<Vec<EventKind>>,
}

impl Asked {
    fn read(mut query: Query, headers: &HeaderMap) -> Result<Self, ApiError> {
        let (after, types) = (query.take("after"), query.take("types"));
        query.done("after and types")?;
        let (param, text) = match headers.get("last-event-id") {
            Some(value) => ("Last-Event-ID", Some(value.to_str().unwrap_or_default().to_owned())),
            None => ("after", after),
        };
        let after = text.map(|text| text.parse().map_err(|_| invalid_cursor(param))).transpose()?;
        Ok(Self { after, param, types: types.map(|types| kinds(&types)).transpose()? })
    }
}

fn invalid_cursor(param: &str) -> ApiError {
    let message = "no cursor of this server; take the id of an event of GET /v1/events, or leave it out to begin now";
    ApiError::about(param, ErrorCode::InvalidCursor, message)
}

fn kinds(text: &str) -> Result<Vec<EventKind>, ApiError> {
    let kind = |word: &str| EventKind::ALL.into_iter().find(|kind| kind.word() == word);
    let kinds: Option<Vec<EventKind>> = text.split(',').map(kind).collect();
    kinds.ok_or_else(|| {
        let message = "must be types of events with commas between, such as video.completed,video.failed";
        ApiError::about("types", ErrorCode::InvalidValue, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_where_to_begin_and_what_to_show() {
        let cursor = FeedCursor { epoch: 1, xid: 0, seq: 7 };
        let asked = |query: &str, header: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.extend(header.map(|text| (HeaderName::from_static("last-event-id"), text.parse().unwrap())));
            Asked::read(Query::parse(query).unwrap(), &headers)
        };
        assert_eq!(asked("", None).unwrap().after, None);
        assert_eq!(asked("after=cur_1.0.7", None).unwrap().after, Some(cursor));
        assert_eq!(asked("after=cur_1.0.9", Some("cur_1.0.7")).unwrap().after, Some(cursor), "the header wins");
        let types = asked("types=video.failed,video.completed", None).unwrap().types;
        assert_eq!(types, Some(vec![EventKind::Failed, EventKind::Completed]));
        for (query, header, code) in [
            ("after=7", None, ErrorCode::InvalidCursor),
            ("after=", None, ErrorCode::InvalidCursor),
            ("after=cur_1.0.7", Some("7"), ErrorCode::InvalidCursor),
            ("types=video.exploded", None, ErrorCode::InvalidValue),
            ("types=", None, ErrorCode::InvalidValue),
            ("limit=7", None, ErrorCode::UnknownParameter),
        ] {
            assert_eq!(asked(query, header).unwrap_err().code(), code, "{query} {header:?}");
        }
    }
}
