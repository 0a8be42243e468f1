//! Single pictures out of a stored H.264 video, with a bound on what they may cost.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rusty_h264::{DecodeError, Decoder, YuvFrame};
use shiguredo_mp4::boxes::SampleEntry;

use crate::pictures::PictureError;
use crate::probe::{Frame, Movie, ReadAt};
use crate::scale::ColourSystem;
use crate::sps::{self, Sequence};

/// Bytes of one frame; a lossless one of 4K has 12 MB.
const MAX_FRAME_BYTES: u32 = 16 << 20;
/// Coded pixels of one picture: those of level 5.1, 4096 x 2304.
const MAX_CODED_PIXELS: u64 = 36_864 * 256;
/// Lines up to here are taken for BT.601 where the stream does not say.
const STANDARD_DEFINITION_LINES: u32 = 576;

/// Decodes pictures by their number.
pub(crate) struct FrameReader<'a> {
    source: &'a dyn ReadAt,
    frames: &'a [Frame],
    height: u32,
    /// Parameter sets of the sample entry, behind start codes.
    sets: Vec<u8>,
    length_bytes: usize,
    sequence: Sequence,
    decoder: Decoder,
    /// The frame that the decoder can take next; `None` before the first key frame and after an error.
    next: Option<usize>,
    /// Coded pixels that may still be decoded.
    budget: u64,
}

impl<'a> FrameReader<'a> {
    /// Starts on a video; `budget` is in coded pixels (a quarter of a thousand million take about a second).
    pub fn new(source: &'a dyn ReadAt, movie: &'a Movie, budget: u64) -> Result<Self, PictureError> {
        let SampleEntry::Avc1(entry) = &movie.entry else {
            return Err(PictureError::Unsupported(format!("frames of codec {} cannot be decoded", movie.info.codec)));
        };
        let configuration = &entry.avcc_box;
        let mut reader = Self {
            source,
            frames: &movie.frames,
            height: movie.info.height,
            sets: Vec::new(),
            length_bytes: usize::from(configuration.length_size_minus_one.get()) + 1,
            sequence: Sequence { coded_pixels: 0, full_range: false, matrix: 2 },
            decoder: Decoder::new(),
            next: None,
            budget,
        };
        for set in &configuration.sps_list {
            reader.accept(set)?;
        }
        for set in configuration.sps_list.iter().chain(&configuration.pps_list) {
            reader.sets.extend_from_slice(&[0, 0, 0, 1]);
            reader.sets.extend_from_slice(set);
        }
        Ok(reader)
    }

    /// How the numbers of this video stand for colours.
    pub fn colours(&self) -> ColourSystem {
        let bt709 = match self.sequence.matrix {
            1 => true,
            5 | 6 => false,
            _ => self.height > STANDARD_DEFINITION_LINES,
        };
        ColourSystem { bt709, full_range: self.sequence.full_range }
    }

    /// The last key frame at or before a frame.
    pub fn key_before(&self, index: usize) -> Option<usize> {
        self.frames[..=index].iter().rposition(|frame| frame.key)
    }

    /// Whether a frame can be reached with what is left, if this many other frames shall be reached too.
    pub fn affordable(&self, index: usize, others: u64) -> bool {
        let Some(start) = self.start_for(index) else { return false };
        let cost = (index - start + 1) as u64 * self.sequence.coded_pixels.max(1);
        cost <= self.budget / (others + 1)
    }

    /// Where decoding starts to get to a frame: where the decoder is, or the key frame before it.
    fn start_for(&self, index: usize) -> Option<usize> {
        let key = self.key_before(index)?;
        Some(self.next.filter(|next| (key..=index).contains(next)).unwrap_or(key))
    }

    /// Decodes up to a frame and gives that one.
    pub fn picture(&mut self, index: usize) -> Result<YuvFrame, PictureError> {
        let broken = |what: &str| PictureError::Broken(format!("frame {index} {what}"));
        let start = self.start_for(index).ok_or_else(|| broken("has no key frame before it"))?;
        let mut picture = None;
        for number in start..=index {
            picture = self.decode(number)?;
        }
        let picture = picture.ok_or_else(|| broken("decodes to nothing"))?;
        let (width, height) = (picture.width, picture.height);
        let chroma = (width / 2) * (height / 2);
        if width < 2 || height < 2 || picture.y.len() < width * height || picture.u.len().min(picture.v.len()) < chroma
        {
            return Err(broken("decodes to an unknown format"));
        }
        Ok(picture)
    }

    fn decode(&mut self, number: usize) -> Result<Option<YuvFrame>, PictureError> {
        let frame = self.frames[number];
        if self.next != Some(number) {
            self.decoder = Decoder::new();
        }
        self.next = None;
        if frame.size > MAX_FRAME_BYTES {
            return Err(PictureError::Broken(format!("frame {number} has {} bytes", frame.size)));
        }
        let sample = self.source.read_at(frame.offset, frame.size as usize);
        let sample = sample.map_err(|error| PictureError::Broken(format!("frame {number}: {error}")))?;
        let unit = self.access_unit(&sample, frame.key)?;
        self.budget = self.budget.checked_sub(self.sequence.coded_pixels).ok_or_else(|| {
            PictureError::Broken(format!("frame {number} is too far from a key frame to be worth decoding"))
        })?;
        // The decoder promises not to panic; it is young, and what it reads comes from strangers.
        let decoded = catch_unwind(AssertUnwindSafe(|| self.decoder.decode(&unit)));
        let picture = match decoded {
            Ok(Ok(picture)) => picture,
            Ok(Err(DecodeError::Unsupported(what))) => return Err(PictureError::Unsupported(what.to_owned())),
            Ok(Err(error)) => return Err(PictureError::Broken(error.to_string())),
            Err(_) => {
                self.decoder = Decoder::new();
                return Err(PictureError::Broken(format!("frame {number} cannot be decoded")));
            }
        };
        self.next = Some(number + 1);
        Ok(picture)
    }

    /// The slices and parameter sets of a sample behind start codes.
    fn access_unit(&mut self, mut rest: &[u8], key: bool) -> Result<Vec<u8>, PictureError> {
        let mut unit = Vec::with_capacity(rest.len() + self.sets.len() + 16);
        if key {
            unit.extend_from_slice(&self.sets);
        }
        while let Some((length, tail)) = rest.split_at_checked(self.length_bytes) {
            let length = length.iter().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
            let nal = tail.get(..length).ok_or_else(|| PictureError::Broken("a slice is cut off".into()))?;
            rest = &tail[length..];
            match nal.first().map(|header| header & 0x1f) {
                Some(7) => self.accept(nal)?,
                Some(1 | 5 | 8) => {}
                // Hints, delimiters, filler: not needed for the picture.
                _ => continue,
            }
            unit.extend_from_slice(&[0, 0, 0, 1]);
            unit.extend_from_slice(nal);
        }
        Ok(unit)
    }

    /// Looks at a sequence parameter set before the decoder does: it decides how much memory a picture takes.
    fn accept(&mut self, set: &[u8]) -> Result<(), PictureError> {
        let sequence = sps::parse(set).ok_or_else(|| PictureError::Broken("its parameters cannot be read".into()))?;
        if sequence.coded_pixels > MAX_CODED_PIXELS {
            let pixels = sequence.coded_pixels;
            return Err(PictureError::Unsupported(format!(
                "frames of {pixels} pixels, {MAX_CODED_PIXELS} are possible"
            )));
        }
        self.sequence = Sequence { coded_pixels: sequence.coded_pixels.max(self.sequence.coded_pixels), ..sequence };
        Ok(())
    }
}
