//! The sandbox's video: the prompt as an animated title card.

use crate::backdrop::Backdrop;
use crate::canvas::{Canvas, Mask, Yuv};
use crate::encode::FrameEncoder;
use crate::field::{Field, smooth};
use crate::mux::Mp4Writer;
use crate::pictures::Picture;
use crate::text::{LINE_HEIGHT, Room, Typeface};
use crate::{MAX_FPS, MAX_LONG_SIDE, MAX_SECONDS, MAX_SHORT_SIDE};

/// The small words at the bottom.
const CAPTION: &str = "longtake sandbox";

/// What to draw.
#[derive(Clone, Copy)]
pub struct TitleCard<'a> {
    /// The words in the middle; wrapped, and cut with an ellipsis where they do not fit.
    pub title: &'a str,
    /// Width in pixels, even, 2 to 3840.
    pub width: u32,
    /// Height in pixels, even, 2 to 3840; the shorter side at most 2160.
    pub height: u32,
    /// Frames per second, 1 to 60.
    pub fps: u32,
    /// Length in seconds, 1 to 60.
    pub seconds: u32,
    /// Chooses colours and movements; the same seed gives the same card.
    pub seed: u64,
    /// Shown behind the title instead of the colours.
    pub background: Option<&'a Picture>,
}

/// Why there is no card.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// Size, rate or length are out of range, or the background is no picture.
    #[error("this card cannot be drawn: {0}")]
    Invalid(String),
    /// The caller's `progress` said so.
    #[error("drawing was stopped")]
    Stopped,
    /// The encoder or the font failed: a defect, not the caller's doing.
    #[error("the card could not be encoded: {0}")]
    Failed(String),
}

/// Renders and encodes frame by frame and returns the whole MP4, its index in front.
///
/// `progress` gets the frames done and their total after each frame and stops the work by returning `false`.
/// The file has exactly `fps * seconds` frames. In memory are one frame and the encoded video.
///
/// # Errors
/// [`RenderError::Invalid`] for a card out of range, [`RenderError::Stopped`] when `progress` says so.
pub fn render_title_card(
    card: &TitleCard<'_>,
    progress: &mut dyn FnMut(u32, u32) -> bool,
) -> Result<Vec<u8>, RenderError> {
    check(card)?;
    let mut scene = Scene::new(card)?;
    let total = card.fps * card.seconds;
    encode(card.width, card.height, card.fps, total, &mut |canvas, index| {
        scene.draw(canvas, index);
        if progress(index + 1, total) { Ok(()) } else { Err(RenderError::Stopped) }
    })
}

/// Draws, encodes and stores `total` frames; `draw` gets the canvas of the frame before.
pub(crate) fn encode(
    width: u32,
    height: u32,
    fps: u32,
    total: u32,
    draw: &mut dyn FnMut(&mut Canvas, u32) -> Result<(), RenderError>,
) -> Result<Vec<u8>, RenderError> {
    let mut encoder = FrameEncoder::new(width, height, fps).map_err(RenderError::Failed)?;
    let mut writer = Mp4Writer::new(fps, total).map_err(RenderError::Failed)?;
    let mut canvas = Canvas::new(width as usize, height as usize);
    for index in 0..total {
        draw(&mut canvas, index)?;
        let frame = encoder.encode(&canvas).map_err(RenderError::Failed)?;
        writer.push(&frame).map_err(RenderError::Failed)?;
    }
    writer.finish().map_err(RenderError::Failed)
}

fn check(card: &TitleCard<'_>) -> Result<(), RenderError> {
    let (short, long) = (card.width.min(card.height), card.width.max(card.height));
    let even = card.width.is_multiple_of(2) && card.height.is_multiple_of(2);
    if short < 2 || long > MAX_LONG_SIDE || short > MAX_SHORT_SIDE || !even {
        return Err(RenderError::Invalid(format!(
            "{}x{} pixels; sides are even, at least 2, at most {MAX_LONG_SIDE}x{MAX_SHORT_SIDE}",
            card.width, card.height
        )));
    }
    if !(1..=MAX_FPS).contains(&card.fps) || !(1..=MAX_SECONDS).contains(&card.seconds) {
        return Err(RenderError::Invalid(format!(
            "{} s at {} frames per second; 1-{MAX_SECONDS} s and 1-{MAX_FPS} are possible",
            card.seconds, card.fps
        )));
    }
    Ok(())
}

