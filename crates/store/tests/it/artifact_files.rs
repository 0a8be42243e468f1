//! The artifact store on files: what is only true of files.

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use longtake_core::artifact::{ArtifactError, ArtifactKey, ArtifactStore};
use longtake_store::artifacts::FileArtifacts;

use crate::artifact_suite::{key, put};
use crate::given::Folder;

#[tokio::test]
async fn what_a_crash_left_is_gone_after_the_next_start() {
    let folder = Folder::new();
    let store = FileArtifacts::open(folder.path()).unwrap();
    let at = key("1/video_a/1/0-7");
    let mut writer = store.writer(&at).await.unwrap();
    writer.write(Bytes::from_static(b"half")).await.unwrap();
    assert!(store.older_than(Duration::ZERO, None, 10).await.unwrap().is_empty());
    std::mem::forget(writer);
    // Where others write too, it may be theirs.
    drop(FileArtifacts::open_shared(folder.path()).unwrap());
    assert_eq!(std::fs::read_dir(folder.path().join("1/video_a/1")).unwrap().count(), 1);
    let store = FileArtifacts::open(folder.path()).unwrap();
    let left = std::fs::read_dir(folder.path().join("1/video_a/1")).unwrap().count();
    assert_eq!(left, 0);
    assert!(matches!(store.read(&at, 0..1).await, Err(ArtifactError::NotFound)));
}

#[tokio::test]
async fn who_had_begun_to_read_it_reads_it_to_the_end() {
    let folder = Folder::new();
    let store = FileArtifacts::open(folder.path()).unwrap();
    put(&store, "1/a", b"x").await;
    let stream = store.stream(&key("1/a"), 0..1).await.unwrap();
    store.delete(&key("1/a")).await.unwrap();
    let read: Vec<Bytes> = stream.try_collect().await.unwrap();
    assert_eq!(read.concat(), b"x");
}

#[tokio::test]
async fn a_key_leads_to_no_other_file() {
    let folder = Folder::new();
    let store = FileArtifacts::open(&folder.path().join("artifacts")).unwrap();
    std::fs::write(folder.path().join("secret"), "x").unwrap();
    for wrong in ["../secret", "/etc/passwd"] {
        assert!(matches!(store.len(&key(wrong)).await, Err(ArtifactError::Other(_))), "{wrong:?}");
    }
}

#[tokio::test]
async fn any_files_are_listed_in_the_order_of_their_keys() {
    let folder = Folder::new();
    let store = FileArtifacts::open(folder.path()).unwrap();
    // A dash and a dot sort before the slash.
    let mut keys = ["1/b/0-1", "1/b/0-1.thumbnail.webp", "1/b-c", "1/b.d/x", "1/a", "2/z", "1/inputs/ff"];
    for at in keys {
        put(&store, at, b"x").await;
    }
    keys.sort_unstable();
    let mut seen: Vec<ArtifactKey> = Vec::new();
    loop {
        let page = store.older_than(Duration::ZERO, seen.last(), 2).await.unwrap();
        if page.is_empty() {
            break;
        }
        seen.extend(page);
    }
    assert_eq!(seen.iter().map(ArtifactKey::as_str).collect::<Vec<_>>(), keys);
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
