//! Bytes: ranges, conditions, variants.

use reqwest::StatusCode;
use serde_json::Value;

use crate::app::{Server, code, sha256_hex, tiny};

async fn completed(server: &Server) -> (String, Value) {
    let created = server.create(&tiny("bytes [sandbox duration=1ms]")).await;
    let video = server.finished(&created).await;
    assert_eq!(video["status"], "completed", "{video}");
    (format!("/v1/videos/{}/content", video["id"].as_str().unwrap()), video)
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_the_bytes_asked_for() {
    let server = Server::start().await;
    let (path, video) = completed(&server).await;
    let whole = server.get(&path).send().await.unwrap();
    assert_eq!(whole.status(), StatusCode::OK);
    assert_eq!(whole.headers()["accept-ranges"], "bytes");
    assert_eq!(whole.headers()["etag"], format!("\"{}\"", video["sha256"].as_str().unwrap()).as_str());
    let disposition = whole.headers()["content-disposition"].to_str().unwrap().to_owned();
    assert!(disposition.starts_with("inline; filename=\"video_") && disposition.ends_with(".mp4\""), "{disposition}");
    let whole = whole.bytes().await.unwrap();
    let len = whole.len();
    for (range, first, last) in [
        ("bytes=0-0".to_owned(), 0, 0),
        ("bytes=0-99".to_owned(), 0, 99),
        ("bytes=100-".to_owned(), 100, len - 1),
        ("bytes=-7".to_owned(), len - 7, len - 1),
        (format!("bytes={}-", len - 1), len - 1, len - 1),
        (format!("bytes=5-{}", len * 2), 5, len - 1),
        (format!("bytes=-{}", len * 2), 0, len - 1),
    ] {
        let part = server.get(&path).header("range", &range).send().await.unwrap();
        assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT, "{range}");
        assert_eq!(part.headers()["content-range"], format!("bytes {first}-{last}/{len}").as_str(), "{range}");
        assert_eq!(part.headers()["content-length"], (last - first + 1).to_string().as_str(), "{range}");
        assert_eq!(part.bytes().await.unwrap(), whole.slice(first..=last), "{range}");
    }
    for range in ["bytes=0-1,5-6", "bytes=9-3", "lines=1-2", "bytes=x-y"] {
        let response = server.get(&path).header("range", range).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK, "{range}");
        assert_eq!(response.bytes().await.unwrap(), whole, "{range}");
    }
    for range in [format!("bytes={len}-"), "bytes=-0".to_owned(), "bytes=99999999999999999999-".to_owned()] {
        let response = server.get(&path).header("range", &range).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::RANGE_NOT_SATISFIABLE, "{range}");
        assert_eq!(response.headers()["content-range"], format!("bytes */{len}").as_str());
        assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], "range_not_satisfiable");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_and_head() {
    let server = Server::start().await;
    let (path, video) = completed(&server).await;
    let etag = format!("\"{}\"", video["sha256"].as_str().unwrap());
    let send = async |name: &'static str, value: &str| {
        server.get(&path).header(name, value).header("range", "bytes=0-3").send().await.unwrap()
    };
    assert_eq!(send("if-range", &etag).await.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(send("if-range", "\"old\"").await.status(), StatusCode::OK);
    assert_eq!(send("if-match", &etag).await.status(), StatusCode::PARTIAL_CONTENT);
    let other = send("if-match", "\"old\"").await;
    assert_eq!(other.status(), StatusCode::PRECONDITION_FAILED);
    let known = send("if-none-match", &etag).await;
    assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(known.headers()["etag"], etag.as_str());
    assert_eq!(known.bytes().await.unwrap().len(), 0);

    let head = server.head(&path).send().await.unwrap();
    assert_eq!(head.status(), StatusCode::OK);
    assert_eq!(head.headers()["content-length"], video["bytes"].to_string().as_str());
    assert_eq!(head.headers()["etag"], etag.as_str());
    let head = server.head(&path).header("range", "bytes=0-9").send().await.unwrap();
    assert_eq!(head.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(head.headers()["content-length"], "10");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pictures_are_drawn_once_and_served_alike() {
    let server = Server::start().await;
    let (path, _) = completed(&server).await;
    for (variant, kind, magic) in
        [("thumbnail", "image/webp", &b"RIFF"[..]), ("spritesheet", "image/jpeg", &b"\xff\xd8\xff"[..])]
    {
        let url = format!("{path}?variant={variant}");
        let first = server.get(&url).send().await.unwrap();
        assert_eq!(first.status(), StatusCode::OK, "{variant}");
        assert_eq!(first.headers()["content-type"], kind);
        let etag = first.headers()["etag"].to_str().unwrap().to_owned();
        let bytes = first.bytes().await.unwrap();
        assert!(bytes.starts_with(magic), "{variant}");
        assert_eq!(etag, format!("\"{}\"", sha256_hex(&bytes)));
        let again = server.get(&url).send().await.unwrap();
        assert_eq!(again.headers()["etag"], etag.as_str());
        assert_eq!(again.bytes().await.unwrap(), bytes);
        let part = server.get(&url).header("range", "bytes=1-3").send().await.unwrap();
        assert_eq!(part.bytes().await.unwrap(), bytes.slice(1..=3));
    }
    assert_eq!(code(server.get(&format!("{path}?variant=poster"))).await, (400, "invalid_value".to_owned()));
    assert_eq!(code(server.get(&format!("{path}?quality=1"))).await, (400, "unknown_parameter".to_owned()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_video_has_no_bytes() {
    let server = Server::start().await;
    let created = server.create(&tiny("never [sandbox hang]")).await;
    for variant in ["video", "thumbnail", "spritesheet"] {
        let path = format!("/v1/videos/{}/content?variant={variant}", created["id"].as_str().unwrap());
        assert_eq!(code(server.get(&path)).await, (409, "video_not_ready".to_owned()));
    }
    server.stop().await;
}
