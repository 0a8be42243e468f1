//! Live events in a real browser, through a proxy that cuts its connections: no gap, and in order per video.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{Html, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use longtake::http::limits::Limits;
use longtake::http::router::router;
use longtake::http::serve::serve;
use longtake_core::event::EventKind;
use longtake_testing::proxy::{Behaviour, Proxy};
use longtake_testing::wait_until;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::app::{Server, tiny};

/// The longest that anything is waited for: a browser starts slowly beside other tests.
const BOUND: Duration = Duration::from_secs(120);
/// Seconds that the provider takes for each video.
const SECONDS: [u32; 6] = [10, 10, 2, 4, 6, 8];
/// Bytes after which every connection is cut, mostly in the middle of an event.
const CUT_AFTER: u64 = 16_000;
/// Times that all connections are cut at once, and between them.
const CUTS: usize = 5;
const BETWEEN_CUTS: Duration = Duration::from_millis(900);

/// What one way to follow events saw.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Collector {
    connections: usize,
    ready: bool,
    /// Video and sequence, in the order in which they came.
    events: Vec<(String, u32)>,
    /// What went wrong, for whoever reads a failure of the test.
    notes: Vec<String>,
}

impl Collector {
    /// Every event must be the next one of its video, or one that was seen.
    fn assert_in_order(&self, name: &str) {
        let mut newest = BTreeMap::<&str, u32>::new();
        for (video, sequence) in &self.events {
            let newest = newest.entry(video).or_default();
            assert!(*sequence <= *newest + 1, "{name}: {video} {sequence} came after {newest}; {:?}", self.notes);
            *newest = (*newest).max(*sequence);
        }
    }

    fn seen(&self) -> BTreeSet<(String, u32)> {
        self.events.iter().cloned().collect()
    }
}

/// What the page and the test tell each other.
#[derive(Clone)]
struct Desk {
    key: String,
    told: Arc<Mutex<BTreeMap<String, Collector>>>,
    /// The videos that it follows alone.
    alone: Arc<Mutex<Value>>,
}

impl Desk {
    fn collector(&self, name: &str) -> Collector {
        self.told.lock().unwrap().get(name).cloned().unwrap_or_default()
    }
}

/// The code that docs/api.md gives to pages.
fn documented() -> &'static str {
    let page = include_str!("../../../../../docs/api.md");
    let code = page.split_once("<!-- browser -->\n```javascript\n").and_then(|(_, rest)| rest.split_once("```"));
    code.expect("docs/api.md has an example for pages").0
}

async fn page(State(desk): State<Desk>) -> Html<String> {
    let types: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.word()).collect();
    let page = include_str!("page.html").replace("%KEY%", &desk.key).replace("%FOLLOW%", documented());
    Html(page.replace("%TYPES%", &serde_json::to_string(&types).unwrap()))
}

async fn told(State(desk): State<Desk>, body: String) -> Json<Value> {
    *desk.told.lock().unwrap() = serde_json::from_str(&body).unwrap();
    Json(desk.alone.lock().unwrap().clone())
}

/// What a proxy before the server does for `EventSource`, which can send no header: it knows the visitor.
async fn add_key(State(desk): State<Desk>, mut request: Request, next: Next) -> Response {
    let headers = request.headers_mut();
    if headers.get("accept").is_some_and(|accept| accept == "text/event-stream") {
        headers.insert("authorization", format!("Bearer {}", desk.key).parse().unwrap());
    }
    next.run(request).await
}

/// The server's routes and the page, at one origin.
async fn serve_page(server: &Server, desk: &Desk, stop: CancellationToken) -> std::net::SocketAddr {
    let own = Router::new().route("/page", get(page)).route("/told", post(told)).with_state(desk.clone());
    let both = router(server.app().clone()).merge(own).layer(from_fn_with_state(desk.clone(), add_key));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { serve(listener, both, &Limits::default(), stop.cancelled_owned()).await });
    address
}

/// A headless Chromium with a fresh profile, which ends with its handle.
struct Browser {
    process: Child,
    profile: PathBuf,
}

