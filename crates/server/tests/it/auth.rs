//! Keys, scopes, projects and rates.

use reqwest::StatusCode;
use serde_json::{Value, json};

use crate::app::{Server, code, tiny};

async fn key(server: &Server, body: Value) -> (String, String) {
    let response = server.post("/v1/api_keys").json(&body).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::CREATED);
    let key: Value = response.json().await.unwrap();
    (key["id"].as_str().unwrap().to_owned(), key["key"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_comes_in_without_a_key() {
    let server = Server::start().await;
    for header in ["", "Bearer", "Bearer ", "Bearer wrong", "Basic abc", "bearer lt_x"] {
        for path in ["/v1/videos", "/v1/models", "/v1/api_keys", "/metrics"] {
            let mut request = server.get(path).anonymous();
            if !header.is_empty() {
                request = request.header("authorization", header);
            }
            let response = request.send().await.unwrap();
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{header} {path}");
            assert_eq!(response.headers()["www-authenticate"], "Bearer");
            assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], "invalid_api_key");
        }
    }
    let twice = server.get("/v1/videos").header("authorization", "Bearer other");
    assert_eq!(code(twice).await, (401, "invalid_api_key".to_owned()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scopes_bound_a_key() {
    let server = Server::start().await;
    let (_, reader) = key(&server, json!({"name": "reader", "scopes": ["read"]})).await;
    let (_, writer) = key(&server, json!({"name": "writer", "scopes": ["write"]})).await;
    let (_, both) = key(&server, json!({"name": "both"})).await;
    let refused = (403, "insufficient_scope".to_owned());
    let create = |key: &str| server.post("/v1/videos").bearer_auth(key).json(&tiny("[sandbox hang] x"));
    assert_eq!(server.get("/v1/videos").bearer_auth(&reader).send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(server.get("/metrics").bearer_auth(&reader).send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(code(create(&reader)).await, refused);
    assert_eq!(code(server.get("/v1/videos").bearer_auth(&writer)).await, refused);
    assert_eq!(create(&writer).send().await.unwrap().status(), StatusCode::OK);
    assert_eq!(create(&both).send().await.unwrap().status(), StatusCode::OK);
    for key in [&reader, &writer, &both] {
        assert_eq!(code(server.get("/v1/api_keys").bearer_auth(key)).await, refused);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_are_listed_without_themselves_and_die_when_revoked() {
    let server = Server::start().await;
    let (id, secret) = key(&server, json!({"name": "short-lived", "scopes": ["read"]})).await;
    assert!(secret.starts_with("lt_") && secret.len() == 46, "{secret}");
    let list = server.json("/v1/api_keys").await;
    assert_eq!(list["data"][0]["id"], id.as_str());
    assert!(!list.to_string().contains(&secret));
    assert_eq!(server.get("/v1/videos").bearer_auth(&secret).send().await.unwrap().status(), StatusCode::OK);
    let receipt: Value = server.delete(&format!("/v1/api_keys/{id}")).send().await.unwrap().json().await.unwrap();
    assert_eq!(receipt, json!({"id": id, "object": "api_key.deleted", "deleted": true}));
    assert_eq!(code(server.get("/v1/videos").bearer_auth(&secret)).await, (401, "invalid_api_key".to_owned()));
    assert!(server.json("/v1/api_keys").await["data"][0]["revoked_at"].is_i64());
    for unknown in ["key_99999", "key_", "99", "key_-1", "%ff"] {
        let request = server.delete(&format!("/v1/api_keys/{unknown}"));
        assert_eq!(code(request).await, (404, "api_key_not_found".to_owned()), "{unknown}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn projects_do_not_see_each_other() {
    let server = Server::start().await;
    let (_, other) = key(&server, json!({"name": "other", "project": "other", "scopes": ["read", "write"]})).await;
    let ours = server.create(&tiny("ours [sandbox hang]")).await;
    let path = format!("/v1/videos/{}", ours["id"].as_str().unwrap());
    let missing = (404, "video_not_found".to_owned());
    for tail in ["", "/content", "/events", "/timeline"] {
        assert_eq!(code(server.get(&format!("{path}{tail}")).bearer_auth(&other)).await, missing, "{tail}");
    }
    for tail in ["/cancel", "/retry", "/remix"] {
        assert_eq!(code(server.post(&format!("{path}{tail}")).bearer_auth(&other)).await, missing, "{tail}");
    }
    let resolve = server.post(&format!("{path}/resolve")).bearer_auth(&other).json(&json!({"decision": "fail"}));
    assert_eq!(code(resolve).await, missing);
    assert_eq!(code(server.delete(&path).bearer_auth(&other)).await, missing);
    let listed: Value = server.get("/v1/videos").bearer_auth(&other).send().await.unwrap().json().await.unwrap();
    assert_eq!(listed["data"], json!([]));
    let after = server.get(&format!("/v1/videos?after={}", ours["id"].as_str().unwrap())).bearer_auth(&other);
    assert_eq!(code(after).await, (400, "invalid_after".to_owned()));
    assert_eq!(server.json(&path).await["cancel"], Value::Null, "nothing of it reached the video");

    // The same idempotency key in two projects means two videos.
    let keyed =
        |request: crate::app::Authorized| request.header("idempotency-key", "same").json(&tiny("[sandbox hang] k"));
    let one: Value = keyed(server.post("/v1/videos")).send().await.unwrap().json().await.unwrap();
    let two: Value = keyed(server.post("/v1/videos").bearer_auth(&other)).send().await.unwrap().json().await.unwrap();
    assert!(one["id"].is_string() && two["id"].is_string() && one["id"] != two["id"], "{one} {two}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_bounds_each_key_by_itself() {
    let server = Server::start_with(|config| config.limits.requests_per_minute = Some(5)).await;
    let (_, other) = key(&server, json!({"name": "other"})).await;
    let mut refused = None;
    for _ in 0..6 {
        let response = server.get("/v1/models").send().await.unwrap();
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(response);
        }
    }
    let refused = refused.unwrap();
    assert!(refused.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    assert!(!refused.headers().contains_key("x-should-retry"), "this one may be repeated");
    assert_eq!(refused.json::<Value>().await.unwrap()["error"]["code"], "rate_limit_exceeded");
    assert_eq!(server.get("/v1/models").bearer_auth(&other).send().await.unwrap().status(), StatusCode::OK);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_auth_everyone_is_admin() {
    let server = Server::start_with(|config| config.server.insecure_no_auth = true).await;
    let response = server.get("/v1/api_keys").anonymous().send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_response_carries_a_request_id() {
    let server = Server::start().await;
    for (path, status) in [("/v1/videos", 200), ("/nowhere", 404), ("/v1/videos/x", 404)] {
        let response = server.get(path).send().await.unwrap();
        assert_eq!(response.status().as_u16(), status);
        assert!(response.headers()["x-request-id"].to_str().unwrap().starts_with("req_"), "{path}");
    }
    let given = server.get("/v1/models").header("x-request-id", "mine-1").send().await.unwrap();
    assert_eq!(given.headers()["x-request-id"], "mine-1");
    for junk in ["has blank", "a\"b", &"x".repeat(65)] {
        let response = server.get("/v1/models").header("x-request-id", junk).send().await.unwrap();
        assert!(response.headers()["x-request-id"].to_str().unwrap().starts_with("req_"), "{junk}");
    }
    server.stop().await;
}
