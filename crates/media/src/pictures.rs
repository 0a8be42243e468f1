//! Pictures: a thumbnail and a sprite sheet of a video, and input images that clients send.

use std::io::Cursor;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageReader};
use jpeg_encoder::{ColorType, Encoder};
use rusty_h264::YuvFrame;

use crate::probe::{Movie, ReadAt, open};
use crate::scale::{ColourSystem, Plane, resize, to_rgb};
use crate::seek::FrameReader;

/// Largest thumbnail, in pixels.
const THUMBNAIL: (usize, usize) = (640, 640);
/// Largest picture of a sheet, in pixels.
const TILE: (usize, usize) = (320, 640);
/// Pictures along a side of a sheet.
const SHEET_SIDE: usize = 4;
/// Quality of a thumbnail, 0 to 100: 640x360 has about 8 kB.
const WEBP_QUALITY: f32 = 78.0;
/// Quality of a sheet, 1 to 100.
const JPEG_QUALITY: u8 = 80;
/// Coded pixels decoded for one thumbnail: 160 frames of 720p.
const THUMBNAIL_BUDGET: u64 = 150_000_000;
/// Coded pixels decoded for one sheet.
const SHEET_BUDGET: u64 = 600_000_000;
/// Frames looked at for a thumbnail before the best of them is taken as it is.
const MAX_CANDIDATES: usize = 5;
/// Pixels of an input image; a phone's camera makes 50 million at most.
const MAX_PICTURE_PIXELS: u64 = 50_000_000;
/// Memory for decoding one input image, in bytes.
const MAX_PICTURE_BYTES: u64 = 512 << 20;

/// Formats of the pictures made here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageFormat {
    /// What [`thumbnail`] makes.
    WebP,
    /// What [`spritesheet`] makes.
    Jpeg,
}

impl ImageFormat {
    /// The media type for HTTP.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::WebP => "image/webp",
            Self::Jpeg => "image/jpeg",
        }
    }

    /// The usual end of a file's name, without the dot.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        match self {
            Self::WebP => "webp",
            Self::Jpeg => "jpg",
        }
    }
}

/// Why there is no picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// A format that is not decoded here (HEVC, AV1, VP9, interlaced H.264, GIF) or a picture over a limit.
    #[error("no picture: {0}")]
    Unsupported(String),
    /// The bytes are damaged.
    #[error("the picture is damaged: {0}")]
    Broken(String),
}

/// A picture in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Red, green, blue, row by row without gaps.
    pub rgb: Vec<u8>,
}

/// A lossy WebP, at most 640 pixels wide and high, of a frame about a third into the video that is worth showing.
///
/// # Errors
/// [`PictureError::Unsupported`] for every codec but H.264.
pub fn thumbnail(source: &dyn ReadAt) -> Result<Vec<u8>, PictureError> {
    let movie = open_movie(source)?;
    let mut reader = FrameReader::new(source, &movie, THUMBNAIL_BUDGET)?;
    let (mut best, mut problem) = (None, None);
    for index in candidates(&movie, &reader) {
        match reader.picture(index) {
            Ok(frame) => {
                let interest = interest(&frame);
                let enough = interest >= 1.0;
                if best.as_ref().is_none_or(|(most, _)| interest > *most) {
                    best = Some((interest, frame));
                }
                if enough {
                    break;
                }
            }
            Err(error) => problem = Some(error),
        }
    }
    let nothing = || problem.unwrap_or_else(|| PictureError::Broken("no frame can be decoded".into()));
    let (_, frame) = best.ok_or_else(nothing)?;
    let small = shrink(&frame, reader.colours(), THUMBNAIL);
    let encoded = webp::Encoder::from_rgb(&small.rgb, small.width, small.height).encode_simple(false, WEBP_QUALITY);
    encoded.map(|bytes| bytes.to_vec()).map_err(|error| PictureError::Broken(format!("WebP: {error:?}")))
}

/// A JPEG with up to 4x4 frames, evenly spread over the video, row by row, each about 320 pixels wide.
///
/// # Errors
/// [`PictureError::Unsupported`] for every codec but H.264.
pub fn spritesheet(source: &dyn ReadAt) -> Result<Vec<u8>, PictureError> {
    let movie = open_movie(source)?;
    let mut reader = FrameReader::new(source, &movie, SHEET_BUDGET)?;
    let count = movie.frames.len().min(SHEET_SIDE * SHEET_SIDE);
    let columns = (1..=SHEET_SIDE).find(|side| side * side >= count).unwrap_or(SHEET_SIDE);
    let rows = count.div_ceil(columns);
    let mut tiles: Vec<Picture> = Vec::with_capacity(count);
    for number in 0..count {
        let mut index = frame_at(&movie, (2 * number as u64 + 1) as f64 / (2 * count) as f64);
        // Long videos with few key frames: the key frame before it is better than minutes of decoding.
        if !reader.affordable(index, (count - number - 1) as u64) {
            index = reader.key_before(index).unwrap_or(index);
        }
        let tile = match reader.picture(index) {
            Ok(frame) => shrink(&frame, reader.colours(), TILE),
            // One damaged place does not spoil the others.
            Err(error) => tiles.last().cloned().ok_or(error)?,
        };
        tiles.push(tile);
    }
    encode_sheet(&tiles, columns, rows)
}

