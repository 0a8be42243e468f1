//! One video's life over HTTP, lists and what stands beside.

use std::time::Duration;

use longtake::clock::SystemClock;
use longtake_core::time::Clock;
use longtake_testing::wait_until;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::app::{Server, code, tiny};

#[tokio::test(flavor = "multi_thread")]
async fn a_video_is_made_and_served() {
    let server = Server::start().await;
    let created = server.create(&tiny("a paper boat [sandbox duration=1ms]")).await;
    let video = server.finished(&created).await;
    assert_eq!(video["status"], "completed", "{video}");
    assert_eq!(video["state"], "completed");
    assert_eq!((&video["progress"], &video["progress_source"]), (&json!(100), &json!("provider")));
    assert_eq!((&video["provider"], &video["attempt"]), (&json!("sandbox"), &json!(1)));
    assert_eq!(video["cost_usd"], 0.0);
    assert_eq!(video["error"], Value::Null);
    assert!(video["completed_at"].as_i64().unwrap() >= video["created_at"].as_i64().unwrap());

    let response = server.get(&format!("/v1/videos/{}/content", video["id"].as_str().unwrap())).send().await.unwrap();
    assert_eq!(response.headers()["content-type"], "video/mp4");
    let bytes = response.bytes().await.unwrap();
    assert_eq!(video["bytes"], bytes.len());
    assert_eq!(video["sha256"], crate::app::sha256_hex(&bytes));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_is_answered_by_news() {
    let server = Server::start().await;
    let created = server.create(&tiny("slowly [sandbox duration=1s]")).await;
    let path = format!("/v1/videos/{}", created["id"].as_str().unwrap());
    let started = SystemClock.monotonic();
    let mut seen = created["state"].clone();
    while seen != "completed" {
        let response = server.get(&path).header("prefer", "wait=60").send().await.unwrap();
        assert_eq!(response.headers()["preference-applied"], "wait=60");
        assert!(response.headers()["openai-poll-after-ms"].to_str().unwrap().parse::<u64>().unwrap() > 0);
        seen = response.json::<Value>().await.unwrap()["state"].clone();
        assert!(
            SystemClock.monotonic() - started < Duration::from_secs(50),
            "the long polls waited for their time, not for news"
        );
    }
    let waited = server.create(&tiny("never [sandbox hang]")).await;
    let path = format!("/v1/videos/{}", waited["id"].as_str().unwrap());
    server.in_state(&waited, "running").await;
    let response = server.get(&path).header("prefer", "wait=1").send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK, "waiting only waits");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_retry_and_delete() {
    let server = Server::start().await;
    let created = server.create(&tiny("never ends [sandbox hang]")).await;
    let path = format!("/v1/videos/{}", created["id"].as_str().unwrap());
    server.in_state(&created, "running").await;
    let refused = server.delete(&path).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::CONFLICT);
    assert_eq!(refused.headers()["x-should-retry"], "false");
    let error: Value = refused.json().await.unwrap();
    assert_eq!(error["error"]["code"], "video_not_finished");
    assert!(error["error"]["message"].as_str().unwrap().contains(&format!("{path}/cancel")));

    let asked: Value = server.post(&format!("{path}/cancel")).send().await.unwrap().json().await.unwrap();
    assert!(asked["cancel"]["requested_at"].is_i64(), "{asked}");
    let canceled = server.finished(&created).await;
    assert_eq!((&canceled["status"], &canceled["state"]), (&json!("failed"), &json!("canceled")));
    assert_eq!(canceled["error"]["code"], "canceled");
    assert_eq!(canceled["cancel"]["outcome"], "stopped_upstream");
    let again = server.post(&format!("{path}/cancel")).send().await.unwrap();
    assert_eq!(again.status(), StatusCode::OK);
    assert_eq!(again.json::<Value>().await.unwrap()["cancel"], canceled["cancel"], "idempotent");

    let retried = server.post(&format!("{path}/retry")).send().await.unwrap();
    assert_eq!(retried.status(), StatusCode::OK);
    let retried: Value = retried.json().await.unwrap();
    assert_eq!((&retried["id"], &retried["status"]), (&created["id"], &json!("queued")));
    assert_eq!(retried["cancel"], Value::Null);
    assert_eq!(code(server.post(&format!("{path}/retry"))).await, (409, "video_not_failed".to_owned()));
    server.in_state(&created, "running").await;
    server.post(&format!("{path}/cancel")).send().await.unwrap();
    assert_eq!(server.finished(&created).await["attempt"], 2);

    let receipt: Value = server.delete(&path).send().await.unwrap().json().await.unwrap();
    assert_eq!(receipt, json!({"id": created["id"], "object": "video.deleted", "deleted": true}));
    for request in [server.get(&path), server.delete(&path), server.get(&format!("{path}/content"))] {
        assert_eq!(code(request).await, (404, "video_not_found".to_owned()));
    }
    assert_eq!(server.json("/v1/videos").await["data"], json!([]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_video_says_why() {
    let server = Server::start().await;
    let created = server.create(&tiny("no [sandbox fail=content_policy duration=1ms]")).await;
    let failed = server.finished(&created).await;
    assert_eq!((&failed["status"], &failed["state"]), (&json!("failed"), &json!("failed")));
    assert_eq!(failed["error"]["code"], "content_policy");
    let path = format!("/v1/videos/{}", created["id"].as_str().unwrap());
    assert_eq!(code(server.get(&format!("{path}/content"))).await, (409, "video_not_ready".to_owned()));
    let resolve = server.post(&format!("{path}/resolve")).json(&json!({"decision": "fail"}));
    assert_eq!(code(resolve).await, (409, "video_not_held".to_owned()));
    let deadline = json!({"prompt": "late [sandbox hang]", "seconds": 1, "size": "64x64", "deadline_seconds": 1});
    let late = server.create(&deadline).await;
    assert_eq!(server.finished(&late).await["error"]["code"], "deadline_exceeded");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_paged_and_filtered() {
    let server = Server::start().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        let mut body = tiny("[sandbox hang] listed");
        body["metadata"] = json!({"n": n.to_string(), "odd": (n % 2 == 1).to_string()});
        ids.push(server.create(&body).await["id"].clone());
    }
    // Ids sort by age to the millisecond; within one, their order is their own.
    let odd: Vec<Value> = [ids[1].clone(), ids[3].clone()].into();
    let third = ids[3].clone();
    ids.sort_by_key(|id| std::cmp::Reverse(id.to_string()));
    let mut seen = Vec::new();
    let mut after = String::new();
    for _ in 0..3 {
        let page = server.json(&format!("/v1/videos?limit=2{after}")).await;
        let data = page["data"].as_array().unwrap();
        assert_eq!((&page["first_id"], &page["last_id"]), (&data[0]["id"], &data[data.len() - 1]["id"]));
        seen.extend(data.iter().map(|video| video["id"].clone()));
        assert_eq!(page["has_more"], seen.len() < 5);
        after = format!("&after={}", page["last_id"].as_str().unwrap());
    }
    assert_eq!(seen, ids, "newest first, each once");
    let listed = async |query: &str| -> Vec<Value> {
        let page = server.json(&format!("/v1/videos?{query}")).await;
        page["data"].as_array().unwrap().iter().map(|video| video["id"].clone()).collect()
    };
    let forward: Vec<Value> = ids.iter().rev().cloned().collect();
    assert_eq!(listed("order=asc").await, forward);
    let mut both = listed("metadata[odd]=true&order=asc").await;
    both.sort_by_key(|id| odd.iter().position(|known| known == id));
    assert_eq!(both, odd);
    assert_eq!(listed("metadata%5Bodd%5D=true&metadata[n]=3").await, [third]);
    assert_eq!(listed("model=sandbox").await.len(), 5);
    assert_eq!(listed("model=other").await.len(), 0);
    assert_eq!(listed("status=completed").await.len(), 0);
    let empty = server.json("/v1/videos?status=failed").await;
    assert_eq!(
        (&empty["first_id"], &empty["last_id"], &empty["has_more"]),
        (&Value::Null, &Value::Null, &json!(false))
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn progress_is_the_providers_or_called_an_estimate() {
    let server = Server::start().await;
    let told = server.create(&tiny("told [sandbox hang]")).await;
    let silent = server.create(&tiny("silent [sandbox hang progress=none]")).await;
    let seen = server.in_state(&silent, "running").await;
    assert_eq!((&seen["progress"], &seen["progress_source"]), (&json!(0), &Value::Null), "nothing is known yet");
    let path = |video: &Value| format!("/v1/videos/{}", video["id"].as_str().unwrap());
    wait_until("the sandbox tells its progress", Duration::from_secs(30), async || {
        server.json(&path(&told)).await["progress_source"] == "provider"
    })
    .await;
    for _ in 0..3 {
        let body = tiny("teaches [sandbox duration=500ms]");
        server.finished(&server.create(&body).await).await;
    }
    wait_until("history teaches", Duration::from_secs(30), async || {
        let seen = server.json(&path(&silent)).await;
        assert!(seen["progress"].as_u64().unwrap() <= 95, "an estimate never claims the end: {seen}");
        seen["progress_source"] == "estimate"
    })
    .await;
    assert_eq!(server.json(&path(&told)).await["progress_source"], "provider", "the provider's own figure wins");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_timeline_tells_every_attempt() {
    let server = Server::start().await;
    let created = server.create(&tiny("secret words [sandbox fail_times=1 duration=1ms]")).await;
    assert_eq!(server.finished(&created).await["status"], "completed");
    let timeline = server.json(&format!("/v1/videos/{}/timeline", created["id"].as_str().unwrap())).await;
    assert_eq!(timeline["object"], "video.timeline");
    let attempts = timeline["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2, "{timeline}");
    assert_eq!((&attempts[0]["state"], &attempts[1]["state"]), (&json!("failed_at_provider"), &json!("done")));
    let events = timeline["events"].as_array().unwrap();
    assert_eq!(events[0]["type"], "video.queued");
    assert_eq!(events[events.len() - 1]["type"], "video.completed");
    let exchanges = timeline["exchanges"].as_array().unwrap();
    assert!(exchanges.iter().any(|exchange| exchange["call"] == "submit"), "{timeline}");
    assert!(!timeline["exchanges"].to_string().contains("secret words"), "no prompts in exchanges");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn models_health_and_document() {
    let server = Server::start().await;
    let models = server.json("/v1/models").await;
    assert_eq!(models["data"][0]["id"], "sandbox");
    assert_eq!(models["data"][0]["default"], true);
    assert_eq!(server.json("/v1/models/sandbox").await, models["data"][0]);
    assert_eq!(code(server.get("/v1/models/none")).await, (404, "model_not_found".to_owned()));
    let open = |path: &str| server.get(path).anonymous().send();
    assert_eq!(open("/healthz").await.unwrap().json::<Value>().await.unwrap()["status"], "ok");
    assert_eq!(open("/readyz").await.unwrap().json::<Value>().await.unwrap()["status"], "ready");
    assert_eq!(open("/openapi.json").await.unwrap().text().await.unwrap(), longtake::http::openapi::openapi_json());
    assert!(open("/").await.unwrap().text().await.unwrap().contains("/openapi.json"));
    assert_eq!(open("/metrics").await.unwrap().status(), StatusCode::UNAUTHORIZED);

    let created = server.create(&tiny("counted [sandbox duration=1ms]")).await;
    server.finished(&created).await;
    let text = server.get("/metrics").send().await.unwrap().text().await.unwrap();
    for line in [
        "longtake_http_requests_total{route=\"/v1/videos\",method=\"POST\",status=\"200\"} 1",
        "longtake_jobs_completed_total 1",
        "longtake_jobs{state=\"queued\"} 0",
        "longtake_orphans 0",
        "longtake_build_info{version=",
        "# EOF",
    ] {
        assert!(text.contains(line), "{line} in:\n{text}");
    }
    assert!(!text.contains("counted"), "no prompts in labels");
    server.stop().await;
}
