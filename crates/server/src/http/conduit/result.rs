//! What a completed task made: figures of the file that is stored, never the provider's link or words.

use longtake_core::artifact::Artifact;
use longtake_core::state::StateName;
use longtake_core::store::Job;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::dialect::Front;
use super::keys::url_of;
use crate::app::App;
use crate::http::videos::wire::Video;

/// What a completed task made.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ConduitVideoResult)]
pub struct VideoResult {
    /// When it was completed, in Unix seconds.
    pub created: i64,
    /// The files: one.
    pub data: Vec<VideoFile>,
    /// The name the request gave in `model`.
    pub model: String,
    /// What it took.
    pub usage: Usage,
}

/// One file.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ConduitVideoFile)]
pub struct VideoFile {
    /// Where it is fetched, without a key. It works as long as the file is kept.
    pub url: String,
    /// What was found inside.
    pub metadata: Metadata,
}

/// What was found in a file.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ConduitVideoMetadata)]
pub struct Metadata {
    /// Pixels from left to right.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
    /// Length in seconds.
    pub duration: f64,
    /// Pictures per second, on average.
    pub fps: f64,
    /// `h264`, `hevc`, `av1`, `vp9`, or the sample entry where it is another.
    pub codec: String,
    /// Length in bytes.
    pub file_size_bytes: u64,
    /// Bits per second, on average.
    pub bitrate: u64,
    /// `video/mp4`.
    pub mime_type: String,
    /// `mp4`.
    pub format: &'static str,
}

/// What a task took.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ConduitVideoUsage)]
pub struct Usage {
    /// How many files there are.
    pub videos_generated: u32,
    /// How long they are together, in seconds.
    pub total_duration_seconds: f64,
    /// In dollars; left out where the price is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_cost: Option<f64>,
}

/// What a task made; `None` until it is completed, and where its file is no longer kept.
pub fn result_of(app: &App, front: &Front, job: &Job, video: &Video) -> Option<VideoResult> {
    let file = job.output.as_ref().filter(|_| job.record.state.name() == StateName::Completed)?;
    let metadata = metadata_of(file);
    let usage =
        Usage { videos_generated: 1, total_duration_seconds: metadata.duration, estimated_cost: video.cost_usd };
    Some(VideoResult {
        created: video.completed_at.unwrap_or(video.created_at),
        data: vec![VideoFile { url: url_of(app, front, job), metadata }],
        model: video.model.clone(),
        usage,
    })
}

/// A's `result`: JSON as text. `duration` is how long the work took, in seconds.
pub fn old_text(job: &Job, result: &VideoResult) -> String {
    let took = job.record.finished_at.map(|end| end.since(job.record.created_at).as_secs_f64());
    let url = result.data.first().map(|file| file.url.as_str());
    json!({
        "videoUrl": url, "usage": result.usage, "model": result.model, "created": result.created, "duration": took,
    })
    .to_string()
}

fn metadata_of(file: &Artifact) -> Metadata {
    let media = &file.media;
    let millis = media.duration_ms.max(1);
    Metadata {
        width: media.width,
        height: media.height,
        duration: thousandths(media.duration_ms as f64 / 1_000.0),
        fps: thousandths(f64::from(media.frames) * 1_000.0 / millis as f64),
        codec: codec(&media.codec).to_owned(),
        file_size_bytes: file.bytes,
        bitrate: file.bytes.saturating_mul(8_000) / millis,
        mime_type: file.media_type.to_string(),
        format: "mp4",
    }
}

/// A figure people read: 29.97, not 29.970029970029969.
fn thousandths(figure: f64) -> f64 {
    (figure * 1_000.0).round() / 1_000.0
}

/// The name people know a sample entry by.
fn codec(entry: &str) -> &str {
    match entry {
        "avc1" | "avc3" => "h264",
        "hev1" | "hvc1" => "hevc",
        "av01" => "av1",
        "vp09" => "vp9",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use longtake_core::artifact::{ArtifactKey, Digest, MediaInfo};
    use longtake_core::id::AttemptNo;

    use super::*;

    #[test]
    fn figures_are_those_of_the_file() {
        let media = MediaInfo { width: 1366, height: 768, duration_ms: 6_006, frames: 180, codec: "hvc1".into() };
        let file = Artifact {
            attempt: AttemptNo(1),
            n: 0,
            key: ArtifactKey::from_stored("1/x"),
            bytes: 3_003_000,
            sha256: Digest([0; 32]),
            media_type: "video/mp4".into(),
            media,
        };
        let metadata = metadata_of(&file);
        assert_eq!((metadata.duration, metadata.fps), (6.006, 29.97));
        assert_eq!((metadata.bitrate, metadata.codec.as_str()), (4_000_000, "hevc"));
        let empty = Artifact { media: MediaInfo { duration_ms: 0, ..file.media.clone() }, ..file };
        assert!(metadata_of(&empty).fps.is_finite());
    }
}
