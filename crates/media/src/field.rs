//! The background of a title card: a few wide fields of colour that drift into each other, and a soft vignette.
//!
//! Colours are mixed in OKLab on a coarse grid and spread over the pixels with straight lines: the fields are so
//! smooth that nobody sees the grid, and a 720p frame costs about two milliseconds.

use std::f32::consts::TAU;

use crate::canvas::{Canvas, Yuv};

/// Grid cells along the longer side, about.
const CELLS: usize = 96;
/// Fields of colour.
const FIELDS: usize = 5;

/// Hues in degrees: background, the fields, accent. Chosen by eye; the seed picks one and turns it a little.
const PALETTES: [(f32, [f32; FIELDS], f32); 8] = [
    (285.0, [300.0, 345.0, 275.0, 25.0, 315.0], 60.0),
    (235.0, [205.0, 250.0, 180.0, 270.0, 220.0], 165.0),
    (262.0, [170.0, 285.0, 200.0, 310.0, 240.0], 175.0),
    (25.0, [40.0, 10.0, 60.0, 350.0, 30.0], 80.0),
    (165.0, [150.0, 195.0, 130.0, 215.0, 165.0], 110.0),
    (255.0, [240.0, 275.0, 225.0, 290.0, 260.0], 230.0),
    (340.0, [350.0, 320.0, 15.0, 300.0, 335.0], 30.0),
    (225.0, [215.0, 45.0, 240.0, 60.0, 200.0], 65.0),
];

/// A stream of numbers from a seed (SplitMix64); the same seed gives the same card.
pub(crate) struct Numbers(u64);

impl Numbers {
    /// Starts a stream.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `low` up to `high`.
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * (self.next() >> 40) as f32 / (1_u64 << 24) as f32
    }

    fn index(&mut self, count: usize) -> usize {
        (self.next() % count as u64) as usize
    }
}

/// One field of colour on its way.
struct Blob {
    colour: [f32; 3],
    centre: [f32; 2],
    swing: [f32; 2],
    speed: [f32; 2],
    phase: [f32; 2],
    /// Width of the field; 1 is the shorter side of the frame.
    spread: f32,
}

/// The moving background of one card.
pub(crate) struct Field {
    base: [f32; 3],
    blobs: Vec<Blob>,
    /// Colour of the small moving marks.
    pub accent: Yuv,
    grid: Grid,
}

impl Field {
    /// The background that belongs to a seed.
    pub fn new(seed: u64, width: usize, height: usize) -> Self {
        let mut numbers = Numbers::new(seed);
        let (base, hues, accent) = PALETTES[numbers.index(PALETTES.len())];
        let turn = numbers.between(-12.0, 12.0);
        let short = width.min(height) as f32;
        let (across, down) = (width as f32 / short, height as f32 / short);
        let turned = numbers.index(FIELDS);
        let blobs = (0..FIELDS)
            .map(|index| {
                // Spread around the middle like the numbers on a clock, so that no corner stays empty by bad luck.
                let angle = ((index + turned) as f32 + numbers.between(-0.3, 0.3)) / FIELDS as f32 * TAU;
                Blob {
                    colour: lch(numbers.between(0.38, 0.64), numbers.between(0.12, 0.175), hues[index] + turn),
                    centre: [across * (0.5 + 0.46 * angle.cos()), down * (0.5 + 0.46 * angle.sin())],
                    swing: [across * numbers.between(0.14, 0.26), down * numbers.between(0.14, 0.26)],
                    speed: [numbers.between(0.3, 0.6), numbers.between(0.3, 0.6)],
                    phase: [numbers.between(0.0, TAU), numbers.between(0.0, TAU)],
                    spread: numbers.between(0.23, 0.36) * across.max(down).sqrt(),
                }
            })
            .collect();
        let accent = Yuv::from_rgb(srgb(lch(0.84, 0.125, accent + turn)));
        Self { base: lch(0.21, 0.055, base + turn), blobs, accent, grid: Grid::new(width, height) }
    }

    /// Fills the canvas with the background at `time` seconds.
    pub fn draw(&mut self, canvas: &mut Canvas, time: f32) {
        let (base, blobs) = (self.base, &self.blobs);
        let places: Vec<[f32; 2]> = blobs
            .iter()
            .map(|blob| {
                [0, 1].map(|axis| {
                    blob.centre[axis] + blob.swing[axis] * (blob.phase[axis] + time * blob.speed[axis]).sin()
                })
            })
            .collect();
        let short = canvas.width.min(canvas.height) as f32;
        self.grid.fill(|x, y, from_middle| {
            let (mut sum, mut weight) = ([0.0_f32; 3], 0.0);
            let mut add = |colour: [f32; 3], part: f32| {
                weight += part;
                for (sum, channel) in sum.iter_mut().zip(colour) {
                    *sum += channel * part;
                }
            };
            add(base, 0.16);
            for (blob, place) in blobs.iter().zip(&places) {
                let (dx, dy) = (x / short - place[0], y / short - place[1]);
                add(blob.colour, (-(dx * dx + dy * dy) / (2.0 * blob.spread * blob.spread)).exp());
            }
            let dark = 1.0 - 0.42 * smooth(from_middle / 1.35);
            let [l, a, b] = sum.map(|channel| channel / weight);
            Yuv::from_rgb(srgb([l * dark, a * dark, b * dark]))
        });
        self.grid.spread(canvas);
    }
}

