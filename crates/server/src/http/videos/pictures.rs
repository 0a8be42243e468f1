//! Thumbnail and sprite sheet of a stored video: drawn when first asked for, then kept beside it.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use longtake_core::artifact::{Artifact, ArtifactError, ArtifactKey, ArtifactStore};
use longtake_media::{ImageFormat, PictureError, ReadAt};
use tokio::runtime::Handle;

use crate::app::App;
use crate::http::error::{ApiError, ErrorCode};

/// Read from the store at once; the parts of an MP4 that a picture needs lie close together.
const READ_BYTES: u64 = 256 << 10;
/// Largest picture that is read back, in bytes.
const MAX_PICTURE_BYTES: u64 = 16 << 20;

/// Which picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PictureKind {
    /// One frame, as WebP.
    Thumbnail,
    /// Sixteen frames, as JPEG.
    Spritesheet,
}

impl PictureKind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Thumbnail, Self::Spritesheet];

    /// The word in `variant`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Thumbnail => "thumbnail",
            Self::Spritesheet => "spritesheet",
        }
    }

    /// The format it is drawn in.
    pub const fn format(self) -> ImageFormat {
        match self {
            Self::Thumbnail => ImageFormat::WebP,
            Self::Spritesheet => ImageFormat::Jpeg,
        }
    }

    /// Where it is kept.
    pub fn key(self, video: &ArtifactKey) -> ArtifactKey {
        ArtifactKey::derived(video, &format!("{}.{}", self.word(), self.format().extension()))
    }

    fn draw(self, source: &dyn ReadAt) -> Result<Vec<u8>, PictureError> {
        match self {
            Self::Thumbnail => longtake_media::thumbnail(source),
            Self::Spritesheet => longtake_media::spritesheet(source),
        }
    }
}

/// The picture's bytes, kept or drawn now.
///
/// # Errors
/// `variant_unavailable` where the video's codec is not decoded here.
pub async fn picture(app: &App, video: &Artifact, kind: PictureKind) -> Result<Bytes, ApiError> {
    let key = kind.key(&video.key);
    if let Some(kept) = kept(app, &key).await? {
        return Ok(kept);
    }
    let Ok(_turn) = app.memory.drawing.acquire().await else {
        return Err(ApiError::new(ErrorCode::ShuttingDown, "the server is about to stop; ask again in a moment"));
    };
    // Another request may have drawn it while this one waited for its turn.
    if let Some(kept) = kept(app, &key).await? {
        return Ok(kept);
    }
    let source = Stored::new(Arc::clone(&app.artifacts), video);
    let drawn = tokio::task::spawn_blocking(move || kind.draw(&source)).await;
    let drawn = drawn.map_err(|error| {
        tracing::error!(%error, "drawing a picture broke off");
        ApiError::new(ErrorCode::InternalError, "the picture could not be drawn; tell the operator the request id")
    })?;
    let bytes = Bytes::from(drawn.map_err(|error| {
        let message = format!("this video has no {}: {error}", kind.word());
        ApiError::about("variant", ErrorCode::VariantUnavailable, message)
    })?);
    if let Err(error) = keep(app, &key, bytes.clone()).await {
        tracing::warn!(%error, "a picture could not be kept; it is drawn again next time");
    }
    Ok(bytes)
}

async fn kept(app: &App, key: &ArtifactKey) -> Result<Option<Bytes>, ApiError> {
    match app.artifacts.len(key).await {
        Ok(length) => Ok(Some(app.artifacts.read(key, 0..length.min(MAX_PICTURE_BYTES)).await?)),
        Err(ArtifactError::NotFound) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn keep(app: &App, key: &ArtifactKey, bytes: Bytes) -> Result<(), ArtifactError> {
    let mut writer = app.artifacts.writer(key).await?;
    writer.write(bytes).await?;
    writer.finish().await
}

/// A stored video as the media code reads it: synchronously, from a blocking thread.
struct Stored {
    store: Arc<dyn ArtifactStore>,
    key: ArtifactKey,
    length: u64,
    runtime: Handle,
    /// The piece read last, and where it begins.
    window: Mutex<(u64, Bytes)>,
}

impl Stored {
    fn new(store: Arc<dyn ArtifactStore>, video: &Artifact) -> Self {
        let window = Mutex::new((0, Bytes::new()));
        Self { store, key: video.key.clone(), length: video.bytes, runtime: Handle::current(), window }
    }

    fn fetch(&self, offset: u64, len: u64) -> io::Result<Bytes> {
        let end = offset.saturating_add(len).min(self.length);
        self.runtime.block_on(self.store.read(&self.key, offset..end)).map_err(io::Error::other)
    }
}

impl ReadAt for Stored {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        let wanted = u64::try_from(len).unwrap_or(u64::MAX).min(self.length.saturating_sub(offset));
        if wanted == 0 {
            return Ok(Vec::new());
        }
        if wanted > READ_BYTES {
            return Ok(self.fetch(offset, wanted)?.to_vec());
        }
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(piece) = cut(&window, offset, wanted) {
            return Ok(piece);
        }
        *window = (offset, self.fetch(offset, READ_BYTES)?);
        cut(&window, offset, wanted).ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
    }
}

fn cut((start, bytes): &(u64, Bytes), offset: u64, len: u64) -> Option<Vec<u8>> {
    let from = usize::try_from(offset.checked_sub(*start)?).ok()?;
    let to = from.checked_add(usize::try_from(len).ok()?)?;
    bytes.get(from..to).map(<[u8]>::to_vec)
}
