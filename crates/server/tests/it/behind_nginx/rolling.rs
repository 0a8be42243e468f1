//! A rolling restart under load: every process gets SIGTERM in turn and a new one takes its place, while clients that
//! repeat nothing see no refusal and no broken answer, and no job is interrupted (docs/operations.md, "Rolling upgrade").

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use longtake_core::artifact::Digest;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::Nginx;
use crate::fleet::audit::{self, Acknowledged, Audit, Observer};
use crate::fleet::client::Client;
use crate::fleet::feed::FeedReader;
use crate::fleet::installation::Installation;
use crate::fleet::{ADMIN_KEY, until};

/// Clients at once who make one video after the other, and those who only look.
const MAKERS: usize = 12;
const READERS: usize = 3;
/// Between two looks of a reader.
const PAUSE: Duration = Duration::from_millis(25);
const MAX_IN_FLIGHT: u32 = 30;
/// Videos that are finished between two restarts.
const BETWEEN: usize = 8;
const BOUND: Duration = Duration::from_secs(60);
/// Longest wait for one video.
const VIDEO_BOUND: Duration = Duration::from_secs(45);
/// How the first processes run.
const OLDER: [(&str, &str); 3] = [
    ("LONGTAKE_SERVER__DRAIN_SECS", "2"),
    ("LONGTAKE_SERVER__STOP_TIMEOUT_SECS", "10"),
    // Nobody is to be taken for dead because this machine is busy.
    ("LONGTAKE_WORKER__TTL_SECS", "15"),
];
/// How those that follow run: there is one version only, so they differ in what a config may say.
const NEWER: [(&str, &str); 5] =
    [OLDER[0], OLDER[1], OLDER[2], ("LONGTAKE_DATABASE__POOL_SIZE", "5"), ("LONGTAKE_WORKER__CONCURRENCY", "100")];

/// What the visitors saw.
#[derive(Default)]
struct Seen {
    /// Finished videos by prompt.
    videos: BTreeMap<String, String>,
    answers: usize,
    problems: Vec<String>,
}

/// Clients that take every answer as it comes.
#[derive(Clone)]
struct Visitor {
    http: reqwest::Client,
    base: String,
    stop: Arc<AtomicBool>,
    seen: Arc<Mutex<Seen>>,
}

impl Visitor {
    fn new(base: String) -> Self {
        // A connection for each request: one that is used again might be tried again in silence.
        let http = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0).timeout(VIDEO_BOUND).build();
        Self { http: http.unwrap(), base, stop: Arc::default(), seen: Arc::default() }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap()
    }

    /// Whether so many videos are finished, or somebody saw what must not be.
    fn has(&self, videos: usize) -> bool {
        let seen = self.seen();
        seen.videos.len() >= videos || !seen.problems.is_empty()
    }

    /// Whether to go on: until told to stop, or somebody saw what must not be.
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst) && self.seen().problems.is_empty()
    }

    /// One request, sent once; the bytes of a 200.
    async fn ask(&self, what: &str, request: RequestBuilder) -> Result<Vec<u8>, String> {
        let answer = request.bearer_auth(ADMIN_KEY).send().await.map_err(|error| format!("{what}: {error:?}"))?;
        let status = answer.status();
        let bytes = answer.bytes().await.map_err(|error| format!("{what}: {status}, then {error:?}"))?;
        if status != 200 {
            return Err(format!("{what}: {status} {}", String::from_utf8_lossy(&bytes)));
        }
        self.seen().answers += 1;
        Ok(bytes.to_vec())
    }

    async fn json(&self, what: &str, request: RequestBuilder) -> Result<Value, String> {
        serde_json::from_slice(&self.ask(what, request).await?).map_err(|error| format!("{what}: {error}"))
    }

    /// A video from its create to its bytes. `key`: with one nginx may repeat the create, without one it must not have to.
    async fn make(&self, prompt: &str, key: bool) -> Result<String, String> {
        let body = json!({"prompt": prompt, "model": "sim", "seconds": "4", "size": "1280x720"});
        let mut create = self.http.post(format!("{}/v1/videos", self.base)).json(&body);
        if key {
            create = create.header("idempotency-key", prompt);
        }
        let mut video = self.json("create", create).await?;
        let id = video["id"].as_str().ok_or("a video without an id")?.to_owned();
        let path = format!("{}/v1/videos/{id}", self.base);
        while video["status"] != "completed" {
            if video["status"] == "failed" {
                return Err(format!("{prompt}: {video}"));
            }
            video = self.json("long poll", self.http.get(&path).header("prefer", "wait=5")).await?;
        }
        let content = self.ask("content", self.http.get(format!("{path}/content"))).await?;
        let digest = Digest(longtake::http::auth::sha256(&content)).to_string();
        if video["sha256"] != digest.as_str() {
            return Err(format!("{prompt}: {} bytes of another video", content.len()));
        }
        Ok(id)
    }

    async fn make_all(self, n: usize) {
        for video in 0.. {
            if !self.goes_on() {
                return;
            }
            let prompt = format!("procession-{n}-{video}");
            let made = tokio::time::timeout(VIDEO_BOUND, self.make(&prompt, n.is_multiple_of(2))).await;
            match made.unwrap_or_else(|_| Err(format!("{prompt}: not within {VIDEO_BOUND:?}"))) {
                Ok(id) => drop(self.seen().videos.insert(prompt, id)),
                Err(problem) => self.seen().problems.push(problem),
            }
        }
    }

    async fn look_on(self) {
        let mut pause = tokio::time::interval(PAUSE);
        pause.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while self.goes_on() {
            pause.tick().await;
            let list = self.http.get(format!("{}/v1/videos?limit=3", self.base));
            if let Err(problem) = self.ask("list", list).await {
                self.seen().problems.push(problem);
            }
        }
    }
}

