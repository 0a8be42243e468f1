//! Input images by URL: fetched from where it is allowed, and never from the operator's network.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::routing::get;
use longtake::clock::SystemClock;
use longtake_core::time::Clock;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::app::{Server, base64, code, png, tiny};

/// A server of images on loopback.
async fn images() -> SocketAddr {
    let to = |target: &'static str| {
        get(move || async move {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, HeaderValue::from_static(target));
            (StatusCode::FOUND, headers)
        })
    };
    let router = Router::new()
        .route("/first.png", get(|| async { png() }))
        .route("/moved", to("/first.png"))
        .route("/loop", to("/loop"))
        .route("/inside", to("http://10.0.0.1/first.png"))
        .route("/metadata", to("http://169.254.169.254/latest/meta-data"))
        .route("/file", to("file:///etc/passwd"))
        .route("/page", get(|| async { "<html>not an image</html>" }))
        .route("/gone", get(|| async { StatusCode::GONE }))
        .route("/huge", get(|| async { vec![0u8; 3_000] }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn with_url(url: &str) -> Value {
    let mut body = tiny("from a link [sandbox duration=1ms]");
    body["input_reference"] = json!({"image_url": url});
    body
}

/// The sweep removes what no row names and is old: an image must be young until the job that was promised it names it.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_there_already_is_young_again() {
    const OLD: Duration = Duration::from_secs(30 * 86_400);
    let server = Server::start().await;
    let body = with_url(&format!("data:image/png;base64,{}", base64(&png())));
    let create = async || {
        assert_eq!(server.post("/v1/videos").json(&body).send().await.unwrap().status().as_u16(), 200);
        let inputs = std::fs::read_dir(server.artifacts().join("1/inputs")).unwrap();
        let mut inputs: Vec<_> = inputs.map(|file| file.unwrap().path()).collect();
        assert_eq!(inputs.len(), 1, "the same image is kept once: {inputs:?}");
        inputs.remove(0)
    };
    let image = create().await;
    let now = u64::try_from(SystemClock.now().as_micros()).unwrap();
    let before = SystemTime::UNIX_EPOCH + Duration::from_micros(now) - OLD;
    std::fs::File::options().write(true).open(&image).unwrap().set_modified(before).unwrap();
    assert_eq!(create().await, image);
    let age = image.metadata().unwrap().modified().unwrap().elapsed().unwrap_or_default();
    assert!(age < OLD / 2, "{age:?}");
    assert_eq!(std::fs::read(image).unwrap(), png());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn private_addresses_are_refused() {
    let server = Server::start().await;
    let address = images().await;
    for url in [
        format!("http://{address}/first.png"),
        format!("http://localhost:{}/first.png", address.port()),
        format!("http://[::ffff:127.0.0.1]:{}/first.png", address.port()),
        format!("http://0x7f000001:{}/first.png", address.port()),
        format!("http://2130706433:{}/first.png", address.port()),
        format!("http://user:word@{address}/first.png"),
        "http://169.254.169.254/latest/meta-data".to_owned(),
        "http://10.0.0.1/x.png".to_owned(),
        "http://[fd00::1]/x.png".to_owned(),
        "file:///etc/passwd".to_owned(),
        "ftp://example.com/x.png".to_owned(),
    ] {
        let response = server.post("/v1/videos").json(&with_url(&url)).send().await.unwrap();
        assert_eq!(response.status().as_u16(), 400, "{url}");
        let error: Value = response.json().await.unwrap();
        assert_eq!(error["error"]["code"], "input_url_refused", "{url}");
        assert_eq!(error["error"]["param"], "input_reference.image_url");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_allowed_network_is_fetched_from_and_no_other() {
    let server = Server::start_with(|config| {
        config.inputs.allow_networks = vec!["127.0.0.0/8".parse().unwrap()];
        config.limits.max_input_image_bytes = 2_000;
    })
    .await;
    let address = images().await;
    let request = |path: &str| server.post("/v1/videos").json(&with_url(&format!("http://{address}{path}")));
    for path in ["/first.png", "/moved"] {
        let created = request(path).send().await.unwrap();
        assert_eq!(created.status().as_u16(), 200, "{path}");
        let video = server.finished(&created.json().await.unwrap()).await;
        assert_eq!(video["status"], "completed", "{path}: {video}");
    }
    for (path, expected) in [
        ("/loop", "input_url_unreachable"),
        ("/inside", "input_url_refused"),
        ("/metadata", "input_url_refused"),
        ("/file", "input_url_refused"),
        ("/page", "input_image_invalid"),
        ("/gone", "input_url_unreachable"),
        ("/huge", "input_image_too_large"),
    ] {
        assert_eq!(code(request(path)).await, (400, expected.to_owned()), "{path}");
    }
    let listed = server.json("/v1/videos").await;
    assert_eq!(listed["data"].as_array().unwrap().len(), 2, "what was refused left nothing");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_key_does_not_fetch_again() {
    let server = Server::start_with(|config| config.inputs.allow_networks = vec!["127.0.0.0/8".parse().unwrap()]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let router = Router::new().route("/first.png", get(|| async { png() }));
    let serving = tokio::spawn(async move {
        axum::serve(listener, router).with_graceful_shutdown(async move { drop(stopped.await) }).await
    });
    let body = with_url(&format!("http://{address}/first.png"));
    let keyed = || server.post("/v1/videos").header("idempotency-key", "link").json(&body).send();
    let first: Value = keyed().await.unwrap().json().await.unwrap();
    serving.abort();
    drop((serving.await, stop));
    let again: Value = keyed().await.unwrap().json().await.unwrap();
    assert_eq!(again["id"], first["id"]);
    server.stop().await;
}
