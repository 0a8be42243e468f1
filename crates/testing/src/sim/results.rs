//! Result bytes: a small playable MP4, filled up with a free box to the wanted size, streamed.
//!
//! A result of many gigabytes costs no memory: behind the real file only the box header is kept, the filling is
//! made as it is sent. The free box begins with the job's id, so two jobs never have the same bytes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::{Bytes, BytesMut};
use futures::stream::{self, Stream};

use super::faults::ResultFault;
use super::jobs::{Phase, View};
use super::{Shared, now_micros};

/// Bytes sent at once.
const CHUNK_BYTES: u64 = 64 * 1024;
static FILLING: [u8; CHUNK_BYTES as usize] = [0; CHUNK_BYTES as usize];
/// Size of every simulated frame: the smallest that all players take.
const SIDE: u32 = 64;
const FRAMES_PER_SECOND: u32 = 4;
/// Longest film that is really made; a longer job gets one of this length.
const MAX_SECONDS: u32 = 30;
static THUMBNAIL: &[u8] = include_bytes!("pictures/thumbnail.webp");
static SPRITESHEET: &[u8] = include_bytes!("pictures/spritesheet.jpg");

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/results/{name}", get(fetch))
}

/// A URL that needs no credential; it says when it was handed out.
pub(super) fn url(shared: &Shared, view: &View) -> String {
    format!("{}/results/{}.mp4?at={}", shared.base_url, view.entry.provider_job, now_micros())
}

pub(super) fn thumbnail() -> Response {
    ([(header::CONTENT_TYPE, "image/webp")], THUMBNAIL).into_response()
}

pub(super) fn spritesheet() -> Response {
    ([(header::CONTENT_TYPE, "image/jpeg")], SPRITESHEET).into_response()
}

async fn fetch(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let id = name.strip_suffix(".mp4").unwrap_or(&name);
    let now = now_micros();
    let found = {
        let table = shared.table.lock().unwrap();
        let vendors = [super::Vendor::OpenaiCompatible, super::Vendor::MinimaxV2, super::Vendor::MinimaxV1];
        let index = vendors.iter().find_map(|vendor| table.find(*vendor, id));
        index.map(|index| (index, table.at(index).view(now)))
    };
    let Some((index, view)) = found.filter(|(_, view)| view.phase == Phase::Completed) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let given_at = query.get("at").and_then(|at| at.parse::<u64>().ok()).unwrap_or(0);
    if shared.options.result_url_ttl_ms.is_some_and(|ttl| now.saturating_sub(given_at) > ttl * 1000) {
        return (StatusCode::FORBIDDEN, "this URL has expired").into_response();
    }
    serve(&shared, index, &view, &headers)
}

/// The bytes of a completed job, with the faults of results.
pub(super) fn serve(shared: &Shared, index: usize, view: &View, headers: &HeaderMap) -> Response {
    let fetches = {
        let mut table = shared.table.lock().unwrap();
        let job = table.at_mut(index);
        job.fetches = job.fetches.saturating_add(1);
        job.fetches
    };
    let (fault, rate) = {
        let mut plan = shared.plan.lock().unwrap();
        if fetches <= plan.faults.result_stale_fetches {
            let status = StatusCode::from_u16(plan.faults.result_stale_status).unwrap_or(StatusCode::FORBIDDEN);
            return (status, "this URL is not valid").into_response();
        }
        (plan.next_result(), plan.faults.result_bytes_per_second)
    };
    match fault {
        ResultFault::Error => return StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        ResultFault::Html => {
            let page = "<!doctype html><title>Sign in</title><p>Please sign in to see this file.";
            return ([(header::CONTENT_TYPE, "text/html")], page).into_response();
        }
        ResultFault::Pass | ResultFault::Truncated => {}
    }
    let layout = Layout::of(shared, view);
    let total = layout.total();
    let range = match headers.get(header::RANGE).map(|range| parse_range(range.to_str().unwrap_or_default(), total)) {
        None => None,
        Some(Some(range)) => Some(range),
        Some(None) => {
            let content_range = [(header::CONTENT_RANGE, format!("bytes */{total}"))];
            return (StatusCode::RANGE_NOT_SATISFIABLE, content_range).into_response();
        }
    };
    let (from, to) = range.unwrap_or((0, total));
    let end = if fault == ResultFault::Truncated { from + (to - from) / 2 } else { to };
    let builder = Response::builder()
        .header(header::CONTENT_TYPE, "video/mp4")
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CONTENT_LENGTH, to - from);
    let builder = match range {
        Some(_) => builder
            .status(StatusCode::PARTIAL_CONTENT)
            .header(header::CONTENT_RANGE, format!("bytes {from}-{}/{total}", to - 1)),
        None => builder,
    };
    builder.body(Body::from_stream(layout.stream(from, end, to, rate))).expect("the headers are valid")
}

