//! Puts encoded frames into an MP4 with the index in front, so that players start before the file is whole.

use std::num::NonZeroU32;

use shiguredo_mp4::bitstream::h264::{
    H264NalUnitType, H264SampleEntryConfig, LengthSize, build_avc1_box_from_annexb, parse_annexb_nal_units,
};
use shiguredo_mp4::boxes::{SampleEntry, UnknownBox};
use shiguredo_mp4::mux::{Mp4FileMuxer, Mp4FileMuxerOptions, Sample, estimate_maximum_moov_box_size};
use shiguredo_mp4::{BoxSize, BoxType, TrackKind};

use crate::encode::EncodedFrame;

/// Content of a `colr` box (ISO/IEC 14496-12, 12.1.5): BT.709 primaries, transfer and matrix, limited range.
const COLOUR: [u8; 11] = [b'n', b'c', b'l', b'x', 0, 1, 0, 1, 0, 1, 0];

/// One video track, growing in memory.
pub(crate) struct Mp4Writer {
    muxer: Mp4FileMuxer,
    bytes: Vec<u8>,
    entry: Option<SampleEntry>,
    timescale: NonZeroU32,
}

/// Units of the timescale that one frame lasts: a scale of plain frames per second would do, but some players
/// round times of such coarse scales.
const UNITS_PER_FRAME: u32 = 512;

impl Mp4Writer {
    /// Starts a file for `frames` frames; the room for their index is reserved in front.
    pub fn new(fps: u32, frames: u32) -> Result<Self, String> {
        let reserved_moov_box_size = estimate_maximum_moov_box_size(&[frames as usize]);
        let options = Mp4FileMuxerOptions { reserved_moov_box_size, ..Mp4FileMuxerOptions::default() };
        let muxer = Mp4FileMuxer::with_options(options).map_err(|error| error.to_string())?;
        let bytes = muxer.initial_boxes_bytes().to_vec();
        let timescale = NonZeroU32::new(fps * UNITS_PER_FRAME).ok_or("no frames per second")?;
        Ok(Self { muxer, bytes, entry: None, timescale })
    }

    /// Appends one frame.
    pub fn push(&mut self, frame: &EncodedFrame) -> Result<(), String> {
        let mut sample_entry = None;
        if self.entry.is_none() {
            let config = H264SampleEntryConfig { length_size: LengthSize::FourBytes };
            let mut entry = build_avc1_box_from_annexb(&frame.annex_b, &config).map_err(|error| error.to_string())?;
            let box_type = BoxType::Normal(*b"colr");
            let box_size = BoxSize::with_payload_size(box_type, COLOUR.len() as u64);
            entry.unknown_boxes.push(UnknownBox { box_type, box_size, payload: COLOUR.to_vec() });
            self.entry = Some(SampleEntry::Avc1(entry));
            sample_entry.clone_from(&self.entry);
        }
        let data = without_parameter_sets(&frame.annex_b)?;
        let sample = Sample {
            track_kind: TrackKind::Video,
            sample_entry,
            keyframe: frame.key,
            timescale: self.timescale,
            duration: UNITS_PER_FRAME,
            composition_time_offset: None,
            data_offset: self.bytes.len() as u64,
            data_size: data.len(),
        };
        self.muxer.append_sample(&sample).map_err(|error| error.to_string())?;
        self.bytes.extend_from_slice(&data);
        Ok(())
    }

    /// Writes the index and gives the file.
    pub fn finish(mut self) -> Result<Vec<u8>, String> {
        let boxes = self.muxer.finalize().map_err(|error| error.to_string())?;
        if !boxes.is_faststart_enabled() {
            return Err("the index outgrew the room reserved for it".into());
        }
        for (offset, content) in boxes.offset_and_bytes_pairs() {
            let start = offset as usize;
            let room = self.bytes.get_mut(start..start + content.len()).ok_or("a box lies outside the file")?;
            room.copy_from_slice(content);
        }
        Ok(self.bytes)
    }
}

/// Length-prefixed NAL units of a frame without SPS and PPS: those are in the sample entry.
fn without_parameter_sets(annex_b: &[u8]) -> Result<Vec<u8>, String> {
    let units = parse_annexb_nal_units(annex_b).map_err(|error| error.to_string())?;
    let mut kept = Vec::with_capacity(annex_b.len());
    for unit in units.iter().filter(|unit| !matches!(unit.nal_unit_type, H264NalUnitType::Sps | H264NalUnitType::Pps)) {
        let length = u32::try_from(unit.data.len()).map_err(|error| error.to_string())?;
        kept.extend_from_slice(&length.to_be_bytes());
        kept.extend_from_slice(unit.data);
    }
    Ok(kept)
}
