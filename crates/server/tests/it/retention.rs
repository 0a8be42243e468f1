//! What is over goes by policy, and clients are told: over HTTP, on SQLite, with times so short that no config has them.
//!
//! A walk that has passed an unfinished video comes back to it after a day. So everything is finished before a round:
//! the server's own begin after a restart, or the test makes one.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use futures::StreamExt;
use longtake::config::{Kept, ProjectRetention};
use longtake_core::retention::Keep;
use longtake_testing::wait_until;
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::app::{Authorized, Server, code, tiny};

/// Longest wait for anything.
const BOUND: Duration = Duration::from_secs(60);
/// A policy as short as can be.
const AT_ONCE: Option<Duration> = Some(Duration::ZERO);
const FOREVER: Keep = Keep { jobs: None, events: None, artifacts: None };
/// As short as a config is taken from.
const A_SECOND: Kept = Kept(Some(Duration::from_secs(1)));

fn path(video: &Value, rest: &str) -> String {
    format!("/v1/videos/{}{rest}", video["id"].as_str().unwrap())
}

async fn completed(server: &Server) -> Value {
    let created = server.create(&tiny("goes one day [sandbox duration=1ms]")).await;
    let video = server.finished(&created).await;
    assert_eq!(video["status"], "completed", "{video}");
    video
}

async fn message(request: Authorized) -> String {
    let body: Value = request.send().await.unwrap().json().await.unwrap();
    body["error"]["message"].as_str().unwrap().to_owned()
}

