//! One object on its way into a bucket: in parts, with constant memory.
//!
//! What fits into one part is one request. Longer objects are uploaded in parts, a few at a time, and are visible only
//! once all of them are there. The parts grow with the object, so that a cloud's 10,000 are enough.
//! A crash leaves parts that nobody sees and somebody pays for: a lifecycle rule of the bucket removes them
//! (docs/operations.md). Absent: reading; which key is whose.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use longtake_core::artifact::{ArtifactError, ArtifactWriter};
use longtake_core::failpoint;
use object_store::path::Path as Location;
use object_store::{
    Attribute, Attributes, MultipartUpload, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayloadMut,
};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::bucket::error_of;
use super::cloud::{Client, PART_TIMEOUT};

/// Bytes of each of the first parts; the clouds want at least 5 MiB.
const FIRST_PART_BYTES: usize = 8 << 20;
/// Parts of that size: 16 GiB. Up to there all parts are alike, as some that speak S3 want it.
const FIRST_PARTS: usize = 2_000;
/// After so many further parts the size doubles: ten thousand parts hold 4 TiB.
const PARTS_PER_SIZE: usize = 1_000;
/// Parts of one object, at most: the clouds' own limit.
const MAX_PARTS: usize = 10_000;
/// Parts of one object that are under way at once, beside the one that is being filled.
const PARTS_AT_ONCE: usize = 2;
/// Parts of all objects of this process that are under way at once.
pub(super) const MAX_PARTS_AT_ONCE: usize = 8;
/// What a part is gathered in: bytes are copied, so that a small chunk does not hold on to the large buffer it came in.
const BLOCK_BYTES: usize = 256 << 10;

/// Bytes of one part, counted from 0.
const fn part_bytes(n: usize) -> usize {
    let doublings = n.saturating_sub(FIRST_PARTS - PARTS_PER_SIZE) / PARTS_PER_SIZE;
    FIRST_PART_BYTES << doublings
}

/// What a writer needs of its bucket.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) client: Client,
    pub(super) location: Location,
    /// [`MAX_PARTS_AT_ONCE`] permits.
    pub(super) room: Arc<Semaphore>,
}

/// An object that is not visible yet. Dropped, its parts are removed as far as the cloud can be reached.
pub(super) struct BucketWriter {
    target: Target,
    filling: PutPayloadMut,
    parts: usize,
    written: u64,
    upload: Option<Upload>,
}

/// Parts under way. A part that failed is kept as the object's failure.
struct Upload {
    upload: Box<dyn MultipartUpload>,
    sending: JoinSet<Result<(), ArtifactError>>,
}

impl BucketWriter {
    pub(super) fn new(target: Target) -> Self {
        Self { target, filling: empty_part(), parts: 0, written: 0, upload: None }
    }

    /// Sends what is gathered as a part, once there is room for it.
    async fn send_part(&mut self) -> Result<(), ArtifactError> {
        if self.parts == MAX_PARTS {
            return Err(ArtifactError::Other("longer than an object of a bucket can be".into()));
        }
        let full = std::mem::replace(&mut self.filling, empty_part());
        let payload = full.freeze();
        let first = payload.iter().next().map_or(&[][..], |block| block);
        if self.upload.is_none() {
            let options = PutMultipartOptions { attributes: described(first), ..PutMultipartOptions::default() };
            let upload = self.target.client.uploads.put_multipart_opts(&self.target.location, options);
            self.upload = Some(Upload { upload: bounded(upload).await?, sending: JoinSet::new() });
        }
        let Some(Upload { upload, sending }) = &mut self.upload else { return Ok(()) };
        while sending.len() >= PARTS_AT_ONCE {
            joined(sending.join_next().await)?;
            failpoint::hit("C12.parts");
        }
        let permit = Arc::clone(&self.target.room).acquire_owned().await;
        let permit = permit.map_err(|error| ArtifactError::Other(error.into()))?;
        let part = upload.put_part(payload);
        sending.spawn(async move {
            let _until_it_is_sent = permit;
            bounded(part).await
        });
        self.parts += 1;
        Ok(())
    }

    /// All that is left, and the end of it.
    async fn complete(&mut self) -> Result<(), ArtifactError> {
        if self.upload.is_none() {
            let payload = std::mem::replace(&mut self.filling, empty_part()).freeze();
            let attributes = described(payload.iter().next().map_or(&[][..], |block| block));
            let options = PutOptions { attributes, ..PutOptions::default() };
            return match self.target.client.objects.put_opts(&self.target.location, payload, options).await {
                Ok(_) => Ok(()),
                Err(error) => Err(error_of(error)),
            };
        }
        if !self.filling.is_empty() {
            self.send_part().await?;
        }
        let Some(Upload { upload, sending }) = &mut self.upload else { return Ok(()) };
        while let Some(part) = sending.join_next().await {
            joined(Some(part))?;
        }
        // Where this fails, the drop of the writer ends the upload: a completion that is still on its way finds nothing,
        // and cannot bring these bytes back over those of a later copy.
        upload.complete().await.map_err(error_of)?;
        self.upload = None;
        Ok(())
    }
}

