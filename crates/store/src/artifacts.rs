//! Bytes in files: the artifact store of one machine. [`bucket`] keeps them in object storage.
//!
//! `object_store` writes: to a hidden file beside the place, which is synced, renamed and its folder synced on finish.
//! Reads and listings go chunk by chunk and folder by folder, so memory does not grow with a video or with the store
//! (but for the names of one folder). Absent: encryption; who may see what.

pub mod bucket;
pub mod cloud;
mod upload;

use std::fs::{DirBuilder, File, Metadata};
use std::io::{ErrorKind, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use longtake_core::artifact::{ArtifactError, ArtifactKey, ArtifactStore, ArtifactStream, ArtifactWriter};
use longtake_core::{BoxError, failpoint};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Location;
use object_store::{GetOptions, GetResultPayload, MultipartUpload, ObjectStore, ObjectStoreExt, PutMultipartOptions};

use crate::sqlite::room;

/// Most bytes of one read from a file, so of one chunk of a stream.
const CHUNK_BYTES: u64 = 256 * 1024;
/// Longest key, in bytes.
const MAX_KEY_BYTES: usize = 512;
/// `object_store` puts this into the names of files that are not finished; no key has it.
const UNFINISHED: char = '#';
/// How long an unfinished file of a shared folder is left alone after its last change.
const ABANDONED_AFTER: Duration = Duration::from_secs(24 * 3_600);
/// Deepest folder of a key; below it there is nothing of ours.
const MAX_DEPTH: usize = 16;

/// Objects as files below one folder. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FileArtifacts {
    root: Arc<Path>,
    files: Arc<LocalFileSystem>,
}

impl FileArtifacts {
    /// Opens a folder, making it where it is missing, and removes what a crash left unfinished. Blocks.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open(folder: &Path) -> std::io::Result<Self> {
        Self::open_swept(folder, Duration::ZERO)
    }

    /// The same for a folder in which other processes write at this moment: only what nobody has touched for a day is
    /// taken for unfinished.
    ///
    /// # Errors
    /// The folder cannot be made or read.
    pub fn open_shared(folder: &Path) -> std::io::Result<Self> {
        Self::open_swept(folder, ABANDONED_AFTER)
    }

    fn open_swept(folder: &Path, age: Duration) -> std::io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let root = folder.canonicalize()?;
        sweep(&root, MAX_DEPTH, age)?;
        if let Some(parent) = root.parent() {
            sync_folder(parent)?;
        }
        let files = LocalFileSystem::new_with_prefix(&root).map_err(std::io::Error::other)?.with_fsync(true);
        Ok(Self { root: root.into(), files: Arc::new(files) })
    }

    async fn open_file(&self, key: &ArtifactKey) -> Result<(File, u64), ArtifactError> {
        let found = self.files.get_opts(&location(key)?, GetOptions::default()).await.map_err(error_of)?;
        match found.payload {
            GetResultPayload::File(file, _) => Ok((file, found.meta.size)),
            _ => Err(ArtifactError::Other("a local object that is no file".into())),
        }
    }
}

/// The place of a key. Keys come from rows, and rows are not trusted with paths.
fn location(key: &ArtifactKey) -> Result<Location, ArtifactError> {
    let text = key.as_str();
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.".contains(&byte);
    let fits = |segment: &str| {
        !segment.is_empty() && segment.bytes().all(allowed) && !segment.starts_with('.') && !segment.ends_with('.')
    };
    if text.len() > MAX_KEY_BYTES || !text.split('/').all(fits) || text.split('/').count() > MAX_DEPTH {
        return Err(ArtifactError::Other("not the key of an artifact".into()));
    }
    Location::parse(text).map_err(|error| ArtifactError::Other(error.into()))
}

