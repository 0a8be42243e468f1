//! The artifact store on Azure, against the official emulator: what Azure does in its own way.

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use longtake_core::artifact::{ArtifactError, ArtifactStore, LinkAnswer};
use longtake_store::artifacts::bucket::BucketArtifacts;
use longtake_testing::azure::{ACCOUNT, CONTAINER, TestAzure};
use longtake_testing::proxy::{Behaviour, Proxy};
use longtake_testing::wait_until;

use crate::artifact_buckets::{lists_only_what_is_ours, reads_on_where_it_broke_off};
use crate::artifact_suite::{all_of, azure_options, container, key, pattern, put};

const BOUND: Duration = Duration::from_secs(20);
const ANSWER: LinkAnswer<'_> = LinkAnswer { media_type: "video/mp4", file_name: "video_1.mp4" };

/// A container behind a proxy that can be cut.
fn through(proxy: &Proxy) -> BucketArtifacts {
    let url = format!("{}/{ACCOUNT}", proxy.url());
    BucketArtifacts::open(&azure_options(&url, &format!("az://{CONTAINER}/our/prefix"))).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_of_a_dropped_writer_are_seen_by_nobody_and_go_with_the_next_copy() {
    let azure = TestAzure::start();
    let store = container(&azure);
    let at = "our/prefix/1/a";
    let mut writer = store.writer(&key("1/a")).await.unwrap();
    writer.write(Bytes::from(vec![1; 20 << 20])).await.unwrap();
    wait_until("blocks arrive", BOUND, async || azure.parts(at) > 0).await;
    drop(writer);
    assert!(azure.objects().is_empty());
    assert!(matches!(store.len(&key("1/a")).await, Err(ArtifactError::NotFound)));
    store.delete(&key("1/a")).await.unwrap();
    let bytes = pattern(5 << 20);
    put(&store, "1/a", &bytes).await;
    assert!(azure.bytes(at) == bytes);
    assert_eq!(azure.parts(at), 0, "Azure discards what no object was made of");
    store.delete(&key("1/a")).await.unwrap();
    assert!(azure.objects().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_completion_that_comes_late_brings_no_old_bytes_back() {
    let azure = TestAzure::start();
    let store = container(&azure);
    let newer = pattern(5 << 20);
    let mut old = store.writer(&key("1/a")).await.unwrap();
    old.write(Bytes::from(vec![1; 20 << 20])).await.unwrap();
    wait_until("blocks arrive", BOUND, async || azure.parts("our/prefix/1/a") == 2).await;
    put(&store, "1/a", &newer).await;
    let problem = old.finish().await.unwrap_err();
    assert!(problem.to_string().contains("InvalidBlockList"), "{problem}");
    assert!(all_of(&store, "1/a").await == newer);
    // One that comes while the newer copy is on its way takes its blocks away: that one fails, and is made again.
    let mut newer = store.writer(&key("1/b")).await.unwrap();
    let mut old = store.writer(&key("1/b")).await.unwrap();
    for writer in [&mut newer, &mut old] {
        writer.write(Bytes::from(vec![2; 10 << 20])).await.unwrap();
    }
    wait_until("blocks arrive", BOUND, async || azure.parts("our/prefix/1/b") == 2).await;
    old.finish().await.unwrap();
    assert!(newer.finish().await.unwrap_err().to_string().contains("InvalidBlockList"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ours_is_never_listed() {
    let azure = TestAzure::start();
    let open = |prefix: &str| {
        BucketArtifacts::open(&azure_options(&azure.url(), &format!("az://{CONTAINER}{prefix}"))).unwrap()
    };
    lists_only_what_is_ours(open, |key, bytes| azure.put(key, bytes)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_goes_on_where_it_broke_off_unless_it_is_another_object() {
    let azure = TestAzure::start();
    let proxy = Proxy::start(azure.address());
    let store = through(&proxy);
    reads_on_where_it_broke_off(&store, &proxy).await;
    let mut stream = store.stream(&key("1/a"), 0..u64::MAX).await.unwrap();
    assert!(stream.try_next().await.unwrap().is_some());
    put(&container(&azure), "1/a", &pattern(1 << 20)).await;
    let rest: Result<Vec<Bytes>, _> = stream.try_collect().await;
    assert!(rest.is_err(), "half of one and half of another");
    proxy.set(Behaviour { reset: true, ..Behaviour::default() });
    proxy.cut_all();
    let length = tokio::time::timeout(BOUND, store.len(&key("1/a"))).await.unwrap();
    assert!(matches!(length, Err(ArtifactError::Unavailable(_))), "{length:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_operator_got_wrong_is_said() {
    let azure = TestAzure::start();
    let missing = BucketArtifacts::open(&azure_options(&azure.url(), "az://no-such-container/x")).unwrap();
    let problem = missing.belongs_to("a").await.unwrap_err();
    assert!(problem.to_string().contains("there is no such container"), "{problem}");
    let problem = missing.writer(&key("1/a")).await.unwrap().finish().await.unwrap_err();
    assert!(problem.to_string().contains("there is no such container"), "{problem}");
    let mut wrong = azure_options(&azure.url(), &format!("az://{CONTAINER}"));
    wrong.secret_access_key = Some("bm90IHRoZSBrZXk=".to_owned().into());
    let problem = BucketArtifacts::open(&wrong).unwrap().belongs_to("a").await.unwrap_err();
    assert!(matches!(problem, ArtifactError::Other(_)), "{problem:?}");
    assert!(problem.to_string().contains("AuthorizationFailure"), "{problem}");
    wrong.secret_access_key = Some("not base64".to_owned().into());
    let problem = BucketArtifacts::open(&wrong).unwrap_err();
    assert!(problem.contains("Invalid Access Key") && !problem.contains("not base64"), "{problem}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_read_by_anyone_for_a_while() {
    let azure = TestAzure::start();
    let store = container(&azure);
    let long = [b"\0\0\0\x20ftypisom".to_vec(), pattern(5 << 20)].concat();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    for (at, bytes) in [("1/a", long.get(..10).unwrap()), ("1/long", &long)] {
        put(&store, at, bytes).await;
        let link = store.link(&key(at), Duration::from_secs(600), &ANSWER).await.unwrap().unwrap();
        let whole = client.get(&link).send().await.unwrap();
        assert_eq!(whole.status(), 200);
        assert_eq!(whole.headers()["content-type"], "video/mp4", "{at}");
        assert!(whole.bytes().await.unwrap() == bytes);
        let part = client.get(&link).header("range", "bytes=3-5").send().await.unwrap();
        assert_eq!((part.status().as_u16(), part.bytes().await.unwrap()), (206, Bytes::from_static(b"\x20ft")));
        for forged in [link.replace("prefix/1/", "prefix/2/"), link.replace("sp=r", "sp=w")] {
            assert_ne!(forged, link);
            assert_eq!(client.get(&forged).send().await.unwrap().status(), 403);
        }
        assert_eq!(client.delete(&link).send().await.unwrap().status(), 403, "it reads, no more");
    }
    let short = store.link(&key("1/a"), Duration::from_secs(1), &ANSWER).await.unwrap().unwrap();
    wait_until("the link ends", BOUND, async || client.get(&short).send().await.unwrap().status() == 403).await;
}
