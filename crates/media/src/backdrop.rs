//! A picture behind the title: fills the frame, comes slowly closer, darker where the words are.

use crate::canvas::{Canvas, Yuv};
use crate::field::{Grid, smooth};
use crate::pictures::Picture;
use crate::scale::{Crop, Plane, from_rgb, resample};

/// How much closer the picture is at the end than at the start.
const ZOOM: f32 = 1.10;

/// A picture prepared for frames of one size.
pub(crate) struct Backdrop {
    /// Luma in full size, colour differences in half, larger than the frame by [`ZOOM`].
    planes: [Vec<u8>; 3],
    width: usize,
    height: usize,
    /// What is left of the light at every pixel, 255 is all.
    light: Vec<u8>,
}

impl Backdrop {
    /// Fits a picture to frames of this size: nothing of the frame stays empty, the middle of the picture is shown.
    pub fn new(picture: &Picture, width: usize, height: usize) -> Option<Self> {
        let (from_width, from_height) = (picture.width as usize, picture.height as usize);
        if from_width == 0 || from_height == 0 || picture.rgb.len() != from_width * from_height * 3 {
            return None;
        }
        // Larger than the frame by the zoom, so that the last frame shows pixels and not a blur.
        let target_width = ((width as f32 * ZOOM) as usize).next_multiple_of(2);
        let target_height = ((height as f32 * ZOOM) as usize).next_multiple_of(2);
        let scale = (from_width as f32 / width as f32).min(from_height as f32 / height as f32);
        let crop = Crop {
            left: (from_width as f32 - width as f32 * scale) / 2.0,
            top: (from_height as f32 - height as f32 * scale) / 2.0,
            width: width as f32 * scale,
            height: height as f32 * scale,
        };
        let [y, u, v] = from_rgb(&picture.rgb);
        let plane = |bytes: &[u8], half: usize| {
            let plane = Plane { bytes, width: from_width, height: from_height };
            resample(plane, crop, target_width / half, target_height / half)
        };
        let planes = [plane(&y, 1), plane(&u, 2), plane(&v, 2)];
        let mut grid = Grid::new(width, height);
        let (half_width, half_height) = (width as f32 / 2.0, height as f32 / 2.0);
        grid.fill(|x, y, from_middle| {
            let (dx, dy) = ((x - half_width) / half_width / 0.95, (y - half_height) / half_height / 0.62);
            let words = 1.0 - smooth((dx * dx + dy * dy).sqrt());
            let bottom = smooth((y / half_height - 1.55) / 0.45);
            let light = (0.80 - 0.38 * words) * (1.0 - 0.45 * smooth(from_middle / 1.3)) * (1.0 - 0.35 * bottom);
            Yuv { y: 255.0 * light, u: 0.0, v: 0.0 }
        });
        let mut light = vec![0; width * height];
        grid.plane_of(&mut light, width, height);
        Some(Self { planes, width: target_width, height: target_height, light })
    }

    /// Fills the canvas; `progress` runs from 0 to 1 over the whole card.
    pub fn draw(&self, canvas: &mut Canvas, progress: f32) {
        // At the start the whole picture is seen, at the end its pixels are those of the frame.
        let zoom = 1.0 + (ZOOM - 1.0) * progress;
        let (width, height) = (canvas.width, canvas.height);
        let sizes = [(width, height, 1), (width / 2, height / 2, 2), (width / 2, height / 2, 2)];
        for (index, (width, height, half)) in sizes.into_iter().enumerate() {
            let (from_width, from_height) = (self.width / half, self.height / half);
            let target = match index {
                0 => &mut canvas.y,
                1 => &mut canvas.u,
                _ => &mut canvas.v,
            };
            let source = Plane { bytes: &self.planes[index], width: from_width, height: from_height };
            closer(source, target, width, height, zoom);
        }
        self.dim(canvas);
    }

    fn dim(&self, canvas: &mut Canvas) {
        for (pixel, light) in canvas.y.iter_mut().zip(&self.light) {
            *pixel = (16 + ((u32::from(pixel.saturating_sub(16)) * u32::from(*light)) >> 8)) as u8;
        }
        let half = canvas.width / 2;
        for plane in [&mut canvas.u, &mut canvas.v] {
            for (row, line) in plane.chunks_exact_mut(half).enumerate() {
                let light = &self.light[row * 2 * canvas.width..];
                for (column, pixel) in line.iter_mut().enumerate() {
                    *pixel = (128 + (((i32::from(*pixel) - 128) * i32::from(light[column * 2])) >> 8)) as u8;
                }
            }
        }
    }
}

/// The middle of a plane, `zoom` times closer than when all of it fills the target.
fn closer(source: Plane<'_>, target: &mut [u8], width: usize, height: usize, zoom: f32) {
    // Fixed point, 16 bits behind the point; the last pixel has no neighbour to mix with.
    let along = |from: usize, to: usize| -> (i64, i64, i64) {
        let step = from as f64 / f64::from(zoom) / to as f64;
        let start = (from as f64 - step * to as f64) / 2.0 + step / 2.0 - 0.5;
        ((start * 65_536.0) as i64, (step * 65_536.0) as i64, (from as i64 - 1) << 16)
    };
    let (left, across, right_end) = along(source.width, width);
    let (top, down, bottom_end) = along(source.height, height);
    let columns: Vec<(u32, u32)> = (0..width as i64)
        .map(|column| {
            let at = (left + column * across).clamp(0, right_end.saturating_sub(1).max(0));
            ((at >> 16) as u32, (at >> 8 & 255) as u32)
        })
        .collect();
    let mut mixed = vec![0_u32; source.width + 1];
    for (row, line) in target.chunks_exact_mut(width).take(height).enumerate() {
        let at = (top + row as i64 * down).clamp(0, bottom_end.saturating_sub(1).max(0));
        let (first, part) = ((at >> 16) as usize, (at >> 8 & 255) as u32);
        let above = &source.bytes[first * source.width..][..source.width];
        let second = (first + 1).min(source.height - 1);
        let below = &source.bytes[second * source.width..][..source.width];
        for ((mixed, above), below) in mixed.iter_mut().zip(above).zip(below) {
            *mixed = u32::from(*above) * (256 - part) + u32::from(*below) * part;
        }
        mixed[source.width] = mixed[source.width - 1];
        for (pixel, (column, part)) in line.iter_mut().zip(&columns) {
            let (left, right) = (mixed[*column as usize], mixed[*column as usize + 1]);
            *pixel = ((left * (256 - part) + right * part + 32_768) >> 16) as u8;
        }
    }
}
