//! What the OpenAPI document says of either dialect is what the server answers: statuses, media types, names and types of
//! every member.

use serde_json::{Value, json};

use super::errors::key_by_store;
use super::{Client, both, small};
use crate::app::{Authorized, Server};
use crate::openapi;

/// Deepest schema that is followed.
const MAX_DEPTH: usize = 16;

/// Asserts that an answer is as the document describes it; its status and body.
async fn documented(document: &Value, client: Client<'_>, operation: &str, request: Authorized) -> (u16, Value) {
    let (method, path) = operation.split_once(' ').unwrap();
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
    let text = response.text().await.unwrap();
    let place = format!("{method} {}{path} {status}", client.prefix);
    let route = &document["paths"][format!("{}{path}", client.prefix)][method.to_lowercase()];
    let described = &route["responses"][status.to_string()];
    assert!(described.is_object(), "{place} is not in the document: {text}");
    let Some(kind) = kind else {
        assert!(text.is_empty() && described["content"].is_null(), "{place}: {text}");
        return (status, Value::Null);
    };
    let schema = &described["content"][&kind]["schema"];
    assert!(schema.is_object(), "{place} as {kind} is not in the document: {text}");
    let body = serde_json::from_str(&text).unwrap();
    if let Err(why) = fits(document, schema, &body, MAX_DEPTH) {
        panic!("{place}: {why} in {body}");
    }
    (status, body)
}

