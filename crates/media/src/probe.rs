//! Is this stored file a playable MP4, and what is in it?

use std::num::NonZeroU32;

use shiguredo_mp4::aux::SampleTableAccessor;
use shiguredo_mp4::boxes::{HdlrBox, MoovBox, SampleEntry, StblBox, StszBox, TrakBox};
use shiguredo_mp4::{BoxType, Decode};

use crate::fragments;

/// Largest `moov` box that is read into memory, in bytes: hours of video need less than 4 MiB.
const MAX_MOOV_BYTES: u64 = 16 << 20;
/// Boxes looked at on the top level. A fragmented file has two for each fragment.
const MAX_TOP_LEVEL_BOXES: usize = 100_000;
/// Frames of one video track: more than four hours at 60 frames per second.
pub(crate) const MAX_FRAMES: usize = 1_000_000;
/// Bytes of the longest box header that is needed: size, type and the 64-bit size.
const BOX_HEADER_BYTES: usize = 16;

/// Random access to a stored file; the caller does the I/O.
pub trait ReadAt {
    /// Bytes of the whole file.
    fn len(&self) -> u64;
    /// Reads `len` bytes from `offset`; the answer is shorter only at the end of the file.
    ///
    /// # Errors
    /// Whatever the storage says.
    fn read_at(&self, offset: u64, len: usize) -> std::io::Result<Vec<u8>>;
    /// Whether the file has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A file in memory.
impl ReadAt for &[u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }
    fn read_at(&self, offset: u64, len: usize) -> std::io::Result<Vec<u8>> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(<[u8]>::len(self));
        let end = start.saturating_add(len).min(<[u8]>::len(self));
        Ok(self[start..end].to_vec())
    }
}

/// A file in memory.
impl ReadAt for Vec<u8> {
    fn len(&self) -> u64 {
        self.as_slice().len() as u64
    }
    fn read_at(&self, offset: u64, len: usize) -> std::io::Result<Vec<u8>> {
        ReadAt::read_at(&self.as_slice(), offset, len)
    }
}

/// What a playable file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaInfo {
    /// Width of a frame in pixels, as the sample entry says.
    pub width: u32,
    /// Height of a frame in pixels, as the sample entry says.
    pub height: u32,
    /// Length of the video track in milliseconds.
    pub duration_ms: u64,
    /// Frames of the video track.
    pub frames: u32,
    /// Four-character code of the video's sample entry: `avc1`, `hev1`, `hvc1`, `av01`, `vp09`, …
    pub codec: String,
    /// Whether there is an audio track with samples.
    pub has_audio: bool,
}

/// Why a file is not playable.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The storage could not be read; says nothing about the file.
    #[error("the file could not be read: {0}")]
    Read(#[from] std::io::Error),
    /// The bytes are no MP4 at all, e.g. an HTML or JSON answer.
    #[error("not an MP4 file: {0}")]
    NotMp4(String),
    /// The file ends before the data it promises.
    #[error("the file is cut off: {0}")]
    Truncated(String),
    /// The index of the file contradicts itself.
    #[error("the file is damaged: {0}")]
    Damaged(String),
    /// There is nothing to watch in it.
    #[error("the file has no video: {0}")]
    NoVideo(String),
    /// A bound of this program was reached, see the message.
    #[error("the file is out of bounds: {0}")]
    TooLarge(String),
}

/// One frame in the file, in decoding order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    pub offset: u64,
    pub size: u32,
    /// Decoding time in units of the track's timescale.
    pub time: u64,
    /// Whether decoding can start here.
    pub key: bool,
}

/// The video track of an opened file: what [`probe`] tells, and where the frames are.
pub(crate) struct Movie {
    pub info: MediaInfo,
    pub entry: SampleEntry,
    pub frames: Vec<Frame>,
}

/// Looks whether a stored file is playable: its index parses, it has a video track with frames, and every sample of
/// video and audio lies inside the file.
///
/// # Errors
/// [`ProbeError`] says why it is not. Memory is bounded by the index (16 MiB), not by the file.
pub fn probe(source: &dyn ReadAt) -> Result<MediaInfo, ProbeError> {
    open(source).map(|movie| movie.info)
}

