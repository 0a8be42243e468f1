//! Providers that call back: what comes of honest, lost, repeated, early, forged and lying calls.

use std::sync::atomic::Ordering;
use std::time::Duration;

use longtake_core::id::{AttemptNo, JobId};
use longtake_engine::callback;
use longtake_testing::sim::{CreateFault, Faults, Options, Simulator};
use longtake_testing::wait_until;
use serde_json::{Value, json};

use crate::app::{Server, code};

/// Longest wait for anything here. Without callbacks nothing would happen for minutes.
const BOUND: Duration = Duration::from_secs(60);

/// A vendor whose jobs take a moment.
fn vendor(faults: Faults) -> Simulator {
    Simulator::start(Options { queue_ms: 200, duration_ms: 600, faults, ..Options::default() })
}

/// A server that the vendor can call; `lines` of the account come on top.
async fn server(vendor: &Simulator, lines: &str) -> Server {
    server_at(vendor, None, lines).await
}

async fn server_at(vendor: &Simulator, public_url: Option<&str>, lines: &str) -> Server {
    let url = vendor.url();
    Server::start_called_back(|base| {
        format!(
            "public_url = \"{}\"\n[accounts.sim]\nprovider = \"minimax\"\napi_key = \"sk-of-the-vendor\"\nbase_url = \"{url}\"\n{lines}\n\
             [models.h3]\nroutes = [{{ account = \"sim\", model = \"MiniMax-H3\" }}]\n",
            public_url.unwrap_or(base)
        )
    })
    .await
}

fn wanted(prompt: &str) -> Value {
    json!({"prompt": prompt, "model": "h3"})
}

fn job_of(video: &Value) -> JobId {
    let hex = video["id"].as_str().unwrap().trim_start_matches("video_");
    let byte = |n: usize| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap();
    JobId::from_bytes(std::array::from_fn(byte))
}

/// The path that the vendor was told about an attempt of a video.
fn path_of(server: &Server, video: &Value, attempt: u16) -> String {
    let secret_key = &server.app().engine.parts().secret_key;
    format!("/callbacks/minimax/{}", callback::token(secret_key, "minimax", job_of(video), AttemptNo(attempt)))
}

async fn timeline(server: &Server, video: &Value) -> Value {
    server.json(&format!("/v1/videos/{}/timeline", video["id"].as_str().unwrap())).await
}

/// How many exchanges of a kind the timeline shows.
fn count(timeline: &Value, call: &str) -> usize {
    timeline["exchanges"].as_array().unwrap().iter().filter(|exchange| exchange["call"] == call).count()
}

fn polls(server: &Server) -> u64 {
    server.app().engine.metrics().polls.load(Ordering::Relaxed)
}

async fn status_of(server: &Server, path: &str, body: impl Into<reqwest::Body>) -> u16 {
    server.post(path).anonymous().body(body).send().await.unwrap().status().as_u16()
}

