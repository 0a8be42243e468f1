//! The contract of artifact stores: every case once on files, once on a real S3 server and once on Azure's emulator.

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use longtake_core::artifact::{ArtifactError, ArtifactKey, ArtifactStore, Digest};
use longtake_core::id::{AttemptNo, Fence, JobId, ProjectId};
use longtake_store::artifacts::FileArtifacts;
use longtake_store::artifacts::bucket::BucketArtifacts;
use longtake_store::artifacts::cloud::{BucketOptions, BucketPlace};
use longtake_testing::azure::{ACCOUNT, ACCOUNT_KEY, CONTAINER, TestAzure};
use longtake_testing::s3::{ACCESS_KEY_ID, BUCKET, SECRET_ACCESS_KEY, TestS3};

use crate::given::Folder;

pub fn key(text: &str) -> ArtifactKey {
    ArtifactKey::from_stored(text)
}

pub async fn put(store: &dyn ArtifactStore, at: &str, bytes: &[u8]) {
    let mut writer = store.writer(&key(at)).await.unwrap();
    for chunk in bytes.chunks(100_000) {
        writer.write(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    writer.finish().await.unwrap();
}

pub async fn all_of(store: &dyn ArtifactStore, at: &str) -> Vec<u8> {
    let chunks: Vec<Bytes> = store.stream(&key(at), 0..u64::MAX).await.unwrap().try_collect().await.unwrap();
    assert!(chunks.iter().all(|chunk| !chunk.is_empty() && chunk.len() <= 256 * 1024));
    chunks.concat()
}

pub fn pattern(words: u32) -> Vec<u8> {
    (0..words).flat_map(u32::to_le_bytes).collect()
}

/// How a bucket of the test server is reached, at this address.
pub fn options(url: &str, place: &str) -> BucketOptions {
    BucketOptions {
        endpoint: Some(url.to_owned()),
        access_key_id: Some(ACCESS_KEY_ID.to_owned()),
        secret_access_key: Some(SECRET_ACCESS_KEY.to_owned().into()),
        allow_http: true,
        ..BucketOptions::new(BucketPlace::parse(place).unwrap().unwrap())
    }
}

/// The bucket of a test server, below a prefix.
pub fn bucket(s3: &TestS3) -> BucketArtifacts {
    BucketArtifacts::open(&options(&s3.url(), &format!("s3://{BUCKET}/our/prefix"))).unwrap()
}

/// How a container of the test server is reached, at this address.
pub fn azure_options(url: &str, place: &str) -> BucketOptions {
    BucketOptions {
        access_key_id: Some(ACCOUNT.to_owned()),
        secret_access_key: Some(ACCOUNT_KEY.to_owned().into()),
        ..options(url, place)
    }
}

/// The container of a test server, below a prefix.
pub fn container(azure: &TestAzure) -> BucketArtifacts {
    BucketArtifacts::open(&azure_options(&azure.url(), &format!("az://{CONTAINER}/our/prefix"))).unwrap()
}

async fn on_files(case: impl AsyncFnOnce(&dyn ArtifactStore)) {
    let folder = Folder::new();
    case(&FileArtifacts::open(folder.path()).unwrap()).await;
}

async fn on_s3(case: impl AsyncFnOnce(&dyn ArtifactStore)) {
    let s3 = TestS3::start();
    let bucket = bucket(&s3);
    assert!(bucket.belongs_to("the suite").await.unwrap());
    case(&bucket).await;
}

async fn on_azure(case: impl AsyncFnOnce(&dyn ArtifactStore)) {
    let azure = TestAzure::start();
    let container = container(&azure);
    assert!(container.belongs_to("the suite").await.unwrap());
    case(&container).await;
}

macro_rules! suite {
    ($($case:ident,)*) => {
        mod files { $(
            #[tokio::test]
            async fn $case() {
                super::on_files(super::$case).await;
            }
        )* }
        mod s3 { $(
            #[tokio::test]
            async fn $case() {
                super::on_s3(super::$case).await;
            }
        )* }
        mod azure { $(
            #[tokio::test]
            async fn $case() {
                super::on_azure(super::$case).await;
            }
        )* }
    };
}

suite! {
    what_was_written_is_read_in_parts_and_as_a_stream,
    an_object_of_many_parts_is_read_as_it_was_written,
    nothing_is_visible_before_finish,
    what_is_written_again_is_the_newer_one,
    a_deleted_object_is_gone_and_may_be_deleted_again,
    a_key_leads_nowhere_else,
    old_objects_are_listed_in_order_page_by_page,
}

async fn what_was_written_is_read_in_parts_and_as_a_stream(store: &dyn ArtifactStore) {
    let bytes = pattern(200_000);
    put(store, "1/video_a/1/0-7", &bytes).await;
    let at = key("1/video_a/1/0-7");
    assert_eq!(store.len(&at).await.unwrap(), 800_000);
    assert_eq!(store.read(&at, 10..30).await.unwrap(), bytes[10..30]);
    assert_eq!(store.read(&at, 0..800_000).await.unwrap(), bytes);
    assert_eq!(store.read(&at, 799_990..900_000).await.unwrap(), bytes[799_990..]);
    assert_eq!(store.read(&at, 800_000..800_001).await.unwrap(), Bytes::new());
    assert_eq!(store.read(&at, 900_000..900_001).await.unwrap(), Bytes::new());
    assert_eq!(store.read(&at, 7..7).await.unwrap(), Bytes::new());
    let chunks: Vec<Bytes> = store.stream(&at, 5..u64::MAX).await.unwrap().try_collect().await.unwrap();
    assert!(chunks.iter().all(|chunk| chunk.len() <= 256 * 1024));
    assert_eq!(chunks.concat(), bytes[5..]);
    put(store, "1/video_a/1/0-8", b"").await;
    assert_eq!(store.len(&key("1/video_a/1/0-8")).await.unwrap(), 0);
    assert_eq!(store.read(&key("1/video_a/1/0-8"), 0..5).await.unwrap(), Bytes::new());
    assert_eq!(all_of(store, "1/video_a/1/0-8").await, b"");
    assert!(matches!(store.read(&key("1/none"), 0..5).await, Err(ArtifactError::NotFound)));
    assert!(matches!(store.stream(&key("1/none"), 0..5).await, Err(ArtifactError::NotFound)));
}

async fn an_object_of_many_parts_is_read_as_it_was_written(store: &dyn ArtifactStore) {
    // Two parts of a bucket and a few bytes; then just two.
    for words in [2 * (2 << 20) + 3, 2 * (2 << 20)] {
        let bytes = pattern(words);
        put(store, "1/long", &bytes).await;
        assert_eq!(store.len(&key("1/long")).await.unwrap(), bytes.len() as u64);
        assert!(all_of(store, "1/long").await == bytes);
        let border = (8 << 20) - 5;
        assert_eq!(store.read(&key("1/long"), border..border + 10).await.unwrap(), bytes[border as usize..][..10]);
    }
}

async fn nothing_is_visible_before_finish(store: &dyn ArtifactStore) {
    let job = JobId::from_bytes([1; 16]);
    let at = ArtifactKey::output(ProjectId(1), job, AttemptNo(1), 0, Fence(7));
    let mut writer = store.writer(&at).await.unwrap();
    writer.write(Bytes::from(vec![7; 9 << 20])).await.unwrap();
    assert!(matches!(store.len(&at).await, Err(ArtifactError::NotFound)));
    assert!(matches!(store.read(&at, 0..1).await, Err(ArtifactError::NotFound)));
    assert!(store.older_than(Duration::ZERO, None, 10).await.unwrap().is_empty());
    writer.finish().await.unwrap();
    assert_eq!(store.len(&at).await.unwrap(), 9 << 20);
    assert_eq!(store.older_than(Duration::ZERO, None, 10).await.unwrap(), [at]);
}

async fn what_is_written_again_is_the_newer_one(store: &dyn ArtifactStore) {
    put(store, "1/a", b"the first").await;
    put(store, "1/a", b"second").await;
    assert_eq!(all_of(store, "1/a").await, b"second");
}

async fn a_deleted_object_is_gone_and_may_be_deleted_again(store: &dyn ArtifactStore) {
    put(store, "1/a", b"x").await;
    store.delete(&key("1/a")).await.unwrap();
    store.delete(&key("1/a")).await.unwrap();
    assert!(matches!(store.len(&key("1/a")).await, Err(ArtifactError::NotFound)));
}

async fn a_key_leads_nowhere_else(store: &dyn ArtifactStore) {
    for wrong in ["../secret", "/etc/passwd", "a/../../secret", "", "a//b", "a/./b", ".hidden", "A", "a#1", "a\0b"] {
        assert!(matches!(store.len(&key(wrong)).await, Err(ArtifactError::Other(_))), "{wrong:?}");
        assert!(store.writer(&key(wrong)).await.is_err(), "{wrong:?}");
        assert!(store.delete(&key(wrong)).await.is_err(), "{wrong:?}");
    }
}

async fn old_objects_are_listed_in_order_page_by_page(store: &dyn ArtifactStore) {
    let output = |project, last, fence| {
        let mut id = [3; 16];
        id[15] = last;
        ArtifactKey::output(ProjectId(project), JobId::from_bytes(id), AttemptNo(1), 0, Fence(fence))
    };
    let video = output(1, 9, 3);
    let mut keys = vec![
        output(2, 1, 1),
        output(12, 1, 1),
        output(1, 0xff, 1),
        ArtifactKey::derived(&video, "thumbnail.webp"),
        output(1, 9, 12),
        ArtifactKey::input(ProjectId(1), &Digest([0xfe; 32])),
        video,
    ];
    for at in &keys {
        put(store, at.as_str(), b"x").await;
    }
    keys.sort_unstable();
    let mut seen = Vec::new();
    for n in (1..=keys.len()).step_by(2) {
        let page = store.older_than(Duration::ZERO, seen.last(), 2).await.unwrap();
        assert_eq!(page.len(), 2.min(keys.len() + 1 - n), "{page:?}");
        seen.extend(page);
    }
    assert!(store.older_than(Duration::ZERO, seen.last(), 2).await.unwrap().is_empty());
    assert_eq!(seen, keys);
    assert!(store.older_than(Duration::from_secs(3_600), None, 10).await.unwrap().is_empty());
    assert!(store.older_than(Duration::ZERO, None, 0).await.unwrap().is_empty());
}
