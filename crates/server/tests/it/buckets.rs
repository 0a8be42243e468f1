//! Videos in a bucket, and links to them: a whole server, a real S3 server and Azure's emulator.

use std::time::Duration;

use longtake::config::Config;
use longtake::config::secret::Secret;
use longtake::config::storage::Serve;
use longtake::wiring;
use longtake_core::retention::Keep;
use longtake_testing::azure::{ACCOUNT, ACCOUNT_KEY, CONTAINER, TestAzure};
use longtake_testing::proxy::{Behaviour, Proxy};
use longtake_testing::s3::{ACCESS_KEY_ID, BUCKET, SECRET_ACCESS_KEY, TestS3};
use longtake_testing::wait_until;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::app::{Server, code, png, sha256_hex, tiny};

const BOUND: Duration = Duration::from_secs(30);
const PREFIX: &str = "prod/videos";

/// Settings for the bucket of a test server, reached at this address.
fn in_bucket(config: &mut Config, url: &str) {
    config.general.artifacts = Some(format!("s3://{BUCKET}/{PREFIX}"));
    config.storage.endpoint = Some(url.to_owned());
    config.storage.access_key_id = Some(Secret::of(ACCESS_KEY_ID));
    config.storage.secret_access_key = Some(Secret::of(SECRET_ACCESS_KEY));
    config.storage.allow_http = true;
}

/// Settings for the container of a test server of Azure.
fn in_container(config: &mut Config, azure: &TestAzure) {
    config.general.artifacts = Some(format!("az://{CONTAINER}/{PREFIX}"));
    config.storage.endpoint = Some(azure.url());
    config.storage.access_key_id = Some(Secret::of(ACCOUNT));
    config.storage.secret_access_key = Some(Secret::of(ACCOUNT_KEY));
    config.storage.allow_http = true;
}

fn plain(policy: Policy) -> Client {
    Client::builder().no_proxy().redirect(policy).timeout(BOUND).build().unwrap()
}

async fn completed(server: &Server, body: &Value) -> (String, Value) {
    let created = server.create(body).await;
    let video = server.finished(&created).await;
    assert_eq!(video["status"], "completed", "{video}");
    (format!("/v1/videos/{}/content", video["id"].as_str().unwrap()), video)
}