/// The vendor's call about a task, in its second wire's words.
fn told(task: &str, status: &str) -> String {
    json!({"task": {"id": task, "status": status, "error": {"code": "1026", "message": "no"}}}).to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_video_is_completed_by_its_callback_with_one_poll() {
    let vendor = vendor(Faults::default());
    let server = server(&vendor, "").await;
    let video = server.create(&wanted("a paper boat")).await;
    let done = server.finished(&video).await;
    assert_eq!(done["status"], "completed", "{done}");
    assert_eq!(polls(&server), 1, "what is called back is looked at, and nothing else is");
    let billed = vendor.ledger().jobs();
    let url = format!("{}{}", server.base, path_of(&server, &video, 1));
    assert_eq!((billed.len(), billed[0].callback_url.as_deref()), (1, Some(url.as_str())));
    let timeline = timeline(&server, &video).await;
    assert!(count(&timeline, "callback") >= 1, "{timeline}");
    let token = url.rsplit('/').next().unwrap();
    assert!(!timeline.to_string().contains(token), "the flight recorder keeps no token");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_whose_answer_was_lost_is_adopted_by_its_callback() {
    let vendor = vendor(Faults::script([CreateFault::DropAfterAccept, CreateFault::ErrorAfterAccept]));
    let server = server(&vendor, "lookup = \"none\"").await;
    for prompt in ["a lost boat", "another"] {
        let video = server.create(&wanted(prompt)).await;
        let done = server.finished(&video).await;
        assert_eq!((done["status"].as_str(), done["attempt"].as_u64()), (Some("completed"), Some(1)), "{done}");
    }
    assert_eq!(vendor.ledger().billed(), 2, "nothing was bought twice");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_video_goes_on_with_its_callback() {
    let vendor = Simulator::start(Options {
        queue_ms: 3_000,
        duration_ms: 300,
        faults: Faults::script([CreateFault::DropAfterAccept]),
        ..Options::default()
    });
    let server = server(&vendor, "lookup = \"none\"\nverify_deadline_ms = 1").await;
    let video = server.create(&wanted("a held boat")).await;
    server.in_state(&video, "held").await;
    let done = server.finished(&video).await;
    assert_eq!(done["status"], "completed", "{done}");
    assert_eq!(vendor.ledger().billed(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_come_before_the_creates_answer_count() {
    let vendor = vendor(Faults { answer_delay_ms: 2_500, ..Faults::default() });
    let server = server(&vendor, "lookup = \"none\"").await;
    let video = server.create(&wanted("an early boat")).await;
    let done = server.finished(&video).await;
    assert_eq!((done["status"].as_str(), done["attempt"].as_u64()), (Some("completed"), Some(1)), "{done}");
    let timeline = timeline(&server, &video).await;
    assert!(count(&timeline, "callback") >= 1, "{timeline}");
    assert_eq!((timeline["attempts"].as_array().unwrap().len(), vendor.ledger().billed()), (1, 1));
    assert_eq!(server.store().stats().await.unwrap().orphans, 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_repeated_and_out_of_order_change_nothing() {
    let faults = Faults { callback_copies: 3, callback_reversed: true, ..Faults::default() };
    let vendor = vendor(faults);
    let server = server(&vendor, "").await;
    let mut videos = Vec::new();
    for n in 0..6 {
        videos.push(server.create(&wanted(&format!("boat {n}"))).await);
    }
    for video in &videos {
        let done = server.finished(video).await;
        assert_eq!((done["status"].as_str(), done["attempt"].as_u64()), (Some("completed"), Some(1)), "{done}");
        assert!(count(&timeline(&server, video).await, "callback") <= 2, "a repeated call is not stored");
    }
    assert_eq!((vendor.ledger().billed(), server.store().stats().await.unwrap().orphans), (6, 0));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_no_call_arrives_the_video_is_polled() {
    let vendor = vendor(Faults { callback_lost: 1.0, ..Faults::default() });
    let server = server(&vendor, "poll_first_ms = 100\npoll_ceiling_ms = 200").await;
    let video = server.create(&wanted("a silent boat")).await;
    assert_eq!(server.finished(&video).await["status"], "completed");
    assert_eq!(count(&timeline(&server, &video).await, "callback"), 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_public_address_nobody_is_asked_to_call() {
    let vendor = vendor(Faults::default());
    let url = vendor.url();
    let server = Server::start_called_back(|_| {
        format!(
            "[accounts.sim]\nprovider = \"minimax\"\napi_key = \"k\"\nbase_url = \"{url}\"\npoll_first_ms = 100\n\
             [models.h3]\nroutes = [{{ account = \"sim\", model = \"MiniMax-H3\" }}]\n"
        )
    })
    .await;
    let video = server.create(&wanted("a polled boat")).await;
    assert_eq!(server.finished(&video).await["status"], "completed");
    assert_eq!(vendor.ledger().jobs()[0].callback_url, None);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_the_vendor_cannot_reach_fails_no_video() {
    let vendor = vendor(Faults::default());
    let server = server_at(&vendor, Some("http://127.0.0.1:9/nobody/"), "").await;
    let video = server.create(&wanted("an unreachable boat")).await;
    let path = format!("/v1/videos/{}/timeline", video["id"].as_str().unwrap());
    let mut seen = Value::Null;
    wait_until("it waits for another attempt", BOUND, async || {
        seen = server.json(&path).await;
        seen["attempts"][0]["state"] == "not_accepted" && seen["video"]["state"] != "submitting"
    })
    .await;
    assert_eq!(seen["video"]["state"], "queued", "{seen}");
    assert_eq!(seen["attempts"][0]["error"]["code"], "provider_unavailable", "the request is not at fault");
    assert_eq!(vendor.ledger().accepted(), 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn challenges_are_echoed_to_whoever_knows_the_address_and_to_nobody_else() {
    let vendor = vendor(Faults::default());
    let server = server(&vendor, "").await;
    let nobody = json!({"id": "video_00112233445566778899aabbccddeeff"});
    let path = path_of(&server, &nobody, 1);
    let answer = server.post(&path).anonymous().body(r#"{"challenge":"<b>é"}"#).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.headers()["content-type"].to_str().unwrap()),
        (200, "application/json")
    );
    assert_eq!(answer.json::<Value>().await.unwrap(), json!({"challenge": "<b>é"}));
    let forged = format!("{}A", &path[..path.len() - 1]);
    let foreign = path.replace("minimax", "sandbox");
    for path in [forged.as_str(), foreign.as_str(), "/callbacks/minimax/x", "/callbacks/%ff/x", "/callbacks/nobody/x"] {
        if path == path_of(&server, &nobody, 1) {
            continue;
        }
        let (status, code) = code(server.post(path).anonymous().body(r#"{"challenge":"a"}"#)).await;
        assert_eq!((status, code.as_str()), (404, "not_found"), "{path}");
    }
    assert_eq!(status_of(&server, &path, vec![b' '; (64 << 10) + 1]).await, 413);
    for odd in [vec![b' '; 64 << 10], b"null".to_vec(), b"{\"challenge\":1}".to_vec(), vec![0xff; 9]] {
        let (status, code) = code(server.post(&path).anonymous().body(odd)).await;
        assert_eq!((status, code.as_str()), (400, "callback_refused"));
    }
    assert_eq!(server.get(&path).anonymous().send().await.unwrap().status(), 405);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lies_and_replays_decide_nothing() {
    let vendor = vendor(Faults { callback_lost: 1.0, ..Faults::default() });
    let server = server(&vendor, "poll_first_ms = 1500\npoll_ceiling_ms = 1500").await;
    let video = server.create(&wanted("a lied about boat")).await;
    server.in_state(&video, "running").await;
    let (path, task) = (path_of(&server, &video, 1), vendor.ledger().jobs()[0].provider_job.clone());
    // It is not done, and did not fail; and another's job is not this one.
    for lie in [told(&task, "succeeded"), told(&task, "failed"), told("999", "succeeded"), told("999", "succeeded")] {
        assert_eq!(status_of(&server, &path, lie).await, 200);
    }
    let done = server.finished(&video).await;
    assert_eq!((done["status"].as_str(), done["attempt"].as_u64()), (Some("completed"), Some(1)), "{done}");
    assert_eq!(server.store().stats().await.unwrap().orphans, 1, "a job that nobody accounts for is not forgotten");
    let before = timeline(&server, &video).await;
    for replay in [told(&task, "running"), told(&task, "succeeded"), told(&task, "failed")] {
        assert_eq!(status_of(&server, &path, replay).await, 200);
    }
    // Of an attempt that there never was.
    assert_eq!(status_of(&server, &path_of(&server, &video, 7), told(&task, "succeeded")).await, 200);
    assert_eq!(timeline(&server, &video).await, before, "what is over is over");
    server.stop().await;
}