/// Replaces every process, API nodes first.
async fn restart_all(installation: &mut Installation, visitor: &Visitor) {
    for node in 0..5 {
        let enough = visitor.seen().videos.len() + BETWEEN;
        let what = format!("{enough} videos before node {node} is replaced");
        until!(&what, BOUND, visitor.has(enough)).await.unwrap();
        let code = installation.replace(node, &NEWER).await.unwrap();
        assert_eq!(code, Some(0), "it ends in order");
    }
    let enough = visitor.seen().videos.len() + BETWEEN;
    until!("videos after the last", BOUND, visitor.has(enough)).await.unwrap();
}

/// Requests that nginx sent to more than one node.
fn repeated_by_nginx(folder: &Path) -> usize {
    let log = std::fs::read_to_string(folder.join("access.log")).unwrap_or_default();
    log.lines().filter(|line| line.contains(", ")).count()
}

/// One attempt each, and none that anybody had to ask about.
async fn uninterrupted(installation: &Installation) {
    let attempts = "select job, count(*), max(state) from attempt group by job having count(*) <> 1 or max(state) <> 8";
    let doubts = "select job, ver, type from event where type in (3, 4)";
    for sql in [attempts, doubts] {
        let rows = installation.db.rows(sql).await.unwrap();
        assert!(rows.is_empty(), "{sql}: {rows:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_fails_no_request_and_interrupts_no_job() {
    let mut installation = Installation::start_with("rolling", 3, 2, MAX_IN_FLIGHT, 0.0, &OLDER).await.unwrap();
    let observer = Observer::start(&installation.db);
    let folder = installation.dir.join("nginx");
    let nginx = Nginx::start(&folder, &installation.api_addresses()).await;
    let base = format!("http://{}", nginx.address);
    let feed = FeedReader::start(&Client::new(vec![base.clone()])).await;
    let visitor = Visitor::new(base);
    let mut visitors = JoinSet::new();
    for n in 0..MAKERS {
        visitors.spawn(visitor.clone().make_all(n));
    }
    for _ in 0..READERS {
        visitors.spawn(visitor.clone().look_on());
    }
    restart_all(&mut installation, &visitor).await;
    visitor.stop.store(true, Ordering::SeqCst);
    while let Some(ended) = visitors.join_next().await {
        ended.unwrap();
    }
    let (ids, answers) = {
        let seen = visitor.seen();
        assert!(seen.problems.is_empty(), "{:#?}", seen.problems);
        (seen.videos.clone(), seen.answers)
    };
    audit::rest(&installation.db, false, true, BOUND).await.unwrap();
    assert_eq!(installation.starts(), 10, "each of five processes was replaced once");
    let ledger = installation.vendor.ledger();
    println!("{} videos, {answers} answers, {} tried twice by nginx", ids.len(), repeated_by_nginx(&folder));
    assert_eq!(ledger.accepted(), ids.len(), "one purchase for each");
    uninterrupted(&installation).await;
    let acknowledged = Acknowledged { ids, ..Acknowledged::default() };
    let audit = Audit {
        db: &installation.db,
        ledger,
        artifacts: &installation.settings.artifacts,
        acknowledged: &acknowledged,
        feed: Some(&feed),
        observer: &observer,
        finds_out: true,
    };
    let findings = audit.run().await.unwrap();
    assert!(findings.violations.is_empty(), "{:#?}", findings.violations);
    drop((nginx, feed));
    let dir = installation.dir.clone();
    drop(installation);
    let _gone = std::fs::remove_dir_all(dir);
}
