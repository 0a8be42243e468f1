//! The artifact store on S3: what is only true of buckets, and of networks.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use longtake_core::artifact::{ArtifactError, ArtifactKey, ArtifactStore, LinkAnswer};
use longtake_core::id::{AttemptNo, Fence, JobId, ProjectId};
use longtake_store::artifacts::bucket::BucketArtifacts;
use longtake_store::artifacts::cloud::Encryption;
use longtake_testing::proxy::{Behaviour, Proxy};
use longtake_testing::s3::{BUCKET, TestS3};
use longtake_testing::wait_until;

use crate::artifact_suite::{all_of, bucket, key, options, pattern, put};

const BOUND: Duration = Duration::from_secs(20);
const ANSWER: LinkAnswer<'_> = LinkAnswer { media_type: "video/mp4", file_name: "video_1.mp4" };

/// A bucket behind a proxy that can be cut.
fn through(proxy: &Proxy) -> BucketArtifacts {
    BucketArtifacts::open(&options(&proxy.url(), &format!("s3://{BUCKET}/far"))).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_is_dropped_leaves_no_parts() {
    let s3 = TestS3::start();
    let store = bucket(&s3);
    let mut writer = store.writer(&key("1/a")).await.unwrap();
    writer.write(Bytes::from(vec![1; 20 << 20])).await.unwrap();
    wait_until("parts arrive", BOUND, async || s3.parts() > 0).await;
    drop(writer);
    wait_until("parts are removed", BOUND, async || s3.parts() == 0).await;
    assert!(s3.objects().is_empty());
    put(&store, "1/a", &pattern(5 << 20)).await;
    assert_eq!(s3.parts(), 0, "a finished object has no parts left");
}

/// Of a bucket with files of others, below a prefix of ours (`our/prefix`), beside it and where there is none.
pub async fn lists_only_what_is_ours(open: impl Fn(&str) -> BucketArtifacts, put_past_us: impl Fn(&str, &[u8])) {
    let ours = ArtifactKey::output(ProjectId(1), JobId::from_bytes([1; 16]), AttemptNo(1), 0, Fence(1));
    let store = open("/our/prefix");
    put(&store, ours.as_str(), b"x").await;
    put(&open("/our/prefix-2"), ours.as_str(), b"x").await;
    put_past_us("our/prefix/1/00/report.csv", b"another's");
    put_past_us("our/prefix/notes.txt", b"another's");
    put_past_us("else/1/01/video_1", b"another's");
    assert!(store.older_than(Duration::ZERO, None, 100).await.is_err(), "nobody said whose it is");
    assert!(store.belongs_to("a").await.unwrap());
    assert_eq!(store.older_than(Duration::ZERO, None, 100).await.unwrap(), std::slice::from_ref(&ours));
    assert!(!open("/our/prefix").belongs_to("b").await.unwrap());
    let whole = open("");
    assert!(whole.belongs_to("a").await.unwrap());
    assert!(whole.older_than(Duration::ZERO, None, 100).await.unwrap().is_empty(), "none has the shape of a key");
    put(&whole, ours.as_str(), b"x").await;
    assert_eq!(whole.older_than(Duration::ZERO, None, 100).await.unwrap(), [ours]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ours_is_never_listed() {
    let s3 = TestS3::start();
    let open = |prefix: &str| BucketArtifacts::open(&options(&s3.url(), &format!("s3://{BUCKET}{prefix}"))).unwrap();
    lists_only_what_is_ours(open, |key, bytes| s3.put(key, bytes)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_place_belongs_to_one_installation() {
    let s3 = TestS3::start();
    let store = bucket(&s3);
    assert!(store.belongs_to("installation a").await.unwrap(), "nobody's becomes ours");
    assert!(store.belongs_to("installation a").await.unwrap());
    let other = bucket(&s3);
    assert!(!other.belongs_to("installation b").await.unwrap());
    let listed = other.older_than(Duration::ZERO, None, 1).await;
    assert!(listed.unwrap_err().to_string().contains("belongs to another installation"));
    assert_eq!(s3.objects(), ["our/prefix/longtake-installation.txt"]);
}

/// Puts `1/a`, and reads it over connections that die after a megabyte each: four times for four of them.
pub async fn reads_on_where_it_broke_off(store: &BucketArtifacts, proxy: &Proxy) {
    let bytes = pattern(1 << 20);
    put(store, "1/a", &bytes).await;
    proxy.set(Behaviour { cut_after_received: Some(1_100_000), ..Behaviour::default() });
    proxy.cut_all();
    assert!(all_of(store, "1/a").await == bytes);
    assert!(proxy.accepted() >= 4, "{}", proxy.accepted());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_goes_on_where_it_broke_off() {
    let s3 = TestS3::start();
    let proxy = Proxy::start(s3.address());
    let store = through(&proxy);
    reads_on_where_it_broke_off(&store, &proxy).await;
    proxy.set(Behaviour { cut_after_received: Some(100), ..Behaviour::default() });
    proxy.cut_all();
    let read = store.read(&key("1/a"), 0..4_000_000).await;
    assert!(matches!(read, Err(ArtifactError::Unavailable(_))), "{read:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_an_error_where_the_object_is_another_one_now() {
    let s3 = TestS3::start();
    let proxy = Proxy::start(s3.address());
    let store = through(&proxy);
    put(&store, "1/a", &vec![1; 8 << 20]).await;
    proxy.set(Behaviour { cut_after_received: Some(1 << 20), ..Behaviour::default() });
    proxy.cut_all();
    let mut stream = store.stream(&key("1/a"), 0..u64::MAX).await.unwrap();
    assert!(stream.try_next().await.unwrap().is_some());
    put(&bucket_at_far(&s3), "1/a", &vec![2; 8 << 20]).await;
    let rest: Result<Vec<Bytes>, _> = stream.try_collect().await;
    assert!(rest.is_err(), "half of one and half of another");
}

fn bucket_at_far(s3: &TestS3) -> BucketArtifacts {
    BucketArtifacts::open(&options(&s3.url(), &format!("s3://{BUCKET}/far"))).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_survives_connections_that_are_cut() {
    let s3 = TestS3::start();
    let proxy = Proxy::start(s3.address());
    let store = through(&proxy);
    let bytes = pattern(6 << 20);
    let mut writer = store.writer(&key("1/a")).await.unwrap();
    for (n, chunk) in bytes.chunks(1 << 20).enumerate() {
        writer.write(Bytes::copy_from_slice(chunk)).await.unwrap();
        if n % 7 == 6 {
            proxy.cut_all();
        }
    }
    // A part whose connection was cut may not be repeated by the client: then the copy as a whole is.
    if writer.finish().await.is_err() {
        wait_until("parts are removed", BOUND, async || s3.parts() == 0).await;
        put(&store, "1/a", &bytes).await;
    }
    assert!(all_of(&store, "1/a").await == bytes);
    assert_eq!(s3.parts(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_cannot_be_reached_is_unavailable_and_soon_said_so() {
    let s3 = TestS3::start();
    let proxy = Proxy::start(s3.address());
    let store = through(&proxy);
    put(&store, "1/a", b"x").await;
    proxy.set(Behaviour { reset: true, ..Behaviour::default() });
    proxy.cut_all();
    let length = tokio::time::timeout(BOUND, store.len(&key("1/a"))).await.unwrap();
    assert!(matches!(length, Err(ArtifactError::Unavailable(_))), "{length:?}");
    proxy.set(Behaviour::default());
    assert_eq!(store.len(&key("1/a")).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_got_wrong_is_said() {
    let s3 = TestS3::start();
    let missing = BucketArtifacts::open(&options(&s3.url(), "s3://no-such-bucket/x")).unwrap();
    let problem = missing.belongs_to("a").await.unwrap_err();
    assert!(problem.to_string().contains("there is no such bucket"), "{problem}");
    let mut wrong = options(&s3.url(), &format!("s3://{BUCKET}"));
    wrong.secret_access_key = Some("not-the-secret".to_owned().into());
    let problem = BucketArtifacts::open(&wrong).unwrap().belongs_to("a").await.unwrap_err();
    assert!(matches!(problem, ArtifactError::Other(_)), "{problem:?}");
    assert!(problem.to_string().contains("SignatureDoesNotMatch"), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_read_by_anyone_for_a_while() {
    let s3 = TestS3::start();
    let store = bucket(&s3);
    put(&store, "1/a", b"0123456789").await;
    let link = store.link(&key("1/a"), Duration::from_secs(600), &ANSWER).await.unwrap().unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let whole = client.get(&link).send().await.unwrap();
    assert_eq!(whole.status(), 200);
    assert_eq!(whole.headers()["content-type"], "video/mp4");
    assert_eq!(whole.headers()["content-disposition"], "inline; filename=\"video_1.mp4\"");
    assert_eq!(whole.bytes().await.unwrap(), "0123456789");
    let part = client.get(&link).header("range", "bytes=3-5").send().await.unwrap();
    assert_eq!((part.status().as_u16(), part.bytes().await.unwrap()), (206, Bytes::from_static(b"345")));
    let forged = link.replace("prefix/1/a", "prefix/1/b");
    assert_eq!(client.get(&forged).send().await.unwrap().status(), 403);
    let short = store.link(&key("1/a"), Duration::from_secs(1), &ANSWER).await.unwrap().unwrap();
    wait_until("the link ends", BOUND, async || client.get(&short).send().await.unwrap().status() == 403).await;
    assert!(store.link(&key("../x"), Duration::from_secs(1), &ANSWER).await.is_err());
}

/// Answers every request as an S3 that takes anything, and keeps what it was sent, but for the bodies.
fn recorder() -> (String, Arc<Mutex<Vec<String>>>) {
    recorder_that(|_| ())
}

/// The same, which does something before it answers a request.
fn recorder_that(before: impl Fn(&str) + Send + 'static) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let heads = Arc::clone(&seen);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            drop(stream.read_exact(&mut body));
            before(&head);
            let body = match () {
                () if head.starts_with("head") => String::new(),
                () if head.contains("?uploads") => {
                    "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>".to_owned()
                }
                () => "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>".to_owned(),
            };
            heads.lock().unwrap().push(head);
            let answer = format!(
                "HTTP/1.1 200 OK\r\netag: \"e\"\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
                body.len()
            );
            drop(stream.write_all(answer.as_bytes()));
        }
    });
    (url, seen)
}

#[tokio::test(flavor = "multi_thread")]
async fn encryption_is_asked_for_and_bytes_are_signed_with_every_object() {
    let header = "x-amz-server-side-encryption";
    for (encryption, expected) in [
        (None, vec![]),
        (Some(Encryption::Aes256), vec![format!("{header}: aes256")]),
        (Some(Encryption::Kms(None)), vec![format!("{header}: aws:kms")]),
        (
            Some(Encryption::Kms(Some("key-7".to_owned()))),
            vec![format!("{header}: aws:kms"), format!("{header}-aws-kms-key-id: key-7")],
        ),
    ] {
        let (url, seen) = recorder();
        let mut options = options(&url, "s3://videos/p");
        options.encryption.clone_from(&encryption);
        let store = BucketArtifacts::open(&options).unwrap();
        for length in [100, 9 << 20] {
            let mut writer = store.writer(&key("1/a")).await.unwrap();
            writer.write(Bytes::from(vec![1; length])).await.unwrap();
            // The recorder stores nothing, so the length is found wrong in the end.
            drop(writer.finish().await);
        }
        let heads = seen.lock().unwrap().clone();
        let of = |wanted: fn(&str) -> bool| heads.iter().filter(|head| wanted(head)).cloned().collect::<Vec<_>>();
        let begun = of(|head| head.starts_with("put /videos/p/1/a http") || head.contains("?uploads"));
        assert_eq!(begun.len(), 2, "{heads:?}");
        for head in &begun {
            let asked: Vec<&str> = head.lines().filter(|line| line.starts_with(header)).collect();
            assert_eq!(asked, expected, "{encryption:?}");
        }
        for head in of(|head| head.starts_with("put")) {
            let signed = head.lines().find_map(|line| line.strip_prefix("x-amz-content-sha256: "));
            assert_eq!(signed.map(str::len), Some(64), "the digest of what is sent is part of its signature: {head}");
        }
    }
}

/// A recorder that keeps an answer to itself until it is told to give it; and word of its being asked.
fn silent_at(question: fn(&str) -> bool) -> (String, std::sync::mpsc::Receiver<()>, std::sync::mpsc::Sender<()>) {
    let ((tell, asked), (go, wait)) = (std::sync::mpsc::channel(), std::sync::mpsc::channel::<()>());
    let (url, _) = recorder_that(move |head| {
        if question(head) {
            let _test_is_over = (tell.send(()).is_err(), wait.recv().is_err());
        }
    });
    (url, asked, go)
}

/// An upload of two parts, one question of which is answered after so much time, or never.
async fn after(question: fn(&str) -> bool, seconds: u64, answered: bool) -> Result<(), ArtifactError> {
    let (url, asked, go) = silent_at(question);
    let store = BucketArtifacts::open(&options(&url, "s3://videos/p")).unwrap();
    let upload = tokio::spawn(async move {
        let mut writer = store.writer(&key("1/a")).await.unwrap();
        writer.write(Bytes::from(vec![1; 9 << 20])).await.unwrap();
        writer.finish().await
    });
    tokio::task::spawn_blocking(move || asked.recv().unwrap()).await.unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
    // A limit that is over is felt before the answer comes.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    if answered {
        go.send(()).unwrap();
    }
    tokio::time::timeout(BOUND, upload).await.unwrap().unwrap()
}

#[tokio::test]
async fn an_upload_may_take_minutes_to_complete_and_not_to_send() {
    // Some that speak S3 copy all parts before they answer.
    let error = after(|head| head.starts_with("post") && head.contains("?uploadid="), 590, true).await.unwrap_err();
    assert!(error.to_string().contains("the bucket has 0 bytes of"), "the recorder stores nothing: {error}");
    let error = after(|head| head.starts_with("put") && head.contains("partnumber="), 91, false).await.unwrap_err();
    assert!(matches!(error, ArtifactError::Unavailable(_)), "{error}");
}

/// The most memory this process ever had, in KiB.
fn most_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_any_length_passes_with_constant_memory() {
    let mebibytes = std::env::var("LONGTAKE_TEST_BUCKET_MIB").ok().and_then(|text| text.parse().ok()).unwrap_or(400u64);
    let s3 = TestS3::start();
    let store = bucket(&s3);
    put(&store, "1/small", b"so that what a client needs is there").await;
    let before = most_kib();
    let mut writer = store.writer(&key("1/long")).await.unwrap();
    let chunk = Bytes::from(vec![5; 64 << 10]);
    for _ in 0..mebibytes * 16 {
        writer.write(chunk.clone()).await.unwrap();
    }
    writer.finish().await.unwrap();
    let written = most_kib() - before;
    let mut stream = store.stream(&key("1/long"), 0..u64::MAX).await.unwrap();
    let mut read = 0;
    while let Some(chunk) = stream.try_next().await.unwrap() {
        read += chunk.len() as u64;
    }
    assert_eq!(read, mebibytes << 20);
    let most = most_kib() - before;
    println!("{mebibytes} MiB: {} MiB more memory while writing, {} MiB in all", written >> 10, most >> 10);
    assert!(most < 64 << 10, "{written} KiB more while writing {mebibytes} MiB, {most} KiB after reading them");
}
