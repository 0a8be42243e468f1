//! Planes in other sizes, and from the video's colours to the screen's.

/// One channel of a picture, rows without gaps.
#[derive(Clone, Copy)]
pub(crate) struct Plane<'a> {
    pub bytes: &'a [u8],
    pub width: usize,
    pub height: usize,
}

/// The part of a plane that is shown, in its pixels.
#[derive(Clone, Copy)]
pub(crate) struct Crop {
    pub left: f32,
    pub top: f32,
    pub width: f32,
    pub height: f32,
}

/// For each target pixel: the first source pixel and the weights from there on (they sum to 1).
type Taps = Vec<(usize, Vec<f32>)>;

/// Triangle filter: averages when shrinking, straight lines between pixels when growing.
fn taps(start: f32, length: f32, source: usize, target: usize) -> Taps {
    let ratio = length / target as f32;
    let radius = ratio.max(1.0);
    (0..target)
        .map(|index| {
            let centre = start + (index as f32 + 0.5) * ratio - 0.5;
            let first = ((centre - radius).ceil().max(0.0) as usize).min(source - 1);
            let last = ((centre + radius).floor().max(0.0) as usize).clamp(first, source - 1);
            let mut weights: Vec<f32> =
                (first..=last).map(|at| (1.0 - (at as f32 - centre).abs() / radius).max(1e-4)).collect();
            let sum: f32 = weights.iter().sum();
            weights.iter_mut().for_each(|weight| *weight /= sum);
            (first, weights)
        })
        .collect()
}

/// A part of a plane in another size.
pub(crate) fn resample(plane: Plane<'_>, crop: Crop, width: usize, height: usize) -> Vec<u8> {
    let across = taps(crop.left, crop.width, plane.width, width);
    let down = taps(crop.top, crop.height, plane.height, height);
    let mut target = vec![0_u8; width * height];
    let mut column_sums = vec![0.0_f32; plane.width];
    for (pixels, (first, weights)) in target.chunks_exact_mut(width.max(1)).zip(&down) {
        column_sums.fill(0.0);
        for (offset, weight) in weights.iter().enumerate() {
            let line = &plane.bytes[(first + offset) * plane.width..][..plane.width];
            for (sum, value) in column_sums.iter_mut().zip(line) {
                *sum += f32::from(*value) * weight;
            }
        }
        for (pixel, (first, weights)) in pixels.iter_mut().zip(&across) {
            let sum: f32 = weights.iter().zip(&column_sums[*first..]).map(|(weight, value)| weight * value).sum();
            *pixel = (sum + 0.5) as u8;
        }
    }
    target
}

/// A whole plane in another size.
pub(crate) fn resize(plane: Plane<'_>, width: usize, height: usize) -> Vec<u8> {
    if (plane.width, plane.height) == (width, height) {
        return plane.bytes.to_vec();
    }
    let crop = Crop { left: 0.0, top: 0.0, width: plane.width as f32, height: plane.height as f32 };
    resample(plane, crop, width, height)
}

/// How a video's numbers stand for colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ColourSystem {
    /// BT.709 (high definition) or BT.601 (everything older).
    pub bt709: bool,
    /// Luma from 0 to 255 instead of 16 to 235.
    pub full_range: bool,
}

/// RGB of three planes of the same size.
pub(crate) fn to_rgb(y: &[u8], u: &[u8], v: &[u8], system: ColourSystem) -> Vec<u8> {
    let (gain, offset, chroma) = if system.full_range { (1.0, 0.0, 1.0) } else { (255.0 / 219.0, 16.0, 255.0 / 224.0) };
    // Red by v, green by u and v, blue by u.
    let [rv, gu, gv, bu] = match system.bt709 {
        true => [1.5748, -0.1873, -0.4681, 1.8556],
        false => [1.402, -0.3441, -0.7141, 1.772],
    }
    .map(|factor| factor * chroma);
    let mut rgb = Vec::with_capacity(y.len() * 3);
    for ((y, u), v) in y.iter().zip(u).zip(v) {
        let luma = (f32::from(*y) - offset) * gain + 0.5;
        let (u, v) = (f32::from(*u) - 128.0, f32::from(*v) - 128.0);
        rgb.extend_from_slice(&[(luma + rv * v) as u8, (luma + gu * u + gv * v) as u8, (luma + bu * u) as u8]);
    }
    rgb
}

/// Luma and the two colour differences (BT.709, limited range), each in full size.
pub(crate) fn from_rgb(rgb: &[u8]) -> [Vec<u8>; 3] {
    let mut planes = [0; 3].map(|_: u8| Vec::with_capacity(rgb.len() / 3));
    for pixel in rgb.chunks_exact(3) {
        let [r, g, b] = [pixel[0], pixel[1], pixel[2]].map(|value| f32::from(value) / 255.0);
        let colour = crate::canvas::Yuv::from_rgb([r, g, b]);
        for (plane, value) in planes.iter_mut().zip([colour.y, colour.u, colour.v]) {
            plane.push((value + 0.5) as u8);
        }
    }
    planes
}
