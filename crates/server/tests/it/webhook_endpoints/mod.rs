//! Endpoints of webhooks and `webhook_url`: what clients order, see and are refused, and what is sent for it.

mod orders;
pub mod receiver;
mod urls;
mod videos;

use std::collections::BTreeSet;
use std::time::Duration;

use longtake_testing::wait_until;
use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::app::{Server, code, tiny};
use receiver::Receiver;

/// The longest anything is waited for.
const BOUND: Duration = Duration::from_secs(60);

/// A server that sends to this machine, without encryption.
async fn server() -> Server {
    Server::start_with(|config| {
        config.webhooks.allow_http = true;
        config.webhooks.allow_networks = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await
}

async fn post(server: &Server, path: &str, body: &Value) -> Value {
    let response = server.post(path).json(body).send().await.unwrap();
    let status = response.status();
    let answer: Value = response.json().await.unwrap();
    assert!(status.is_success(), "{path}: {status} {answer}");
    answer
}

/// Makes an endpoint.
async fn endpoint(server: &Server, body: &Value) -> Value {
    let response = server.post("/v1/webhook_endpoints").json(body).send().await.unwrap();
    let status = response.status();
    let made: Value = response.json().await.unwrap();
    assert_eq!(status, StatusCode::CREATED, "{made}");
    made
}

fn path_of(endpoint: &Value) -> String {
    format!("/v1/webhook_endpoints/{}", endpoint["id"].as_str().unwrap())
}

/// All deliveries of an endpoint, newest first, read in small pages.
async fn deliveries(server: &Server, endpoint: &Value) -> Vec<Value> {
    let (mut all, mut after) = (Vec::new(), String::new());
    loop {
        let page = server.json(&format!("{}/deliveries?limit=3{after}", path_of(endpoint))).await;
        let rows = page["data"].as_array().unwrap().clone();
        assert!(rows.len() <= 3);
        assert_eq!(page["first_id"], rows.first().map_or(Value::Null, |row| row["id"].clone()));
        all.extend(rows);
        if page["has_more"] == false {
            return all;
        }
        after = format!("&after={}", page["last_id"].as_str().unwrap());
    }
}

/// Waits until the deliveries of an endpoint are as they should be; they.
async fn deliveries_once(
    server: &Server,
    endpoint: &Value,
    what: &str,
    holds: impl Fn(&[Value]) -> bool,
) -> Vec<Value> {
    let mut seen = Vec::new();
    wait_until(what, BOUND, async || {
        seen = deliveries(server, endpoint).await;
        holds(&seen)
    })
    .await;
    seen
}

async fn key(server: &Server, body: &Value) -> String {
    let key = post(server, "/v1/api_keys", body).await;
    key["key"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_made_shown_changed_and_removed() {
    let server = server().await;
    let url = "https://example.com/hooks?to=longtake";
    let made = endpoint(&server, &json!({"url": url})).await;
    let id = made["id"].as_str().unwrap();
    assert!(id.strip_prefix("we_").unwrap().bytes().all(|byte| byte.is_ascii_digit()), "{id}");
    assert!(made["secret"].as_str().unwrap().starts_with("whsec_") && made["secret"] == made["signing_secret"]);
    assert_eq!(made["object"], "webhook_endpoint");
    assert_eq!((&made["url"], &made["status"], &made["description"]), (&json!(url), &json!("enabled"), &json!("")));
    assert_eq!(made["events"].as_array().unwrap().len(), 12, "all where none is named");
    assert!(made["created_at"].is_i64());
    assert_eq!((&made["consecutive_failures"], &made["paused_until"]), (&json!(0), &Value::Null));

    // From here on nothing shows the secret.
    let shown = server.json(&path_of(&made)).await;
    let mut hidden = made.clone();
    for name in ["secret", "signing_secret"] {
        hidden.as_object_mut().unwrap().remove(name);
    }
    assert_eq!(shown, hidden);
    let other = endpoint(&server, &json!({"url": url, "events": ["video.completed"], "description": "second"})).await;
    assert_eq!((&other["events"], &other["description"]), (&json!(["video.completed"]), &json!("second")));
    assert_ne!(other["secret"], made["secret"]);
    let list = server.json("/v1/webhook_endpoints").await;
    assert_eq!((&list["object"], &list["has_more"]), (&json!("list"), &json!(false)));
    assert_eq!([&list["data"][0]["id"], &list["data"][1]["id"]], [&other["id"], &made["id"]], "newest first");
    assert!(!list.to_string().contains("whsec_"), "{list}");
    let page = server.json("/v1/webhook_endpoints?limit=1").await;
    assert_eq!((&page["last_id"], &page["has_more"]), (&other["id"], &json!(true)));
    let page = server.json(&format!("/v1/webhook_endpoints?limit=1&after={}", other["id"].as_str().unwrap())).await;
    assert_eq!((&page["data"][0]["id"], &page["has_more"]), (&made["id"], &json!(false)));

    let change =
        json!({"url": "https://example.org/", "events": ["video.failed"], "description": "x", "status": "disabled"});
    let changed = post(&server, &path_of(&made), &change).await;
    for name in ["url", "events", "description", "status"] {
        assert_eq!(changed[name], change[name], "{name}");
    }
    assert_eq!(changed["secret"], Value::Null, "no new secret, so none is shown");
    assert_eq!(post(&server, &path_of(&made), &json!({})).await, changed, "what is absent stays");
    let all = post(&server, &path_of(&made), &json!({"events": ["*"], "description": "", "status": "enabled"})).await;
    assert_eq!((&all["events"], &all["description"], &all["status"]), (&made["events"], &json!(""), &json!("enabled")));

    let receipt: Value = server.delete(&path_of(&made)).send().await.unwrap().json().await.unwrap();
    assert_eq!(receipt, json!({"id": id, "object": "webhook_endpoint.deleted", "deleted": true}));
    let missing = (404, "webhook_endpoint_not_found".to_owned());
    assert_eq!(code(server.get(&path_of(&made))).await, missing);
    assert_eq!(code(server.delete(&path_of(&made))).await, missing);
    assert_eq!(server.json("/v1/webhook_endpoints").await["data"].as_array().unwrap().len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_by_name() {
    let server = server().await;
    let made = endpoint(&server, &json!({"url": "https://example.com"})).await;
    let (path, url) = (path_of(&made), "https://example.com");
    for (to, body, wanted, param) in [
        ("", json!({}), "missing_parameter", "url"),
        ("", json!({"url": null}), "missing_parameter", "url"),
        ("", json!({"url": 7}), "invalid_type", "url"),
        ("", json!({"url": "ftp://example.com"}), "webhook_url_refused", "url"),
        ("", json!({"url": url, "events": "video.completed"}), "invalid_type", "events"),
        ("", json!({"url": url, "events": []}), "invalid_value", "events"),
        ("", json!({"url": url, "events": ["video.failed", "video.don"]}), "invalid_value", "events[1]"),
        ("", json!({"url": url, "description": "x".repeat(257)}), "invalid_value", "description"),
        ("", json!({"url": url, "status": "disabled"}), "unknown_parameter", "status"),
        ("", json!({"url": url, "secret": "whsec_mine"}), "unknown_parameter", "secret"),
        ("one", json!({"status": "gone"}), "invalid_value", "status"),
        ("one", json!({"url": "http://10.0.0.1"}), "webhook_url_refused", "url"),
        ("one", json!({"object": "webhook_endpoint"}), "unknown_parameter", "object"),
        ("one/test", json!({"event_type": "video.completed"}), "invalid_value", "event_type"),
        ("one/rotate_secret", json!({"overlap_seconds": 604_801}), "invalid_value", "overlap_seconds"),
        ("one/replay", json!({}), "missing_parameter", "after"),
        ("one/replay", json!({"after": "evt_1"}), "invalid_after", "after"),
        ("one/replay", json!({"after": format!("evt_video_{}_1", "0".repeat(32))}), "invalid_after", "after"),
        ("one/replay", json!({"after": "evt_1", "until": "evt_2"}), "unknown_parameter", "until"),
    ] {
        let at = to.strip_prefix("one").map_or("/v1/webhook_endpoints".to_owned(), |tail| format!("{path}{tail}"));
        let response = server.post(&at).json(&body).send().await.unwrap();
        let status = response.status().as_u16();
        let answer: Value = response.json().await.unwrap();
        assert_eq!((status, answer["error"]["code"].as_str().unwrap()), (400, wanted), "{to} {body}");
        assert_eq!(answer["error"]["param"], param, "{to} {body}");
    }
    for (query, wanted) in [
        ("?after=we_999", "invalid_after"),
        ("?after=7", "invalid_after"),
        ("?limit=0", "invalid_limit"),
        ("?limit=101", "invalid_limit"),
        ("?status=enabled", "unknown_parameter"),
    ] {
        assert_eq!(
            code(server.get(&format!("/v1/webhook_endpoints{query}"))).await,
            (400, wanted.to_owned()),
            "{query}"
        );
    }
    for (query, wanted) in
        [("?after=evt_1", "invalid_after"), ("?limit=101", "invalid_limit"), ("?x=1", "unknown_parameter")]
    {
        let request = server.get(&format!("{path}/deliveries{query}"));
        assert_eq!(code(request).await, (400, wanted.to_owned()), "{query}");
    }
    for unknown in ["we_999", "we_", "we_-1", "we_01", "999", "%ff"] {
        let request = server.get(&format!("/v1/webhook_endpoints/{unknown}"));
        assert_eq!(code(request).await, (404, "webhook_endpoint_not_found".to_owned()), "{unknown}");
    }
    for unknown in ["whd_999", "whd_", "999", "%ff"] {
        let request = server.post(&format!("{path}/deliveries/{unknown}/redeliver"));
        assert_eq!(code(request).await, (404, "webhook_delivery_not_found".to_owned()), "{unknown}");
    }
    let text = server.post("/v1/webhook_endpoints").header("content-type", "text/plain").body("{}");
    assert_eq!(code(text).await, (415, "unsupported_media_type".to_owned()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_and_projects_bound_who_sees_and_changes() {
    let server = server().await;
    let receiver = Receiver::start().await;
    let reader = key(&server, &json!({"name": "reader", "scopes": ["read"]})).await;
    let writer = key(&server, &json!({"name": "writer", "scopes": ["write"]})).await;
    let stranger = key(&server, &json!({"name": "stranger", "project": "other"})).await;
    let made = endpoint(&server, &json!({"url": receiver.url("/")})).await;
    let video = server.create(&tiny("seen by its own project")).await;
    server.finished(&video).await;
    let sent = deliveries_once(&server, &made, "its events are sent", |rows| {
        rows.iter().any(|row| row["type"] == "video.completed")
    });
    let row = sent.await[0]["id"].as_str().unwrap().to_owned();
    let (path, events) = (path_of(&made), "/v1/webhook_endpoints");
    let reads = [events.to_owned(), path.clone(), format!("{path}/deliveries")];
    let again = format!("{path}/deliveries/{row}/redeliver");
    let writes = [path.clone(), format!("{path}/test"), format!("{path}/rotate_secret"), again];
    let refused = (403, "insufficient_scope".to_owned());
    for read in &reads {
        assert_eq!(server.get(read).bearer_auth(&reader).send().await.unwrap().status(), StatusCode::OK, "{read}");
        assert_eq!(code(server.get(read).bearer_auth(&writer)).await, refused, "{read}");
        assert_eq!(code(server.get(read).anonymous()).await, (401, "invalid_api_key".to_owned()), "{read}");
    }
    for write in &writes {
        assert_eq!(code(server.post(write).bearer_auth(&reader).json(&json!({}))).await, refused, "{write}");
        let response = server.post(write).bearer_auth(&writer).json(&json!({})).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{write}");
    }
    assert_eq!(code(server.post(events).bearer_auth(&reader).json(&json!({"url": "x"}))).await, refused);
    assert_eq!(code(server.delete(&path).bearer_auth(&reader)).await, refused);
    let secret = format!("{events}/videos");
    assert_eq!(code(server.get(&secret).bearer_auth(&reader)).await, refused, "it shows a secret");
    assert_eq!(server.get(&secret).bearer_auth(&writer).send().await.unwrap().status(), StatusCode::OK);

    // A stand-in for a key lies in browsers: what it made would outlive it.
    let stand_in = post(&server, "/v1/conduit/auth/ephemeral-key", &json!({})).await;
    let stand_in = stand_in["ephemeral_key"].as_str().unwrap();
    assert_eq!(server.get(&path).bearer_auth(stand_in).send().await.unwrap().status(), StatusCode::OK);
    for write in writes.iter().map(String::as_str).chain([events]) {
        assert_eq!(code(server.post(write).bearer_auth(stand_in).json(&json!({}))).await, refused, "{write}");
    }
    assert_eq!(code(server.get(&secret).bearer_auth(stand_in)).await, refused);

    let missing = (404, "webhook_endpoint_not_found".to_owned());
    for read in &reads[1..] {
        assert_eq!(code(server.get(read).bearer_auth(&stranger)).await, missing, "{read}");
    }
    for write in &writes {
        assert_eq!(code(server.post(write).bearer_auth(&stranger).json(&json!({}))).await, missing, "{write}");
    }
    let event = json!({"after": format!("evt_{}_1", video["id"].as_str().unwrap())});
    assert_eq!(code(server.post(&format!("{path}/replay")).bearer_auth(&stranger).json(&event)).await, missing);
    assert_eq!(code(server.delete(&path).bearer_auth(&stranger)).await, missing);
    let listed: Value = server.get(events).bearer_auth(&stranger).send().await.unwrap().json().await.unwrap();
    assert_eq!(listed["data"], json!([]));

    // A stranger's endpoint hears nothing of these videos, and cannot have them replayed.
    let own = server.post(events).bearer_auth(&stranger).json(&json!({"url": receiver.url("/stranger")}));
    let own: Value = own.send().await.unwrap().json().await.unwrap();
    let replay = server.post(&format!("{}/replay", path_of(&own))).bearer_auth(&stranger).json(&event);
    assert_eq!(code(replay).await, (400, "invalid_after".to_owned()));
    let second = server.create(&tiny("nor of this")).await;
    server.finished(&second).await;
    deliveries_once(&server, &made, "all is sent", |rows| rows.iter().all(|row| row["state"] == "delivered")).await;
    assert!(receiver.received().iter().all(|request| request.path == "/"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_project_has_a_hundred_endpoints() {
    let server = server().await;
    let body = |number: usize| json!({"url": format!("https://example.com/{number}")});
    let mut ids = BTreeSet::new();
    for number in 0..100 {
        let made = endpoint(&server, &body(number)).await;
        assert!(ids.insert(made["id"].as_str().unwrap().to_owned()));
    }
    let more = || server.post("/v1/webhook_endpoints").json(&json!({"url": "https://example.com/one-more"}));
    assert_eq!(code(more()).await, (409, "webhook_endpoint_limit".to_owned()));
    assert_eq!(server.json("/v1/webhook_endpoints").await["data"].as_array().unwrap().len(), 100);
    let stranger = key(&server, &json!({"name": "stranger", "project": "other"})).await;
    let others = more().bearer_auth(&stranger).send().await.unwrap();
    assert_eq!(others.status(), StatusCode::CREATED, "each project has its own");
    // One by its own URL does not count.
    let mut video = tiny("with its own receiver");
    video["webhook_url"] = json!("https://example.com/own");
    server.create(&video).await;
    let last = format!("/v1/webhook_endpoints/{}", ids.last().unwrap());
    assert_eq!(server.delete(&last).send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(more().send().await.unwrap().status(), StatusCode::CREATED);
    server.stop().await;
}
