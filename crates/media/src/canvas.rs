//! A frame in the encoder's own format (4:2:0, BT.709, limited range) and the shapes drawn on it.

/// One frame: luma in full size, the two colour differences in half.
pub(crate) struct Canvas {
    pub width: usize,
    pub height: usize,
    pub y: Vec<u8>,
    pub u: Vec<u8>,
    pub v: Vec<u8>,
}

/// A colour as the planes hold it, not rounded.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Yuv {
    pub y: f32,
    pub u: f32,
    pub v: f32,
}

impl Yuv {
    /// White of titles: a little below the brightest, which flickers on some screens.
    pub const WHITE: Self = Self { y: 232.0, u: 128.0, v: 128.0 };

    /// From sRGB values, 0 to 1.
    pub fn from_rgb([r, g, b]: [f32; 3]) -> Self {
        let luma = 0.2126 * r + 0.7152 * g + 0.0722 * b;
        Self { y: 16.0 + 219.0 * luma, u: 128.0 + 224.0 * (b - luma) / 1.8556, v: 128.0 + 224.0 * (r - luma) / 1.5748 }
    }
}

/// Coverage of a shape, one byte a pixel.
pub(crate) struct Mask {
    pub width: usize,
    pub height: usize,
    pub coverage: Vec<u8>,
}

impl Mask {
    /// Nothing covered.
    pub fn new(width: usize, height: usize) -> Self {
        Self { width, height, coverage: vec![0; width * height] }
    }

    /// Coverage at a place that may lie outside, 0 to 255.
    fn at(&self, x: isize, y: isize) -> u32 {
        let inside = x >= 0 && y >= 0 && (x as usize) < self.width && (y as usize) < self.height;
        if inside { u32::from(self.coverage[y as usize * self.width + x as usize]) } else { 0 }
    }

    /// The shape blurred by a box of this radius, three times: close to a Gaussian.
    pub fn blurred(&self, radius: usize) -> Self {
        let mut mask = Self { width: self.width, height: self.height, coverage: self.coverage.clone() };
        for _ in 0..3 {
            blur_lines(&mut mask.coverage, mask.width, mask.height, 1, mask.width, radius);
            blur_lines(&mut mask.coverage, mask.height, mask.width, mask.width, 1, radius);
        }
        mask
    }
}

/// Box blur along lines of `length` pixels, `step` apart; the lines are `line_step` apart.
fn blur_lines(bytes: &mut [u8], length: usize, lines: usize, step: usize, line_step: usize, radius: usize) {
    let window = (2 * radius + 1) as u32;
    let mut line = vec![0_u8; length];
    for number in 0..lines {
        let start = number * line_step;
        for (index, value) in line.iter_mut().enumerate() {
            *value = bytes[start + index * step];
        }
        let mut sum: u32 = line.iter().take(radius + 1).map(|value| u32::from(*value)).sum();
        for index in 0..length {
            bytes[start + index * step] = (sum / window) as u8;
            sum += line.get(index + radius + 1).map_or(0, |value| u32::from(*value));
            sum -= index.checked_sub(radius).map_or(0, |left| u32::from(line[left]));
        }
    }
}

impl Canvas {
    /// A black frame; both sides must be even.
    pub fn new(width: usize, height: usize) -> Self {
        let chroma = (width / 2) * (height / 2);
        Self { width, height, y: vec![16; width * height], u: vec![128; chroma], v: vec![128; chroma] }
    }

    /// Darkens by a mask whose top left corner is at `left`, `top`; `strength` 1 makes covered pixels black.
    pub fn darken(&mut self, mask: &Mask, left: isize, top: isize, strength: f32) {
        let strength = (strength.clamp(0.0, 1.0) * 256.0) as u32;
        if strength == 0 {
            return;
        }
        self.blend_luma(mask, left, top, |old, coverage| {
            let keep = 65_280 - coverage * strength;
            16 + (old.saturating_sub(16) * keep + 32_640) / 65_280
        });
    }

