//! The event stream: every number once and in order, wherever it was cut.

use std::time::Duration;

use futures::StreamExt;
use longtake::clock::SystemClock;
use longtake_core::time::Clock;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::app::{Authorized, Server, code, tiny};

/// Longest wait for the next piece of a stream.
const BOUND: Duration = Duration::from_secs(30);

/// One parsed event.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    id: u64,
    kind: String,
    body: Value,
}

/// Reads a stream to its end, or until `enough` holds.
async fn read(request: Authorized, enough: impl Fn(&[Seen], usize) -> bool) -> (Vec<Seen>, bool) {
    let response = request.header("accept", "text/event-stream").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
    let mut stream = response.bytes_stream();
    let (mut text, mut seen, mut comments) = (String::new(), Vec::new(), 0);
    loop {
        if enough(&seen, comments) {
            return (seen, false);
        }
        let Some(chunk) = tokio::time::timeout(BOUND, stream.next()).await.unwrap() else {
            assert_eq!(text, "", "a stream ends between events");
            return (seen, true);
        };
        text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
        while let Some((block, rest)) = text.split_once("\n\n") {
            let block = block.to_owned();
            text = rest.to_owned();
            match block.starts_with(':') {
                true => comments += 1,
                false => seen.push(parse(&block)),
            }
        }
    }
}

fn parse(block: &str) -> Seen {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(&format!("{name}: "))).unwrap();
    let body: Value = serde_json::from_str(field("data")).unwrap();
    Seen { id: field("id").parse().unwrap(), kind: field("event").to_owned(), body }
}

fn path(video: &Value) -> String {
    format!("/v1/videos/{}/events", video["id"].as_str().unwrap())
}

