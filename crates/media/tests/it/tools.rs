//! FFmpeg, temporary files and numbers for the tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A folder that goes away with the test.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let name = format!("longtake-media-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder left behind in the system's temporary files is no reason to fail.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).output().unwrap_or_else(|error| {
        panic!("{program} cannot be started ({error}); these tests need FFmpeg: apt-get install ffmpeg")
    })
}

/// Runs ffmpeg quietly and fails with its words if it fails or complains.
pub(crate) fn ffmpeg(arguments: &[&str]) -> Vec<u8> {
    let all = [&["-v", "warning", "-nostdin", "-y"], arguments].concat();
    let output = run("ffmpeg", &all);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ffmpeg {arguments:?}: {words}");
    output.stdout
}

/// A file made by ffmpeg; the last argument (its name) is added.
pub(crate) fn made(arguments: &[&str], name: &str) -> Vec<u8> {
    let folder = Folder::new();
    let path = folder.file(name);
    ffmpeg(&[arguments, &[path.to_str().unwrap()]].concat());
    std::fs::read(path).unwrap()
}

/// Decodes a file from the first frame to the last; not a word of complaint is allowed.
pub(crate) fn decodes_silently(path: &Path) {
    let path = path.to_str().unwrap();
    let output = run("ffmpeg", &["-v", "warning", "-nostdin", "-xerror", "-i", path, "-f", "null", "-"]);
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && words.is_empty(), "ffmpeg on {path}: {words}");
}

/// What ffprobe says of the first video track: frames (decoded and counted), width, height, seconds.
pub(crate) fn ffprobe(path: &Path) -> (u32, u32, u32, f64) {
    let wanted = "stream=nb_read_frames,width,height,duration";
    let arguments =
        ["-v", "error", "-select_streams", "v:0", "-count_frames", "-show_entries", wanted, "-of", "csv=p=0"];
    let output = run("ffprobe", &[&arguments[..], &[path.to_str().unwrap()]].concat());
    let words = String::from_utf8(output.stdout).unwrap();
    // The order is ffprobe's own: width, height, duration, frames.
    let fields: Vec<&str> = words.trim().split(',').collect();
    let number = |index: usize| fields[index].parse::<u32>().unwrap();
    (number(3), number(0), number(1), fields[2].parse().unwrap())
}

/// Raw grey pictures of a video.
pub(crate) fn grey_frames(bytes: &[u8], pixels: usize) -> Vec<Vec<u8>> {
    let folder = Folder::new();
    let path = folder.file("video.mp4");
    std::fs::write(&path, bytes).unwrap();
    let path = path.to_str().unwrap();
    let raw = ffmpeg(&["-i", path, "-fps_mode", "passthrough", "-pix_fmt", "gray", "-f", "rawvideo", "-"]);
    raw.chunks_exact(pixels).map(<[u8]>::to_vec).collect()
}

/// Mean of bytes.
pub(crate) fn mean(bytes: &[u8]) -> f64 {
    bytes.iter().map(|byte| f64::from(*byte)).sum::<f64>() / bytes.len().max(1) as f64
}

/// SplitMix64: the same numbers in every run.
pub(crate) struct Numbers(pub u64);

impl Numbers {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % limit.max(1) as u64) as usize
    }
}