    /// Paints a mask in one colour. `top` may be a fraction: slow movements must not jump from row to row.
    pub fn paint(&mut self, mask: &Mask, left: isize, top: f32, colour: Yuv, opacity: f32) {
        let opacity = (opacity.clamp(0.0, 1.0) * 256.0) as u32;
        if opacity == 0 {
            return;
        }
        let row = top.floor();
        let fraction = ((top - row) * 256.0) as u32;
        let shifted = if fraction == 0 { None } else { Some(shift_down(mask, fraction)) };
        let mask = shifted.as_ref().unwrap_or(mask);
        let (top, luma) = (row as isize, colour.y as u32);
        self.blend_luma(mask, left, top, |old, coverage| {
            let alpha = coverage * opacity;
            (old * (65_280 - alpha) + luma * alpha + 32_640) / 65_280
        });
        self.blend_chroma(mask, left, top, colour, opacity);
    }

    fn blend_luma(&mut self, mask: &Mask, left: isize, top: isize, blend: impl Fn(u32, u32) -> u32) {
        for row in 0..mask.height {
            let Some(y) = top.checked_add_unsigned(row).filter(|y| *y >= 0 && (*y as usize) < self.height) else {
                continue;
            };
            let skip = (-left).max(0) as usize;
            let line = &mut self.y[y as usize * self.width..][..self.width];
            let pixels = line.iter_mut().skip(left.max(0) as usize);
            let coverage = &mask.coverage[row * mask.width..][..mask.width];
            for (pixel, coverage) in pixels.zip(coverage.iter().skip(skip)) {
                if *coverage > 0 {
                    *pixel = blend(u32::from(*pixel), u32::from(*coverage)) as u8;
                }
            }
        }
    }

    fn blend_chroma(&mut self, mask: &Mask, left: isize, top: isize, colour: Yuv, opacity: u32) {
        let (width, height) = (self.width / 2, self.height / 2);
        let rows = (top.max(0) / 2)..((top + mask.height as isize + 1) / 2).min(height as isize);
        for row in rows {
            let columns = (left.max(0) / 2)..((left + mask.width as isize + 1) / 2).min(width as isize);
            for column in columns {
                let (x, y) = (column * 2 - left, row * 2 - top);
                let sum = mask.at(x, y) + mask.at(x + 1, y) + mask.at(x, y + 1) + mask.at(x + 1, y + 1);
                if sum == 0 {
                    continue;
                }
                let alpha = (sum * opacity) as f32 / (4.0 * 65_280.0);
                let at = row as usize * width + column as usize;
                for (plane, target) in [(&mut self.u, colour.u), (&mut self.v, colour.v)] {
                    plane[at] = (f32::from(plane[at]) * (1.0 - alpha) + target * alpha + 0.5) as u8;
                }
            }
        }
    }

    /// Paints a rectangle whose edges may lie between pixels.
    pub fn rectangle(&mut self, left: f32, top: f32, width: f32, height: f32, colour: Yuv, opacity: f32) {
        if width <= 0.0 || height <= 0.0 {
            return;
        }
        let (x, y) = (left.floor(), top.floor());
        let columns = ((left + width).ceil() - x) as usize;
        let rows = ((top + height).ceil() - y) as usize;
        let mut mask = Mask::new(columns, rows);
        let cover = |start: f32, length: f32, index: usize| {
            let (from, to) = (index as f32, index as f32 + 1.0);
            (to.min(start + length) - from.max(start)).clamp(0.0, 1.0)
        };
        for row in 0..rows {
            let vertical = cover(top - y, height, row);
            for column in 0..columns {
                mask.coverage[row * columns + column] = (255.0 * vertical * cover(left - x, width, column)) as u8;
            }
        }
        self.paint(&mask, x as isize, y, colour, opacity);
    }
}

/// The mask moved down by a fraction of a row, in 256ths; it gets one row more.
fn shift_down(mask: &Mask, fraction: u32) -> Mask {
    let mut shifted = Mask::new(mask.width, mask.height + 1);
    for row in 0..=mask.height {
        let above = row.checked_sub(1).map(|row| &mask.coverage[row * mask.width..][..mask.width]);
        let here = (row < mask.height).then(|| &mask.coverage[row * mask.width..][..mask.width]);
        let line = &mut shifted.coverage[row * mask.width..][..mask.width];
        for (column, pixel) in line.iter_mut().enumerate() {
            let above = above.map_or(0, |line| u32::from(line[column]));
            let here = here.map_or(0, |line| u32::from(line[column]));
            *pixel = ((above * fraction + here * (256 - fraction)) >> 8) as u8;
        }
    }
    shifted
}
