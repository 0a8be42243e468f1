//! The feed over a WebSocket: the same events as the stream, nothing left out wherever it was cut.

mod client;
mod manners;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use longtake_core::retention::Keep;
use longtake_core::store::NewJob;
use longtake_testing::wait_until;
use serde_json::{Value, json};

use crate::app::{Server, tiny};
use crate::feed::{gauge, hanging};
use client::{BOUND, Heard, Socket, handshake, id, is_final};

/// The numbers seen of each video, each once; they must be 1, 2, 3 ….
fn assert_whole<'a>(seen: impl Iterator<Item = &'a Value>) -> BTreeMap<String, u64> {
    let (mut ids, mut videos) = (BTreeSet::new(), BTreeMap::<String, u64>::new());
    for event in seen.filter(|event| ids.insert(id(event).to_owned())) {
        let newest = videos.entry(event["data"]["id"].as_str().unwrap().to_owned()).or_default();
        *newest += 1;
        assert_eq!(event["sequence"], *newest, "no gap, and in order: {}", id(event));
    }
    videos
}

async fn create_some(server: &Server, count: usize) {
    for n in 0..count {
        server.create(&tiny(&format!("number {n} [sandbox duration=200ms]"))).await;
    }
}

/// The bodies that the stream of server-sent events tells behind a cursor, until so many videos have ended.
async fn streamed(server: &Server, cursor: &str, count: usize) -> Vec<Value> {
    let mut response = server.get(&format!("/v1/events?after={cursor}")).send().await.unwrap();
    let (mut text, mut seen) = (String::new(), Vec::<Value>::new());
    while seen.iter().filter(|event| is_final(event)).count() < count {
        text.push_str(std::str::from_utf8(&response.chunk().await.unwrap().unwrap()).unwrap());
        while let Some((block, rest)) = text.split_once("\n\n") {
            let data = block.lines().find_map(|line| line.strip_prefix("data: "));
            seen.extend(data.map(|data| serde_json::from_str::<Value>(data).unwrap()));
            text = rest.to_owned();
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_tells_what_the_stream_tells() {
    let server = Server::start().await;
    server.finished(&server.create(&tiny("before [sandbox duration=1ms]")).await).await;
    let mut socket = Socket::open(&server, "/v1/events/ws").await;
    let begin = socket.cursor.clone();
    create_some(&server, 3).await;
    let live = socket.until_ended(3).await;
    assert_eq!(assert_whole(live.iter()).len(), 3, "what was before is not told");
    assert_eq!(live, streamed(&server, &begin, 3).await);
    assert_eq!(live, Socket::behind(&server, &begin).await.until_ended(3).await, "from the pages the same");
    // Cursors are the same on both.
    assert_eq!(streamed(&server, &begin, 3).await, live);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resuming_behind_any_message_leaves_nothing_out() {
    let server = Server::start().await;
    let mut socket = Socket::open(&server, "/v1/events/ws").await;
    create_some(&server, 3).await;
    let mut live: Vec<(String, Value)> = Vec::new();
    while live.iter().filter(|(_, event)| is_final(event)).count() < 3 {
        let event = socket.event().await;
        live.push((socket.cursor.clone(), event));
    }
    let ids: Vec<&str> = live.iter().map(|(_, event)| id(event)).collect();
    for (at, (cursor, _)) in live.iter().enumerate() {
        let (mut again, missing) = (Socket::behind(&server, cursor).await, &ids[at + 1..]);
        let mut seen: Vec<Value> = Vec::new();
        while seen.last().map(id) != missing.last().copied() {
            seen.push(again.event().await);
        }
        let seen: Vec<&str> = seen.iter().map(id).collect();
        let (repeated, rest) = seen.split_at(seen.len() - missing.len());
        assert_eq!(rest, missing, "behind event {at}");
        assert!(ids[..=at].ends_with(repeated), "only the last come again");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_goes_on_across_a_restart_of_the_server() {
    let server = Server::start().await;
    let mut socket = Socket::open(&server, "/v1/events/ws").await;
    server.create(&tiny("goes on [sandbox duration=1500ms]")).await;
    let mut seen = vec![socket.event().await, socket.event().await];
    let cursor = socket.cursor.clone();
    let server = server.restarted().await;
    assert_eq!(socket.closed().await.0, 1001);
    seen.extend(Socket::behind(&server, &cursor).await.until_ended(1).await);
    assert_eq!(assert_whole(seen.iter()).len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_hears_its_project_and_the_types_asked_for() {
    let server = Server::start_with(|config| config.server.heartbeat_secs = 1).await;
    let body = json!({"name": "other", "project": "other", "scopes": ["read", "write"]});
    let key: Value = server.post("/v1/api_keys").json(&body).send().await.unwrap().json().await.unwrap();
    let key = key["key"].as_str().unwrap();
    let mut request = handshake(&server, "/v1/events/ws");
    request.headers_mut().insert("authorization", format!("Bearer {key}").parse().unwrap());
    let mut other = Socket::try_open(&server, request).await.unwrap();
    assert_eq!(other.next().await, Heard::Cursor);
    let begin = other.cursor.clone();
    let mut ends = Socket::open(&server, "/v1/events/ws?types=video.completed,video.failed").await;
    let ours = server.create(&tiny("ours [sandbox duration=100ms]")).await;
    server.finished(&ours).await;
    let end = ends.event().await;
    assert_eq!((&end["type"], &end["data"]["id"]), (&json!("video.completed"), &ours["id"]));
    assert_eq!(other.next().await, Heard::Cursor, "a quiet socket tells how far the others are, and no more");
    assert_ne!(other.cursor, begin);
    let theirs = server.post("/v1/videos").bearer_auth(key).json(&tiny("theirs [sandbox duration=1ms]"));
    theirs.send().await.unwrap();
    assert_eq!(other.event().await["data"]["prompt"], "theirs [sandbox duration=1ms]");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_that_cannot_be_used_is_told_in_the_socket() {
    let server = Server::start().await;
    let real = Socket::open(&server, "/v1/events/ws").await.cursor;
    for junk in ["x", "", "cur_1.0.ffffff"] {
        let request = handshake(&server, &format!("/v1/events/ws?after={junk}"));
        let mut socket = Socket::try_open(&server, request).await.unwrap();
        let Heard::Error(body) = socket.next().await else { panic!("{junk} was taken for a cursor") };
        assert_eq!((&body["error"]["code"], &body["error"]["param"]), (&json!("invalid_cursor"), &json!("after")));
        assert_eq!(socket.next().await, Heard::Close(4400, "invalid_cursor".to_owned()));
    }
    server.finished(&server.create(&tiny("short [sandbox duration=1ms]")).await).await;
    let keep = Keep { jobs: None, events: Some(Duration::ZERO), artifacts: None };
    assert!(server.expire(keep).await.events > 0);
    let request = handshake(&server, &format!("/v1/events/ws?after={real}"));
    let mut socket = Socket::try_open(&server, request).await.unwrap();
    let Heard::Error(body) = socket.next().await else { panic!("it was not told") };
    assert_eq!(body["error"]["code"], "cursor_expired");
    assert_eq!(socket.closed().await, (4410, "cursor_expired".to_owned()));
    // Nothing is left of them: the permits of streams are free, and a new one begins.
    Socket::open(&server, "/v1/events/ws").await;
    server.stop().await;
}

/// More events than one listener may leave waiting, each larger than the kernel's buffers take many of.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_listener_is_let_go_and_still_misses_nothing() {
    const VIDEOS: usize = 1_300;
    let server = Server::start().await;
    let mut slow = Socket::slow(&server, "/v1/events/ws?types=video.queued").await;
    wait_until("it listens", BOUND, async || gauge(&server, "longtake_feed_listeners").await == 1.0).await;
    let jobs: Vec<NewJob> = (0..VIDEOS).map(|_| hanging(&"word".repeat(7_500))).collect();
    let created: BTreeSet<String> = jobs.iter().map(|new| format!("evt_{}_1", new.job)).collect();
    server.store().create(jobs).await.unwrap();
    wait_until("it is let go", BOUND, async || gauge(&server, "longtake_feed_listeners").await == 0.0).await;
    // Then it reads on, from the store.
    let mut told = Vec::new();
    while told.len() < VIDEOS {
        // Some come back to the queue.
        told.extend(Some(slow.event().await).filter(|event| event["sequence"] == 1).map(|event| id(&event).to_owned()));
    }
    assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), created, "each once");
    wait_until("it listens again", BOUND, async || gauge(&server, "longtake_feed_listeners").await == 1.0).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_takes_nothing_is_cut_off_and_resumes_without_a_gap() {
    const VIDEOS: usize = 300;
    let server = Server::start_with(|config| config.server.write_timeout_secs = 1).await;
    let mut slow = Socket::slow(&server, "/v1/events/ws?types=video.queued").await;
    wait_until("it listens", BOUND, async || gauge(&server, "longtake_feed_listeners").await == 1.0).await;
    assert_eq!(slow.next().await, Heard::Cursor);
    let jobs: Vec<NewJob> = (0..VIDEOS).map(|_| hanging(&"word".repeat(7_500))).collect();
    let mut expected: BTreeSet<String> = jobs.iter().map(|new| format!("evt_{}_1", new.job)).collect();
    server.store().create(jobs).await.unwrap();
    let (streams, all) = (&server.app().memory.streams, server.app().limits.max_event_streams);
    wait_until("it is cut off, its place is free", BOUND, async || streams.available_permits() == all).await;
    while let Heard::Event(event) = slow.next().await {
        expected.remove(id(&event));
    }
    assert!(!expected.is_empty(), "the kernel had room for all of it: nothing was shown");
    let mut again = Socket::behind(&server, &slow.cursor).await;
    while !expected.is_empty() {
        expected.remove(id(&again.event().await));
    }
    server.stop().await;
}