fn error_of(error: object_store::Error) -> ArtifactError {
    if matches!(error, object_store::Error::NotFound { .. }) {
        return ArtifactError::NotFound;
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    // A chain of causes ends; nothing here makes a long one.
    while let Some(current) = cause {
        if current.downcast_ref::<std::io::Error>().is_some_and(is_full) {
            return ArtifactError::Full;
        }
        cause = current.source();
    }
    ArtifactError::Other(error.into())
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

fn other(error: impl Into<BoxError>) -> ArtifactError {
    ArtifactError::Other(error.into())
}

/// Runs file system calls where they may block.
async fn blocking<T, F>(work: F) -> Result<T, ArtifactError>
where
    T: Send + 'static,
    F: FnOnce() -> std::io::Result<T> + Send + 'static,
{
    let done = tokio::task::spawn_blocking(work).await.map_err(other)?;
    done.map_err(|error| if is_full(&error) { ArtifactError::Full } else { other(error) })
}

fn sync_folder(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

/// At most `bytes` from where the file stands.
fn read_chunk(file: &mut File, bytes: u64) -> std::io::Result<Bytes> {
    let mut chunk = Vec::with_capacity(usize::try_from(bytes).unwrap_or(0));
    file.take(bytes).read_to_end(&mut chunk)?;
    Ok(chunk.into())
}

#[async_trait]
impl ArtifactStore for FileArtifacts {
    async fn writer(&self, key: &ArtifactKey) -> Result<Box<dyn ArtifactWriter>, ArtifactError> {
        let location = location(key)?;
        let upload =
            self.files.put_multipart_opts(&location, PutMultipartOptions::default()).await.map_err(error_of)?;
        let place = self.root.join(key.as_str());
        Ok(Box::new(FileWriter { root: Arc::clone(&self.root), place, upload, written: 0 }))
    }

    async fn len(&self, key: &ArtifactKey) -> Result<u64, ArtifactError> {
        Ok(self.files.head(&location(key)?).await.map_err(error_of)?.size)
    }

    async fn read(&self, key: &ArtifactKey, range: Range<u64>) -> Result<Bytes, ArtifactError> {
        let (mut file, length) = self.open_file(key).await?;
        let bytes = range.end.min(length).saturating_sub(range.start);
        blocking(move || {
            file.seek(SeekFrom::Start(range.start))?;
            read_chunk(&mut file, bytes)
        })
        .await
    }

    /// The file stays open: an object that is deleted meanwhile is read to its end.
    async fn stream(&self, key: &ArtifactKey, range: Range<u64>) -> Result<ArtifactStream, ArtifactError> {
        let (mut file, length) = self.open_file(key).await?;
        let bytes = range.end.min(length).saturating_sub(range.start);
        file.seek(SeekFrom::Start(range.start)).map_err(other)?;
        let stream = futures::stream::try_unfold((file, bytes), |(mut file, left)| async move {
            if left == 0 {
                return Ok(None);
            }
            let (file, chunk) = blocking(move || {
                let chunk = read_chunk(&mut file, left.min(CHUNK_BYTES))?;
                Ok((file, chunk))
            })
            .await?;
            match u64::try_from(chunk.len()) {
                Ok(0) | Err(_) => Err(other("an artifact became shorter while it was read")),
                Ok(read) => Ok(Some((chunk, (file, left.saturating_sub(read))))),
            }
        });
        Ok(stream.boxed())
    }

    async fn delete(&self, key: &ArtifactKey) -> Result<(), ArtifactError> {
        match self.files.delete(&location(key)?).await.map_err(error_of) {
            Ok(()) | Err(ArtifactError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn older_than(
        &self,
        age: Duration,
        after: Option<&ArtifactKey>,
        limit: usize,
    ) -> Result<Vec<ArtifactKey>, ArtifactError> {
        let root = Arc::clone(&self.root);
        let after = after.map(|key| key.as_str().to_owned());
        blocking(move || {
            let mut keys = Vec::new();
            if limit > 0 {
                let mut page = Page { root: &root, age, after: after.as_deref(), limit, keys: &mut keys };
                page.folder(&root, MAX_DEPTH)?;
            }
            Ok(keys)
        })
        .await
    }

    async fn free_bytes(&self) -> Option<u64> {
        let root = Arc::clone(&self.root);
        tokio::task::spawn_blocking(move || room::free_bytes(&root)).await.ok().flatten()
    }
}

/// An object that is not visible yet. Dropped, its hidden file is removed; after a crash, the next open does that.
struct FileWriter {
    root: Arc<Path>,
    place: PathBuf,
    upload: Box<dyn MultipartUpload>,
    written: u64,
}

#[async_trait]
impl ArtifactWriter for FileWriter {
    async fn write(&mut self, chunk: Bytes) -> Result<(), ArtifactError> {
        if failpoint::fails("disk_full") {
            return Err(ArtifactError::Full);
        }
        // Waited for, so that one chunk at a time is in memory.
        self.upload.put_part(chunk.into()).await.map_err(error_of)?;
        self.written += 1;
        if self.written == 1 {
            failpoint::hit("C12");
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), ArtifactError> {
        self.upload.complete().await.map_err(error_of)?;
        if failpoint::fails("error_after_write") {
            return Err(ArtifactError::Other("the store failed after it had written".into()));
        }
        let (root, mut folder) = (Arc::clone(&self.root), self.place.clone());
        // `object_store` syncs the folders that it made itself. One that another writer made a moment ago, or that a
        // crash interrupted before its sync, is taken for durable by it; syncing what is clean costs nothing.
        blocking(move || {
            while folder.pop() && folder.starts_with(&root) {
                sync_folder(&folder)?;
            }
            Ok(())
        })
        .await?;
        failpoint::hit("C13");
        Ok(())
    }
}

/// The entries of a folder in the order of the keys below them: a folder sorts as its name with a slash behind it.
fn sorted(folder: &Path) -> std::io::Result<Vec<(String, PathBuf, Metadata)>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => entries.push((format!("{name}/"), entry.path(), metadata)),
            Ok(metadata) if metadata.is_file() => entries.push((name, entry.path(), metadata)),
            Ok(_) => {}
            // Deleted or renamed since it was listed.
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    entries.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    Ok(entries)
}

/// Removes what a crash left unfinished. Links are not followed.
fn sweep(folder: &Path, depth: usize, age: Duration) -> std::io::Result<()> {
    for (name, path, metadata) in sorted(folder)? {
        if metadata.is_dir() && depth > 0 {
            sweep(&path, depth - 1, age)?;
        } else if metadata.is_file() && name.contains(UNFINISHED) && is_older(&metadata, age)? {
            match std::fs::remove_file(path) {
                // Finished or removed by another process since it was listed.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
    }
    Ok(())
}

/// Whether nobody has changed it for so long; a clock that went back makes nothing older.
fn is_older(metadata: &Metadata, age: Duration) -> std::io::Result<bool> {
    Ok(age.is_zero() || metadata.modified()?.elapsed().is_ok_and(|since| since >= age))
}

/// A page of old keys.
struct Page<'a> {
    root: &'a Path,
    age: Duration,
    after: Option<&'a str>,
    limit: usize,
    keys: &'a mut Vec<ArtifactKey>,
}

impl Page<'_> {
    /// Whether the page has room left.
    fn folder(&mut self, folder: &Path, depth: usize) -> std::io::Result<bool> {
        let entries = match sorted(folder) {
            Ok(entries) if depth > 0 => entries,
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => return Ok(true),
        };
        for (name, path, metadata) in entries {
            let Some(key) = path.strip_prefix(self.root).ok().and_then(Path::to_str) else { continue };
            let goes_on = if metadata.is_dir() {
                let prefix = format!("{key}/");
                let behind = self.after.is_none_or(|after| after.starts_with(&prefix) || prefix.as_str() > after);
                !behind || self.folder(&path, depth - 1)?
            } else {
                let behind = self.after.is_none_or(|after| key > after);
                // The clock of the file system wrote it, so that clock tells its age.
                let age = metadata.modified()?.elapsed().unwrap_or_default();
                if behind && !name.contains(UNFINISHED) && age >= self.age {
                    self.keys.push(ArtifactKey::from_stored(key));
                }
                self.keys.len() < self.limit
            };
            if !goes_on {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
