//! The artifact store on files.

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use longtake_core::artifact::{ArtifactError, ArtifactKey, ArtifactStore};
use longtake_store::artifacts::FileArtifacts;

use crate::given::Folder;

fn key(text: &str) -> ArtifactKey {
    ArtifactKey::from_stored(text)
}

async fn put(store: &FileArtifacts, at: &str, bytes: &[u8]) {
    let mut writer = store.writer(&key(at)).await.unwrap();
    for chunk in bytes.chunks(100_000) {
        writer.write(Bytes::copy_from_slice(chunk)).await.unwrap();
    }
    writer.finish().await.unwrap();
}

fn pattern(length: u32) -> Vec<u8> {
    (0..length).flat_map(u32::to_le_bytes).collect()
}

#[tokio::test]
async fn what_was_written_is_read_in_parts_and_as_a_stream() {
    let folder = Folder::new();
    let store = FileArtifacts::open(folder.path()).unwrap();
    let bytes = pattern(200_000);
    put(&store, "1/video_a/1/0-7", &bytes).await;
    let at = key("1/video_a/1/0-7");
    assert_eq!(store.len(&at).await.unwrap(), 800_000);
    assert_eq!(store.read(&at, 10..30).await.unwrap(), bytes[10..30]);
    assert_eq!(store.read(&at, 799_990..900_000).await.unwrap(), bytes[799_990..]);
    assert_eq!(store.read(&at, 900_000..900_001).await.unwrap(), Bytes::new());
    let chunks: Vec<Bytes> = store.stream(&at, 5..u64::MAX).await.unwrap().try_collect().await.unwrap();
    assert!(chunks.iter().all(|chunk| chunk.len() <= 256 * 1024));
    assert_eq!(chunks.concat(), bytes[5..]);
    put(&store, "1/video_a/1/0-8", b"").await;
    assert_eq!(store.len(&key("1/video_a/1/0-8")).await.unwrap(), 0);
}

#[tokio::test]
async fn nothing_is_visible_before_finish() {
    let folder = Folder::new();
    let store = FileArtifacts::open(folder.path()).unwrap();
    let at = key("1/video_a/1/0-7");
    let mut writer = store.writer(&at).await.unwrap();
    writer.write(Bytes::from_static(b"half")).await.unwrap();
    assert!(matches!(store.len(&at).await, Err(ArtifactError::NotFound)));
    assert!(store.older_than(Duration::ZERO, None, 10).await.unwrap().is_empty());
    std::mem::forget(writer);
    // Where others write too, it may be theirs.
    drop(FileArtifacts::open_shared(folder.path()).unwrap());
    assert_eq!(std::fs::read_dir(folder.path().join("1/video_a/1")).unwrap().count(), 1);
    // What a crash left is gone after the next start.
    let store = FileArtifacts::open(folder.path()).unwrap();
    let left = std::fs::read_dir(folder.path().join("1/video_a/1")).unwrap().count();
    assert_eq!(left, 0);
    assert!(matches!(store.read(&at, 0..1).await, Err(ArtifactError::NotFound)));
}

#[tokio::test]
async fn a_deleted_object_is_gone_and_may_be_deleted_again() {
    let folder = Folder::new();
    let store = FileArtifacts::open(folder.path()).unwrap();
    put(&store, "1/a", b"x").await;
    let stream = store.stream(&key("1/a"), 0..1).await.unwrap();
    store.delete(&key("1/a")).await.unwrap();
    store.delete(&key("1/a")).await.unwrap();
    assert!(matches!(store.len(&key("1/a")).await, Err(ArtifactError::NotFound)));
    let read: Vec<Bytes> = stream.try_collect().await.unwrap();
    assert_eq!(read.concat(), b"x", "who had begun to read it reads it to the end");
}

#[tokio::test]
async fn a_key_leads_nowhere_else() {
    let folder = Folder::new();
    let store = FileArtifacts::open(&folder.path().join("artifacts")).unwrap();
    std::fs::write(folder.path().join("secret"), "x").unwrap();
    for wrong in ["../secret", "/etc/passwd", "a/../../secret", "", "a//b", "a/./b", ".hidden", "A", "a#1", "a\0b"] {
        assert!(matches!(store.len(&key(wrong)).await, Err(ArtifactError::Other(_))), "{wrong:?}");
        assert!(store.writer(&key(wrong)).await.is_err(), "{wrong:?}");
        assert!(store.delete(&key(wrong)).await.is_err(), "{wrong:?}");
    }
}

#[tokio::test]
async fn old_objects_are_listed_in_order_page_by_page() {
    let folder = Folder::new();
    let store = FileArtifacts::open(folder.path()).unwrap();
    // A dash and a dot sort before the slash.
    let mut keys = ["1/b/0-1", "1/b/0-1.thumbnail.webp", "1/b-c", "1/b.d/x", "1/a", "2/z", "1/inputs/ff"];
    for at in keys {
        put(&store, at, b"x").await;
    }
    keys.sort_unstable();
    let mut seen = Vec::new();
    loop {
        let page = store.older_than(Duration::ZERO, seen.last(), 2).await.unwrap();
        if page.is_empty() {
            break;
        }
        assert!(page.len() <= 2);
        seen.extend(page);
    }
    assert_eq!(seen.iter().map(ArtifactKey::as_str).collect::<Vec<_>>(), keys);
    assert!(store.older_than(Duration::from_secs(3_600), None, 10).await.unwrap().is_empty());
    assert!(store.free_bytes().await.unwrap() > 0);
}

#[tokio::test]
async fn a_writer_that_is_dropped_leaves_nothing() {
    let folder = Folder::new();
    let store = FileArtifacts::open(folder.path()).unwrap();
    let mut writer = store.writer(&key("1/a")).await.unwrap();
    writer.write(Bytes::from_static(b"half")).await.unwrap();
    drop(writer);
    let bound = std::iter::repeat_n((), 1_000);
    for () in bound {
        if std::fs::read_dir(folder.path().join("1")).unwrap().count() == 0 {
            return;
        }
        tokio::task::yield_now().await;
        tokio::task::spawn_blocking(std::thread::yield_now).await.unwrap();
    }
    panic!("the unfinished file is still there");
}
