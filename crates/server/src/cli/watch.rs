//! Follows one video to its end, across broken connections and servers that come and go.

use std::time::Duration;

use futures::StreamExt;
use longtake_core::time::Clock;
use serde_json::Value;

use super::CliError;
use super::client::{CallError, Request};
use super::link::{Link, pause};
use super::output::member;
use super::progress::Progress;
use super::sse::SseParser;
use crate::clock::SystemClock;

/// First and longest pause before the next try.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));
/// Without a sign of any server for this long, watching ends; the video goes on all the same.
const SILENCE_LIMIT: Duration = Duration::from_secs(600);
/// Streams opened to collect the last events of a video that has ended.
const LAST_ROUNDS: u32 = 3;

/// Follows a video until it is completed, failed or canceled; answers with the video as it then is.
pub(crate) async fn watch(link: &mut Link, id: &str, progress: &mut Progress) -> Result<Value, CliError> {
    let (mut last, mut has_ended, mut rounds) = (0, false, 0);
    let (mut wait, mut heard, mut has_noted) = (PAUSES.0, SystemClock.monotonic(), false);
    loop {
        let outcome = match follow(link, id, &mut last, &mut has_ended, progress).await {
            // The stream ended by itself, or broke: the video says whether that was the end.
            Ok(()) => link.client().send(&Request::get(format!("/v1/videos/{id}"))).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(video) => {
                (wait, heard, has_noted) = (PAUSES.0, SystemClock.monotonic(), false);
                if matches!(member(&video, "status").as_str(), "completed" | "failed") {
                    rounds += 1;
                    if has_ended || rounds > LAST_ROUNDS {
                        return Ok(video);
                    }
                }
            }
            Err(error @ CallError::Refused { .. }) => return Err(error.into()),
            Err(error) => {
                if SystemClock.monotonic().saturating_sub(heard) >= SILENCE_LIMIT {
                    return Err(error.into());
                }
                let (CallError::Unreachable(message) | CallError::Busy(message, _)) = error else { continue };
                // A server of this machine is found or replaced without many words.
                if !std::mem::replace(&mut has_noted, true) && wait > PAUSES.0 {
                    progress.note(&format!("{message} Trying again; the video is safe."));
                }
                wait = (wait * 2).min(PAUSES.1);
            }
        }
        pause(wait).await;
        link.again().await?;
    }
}

/// Shows events until the stream ends. `Err` where it did not begin.
async fn follow(
    link: &Link,
    id: &str,
    last: &mut u64,
    has_ended: &mut bool,
    progress: &mut Progress,
) -> Result<(), CallError> {
    let headers = [("last-event-id", last.to_string())];
    let mut pieces = link.client().open(&format!("/v1/videos/{id}/events"), &headers).await?.bytes_stream();
    let mut parser = SseParser::default();
    while let Some(Ok(piece)) = pieces.next().await {
        let Ok(events) = parser.take(&piece) else { break };
        for event in events {
            let Ok(body) = serde_json::from_str::<Value>(&event.data) else { continue };
            let sequence = event.id.and_then(|id| id.parse().ok()).unwrap_or(*last);
            if sequence <= *last {
                continue;
            }
            *last = sequence;
            *has_ended = matches!(event.kind.as_str(), "video.completed" | "video.failed" | "video.canceled");
            progress.event(&body);
        }
    }
    Ok(())
}

/// Why a video ended badly, for people; `None` if it is completed.
pub(crate) fn failure_of(video: &Value) -> Option<String> {
    if member(video, "status") != "failed" {
        return None;
    }
    let error = video.get("error").cloned().unwrap_or_default();
    let (id, state, code) = (member(video, "id"), member(video, "state"), member(&error, "code"));
    let message = member(&error, "message");
    Some(if state == code {
        format!("{id} is {state}: {message}")
    } else {
        format!("{id} {state}: {message} ({code})")
    })
}