/// Rises from 0 at 0 to 1 at 1 without a corner.
pub(crate) fn smooth(x: f32) -> f32 {
    let x = x.clamp(0.0, 1.0);
    x * x * (3.0 - 2.0 * x)
}

/// Colours at the corners of square cells, spread over the pixels with straight lines.
pub(crate) struct Grid {
    /// Pixels along a cell's side; even, so that the half-size planes share the corners.
    cell: usize,
    columns: usize,
    width: f32,
    height: f32,
    /// Fixed point, 16 bits behind the point.
    nodes: [Vec<i32>; 3],
}

impl Grid {
    /// A grid for a frame of this size.
    pub fn new(width: usize, height: usize) -> Self {
        let cell = (width.max(height) / CELLS).max(4).next_multiple_of(2);
        let columns = width.div_ceil(cell) + 1;
        let nodes = vec![0; columns * (height.div_ceil(cell) + 1)];
        Self { cell, columns, width: width as f32, height: height as f32, nodes: [nodes.clone(), nodes.clone(), nodes] }
    }

    /// Sets every corner from its place in pixels and its distance from the middle (1 at the middle of an edge).
    pub fn fill(&mut self, colour: impl Fn(f32, f32, f32) -> Yuv) {
        for index in 0..self.nodes[0].len() {
            let x = (index % self.columns * self.cell) as f32;
            let y = (index / self.columns * self.cell) as f32;
            let (dx, dy) = (2.0 * x / self.width - 1.0, 2.0 * y / self.height - 1.0);
            let Yuv { y, u, v } = colour(x, y, (dx * dx + dy * dy).sqrt());
            for (nodes, value) in self.nodes.iter_mut().zip([y, u, v]) {
                nodes[index] = ((value.clamp(0.0, 255.0) + 0.5) * 65_536.0) as i32;
            }
        }
    }

    /// Fills all three planes.
    pub fn spread(&self, canvas: &mut Canvas) {
        let (width, height) = (canvas.width, canvas.height);
        self.plane(0, &mut canvas.y, width, height, self.cell);
        self.plane(1, &mut canvas.u, width / 2, height / 2, self.cell / 2);
        self.plane(2, &mut canvas.v, width / 2, height / 2, self.cell / 2);
    }

    /// Fills one plane in full size with the first channel.
    pub fn plane_of(&self, plane: &mut [u8], width: usize, height: usize) {
        self.plane(0, plane, width, height, self.cell);
    }

    /// Fills one plane of `width` times `height` with the values of one channel.
    fn plane(&self, channel: usize, plane: &mut [u8], width: usize, height: usize, cell: usize) {
        let nodes = &self.nodes[channel];
        let mut line = vec![0_i32; self.columns];
        for (row, pixels) in plane.chunks_exact_mut(width).take(height).enumerate() {
            let above = &nodes[row / cell * self.columns..][..self.columns];
            let below = &nodes[(row / cell + 1) * self.columns..][..self.columns];
            let down = (row % cell) as i32;
            for ((value, above), below) in line.iter_mut().zip(above).zip(below) {
                *value = above + (below - above) / cell as i32 * down;
            }
            for (pixels, ends) in pixels.chunks_mut(cell).zip(line.windows(2)) {
                let (mut value, step) = (ends[0], (ends[1] - ends[0]) / cell as i32);
                for pixel in pixels {
                    *pixel = (value >> 16) as u8;
                    value += step;
                }
            }
        }
    }
}

/// OKLab from lightness, chroma and hue in degrees (Ottosson, 2020).
fn lch(lightness: f32, chroma: f32, hue: f32) -> [f32; 3] {
    let (sin, cos) = hue.to_radians().sin_cos();
    [lightness, chroma * cos, chroma * sin]
}

/// sRGB, 0 to 1, from OKLab.
fn srgb([l, a, b]: [f32; 3]) -> [f32; 3] {
    let long = (l + 0.396_337_78 * a + 0.215_803_76 * b).powi(3);
    let medium = (l - 0.105_561_346 * a - 0.063_854_17 * b).powi(3);
    let short = (l - 0.089_484_18 * a - 1.291_485_5 * b).powi(3);
    let linear = [
        4.076_741_7 * long - 3.307_711_6 * medium + 0.230_969_94 * short,
        -1.268_438 * long + 2.609_757_4 * medium - 0.341_319_4 * short,
        -0.004_196_086_3 * long - 0.703_418_6 * medium + 1.707_614_7 * short,
    ];
    linear.map(|channel| {
        let channel = channel.clamp(0.0, 1.0);
        if channel <= 0.003_130_8 { 12.92 * channel } else { 1.055 * channel.powf(1.0 / 2.4) - 0.055 }
    })
}
