//! The events of all videos: nothing left out, in order per video, wherever the stream was cut.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use longtake::clock::{OsRandom, SystemClock};
use longtake_core::id::{JobId, PoolId, ProjectId};
use longtake_core::request::{Size, VideoRequest};
use longtake_core::store::NewJob;
use longtake_core::time::Clock;
use longtake_testing::wait_until;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

use crate::app::{Authorized, Server, code, tiny};

/// Longest wait for the next piece of a stream.
const BOUND: Duration = Duration::from_secs(30);

/// One block of a stream: an event, or a comment.
#[derive(Debug, Clone, PartialEq)]
struct Seen {
    cursor: Option<String>,
    kind: Option<String>,
    body: Value,
}

impl Seen {
    fn parse(block: &str) -> Self {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        let body = field("data").map_or(Value::Null, |data| serde_json::from_str(data).unwrap());
        Self { cursor: field("id").map(str::to_owned), kind: field("event").map(str::to_owned), body }
    }

    fn id(&self) -> &str {
        self.body["id"].as_str().unwrap()
    }

    fn video(&self) -> &str {
        self.body["data"]["id"].as_str().unwrap()
    }

    fn is_final(&self) -> bool {
        ["video.completed", "video.failed", "video.canceled"].contains(&self.kind.as_deref().unwrap_or_default())
    }
}

/// An open stream.
struct Feed {
    pieces: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>>,
    text: String,
    /// The last cursor it told.
    cursor: String,
}

impl Feed {
    /// Opens it and reads its greeting.
    async fn open(request: Authorized) -> Self {
        let response = request.header("accept", "text/event-stream").send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.headers()["content-type"].to_str().unwrap().starts_with("text/event-stream"));
        let mut feed = Self { pieces: Box::pin(response.bytes_stream()), text: String::new(), cursor: String::new() };
        let greeting = feed.block().await.unwrap();
        assert_eq!(greeting.kind, None);
        assert!(!feed.cursor.is_empty(), "none begins without a cursor");
        feed
    }

    async fn from(server: &Server, cursor: &str) -> Self {
        Self::open(server.get("/v1/events").header("last-event-id", cursor)).await
    }

    /// The next block; `None` at the end.
    async fn block(&mut self) -> Option<Seen> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let seen = Seen::parse(block);
                self.text = rest.to_owned();
                self.cursor = seen.cursor.clone().unwrap_or_else(|| self.cursor.clone());
                return Some(seen);
            }
            let Some(piece) = tokio::time::timeout(BOUND, self.pieces.next()).await.unwrap() else {
                assert_eq!(self.text, "", "a stream ends between events");
                return None;
            };
            self.text.push_str(std::str::from_utf8(&piece.unwrap()).unwrap());
        }
    }

    /// The next event.
    async fn event(&mut self) -> Seen {
        loop {
            let seen = self.block().await.unwrap();
            if seen.kind.is_some() {
                return seen;
            }
        }
    }

    /// Events until `count` videos have ended.
    async fn until_ended(&mut self, count: usize) -> Vec<Seen> {
        let mut seen: Vec<Seen> = Vec::new();
        while seen.iter().filter(|seen| seen.is_final()).count() < count {
            seen.push(self.event().await);
        }
        seen
    }
}

/// The numbers seen of each video, each once; they must be 1, 2, 3 ….
fn assert_whole<'a>(seen: impl Iterator<Item = &'a Seen>) -> BTreeMap<String, usize> {
    let (mut ids, mut videos) = (BTreeSet::new(), BTreeMap::<String, usize>::new());
    for event in seen.filter(|event| ids.insert(event.id().to_owned())) {
        let newest = videos.entry(event.video().to_owned()).or_default();
        assert_eq!(event.body["sequence"], *newest + 1, "no gap, and in order: {}", event.id());
        *newest += 1;
    }
    videos
}