async fn counter(server: &Server, name: &str) -> f64 {
    let text = server.get("/metrics").send().await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

/// A stream to its end.
async fn whole(request: Authorized) -> String {
    let response = request.send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    tokio::time::timeout(BOUND, response.text()).await.expect("the stream ends").unwrap()
}

/// The cursor of now.
async fn cursor(server: &Server) -> String {
    let mut pieces = server.get("/v1/events").send().await.unwrap().bytes_stream();
    let greeting = tokio::time::timeout(BOUND, pieces.next()).await.unwrap().unwrap().unwrap();
    let greeting = String::from_utf8(greeting.to_vec()).unwrap();
    greeting.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned()
}

async fn until_gone(server: &Server, video: &Value) {
    let content = path(video, "/content");
    wait_until("the bytes go", BOUND, async || server.get(&content).send().await.unwrap().status() == StatusCode::GONE)
        .await;
}

/// The engine's own rounds, from the config to the disk.
#[tokio::test(flavor = "multi_thread")]
async fn the_bytes_go_and_the_video_says_until_when_it_had_them() {
    let server = Server::start().await;
    let create = |server: &Server| {
        server.post("/v1/videos").header("idempotency-key", "once").json(&tiny("one [sandbox duration=1ms]"))
    };
    let created: Value = create(&server).send().await.unwrap().json().await.unwrap();
    let video = server.finished(&created).await;
    assert_eq!((&video["status"], &video["expires_at"]), (&json!("completed"), &Value::Null));
    let waits = server.create(&tiny("stays [sandbox hang]")).await;
    assert_eq!(server.get(&path(&video, "/content?variant=thumbnail")).send().await.unwrap().status(), StatusCode::OK);

    let server = server.restarted_with(|config| config.retention.artifacts = A_SECOND).await;
    until_gone(&server, &video).await;
    let gone = (410, "content_expired".to_owned());
    for variant in ["video", "thumbnail", "spritesheet"] {
        let content = path(&video, &format!("/content?variant={variant}"));
        assert_eq!(code(server.get(&content)).await, gone, "{variant}");
        assert_eq!(server.head(&content).send().await.unwrap().status(), StatusCode::GONE);
    }
    let until = video["completed_at"].as_i64().unwrap() + 1;
    let shown = server.json(&path(&video, "")).await;
    assert_eq!((&shown["status"], &shown["expires_at"]), (&json!("completed"), &json!(until)));
    assert_eq!((&shown["bytes"], &shown["sha256"]), (&Value::Null, &Value::Null));
    let said = message(server.get(&path(&video, "/content"))).await;
    let time = until_text(until);
    assert!(said.contains("for 1s ([retention])") && said.contains(&time), "{said}");
    let list = server.json("/v1/videos?status=completed").await;
    assert_eq!(list["data"], json!([shown]));
    let replayed = create(&server).send().await.unwrap();
    assert_eq!(replayed.headers()["idempotent-replayed"], "true");
    assert_eq!(replayed.json::<Value>().await.unwrap(), shown);
    let events = whole(server.get(&path(&video, "/events"))).await;
    let last = events.lines().rfind(|line| line.starts_with("data: ")).unwrap();
    assert!(last.contains(&format!("\"expires_at\":{until},")), "{last}");
    let timeline = server.json(&path(&video, "/timeline")).await;
    assert_eq!(timeline["video"], shown);
    assert_eq!(server.json(&path(&waits, "")).await["expires_at"], Value::Null, "it has no bytes yet");
    wait_until("the round is counted", BOUND, async || {
        counter(&server, "longtake_retention_artifacts_total").await == 1.0
    })
    .await;
    assert_eq!(counter(&server, "longtake_retention_jobs_total").await, 0.0);
    assert_eq!(counter(&server, "longtake_retention_errors_total").await, 0.0);

    // The policy of now keeps them: that brings nothing back.
    let server = server.restarted().await;
    assert_eq!(code(server.get(&path(&video, "/content"))).await, gone);
    assert_eq!(server.json(&path(&video, "")).await["expires_at"], Value::Null);
    let said = message(server.get(&path(&video, "/content"))).await;
    assert!(said.contains("by the retention policy of that time"), "{said}");
    server.stop().await;
}

/// The second as the API writes it for people.
fn until_text(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn events_go_and_readers_are_told() {
    let server = Server::start().await;
    let begin = cursor(&server).await;
    let waits = server.create(&tiny("stays [sandbox hang]")).await;
    let video = completed(&server).await;
    let removed = server.expire(Keep { events: AT_ONCE, ..FOREVER }).await;
    assert!(removed.events >= 4 && removed.jobs == 0 && removed.artifacts == 0, "{removed:?}");

    let gone = (410, "cursor_expired".to_owned());
    assert_eq!(code(server.get(&format!("/v1/events?after={begin}"))).await, gone);
    let by_header = server.get("/v1/events").header("last-event-id", &begin).send().await.unwrap();
    assert_eq!(
        (by_header.status(), &by_header.headers()["x-should-retry"]),
        (StatusCode::GONE, &"false".parse().unwrap())
    );
    let body: Value = by_header.json().await.unwrap();
    assert_eq!(body["error"]["param"], "Last-Event-ID");
    assert!(body["error"]["message"].as_str().unwrap().contains("read without a cursor"), "{body}");
    let now = cursor(&server).await;
    let stream = server.get(&format!("/v1/events?after={now}")).send().await.unwrap();
    assert_eq!(stream.status(), StatusCode::OK, "nothing behind it is gone");

    for after in ["0", "1"] {
        let told = whole(server.get(&path(&video, "/events")).header("last-event-id", after)).await;
        assert!(
            !told.contains("data:") && told.contains(": the events of this video are no longer kept\nid: "),
            "{told}"
        );
    }
    let answer = server.get(&path(&video, "")).header("prefer", "wait=60").send();
    let answer: Value = tokio::time::timeout(BOUND / 2, answer).await.expect("at once").unwrap().json().await.unwrap();
    assert_eq!(answer["status"], "completed");
    assert_eq!(server.get(&path(&video, "/content")).send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(server.json(&path(&video, "/timeline")).await["events"], json!([]));
    let kept = server.json(&path(&waits, "/timeline")).await;
    assert_eq!(kept["events"][0]["type"], "video.queued", "what is not over keeps its history");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_video_is_as_if_it_had_never_been() {
    let server = Server::start_with(|config| config.server.heartbeat_secs = 1).await;
    let begin = cursor(&server).await;
    let create = || {
        let body = tiny("short [sandbox fail=provider_quota duration=1ms]");
        server.post("/v1/videos").header("idempotency-key", "again").json(&body)
    };
    let failed: Value = create().send().await.unwrap().json().await.unwrap();
    server.finished(&failed).await;
    let video = completed(&server).await;
    let running = server.in_state(&server.create(&tiny("stays [sandbox hang]")).await, "running").await;
    // Behind the end it waits for a retry, which cannot come any more.
    let waiting = server.get(&path(&video, "/events")).header("last-event-id", "1000000").send().await.unwrap();
    let removed = server.expire(Keep { jobs: AT_ONCE, ..FOREVER }).await;
    assert_eq!((removed.jobs, removed.artifacts, removed.more), (2, 1, false), "{removed:?}");
    tokio::time::timeout(BOUND, waiting.text()).await.expect("the stream ends").unwrap();

    let unknown = (404, "video_not_found".to_owned());
    for rest in ["", "/content", "/events", "/timeline"] {
        assert_eq!(code(server.get(&path(&video, rest))).await, unknown, "{rest}");
    }
    for rest in ["/cancel", "/retry"] {
        assert_eq!(code(server.post(&path(&failed, rest)).json(&json!({}))).await, unknown, "{rest}");
    }
    assert_eq!(code(server.delete(&path(&video, ""))).await, unknown);
    let left = server.json("/v1/videos").await["data"].clone();
    assert_eq!((left.as_array().unwrap().len(), &left[0]["id"]), (1, &running["id"]), "{left}");
    assert_eq!(code(server.get(&format!("/v1/events?after={begin}"))).await, (410, "cursor_expired".to_owned()));
    let again: Value = create().send().await.unwrap().json().await.unwrap();
    assert_ne!(again["id"], failed["id"], "the key is free again");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_keeps_its_own_way() {
    let server = Server::start().await;
    let body = json!({"name": "cutter", "project": "trailers"});
    let made: Value = server.post("/v1/api_keys").json(&body).send().await.unwrap().json().await.unwrap();
    let key = made["key"].as_str().unwrap();
    let request = server.post("/v1/videos").bearer_auth(key).json(&tiny("theirs [sandbox duration=1ms]"));
    let theirs: Value = request.send().await.unwrap().json().await.unwrap();
    let show = async |server: &Server| -> Value {
        server.get(&path(&theirs, "")).bearer_auth(key).send().await.unwrap().json().await.unwrap()
    };
    wait_until("theirs ends", BOUND, async || show(&server).await["status"] == "completed").await;
    let ours = completed(&server).await;
    let trailers =
        ProjectRetention { name: "trailers".to_owned(), jobs: None, events: None, artifacts: Some(Kept::FOREVER) };
    let server = server
        .restarted_with(|config| {
            config.retention.artifacts = A_SECOND;
            config.project_retention = vec![trailers];
        })
        .await;
    until_gone(&server, &ours).await;
    let kept = server.get(&path(&theirs, "/content")).bearer_auth(key).send().await.unwrap();
    assert_eq!(kept.status(), StatusCode::OK);
    assert_eq!(show(&server).await["expires_at"], Value::Null);
    let until = ours["completed_at"].as_i64().unwrap() + 1;
    assert_eq!(server.json(&path(&ours, "")).await["expires_at"], until);
    server.stop().await;
}

/// Sends a request without reading more than the begin of its answer.
async fn slow_reader(server: &Server, target: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(64 << 10).unwrap();
    let address = server.base.strip_prefix("http://").unwrap().parse().unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let key = &server.admin_key;
    let head = format!("GET {target} HTTP/1.0\r\nhost: {address}\r\nauthorization: Bearer {key}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut first = [0; 16];
    tokio::time::timeout(BOUND, stream.read_exact(&mut first)).await.unwrap().unwrap();
    assert!(first.starts_with(b"HTTP/1.0 200") || first.starts_with(b"HTTP/1.1 200"), "{first:?}");
    stream
}

/// More events than the buffers between server and client hold: the reader is far behind when what it has not read yet goes.
#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_cannot_go_on_says_why() {
    const VIDEOS: usize = 120;
    let server = Server::start().await;
    let begin = cursor(&server).await;
    let long = "word ".repeat(6_000);
    let mut videos = Vec::new();
    for _ in 0..VIDEOS {
        let prompt = format!("[sandbox fail=provider_quota duration=1ms] {long}");
        videos
            .push(server.create(&json!({"prompt": prompt, "model": "sandbox", "seconds": "1", "size": "64x64"})).await);
    }
    for video in &videos {
        assert_eq!(server.finished(video).await["status"], "failed");
    }
    let mut slow = slow_reader(&server, &format!("/v1/events?after={begin}")).await;
    server.expire(Keep { events: AT_ONCE, ..FOREVER }).await;
    let mut rest = Vec::new();
    tokio::time::timeout(BOUND, slow.read_to_end(&mut rest)).await.expect("the stream ends").unwrap();
    let text = String::from_utf8_lossy(&rest);
    let told = text.matches("\nevent: video.failed\n").count();
    assert!(told < VIDEOS, "some were gone before they were told: {told}");
    let end =
        text.rfind("event: error\n").unwrap_or_else(|| panic!("it does not say why: {}", &text[text.len() - 200..]));
    let data = text[end..].lines().find_map(|line| line.strip_prefix("data: ")).unwrap();
    let error: Value = serde_json::from_str(data).unwrap();
    assert_eq!(error["error"]["code"], "cursor_expired");
    server.stop().await;
}

/// A folder of its own, with a config.
fn folder(name: &str, file: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("retention-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    std::fs::write(path.join("longtake.toml"), file).unwrap();
    path
}

/// The real binary.
async fn longtake(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_longtake"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LONGTAKE_")) {
        command.env_remove(name);
    }
    command.args(arguments).current_dir(folder).envs(variables.iter().copied()).stdin(Stdio::null());
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_that_comes_too_late_says_so() {
    let server = Server::start().await;
    let video = completed(&server).await;
    server.expire(Keep { artifacts: AT_ONCE, ..FOREVER }).await;
    let folder = folder("download", "");
    let id = video["id"].as_str().unwrap();
    let asked = ["videos", "download", id, "-o", "film.mp4"];
    let variables = [("LONGTAKE_URL", server.base.as_str()), ("LONGTAKE_API_KEY", server.admin_key.as_str())];
    let output = longtake(&folder, &asked, &variables).await;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("by the retention policy of that time") && errors.contains("(content_expired)"),
        "{errors}"
    );
    assert!(!folder.join("film.mp4").exists());
    let _ = std::fs::remove_dir_all(&folder);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doctor_shows_the_policy_and_doubts_a_project_nobody_knows() {
    let folder = folder("doctor", "[retention]\nartifacts = \"7d\"\n[retention.projects.trailer]\nevents = \"36h\"\n");
    let output = longtake(&folder, &["doctor", "--json"], &[]).await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let find = |name: &str| {
        let checks = report["checks"].as_array().unwrap();
        checks.iter().find(|check| check["check"] == name).unwrap_or_else(|| panic!("no {name}: {report}")).clone()
    };
    let shown = "jobs forever, events forever, artifacts 7d; trailer: jobs forever, events 36h, artifacts 7d";
    assert_eq!((&find("retention")["message"], &find("retention")["outcome"]), (&json!(shown), &json!("ok")));
    assert_eq!(find("retention of trailer")["outcome"], "warn");
    let forever = longtake(&folder, &["doctor", "--json"], &[("LONGTAKE_CONFIG", "/dev/null")]).await;
    let report: Value = serde_json::from_slice(&forever.stdout).unwrap();
    let policy = report["checks"].as_array().unwrap().iter().find(|check| check["check"] == "retention").cloned();
    assert_eq!(policy.unwrap()["message"], "everything for ever");
    let _ = std::fs::remove_dir_all(&folder);
}