fn assert_dense(seen: &[Seen], first: u64) {
    let ids: Vec<u64> = seen.iter().map(|event| event.id).collect();
    let expected: Vec<u64> = (first..first + ids.len() as u64).collect();
    assert_eq!(ids, expected, "no gap, no duplicate");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_tells_the_whole_life_and_ends() {
    let server = Server::start().await;
    let video = server.create(&tiny("watched [sandbox duration=300ms]")).await;
    let (seen, ended) = read(server.get(&path(&video)), |_, _| false).await;
    assert!(ended);
    assert_dense(&seen, 1);
    let kinds: Vec<&str> = seen.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!((kinds[0], kinds[kinds.len() - 1]), ("video.queued", "video.completed"));
    for kind in ["video.submitted", "video.in_progress", "video.storing"] {
        assert_eq!(kinds.iter().filter(|seen| **seen == kind).count(), 1, "{kind} in {kinds:?}");
    }
    for event in &seen {
        assert_eq!(event.body["object"], "event");
        assert_eq!(event.body["type"], event.kind.as_str());
        assert_eq!(event.body["sequence"], event.id);
        assert_eq!(event.body["data"]["id"], video["id"]);
        assert_eq!(event.body["id"], format!("evt_{}_{}", video["id"].as_str().unwrap(), event.id));
    }
    let last = &seen[seen.len() - 1].body["data"];
    let shown = server.json(&format!("/v1/videos/{}", video["id"].as_str().unwrap())).await;
    for member in ["state", "status", "progress", "sha256", "bytes", "completed_at", "cost_usd"] {
        assert_eq!(last[member], shown[member], "{member}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resuming_anywhere_continues_exactly() {
    let server = Server::start().await;
    let video = server.create(&tiny("resumed [sandbox duration=1ms]")).await;
    let (all, _) = read(server.get(&path(&video)), |_, _| false).await;
    let whole: Vec<&Seen> = all.iter().collect();
    for cut in 0..all.len() - 1 {
        let (by_header, ended) =
            read(server.get(&path(&video)).header("last-event-id", cut.to_string()), |_, _| false).await;
        assert!(ended);
        assert_eq!(by_header.iter().collect::<Vec<_>>(), whole[cut..], "after {cut}");
        let (by_query, _) = read(server.get(&format!("{}?after={cut}", path(&video))), |_, _| false).await;
        assert_eq!(by_query, by_header);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_streams_join_without_gap_or_duplicate() {
    let server = Server::start().await;
    let video = server.create(&tiny("cut often [sandbox duration=800ms]")).await;
    let mut joined: Vec<Seen> = Vec::new();
    let mut ended = false;
    while !ended {
        let last = joined.last().map_or(0, |event| event.id);
        let request = server.get(&path(&video)).header("last-event-id", last.to_string());
        let (more, end) = read(request, |seen, _| !seen.is_empty()).await;
        joined.extend(more);
        ended = end || joined.last().is_some_and(|event| event.kind == "video.completed");
    }
    assert_dense(&joined, 1);
    let (whole, _) = read(server.get(&path(&video)), |_, _| false).await;
    assert_eq!(joined, whole);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_listeners_see_the_same() {
    let server = Server::start().await;
    let video = server.create(&tiny("seen by many [sandbox duration=300ms]")).await;
    let listeners = (0..20).map(|_| read(server.get(&path(&video)), |_, _| false));
    let all = futures::future::join_all(listeners).await;
    for (seen, ended) in &all {
        assert!(ended);
        assert_eq!(seen, &all[0].0);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn behind_the_end_a_stream_waits_for_what_may_come() {
    let server = Server::start_with(|config| config.server.heartbeat_secs = 1).await;
    let video = server.create(&tiny("fails first [sandbox fail=provider_quota duration=1ms]")).await;
    let (seen, ended) = read(server.get(&path(&video)), |_, _| false).await;
    assert!(ended && seen[seen.len() - 1].kind == "video.failed", "{seen:?}");
    let last = seen[seen.len() - 1].id;

    let (nothing, ended) =
        read(server.get(&path(&video)).header("last-event-id", "4000000"), |_, comments| comments > 1).await;
    assert!(nothing.is_empty() && !ended, "a number not reached yet waits, with comments");

    let retry = server.post(&format!("/v1/videos/{}/retry", video["id"].as_str().unwrap()));
    let waiting = read(server.get(&path(&video)).header("last-event-id", last.to_string()), |_, _| false);
    let ((after, ended), retried) = tokio::join!(waiting, retry.send());
    assert_eq!(retried.unwrap().status(), StatusCode::OK);
    assert!(ended);
    assert_dense(&after, last + 1);
    assert_eq!(after[0].kind, "video.queued");
    assert_eq!(after[after.len() - 1].kind, "video.failed");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_resume_point_is_refused() {
    let server = Server::start().await;
    let video = server.create(&tiny("[sandbox hang] x")).await;
    let refused = (400, "invalid_value".to_owned());
    for junk in ["x", "-1", "1.5", "", "01", "1e3", "9999999999999999999999"] {
        assert_eq!(code(server.get(&path(&video)).header("last-event-id", junk)).await, refused, "{junk}");
        assert_eq!(code(server.get(&format!("{}?after={junk}", path(&video)))).await, refused, "{junk}");
    }
    assert_eq!(code(server.get(&format!("{}?from=1", path(&video)))).await, (400, "unknown_parameter".to_owned()));
    let unknown = format!("/v1/videos/video_{}/events", "0".repeat(32));
    assert_eq!(code(server.get(&unknown)).await, (404, "video_not_found".to_owned()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_ends_streams_at_once() {
    let server = Server::start().await;
    let video = server.create(&json!({"prompt": "[sandbox hang] x", "seconds": 1, "size": "64x64"})).await;
    let stream = read(server.get(&path(&video)), |seen, _| seen.iter().any(|event| event.kind == "video.in_progress"));
    stream.await;
    let waiting = tokio::spawn(server.get(&path(&video)).header("last-event-id", "1000").send());
    let response = waiting.await.unwrap().unwrap();
    let started = SystemClock.monotonic();
    server.stop().await;
    assert!(SystemClock.monotonic() - started < Duration::from_secs(5), "a listener holds up the stop");
    let rest = response.text().await;
    assert!(rest.is_ok(), "the stream ends properly: {rest:?}");
}