async fn create_some(server: &Server, count: usize) -> Vec<Value> {
    let mut videos = Vec::new();
    for n in 0..count {
        videos.push(server.create(&tiny(&format!("number {n} [sandbox duration=200ms]"))).await);
    }
    videos
}

/// A figure of `/metrics`.
pub async fn gauge(server: &Server, name: &str) -> f64 {
    let text = server.get("/metrics").send().await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stream_tells_the_lives_of_all_videos_from_now_on() {
    let server = Server::start().await;
    let before = server.create(&tiny("before [sandbox duration=1ms]")).await;
    server.finished(&before).await;
    let mut feed = Feed::open(server.get("/v1/events")).await;
    let begin = feed.cursor.clone();
    let videos = create_some(&server, 3).await;
    let live = feed.until_ended(3).await;
    let known: BTreeSet<&str> = videos.iter().map(|video| video["id"].as_str().unwrap()).collect();
    let told = assert_whole(live.iter());
    assert_eq!(told.keys().map(String::as_str).collect::<BTreeSet<_>>(), known, "what was before is not told");
    for event in &live {
        assert_eq!(event.body["object"], "event");
        assert_eq!(event.body["type"], event.kind.as_deref().unwrap());
        assert_eq!(event.body["data"]["object"], "video");
        assert!(event.body["data"]["prompt"].as_str().unwrap().starts_with("number "));
    }
    assert_eq!(gauge(&server, "longtake_feed_listeners").await, 1.0);
    assert_eq!(gauge(&server, "longtake_feed_horizon_age_seconds").await, 0.0);

    // From the pages the same, also through the query.
    for request in [
        server.get("/v1/events").header("last-event-id", &begin),
        server.get(&format!("/v1/events?after={begin}")),
        server.get("/v1/events?after=junk").header("last-event-id", &begin),
    ] {
        let again = Feed::open(request).await.until_ended(3).await;
        let bodies = |seen: &[Seen]| seen.iter().map(|seen| seen.body.clone()).collect::<Vec<_>>();
        assert_eq!(bodies(&again), bodies(&live));
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn resuming_behind_any_event_leaves_nothing_out() {
    let server = Server::start().await;
    let mut feed = Feed::open(server.get("/v1/events")).await;
    create_some(&server, 3).await;
    let live = feed.until_ended(3).await;
    for (at, event) in live.iter().enumerate() {
        let cursor = event.cursor.as_deref().unwrap();
        let mut again = Feed::from(&server, cursor).await;
        let (mut seen, missing) = (Vec::<Seen>::new(), &live[at + 1..]);
        while seen.last().map(Seen::id) != missing.last().map(Seen::id) {
            seen.push(again.event().await);
        }
        let (repeated, rest) = seen.split_at(seen.len() - missing.len());
        assert_eq!(
            rest.iter().map(Seen::id).collect::<Vec<_>>(),
            missing.iter().map(Seen::id).collect::<Vec<_>>(),
            "behind event {at}"
        );
        let last: Vec<&str> = live[..=at].iter().map(Seen::id).collect();
        assert!(last.ends_with(&repeated.iter().map(Seen::id).collect::<Vec<_>>()), "only the last come again");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_cut_join_without_a_gap() {
    let server = Server::start().await;
    let mut cursor = Feed::open(server.get("/v1/events")).await.cursor;
    create_some(&server, 4).await;
    let (mut joined, mut ended): (Vec<Seen>, BTreeSet<String>) = (Vec::new(), BTreeSet::new());
    while ended.len() < 4 {
        let mut feed = Feed::from(&server, &cursor).await;
        for _ in 0..3 {
            let event = feed.event().await;
            if event.is_final() {
                ended.insert(event.video().to_owned());
            }
            joined.push(event);
            if ended.len() == 4 {
                break;
            }
        }
        cursor = feed.cursor;
    }
    assert_eq!(assert_whole(joined.iter()).len(), 4);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_holds_across_a_restart_of_the_server() {
    let server = Server::start().await;
    let mut feed = Feed::open(server.get("/v1/events")).await;
    server.create(&tiny("goes on [sandbox duration=1500ms]")).await;
    let mut seen = vec![feed.event().await, feed.event().await];
    let cursor = feed.cursor.clone();
    let server = server.restarted().await;
    while let Some(block) = feed.block().await {
        assert!(block.kind.is_none() || block.video() == seen[0].video(), "the old stream ends properly");
    }
    let mut feed = Feed::from(&server, &cursor).await;
    seen.extend(feed.until_ended(1).await);
    assert_eq!(assert_whole(seen.iter()).len(), 1);
    assert_eq!(seen.last().unwrap().kind.as_deref(), Some("video.completed"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_hears_its_project_and_the_types_asked_for() {
    let server = Server::start_with(|config| config.server.heartbeat_secs = 1).await;
    let body = json!({"name": "other", "project": "other", "scopes": ["read", "write"]});
    let key: Value = server.post("/v1/api_keys").json(&body).send().await.unwrap().json().await.unwrap();
    let key = key["key"].as_str().unwrap();
    let mut other = Feed::open(server.get("/v1/events").bearer_auth(key)).await;
    let begin = other.cursor.clone();
    let mut ends = Feed::open(server.get("/v1/events?types=video.completed,video.failed")).await;
    let ours = server.create(&tiny("ours [sandbox duration=100ms]")).await;
    server.finished(&ours).await;
    let end = ends.event().await;
    assert_eq!((end.kind.as_deref(), end.video()), (Some("video.completed"), ours["id"].as_str().unwrap()));
    let quiet = other.block().await.unwrap();
    assert_eq!(quiet.kind, None, "another project's event");
    wait_until("a quiet stream tells how far the others are", BOUND, async || {
        assert_eq!(other.block().await.unwrap().kind, None);
        other.cursor != begin
    })
    .await;
    let theirs = server.post("/v1/videos").bearer_auth(key).json(&tiny("theirs [sandbox duration=1ms]"));
    assert_eq!(theirs.send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(other.event().await.body["data"]["prompt"], "theirs [sandbox duration=1ms]");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_video_is_not_told_of() {
    let server = Server::start().await;
    let mut feed = Feed::open(server.get("/v1/events")).await;
    let begin = feed.cursor.clone();
    let gone = server.create(&tiny("goes [sandbox duration=1ms]")).await;
    feed.until_ended(1).await;
    let deleted = server.delete(&format!("/v1/videos/{}", gone["id"].as_str().unwrap())).send().await.unwrap();
    assert_eq!(deleted.status(), StatusCode::OK);
    let stays = server.create(&tiny("stays [sandbox duration=1ms]")).await;
    let seen = Feed::from(&server, &begin).await.until_ended(1).await;
    assert_eq!(assert_whole(seen.iter()).keys().collect::<Vec<_>>(), [stays["id"].as_str().unwrap()]);
    server.stop().await;
}

/// A job that no provider ends.
pub fn hanging(words: &str) -> NewJob {
    let request = VideoRequest {
        prompt: format!("[sandbox hang] {words}").into(),
        model: "sandbox".into(),
        seconds: 1,
        size: Size { width: 64, height: 64 },
        input: None,
        metadata: BTreeMap::new(),
        priority: 0,
        provider_options: None,
        source: None,
        max_cost_usd_micros: None,
        webhook: None,
    };
    let job = JobId::new(SystemClock.now(), &OsRandom);
    NewJob { job, project: ProjectId(1), request, pool: PoolId::NONE, deadline: None, idempotency: None }
}

/// More events than one listener may leave waiting, each larger than the kernel's buffers take many of.
#[tokio::test(flavor = "multi_thread")]
async fn a_slow_listener_is_let_go_and_still_misses_nothing() {
    const VIDEOS: usize = 1_300;
    let server = Server::start().await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(256 << 10).unwrap();
    let address = server.base.strip_prefix("http://").unwrap().parse().unwrap();
    let mut slow = socket.connect(address).await.unwrap();
    let head = format!(
        "GET /v1/events?types=video.queued HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\nconnection: close\r\n\r\n",
        server.admin_key
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    wait_until("it listens", BOUND, async || gauge(&server, "longtake_feed_listeners").await == 1.0).await;
    let jobs: Vec<NewJob> = (0..VIDEOS).map(|_| hanging(&"word".repeat(7_500))).collect();
    let created: BTreeSet<String> = jobs.iter().map(|new| new.job.to_string()).collect();
    server.store().create(jobs).await.unwrap();
    wait_until("it is let go", BOUND, async || gauge(&server, "longtake_feed_listeners").await == 0.0).await;
    // Others are told meanwhile; then it reads on, from the store, and joins again.
    let mut quick = Feed::open(server.get("/v1/events?types=video.queued")).await;
    let last = server.create(&tiny("the last [sandbox hang]")).await["id"].as_str().unwrap().to_owned();
    while quick.event().await.video() != last {}
    let (mut told, mut buffer, mut bytes) = (Vec::new(), vec![0; 1 << 16], Vec::new());
    while told.len() <= VIDEOS {
        let read = tokio::time::timeout(BOUND, slow.read(&mut buffer)).await.unwrap().unwrap();
        assert!(read > 0, "the stream goes on");
        bytes.extend_from_slice(&buffer[..read]);
        while let Some(end) = bytes.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = bytes.drain(..end + 2).collect();
            let text = String::from_utf8_lossy(&block);
            let event = text.find("\"id\":\"evt_").map(|at| text[at + 6..].split('"').next().unwrap().to_owned());
            // Some come back to the queue.
            let event = event.filter(|event| event.ends_with("_1"));
            told.extend(event);
        }
    }
    let expected: BTreeSet<String> = created.iter().chain([&last]).map(|video| format!("evt_{video}_1")).collect();
    assert_eq!(told.len(), expected.len(), "each once");
    assert_eq!(told.into_iter().collect::<BTreeSet<_>>(), expected);
    wait_until("it listens again", BOUND, async || gauge(&server, "longtake_feed_listeners").await == 2.0).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_cursor_is_refused() {
    let server = Server::start().await;
    let refused = (400, "invalid_cursor".to_owned());
    let real = Feed::open(server.get("/v1/events")).await.cursor;
    let parts: Vec<&str> = real.split('.').collect();
    let elsewhere = format!("cur_1.{}.{}", parts[1], parts[2]);
    let ahead = format!("{}.{}.ffffff", parts[0], parts[1]);
    for junk in ["x", "7", "", "cur_", "cur_1.2.3.4", &elsewhere, &ahead] {
        assert_eq!(code(server.get("/v1/events").header("last-event-id", junk)).await, refused, "{junk}");
        assert_eq!(code(server.get(&format!("/v1/events?after={junk}"))).await, refused, "{junk}");
    }
    assert_eq!(code(server.get("/v1/events?from=1")).await, (400, "unknown_parameter".to_owned()));
    assert_eq!(code(server.get("/v1/events?types=video.made")).await, (400, "invalid_value".to_owned()));
    assert_eq!(code(server.get("/v1/events").anonymous()).await, (401, "invalid_api_key".to_owned()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_bounded_and_end_with_the_server() {
    let server = Server::start_with(|config| config.server.max_event_streams = 1).await;
    let mut feed = Feed::open(server.get("/v1/events")).await;
    assert_eq!(code(server.get("/v1/events")).await, (503, "overloaded".to_owned()));
    let started = SystemClock.monotonic();
    server.stop().await;
    assert!(SystemClock.monotonic() - started < Duration::from_secs(5), "a listener holds up the stop");
    assert_eq!(feed.block().await, None, "the stream ends properly");
}