/// A line of text, drawn once.
struct Line {
    mask: Mask,
    left: isize,
    top: f32,
}

enum Background {
    Colours(Box<Field>),
    Picture(Box<Backdrop>),
}

/// Everything that is prepared once for all frames.
struct Scene {
    background: Background,
    accent: Yuv,
    title: Vec<Line>,
    /// Soft darkness behind the title, with its top left corner.
    shadow: Option<(Mask, isize, isize)>,
    captions: Vec<Line>,
    width: f32,
    height: f32,
    fps: f32,
    total: f32,
    type_size: f32,
}

impl Scene {
    fn new(card: &TitleCard<'_>) -> Result<Self, RenderError> {
        let typeface = Typeface::embedded().map_err(RenderError::Failed)?;
        let (columns, rows) = (card.width as usize, card.height as usize);
        let field = Field::new(card.seed, columns, rows);
        let accent = field.accent;
        let background = match card.background {
            None => Background::Colours(Box::new(field)),
            Some(picture) => Backdrop::new(picture, columns, rows)
                .map(|backdrop| Background::Picture(Box::new(backdrop)))
                .ok_or_else(|| RenderError::Invalid("the background's bytes do not fit its size".into()))?,
        };
        let mut scene = Self {
            background,
            accent,
            title: Vec::new(),
            shadow: None,
            captions: Vec::new(),
            width: card.width as f32,
            height: card.height as f32,
            fps: card.fps as f32,
            total: (card.fps * card.seconds) as f32,
            type_size: 0.0,
        };
        scene.lay_out_title(&typeface, card.title);
        scene.lay_out_captions(&typeface, card);
        Ok(scene)
    }

    fn short(&self) -> f32 {
        self.width.min(self.height)
    }

    fn lay_out_title(&mut self, typeface: &Typeface, title: &str) {
        let short = self.short();
        let room = Room {
            width: self.width * if self.width < self.height { 0.84 } else { 0.76 },
            height: self.height * 0.54,
            largest: short * if self.width < self.height { 0.115 } else { 0.118 },
            smallest: short * 0.042,
        };
        let Some(layout) = typeface.fit(title, room) else { return };
        let size = layout.size;
        self.type_size = size;
        let block = layout.lines.len() as f32 * size * LINE_HEIGHT;
        // A little above the middle: the bottom has its own words and lines.
        let top = (self.height - block) * 0.48;
        let mut shadow = Mask::new(self.width as usize, self.height as usize);
        for (index, words) in layout.lines.iter().enumerate() {
            let mask = typeface.mask(words, size, 0);
            let left = ((self.width - mask.width as f32) / 2.0).round() as isize;
            let top = top + index as f32 * size * LINE_HEIGHT + size * (LINE_HEIGHT - 1.0) / 2.0 - size * 0.12;
            stamp(&mut shadow, &mask, left, top.round() as isize);
            self.title.push(Line { mask, left, top: top.round() });
        }
        let radius = (size * 0.16).max(1.0) as usize;
        self.shadow = Some((shadow.blurred(radius), 0, (size * 0.05) as isize));
    }

