//! Which files are playable, and that nothing but their index is read.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};

use longtake_media::{MediaInfo, ProbeError, ReadAt, padded_mp4, probe, thumbnail, tiny_mp4};
use shiguredo_mp4::TrackKind;
use shiguredo_mp4::bitstream::h264::{H264SampleEntryConfig, LengthSize, build_avc1_box};
use shiguredo_mp4::boxes::SampleEntry;
use shiguredo_mp4::mux::{Mp4FileMuxer, Sample};

use crate::tools::made;

const PICTURE: [&str; 4] = ["-f", "lavfi", "-i", "testsrc2=size=192x108:rate=24:duration=2"];
const SOUND: [&str; 4] = ["-f", "lavfi", "-i", "sine=frequency=440:duration=2"];

fn info(codec: &str, has_audio: bool) -> MediaInfo {
    MediaInfo { width: 192, height: 108, duration_ms: 2000, frames: 48, codec: codec.to_owned(), has_audio }
}

fn h264(rest: &[&str]) -> Vec<u8> {
    made(&[&PICTURE[..], &["-c:v", "libx264", "-pix_fmt", "yuv420p"], rest].concat(), "video.mp4")
}

#[test]
fn index_in_front_and_at_the_end() {
    let end = h264(&[]);
    let front = h264(&["-movflags", "+faststart"]);
    let at = |bytes: &[u8], name: &[u8]| bytes.windows(4).position(|window| window == name).unwrap();
    assert!(at(&end, b"moov") > at(&end, b"mdat") && at(&front, b"moov") < at(&front, b"mdat"));
    assert_eq!(probe(&end).unwrap(), info("avc1", false));
    assert_eq!(probe(&front).unwrap(), info("avc1", false));
}

#[test]
fn audio_and_time_codes() {
    let with =
        [&PICTURE[..], &SOUND[..], &["-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac", "-shortest"]].concat();
    assert_eq!(probe(&made(&with, "sound.mp4")).unwrap(), info("avc1", true));
    let code = probe(&h264(&["-timecode", "01:00:00:00"])).unwrap();
    assert_eq!(code, info("avc1", false));
    let only = made(&[&SOUND[..], &["-c:a", "aac"]].concat(), "only.mp4");
    assert!(matches!(probe(&only), Err(ProbeError::NoVideo(_))));
}

#[test]
fn other_codecs() {
    let codecs = [
        ("hev1", &["-c:v", "libx265", "-x265-params", "log-level=none"][..]),
        ("hvc1", &["-c:v", "libx265", "-x265-params", "log-level=none", "-tag:v", "hvc1"][..]),
        ("vp09", &["-c:v", "libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime"][..]),
        ("av01", &["-c:v", "libaom-av1", "-cpu-used", "8", "-usage", "realtime"][..]),
        ("mp4v", &["-c:v", "mpeg4"][..]),
    ];
    for (name, arguments) in codecs {
        let bytes = made(&[&PICTURE[..], arguments, &["-pix_fmt", "yuv420p"]].concat(), "other.mp4");
        assert_eq!(probe(&bytes).unwrap(), info(name, false));
    }
}

#[test]
fn fragmented_files() {
    let flags = ["-g", "12", "-movflags", "frag_keyframe+empty_moov+default_base_moof"];
    let bytes = h264(&flags);
    assert_eq!(probe(&bytes).unwrap(), info("avc1", false));
    let with_audio = [&PICTURE[..], &SOUND[..], &["-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac"], &flags[..]];
    assert_eq!(probe(&made(&with_audio.concat(), "pipe.mp4")).unwrap(), info("avc1", true));
    // Absolute and implicit offsets, as older writers have them.
    let older = h264(&["-g", "12", "-movflags", "frag_keyframe+empty_moov"]);
    assert_eq!(probe(&older).unwrap(), info("avc1", false));
    assert!(!thumbnail(&bytes).unwrap().is_empty());
    assert!(matches!(probe(&bytes[..bytes.len() * 2 / 3].to_vec()), Err(ProbeError::Truncated(_))));
}

#[test]
fn every_truncation_is_noticed() {
    for bytes in [tiny_mp4(64, 36, 12, 1, None), h264(&["-frames:v", "6"])] {
        for length in 0..bytes.len() {
            assert!(probe(&bytes[..length].to_vec()).is_err(), "{length} of {} bytes pass", bytes.len());
        }
    }
    // Padding counts too, once its header says how much there should be.
    let video = tiny_mp4(64, 36, 2, 1, None).len();
    let padded = tiny_mp4(64, 36, 2, 1, Some(6000));
    for length in (0..video).chain(video + 8..6000) {
        assert!(probe(&padded[..length].to_vec()).is_err(), "{length} of 6000 bytes pass");
    }
}

#[test]
fn samples_must_lie_inside_the_file() {
    let whole = h264(&[]);
    let field = |name: &[u8], offset: usize| whole.windows(4).position(|window| window == name).unwrap() + offset;
    // The offset of the first chunk, the size of the first sample, a chunk of four thousand million samples.
    for (at, value) in
        [(field(b"stco", 12), whole.len() as u32 - 3), (field(b"stsz", 16), 1 << 24), (field(b"stsc", 16), u32::MAX)]
    {
        let mut damaged = whole.clone();
        damaged[at..at + 4].copy_from_slice(&value.to_be_bytes());
        assert!(matches!(probe(&damaged), Err(ProbeError::Truncated(_) | ProbeError::Damaged(_))), "byte {at}");
    }
    // All samples of one size: no table says how many there are, so the number may be anything.
    let at = field(b"stsz", 8);
    let mut endless = whole.clone();
    endless[at..at + 4].copy_from_slice(&1000_u32.to_be_bytes());
    endless[at + 4..at + 8].copy_from_slice(&u32::MAX.to_be_bytes());
    assert!(probe(&endless).is_err());
}

