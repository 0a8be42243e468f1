//! Small valid videos of any file size, for simulators and benches.

use crate::card::{RenderError, encode};
use crate::{MAX_FPS, MAX_LONG_SIDE, MAX_SECONDS, MAX_SHORT_SIDE};

/// Smallest box header, in bytes.
const SHORT_HEADER: u64 = 8;
/// Box header with a 64-bit size, in bytes.
const LONG_HEADER: u64 = 16;

/// A video whose file is as large as you like without being in memory: write `head`, then `padding` zero bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaddedMp4 {
    /// The whole video and the header of the `free` box behind it.
    pub head: Vec<u8>,
    /// Zero bytes that follow.
    pub padding: u64,
}

/// A tiny valid H.264 MP4, padded with a `free` box to exactly `bytes` bytes.
///
/// Values out of range are brought into it (even sides, 1-60 frames per second, 1-60 s). Without `bytes`, or with
/// fewer than the video and a box header need, the file is as small as it is.
#[must_use]
pub fn tiny_mp4(width: u32, height: u32, fps: u32, seconds: u32, bytes: Option<usize>) -> Vec<u8> {
    let video = video(width, height, fps, seconds);
    match bytes.and_then(|bytes| pad(&video, bytes as u64)) {
        None => video,
        Some(PaddedMp4 { mut head, padding }) => {
            head.resize(head.len() + padding as usize, 0);
            head
        }
    }
}

/// Like [`tiny_mp4`] for files of many gigabytes: the caller writes the padding.
///
/// `None` if `bytes` are fewer than the video and a box header need.
#[must_use]
pub fn padded_mp4(width: u32, height: u32, fps: u32, seconds: u32, bytes: u64) -> Option<PaddedMp4> {
    pad(&video(width, height, fps, seconds), bytes)
}

fn pad(video: &[u8], bytes: u64) -> Option<PaddedMp4> {
    let room = bytes.checked_sub(video.len() as u64)?;
    let mut head = video.to_vec();
    if room == 0 {
        return Some(PaddedMp4 { head, padding: 0 });
    }
    if let Ok(size) = u32::try_from(room) {
        let padding = room.checked_sub(SHORT_HEADER)?;
        head.extend_from_slice(&size.to_be_bytes());
        head.extend_from_slice(b"free");
        return Some(PaddedMp4 { head, padding });
    }
    head.extend_from_slice(&1_u32.to_be_bytes());
    head.extend_from_slice(b"free");
    head.extend_from_slice(&room.to_be_bytes());
    Some(PaddedMp4 { head, padding: room - LONG_HEADER })
}

/// A grey frame with a lighter square that wanders: cheap to encode, and no frame is like another.
fn video(width: u32, height: u32, fps: u32, seconds: u32) -> Vec<u8> {
    let width = width.clamp(2, MAX_LONG_SIDE) / 2 * 2;
    let most = if width > MAX_SHORT_SIDE { MAX_SHORT_SIDE } else { MAX_LONG_SIDE };
    let height = height.clamp(2, most) / 2 * 2;
    let (fps, seconds) = (fps.clamp(1, MAX_FPS), seconds.clamp(1, MAX_SECONDS));
    let total = fps * seconds;
    let side = (width.min(height) as usize / 4).max(2);
    let drawn: Result<Vec<u8>, RenderError> = encode(width, height, fps, total, &mut |canvas, index| {
        let (columns, rows) = (canvas.width - side.min(canvas.width), canvas.height - side.min(canvas.height));
        let at = index as usize;
        let (left, top) = (columns * at / total as usize, rows * at / total as usize);
        for (y, line) in canvas.y.chunks_exact_mut(canvas.width).enumerate() {
            line.fill(60);
            if (top..top + side).contains(&y) {
                let end = (left + side).min(line.len());
                line[left..end].fill(200);
            }
        }
        Ok(())
    });
    // Size, rate and length are in range, so the encoder has nothing to refuse; an empty file fails every check.
    drawn.unwrap_or_default()
}
