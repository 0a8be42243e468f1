//! Objects in memory, which fail to be written at times; and the look into a simulated video.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use longtake_core::artifact::{
    ArtifactError, ArtifactKey, ArtifactStore, ArtifactStream, ArtifactWriter, MediaInfo, MediaProbe, ProbeError,
};
use longtake_core::time::{Clock, Timestamp};

use super::clock::{Gate, SimClock, pause};
use super::faults::{Fault, Faults};
use super::trace::Trace;

/// The bucket, which outlives every process.
pub struct Bucket {
    objects: Mutex<BTreeMap<ArtifactKey, (Bytes, Timestamp)>>,
    faults: Arc<Faults>,
    trace: Trace,
    clock: SimClock,
}

impl Bucket {
    pub fn new(faults: Arc<Faults>, trace: Trace, clock: SimClock) -> Self {
        Self { objects: Mutex::default(), faults, trace, clock }
    }

    fn objects(&self) -> MutexGuard<'_, BTreeMap<ArtifactKey, (Bytes, Timestamp)>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What lies under a key.
    pub fn object(&self, key: &ArtifactKey) -> Option<Bytes> {
        self.objects().get(key).map(|(bytes, _)| bytes.clone())
    }

    /// Everything it holds.
    pub fn keys(&self) -> Vec<ArtifactKey> {
        self.objects().keys().cloned().collect()
    }

    fn fails(&self) -> Result<(), ArtifactError> {
        match self.faults.strikes(Fault::ArtifactErrors) {
            true => Err(ArtifactError::Other("simulated".into())),
            false => Ok(()),
        }
    }
}

/// The bucket as one process reaches it.
#[derive(Clone)]
pub struct BucketHandle {
    pub bucket: Arc<Bucket>,
    pub gate: Gate,
}

impl BucketHandle {
    async fn way(&self) -> Result<(), ArtifactError> {
        self.gate.pass().await;
        pause(Duration::from_millis(3)).await;
        self.gate.pass().await;
        self.bucket.fails()
    }
}

struct Writer {
    to: BucketHandle,
    key: ArtifactKey,
    bytes: BytesMut,
}

#[async_trait]
impl ArtifactWriter for Writer {
    async fn write(&mut self, chunk: Bytes) -> Result<(), ArtifactError> {
        self.to.way().await?;
        self.bytes.extend_from_slice(&chunk);
        Ok(())
    }

    async fn finish(self: Box<Self>) -> Result<(), ArtifactError> {
        self.to.way().await?;
        let Self { to, key, bytes } = *self;
        to.bucket.trace.log(format_args!("bucket: {key} {} bytes", bytes.len()));
        let now = to.bucket.clock.now();
        to.bucket.objects().insert(key, (bytes.freeze(), now));
        to.way().await // an error here: written, and nobody knows
    }
}

#[async_trait]
impl ArtifactStore for BucketHandle {
    async fn writer(&self, key: &ArtifactKey) -> Result<Box<dyn ArtifactWriter>, ArtifactError> {
        self.way().await?;
        Ok(Box::new(Writer { to: self.clone(), key: key.clone(), bytes: BytesMut::new() }))
    }

    async fn len(&self, key: &ArtifactKey) -> Result<u64, ArtifactError> {
        self.way().await?;
        self.bucket.object(key).map(|bytes| bytes.len() as u64).ok_or(ArtifactError::NotFound)
    }

    async fn read(&self, key: &ArtifactKey, range: Range<u64>) -> Result<Bytes, ArtifactError> {
        self.way().await?;
        let bytes = self.bucket.object(key).ok_or(ArtifactError::NotFound)?;
        let end = usize::try_from(range.end).unwrap_or(usize::MAX).min(bytes.len());
        let start = usize::try_from(range.start).unwrap_or(usize::MAX).min(end);
        Ok(bytes.slice(start..end))
    }

    async fn stream(&self, key: &ArtifactKey, range: Range<u64>) -> Result<ArtifactStream, ArtifactError> {
        let bytes = self.read(key, range).await?;
        Ok(futures::stream::iter([Ok(bytes)]).boxed())
    }

    async fn delete(&self, key: &ArtifactKey) -> Result<(), ArtifactError> {
        self.way().await?;
        self.bucket.trace.log(format_args!("bucket: {key} removed"));
        self.bucket.objects().remove(key);
        Ok(())
    }

    async fn older_than(
        &self,
        age: Duration,
        after: Option<&ArtifactKey>,
        limit: usize,
    ) -> Result<Vec<ArtifactKey>, ArtifactError> {
        self.way().await?;
        let now = self.bucket.clock.now();
        let objects = self.bucket.objects();
        let old = objects.iter().filter(|(key, (_, at))| now.since(*at) >= age && after.is_none_or(|last| *key > last));
        Ok(old.map(|(key, _)| key.clone()).take(limit).collect())
    }

    async fn free_bytes(&self) -> Option<u64> {
        None
    }
}

/// Plays what begins and ends as a simulated video does.
pub struct SimProbe;

#[async_trait]
impl MediaProbe for SimProbe {
    async fn probe(&self, store: &dyn ArtifactStore, key: &ArtifactKey) -> Result<MediaInfo, ProbeError> {
        let length = store.len(key).await?;
        let bytes = store.read(key, 0..length).await?;
        if !bytes.starts_with(b"VIDEO ") || !bytes.ends_with(b" END") {
            return Err(ProbeError::NotPlayable("no simulated video".into()));
        }
        Ok(MediaInfo { width: 16, height: 16, duration_ms: 4_000, frames: 96, codec: "avc1".into() })
    }
}