/// Start and end (exclusive) of a single range; `None` when it cannot be satisfied.
fn parse_range(range: &str, total: u64) -> Option<(u64, u64)> {
    let (first, last) = range.strip_prefix("bytes=")?.split_once('-')?;
    let (from, to) = match (first.parse::<u64>().ok(), last.parse::<u64>().ok()) {
        (Some(from), Some(last)) => (from, last.saturating_add(1).min(total)),
        (Some(from), None) if last.is_empty() => (from, total),
        (None, Some(length)) if first.is_empty() => (total.saturating_sub(length), total),
        _ => return None,
    };
    (from < to).then_some((from, to))
}

/// Size of a job's result.
pub(super) fn total_bytes(shared: &Shared, view: &View) -> u64 {
    Layout::of(shared, view).total()
}

/// The parts of one result file.
#[derive(Clone)]
struct Layout {
    film: Bytes,
    /// Header of the free box, and the job's id as its first content.
    head: Bytes,
    filling: u64,
}

impl Layout {
    fn of(shared: &Shared, view: &View) -> Self {
        let film = film(shared, view.entry.seconds.clamp(1, MAX_SECONDS));
        let wanted = view.entry.result_bytes.unwrap_or(shared.options.result_bytes);
        let id = view.entry.provider_job.as_bytes();
        let least = 16 + id.len() as u64;
        let space = wanted.saturating_sub(film.len() as u64).max(least);
        let mut head = BytesMut::with_capacity(least as usize);
        // The long form of a box header, whatever the size: 1, the type, then 64 bits of size.
        head.extend_from_slice(&1_u32.to_be_bytes());
        head.extend_from_slice(b"free");
        head.extend_from_slice(&space.to_be_bytes());
        head.extend_from_slice(id);
        Self { film, head: head.freeze(), filling: space - least }
    }

    fn total(&self) -> u64 {
        self.film.len() as u64 + self.head.len() as u64 + self.filling
    }

    /// At most one chunk of the file, from `at` on.
    fn chunk(&self, at: u64, end: u64) -> Bytes {
        let film = self.film.len() as u64;
        let head = film + self.head.len() as u64;
        let (part, from, part_end) = if at < film {
            (self.film.clone(), at, film)
        } else if at < head {
            (self.head.clone(), at - film, head)
        } else {
            (Bytes::from_static(&FILLING), 0, at + CHUNK_BYTES)
        };
        let length = (part_end.min(end) - at).min(CHUNK_BYTES);
        part.slice(from as usize..(from + length) as usize)
    }

    fn stream(
        self,
        from: u64,
        end: u64,
        announced: u64,
        rate: Option<u64>,
    ) -> impl Stream<Item = std::io::Result<Bytes>> + Send {
        stream::unfold((self, from), move |(layout, at)| async move {
            if at >= end {
                if end < announced {
                    // Not ready for one turn, so that what is there is sent before the connection breaks.
                    tokio::task::yield_now().await;
                }
                return None;
            }
            let chunk = layout.chunk(at, end);
            if let Some(rate) = rate {
                let micros = chunk.len() as u64 * 1_000_000 / rate.max(1);
                tokio::time::sleep(Duration::from_micros(micros)).await;
            }
            let next = at + chunk.len() as u64;
            Some((Ok(chunk), (layout, next)))
        })
    }
}

/// The playable part, made once for each length.
fn film(shared: &Shared, seconds: u32) -> Bytes {
    let mut videos = shared.videos.lock().unwrap();
    let make = || Bytes::from(longtake_media::tiny_mp4(SIDE, SIDE, FRAMES_PER_SECOND, seconds, None));
    videos.entry(seconds).or_insert_with(make).clone()
}
