//! Names of files: the same for a video as long as it is there, and unguessable, since `GET …/media/{key}` asks for no key.
//!
//! A name says which video of which project it is and carries our signature of that; nothing is kept about it, and no
//! name works that we did not make.

use longtake_core::id::{JobId, ProjectId};
use longtake_core::store::Job;

use super::dialect::Front;
use crate::app::App;
use crate::http::signing::{is_signed, sign};

/// What names are signed for.
const PURPOSE: &str = "conduit media keys";
/// Bytes of the signature that a name carries.
const SIGNATURE_BYTES: usize = 16;

/// The file's name: `video/YYYY/MM/DD/PROJECT-JOB-SIGNATURE.mp4`, by the day its job was made.
pub fn key_of(app: &App, job: &Job) -> String {
    let day = jiff::Timestamp::from_second(job.record.created_at.as_secs()).unwrap_or_default();
    let day = day.strftime("%Y/%m/%d");
    let name = job.record.job.to_string();
    let stem = format!("video/{day}/{}-{}", job.record.project, name.strip_prefix("video_").unwrap_or(&name));
    let signature = sign(app, PURPOSE, &[stem.as_bytes()]);
    let hex: String = signature.iter().take(SIGNATURE_BYTES).map(|byte| format!("{byte:02x}")).collect();
    format!("{stem}-{hex}.mp4")
}

/// Whose and which video a name of ours stands for.
pub fn read_key(app: &App, key: &str) -> Option<(ProjectId, JobId)> {
    let (stem, signature) = key.strip_suffix(".mp4")?.rsplit_once('-')?;
    let signature = bytes_of(signature)?;
    if !is_signed(app, PURPOSE, &[stem.as_bytes()], &signature) {
        return None;
    }
    let (project, job) = stem.rsplit('/').next()?.split_once('-')?;
    Some((ProjectId(project.parse().ok()?), format!("video_{job}").parse().ok()?))
}

fn bytes_of(hex: &str) -> Option<[u8; SIGNATURE_BYTES]> {
    let mut bytes = [0; SIGNATURE_BYTES];
    if hex.len() != 2 * SIGNATURE_BYTES || !hex.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    for (place, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *place = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// Where anyone who has it fetches the file.
pub fn url_of(app: &App, front: &Front, job: &Job) -> String {
    format!("{}{}/media/{}", front.base, front.dialect.prefix(), key_of(app, job))
}
