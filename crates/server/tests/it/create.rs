//! Creates: both encodings, idempotency keys, repeats of the SDKs, room.

use reqwest::StatusCode;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use crate::app::{Server, png, tiny};

fn form(prompt: &str) -> Form {
    Form::new()
        .text("prompt", prompt.to_owned())
        .text("model", "sandbox")
        .text("seconds", "1")
        .text("size", "64x64")
        .text("metadata[take]", "7")
        .text("provider_options[fps]", "5")
}

#[tokio::test(flavor = "multi_thread")]
async fn json_and_multipart_make_the_same_video() {
    let server = Server::start().await;
    let mut body = tiny("a boat [sandbox duration=1ms]");
    body["metadata"] = json!({"take": "7"});
    let from_json = server.create(&body).await;
    let response = server.post("/v1/videos").multipart(form("a boat [sandbox duration=1ms]")).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.headers().contains_key("x-request-id"));
    let from_form: Value = response.json().await.unwrap();
    for member in ["object", "model", "prompt", "seconds", "size", "metadata", "status"] {
        assert_eq!(from_json[member], from_form[member], "{member}");
    }
    assert_ne!(from_json["id"], from_form["id"]);
    assert_eq!(from_form["seconds"], "1");
    assert_eq!(from_form["metadata"], json!({"take": "7"}));
    assert_eq!(from_form["progress"], 0);
    assert_eq!(from_form["expires_at"], Value::Null);
    assert_eq!(from_form["cancel"], Value::Null);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uploaded_image_is_taken_in_all_its_encodings() {
    let server = Server::start().await;
    let part = Part::bytes(png()).file_name("first.png").mime_str("application/octet-stream").unwrap();
    let upload = form("with a picture [sandbox duration=1ms]").part("input_reference", part);
    let data_url = format!("data:image/png;base64,{}", crate::app::base64(&png()));
    let mut body = tiny("with a picture [sandbox duration=1ms]");
    body["input_reference"] = json!({"image_url": data_url});
    let linked = form("with a picture [sandbox duration=1ms]").text("input_reference[image_url]", data_url);
    for request in [
        server.post("/v1/videos").multipart(upload),
        server.post("/v1/videos").json(&body),
        server.post("/v1/videos").multipart(linked),
    ] {
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let video: Value = response.json().await.unwrap();
        assert_eq!(server.finished(&video).await["status"], "completed");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_stands_for_one_video() {
    let server = Server::start().await;
    let body = tiny("once [sandbox duration=1ms]");
    let keyed = |body: &Value| server.post("/v1/videos").header("idempotency-key", "key-1").json(body);
    let first: Value = keyed(&body).send().await.unwrap().json().await.unwrap();
    let again = keyed(&body).send().await.unwrap();
    assert_eq!(again.headers()["idempotent-replayed"], "true");
    assert_eq!(again.json::<Value>().await.unwrap()["id"], first["id"]);

    let mut reordered = serde_json::Map::new();
    for name in ["size", "seconds", "provider_options", "prompt", "model"] {
        reordered.insert(name.to_owned(), body[name].clone());
    }
    reordered.insert("seconds".to_owned(), json!(1));
    let same: Value = keyed(&Value::Object(reordered)).send().await.unwrap().json().await.unwrap();
    assert_eq!(same["id"], first["id"], "decoded fields count, not their spelling");

    let other = keyed(&tiny("twice [sandbox duration=1ms]")).send().await.unwrap();
    assert_eq!(other.status(), StatusCode::CONFLICT);
    assert_eq!(other.headers()["x-should-retry"], "false");
    assert_eq!(other.json::<Value>().await.unwrap()["error"]["code"], "idempotency_key_reused");

    server.finished(&first).await;
    let deleted = server.delete(&format!("/v1/videos/{}", first["id"].as_str().unwrap())).send().await.unwrap();
    assert_eq!(deleted.status(), StatusCode::OK);
    let after: Value = keyed(&body).send().await.unwrap().json().await.unwrap();
    assert_eq!(after["id"], first["id"], "a deleted video is still the same video");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_at_once_with_one_key_are_one_video() {
    let server = Server::start().await;
    let body = tiny("all at once [sandbox hang]");
    let creates = (0..16).map(|_| server.post("/v1/videos").header("idempotency-key", "rush").json(&body).send());
    let mut ids = Vec::new();
    for response in futures::future::join_all(creates).await {
        let response = response.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        ids.push(response.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
    assert_eq!(server.json("/v1/videos").await["data"].as_array().unwrap().len(), 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_of_an_sdk_is_the_video_it_repeats() {
    let server = Server::start().await;
    let body = tiny("repeated [sandbox hang]");
    let send = async |count: &str| -> Value {
        let request = server.post("/v1/videos").header("x-stainless-retry-count", count).json(&body);
        request.send().await.unwrap().json().await.unwrap()
    };
    let first = send("0").await;
    assert_eq!(send("1").await["id"], first["id"]);
    assert_eq!(send("2").await["id"], first["id"]);
    let second = send("0").await;
    assert_ne!(second["id"], first["id"], "two on purpose stay two");
    assert_eq!(server.json("/v1/videos").await["data"].as_array().unwrap().len(), 2);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_room_nothing_is_accepted() {
    let server = Server::start_with(|config| config.limits.low_water_bytes = u64::MAX).await;
    let response = server.post("/v1/videos").json(&tiny("too much")).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::INSUFFICIENT_STORAGE);
    assert!(response.headers().contains_key("retry-after"));
    assert_eq!(response.headers()["x-should-retry"], "false");
    assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], "storage_full");
    assert_eq!(server.get("/readyz").send().await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(server.get("/healthz").send().await.unwrap().status(), StatusCode::OK);
    server.stop().await;
}