fn encode_sheet(tiles: &[Picture], columns: usize, rows: usize) -> Result<Vec<u8>, PictureError> {
    let Some(first) = tiles.first() else { return Err(PictureError::Broken("no frames".into())) };
    let (width, height) = (first.width as usize, first.height as usize);
    let mut sheet = vec![0_u8; width * columns * height * rows * 3];
    for (number, tile) in tiles.iter().enumerate() {
        if (tile.width as usize, tile.height as usize) != (width, height) {
            return Err(PictureError::Unsupported("the size changes within the video".into()));
        }
        let corner = (number / columns * height * columns + number % columns) * width;
        for (row, line) in tile.rgb.chunks_exact(width * 3).enumerate() {
            let start = (corner + row * width * columns) * 3;
            sheet[start..start + line.len()].copy_from_slice(line);
        }
    }
    let side = |pixels: usize| u16::try_from(pixels).map_err(|_| PictureError::Unsupported("too large a sheet".into()));
    let mut jpeg = Vec::new();
    Encoder::new(&mut jpeg, JPEG_QUALITY)
        .encode(&sheet, side(width * columns)?, side(height * rows)?, ColorType::Rgb)
        .map_err(|error| PictureError::Broken(format!("JPEG: {error}")))?;
    Ok(jpeg)
}

fn open_movie(source: &dyn ReadAt) -> Result<Movie, PictureError> {
    open(source).map_err(|error| PictureError::Broken(error.to_string()))
}

/// The frame shown at a part of the whole length, 0 to 1.
fn frame_at(movie: &Movie, part: f64) -> usize {
    let end = movie.frames.last().map_or(0, |last| last.time);
    let time = (end as f64 * part) as u64;
    movie.frames.partition_point(|frame| frame.time <= time).saturating_sub(1)
}

/// Frames to try for the thumbnail, the best place first. Key frames are cheap; where the next one is far from
/// a third (many files have only the first), the frame itself comes first if it can be reached.
fn candidates(movie: &Movie, reader: &FrameReader<'_>) -> Vec<usize> {
    let target = frame_at(movie, 1.0 / 3.0);
    let mut keys: Vec<usize> = (0..movie.frames.len()).filter(|index| movie.frames[*index].key).collect();
    keys.sort_by_key(|index| index.abs_diff(target));
    keys.truncate(MAX_CANDIDATES);
    let near = keys.first().is_some_and(|key| key.abs_diff(target) <= movie.frames.len() / 5);
    let later = frame_at(movie, 0.6);
    let exact = [target, later].into_iter().filter(|index| reader.affordable(*index, 1));
    if near { keys.into_iter().chain(exact).collect() } else { exact.chain(keys).collect() }
}

/// How much there is to see: 1 and more for frames that are neither black nor of one tone.
fn interest(frame: &YuvFrame) -> f32 {
    let sample = || frame.y.iter().step_by(7).map(|value| f32::from(*value));
    let count = sample().count().max(1) as f32;
    let mean = sample().sum::<f32>() / count;
    let spread = (sample().map(|value| (value - mean).powi(2)).sum::<f32>() / count).sqrt();
    ((mean - 16.0) / 12.0).clamp(0.0, 1.0) * (spread / 6.0).min(2.0)
}

/// A frame as RGB in at most so many pixels across and down.
fn shrink(frame: &YuvFrame, colours: ColourSystem, (across, down): (usize, usize)) -> Picture {
    let (width, height) = (frame.width, frame.height);
    let scale = (across as f64 / width as f64).min(down as f64 / height as f64).min(1.0);
    let side = |pixels: usize| ((pixels as f64 * scale).round() as usize).max(1);
    let (to_width, to_height) = (side(width), side(height));
    let plane = |bytes: &[u8], width, height| resize(Plane { bytes, width, height }, to_width, to_height);
    let y = plane(&frame.y, width, height);
    let u = plane(&frame.u, width / 2, height / 2);
    let v = plane(&frame.v, width / 2, height / 2);
    Picture { width: to_width as u32, height: to_height as u32, rgb: to_rgb(&y, &u, &v, colours) }
}

/// The type of an image by its first bytes: PNG, JPEG or WebP; `None` for anything else.
#[must_use]
pub fn sniff_image(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some("image/png")
    } else if bytes.starts_with(b"\xff\xd8\xff") {
        Some("image/jpeg")
    } else if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        Some("image/webp")
    } else {
        None
    }
}

/// Decodes a PNG, JPEG or WebP, turned the way its camera was held; what is transparent becomes black.
///
/// # Errors
/// [`PictureError::Unsupported`] for other formats and for more than 50 million pixels (checked before decoding).
pub fn decode_picture(bytes: &[u8]) -> Result<Picture, PictureError> {
    let format = match sniff_image(bytes) {
        Some("image/png") => image::ImageFormat::Png,
        Some("image/jpeg") => image::ImageFormat::Jpeg,
        Some(_) => image::ImageFormat::WebP,
        None => return Err(PictureError::Unsupported("neither PNG nor JPEG nor WebP".into())),
    };
    let broken = |error: image::ImageError| PictureError::Broken(error.to_string());
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(MAX_PICTURE_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PICTURE_PIXELS {
        return Err(PictureError::Unsupported(format!("{width}x{height} pixels, {MAX_PICTURE_PIXELS} are possible")));
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut picture = DynamicImage::from_decoder(decoder).map_err(broken)?;
    picture.apply_orientation(orientation);
    let (width, height) = (picture.width(), picture.height());
    let rgb = if picture.color().has_alpha() {
        let rgba = picture.into_rgba8();
        let on_black = |value: u8, alpha: u8| (u16::from(value) * u16::from(alpha) / 255) as u8;
        rgba.pixels().flat_map(|pixel| [0, 1, 2].map(|channel| on_black(pixel[channel], pixel[3]))).collect()
    } else {
        picture.into_rgb8().into_raw()
    };
    Ok(Picture { width, height, rgb })
}
