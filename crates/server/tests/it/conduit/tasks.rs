//! 10: the generic routes; a poll only waits.

use std::time::Duration;

use longtake::clock::SystemClock;
use longtake_core::time::Clock;
use serde_json::{Value, json};

use super::{answer, both, small, video_of};
use crate::app::Server;

#[tokio::test(flavor = "multi_thread")]
async fn a_task_is_shown_without_its_secrets_d() {
    let server = Server::start().await;
    for client in both(&server) {
        let mut body = small("generic [sandbox fail=content_policy duration=1ms]");
        body["webhook_metadata"] = json!({"order": "7"});
        let task = client.task(&body).await;
        client.once(&task, "failed").await;
        let (status, shown) = answer(client.get(&format!("/tasks/{task}"))).await;
        assert_eq!(status, 200, "{shown}");
        assert_eq!(shown[client.name("task_id")], task);
        assert_eq!(shown[client.name("task_type")], "video_generation");
        assert_eq!(shown["state"], if client.is_a() { json!(3) } else { json!("failed") });
        assert_eq!(shown["metadata"], json!({"order": "7"}), "neither keys nor headers");
        assert_eq!((&shown[client.name("retry_count")], &shown[client.name("max_retries")]), (&json!(0), &json!(3)));
        assert_eq!(shown[client.name("is_retryable")], true);
        assert!(shown["error"].is_string() && shown[client.name("progress_message")].is_string());
        assert_eq!(shown.as_object().unwrap().contains_key("nextRetryAt"), client.is_a(), "nulls in A only");
        assert!(!shown.to_string().contains(&server.admin_key));
        client.post(&format!("/videos/generations/tasks/{task}/retry")).send().await.unwrap();
        client.once(&task, "failed").await;
        assert_eq!(answer(client.get(&format!("/tasks/{task}"))).await.1[client.name("retry_count")], 1);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn states_are_numbers_in_a_and_words_in_b() {
    let server = Server::start().await;
    let [a, b] = both(&server);
    let mut hurried = small("late [sandbox hang]");
    hurried["timeout_seconds"] = json!(1);
    let cancelled = a.task(&small("stop [sandbox hang]")).await;
    assert_eq!(answer(a.post(&format!("/tasks/{cancelled}/cancel"))).await, (204, json!("")));
    for (task, status, number, word) in [
        (a.task(&small("runs [sandbox hang]")).await, "processing", 1, "processing"),
        (a.task(&small("ok [sandbox duration=1ms]")).await, "completed", 2, "completed"),
        (cancelled, "cancelled", 4, "cancelled"),
        (a.task(&hurried).await, "timedout", 5, "timed_out"),
    ] {
        b.once(&task, status).await;
        let path = format!("/tasks/{task}");
        let (in_a, in_b) = (answer(a.get(&path)).await.1, answer(b.get(&path)).await.1);
        assert_eq!((&in_a["state"], &in_b["state"]), (&json!(number), &json!(word)));
        assert_eq!(in_b["result"].is_object(), status == "completed");
        assert_eq!(in_a["result"].is_string(), status == "completed");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_waits_and_changes_nothing_d() {
    let server = Server::start_with(|config| config.server.heartbeat_secs = 1).await;
    for client in both(&server) {
        let task = client.task(&small("never [sandbox hang]")).await;
        let before = client.once(&task, "processing").await;
        let begun = SystemClock.monotonic();
        let response = client.get(&format!("/tasks/{task}/poll?timeout=2&interval=1")).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/json");
        // Blanks on the way keep proxies patient; JSON begins behind them.
        let text = response.text().await.unwrap();
        assert!(text.starts_with(' '), "{text:?}");
        assert!(SystemClock.monotonic() - begun >= Duration::from_secs(2));
        let shown: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(shown["state"], if client.is_a() { json!(1) } else { json!("processing") });
        let now = client.status(&task).await;
        assert_eq!((&now["status"], &now["error"]), (&before["status"], &before["error"]), "the wait was no verdict");
        assert_eq!(server.in_state(&video_of(&task), "running").await["error"], Value::Null);

        // It is answered by the end of the task, long before its own.
        let task = client.task(&small("soon [sandbox duration=1s]")).await;
        let begun = SystemClock.monotonic();
        let (status, shown) = answer(client.get(&format!("/tasks/{task}/poll?timeout=600"))).await;
        assert_eq!(status, 200);
        assert_eq!(shown["state"], if client.is_a() { json!(2) } else { json!("completed") });
        assert!(SystemClock.monotonic() - begun < Duration::from_secs(50));
        // Finished already: at once.
        assert_eq!(answer(client.get(&format!("/tasks/{task}/poll"))).await.1, shown);
        assert_eq!(answer(client.get(&format!("/tasks/{task}/poll?timeout=soon"))).await.0, 400);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_stops_answers_its_polls() {
    let server = Server::start().await;
    let [_, client] = both(&server);
    let task = client.task(&small("never [sandbox hang]")).await;
    client.once(&task, "processing").await;
    let response = client.get(&format!("/tasks/{task}/poll?timeout=600")).send().await.unwrap();
    let stopping = server.app().stopping.clone();
    stopping.cancel();
    let shown: Value = serde_json::from_str(&response.text().await.unwrap()).unwrap();
    assert_eq!((&shown["task_id"], &shown["state"]), (&json!(task), &json!("processing")));
    server.stop().await;
}
