//! Fragmented MP4 (`moof` boxes): what a server gets that pipes its encoder's output instead of seeking in a file.
//!
//! Parsed here and not by the library, because a hostile `trun` of twenty bytes may announce millions of samples and
//! the library builds them before anyone can count. Layout: ISO/IEC 14496-12, 8.8 (movie fragments).

use std::ops::Range;

use shiguredo_mp4::boxes::{HdlrBox, MoovBox, MvexBox};

use crate::probe::{Frame, MAX_FRAMES, Movie, ProbeError, ReadAt, milliseconds, movie};

/// Largest `moof` box, in bytes; one for each second has a few hundred.
const MAX_MOOF_BYTES: u64 = 4 << 20;
/// Samples of all tracks together: audio has fewer than twice as many as video.
const MAX_SAMPLES: usize = 4 * MAX_FRAMES;

/// Sample defaults of a track: from `trex`, then overridden by `tfhd`.
#[derive(Clone, Copy, Default)]
struct Defaults {
    duration: u32,
    size: u32,
    flags: u32,
}

/// One track and what was found for it.
struct Track {
    id: u32,
    defaults: Defaults,
    is_video: bool,
    samples: usize,
    /// Decoding time after the last sample.
    time: u64,
    frames: Vec<Frame>,
}

/// Opens a file whose samples are listed in fragments.
pub(crate) fn open(
    source: &dyn ReadAt,
    moov: &MoovBox,
    mvex: &MvexBox,
    moofs: &[Range<u64>],
) -> Result<Movie, ProbeError> {
    let mut tracks: Vec<Track> = Vec::new();
    for trak in &moov.trak_boxes {
        let is_video = trak.mdia_box.hdlr_box.handler_type == HdlrBox::HANDLER_TYPE_VIDE;
        if !is_video && trak.mdia_box.hdlr_box.handler_type != HdlrBox::HANDLER_TYPE_SOUN {
            continue;
        }
        let id = trak.tkhd_box.track_id;
        let defaults = mvex.trex_boxes.iter().find(|trex| trex.track_id == id).map(|trex| Defaults {
            duration: trex.default_sample_duration,
            size: trex.default_sample_size,
            flags: trex.default_sample_flags.get(),
        });
        let defaults = defaults.unwrap_or_default();
        tracks.push(Track { id, defaults, is_video, samples: 0, time: 0, frames: Vec::new() });
    }
    let mut budget = MAX_SAMPLES;
    for moof in moofs {
        let bytes = moof.end - moof.start;
        if bytes > MAX_MOOF_BYTES {
            return Err(ProbeError::TooLarge(format!("a fragment's index has {bytes} bytes")));
        }
        let content = source.read_at(moof.start, bytes as usize)?;
        let mut previous_end = moof.start;
        for (kind, content) in boxes(content.get(8..).unwrap_or_default()) {
            if kind == *b"traf" {
                fragment(content, moof.start, &mut previous_end, source.len(), &mut tracks, &mut budget)?;
            }
        }
    }
    let has_audio = tracks.iter().any(|track| !track.is_video && track.samples > 0);
    let Some(video) = tracks.into_iter().find(|track| track.is_video && !track.frames.is_empty()) else {
        return Err(ProbeError::NoVideo("no video track with frames".into()));
    };
    let Some(trak) = moov.trak_boxes.iter().find(|trak| trak.tkhd_box.track_id == video.id) else {
        return Err(ProbeError::Damaged("a track is gone".into()));
    };
    let Some(entry) = trak.mdia_box.minf_box.stbl_box.stsd_box.entries.first() else {
        return Err(ProbeError::Damaged("its video track names no codec".into()));
    };
    let start = video.frames.first().map_or(0, |frame| frame.time);
    let duration = milliseconds(video.time.saturating_sub(start), trak.mdia_box.mdhd_box.timescale);
    let size = (&trak.tkhd_box.width, &trak.tkhd_box.height);
    let size = (u32::from(size.0.integer.max(0).unsigned_abs()), u32::from(size.1.integer.max(0).unsigned_abs()));
    let mut movie = movie(entry.clone(), video.frames, size, duration)?;
    movie.info.has_audio = has_audio;
    Ok(movie)
}

