//! Folders of clusters: on a RAM disk where there is one, copied from one initialised data directory.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::install::{installation, run};

const RAM_DISK: &str = "/dev/shm";
/// A container's RAM disk has 64 MB by default; a cluster with its log needs more.
const RAM_DISK_BYTES: u64 = 2 << 30;
/// Part of the folder's name; to be raised when [`template`] makes another data directory.
const FORMAT: u32 = 1;

/// Where files of clusters go that were given no folder.
pub(super) fn fast_folder() -> PathBuf {
    let room = rustix::fs::statvfs(RAM_DISK).map(|disk| disk.f_bavail * disk.f_frsize);
    if room.is_ok_and(|bytes| bytes >= RAM_DISK_BYTES) { RAM_DISK.into() } else { std::env::temp_dir() }
}

/// A new folder for one cluster below `parent`, with an initialised `data` inside.
pub(super) fn new_cluster(parent: &Path) -> PathBuf {
    let folder = new_folder(parent);
    let data = folder.join("data");
    run(installation().as_server_user(Path::new("cp")).arg("-R").arg("-p").arg(template()).arg(&data));
    folder
}

/// A new, empty folder of the server's user below `parent`.
pub(super) fn new_folder(parent: &Path) -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let parent = parent.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", parent.display()));
    let folder = parent.join(format!("longtake-pg-{}-{number}", std::process::id()));
    // What a dead process with our pid may have left.
    let _nothing_there = std::fs::remove_dir_all(&folder);
    installation().make_folder(&folder);
    folder
}

/// The folder that all test processes of this user share: the template, and the locks of the shared server.
pub(super) fn common_folder() -> PathBuf {
    let (user, major) = (rustix::process::geteuid().as_raw(), installation().major);
    let folder = std::env::temp_dir().join(format!("longtake-postgres-{user}-{major}-{FORMAT}"));
    std::fs::create_dir_all(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    folder.canonicalize().expect("a folder that was just made has a path")
}

/// The file, locked by this process alone until it is dropped.
pub(super) fn locked(path: &Path) -> File {
    let file = open_lock(path);
    file.lock().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    file
}

/// A file to lock.
pub(super) fn open_lock(path: &Path) -> File {
    let file = File::options().create(true).append(true).open(path);
    file.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The data directory that every cluster begins as. `initdb` takes most of a second: it runs once per machine.
fn template() -> PathBuf {
    let common = common_folder();
    let _one_process_makes_it = locked(&common.join("template.lock"));
    let template = common.join("template");
    let data = template.join("data");
    let complete = template.join("complete");
    if !complete.is_file() {
        let _half_made = std::fs::remove_dir_all(&template);
        installation().make_folder(&template);
        let options = ["--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C"];
        run(installation().command("initdb").args(options).arg("--pgdata").arg(&data));
        std::fs::write(&complete, "").unwrap_or_else(|error| panic!("{}: {error}", complete.display()));
    }
    data
}