    fn lay_out_captions(&mut self, typeface: &Typeface, card: &TitleCard<'_>) {
        let short = self.short();
        let size = (short * 0.026).max(10.0);
        if short < 120.0 {
            return;
        }
        let margin = self.margin();
        let facts = format!("{} × {}  ·  {} fps  ·  {} s", card.width, card.height, card.fps, card.seconds);
        let top = self.height - margin - size * 2.0;
        let (left_mask, right_mask) = (typeface.mask(CAPTION, size, 0), typeface.mask(&facts, size, 0));
        let (left_width, right_width) = (left_mask.width as f32, right_mask.width as f32);
        let room = self.width - 2.0 * margin;
        if left_width > room {
            return;
        }
        self.captions.push(Line { mask: left_mask, left: margin as isize, top });
        if left_width + right_width + 3.0 * size < room {
            let left = (self.width - margin - right_width) as isize;
            self.captions.push(Line { mask: right_mask, left, top });
        }
    }

    /// Distance of the small things from the edges.
    fn margin(&self) -> f32 {
        (self.short() * 0.06).round()
    }

    fn draw(&mut self, canvas: &mut Canvas, index: u32) {
        // The middle of the frame's time: a card of a single frame shows its words too.
        let time = (index as f32 + 0.5) / self.fps;
        let progress = (index as f32 + 1.0) / self.total;
        match &mut self.background {
            Background::Colours(field) => field.draw(canvas, time),
            Background::Picture(backdrop) => backdrop.draw(canvas, progress),
        }
        self.draw_title(canvas, time);
        self.draw_bottom(canvas, time, progress);
    }

    fn draw_title(&self, canvas: &mut Canvas, time: f32) {
        if let Some((mask, left, top)) = &self.shadow {
            let strength = if matches!(self.background, Background::Picture(_)) { 0.62 } else { 0.42 };
            canvas.darken(mask, *left, *top, strength * smooth(time / 1.0));
        }
        let length = self.total / self.fps;
        let rise = (0.28 * length).clamp(0.2, 0.8);
        let stagger = rise * 0.22;
        for (index, line) in self.title.iter().enumerate() {
            let done = ((time - stagger * index.min(6) as f32) / rise).clamp(0.0, 1.0);
            // Slows down towards its place.
            let eased = 1.0 - (1.0 - done).powi(3);
            let down = (1.0 - eased) * self.type_size * 0.45;
            canvas.paint(&line.mask, line.left, line.top + down, Yuv::WHITE, smooth(done));
        }
        if let Some(last) = self.title.last() {
            let done = smooth((time - rise * 0.5) / rise.max(0.3));
            let width = (self.type_size * 0.9).max(self.short() * 0.06) * done;
            let thickness = (self.type_size * 0.055).max(self.short() / 300.0).max(1.0);
            let top = last.top + self.type_size * 1.62;
            if top + 3.0 * thickness < self.height * 0.85 {
                canvas.rectangle((self.width - width) / 2.0, top, width, thickness, self.accent, 0.95 * done);
            }
        }
    }

    fn draw_bottom(&self, canvas: &mut Canvas, time: f32, progress: f32) {
        let soft = smooth(time / 0.8);
        for line in &self.captions {
            canvas.paint(&line.mask, line.left, line.top, Yuv::WHITE, 0.62 * soft.max(0.3));
        }
        let margin = self.margin();
        let width = self.width - 2.0 * margin;
        let thickness = (self.short() / 240.0).max(1.0).round();
        if self.short() < 32.0 || width < 8.0 {
            return;
        }
        let top = (self.height - margin - thickness).floor();
        canvas.rectangle(margin, top, width, thickness, Yuv::WHITE, 0.20);
        canvas.rectangle(margin, top, width * progress, thickness, self.accent, 0.95);
    }
}

/// Adds a mask to a larger one.
fn stamp(target: &mut Mask, mask: &Mask, left: isize, top: isize) {
    for (row, line) in mask.coverage.chunks_exact(mask.width.max(1)).enumerate() {
        for (column, coverage) in line.iter().enumerate() {
            let (x, y) = (left + column as isize, top + row as isize);
            if x >= 0 && y >= 0 && (x as usize) < target.width && (y as usize) < target.height {
                let at = y as usize * target.width + x as usize;
                target.coverage[at] = target.coverage[at].max(*coverage);
            }
        }
    }
}
