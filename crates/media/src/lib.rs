//! Looks into MP4 files and makes them: probe, thumbnail, sprite sheet, title card.
//!
//! How: [`probe`] walks the boxes of a stored file through [`ReadAt`] and checks that every sample lies inside it;
//! [`thumbnail`] and [`spritesheet`] decode single H.264 frames; [`render_title_card`] draws frame by frame, encodes
//! each at once and keeps only the encoded samples. Everything is synchronous and bounded: run it on a blocking thread.
//!
//! Absent on purpose: I/O, clocks and threads (the caller has them), audio, decoders other than H.264.

mod backdrop;
mod canvas;
mod card;
mod encode;
mod field;
mod fragments;
mod mux;
mod pictures;
mod probe;
mod scale;
mod seek;
mod sps;
mod text;
mod tiny;

pub use card::{RenderError, TitleCard, render_title_card};
pub use pictures::{ImageFormat, Picture, PictureError, decode_picture, sniff_image, spritesheet, thumbnail};
pub use probe::{MediaInfo, ProbeError, ReadAt, probe};
pub use tiny::{PaddedMp4, padded_mp4, tiny_mp4};

/// Largest frame width and height the title card accepts, in pixels. The longer side may be either.
pub const MAX_LONG_SIDE: u32 = 3840;
/// Largest shorter side of a title card, in pixels.
pub const MAX_SHORT_SIDE: u32 = 2160;
/// Largest frame rate of a title card, in frames per second.
pub const MAX_FPS: u32 = 60;
/// Longest title card, in seconds.
pub const MAX_SECONDS: u32 = 60;