/// Whether a value is what a schema says, with no member that it does not name.
fn fits(document: &Value, schema: &Value, value: &Value, depth: usize) -> Result<(), String> {
    let deeper = |schema: &Value, value: &Value| match depth.checked_sub(1) {
        Some(depth) => fits(document, schema, value, depth),
        None => Err("a schema without end".to_owned()),
    };
    if let Some(to) = schema["$ref"].as_str() {
        return deeper(document.pointer(&to[1..]).ok_or_else(|| format!("{to} is not there"))?, value);
    }
    if let Some(either) = schema["oneOf"].as_array() {
        return either.iter().map(|one| deeper(one, value)).find(Result::is_ok).unwrap_or_else(|| {
            let tried: Vec<String> = either.iter().filter_map(|one| deeper(one, value).err()).collect();
            Err(tried.join(", or "))
        });
    }
    let types = match &schema["type"] {
        Value::String(one) => vec![one.as_str()],
        types => types.as_array().into_iter().flatten().filter_map(Value::as_str).collect(),
    };
    let known = |kind: &str| types.is_empty() || types.contains(&kind);
    let right = match value {
        Value::Null => known("null"),
        Value::Bool(_) => known("boolean"),
        Value::Number(number) => known("number") || number.is_i64() && known("integer"),
        Value::String(_) => known("string"),
        Value::Array(_) => known("array"),
        Value::Object(_) => known("object"),
    };
    if !right {
        return Err(format!("{value} is none of {types:?}"));
    }
    for item in value.as_array().into_iter().flatten() {
        deeper(&schema["items"], item)?;
    }
    let (Some(members), Some(described)) = (value.as_object(), schema["properties"].as_object()) else { return Ok(()) };
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    if let Some(missing) = required.into_iter().find(|name| !members.contains_key(*name)) {
        return Err(format!("{missing} is missing"));
    }
    for (name, value) in members {
        let schema = described.get(name).ok_or_else(|| format!("{name} is not described"))?;
        deeper(schema, value).map_err(|why| format!("{name}: {why}"))?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_of_a_tasks_life_is_as_described() {
    let (server, document) = (Server::start().await, openapi::document());
    for client in both(&server) {
        let see = async |operation: &str, request| documented(&document, client, operation, request).await.1;
        let name = |snake: &str| client.name(snake);
        let (create, tasks) = ("/videos/generations/async", "/videos/generations/tasks");
        let mut odd = small("described [sandbox duration=1ms]");
        odd["nobody_knows"] = json!(7);
        let made = see("POST /videos/generations/async", client.post(create).json(&odd)).await;
        let done = made[name("task_id")].as_str().unwrap().to_owned();
        assert_eq!(made[name("ignored_parameters")], json!(["nobody_knows"]));
        client.once(&done, "completed").await;
        see("GET /videos/generations/tasks/{task}", client.get(&format!("{tasks}/{done}"))).await;
        see("GET /tasks/{task}", client.get(&format!("/tasks/{done}"))).await;
        see("GET /tasks/{task}/poll", client.get(&format!("/tasks/{done}/poll"))).await;
        see("DELETE /videos/generations/{task}", client.delete(&format!("/videos/generations/{done}"))).await;
        // Where it is too late this one says nothing.
        see("POST /tasks/{task}/cancel", client.post(&format!("/tasks/{done}/cancel"))).await;
        see("POST /videos/generations/tasks/{task}/retry", client.post(&format!("{tasks}/{done}/retry"))).await;

        let failed = client.task(&small("fails [sandbox fail=content_policy]")).await;
        client.once(&failed, "failed").await;
        see("GET /tasks/{task}", client.get(&format!("/tasks/{failed}"))).await;
        see("POST /videos/generations/tasks/{task}/retry", client.post(&format!("{tasks}/{failed}/retry"))).await;

        let hangs = client.task(&small("hangs [sandbox hang]")).await;
        see("GET /videos/generations/tasks/{task}", client.get(&format!("{tasks}/{hangs}"))).await;
        see("GET /tasks/{task}/poll", client.get(&format!("/tasks/{hangs}/poll?timeout=1"))).await;
        see("DELETE /videos/generations/{task}", client.delete(&format!("/videos/generations/{hangs}"))).await;
        client.once(&hangs, "cancelled").await;
        see("GET /tasks/{task}", client.get(&format!("/tasks/{hangs}"))).await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_of_the_other_rooms_is_as_described() {
    let (server, document) = (Server::start().await, openapi::document());
    for client in both(&server) {
        let see = async |operation: &str, request| documented(&document, client, operation, request).await;
        let task = client.task(&small("rooms [sandbox duration=1ms]")).await;
        let key = client.key_of(&task).await;
        see("GET /media/info/{key}", client.get(&format!("/media/info/{key}"))).await;
        see("GET /media/info/{key}", client.get("/media/info/none.mp4")).await;
        see("GET /media/{key}", client.get("/media/none.mp4")).await;
        let beyond = client.get(&format!("/media/{key}")).header("range", "bytes=999999999-");
        see("GET /media/{key}", beyond).await;
        see("GET /downloads/metadata/{key}", client.get(&format!("/downloads/metadata/{key}"))).await;
        let wish = json!({client.name("file_id"): key, client.name("expiration_minutes"): 5});
        see("POST /downloads/generate-url", client.post("/downloads/generate-url").json(&wish)).await;
        see("POST /downloads/generate-url", client.post("/downloads/generate-url").body("{}")).await;
        see("GET /discovery/models", client.get("/discovery/models")).await;
        see("GET /discovery/capabilities", client.get("/discovery/capabilities")).await;
        let parameters = "GET /discovery/models/{alias}/parameters";
        see(parameters, client.get("/discovery/models/sandbox/parameters")).await;
        see(parameters, client.get("/discovery/models/none/parameters")).await;
        see("POST /auth/ephemeral-key", client.post("/auth/ephemeral-key")).await;
        see("POST /auth/ephemeral-key", client.post("/auth/ephemeral-key").anonymous()).await;
        let large = client.post("/auth/ephemeral-key").body("x".repeat(2 << 20));
        see("POST /auth/ephemeral-key", large).await;
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_of_a_create_is_as_described() {
    let server = Server::start_with(|config| config.limits.requests_per_minute = Some(3)).await;
    let document = openapi::document();
    for client in both(&server) {
        let (_, key) = key_by_store(&server, client.prefix).await;
        let create = || client.post("/videos/generations/async");
        for (status, request) in [
            (401, create().anonymous()),
            (403, create().bearer_auth(&key).json(&small("x"))),
            (403, create().bearer_auth(&key).json(&small("x"))),
            (403, create().bearer_auth(&key).json(&small("x"))),
            (429, create().bearer_auth(&key).json(&small("x"))),
        ] {
            let told = documented(&document, client, "POST /videos/generations/async", request).await;
            assert_eq!(told.0, status, "{}", told.1);
        }
    }
    server.stop().await;
    let server = Server::start_with(|config| {
        (config.limits.max_input_image_bytes, config.limits.max_body_bytes) = (1 << 10, 1 << 10);
    })
    .await;
    for client in both(&server) {
        let create = || client.post("/videos/generations/async");
        for (status, request) in [
            (400, create().json(&json!({"prompt": 5}))),
            (404, create().json(&json!({"prompt": "x", "model": "none"}))),
            (413, create().header("content-type", "application/json").body(vec![b' '; 64 << 10])),
            (415, create().body("{}")),
        ] {
            let told = documented(&document, client, "POST /videos/generations/async", request).await;
            assert_eq!(told.0, status, "{}", told.1);
        }
        let twice = |prompt: &str| create().header("idempotency-key", client.prefix).json(&small(prompt));
        for (status, prompt) in [(202, "one [sandbox hang]"), (409, "another [sandbox hang]")] {
            let told = documented(&document, client, "POST /videos/generations/async", twice(prompt)).await;
            assert_eq!(told.0, status, "{}", told.1);
        }
    }
    server.stop().await;
}