/// Opens a file for [`probe`] and for the pictures.
pub(crate) fn open(source: &dyn ReadAt) -> Result<Movie, ProbeError> {
    let layout = walk(source)?;
    let bytes = source.read_at(layout.moov.start, (layout.moov.end - layout.moov.start) as usize)?;
    if (bytes.len() as u64) < layout.moov.end - layout.moov.start {
        return Err(ProbeError::Truncated("its index could not be read to the end".into()));
    }
    let (moov, _) = MoovBox::decode(&bytes).map_err(|error| ProbeError::Damaged(error.to_string()))?;
    drop(bytes);
    let movie_ms = milliseconds(moov.mvhd_box.duration, moov.mvhd_box.timescale);
    if let Some(mvex) = &moov.mvex_box
        && !layout.moofs.is_empty()
    {
        return fragments::open(source, &moov, mvex, &layout.moofs);
    }
    let file_len = source.len();
    let mut video: Option<Movie> = None;
    let mut has_audio = false;
    for trak in moov.trak_boxes {
        match trak.mdia_box.hdlr_box.handler_type {
            HdlrBox::HANDLER_TYPE_VIDE if video.is_none() => video = video_track(trak, file_len, movie_ms)?,
            HdlrBox::HANDLER_TYPE_SOUN => has_audio |= audio_track(trak, file_len)?,
            // A second picture track (a cover), time codes, subtitles: not what a player needs to show the video.
            _ => {}
        }
    }
    let mut movie = video.ok_or_else(|| ProbeError::NoVideo("no video track with frames".into()))?;
    movie.info.has_audio = has_audio;
    Ok(movie)
}

/// Where the index boxes are.
struct Layout {
    moov: std::ops::Range<u64>,
    moofs: Vec<std::ops::Range<u64>>,
}

/// Walks the top level by headers alone, so that gigabytes of `mdat` are never read.
fn walk(source: &dyn ReadAt) -> Result<Layout, ProbeError> {
    let len = source.len();
    let (mut position, mut moov, mut moofs) = (0_u64, None, Vec::new());
    for _ in 0..MAX_TOP_LEVEL_BOXES {
        // Fewer bytes than a header: padding behind the last box, which players ignore too.
        if len - position < 8 {
            let moov = moov.ok_or_else(|| match position {
                0 => ProbeError::NotMp4(format!("it has only {len} bytes")),
                _ => ProbeError::Truncated("it has no index (moov box)".into()),
            })?;
            return Ok(Layout { moov, moofs });
        }
        let (kind, size) = box_header(&source.read_at(position, BOX_HEADER_BYTES)?, len - position, position == 0)?;
        let end = position.checked_add(size).filter(|end| *end <= len).ok_or_else(|| {
            let name = String::from_utf8_lossy(&kind).into_owned();
            ProbeError::Truncated(format!("the {name} box at byte {position} has {size} bytes, the file {len}"))
        })?;
        match &kind {
            b"moov" if moov.is_none() && size > MAX_MOOV_BYTES => {
                return Err(ProbeError::TooLarge(format!("its index has {size} bytes, the limit is {MAX_MOOV_BYTES}")));
            }
            b"moov" if moov.is_none() => moov = Some(position..end),
            b"moof" => moofs.push(position..end),
            _ => {}
        }
        position = end;
    }
    Err(ProbeError::TooLarge(format!("more than {MAX_TOP_LEVEL_BOXES} boxes")))
}

/// Type and size of the box that starts with `header`; `rest` bytes of the file are left from its start.
fn box_header(header: &[u8], rest: u64, first: bool) -> Result<([u8; 4], u64), ProbeError> {
    let short = || ProbeError::Truncated("a box header is cut off".into());
    let size: [u8; 4] = header.get(..4).and_then(|b| b.try_into().ok()).ok_or_else(short)?;
    let kind: [u8; 4] = header.get(4..8).and_then(|b| b.try_into().ok()).ok_or_else(short)?;
    let known =
        matches!(&kind, b"ftyp" | b"styp" | b"moov" | b"mdat" | b"free" | b"skip" | b"wide" | b"uuid" | b"pnot");
    if first && !known {
        return Err(ProbeError::NotMp4(format!("it starts with {:?}", String::from_utf8_lossy(&header[..8]))));
    }
    let (size, least) = match u32::from_be_bytes(size) {
        0 => (rest, 8),
        1 => (u64::from_be_bytes(header.get(8..16).and_then(|b| b.try_into().ok()).ok_or_else(short)?), 16),
        size => (u64::from(size), 8),
    };
    if size < least {
        return Err(ProbeError::Damaged(format!("a box says it has {size} bytes")));
    }
    Ok((kind, size))
}

type Samples = SampleTableAccessor<StblBox>;

