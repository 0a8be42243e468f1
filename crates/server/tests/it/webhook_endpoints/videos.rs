//! What was sent about one video, to whomever.

use std::collections::BTreeSet;

use longtake_testing::wait_until;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::receiver::Receiver;
use super::{BOUND, endpoint, key, path_of, post, server};
use crate::app::{Server, code, tiny};

fn log_of(video: &Value) -> String {
    format!("/v1/videos/{}/deliveries", video["id"].as_str().unwrap())
}

fn again(video: &Value, row: &Value) -> String {
    format!("{}/{}/redeliver", log_of(video), row["id"].as_str().unwrap())
}

/// All deliveries of a video, newest first, read in small pages.
async fn log(server: &Server, video: &Value) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = server.json(&format!("{}?limit=3{after}", log_of(video))).await;
        let rows = page["data"].as_array().unwrap().clone();
        assert!(rows.len() <= 3 && page["object"] == "list");
        assert_eq!(page["first_id"], rows.first().map_or(Value::Null, |row| row["id"].clone()));
        all.extend(rows);
        if page["has_more"] == false {
            return all;
        }
        after = format!("&after={}", page["last_id"].as_str().unwrap());
    }
}

async fn log_once(server: &Server, video: &Value, what: &str, holds: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let mut seen = Vec::new();
    wait_until(what, BOUND, async || {
        seen = log(server, video).await;
        holds(&seen)
    })
    .await;
    seen
}

