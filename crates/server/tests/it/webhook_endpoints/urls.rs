//! `webhook_url` of a video, and which addresses are taken at all.

use reqwest::StatusCode;
use reqwest::multipart::Form;
use serde_json::{Value, json};

use super::receiver::Receiver;
use super::{endpoint, key, path_of, post, server};
use crate::app::{Server, code, tiny};

/// A small video with its own receiver.
fn with_url(prompt: &str, url: &str) -> Value {
    let mut body = tiny(prompt);
    body["webhook_url"] = json!(url);
    body
}

async fn secret_of_videos(server: &Server) -> String {
    let shown = server.json("/v1/webhook_endpoints/videos").await;
    assert_eq!((&shown["id"], &shown["object"]), (&json!("videos"), &json!("webhook_endpoint")));
    shown["secret"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_that_are_never_sent_to_are_refused_before_anything_is_made() {
    let server = Server::start().await;
    let long = format!("https://example.com/{}", "x".repeat(2_030));
    let refused = [
        "",
        " ",
        "example.com",
        "//example.com/",
        "/hook",
        "https://",
        "http://example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "data:text/plain,x",
        "ws://example.com/",
        "gopher://example.com/",
        "https://user@example.com/",
        "https://user:word@example.com/",
        "https://:word@example.com/",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.0.0.1/",
        "https://0177.0.0.1/",
        "https://0/",
        "https://0.0.0.0/",
        "https://10.0.0.1/",
        "https://172.16.0.1/",
        "https://192.168.0.1/",
        "https://169.254.169.254/latest/meta-data",
        "https://100.64.0.1/",
        "https://192.0.2.1/",
        "https://198.18.0.1/",
        "https://224.0.0.1/",
        "https://255.255.255.255/",
        "https://[::1]/",
        "https://[::]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:7f00:1]/",
        "https://[::ffff:169.254.169.254]/",
        "https://[fe80::1]/",
        "https://[fd00::1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[2002:7f00:1::]/",
        "https://１２７.０.０.１/",
        "https://example.com/\r\nx-injected: 1",
        "https://example.com/\nx",
        "https://exa\tmple.com/",
        "https://example.com/a b",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com/#part",
        &long,
    ];
    for url in refused {
        let video = server.post("/v1/videos").json(&with_url("x", url)).send().await.unwrap();
        let made = server.post("/v1/webhook_endpoints").json(&json!({"url": url})).send().await.unwrap();
        for answer in [video, made] {
            assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{url:?}");
            assert_eq!(answer.json::<Value>().await.unwrap()["error"]["code"], "webhook_url_refused", "{url:?}");
        }
    }
    assert_eq!(server.json("/v1/videos").await["data"], json!([]));
    assert_eq!(server.json("/v1/webhook_endpoints").await["data"], json!([]));

    let most = format!("https://example.com/{}", "x".repeat(2_048 - 20));
    for url in [
        "https://example.com",
        "https://EXAMPLE.com:8443/a?b=c%20d",
        "https://1.1.1.1/",
        "https://[2606:4700::1111]/",
        &most,
    ] {
        let made = endpoint(&server, &json!({"url": url})).await;
        assert_eq!(made["url"], url, "as it was given");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_video_s_own_receiver_hears_of_it_alone() {
    let (server, receiver) = (server().await, Receiver::start().await);
    let other = server.create(&tiny("nobody asked")).await;
    let video = server.create(&with_url("told", &receiver.url("/one?x=1"))).await;
    let form = Form::new()
        .text("prompt", "told by a form")
        .text("model", "sandbox")
        .text("seconds", "1")
        .text("size", "64x64")
        .text("provider_options[fps]", "5")
        .text("webhook_url", receiver.url("/two"));
    let response = server.post("/v1/videos").multipart(form).send().await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let by_form: Value = response.json().await.unwrap();
    for video in [&other, &video, &by_form] {
        assert_eq!(server.finished(video).await["status"], "completed");
    }
    let ended = |all: &[super::receiver::Received], path: &str| {
        all.iter().any(|request| request.path == path && request.kind() == "video.completed")
    };
    let received = receiver.until("both are told", |all| ended(all, "/one") && ended(all, "/two")).await;
    let secret = secret_of_videos(&server).await;
    for request in &received {
        let told = if request.path == "/one" { &video } else { &by_form };
        assert_eq!(request.body["data"]["id"], told["id"]);
        assert!(request.is_signed_with(&secret) && request.signatures() == 1);
    }
    let sequence =
        received.iter().filter(|request| request.path == "/one").map(|request| request.body["sequence"].clone());
    let sequence: Vec<u64> = sequence.map(|number| number.as_u64().unwrap()).collect();
    assert_eq!(sequence, (1..=u64::try_from(sequence.len()).unwrap()).collect::<Vec<_>>());

    // It is nobody's business but the sender's: neither the video nor the list of endpoints shows it.
    let path = format!("/v1/videos/{}", video["id"].as_str().unwrap());
    for shown in [server.json(&path).await, server.json("/v1/webhook_endpoints").await] {
        assert!(!shown.to_string().contains("/one"), "{shown}");
    }
    assert_eq!(server.json("/v1/webhook_endpoints").await["data"], json!([]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idempotency_key_covers_the_receiver() {
    let (server, receiver) = (server().await, Receiver::start().await);
    let create = |url: &str| server.post("/v1/videos").header("idempotency-key", "k").json(&with_url("once", url));
    let one: Value = create(&receiver.url("/a")).send().await.unwrap().json().await.unwrap();
    let again: Value = create(&receiver.url("/a")).send().await.unwrap().json().await.unwrap();
    assert!(one["id"].is_string() && one["id"] == again["id"]);
    assert_eq!(code(create(&receiver.url("/b"))).await, (409, "idempotency_key_reused".to_owned()));
    server.finished(&one).await;
    let told = receiver.until("it is told", |all| all.iter().any(|request| request.kind() == "video.completed")).await;
    assert!(told.iter().all(|request| request.path == "/a"));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_project_has_its_own_secret_for_its_videos() {
    let server = server().await;
    let stranger = key(&server, &json!({"name": "stranger", "project": "other"})).await;
    let ours = secret_of_videos(&server).await;
    let request = server.get("/v1/webhook_endpoints/videos").bearer_auth(&stranger);
    let theirs: Value = request.send().await.unwrap().json().await.unwrap();
    assert!(ours.starts_with("whsec_") && theirs["secret"].as_str().unwrap() != ours);
    assert_eq!(
        code(server.post("/v1/webhook_endpoints/videos").json(&json!({}))).await,
        (405, "method_not_allowed".to_owned())
    );
    // What an endpoint signs with is another still.
    let made = endpoint(&server, &json!({"url": "https://example.com"})).await;
    assert_ne!(made["secret"], json!(ours));
    let server = server.restarted_with(|config| config.webhooks.allow_http = true).await;
    assert_eq!(secret_of_videos(&server).await, ours, "the same after a restart");
    let shown = server.json(&path_of(&made)).await;
    assert_eq!(shown["url"], "https://example.com");
    let rotated = post(&server, &format!("{}/rotate_secret", path_of(&made)), &json!({})).await;
    assert_ne!(rotated["secret"], made["secret"]);
    server.stop().await;
}