/// Checks a track's tables and that its samples lie inside the file.
fn samples(stbl: StblBox, file_len: u64) -> Result<Samples, ProbeError> {
    let table = SampleTableAccessor::new(stbl).map_err(|error| ProbeError::Damaged(error.to_string()))?;
    for chunk in table.chunks().filter(|chunk| chunk.sample_count() > 0) {
        let bytes = match &table.stbl_box().stsz_box {
            // Not sample by sample: twenty bytes of index may promise four thousand million samples.
            StszBox::Fixed { sample_size, .. } => u64::from(sample_size.get()) * u64::from(chunk.sample_count()),
            StszBox::Variable { .. } => chunk.samples().map(|sample| u64::from(sample.data_size())).sum(),
        };
        if chunk.offset().checked_add(bytes).is_none_or(|end| end > file_len) {
            let at = chunk.offset();
            return Err(ProbeError::Truncated(format!("samples of {bytes} bytes at {at}, the file has {file_len}")));
        }
    }
    Ok(table)
}

fn audio_track(trak: TrakBox, file_len: u64) -> Result<bool, ProbeError> {
    samples(trak.mdia_box.minf_box.stbl_box, file_len).map(|table| table.sample_count() > 0)
}

/// `None` when the track has no frames; another one may have some.
fn video_track(trak: TrakBox, file_len: u64, movie_ms: u64) -> Result<Option<Movie>, ProbeError> {
    let (tkhd, timescale) = (trak.tkhd_box, trak.mdia_box.mdhd_box.timescale);
    let table = samples(trak.mdia_box.minf_box.stbl_box, file_len)?;
    let count = table.sample_count();
    if count as usize > MAX_FRAMES {
        return Err(ProbeError::TooLarge(format!("{count} frames, the limit is {MAX_FRAMES}")));
    }
    let frames: Vec<Frame> = table
        .samples()
        .map(|sample| Frame {
            offset: sample.data_offset(),
            size: sample.data_size(),
            time: sample.timestamp(),
            key: sample.is_sync_sample(),
        })
        .collect();
    let Some(first) = table.get_sample(NonZeroU32::MIN) else { return Ok(None) };
    if frames.iter().all(|frame| frame.size == 0) {
        return Err(ProbeError::Damaged("all its frames are empty".into()));
    }
    let entry = first.chunk().sample_entry().clone();
    let end = table
        .get_sample(NonZeroU32::MIN.saturating_add(count - 1))
        .map_or(0, |last| last.timestamp().saturating_add(u64::from(last.duration())));
    let header_size =
        (u32::from(tkhd.width.integer.max(0).unsigned_abs()), u32::from(tkhd.height.integer.max(0).unsigned_abs()));
    let duration_ms = match milliseconds(end, timescale) {
        0 => movie_ms,
        duration => duration,
    };
    movie(entry, frames, header_size, duration_ms).map(Some)
}

/// Puts the answer together; both kinds of file end here.
pub(crate) fn movie(
    entry: SampleEntry,
    frames: Vec<Frame>,
    header_size: (u32, u32),
    duration_ms: u64,
) -> Result<Movie, ProbeError> {
    let (codec, size) = describe(&entry);
    let (width, height) = size.unwrap_or(header_size);
    if width == 0 || height == 0 {
        return Err(ProbeError::Damaged(format!("its frames have {width}x{height} pixels")));
    }
    let count = frames.len() as u32;
    let info = MediaInfo { width, height, duration_ms, frames: count, codec, has_audio: false };
    Ok(Movie { info, entry, frames })
}

/// Units of a timescale in milliseconds, rounded.
pub(crate) fn milliseconds(units: u64, timescale: NonZeroU32) -> u64 {
    let scale = u128::from(timescale.get());
    u64::try_from((u128::from(units) * 1000 + scale / 2) / scale).unwrap_or(u64::MAX)
}

/// Four-character code and, for the codecs whose entry is understood, the size of a frame.
fn describe(entry: &SampleEntry) -> (String, Option<(u32, u32)>) {
    let (name, visual) = match entry {
        SampleEntry::Avc1(entry) => ("avc1", Some(&entry.visual)),
        SampleEntry::Hev1(entry) => ("hev1", Some(&entry.visual)),
        SampleEntry::Hvc1(entry) => ("hvc1", Some(&entry.visual)),
        SampleEntry::Vp08(entry) => ("vp08", Some(&entry.visual)),
        SampleEntry::Vp09(entry) => ("vp09", Some(&entry.visual)),
        SampleEntry::Av01(entry) => ("av01", Some(&entry.visual)),
        SampleEntry::Unknown(entry) => {
            let code = match entry.box_type {
                BoxType::Normal(code) => String::from_utf8_lossy(&code).into_owned(),
                BoxType::Uuid(_) => "uuid".to_owned(),
            };
            return (code, None);
        }
        _ => ("other", None),
    };
    (name.to_owned(), visual.map(|visual| (u32::from(visual.width), u32::from(visual.height))))
}
