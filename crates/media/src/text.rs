//! Words to coverage masks: wrapping, the largest size that fits, an ellipsis where nothing does.
//!
//! One embedded font (Inter Display, SIL Open Font License). Characters it does not have are drawn as a box; there is
//! no shaping, so joined and right-to-left scripts look wrong.

use ab_glyph::{Font, FontRef, GlyphId, PxScale, point};

use crate::canvas::Mask;

const FONT: &[u8] = include_bytes!("../assets/InterDisplay-SemiBold.otf");
/// Characters of a text that are looked at: more than any frame can show.
const MAX_CHARACTERS: usize = 1200;
/// Smallest text that can be read, in pixels.
const SMALLEST: f32 = 8.0;
/// From one line to the next, in sizes.
pub(crate) const LINE_HEIGHT: f32 = 1.2;
const ELLIPSIS: char = '…';

/// The embedded font with the measures that layout needs.
pub(crate) struct Typeface {
    font: FontRef<'static>,
    units_per_em: f32,
}

/// Wrapped text in one size.
pub(crate) struct Layout {
    pub lines: Vec<String>,
    /// Size of the type in pixels (the em).
    pub size: f32,
}

/// The room for a text, all in pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    pub width: f32,
    pub height: f32,
    pub largest: f32,
    pub smallest: f32,
}

impl Typeface {
    /// Opens the embedded font.
    pub fn embedded() -> Result<Self, String> {
        let font = FontRef::try_from_slice(FONT).map_err(|error| error.to_string())?;
        let units_per_em = font.units_per_em().ok_or("the font has no measures")?;
        Ok(Self { font, units_per_em })
    }

    /// Width of a text in sizes of its type.
    pub fn width(&self, text: &str) -> f32 {
        text.chars().map(|c| self.advance(c)).sum()
    }

    fn advance(&self, c: char) -> f32 {
        self.font.h_advance_unscaled(self.font.glyph_id(c)) / self.units_per_em
    }

    /// Wraps a text in the largest type that fits; what does not fit in the smallest ends in an ellipsis.
    /// `None` if there is no text or not even a few characters fit.
    pub fn fit(&self, text: &str, room: Room) -> Option<Layout> {
        let words = words(text);
        let smallest = room.smallest.max(SMALLEST);
        let few = 4.0 * 0.6 * smallest;
        if words.is_empty() || room.width < few || room.height < smallest * LINE_HEIGHT {
            return None;
        }
        let longest = words.iter().map(|word| self.width(word)).fold(0.0, f32::max);
        let mut size = room.largest.max(smallest);
        loop {
            let most = ((room.height / (size * LINE_HEIGHT)) as usize).max(1);
            let lines = self.wrap(&words, room.width / size, most + 1);
            // A word is broken only where even the smallest type has no room for it.
            let whole = longest * size <= room.width || size <= smallest;
            if lines.len() <= most && whole {
                return Some(Layout { lines: self.balanced(&words, lines, room.width / size), size });
            }
            if size <= smallest {
                return Some(Layout { lines: self.cut(lines, most, room.width / size), size });
            }
            size = (size * 0.94).max(smallest);
        }
    }

    /// Breaks words into lines of at most `width`, at most `most` of them.
    fn wrap(&self, words: &[String], width: f32, most: usize) -> Vec<String> {
        let space = self.advance(' ');
        let (mut lines, mut line, mut used) = (Vec::new(), String::new(), 0.0);
        for word in words {
            let mut length = self.width(word);
            if !line.is_empty() && used + space + length <= width {
                line.push(' ');
                line.push_str(word);
                used += space + length;
                continue;
            }
            if !line.is_empty() {
                lines.push(std::mem::take(&mut line));
            }
            let mut rest = word.as_str();
            while length > width && lines.len() < most {
                let at = self.break_at(rest, width);
                lines.push(rest[..at].to_owned());
                rest = &rest[at..];
                length = self.width(rest);
            }
            if lines.len() >= most {
                return lines;
            }
            rest.clone_into(&mut line);
            used = length;
        }
        if !line.is_empty() {
            lines.push(line);
        }
        lines
    }

    /// Byte behind the last character of a long word that fits; at least one does.
    fn break_at(&self, word: &str, width: f32) -> usize {
        let mut used = 0.0;
        for (index, c) in word.char_indices() {
            used += self.advance(c);
            if used > width && index > 0 {
                return index;
            }
        }
        word.len()
    }

    /// The same number of lines, but as even as they can be: no last line with a single short word.
    fn balanced(&self, words: &[String], lines: Vec<String>, width: f32) -> Vec<String> {
        let (mut narrow, mut wide, mut best) = (width * 0.4, width, lines);
        for _ in 0..8 {
            let middle = (narrow + wide) / 2.0;
            let candidate = self.wrap(words, middle, best.len() + 1);
            let broken = words.iter().any(|word| self.width(word) > middle);
            if candidate.len() <= best.len() && !broken {
                (best, wide) = (candidate, middle);
            } else {
                narrow = middle;
            }
        }
        best
    }

    /// The first lines, the last of them ending in an ellipsis.
    fn cut(&self, mut lines: Vec<String>, most: usize, width: f32) -> Vec<String> {
        if lines.len() <= most {
            return lines;
        }
        lines.truncate(most);
        if let Some(last) = lines.last_mut() {
            let whole = last.len();
            while !last.is_empty() && self.width(last) + self.advance(ELLIPSIS) > width {
                last.pop();
            }
            // Rather a shorter line than half a word, unless the word is most of the line.
            if let Some(space) = last.rfind(' ').filter(|space| last.len() < whole && space * 2 > whole) {
                last.truncate(space);
            }
            last.truncate(last.trim_end_matches([' ', ',', '.', ';', ':', '-']).len());
            last.push(ELLIPSIS);
        }
        lines
    }

    /// Draws one line of `size` pixels; the mask has `margin` empty pixels on every side, the baseline is at
    /// `margin + size`.
    pub fn mask(&self, line: &str, size: f32, margin: usize) -> Mask {
        let width = (self.width(line) * size).ceil() as usize + 2 * margin;
        let mut mask = Mask::new(width, (size * 1.35).ceil() as usize + 2 * margin);
        // The library counts a size from the ascender to the descender.
        let scale = PxScale::from(size * self.font.height_unscaled() / self.units_per_em);
        let (mut x, baseline) = (margin as f32, margin as f32 + size);
        for c in line.chars() {
            let id: GlyphId = self.font.glyph_id(c);
            let glyph = id.with_scale_and_position(scale, point(x, baseline));
            x += self.advance(c) * size;
            let Some(outline) = self.font.outline_glyph(glyph) else { continue };
            let corner = outline.px_bounds().min;
            let (left, top) = (corner.x as isize, corner.y as isize);
            outline.draw(|column, row, coverage| {
                let (column, row) = (left + column as isize, top + row as isize);
                let inside = column >= 0 && row >= 0 && (column as usize) < mask.width && (row as usize) < mask.height;
                if inside {
                    let at = row as usize * mask.width + column as usize;
                    mask.coverage[at] = mask.coverage[at].max((coverage.min(1.0) * 255.0) as u8);
                }
            });
        }
        mask
    }
}

/// The words of as much of a text as can be shown, without control characters.
fn words(text: &str) -> Vec<String> {
    let mut start: String = text.chars().take(MAX_CHARACTERS).collect();
    let cut = start.len() < text.len();
    start.retain(|c| !is_invisible(c));
    if cut {
        start.push(ELLIPSIS);
    }
    start
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Characters that only tell how to join or show their neighbours: the font would draw boxes for them.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}')
}
