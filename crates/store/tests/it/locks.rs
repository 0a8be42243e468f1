//! The lock on a data directory.

use std::os::unix::fs::PermissionsExt;

use longtake_store::lock::{DataDirLock, LockError};

use crate::given::Folder;

#[test]
fn one_holder_at_a_time_and_the_other_reads_its_note() {
    let folder = Folder::new();
    let data = folder.path().join("deep/data");
    let lock = DataDirLock::acquire(&data, r#"{"pid":1}"#).unwrap();
    lock.write_note(r#"{"pid":1,"address":"127.0.0.1:8080"}"#).unwrap();
    lock.write_note(r#"{"pid":2}"#).unwrap();
    match DataDirLock::acquire(&data, "mine") {
        Err(LockError::Held { note }) => assert_eq!(note, r#"{"pid":2}"#),
        other => panic!("{other:?}"),
    }
    drop(lock);
    DataDirLock::acquire(&data, "mine").unwrap();
    assert_eq!(std::fs::read_to_string(data.join("lock")).unwrap(), "mine");
}

#[test]
fn only_the_owner_reads_the_directory() {
    let folder = Folder::new();
    let data = folder.path().join("data");
    let _lock = DataDirLock::acquire(&data, "").unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&data), mode(&data.join("lock"))), (0o700, 0o600));
}

#[test]
fn a_directory_that_cannot_be_made_is_told() {
    let folder = Folder::new();
    std::fs::write(folder.path().join("file"), "").unwrap();
    let refused = DataDirLock::acquire(&folder.path().join("file/data"), "");
    assert!(matches!(refused, Err(LockError::Io(_))), "{refused:?}");
}