impl Target {
    /// Whether what lies there now is as long as what was written.
    async fn verify(&self, written: u64) -> Result<(), ArtifactError> {
        let stored = self.client.objects.head(&self.location).await.map_err(error_of)?.size;
        if stored == written {
            return Ok(());
        }
        Err(ArtifactError::Other(format!("the bucket has {stored} bytes of {written}").into()))
    }
}

fn empty_part() -> PutPayloadMut {
    PutPayloadMut::new().with_block_size(BLOCK_BYTES)
}

fn joined(part: Option<Result<Result<(), ArtifactError>, tokio::task::JoinError>>) -> Result<(), ArtifactError> {
    match part {
        None => Ok(()),
        Some(Ok(sent)) => sent,
        Some(Err(error)) => Err(ArtifactError::Other(error.into())),
    }
}

/// What must not take as long as a completion may.
async fn bounded<T>(call: impl Future<Output = object_store::Result<T>>) -> Result<T, ArtifactError> {
    match tokio::time::timeout(PART_TIMEOUT, call).await {
        Ok(done) => done.map_err(error_of),
        Err(late) => Err(ArtifactError::Unavailable(late.into())),
    }
}

/// What the object says of itself to whoever follows a link to it.
fn described(first: &[u8]) -> Attributes {
    let mut attributes = Attributes::new();
    attributes.insert(Attribute::ContentType, media_type(first).into());
    attributes
}

/// By the first bytes: what we keep is videos and pictures.
fn media_type(first: &[u8]) -> &'static str {
    match first {
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "video/mp4",
        [0x1a, 0x45, 0xdf, 0xa3, ..] => "video/webm",
        [0x89, b'P', b'N', b'G', ..] => "image/png",
        [0xff, 0xd8, 0xff, ..] => "image/jpeg",
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "image/webp",
        _ => "application/octet-stream",
    }
}

#[async_trait]
impl ArtifactWriter for BucketWriter {
    async fn write(&mut self, chunk: Bytes) -> Result<(), ArtifactError> {
        if failpoint::fails("disk_full") {
            return Err(ArtifactError::Full);
        }
        let mut rest = &chunk[..];
        while !rest.is_empty() {
            let room = part_bytes(self.parts).saturating_sub(self.filling.content_length());
            let (now, later) = rest.split_at(rest.len().min(room));
            self.filling.extend_from_slice(now);
            if now.len() == room {
                self.send_part().await?;
            }
            rest = later;
        }
        if self.written == 0 && !chunk.is_empty() {
            failpoint::hit("C12");
        }
        self.written += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<(), ArtifactError> {
        self.complete().await?;
        if failpoint::fails("error_after_write") {
            return Err(ArtifactError::Other("the store failed after it had written".into()));
        }
        self.target.verify(self.written).await?;
        failpoint::hit("C13");
        Ok(())
    }
}

impl Drop for BucketWriter {
    fn drop(&mut self) {
        let Some(Upload { mut upload, mut sending }) = self.upload.take() else { return };
        // Without a runtime the process is about to end, and the lifecycle rule does it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let location = self.target.location.clone();
        runtime.spawn(async move {
            // A part that arrives after the end of its upload would be kept, and paid for.
            sending.shutdown().await;
            if let Err(error) = bounded(upload.abort()).await {
                tracing::warn!(key = %location, %error, "parts of an unfinished object stay until the bucket's lifecycle rule removes them");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_parts_hold_four_tebibytes_and_ten_gigabytes_take_small_ones() {
        assert_eq!(part_bytes(0), 8 << 20);
        assert_eq!(part_bytes(1_999), 8 << 20);
        assert_eq!(part_bytes(2_000), 16 << 20);
        assert_eq!(part_bytes(9_999), 2 << 30);
        let total: usize = (0..MAX_PARTS).map(part_bytes).sum();
        assert!(total >= 4 * (1 << 40) - (1 << 38), "{total}");
        assert!((0..FIRST_PARTS).map(part_bytes).sum::<usize>() > 10_000_000_000);
    }

    #[test]
    fn objects_say_what_they_are() {
        for (first, expected) in [
            (&b"\0\0\0\x20ftypisom"[..], "video/mp4"),
            (b"RIFF\0\0\0\0WEBPVP8 ", "image/webp"),
            (b"\x89PNG\r\n\x1a\n", "image/png"),
            (b"\xff\xd8\xff\xe0", "image/jpeg"),
            (b"longtake doctor", "application/octet-stream"),
            (b"", "application/octet-stream"),
        ] {
            assert_eq!(media_type(first), expected);
        }
    }
}