impl Browser {
    fn open(url: &str) -> Self {
        let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chromium-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&profile);
        std::fs::create_dir_all(&profile).unwrap();
        let log = std::fs::File::create(profile.join("stderr.log")).unwrap();
        let process = Command::new("chromium")
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--disable-dev-shm-usage", "--no-proxy-server"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            // It starts others; they end together.
            .process_group(0)
            .spawn()
            .expect("chromium cannot be started; install it with: cargo xtask setup");
        Self { process, profile }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let group = rustix::process::Pid::from_child(&self.process);
        // All may have ended by themselves.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        let _ = self.process.wait();
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.profile);
        }
    }
}

/// All that happened to a video, by the server itself.
async fn history(server: &Server, video: &str) -> BTreeSet<(String, u32)> {
    let stream = server.get(&format!("/v1/videos/{video}/events")).send().await.unwrap().text().await.unwrap();
    let numbers = stream.lines().filter_map(|line| line.strip_prefix("id: "));
    numbers.map(|number| (video.to_owned(), number.parse().unwrap())).collect()
}

const FEEDS: [&str; 3] = ["feed_by_source", "feed_by_fetch", "feed_by_socket"];
const VIDEOS: [&str; 2] = ["video_by_source", "video_by_fetch"];

#[tokio::test(flavor = "multi_thread")]
async fn a_page_misses_nothing_however_often_it_is_cut_off() {
    let server = Server::start_with(|config| config.server.heartbeat_secs = 1).await;
    let desk = Desk { key: server.admin_key.clone(), told: Arc::default(), alone: Arc::new(Mutex::new(json!({}))) };
    let stop = CancellationToken::new();
    let proxy = Proxy::start(serve_page(&server, &desk, stop.clone()).await);
    let browser = Browser::open(&format!("{}/page", proxy.url()));
    let all =
        |names: &[&str], holds: &dyn Fn(&Collector) -> bool| names.iter().all(|name| holds(&desk.collector(name)));
    wait_until("the page follows the feed", BOUND, async || all(&FEEDS, &|own| own.ready)).await;

    let mut videos = Vec::new();
    for seconds in SECONDS {
        let video = server.create(&tiny(&format!("seen by a page [sandbox duration={seconds}s]"))).await;
        videos.push(video["id"].as_str().unwrap().to_owned());
    }
    *desk.alone.lock().unwrap() = json!({"first": videos[0], "second": videos[1]});
    wait_until("all of them have begun", BOUND, async || {
        all(&FEEDS, &|own| !own.events.is_empty()) && all(&VIDEOS, &|own| !own.events.is_empty())
    })
    .await;
    proxy.set(Behaviour { cut_after_received: Some(CUT_AFTER), ..Behaviour::default() });
    let mut ticks = tokio::time::interval(BETWEEN_CUTS);
    for _ in 0..CUTS {
        ticks.tick().await;
        proxy.cut_all();
    }

    let mut expected = BTreeSet::new();
    for (at, video) in videos.iter().enumerate() {
        let whole = history(&server, video).await;
        if let Some(name) = VIDEOS.get(at) {
            let missing = async || desk.collector(name).seen() == whole;
            wait_until(&format!("{name} has seen its video"), BOUND, missing).await;
        }
        expected.extend(whole);
    }
    for name in FEEDS {
        wait_until(&format!("{name} has seen them all"), BOUND, async || {
            expected.difference(&desk.collector(name).seen()).next().is_none()
        })
        .await;
    }
    for name in FEEDS {
        let own = desk.collector(name);
        own.assert_in_order(name);
        assert!(own.connections > 2, "{name} was not cut off: {own:?}");
        println!("{name}: {} events over {} connections", own.events.len(), own.connections);
    }
    for name in VIDEOS {
        let own = desk.collector(name);
        own.assert_in_order(name);
        assert!(own.connections > 1, "{name} was not cut off: {own:?}");
        assert_eq!(own.events.len(), own.seen().len(), "{name}: the stream of one video repeats nothing");
        println!("{name}: {} events over {} connections", own.events.len(), own.connections);
    }
    drop(browser);
    proxy.shutdown();
    stop.cancel();
    server.stop().await;
}
