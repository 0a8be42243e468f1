//! Input images sent ahead.

use std::time::Duration;

use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::app::{Authorized, Server, code, png, sha256_hex, tiny};

fn form(bytes: Vec<u8>) -> Form {
    Form::new().part("file", Part::bytes(bytes).file_name("first.png"))
}

async fn upload(server: &Server, form: Form) -> Value {
    let response = server.post("/v1/files").multipart(form).send().await.unwrap();
    let status = response.status().as_u16();
    let file: Value = response.json().await.unwrap();
    assert_eq!(status, 200, "{file}");
    file
}

fn kept(server: &Server) -> Vec<std::path::PathBuf> {
    let folder = std::fs::read_dir(server.artifacts().join("1/inputs")).unwrap();
    folder.map(|file| file.unwrap().path()).collect()
}

fn with_file(reference: Value) -> Value {
    let mut body = tiny("from a file [sandbox duration=1ms]");
    body["input_reference"] = reference;
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_kept_once_and_told_by_its_digest() {
    let server = Server::start().await;
    let file = upload(&server, form(png()).text("purpose", "vision")).await;
    let sha256 = sha256_hex(&png());
    assert_eq!(file["id"], format!("file_{sha256}"));
    assert_eq!((&file["object"], &file["purpose"]), (&json!("file"), &json!("vision")));
    assert_eq!((&file["bytes"], &file["sha256"]), (&json!(png().len()), &json!(sha256)));
    assert_eq!((&file["filename"], &file["media_type"]), (&json!("first.png"), &json!("image/png")));
    let lives = file["expires_at"].as_i64().unwrap() - file["created_at"].as_i64().unwrap();
    assert_eq!(lives, 24 * 3_600);
    assert_eq!(upload(&server, form(png())).await["id"], file["id"]);
    assert_eq!(kept(&server).len(), 1);

    let seen = server.json(&format!("/v1/files/{}", file["id"].as_str().unwrap())).await;
    for member in ["id", "object", "bytes", "purpose", "media_type", "sha256"] {
        assert_eq!(seen[member], file[member], "{member}");
    }
    assert_eq!((&seen["created_at"], &seen["filename"]), (&Value::Null, &Value::Null), "what is not known is not told");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_create_names_it_in_every_way_and_means_the_same_as_an_upload() {
    let server = Server::start().await;
    let id = upload(&server, form(png())).await["id"].clone();
    let keyed = |body: &Value| server.post("/v1/videos").header("idempotency-key", "file").json(body);
    let first: Value = keyed(&with_file(json!({"file_id": id}))).send().await.unwrap().json().await.unwrap();
    assert_eq!(server.finished(&first).await["status"], "completed");
    let plain: Value = keyed(&with_file(id.clone())).send().await.unwrap().json().await.unwrap();
    assert_eq!(plain["id"], first["id"]);
    let mut same = Form::new().text("input_reference[file_id]", id.as_str().unwrap().to_owned());
    for (name, value) in [
        ("prompt", "from a file [sandbox duration=1ms]"),
        ("model", "sandbox"),
        ("seconds", "1"),
        ("size", "64x64"),
        ("provider_options[fps]", "5"),
    ] {
        same = same.text(name, value);
    }
    let request = server.post("/v1/videos").header("idempotency-key", "file").multipart(same);
    assert_eq!(request.send().await.unwrap().json::<Value>().await.unwrap()["id"], first["id"]);
    let data = format!("data:image/png;base64,{}", crate::app::base64(&png()));
    let inline: Value = keyed(&with_file(json!({"image_url": data}))).send().await.unwrap().json().await.unwrap();
    assert_eq!(inline["id"], first["id"], "the same picture is the same field, however it came");
    server.stop().await;
}

/// The sweep removes what is old and named by no video: to name it makes it young, before the video is there.
#[tokio::test(flavor = "multi_thread")]
async fn naming_a_file_makes_it_young_again() {
    const OLD: Duration = Duration::from_secs(30 * 86_400);
    let server = Server::start().await;
    let id = upload(&server, form(png())).await["id"].clone();
    let path = kept(&server).remove(0);
    let before = path.metadata().unwrap().modified().unwrap() - OLD;
    std::fs::File::options().write(true).open(&path).unwrap().set_modified(before).unwrap();
    server.create(&with_file(json!({"file_id": id}))).await;
    let age = path.metadata().unwrap().modified().unwrap().elapsed().unwrap_or_default();
    assert!(age < OLD / 2, "{age:?}");
    assert_eq!(std::fs::read(path).unwrap(), png());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_not_kept_is_unknown() {
    let server = Server::start().await;
    let id = upload(&server, form(png())).await["id"].as_str().unwrap().to_owned();
    let body = json!({"name": "other", "project": "other", "scopes": ["read", "write"]});
    let key: Value = server.post("/v1/api_keys").json(&body).send().await.unwrap().json().await.unwrap();
    let other = key["key"].as_str().unwrap();
    let create = |id: &str| server.post("/v1/videos").json(&with_file(json!({"file_id": id})));
    let unknown = (400, "unknown_file".to_owned());
    assert_eq!(code(create(&id).bearer_auth(other)).await, unknown, "a project has its own files");
    let missing = (404, "file_not_found".to_owned());
    assert_eq!(code(server.get(&format!("/v1/files/{id}")).bearer_auth(other)).await, missing);
    std::fs::remove_file(kept(&server).remove(0)).unwrap();
    let zeros = format!("file_{}", "0".repeat(64));
    for id in [id.as_str(), zeros.as_str(), "file_", "file_..%2f..%2fx", "x"] {
        assert_eq!(code(server.get(&format!("/v1/files/{id}"))).await, missing, "{id}");
        assert_eq!(code(create(id)).await, unknown, "{id}");
    }
    let response = create(&id).send().await.unwrap();
    assert_eq!(response.json::<Value>().await.unwrap()["error"]["param"], "input_reference.file_id");
    assert_eq!(server.json("/v1/videos").await["data"], json!([]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_input_image_is_refused() {
    let server = Server::start_with(|config| {
        config.limits.max_input_image_bytes = 2_000;
        config.limits.max_body_bytes = 4_000;
    })
    .await;
    let send = |form: Form| server.post("/v1/files").multipart(form);
    let mut large = png();
    large.resize(2_001, 0);
    let cases: [(Authorized, u16, &str); 10] = [
        (send(form(b"GIF89a".to_vec())), 400, "input_image_invalid"),
        (send(form(Vec::new())), 400, "input_image_invalid"),
        (send(form(large)), 400, "input_image_too_large"),
        (send(form(vec![0; 7_000])), 413, "body_too_large"),
        (send(Form::new().text("purpose", "vision")), 400, "missing_parameter"),
        (send(form(png()).part("file", Part::bytes(png()))), 400, "repeated_parameter"),
        (send(form(png()).text("purpose", "batch")), 400, "invalid_value"),
        (send(form(png()).text("expires_after", "1")), 400, "unknown_parameter"),
        (server.post("/v1/files").json(&json!({"file": "x"})), 415, "unsupported_media_type"),
        (send(form(png())).anonymous(), 401, "invalid_api_key"),
    ];
    for (request, status, expected) in cases {
        assert_eq!(code(request).await, (status, expected.to_owned()));
    }
    assert_eq!(code(server.get("/v1/files")).await, (405, "method_not_allowed".to_owned()));
    assert!(!server.artifacts().join("1/inputs").exists(), "nothing was kept");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_no_file_is_kept() {
    let server = Server::start_with(|config| config.limits.low_water_bytes = u64::MAX).await;
    assert_eq!(code(server.post("/v1/files").multipart(form(png()))).await, (507, "storage_full".to_owned()));
    server.stop().await;
}