/// Reads one `traf` box.
fn fragment(
    content: &[u8],
    moof_start: u64,
    previous_end: &mut u64,
    file_len: u64,
    tracks: &mut [Track],
    budget: &mut usize,
) -> Result<(), ProbeError> {
    let damaged = || ProbeError::Damaged("a fragment's index is cut off".into());
    let tfhd = boxes(content).find(|(kind, _)| kind == b"tfhd").ok_or_else(damaged)?.1;
    let mut reader = Reader(tfhd);
    let flags = reader.u32().ok_or_else(damaged)? & 0x00ff_ffff;
    let id = reader.u32().ok_or_else(damaged)?;
    let Some(track) = tracks.iter_mut().find(|track| track.id == id) else { return Ok(()) };
    // Without a word the data of the first track starts at the fragment, that of the next where the last ended.
    let mut base = if flags & 0x02_0000 == 0 { *previous_end } else { moof_start };
    if flags & 0x1 != 0 {
        base = reader.u64().ok_or_else(damaged)?;
    }
    if flags & 0x2 != 0 {
        reader.u32().ok_or_else(damaged)?;
    }
    let mut defaults = track.defaults;
    for (bit, field) in [(0x8, &mut defaults.duration), (0x10, &mut defaults.size), (0x20, &mut defaults.flags)] {
        if flags & bit != 0 {
            *field = reader.u32().ok_or_else(damaged)?;
        }
    }
    let mut at = base;
    for (kind, content) in boxes(content) {
        let mut reader = Reader(content);
        match &kind {
            b"tfdt" => {
                let version = reader.u32().ok_or_else(damaged)? >> 24;
                let time = if version == 0 { reader.u32().map(u64::from) } else { reader.u64() };
                track.time = time.ok_or_else(damaged)?;
            }
            b"trun" => run(reader, base, &mut at, file_len, defaults, track, budget)?,
            _ => {}
        }
    }
    *previous_end = at;
    Ok(())
}

/// Reads one `trun` box: `base` is where its offset counts from, `at` where its data goes on without one.
fn run(
    mut reader: Reader<'_>,
    base: u64,
    at: &mut u64,
    file_len: u64,
    defaults: Defaults,
    track: &mut Track,
    budget: &mut usize,
) -> Result<(), ProbeError> {
    let damaged = || ProbeError::Damaged("a fragment's sample list is cut off".into());
    let flags = reader.u32().ok_or_else(damaged)? & 0x00ff_ffff;
    let count = reader.u32().ok_or_else(damaged)? as usize;
    *budget =
        budget.checked_sub(count).ok_or_else(|| ProbeError::TooLarge(format!("more than {MAX_SAMPLES} samples")))?;
    if flags & 0x1 != 0 {
        let offset = reader.u32().ok_or_else(damaged)?.cast_signed();
        *at = base.checked_add_signed(i64::from(offset)).ok_or_else(damaged)?;
    }
    let mut first_flags = None;
    if flags & 0x4 != 0 {
        first_flags = Some(reader.u32().ok_or_else(damaged)?);
    }
    for index in 0..count {
        let mut sample = defaults;
        for (bit, field) in [(0x100, &mut sample.duration), (0x200, &mut sample.size), (0x400, &mut sample.flags)] {
            if flags & bit != 0 {
                *field = reader.u32().ok_or_else(damaged)?;
            }
        }
        if flags & 0x800 != 0 {
            reader.u32().ok_or_else(damaged)?;
        }
        if let Some(first) = first_flags.filter(|_| index == 0) {
            sample.flags = first;
        }
        let end = at.checked_add(u64::from(sample.size)).filter(|end| *end <= file_len).ok_or_else(|| {
            ProbeError::Truncated(format!("a sample of {} bytes at {at}, the file has {file_len}", sample.size))
        })?;
        if track.is_video && track.frames.len() < MAX_FRAMES {
            let key = sample.flags & 0x0001_0000 == 0;
            track.frames.push(Frame { offset: *at, size: sample.size, time: track.time, key });
        }
        track.samples += 1;
        track.time = track.time.saturating_add(u64::from(sample.duration));
        *at = end;
    }
    Ok(())
}

/// The boxes inside a box, as type and content; ends at the first that is not whole.
fn boxes(mut rest: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let mut reader = Reader(rest);
        let size = reader.u32()? as usize;
        let kind = reader.u32()?.to_be_bytes();
        let content = rest.get(8..size)?;
        rest = &rest[size..];
        Some((kind, content))
    })
}

/// Big-endian fields, one after the other.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn u32(&mut self) -> Option<u32> {
        let (head, tail) = self.0.split_first_chunk()?;
        self.0 = tail;
        Some(u32::from_be_bytes(*head))
    }
    fn u64(&mut self) -> Option<u64> {
        let (head, tail) = self.0.split_first_chunk()?;
        self.0 = tail;
        Some(u64::from_be_bytes(*head))
    }
}
