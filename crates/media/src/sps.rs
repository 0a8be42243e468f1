//! What has to be known of an H.264 stream before a decoder may see it: how large its pictures are, and its colours.
//!
//! Syntax: ITU-T H.264, 7.3.2.1.1 (sequence parameter set) and E.1.1 (VUI).

/// What a sequence parameter set says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sequence {
    /// Pixels of a coded picture, before cropping: what decoding costs.
    pub coded_pixels: u64,
    /// Whether luma runs from 0 to 255.
    pub full_range: bool,
    /// Code of the colour matrix, 2 where unknown (table E-5).
    pub matrix: u8,
}

/// Reads a sequence parameter set with its NAL header; `None` if it is cut off or absurd.
pub(crate) fn parse(nal: &[u8]) -> Option<Sequence> {
    let payload = unescape(nal.get(1..)?);
    let mut bits = Bits { bytes: &payload, at: 0 };
    let profile = bits.take(8)?;
    bits.take(16)?;
    bits.unsigned()?;
    if matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135) {
        high_profile(&mut bits)?;
    }
    bits.unsigned()?;
    match bits.unsigned()? {
        0 => {
            bits.unsigned()?;
        }
        1 => {
            bits.take(1)?;
            bits.unsigned()?;
            bits.unsigned()?;
            for _ in 0..bits.unsigned()?.min(255) {
                bits.unsigned()?;
            }
        }
        _ => {}
    }
    bits.unsigned()?;
    bits.take(1)?;
    let width = u64::from(bits.unsigned()?) + 1;
    let height = u64::from(bits.unsigned()?) + 1;
    let frames_only = bits.take(1)?;
    if frames_only == 0 {
        bits.take(1)?;
    }
    bits.take(1)?;
    if bits.take(1)? == 1 {
        for _ in 0..4 {
            bits.unsigned()?;
        }
    }
    let coded_pixels = width.checked_mul(height)?.checked_mul(256 * u64::from(2 - frames_only))?;
    let (full_range, matrix) = colours(&mut bits).unwrap_or((false, 2));
    Some(Sequence { coded_pixels, full_range, matrix })
}

fn high_profile(bits: &mut Bits<'_>) -> Option<()> {
    let chroma = bits.unsigned()?;
    if chroma == 3 {
        bits.take(1)?;
    }
    bits.unsigned()?;
    bits.unsigned()?;
    bits.take(1)?;
    if bits.take(1)? == 0 {
        return Some(());
    }
    for list in 0..if chroma == 3 { 12 } else { 8 } {
        if bits.take(1)? == 0 {
            continue;
        }
        let (mut last, mut next) = (8_i64, 8_i64);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                next = (last + bits.signed()?).rem_euclid(256);
            }
            last = if next == 0 { last } else { next };
        }
    }
    Some(())
}

/// Range and matrix from the VUI; `None` where there is none.
fn colours(bits: &mut Bits<'_>) -> Option<(bool, u8)> {
    if bits.take(1)? == 0 {
        return None;
    }
    // Aspect ratio: code 255 is followed by the ratio itself.
    if bits.take(1)? == 1 && bits.take(8)? == 255 {
        bits.take(32)?;
    }
    // Overscan.
    if bits.take(1)? == 1 {
        bits.take(1)?;
    }
    if bits.take(1)? == 0 {
        return None;
    }
    bits.take(3)?;
    let full_range = bits.take(1)? == 1;
    if bits.take(1)? == 0 {
        return Some((full_range, 2));
    }
    bits.take(16)?;
    Some((full_range, bits.take(8)? as u8))
}

/// Takes out the bytes that keep start codes from appearing inside a unit.
fn unescape(bytes: &[u8]) -> Vec<u8> {
    let (mut clean, mut zeros) = (Vec::with_capacity(bytes.len()), 0);
    for byte in bytes {
        if zeros >= 2 && *byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if *byte == 0 { zeros + 1 } else { 0 };
        clean.push(*byte);
    }
    clean
}

/// Bits from the front; `None` behind the end.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Bits<'_> {
    fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0_u32;
        for _ in 0..count {
            let byte = self.bytes.get(self.at / 8)?;
            value = value << 1 | u32::from(byte >> (7 - self.at % 8) & 1);
            self.at += 1;
        }
        Some(value)
    }

    /// Exp-Golomb code; longer ones than 32 bits are nonsense.
    fn unsigned(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.take(1)? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1_u32 << zeros) - 1 + self.take(zeros)?)
    }

    fn signed(&mut self) -> Option<i64> {
        let code = i64::from(self.unsigned()?);
        Some(if code % 2 == 0 { -(code / 2) } else { (code + 1) / 2 })
    }
}
