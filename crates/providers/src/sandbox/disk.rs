//! The sandbox's ledger: one JSON file per job, durable before the job is accepted; beside it its input and its video.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

/// Entries looked at in one sweep.
const MAX_SWEPT: usize = 20_000;
/// A fetched job is forgotten after this, in microseconds: one hour.
const KEPT_AFTER_FETCH_MICROS: i64 = 3_600 * 1_000_000;
/// Every job is forgotten after this, in microseconds: eight days, one beyond the time a late attempt is watched.
const KEPT_MICROS: i64 = 8 * 24 * 3_600 * 1_000_000;

/// What is kept of one accepted job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// The public id of the video.
    pub(super) job: String,
    /// Which attempt of it.
    pub(super) attempt: u16,
    /// With its orders.
    pub(super) prompt: String,
    pub(super) seconds: u32,
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) fps: u32,
    /// An input image lies beside it.
    pub(super) has_input: bool,
    /// In microseconds, as all times here.
    pub(super) accepted_at: i64,
    /// When it was canceled.
    #[serde(default)]
    pub(super) stopped_at: Option<i64>,
    /// When its rendering ended.
    #[serde(default)]
    pub(super) rendered_at: Option<i64>,
    /// When its video was first opened.
    #[serde(default)]
    pub(super) fetched_at: Option<i64>,
}

/// The folder with all of it.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
}

impl Folder {
    /// Nothing is made before the first job is.
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn file(&self, name: &str, end: &str) -> PathBuf {
        self.path.join(format!("{name}.{end}"))
    }

    /// Where a job's video lies once it is rendered.
    pub(super) fn video(&self, name: &str) -> PathBuf {
        self.file(name, "mp4")
    }

    /// The job by this name.
    pub(super) fn load(&self, name: &str) -> io::Result<Option<Entry>> {
        match fs::read(self.file(name, "json")) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The input image of a job.
    pub(super) fn input(&self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.file(name, "input"))
    }

    /// Accepts a job: on return it outlives a power cut.
    pub(super) fn accept(&self, name: &str, entry: &Entry, input: Option<&[u8]>) -> io::Result<()> {
        fs::create_dir_all(&self.path)?;
        if let Some(bytes) = input {
            self.replace(&self.file(name, "input"), bytes)?;
        }
        self.save(name, entry)?;
        // The folder itself may be new.
        if let Some(parent) = self.path.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(())
    }

    /// Replaces what is kept of a job.
    pub(super) fn save(&self, name: &str, entry: &Entry) -> io::Result<()> {
        let bytes = serde_json::to_vec(entry).map_err(io::Error::other)?;
        self.replace(&self.file(name, "json"), &bytes)
    }

    /// Puts a rendered video in its place, whole or not at all.
    pub(super) fn put_video(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.replace(&self.video(name), bytes)
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        static WRITES: AtomicU64 = AtomicU64::new(0);
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(format!(".{}-{}.tmp", std::process::id(), WRITES.fetch_add(1, Ordering::Relaxed)));
        let mut file = File::create(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(&self.path)?.sync_all()
    }

    /// Forgets jobs that were fetched an hour ago or accepted eight days ago; looks at a bounded number of files.
    pub(super) fn sweep(&self, now: i64) -> io::Result<usize> {
        let mut forgotten = 0;
        let names = match fs::read_dir(&self.path) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        for file in names.take(MAX_SWEPT) {
            let path = file?.path();
            if path.extension().is_some_and(|end| end == "tmp") {
                remove_if_older(&path, now.saturating_sub(KEPT_AFTER_FETCH_MICROS))?;
                continue;
            }
            if path.extension().is_none_or(|end| end != "json") {
                continue;
            }
            let Some(name) = path.file_stem().and_then(|stem| stem.to_str()) else { continue };
            let Ok(Some(entry)) = self.load(name) else { continue };
            let fetched = entry.fetched_at.is_some_and(|at| now.saturating_sub(at) > KEPT_AFTER_FETCH_MICROS);
            if fetched || now.saturating_sub(entry.accepted_at) > KEPT_MICROS {
                self.forget(name)?;
                forgotten += 1;
            }
        }
        Ok(forgotten)
    }

    fn forget(&self, name: &str) -> io::Result<()> {
        // The record goes last: until then the rest can be found again.
        for end in ["mp4", "input", "json"] {
            match fs::remove_file(self.file(name, end)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

/// Removes what a crash left half written.
fn remove_if_older(path: &Path, than: i64) -> io::Result<()> {
    let Ok(modified) = fs::metadata(path).and_then(|metadata| metadata.modified()) else { return Ok(()) };
    let age = modified.duration_since(UNIX_EPOCH).map(|since| since.as_micros());
    if age.is_ok_and(|micros| i64::try_from(micros).is_ok_and(|micros| micros < than)) {
        return fs::remove_file(path);
    }
    Ok(())
}
