//! Fetches stored bytes to a file: resumed after broken connections, checked against length and SHA-256.

use std::path::PathBuf;

use aws_lc_rs::digest::{Context, SHA256};
use clap::ValueEnum;
use futures::StreamExt;
use longtake_core::artifact::Digest;
use reqwest::StatusCode;
use reqwest::header::{CONTENT_TYPE, ETAG};
use serde_json::{Value, json};

use super::CliError;
use super::client::CallError;
use super::file::{FileAt, Target};
use super::link::{Link, pause};
use super::output::member;

/// Tries in a row that bring not a single byte.
const MAX_IDLE_TRIES: u32 = 20;
/// Whole downloads whose digest may be wrong.
const MAX_WRONG: u32 = 2;
/// Between two tries.
const PAUSE: std::time::Duration = std::time::Duration::from_millis(300);

/// What of a video is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Variant {
    /// The video itself.
    Video,
    /// One picture of it.
    Thumbnail,
    /// Many small pictures of it, on one sheet.
    Spritesheet,
}

impl Variant {
    const fn word(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Thumbnail => "thumbnail",
            Self::Spritesheet => "spritesheet",
        }
    }
}

/// What was saved.
pub(crate) struct Saved {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    pub(crate) sha256: Digest,
}

/// Bytes on their way.
struct Pass {
    hash: Context,
    bytes: u64,
    etag: Option<String>,
    media_type: String,
}

impl Pass {
    fn new() -> Self {
        Self { hash: Context::new(&SHA256), bytes: 0, etag: None, media_type: String::new() }
    }

    fn digest(self) -> Digest {
        let mut digest = [0; 32];
        digest.copy_from_slice(self.hash.finish().as_ref());
        Digest(digest)
    }
}

/// Fetches a variant of a video, as the server shows the video.
pub(crate) async fn download(
    link: &mut Link,
    video: &Value,
    variant: Variant,
    mut target: Target,
) -> Result<Saved, CliError> {
    let id = member(video, "id");
    let expected = match variant {
        Variant::Video => video.get("bytes").and_then(Value::as_u64).zip(Digest::from_hex(&member(video, "sha256"))),
        Variant::Thumbnail | Variant::Spritesheet => None,
    };
    if variant == Variant::Video {
        target.check_free(&format!("{id}.mp4"))?;
    }
    for _ in 0..MAX_WRONG {
        let pass = fetch(link, &id, variant, &mut target).await?;
        let (bytes, name) = (pass.bytes, name_of(&id, variant, &pass.media_type));
        let sha256 = pass.digest();
        if expected.is_none_or(|expected| expected == (bytes, sha256)) {
            return Ok(Saved { path: target.finish(&name)?, bytes, sha256 });
        }
        if !target.can_restart() {
            break;
        }
        target.restart()?;
    }
    Err(CliError::Failed(format!(
        "{id}: what arrived is not what is stored: length or SHA-256 differ; check what stands between you and {}",
        link.client().address()
    )))
}

fn name_of(id: &str, variant: Variant, media_type: &str) -> String {
    let ending = match media_type {
        "image/webp" => "webp",
        "image/jpeg" => "jpg",
        "image/png" => "png",
        "video/webm" => "webm",
        _ => "mp4",
    };
    match variant {
        Variant::Video => format!("{id}.mp4"),
        Variant::Thumbnail | Variant::Spritesheet => format!("{id}-{}.{ending}", variant.word()),
    }
}

/// One whole download, over as many connections as it takes.
async fn fetch(link: &mut Link, id: &str, variant: Variant, target: &mut Target) -> Result<Pass, CliError> {
    let path = format!("/v1/videos/{id}/content?variant={}", variant.word());
    let mut pass = Pass::new();
    let mut idle = 0;
    loop {
        let before = pass.bytes;
        let error = match part(link, &path, target, &mut pass).await? {
            Ok(()) => return Ok(pass),
            Err(error) => error,
        };
        idle = if pass.bytes > before { 0 } else { idle + 1 };
        if matches!(error, CallError::Refused { .. }) || idle >= MAX_IDLE_TRIES {
            return Err(error.into());
        }
        pause(PAUSE).await;
        link.again().await?;
    }
}

/// What one connection brings. The outer error is ours, the inner one the connection's.
async fn part(
    link: &Link,
    path: &str,
    target: &mut Target,
    pass: &mut Pass,
) -> Result<Result<(), CallError>, CliError> {
    let resumes = pass.bytes > 0 && pass.etag.is_some();
    let mut headers = Vec::new();
    if let Some(etag) = pass.etag.clone().filter(|_| resumes) {
        headers = vec![("range", format!("bytes={}-", pass.bytes)), ("if-range", etag)];
    }
    let response = match link.client().open(path, &headers).await {
        Ok(response) => response,
        Err(error) => return Ok(Err(error)),
    };
    if response.status() != StatusCode::PARTIAL_CONTENT && pass.bytes > 0 {
        if !target.can_restart() {
            return Err(CliError::failed(
                "the connection broke and the place cannot be written anew; fetch it to a file",
            ));
        }
        target.restart()?;
        *pass = Pass::new();
    }
    let text = |name| response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    pass.etag = text(ETAG).filter(|etag| !etag.starts_with("W/"));
    pass.media_type = text(CONTENT_TYPE).unwrap_or_default();
    let whole = response.content_length().map(|length| pass.bytes.saturating_add(length));
    let mut pieces = response.bytes_stream();
    while let Some(piece) = pieces.next().await {
        let Ok(piece) = piece else { break };
        target.write(&piece)?;
        pass.hash.update(&piece);
        pass.bytes = pass.bytes.saturating_add(piece.len() as u64);
    }
    if whole.is_some_and(|whole| whole != pass.bytes) {
        return Ok(Err(CallError::Unreachable(
            "the connection broke while the video was on its way; fetch it again".to_owned(),
        )));
    }
    Ok(Ok(()))
}

/// What programs are told of a saved video.
pub(crate) fn result(video: &Value, saved: &Saved) -> Value {
    let mut result = json!({
        "object": "result",
        "id": video.get("id"),
        "status": video.get("status"),
        "model": video.get("model"),
        "path": saved.path.display().to_string(),
        "sha256": saved.sha256.to_string(),
        "bytes": saved.bytes,
    });
    let media = FileAt::open(&saved.path).ok().and_then(|file| longtake_media::probe(&file).ok());
    if let (Some(media), Some(members)) = (media, result.as_object_mut()) {
        members.insert("width".to_owned(), media.width.into());
        members.insert("height".to_owned(), media.height.into());
        members.insert("duration_ms".to_owned(), media.duration_ms.into());
        members.insert("frames".to_owned(), media.frames.into());
        members.insert("codec".to_owned(), media.codec.into());
    }
    result
}

/// What people are told of a saved video.
pub(crate) fn sentence(saved: &Saved) -> String {
    let media = FileAt::open(&saved.path).ok().and_then(|file| longtake_media::probe(&file).ok());
    let media = media.map_or_else(String::new, |media| {
        format!(", {}x{}, {:.1} s, {}", media.width, media.height, media.duration_ms as f64 / 1_000.0, media.codec)
    });
    format!("saved {} ({} bytes{media})", saved.path.display(), saved.bytes)
}
