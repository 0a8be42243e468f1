//! Damaged files: an answer for every one of them, in bounded time.

use std::sync::mpsc;
use std::time::Duration;

use longtake_media::{decode_picture, probe, spritesheet, thumbnail, tiny_mp4};

use crate::tools::{Numbers, made};

/// Damaged files per kind of file.
const MUTATIONS: usize = 5_000;
/// One in so many of the damaged files is decoded too, if it is still taken for a video.
const DECODED: usize = 8;
/// All mutations of one file take a few seconds; whoever needs this long hangs.
const PATIENCE: Duration = Duration::from_secs(240);

fn within_patience(work: impl FnOnce() + Send + 'static) {
    let (done, waiting) = mpsc::channel();
    let worker = std::thread::spawn(move || {
        work();
        done.send(())
    });
    match waiting.recv_timeout(PATIENCE) {
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("still busy after {PATIENCE:?}"),
        // Panics of the worker come out here.
        _ => worker.join().unwrap().unwrap(),
    }
}

/// Changes a few bytes, favouring values that hurt; sometimes cuts or doubles a part.
fn damage(bytes: &[u8], numbers: &mut Numbers, within: std::ops::Range<usize>) -> Vec<u8> {
    let mut damaged = bytes.to_vec();
    for _ in 0..=numbers.below(4) {
        let at = within.start + numbers.below(within.len());
        match numbers.below(8) {
            0 => damaged[at] ^= 1 << numbers.below(8),
            1 => damaged[at] = numbers.below(256) as u8,
            2 => damaged[at] = [0, 1, 0x7f, 0x80, 0xff][numbers.below(5)],
            3..6 if at + 4 <= damaged.len() => {
                let values = [0, 1, 7, 8, 16, 0x7fff_ffff, 0x8000_0000, 0xffff_fff8, u32::MAX, damaged.len() as u32];
                damaged[at..at + 4].copy_from_slice(&values[numbers.below(values.len())].to_be_bytes());
            }
            6 if numbers.below(4) == 0 => damaged.truncate(within.end.min(at + 1)),
            _ => damaged[at] = damaged[at].wrapping_add(1),
        }
        if damaged.len() < within.end {
            break;
        }
    }
    damaged
}

/// Damages a file everywhere and, more often, in its index.
fn survive(bytes: &[u8], seed: u64) {
    let mut numbers = Numbers(seed);
    let index = bytes.windows(4).position(|window| window == b"moov").unwrap();
    let size = u32::from_be_bytes(bytes[index - 4..index].try_into().unwrap()) as usize;
    let (mut playable, mut shown) = (0, 0);
    for number in 0..MUTATIONS {
        let within = if number % 3 == 0 { 0..bytes.len() } else { index..(index + size - 4).min(bytes.len()) };
        let damaged = damage(bytes, &mut numbers, within);
        if probe(&damaged).is_ok() {
            playable += 1;
            if number % DECODED == 0 {
                shown += usize::from(thumbnail(&damaged).is_ok());
                shown += usize::from(spritesheet(&damaged).is_ok());
            }
        }
    }
    // Both kinds have to occur, or the test looks at nothing.
    assert!(playable > 0 && playable < MUTATIONS, "{playable} of {MUTATIONS} still playable");
    assert!(shown > 0, "none was decoded");
    println!("{playable} of {MUTATIONS} still playable, {shown} pictures");
}

/// Damages only the samples: the index stays right, so every one of them reaches the decoder.
fn survive_decoding(bytes: &[u8], seed: u64) {
    let mut numbers = Numbers(seed);
    let name = bytes.windows(4).position(|window| window == b"mdat").unwrap();
    let size = u32::from_be_bytes(bytes[name - 4..name].try_into().unwrap()) as usize;
    // A size of 1 says that the size follows in 64 bits; here the samples then run to the end.
    let samples = if size == 1 { name + 12..bytes.len() } else { name + 4..(name - 4 + size) };
    assert!(samples.len() > 100);
    for _ in 0..MUTATIONS / 10 {
        let damaged = damage(bytes, &mut numbers, samples.clone());
        // Any answer will do.
        let _ = thumbnail(&damaged);
        let _ = spritesheet(&damaged);
    }
}

fn x264(rest: &[&str]) -> Vec<u8> {
    let input =
        ["-f", "lavfi", "-i", "testsrc2=size=96x64:rate=12:duration=1", "-c:v", "libx264", "-pix_fmt", "yuv420p"];
    made(&[&input[..], rest].concat(), "base.mp4")
}

#[test]
fn damaged_sandbox_video() {
    within_patience(|| survive(&tiny_mp4(64, 36, 12, 1, Some(6000)), 1));
}

#[test]
fn damaged_high_profile_video_with_sound() {
    let input = ["-f", "lavfi", "-i", "testsrc2=size=96x64:rate=12:duration=1", "-f", "lavfi", "-i", "sine=duration=1"];
    let bytes = made(
        &[&input[..], &["-c:v", "libx264", "-pix_fmt", "yuv420p", "-bf", "2", "-c:a", "aac"]].concat(),
        "base.mp4",
    );
    within_patience(move || survive(&bytes, 2));
}

#[test]
fn damaged_fragmented_video() {
    let bytes = x264(&["-g", "4", "-movflags", "frag_keyframe+empty_moov+default_base_moof"]);
    within_patience(move || survive(&bytes, 3));
}

#[test]
fn damaged_index_at_the_end() {
    let bytes = x264(&["-profile:v", "baseline"]);
    within_patience(move || survive(&bytes, 4));
}

#[test]
fn damaged_samples() {
    let (high, baseline) = (x264(&["-bf", "2"]), x264(&["-profile:v", "baseline"]));
    within_patience(move || {
        survive_decoding(&high, 5);
        survive_decoding(&baseline, 6);
        survive_decoding(&tiny_mp4(64, 36, 12, 1, None), 7);
    });
}

#[test]
fn damaged_images() {
    let bases = ["a.png", "a.jpg", "a.webp"]
        .map(|name| made(&["-f", "lavfi", "-i", "testsrc2=size=64x48", "-frames:v", "1"], name));
    within_patience(move || {
        for (seed, base) in bases.iter().enumerate() {
            let mut numbers = Numbers(seed as u64);
            for _ in 0..MUTATIONS / 5 {
                let damaged = damage(base, &mut numbers, 8..base.len());
                // Any answer will do, as long as the size is the one of the bytes.
                if let Ok(picture) = decode_picture(&damaged) {
                    assert_eq!(picture.rgb.len(), picture.width as usize * picture.height as usize * 3);
                }
            }
        }
    });
}