/// A small video with a receiver of its own, when all was delivered to that and to an endpoint; with its deliveries.
async fn told(server: &Server, prompt: &str, url: &str) -> (Value, Vec<Value>) {
    let mut body = tiny(prompt);
    body["webhook_url"] = json!(url);
    let video = server.create(&body).await;
    server.finished(&video).await;
    let rows = log_once(server, &video, "all is delivered", |rows| {
        let ends = rows.iter().filter(|row| row["type"] == "video.completed").count();
        ends == 2 && rows.iter().all(|row| row["state"] == "delivered")
    });
    let rows = rows.await;
    (video, rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_video_shows_what_was_sent_about_it_to_whomever() {
    let (server, receiver) = (server().await, Receiver::start().await);
    let made = endpoint(&server, &json!({"url": receiver.url("/clients")})).await;
    let (video, rows) = told(&server, "logged", &receiver.url("/own")).await;
    let (other, _) = told(&server, "another", &receiver.url("/other")).await;
    let rows_then = log(&server, &video).await;
    assert_eq!(rows_then, rows, "what is sent about another video stands in its own log");
    let (own, clients): (Vec<&Value>, Vec<&Value>) = rows.iter().partition(|row| row["endpoint"].is_null());
    assert!(own.iter().all(|row| row.as_object().unwrap().contains_key("endpoint")), "null, not absent: {own:?}");
    assert!(clients.iter().all(|row| row["endpoint"] == made["id"]), "{clients:?}");
    let events = |rows: &[&Value]| -> Vec<String> {
        rows.iter().map(|row| row["event"].as_str().unwrap().to_owned()).rev().collect()
    };
    let id = video["id"].as_str().unwrap();
    let expected: Vec<String> = (1..=own.len()).map(|ver| format!("evt_{id}_{ver}")).collect();
    assert_eq!((events(&own), events(&clients)), (expected.clone(), expected), "every event for both, newest first");
    for row in &rows {
        assert_eq!(
            (&row["object"], &row["video"], &row["tries"]),
            (&json!("webhook_delivery"), &video["id"], &json!(1))
        );
        assert_eq!((&row["log"][0]["status"], &row["log"][0]["answer"]), (&json!(200), &json!("answered 200")));
    }
    let ids: BTreeSet<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), rows.len(), "pages without overlap");
    // The log of the endpoint shows the same rows.
    let of_endpoint = server.json(&format!("{}/deliveries?limit=100", path_of(&made))).await;
    let of_endpoint: Vec<&Value> =
        of_endpoint["data"].as_array().unwrap().iter().filter(|row| row["video"] == video["id"]).collect();
    assert_eq!(of_endpoint, clients);

    // The video's own receiver has no other log: here it is told again.
    let last = own[0];
    let ordered = post(&server, &again(&video, last), &json!({})).await;
    assert_eq!((&ordered["id"], &ordered["event"], &ordered["endpoint"]), (&last["id"], &last["event"], &Value::Null));
    assert!(!ordered["log"].as_array().unwrap().is_empty(), "with its log: {ordered}");
    let event = last["event"].as_str().unwrap();
    let twice = receiver
        .until("it came twice", |all| all.iter().filter(|one| one.path == "/own" && one.id() == event).count() == 2);
    twice.await;
    let ordered = post(&server, &again(&video, clients[0]), &json!({})).await;
    assert_eq!(ordered["endpoint"], made["id"]);
    let rows = log_once(&server, &video, "both are logged", |rows| {
        rows.iter().filter(|row| row["tries"] == 2 && row["state"] == "delivered").count() == 2
    });
    let rows = rows.await;

    // Of an endpoint that hears nothing the log stays, and nothing is ordered in vain.
    let disabled = (409, "webhook_endpoint_disabled".to_owned());
    post(&server, &path_of(&made), &json!({"status": "disabled"})).await;
    assert_eq!(code(server.post(&again(&video, clients[0]))).await, disabled);
    server.delete(&path_of(&made)).send().await.unwrap();
    assert_eq!(log(&server, &video).await, rows, "with what a deleted endpoint was told");
    assert_eq!(code(server.post(&again(&video, clients[0]))).await, disabled);
    assert_eq!(code(server.post(&again(&other, last))).await, (404, "webhook_delivery_not_found".to_owned()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_may_sees_and_repeats_what_was_sent_about_a_video() {
    let (server, receiver) = (server().await, Receiver::start().await);
    endpoint(&server, &json!({"url": receiver.url("/clients")})).await;
    let (video, rows) = told(&server, "seen by its own project", &receiver.url("/own")).await;
    let (path, write) = (log_of(&video), again(&video, &rows[0]));
    let reader = key(&server, &json!({"name": "reader", "scopes": ["read"]})).await;
    let writer = key(&server, &json!({"name": "writer", "scopes": ["write"]})).await;
    let stranger = key(&server, &json!({"name": "stranger", "project": "other"})).await;
    let stand_in = post(&server, "/v1/conduit/auth/ephemeral-key", &json!({})).await;
    let stand_in = stand_in["ephemeral_key"].as_str().unwrap();
    let status = async |request: crate::app::Authorized| request.send().await.unwrap().status();
    assert_eq!(status(server.get(&path).bearer_auth(&reader)).await, StatusCode::OK);
    assert_eq!(status(server.post(&write).bearer_auth(&writer)).await, StatusCode::OK);
    let refused = (403, "insufficient_scope".to_owned());
    assert_eq!(code(server.get(&path).bearer_auth(&writer)).await, refused);
    assert_eq!(code(server.post(&write).bearer_auth(&reader)).await, refused);
    assert_eq!(code(server.post(&write).bearer_auth(stand_in)).await, refused);
    assert_eq!(code(server.get(&path).anonymous()).await, (401, "invalid_api_key".to_owned()));

    let missing = (404, "video_not_found".to_owned());
    assert_eq!(code(server.get(&path).bearer_auth(&stranger)).await, missing);
    assert_eq!(code(server.post(&write).bearer_auth(&stranger)).await, missing);
    for unknown in [format!("video_{}", "0".repeat(32)), "video_7".to_owned(), "%ff".to_owned()] {
        assert_eq!(code(server.get(&format!("/v1/videos/{unknown}/deliveries"))).await, missing, "{unknown}");
    }
    assert_eq!(code(server.post("/v1/videos/video_7/deliveries/whd_1/redeliver")).await, missing);
    for unknown in ["whd_9223372036854775807", "whd_999999", "whd_", "999", "%ff"] {
        let request = server.post(&format!("{path}/{unknown}/redeliver"));
        assert_eq!(code(request).await, (404, "webhook_delivery_not_found".to_owned()), "{unknown}");
    }
    for (query, wanted) in [
        ("?after=evt_1", "invalid_after"),
        ("?limit=0", "invalid_limit"),
        ("?limit=101", "invalid_limit"),
        ("?x=1", "unknown_parameter"),
    ] {
        assert_eq!(code(server.get(&format!("{path}{query}"))).await, (400, wanted.to_owned()), "{query}");
    }
    server.delete(&format!("/v1/videos/{}", video["id"].as_str().unwrap())).send().await.unwrap();
    assert_eq!(code(server.get(&path)).await, missing);
    assert_eq!(code(server.post(&write)).await, missing);
    server.stop().await;
}
