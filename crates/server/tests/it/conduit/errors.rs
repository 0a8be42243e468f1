//! 6, 11: an error object for each dialect, keys and scopes; nothing of it reaches our own front door.

use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::{Client, answer, both, key, small, stranger};
use crate::app::{Authorized, Server, code};

/// An error as its dialect writes it: status, code, message.
async fn refused(client: Client<'_>, request: Authorized) -> (u16, String, String) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(response.headers().contains_key("x-request-id"));
    let body: Value = response.json().await.unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{status} {body}")).to_owned();
    if client.is_a() {
        assert_eq!(kind, "application/problem+json", "{body}");
        assert_eq!(body["status"], status);
        assert!(!text(&body["title"]).is_empty());
        (status, text(&body["code"]), text(&body["detail"]))
    } else {
        assert_eq!(kind, "application/json", "{body}");
        let names: Vec<&String> = body["error"].as_object().unwrap().keys().collect();
        assert!(names.iter().all(|name| ["message", "type", "code", "param"].contains(&name.as_str())), "{body}");
        assert_eq!(body.as_object().unwrap().len(), 1);
        text(&body["error"]["type"]);
        (status, text(&body["error"]["code"]), text(&body["error"]["message"]))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_that_cannot_be_is_refused_before_anything_is_paid() {
    let server = Server::start().await;
    let with = |name: &str, value: Value| {
        let mut body = small("x");
        body[name] = value;
        body
    };
    for client in both(&server) {
        let duration = "Duration must be between 1 and 60 seconds";
        for (body, status, code, message) in [
            (json!({"model": "sandbox"}), 400, "missing_parameter", "Prompt is required"),
            (with("prompt", json!("  ")), 400, "missing_parameter", "Prompt is required"),
            (json!({"prompt": "x"}), 400, "missing_parameter", "Model is required"),
            (with("model", json!("")), 400, "missing_parameter", "Model is required"),
            (with("duration", json!(0)), 400, "invalid_value", duration),
            (with("duration", json!("61")), 400, "invalid_value", duration),
            (with("fps", json!(121)), 400, "invalid_value", "FPS must be between 1 and 120"),
            (with("response_format", json!("gif")), 400, "invalid_value", ""),
            (with("size", json!("huge")), 400, "invalid_value", ""),
            (with("prompt", json!(7)), 400, "invalid_value", ""),
            // d: an unknown model is not accepted to fail later.
            (with("model", json!("gpt-9")), 404, "not_found", ""),
            (with("size", json!("63x63")), 400, "unsupported_by_model", ""),
            (with("fps", json!(120)), 400, "unsupported_by_model", ""),
            (with("webhook_url", json!("ftp://example.com")), 400, "webhook_url_refused", ""),
        ] {
            let told = refused(client, client.post("/videos/generations/async").json(&body)).await;
            assert_eq!((told.0, told.1.as_str()), (status, code), "{body} {told:?}");
            assert!(message.is_empty() || told.2 == message, "{body} {told:?}");
        }
        let raw = client.post("/videos/generations/async").header("content-type", "application/json").body("{");
        assert_eq!(refused(client, raw).await.1, "invalid_request");
        let typeless = client.post("/videos/generations/async").body("{}");
        assert_eq!(refused(client, typeless).await.0, 415);
    }
    assert_eq!(server.json("/v1/videos").await["data"], json!([]), "nothing was made");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_field_is_named_as_the_client_wrote_it() {
    let server = Server::start().await;
    let [a, b] = both(&server);
    for (name, value) in [("fps", json!(120)), ("size", json!("63x63")), ("duration", json!(0))] {
        let mut body = small("x");
        body[name] = value;
        let (_, told) = answer(b.post("/videos/generations/async").json(&body)).await;
        assert_eq!(told["error"]["param"], name, "{told}");
    }
    let (_, told) = answer(a.post("/videos/generations/async").json(&json!({"prompt": "x"}))).await;
    assert_eq!(told["title"], "Invalid Request");
    // A has no member for it: it comes first in `detail`, once.
    for (name, value, detail) in [
        ("start_image", json!(5), "start_image: must be a string"),
        ("response_format", json!("gif"), "response_format: must be url or b64_json"),
        ("webhook_headers", json!({"Host": 7}), "webhook_headers.Host: must be a string"),
        ("duration", json!(0), "Duration must be between 1 and 60 seconds"),
        ("timeout_seconds", json!(0), "Timeout must be between 1 and 3600 seconds"),
    ] {
        let mut body = small("x");
        body["webhook_url"] = json!("https://receiver.example/x");
        body[name] = value;
        let (status, told) = answer(a.post("/videos/generations/async").json(&body)).await;
        assert_eq!((status, &told["detail"]), (400, &json!(detail)), "{told}");
    }
    let mut unable = small("x");
    unable["size"] = json!("63x63");
    let (_, told) = answer(a.post("/videos/generations/async").json(&unable)).await;
    assert_eq!(told["title"], "Not Supported");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_and_what_is_anothers_look_the_same() {
    let server = Server::start().await;
    let other = stranger(&server).await;
    for client in both(&server) {
        let task = client.task(&small("ours [sandbox hang]")).await;
        let unknown = format!("task_{}", "0".repeat(32));
        let paths = |task: &str| {
            let tasks = format!("/videos/generations/tasks/{task}");
            [
                client.get(&tasks),
                client.post(&format!("{tasks}/retry")),
                client.get(&format!("{tasks}/events")),
                client.delete(&format!("/videos/generations/{task}")),
                // d: in A none of these asked whose it is.
                client.get(&format!("/tasks/{task}")),
                client.get(&format!("/tasks/{task}/poll?timeout=1")),
                client.post(&format!("/tasks/{task}/cancel")),
            ]
        };
        for request in paths(&task) {
            let told = refused(client, request.bearer_auth(&other)).await;
            let text = if client.is_a() {
                format!("No task found with ID: {task}")
            } else {
                "The requested task was not found".to_owned()
            };
            assert_eq!(told, (404, "not_found".to_owned(), text));
        }
        for (strange, mine) in paths(&task).into_iter().zip(paths(&unknown)) {
            let (strange, mine) = (answer(strange.bearer_auth(&other)).await, answer(mine).await);
            assert_eq!(strange.1.to_string().replace(&task, &unknown), mine.1.to_string(), "told apart");
        }
        for wrong in ["task_12", "video_0", "%ff"] {
            assert_eq!(refused(client, client.get(&format!("/tasks/{wrong}"))).await.0, 404, "{wrong}");
        }
        assert_eq!(
            server.in_state(&super::video_of(&task), "running").await["cancel"],
            Value::Null,
            "nothing reached it"
        );
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_come_in_either_header() {
    let server = Server::start().await;
    let (_, reader) = key(&server, json!({"name": "reader", "scopes": ["read"]})).await;
    for client in both(&server) {
        let task = client.task(&small("keys [sandbox hang]")).await;
        let path = format!("/videos/generations/tasks/{task}");
        let keyed = |key: &str| client.get(&path).anonymous().header("x-api-key", key);
        assert_eq!(answer(keyed(&server.admin_key)).await.0, 200);
        assert_eq!(answer(keyed(&reader)).await.0, 200);
        for request in [keyed("lt_wrong"), keyed(""), client.get(&path).anonymous()] {
            let told = refused(client, request).await;
            assert_eq!((told.0, told.1.as_str()), (401, "unauthorized"), "{told:?}");
        }
        let create = client.post("/videos/generations/async").anonymous().header("x-api-key", &reader);
        assert_eq!(refused(client, create.json(&small("x"))).await.0, 403);
        let twice = keyed(&reader).header("x-api-key", &server.admin_key);
        assert_eq!(refused(client, twice).await.0, 401, "one key, not several");
    }
    // Elsewhere that header means nothing, and errors stay as they are.
    let ours = server.get("/v1/videos").anonymous().header("x-api-key", &server.admin_key);
    assert_eq!(code(ours).await, (401, "invalid_api_key".to_owned()));
    assert_eq!(code(server.get("/v1/videos/generations-x")).await, (404, "video_not_found".to_owned()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_and_methods_that_are_not_there_say_so_in_the_dialect() {
    let server = Server::start().await;
    for client in both(&server) {
        let task = client.task(&small("routes [sandbox hang]")).await;
        // 2: the cancel's path has no `tasks` in it.
        let wrong = client.delete(&format!("/videos/generations/tasks/{task}"));
        assert_eq!(refused(client, wrong).await.0, 405);
        assert_eq!(refused(client, client.get("/tasks")).await.0, 404);
        // The old synchronous call is not offered.
        assert_eq!(refused(client, client.post("/videos/generations").json(&small("x"))).await.0, 404);
        answer(client.get(&format!("/tasks/{task}"))).await;
    }
    let figures = server.get("/metrics").send().await.unwrap().text().await.unwrap();
    for prefix in ["/v1", "/v1/conduit"] {
        let line = format!("{{route=\"{prefix}/tasks/{{task}}\",method=\"GET\",status=\"200\"}} 1");
        assert!(figures.contains(&line), "{line}: routes are counted by their patterns");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rates_are_told_with_every_answer() {
    let server = Server::start_with(|config| config.limits.requests_per_minute = Some(3)).await;
    let number = |headers: &HeaderMap, name: &str| headers[name].to_str().unwrap().parse::<i64>().unwrap();
    for client in both(&server) {
        let (_, key) = key_by_store(&server, client.prefix).await;
        for left in [2, 1, 0] {
            let response = client.get("/discovery/capabilities").bearer_auth(&key).send().await.unwrap();
            assert_eq!(response.status(), 200);
            let headers = response.headers();
            assert_eq!((number(headers, "x-ratelimit-limit"), number(headers, "x-ratelimit-remaining")), (3, left));
            assert_eq!(headers["x-ratelimit-scope"], "virtual_key");
        }
        let response = client.get("/discovery/capabilities").bearer_auth(&key).send().await.unwrap();
        let headers = response.headers().clone();
        assert_eq!(response.status(), 429);
        assert!(number(&headers, "retry-after") >= 1 && number(&headers, "x-ratelimit-remaining") == 0);
        let now = server.app().clock.now().as_secs();
        assert!((now..now + 61).contains(&number(&headers, "x-ratelimit-reset")), "{headers:?}");
        assert_eq!(
            refused(client, client.get("/discovery/capabilities").bearer_auth(&key)).await.1,
            "rate_limit_exceeded"
        );
    }
    server.stop().await;
}

/// A key made below the rate's notice.
pub async fn key_by_store(server: &Server, name: &str) -> (i64, String) {
    use longtake::http::auth::{DEFAULT_PROJECT, key_hash};
    use longtake_core::store::ApiKey;
    let key = format!("lt_of_{name}");
    let made = ApiKey {
        id: 0,
        name: name.to_owned(),
        project: DEFAULT_PROJECT,
        hash: key_hash(&key),
        scopes: vec!["read".to_owned()],
        created_at: server.app().clock.now(),
        revoked_at: None,
    };
    (server.store().create_key(made).await.unwrap().id, key)
}
