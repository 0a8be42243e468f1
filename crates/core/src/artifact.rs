//! Stored bytes: their keys, digests and the store they lie in.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use crate::BoxError;
use crate::id::{AttemptNo, Fence, JobId, ProjectId};

/// SHA-256 of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// From 64 hex digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (place, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            *place = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Names one object in the artifact store: path segments of `a-z 0-9 _ - .`, joined by `/`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ArtifactKey(Arc<str>);

impl ArtifactKey {
    /// The key of an output: the fence makes it the copy of one owner, so two owners never overwrite each other.
    ///
    /// 256 folders per project, by the job's last byte: a folder of its own for each job would have to be made and synced
    /// for each job, and one folder for all would grow without limit.
    pub fn output(project: ProjectId, job: JobId, attempt: AttemptNo, n: u16, fence: Fence) -> Self {
        let shard = job.as_bytes()[15];
        Self(format!("{project}/{shard:02x}/{job}-{attempt}-{n}-{fence}").into())
    }

    /// The key of an input image: named by its digest, so that the same image is stored once per project.
    pub fn input(project: ProjectId, sha256: &Digest) -> Self {
        Self(format!("{project}/inputs/{sha256}").into())
    }

    /// Whether it is an input image's: other jobs, also ones about to be made, may name it too.
    pub fn is_input(&self) -> bool {
        self.0.split('/').nth(1) == Some("inputs")
    }

    /// The key of a picture derived from an output, such as its thumbnail.
    pub fn derived(of: &ArtifactKey, name: &str) -> Self {
        Self(format!("{}.{name}", of.0).into())
    }

    /// From its stored text.
    pub fn from_stored(text: &str) -> Self {
        Self(text.into())
    }

    /// The path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ArtifactKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a look into a video file told: recorded as it is, whatever was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaInfo {
    /// Pixels from left to right.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
    /// Length in milliseconds.
    pub duration_ms: u64,
    /// Pictures in the video track.
    pub frames: u32,
    /// Sample entry of the video track: `avc1`, `hev1`, `av01`, …
    pub codec: Box<str>,
}

/// One stored output of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// The attempt that made it.
    pub attempt: AttemptNo,
    /// 0 is the video; further outputs of the same attempt follow.
    pub n: u16,
    /// Where it lies.
    pub key: ArtifactKey,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 of the bytes.
    pub sha256: Digest,
    /// `video/mp4`.
    pub media_type: Box<str>,
    /// What was found inside.
    pub media: MediaInfo,
}

/// The artifact store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// No object under this key.
    #[error("no artifact under this key")]
    NotFound,
    /// The disk or bucket is full.
    #[error("the artifact store is full")]
    Full,
    /// It did not answer, or said that it cannot now: the same may work in a moment.
    #[error("the artifact store does not answer: {0}")]
    Unavailable(#[source] BoxError),
    /// Anything else.
    #[error("artifact store: {0}")]
    Other(#[source] BoxError),
}

/// A stream of bytes from the artifact store.
pub type ArtifactStream = BoxStream<'static, Result<Bytes, ArtifactError>>;

/// What the answer behind a link to an object says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkAnswer<'a> {
    /// `video/mp4`.
    pub media_type: &'a str,
    /// The name a browser saves it under: letters, digits and `._-`.
    pub file_name: &'a str,
}

/// Objects by key. An object is there whole and durable, or not at all.
#[async_trait]
pub trait ArtifactStore: Send + Sync {
    /// Begins an object; nothing is visible before [`ArtifactWriter::finish`].
    async fn writer(&self, key: &ArtifactKey) -> Result<Box<dyn ArtifactWriter>, ArtifactError>;
    /// Length in bytes.
    async fn len(&self, key: &ArtifactKey) -> Result<u64, ArtifactError>;
    /// A part as one piece; shorter than the range only at the end.
    async fn read(&self, key: &ArtifactKey, range: Range<u64>) -> Result<Bytes, ArtifactError>;
    /// A part as a stream of chunks of at most 256 KiB.
    async fn stream(&self, key: &ArtifactKey, range: Range<u64>) -> Result<ArtifactStream, ArtifactError>;
    /// Removes an object; removing one that is not there is fine.
    async fn delete(&self, key: &ArtifactKey) -> Result<(), ArtifactError>;
    /// Up to `limit` keys after `after`, sorted, of objects at least this old. For the sweep of unreferenced objects.
    async fn older_than(
        &self,
        age: Duration,
        after: Option<&ArtifactKey>,
        limit: usize,
    ) -> Result<Vec<ArtifactKey>, ArtifactError>;
    /// Free room in bytes, if the store can tell.
    async fn free_bytes(&self) -> Option<u64>;
    /// A link with which anyone reads the object from where it lies, for so long; `None` where the store makes none.
    ///
    /// Made when it is asked for and kept nowhere: it ends, the object does not. That there is such an object is not
    /// looked at. A store that cannot let an answer say what is asked says what it knows itself.
    async fn link(
        &self,
        _key: &ArtifactKey,
        _valid_for: Duration,
        _answer: &LinkAnswer<'_>,
    ) -> Result<Option<String>, ArtifactError> {
        Ok(None)
    }
}

/// An object being written. Dropped unfinished, it leaves nothing visible.
#[async_trait]
pub trait ArtifactWriter: Send {
    /// Appends a chunk.
    async fn write(&mut self, chunk: Bytes) -> Result<(), ArtifactError>;
    /// Makes the object durable (file and folder synced), then visible.
    async fn finish(self: Box<Self>) -> Result<(), ArtifactError>;
}

/// Looks into a stored video.
#[async_trait]
pub trait MediaProbe: Send + Sync {
    /// What is inside, if it can be played; else why not, in words for a client.
    async fn probe(&self, store: &dyn ArtifactStore, key: &ArtifactKey) -> Result<MediaInfo, ProbeError>;
}

/// The look failed.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The bytes are no playable video.
    #[error("not a playable video: {0}")]
    NotPlayable(String),
    /// The artifact store did not answer; the bytes may be fine.
    #[error(transparent)]
    Store(#[from] ArtifactError),
}