#[test]
fn other_things_are_not_videos() {
    let things: [&[u8]; 6] = [
        b"",
        b"<!DOCTYPE html><html><body>Not found</body></html>",
        br#"{"error":{"message":"expired"}}"#,
        &[0; 4096],
        b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom",
        b"\x00\x00\x00\x08moov",
    ];
    for thing in things {
        assert!(probe(&thing.to_vec()).is_err(), "{:?}", String::from_utf8_lossy(thing));
    }
}

/// A file of any length of which only some parts are in memory; the rest reads as zeros.
struct Sparse {
    len: u64,
    parts: Vec<(u64, Vec<u8>)>,
    read: AtomicU64,
}

impl ReadAt for Sparse {
    fn len(&self) -> u64 {
        self.len
    }
    fn read_at(&self, offset: u64, len: usize) -> std::io::Result<Vec<u8>> {
        let len = len.min(self.len.saturating_sub(offset) as usize);
        self.read.fetch_add(len as u64, Ordering::Relaxed);
        let mut bytes = vec![0; len];
        for (start, part) in &self.parts {
            for (index, byte) in part.iter().enumerate() {
                let at = start + index as u64;
                if (offset..offset + len as u64).contains(&at) {
                    bytes[(at - offset) as usize] = *byte;
                }
            }
        }
        Ok(bytes)
    }
}

#[test]
fn gigabytes_of_padding_are_not_read() {
    for total in [5_u64 << 30, 40 << 30, (1 << 32) + 4000] {
        let padded = padded_mp4(64, 36, 12, 1, total).unwrap();
        assert_eq!(padded.head.len() as u64 + padded.padding, total);
        let file = Sparse { len: total, parts: vec![(0, padded.head)], read: AtomicU64::new(0) };
        assert_eq!(probe(&file).unwrap().frames, 12);
        assert!(file.read.load(Ordering::Relaxed) < 100_000);
    }
}

#[test]
fn samples_beyond_four_gigabytes() {
    let picture = made(
        &[&PICTURE[..], &["-c:v", "libx264", "-pix_fmt", "yuv420p", "-frames:v", "1", "-f", "h264"]].concat(),
        "one",
    );
    let units = shiguredo_mp4::bitstream::h264::parse_annexb_nal_units(&picture).unwrap();
    let of = |kind: u8| {
        units.iter().filter(|unit| unit.data[0] & 31 == kind).map(|unit| unit.data.to_vec()).collect::<Vec<_>>()
    };
    let config = H264SampleEntryConfig { length_size: LengthSize::FourBytes };
    let entry = SampleEntry::Avc1(build_avc1_box(&of(7), &of(8), &config).unwrap());
    let slice = &of(5)[0];
    let data = [&(slice.len() as u32).to_be_bytes()[..], slice].concat();

    let mut muxer = Mp4FileMuxer::new().unwrap();
    let mut parts = vec![(0, muxer.initial_boxes_bytes().to_vec())];
    let mut position = parts[0].1.len() as u64;
    for number in 0..3_u64 {
        let sample = Sample {
            track_kind: TrackKind::Video,
            sample_entry: (number == 0).then(|| entry.clone()),
            keyframe: true,
            timescale: NonZeroU32::new(24).unwrap(),
            duration: 1,
            composition_time_offset: None,
            data_offset: position,
            data_size: data.len(),
        };
        muxer.append_sample(&sample).unwrap();
        parts.push((position, data.clone()));
        position += data.len() as u64;
        muxer.advance_position(3 << 30).unwrap();
        position += 3 << 30;
    }
    let boxes = muxer.finalize().unwrap();
    parts.extend(boxes.offset_and_bytes_pairs().map(|(at, bytes)| (at, bytes.to_vec())));
    let len = parts.iter().map(|(at, bytes)| at + bytes.len() as u64).max().unwrap();
    assert!(len > 9 << 30);
    // Later parts overwrite earlier ones, as writing them to a file would.
    let file = Sparse { len, parts, read: AtomicU64::new(0) };
    assert_eq!(probe(&file).unwrap().frames, 3);
    assert!(!thumbnail(&file).unwrap().is_empty());
    assert!(file.read.load(Ordering::Relaxed) < 1_000_000, "{} bytes read", file.read.load(Ordering::Relaxed));
    let shorter = Sparse { len: len - 1, parts: file.parts, read: AtomicU64::new(0) };
    assert!(probe(&shorter).is_err());
}

#[test]
fn an_endless_index_is_refused_unread() {
    let mut head = b"\x00\x00\x00\x10ftypisom\x00\x00\x00\x00".to_vec();
    head.extend_from_slice(b"\x70\x00\x00\x00moov");
    let file = Sparse { len: 4 << 30, parts: vec![(0, head)], read: AtomicU64::new(0) };
    assert!(matches!(probe(&file), Err(ProbeError::TooLarge(_))));
    assert!(file.read.load(Ordering::Relaxed) < 1000);
    // A file of nothing but empty boxes ends too.
    let boxes = b"\x00\x00\x00\x08free".repeat(200_000);
    assert!(matches!(probe(&boxes), Err(ProbeError::TooLarge(_))));
}

#[test]
fn trouble_with_the_storage_is_not_trouble_with_the_file() {
    struct Failing;
    impl ReadAt for Failing {
        fn len(&self) -> u64 {
            1000
        }
        fn read_at(&self, _: u64, _: usize) -> std::io::Result<Vec<u8>> {
            Err(std::io::Error::other("gone"))
        }
    }
    assert!(matches!(probe(&Failing), Err(ProbeError::Read(_))));
}