/// What lies in the bucket, but for the note of whose it is.
fn videos(s3: &TestS3) -> Vec<String> {
    s3.objects().into_iter().filter(|key| !key.ends_with("longtake-installation.txt")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_video_lives_in_the_bucket_from_create_to_delete() {
    let s3 = TestS3::start();
    let server = Server::start_with(|config| in_bucket(config, &s3.url())).await;
    let mut body = tiny("bucket [sandbox duration=1ms]");
    body["input_reference"] = json!({"image_url": format!("data:image/png;base64,{}", crate::app::base64(&png()))});
    let (path, video) = completed(&server, &body).await;
    let keys = videos(&s3);
    assert_eq!(keys.len(), 2, "{keys:?}");
    assert!(keys.iter().any(|key| *key == format!("{PREFIX}/1/inputs/{}", sha256_hex(&png()))), "{keys:?}");
    let key = keys.iter().find(|key| key.contains("/video_")).unwrap().clone();
    assert_eq!(sha256_hex(&s3.bytes(&key)), video["sha256"].as_str().unwrap());
    assert!(!server.artifacts().exists(), "nothing of it is on this disk");
    // Another process with the same database and bucket goes on from here.
    let server = server.restarted_with(|config| in_bucket(config, &s3.url())).await;
    let bytes = s3.bytes(&key);
    let whole = server.get(&path).send().await.unwrap();
    assert_eq!(whole.headers()["etag"], format!("\"{}\"", video["sha256"].as_str().unwrap()).as_str());
    assert_eq!(whole.bytes().await.unwrap(), bytes);
    let part = server.get(&path).header("range", "bytes=5-99").send().await.unwrap();
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.headers()["content-range"], format!("bytes 5-99/{}", bytes.len()).as_str());
    assert_eq!(part.bytes().await.unwrap(), bytes[5..100]);
    let last = server.get(&path).header("range", "bytes=-7").send().await.unwrap();
    assert_eq!(last.bytes().await.unwrap(), bytes[bytes.len() - 7..]);
    let head = server.head(&path).send().await.unwrap();
    assert_eq!(head.headers()["content-length"], bytes.len().to_string().as_str());
    let thumbnail = server.get(&format!("{path}?variant=thumbnail")).send().await.unwrap();
    assert_eq!(thumbnail.headers()["content-type"], "image/webp");
    assert!(videos(&s3).contains(&format!("{key}.thumbnail.webp")));
    let deleted = server.delete(&format!("/v1/videos/{}", video["id"].as_str().unwrap())).send().await.unwrap();
    assert_eq!(deleted.status(), StatusCode::OK);
    assert_eq!(videos(&s3).len(), 1, "the image stays until the sweep");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_and_the_sweep_leave_what_is_referenced_or_anothers() {
    let s3 = TestS3::start();
    let server = Server::start_with(|config| in_bucket(config, &s3.url())).await;
    let (_, kept) = completed(&server, &tiny("kept [sandbox duration=1ms]")).await;
    let key = videos(&s3).remove(0);
    // What an owner that lost its claim left, and a file of another program.
    let lost = format!("{}9", key);
    s3.put(&lost, b"half");
    s3.put(&format!("{PREFIX}/2/report.csv"), b"another's");
    assert_eq!(server.sweep(Duration::from_secs(3_600)).await, 0, "it is young");
    assert_eq!(server.sweep(Duration::ZERO).await, 1);
    assert_eq!(videos(&s3), [key.clone(), format!("{PREFIX}/2/report.csv")]);
    let keep = Keep { artifacts: Some(Duration::ZERO), ..Keep::default() };
    assert_eq!(server.expire(keep).await.artifacts, 1);
    assert!(!videos(&s3).contains(&key));
    let answer = code(server.get(&format!("/v1/videos/{}/content", kept["id"].as_str().unwrap()))).await;
    assert_eq!(answer, (410, "content_expired".to_owned()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_leads_to_the_bucket_and_keeps_the_range() {
    let s3 = TestS3::start();
    let server = Server::start_with(|config| {
        in_bucket(config, &s3.url());
        config.storage.serve = Serve::Redirect;
    })
    .await;
    let (path, video) = completed(&server, &tiny("redirect [sandbox duration=1ms]")).await;
    let bytes = s3.bytes(&videos(&s3)[0]);
    let ask = |client: &Client| client.get(format!("{}{path}", server.base)).bearer_auth(&server.admin_key);
    let answer = ask(&plain(Policy::none())).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::FOUND);
    assert_eq!(answer.headers()["cache-control"], "private, no-store");
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    assert!(location.starts_with(&s3.url()) && location.contains("X-Amz-Signature="), "{location}");
    assert!(location.contains("X-Amz-Expires=900"), "{location}");
    assert!(!location.contains(SECRET_ACCESS_KEY), "{location}");
    // A client that follows; as browsers and SDKs do, it leaves its key behind.
    let client = plain(Policy::limited(3));
    let whole = ask(&client).send().await.unwrap();
    assert_eq!(whole.headers()["content-type"], "video/mp4");
    let name = format!("inline; filename=\"{}.mp4\"", video["id"].as_str().unwrap());
    assert_eq!(whole.headers()["content-disposition"], name.as_str());
    assert_eq!(whole.bytes().await.unwrap(), bytes);
    let part = ask(&client).header("range", "bytes=1-4").send().await.unwrap();
    assert_eq!(
        (part.status(), part.bytes().await.unwrap().to_vec()),
        (StatusCode::PARTIAL_CONTENT, bytes[1..5].to_vec())
    );
    // Our own command line follows, too.
    let file = std::env::temp_dir().join(format!("longtake-it-redirect-{}.mp4", std::process::id()));
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_longtake"));
    command.args(["--server", &server.base, "videos", "download", video["id"].as_str().unwrap(), "-o"]).arg(&file);
    command.env("LONGTAKE_API_KEY", &server.admin_key);
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
    std::fs::remove_file(&file).unwrap();
    // What needs no bytes is answered here.
    let head = server.head(&path).send().await.unwrap();
    assert_eq!(head.status(), StatusCode::OK);
    assert_eq!(head.headers()["content-length"], bytes.len().to_string().as_str());
    let etag = format!("\"{}\"", video["sha256"].as_str().unwrap());
    let known = server.get(&path).header("if-none-match", &etag).send().await.unwrap();
    assert_eq!(known.status(), StatusCode::NOT_MODIFIED);
    let picture = server.get(&format!("{path}?variant=thumbnail")).send().await.unwrap();
    assert_eq!(picture.status(), StatusCode::OK);
    let answer = code(server.get(&path).header("range", "bytes=99999999-")).await;
    assert_eq!(answer, (416, "range_not_satisfiable".to_owned()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_video_lives_in_a_container_of_azure_and_is_redirected_to() {
    let azure = TestAzure::start();
    let videos = || azure.objects().into_iter().filter(|key| key.contains("/video_")).collect::<Vec<_>>();
    let server = Server::start_with(|config| in_container(config, &azure)).await;
    let (path, video) = completed(&server, &tiny("azure [sandbox duration=1ms]")).await;
    let key = videos().remove(0);
    let bytes = azure.bytes(&key);
    assert!(key.starts_with(&format!("{PREFIX}/1/")), "{key}");
    assert_eq!(sha256_hex(&bytes), video["sha256"].as_str().unwrap());
    assert!(!server.artifacts().exists(), "nothing of it is on this disk");
    let whole = server.get(&path).send().await.unwrap();
    assert_eq!(whole.headers()["etag"], format!("\"{}\"", video["sha256"].as_str().unwrap()).as_str());
    assert_eq!(whole.bytes().await.unwrap(), bytes);
    let part = server.get(&path).header("range", "bytes=-7").send().await.unwrap();
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(part.bytes().await.unwrap(), bytes[bytes.len() - 7..]);
    // Another process with the same database and container redirects there.
    let server = server
        .restarted_with(|config| {
            in_container(config, &azure);
            config.storage.serve = Serve::Redirect;
        })
        .await;
    let ask = |client: &Client| client.get(format!("{}{path}", server.base)).bearer_auth(&server.admin_key);
    let answer = ask(&plain(Policy::none())).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::FOUND);
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    assert!(
        location.starts_with(&azure.url()) && location.contains("&sp=r&") | location.contains("?sp=r&"),
        "{location}"
    );
    assert!(!location.contains(&ACCOUNT_KEY[..20]), "{location}");
    let client = plain(Policy::limited(3));
    let whole = ask(&client).send().await.unwrap();
    assert_eq!(whole.headers()["content-type"], "video/mp4");
    assert_eq!(whole.bytes().await.unwrap(), bytes);
    let part = ask(&client).header("range", "bytes=1-4").send().await.unwrap();
    assert_eq!((part.status().as_u16(), part.bytes().await.unwrap().to_vec()), (206, bytes[1..5].to_vec()));
    // What no row names goes with the sweep, and what the client deletes goes at once.
    azure.put(&format!("{key}9"), b"half");
    azure.put(&format!("{PREFIX}/2/report.csv"), b"another's");
    assert_eq!(server.sweep(Duration::ZERO).await, 1);
    assert_eq!(videos(), [key]);
    server.delete(path.strip_suffix("/content").unwrap()).send().await.unwrap();
    assert_eq!(azure.objects(), [format!("{PREFIX}/2/report.csv"), format!("{PREFIX}/longtake-installation.txt")]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_public_address_is_led_to_unsigned_also_before_files() {
    let server = Server::start_with(|config| {
        config.storage.serve = Serve::Redirect;
        config.storage.public_base_url = longtake::config::public_url::PublicUrl::parse("https://cdn.example.com/v/");
    })
    .await;
    let (path, _) = completed(&server, &tiny("public [sandbox duration=1ms]")).await;
    let client = plain(Policy::none());
    let answer = client.get(format!("{}{path}", server.base)).bearer_auth(&server.admin_key).send().await.unwrap();
    let location = answer.headers()["location"].to_str().unwrap();
    let key = location.strip_prefix("https://cdn.example.com/v/").unwrap();
    assert!(server.artifacts().join(key).is_file(), "{location}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_needs_no_key_and_cannot_be_bent() {
    let server = Server::start().await;
    let (path, video) = completed(&server, &tiny("link [sandbox duration=1ms]")).await;
    let make = async |server: &Server, body: Value| -> Value {
        let answer = server.post(&format!("{path}/link")).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answer.json().await.unwrap()
    };
    let link = make(&server, json!({})).await;
    let url = link["url"].as_str().unwrap();
    assert!(url.starts_with(&format!("{}{path}?", server.base)), "{url}");
    let client = plain(Policy::none());
    let whole = client.get(url).send().await.unwrap();
    assert_eq!(whole.status(), StatusCode::OK);
    assert_eq!(sha256_hex(&whole.bytes().await.unwrap()), video["sha256"].as_str().unwrap());
    let part = client.get(url).header("range", "bytes=0-3").send().await.unwrap();
    assert_eq!((part.status(), part.bytes().await.unwrap().len()), (StatusCode::PARTIAL_CONTENT, 4));
    assert_eq!(client.head(url).send().await.unwrap().status(), StatusCode::OK);
    let picture = make(&server, json!({"variant": "thumbnail", "expires_in_seconds": 604_800})).await;
    let picture_url = picture["url"].as_str().unwrap();
    assert_eq!(client.get(picture_url).send().await.unwrap().headers()["content-type"], "image/webp");
    let expires = link["expires_at"].as_i64().unwrap();
    let other = server.create(&tiny("other")).await["id"].as_str().unwrap().to_owned();
    for bent in [
        url.replace("variant=video", "variant=thumbnail"),
        url.replace(&format!("expires={expires}"), &format!("expires={}", expires + 1)),
        url.replace(video["id"].as_str().unwrap(), &other),
        url.replace("signature=1-", "signature=2-"),
        url.replace("signature=1-", "signature="),
        url[..url.len() - 1].to_owned(),
        url.split("&signature").next().unwrap().to_owned(),
    ] {
        let answer = client.get(&bent).send().await.unwrap();
        let (status, body) = (answer.status(), answer.json::<Value>().await.unwrap());
        assert_eq!((status.as_u16(), body["error"]["code"].as_str()), (403, Some("invalid_link")), "{bent}");
    }
    // It outlives the process, and not its time, and not the video.
    let short = make(&server, json!({"expires_in_seconds": 1})).await["url"].as_str().unwrap().to_owned();
    let over = async || client.get(&short).send().await.unwrap().status() == 403;
    wait_until("the link ends", BOUND, over).await;
    let body: Value = client.get(&short).send().await.unwrap().json().await.unwrap();
    assert_eq!(body["error"]["code"], "link_expired");
    let server = server.restarted().await;
    let moved = url.split_once("/v1/").map(|(_, rest)| format!("{}/v1/{rest}", server.base)).unwrap();
    assert_eq!(client.get(&moved).send().await.unwrap().status(), StatusCode::OK);
    server.delete(path.strip_suffix("/content").unwrap()).send().await.unwrap();
    assert_eq!(client.get(&moved).send().await.unwrap().status(), StatusCode::NOT_FOUND);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_begins_with_the_public_address_and_is_bounded() {
    let server = Server::start_with(|config| {
        config.general.public_url = longtake::config::public_url::PublicUrl::parse("https://video.example.com/api/");
    })
    .await;
    let (path, _) = completed(&server, &tiny("link [sandbox duration=1ms]")).await;
    let answer = server.post(&format!("{path}/link")).send().await.unwrap();
    let link: Value = answer.json().await.unwrap();
    assert_eq!(link["object"], "video.content_link");
    assert!(link["url"].as_str().unwrap().starts_with(&format!("https://video.example.com/api{path}?")), "{link}");
    for (body, expected) in [
        (json!({"expires_in_seconds": 0}), "invalid_value"),
        (json!({"expires_in_seconds": 604_801}), "invalid_value"),
        (json!({"expires_in_seconds": "1h"}), "invalid_type"),
        (json!({"variant": "poster"}), "invalid_value"),
        (json!({"expires": 5}), "unknown_parameter"),
    ] {
        let answer = code(server.post(&format!("{path}/link")).json(&body)).await;
        assert_eq!(answer, (400, expected.to_owned()), "{body}");
    }
    let unfinished = server.create(&tiny("later [sandbox hang]")).await;
    let later = format!("/v1/videos/{}/content/link", unfinished["id"].as_str().unwrap());
    assert_eq!(code(server.post(&later).json(&json!({}))).await, (409, "video_not_ready".to_owned()));
    assert_eq!(code(server.post(&later).json(&json!({})).anonymous()).await, (401, "invalid_api_key".to_owned()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_starts_and_waits_while_its_bucket_is_away() {
    let s3 = TestS3::start();
    let proxy = Proxy::start(s3.address());
    proxy.set(Behaviour { reset: true, ..Behaviour::default() });
    let server = Server::start_with(|config| in_bucket(config, &proxy.url())).await;
    let video = server.create(&tiny("away [sandbox duration=1ms]")).await;
    server.in_state(&video, "storing").await;
    assert_eq!(server.sweep(Duration::ZERO).await, 0, "whose bucket it is, is not known");
    proxy.set(Behaviour::default());
    let video = server.finished(&video).await;
    assert_eq!(video["status"], "completed", "{video}");
    proxy.set(Behaviour { reset: true, ..Behaviour::default() });
    proxy.cut_all();
    let path = format!("/v1/videos/{}/content", video["id"].as_str().unwrap());
    assert_eq!(code(server.get(&path)).await, (503, "store_unavailable".to_owned()));
    proxy.set(Behaviour::default());
    assert_eq!(server.get(&path).send().await.unwrap().status(), StatusCode::OK);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_of_another_installation_or_none_at_all_is_refused_at_start() {
    let s3 = TestS3::start();
    let server = Server::start_with(|config| in_bucket(config, &s3.url())).await;
    let folder = std::env::temp_dir().join(format!("longtake-it-buckets-{}", std::process::id()));
    let refused = async |change: &dyn Fn(&mut Config)| {
        let mut config = Config::in_folder(&folder);
        in_bucket(&mut config, &s3.url());
        change(&mut config);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let error = wiring::start(config, listener).await.err().unwrap();
        error.to_string()
    };
    let problem = refused(&|_| {}).await;
    assert!(problem.contains("belongs to another installation"), "{problem}");
    assert!(problem.contains("artifacts:") && problem.contains("prod/videos/longtake-installation.txt"), "{problem}");
    let problem = refused(&|config| config.general.artifacts = Some("s3://no-such-bucket".to_owned())).await;
    assert!(problem.contains("there is no such bucket"), "{problem}");
    let problem = refused(&|config| config.storage.secret_access_key = Some(Secret::of("another"))).await;
    assert!(problem.contains("SignatureDoesNotMatch") && problem.contains("[storage]"), "{problem}");
    let problem = refused(&|config| config.storage.secret_access_key = Some(Secret::of("env:NO_SUCH_SECRET"))).await;
    assert!(
        problem.contains("[storage] secret_access_key: the environment variable NO_SUCH_SECRET is not set"),
        "{problem}"
    );
    let problem = refused(&|config| config.general.artifacts = Some("az://videos".to_owned())).await;
    assert!(problem.contains("[storage] secret_access_key: is no key of a storage account"), "{problem}");
    assert!(!problem.contains(SECRET_ACCESS_KEY), "{problem}");
    drop(std::fs::remove_dir_all(&folder));
    server.stop().await;
}
