//! `GET /v1/videos/{id}/events`: the events of one video as server-sent events, with no gap and no duplicate.
//!
//! Subscribe to the hub, read what is committed after the last number, then wait for a hint and read again: the hint
//! carries nothing, so nothing can be lost with it. The stream ends after the terminal event when nothing follows it
//! (yet), and where that event is no longer kept. Whoever asks again from there waits for what may come: a retry, a late
//! result.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName};
use longtake_core::event::JobEvent;
use longtake_core::id::JobId;
use longtake_core::store::Job;
use longtake_engine::Subscription;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;
use utoipa::ToSchema;

use super::auth::{Caller, Reader};
use super::error::{ApiError, ErrorBody, ErrorCode};
use super::node::integer_text;
use super::query::Query;
use super::videos::get::find;
use super::videos::path::VideoId;
use super::videos::wire::Video;
use crate::app::App;

/// Events read at once.
const PAGE: usize = 100;

/// One event.
#[derive(Debug, Serialize, ToSchema)]
pub struct Event {
    /// Always `event`.
    #[schema(value_type = String, example = "event")]
    pub object: &'static str,
    /// `evt_`, the video and the sequence number.
    pub id: String,
    /// What happened.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "video.completed")]
    pub kind: &'static str,
    /// Unix seconds.
    pub created_at: i64,
    /// 1, 2, 3 … per video.
    pub sequence: u32,
    /// The video as it then was.
    pub data: Video,
}

/// The public form of an event.
pub fn event_body(app: &App, job: &Job, event: &JobEvent) -> Event {
    Event {
        object: "event",
        id: format!("evt_{}_{}", event.job, event.ver),
        kind: event.kind.word(),
        created_at: event.at.as_secs(),
        sequence: event.ver,
        data: Video::at_event(app, job, event),
    }
}

/// Streams the events of a video, from the first or from behind `Last-Event-ID`. Ends after the terminal event.
#[utoipa::path(
    get, path = "/v1/videos/{id}/events", operation_id = "stream_video_events", tag = "videos",
    params(
        ("id" = String, Path, description = "The video."),
        ("after" = Option<u32>, Query, description = "Begin behind this sequence number; `Last-Event-ID` wins."),
        ("Last-Event-ID" = Option<u32>, Header, description = "Begin behind this sequence number."),
    ),
    responses(
        (status = 200, body = Event, content_type = "text/event-stream", description = "`id` is the sequence number, `event` the type, `data` the event as JSON; comments keep the line alive."),
        (status = 400, body = ErrorBody), (status = 401, body = ErrorBody), (status = 403, body = ErrorBody),
        (status = 404, body = ErrorBody), (status = 503, body = ErrorBody),
    )
)]
pub async fn events(
    State(app): State<App>,
    Reader(caller): Reader,
    VideoId(id): VideoId,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let shape: Shape = Box::new(|app, job, event| {
        Some((event.kind.word(), serde_json::to_string(&event_body(app, job, event)).ok()?))
    });
    open(app, &caller, id, query, &headers, shape).await
}

/// The type and the data of an event on the wire; `None` for one that is not told.
pub type Shape = Box<dyn Fn(&App, &Job, &JobEvent) -> Option<(&'static str, String)> + Send + Sync>;

/// Begins to tell a video's events in some shape, from where query and headers say.
///
/// # Errors
/// `video_not_found`, `overloaded`, and where it cannot be begun there.
pub async fn open(
    app: App,
    caller: &Caller,
    id: JobId,
    query: Query,
    headers: &HeaderMap,
    shape: Shape,
) -> Result<Response, ApiError> {
    let last = resume_point(query, headers)?;
    let subscription = app.engine.hub().subscribe(id);
    let job = find(&app, caller, id).await?;
    let permit = Arc::clone(&app.memory.streams).try_acquire_owned().map_err(|_| {
        ApiError::new(ErrorCode::Overloaded, "too many event streams are open; ask again in a moment or poll")
    })?;
    let listener = Listener {
        app,
        job,
        subscription,
        last,
        pending: VecDeque::new(),
        ending: false,
        greeted: false,
        shape,
        _permit: permit,
    };
    let body = Body::from_stream(stream::unfold(listener, |mut listener| async move {
        let text = listener.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(text)), listener))
    }));
    let headers = [
        (CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((headers, body).into_response())
}

fn resume_point(mut query: Query, headers: &HeaderMap) -> Result<u32, ApiError> {
    let after = query.take("after");
    query.done("after")?;
    let number = |param: &str, text: &str| {
        let number = integer_text(text).filter(|number| *number >= 0);
        number.map(|number| u32::try_from(number).unwrap_or(u32::MAX)).ok_or_else(|| {
            ApiError::about(param, ErrorCode::InvalidValue, "must be a sequence number of this video, or 0 for all")
        })
    };
    match (headers.get("last-event-id"), after) {
        (Some(value), _) => number("Last-Event-ID", value.to_str().unwrap_or_default()),
        (None, Some(text)) => number("after", &text),
        (None, None) => Ok(0),
    }
}

/// One open stream.
struct Listener {
    app: App,
    job: Job,
    subscription: Subscription,
    last: u32,
    pending: VecDeque<JobEvent>,
    /// The event sent last left the video finished.
    ending: bool,
    greeted: bool,
    shape: Shape,
    _permit: OwnedSemaphorePermit,
}

impl Listener {
    /// The next piece of the stream; `None` at its end.
    async fn next(&mut self) -> Option<String> {
        // At once, so that proxies and clients see the response begin.
        if !std::mem::replace(&mut self.greeted, true) {
            return Some(": hello\n\n".to_owned());
        }
        loop {
            if let Some(event) = self.pending.pop_front() {
                self.last = event.ver;
                self.ending = event.snapshot.state.is_terminal();
                match (self.shape)(&self.app, &self.job, &event) {
                    Some((kind, data)) => return Some(format!("id: {}\nevent: {kind}\ndata: {data}\n\n", event.ver)),
                    None => continue,
                }
            }
            let page = match self.app.store.events_after(self.job.record.job, self.last, PAGE).await {
                Ok(page) => page,
                Err(error) => {
                    // The client resumes from the last number it saw.
                    tracing::warn!(%error, "an event stream ends: its events cannot be read");
                    return None;
                }
            };
            if !page.is_empty() {
                self.pending = page.into();
                continue;
            }
            if self.ending {
                return None;
            }
            let newest = self.job.record.ver;
            if self.last < newest {
                // They were there when the stream began: only what has ended loses its events.
                (self.last, self.ending) = (newest, true);
                return Some(format!(": the events of this video are no longer kept\nid: {newest}\n\n"));
            }
            tokio::select! {
                () = self.subscription.changed() => {}
                () = self.app.clock.sleep(self.app.limits.heartbeat) => return self.heartbeat().await,
                () = self.app.stopping.cancelled() => return None,
            }
        }
    }

    /// A sign of life, while there is a video.
    async fn heartbeat(&self) -> Option<String> {
        let Job { record, .. } = &self.job;
        let found = self.app.store.get(record.project, record.job).await;
        (!matches!(found, Ok(None))).then(|| ": still here\n\n".to_owned())
    }
}
