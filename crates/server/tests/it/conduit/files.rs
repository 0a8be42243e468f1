//! 12: media and downloads.

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::{Client, answer, both, small, stranger, video_of};
use crate::app::{Server, sha256_hex};

/// A completed task's file: its name and bytes.
async fn file(client: Client<'_>) -> (String, Vec<u8>) {
    let task = client.task(&small("file [sandbox duration=1ms]")).await;
    let key = client.key_of(&task).await;
    let path = format!("/v1/videos/{}/content", video_of(&task)["id"].as_str().unwrap());
    let bytes = client.server.get(&path).send().await.unwrap().bytes().await.unwrap().to_vec();
    (key, bytes)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_the_bytes_asked_for_d() {
    let server = Server::start().await;
    for client in both(&server) {
        let (key, whole) = file(client).await;
        let len = whole.len();
        let (media, download) = (format!("/media/{key}"), format!("/downloads/{key}"));
        let fetch = async |path: &str, range: &str| {
            let request = client.get(path);
            let request = if path.starts_with("/media") { request.anonymous() } else { request };
            request.header("range", range).send().await.unwrap()
        };
        for path in [&media, &download] {
            for (range, first, last) in [
                ("bytes=0-0".to_owned(), 0, 0),
                ("bytes=10-19".to_owned(), 10, 19),
                // The three that Conduit gets wrong: a suffix, an open end, an end behind the last byte.
                ("bytes=-500".to_owned(), len - 500, len - 1),
                ("bytes=500-".to_owned(), 500, len - 1),
                (format!("bytes=5-{}", 2 * len), 5, len - 1),
            ] {
                let part = fetch(path, &range).await;
                assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT, "{range}");
                assert_eq!(text(part.headers(), "content-range"), format!("bytes {first}-{last}/{len}"), "{range}");
                assert_eq!(part.bytes().await.unwrap(), whole[first..=last], "{range}");
            }
            let outside = fetch(path, &format!("bytes={len}-")).await;
            assert_eq!(outside.status(), StatusCode::RANGE_NOT_SATISFIABLE);
            assert_eq!(text(outside.headers(), "content-range"), format!("bytes */{len}"));
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn media_is_for_whoever_has_its_name() {
    let server = Server::start().await;
    for client in both(&server) {
        let (key, whole) = file(client).await;
        let path = format!("/media/{key}");
        let response = client.get(&path).anonymous().send().await.unwrap();
        assert_eq!(response.status(), 200);
        let headers = response.headers().clone();
        assert_eq!(text(&headers, "content-type"), "video/mp4");
        assert_eq!(text(&headers, "cache-control"), "public, max-age=3600");
        assert_eq!(text(&headers, "accept-ranges"), "bytes");
        assert_eq!(text(&headers, "access-control-allow-origin"), "*");
        assert_eq!(text(&headers, "access-control-allow-methods"), "GET, HEAD, OPTIONS");
        assert!(text(&headers, "access-control-allow-headers").contains("Range"));
        let etag = text(&headers, "etag").to_owned();
        assert_eq!(etag, format!("\"{}\"", sha256_hex(&whole)));
        assert_eq!(response.bytes().await.unwrap(), whole);
        let known = client.get(&path).anonymous().header("if-none-match", &etag).send().await.unwrap();
        assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
        let head = server.head(&format!("{}{path}", client.prefix)).anonymous().send().await.unwrap();
        assert_eq!(
            (head.status().as_u16(), text(head.headers(), "content-length")),
            (200, whole.len().to_string().as_str())
        );
        let asked = reqwest::Client::builder().no_proxy().build().unwrap();
        let asked = asked.request(reqwest::Method::OPTIONS, format!("{}{}{path}", server.base, client.prefix));
        let asked = asked.header("origin", "https://page.example").send().await.unwrap();
        assert_eq!((asked.status().as_u16(), text(asked.headers(), "access-control-allow-origin")), (204, "*"));

        // d: a name cannot be guessed, not even from another one, and no other part of it can be changed.
        let (stem, signature) = key.strip_suffix(".mp4").unwrap().rsplit_once('-').unwrap();
        assert_eq!(signature.len(), 32);
        let flipped = if signature.starts_with('0') { "1" } else { "0" };
        for wrong in [
            format!("{stem}-{flipped}{}.mp4", &signature[1..]),
            format!("{stem}.mp4"),
            format!("{stem}-.mp4"),
            key.replace("/1-", "/2-"),
            key.replace("video/20", "video/19"),
            key.replace(".mp4", ".webm"),
            key.to_uppercase(),
            format!("{key}/x"),
            "https://example.com/x.mp4".to_owned(),
            "%ff".to_owned(),
        ] {
            for room in ["media", "downloads", "media/info", "downloads/metadata"] {
                let (status, told) = answer(client.get(&format!("/{room}/{wrong}"))).await;
                assert_eq!(status, 404, "{room} {wrong} {told}");
                assert!(told.to_string().contains("not_found"), "{told}");
            }
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_of_a_file_is_for_its_owner_d() {
    let server = Server::start().await;
    let other = stranger(&server).await;
    for client in both(&server) {
        let (key, whole) = file(client).await;
        let (_, info) = answer(client.get(&format!("/media/info/{key}"))).await;
        assert_eq!(
            (&info[client.name("storage_key")], &info[client.name("media_type")]),
            (&json!(key), &json!("Video"))
        );
        assert_eq!(info[client.name("size_bytes")], whole.len());
        assert!(info[client.name("created_at")].is_string());
        let (_, metadata) = answer(client.get(&format!("/downloads/metadata/{key}"))).await;
        assert_eq!(metadata[client.name("size_bytes")], whole.len());
        assert_eq!(metadata["etag"], format!("\"{}\"", sha256_hex(&whole)));
        assert_eq!(metadata[client.name("supports_range_requests")], true);
        for path in ["/media/info", "/downloads/metadata", "/downloads"] {
            let path = format!("{path}/{key}");
            assert_eq!(answer(client.get(&path).bearer_auth(&other)).await.0, 404, "{path}");
            assert_eq!(answer(client.get(&path).anonymous()).await.0, 401, "{path}");
        }
        let link = client.post("/downloads/generate-url").bearer_auth(&other).json(&json!({"file_id": key}));
        assert_eq!(answer(link).await.0, 404);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn downloads_are_saved_or_shown() {
    let server = Server::start().await;
    for client in both(&server) {
        let (key, whole) = file(client).await;
        let name = key.rsplit('/').next().unwrap();
        for (query, manner) in [("", "attachment"), ("?inline=false", "attachment"), ("?inline=true", "inline")] {
            let response = client.get(&format!("/downloads/{key}{query}")).send().await.unwrap();
            assert_eq!(response.status(), 200);
            let headers = response.headers().clone();
            assert_eq!(text(&headers, "content-disposition"), format!("{manner}; filename=\"{name}\""));
            assert_eq!(text(&headers, "cache-control"), "private, max-age=3600");
            assert!(!headers.contains_key("access-control-allow-origin"));
            assert_eq!(response.bytes().await.unwrap(), whole);
        }
        let head = server.head(&format!("{}/downloads/{key}", client.prefix)).send().await.unwrap();
        assert_eq!(
            (head.status().as_u16(), text(head.headers(), "content-length")),
            (200, whole.len().to_string().as_str())
        );
        assert_eq!(answer(client.get(&format!("/downloads/{key}?inline=maybe"))).await.0, 400);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_works_without_a_key_until_it_is_over() {
    let server = Server::start().await;
    for client in both(&server) {
        let (key, whole) = file(client).await;
        let wish = match client.is_a() {
            true => json!({"fileId": key, "expirationMinutes": 5}),
            false => json!({"file_id": key, "expiration_minutes": 5}),
        };
        let (status, link) = answer(client.post("/downloads/generate-url").json(&wish)).await;
        assert_eq!(status, 200, "{link}");
        assert_eq!(link["expiration_minutes"], 5);
        assert!(link["expires_at"].is_string());
        let url = link["url"].as_str().unwrap().strip_prefix(&server.base).unwrap();
        let response = server.get(url).anonymous().send().await.unwrap();
        assert_eq!(response.status(), 200, "{url}");
        assert_eq!(response.bytes().await.unwrap(), whole);
        assert_eq!(server.head(url).anonymous().send().await.unwrap().status(), 200);
        let part = server.get(url).anonymous().header("range", "bytes=-3").send().await.unwrap();
        assert_eq!(part.bytes().await.unwrap(), whole[whole.len() - 3..]);

        let wrong = url.replace("signature=", "signature=9");
        let (status, told) = answer(server.get(&wrong).anonymous()).await;
        assert!(status == 403 || status == 404, "{told}");

        for (wish, status) in [
            (json!({}), 400),
            (json!({"file_id": key, "expiration_minutes": 0}), 400),
            (json!({"file_id": key, "expiration_minutes": 10_081}), 400),
            (json!({"file_id": "https://example.com/x.mp4"}), 404),
        ] {
            assert_eq!(answer(client.post("/downloads/generate-url").json(&wish)).await.0, status, "{wish}");
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_gone_is_not_found() {
    let server = Server::start().await;
    for client in both(&server) {
        let task = client.task(&small("gone [sandbox duration=1ms]")).await;
        let key = client.key_of(&task).await;
        let soon = Duration::from_micros(1);
        let keep =
            longtake_core::retention::Keep { artifacts: Some(soon), ..longtake_core::retention::Keep::default() };
        longtake_testing::wait_until("its bytes are removed", super::BOUND, async || {
            server.expire(keep).await;
            answer(client.get(&format!("/media/{key}")).anonymous()).await.0 == 404
        })
        .await;
        let done = client.status(&task).await;
        assert_eq!(done["status"], "completed", "the task is still what it was");
        assert!(done.get("videoResponse").is_none_or(Value::is_null) && done.get("result").is_none_or(Value::is_null));
        for path in ["/downloads", "/media/info", "/downloads/metadata"] {
            assert_eq!(answer(client.get(&format!("{path}/{key}"))).await.0, 404, "{path}");
        }
        let gone = server.delete(&format!("/v1/videos/{}", video_of(&task)["id"].as_str().unwrap()));
        assert_eq!(answer(gone).await.0, 200);
        assert_eq!(answer(client.get(&format!("/tasks/{task}"))).await.0, 404);
    }
    server.stop().await;
}
