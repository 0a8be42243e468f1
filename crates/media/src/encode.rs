//! H.264 behind two functions of our own: the encoder under it is young and changes fast.

use rusty_h264::{Encoder, EncoderConfig, Preset, YuvPlanes};

use crate::canvas::Canvas;

/// Frames from one key frame to the next: two seconds at 24 frames per second, so that players can jump.
const KEY_FRAME_DISTANCE: u32 = 48;
/// Constant quality. Higher values save bytes but no time, and from 26 on blocks show in dark gradients.
const QUANTISER: u8 = 24;

/// One encoded frame.
pub(crate) struct EncodedFrame {
    /// Annex B: NAL units behind start codes, parameter sets in front of every key frame.
    pub annex_b: Vec<u8>,
    /// Whether decoding can start here.
    pub key: bool,
}

/// Encodes one frame after the other; nothing is kept back.
pub(crate) struct FrameEncoder(Encoder);

impl FrameEncoder {
    /// Prepares for frames of this size (even) and rate.
    pub fn new(width: u32, height: u32, fps: u32) -> Result<Self, String> {
        let mut config = EncoderConfig::baseline(width as usize, height as usize);
        config.preset = Preset::Balanced;
        config.gop_size = KEY_FRAME_DISTANCE;
        config.min_keyint = KEY_FRAME_DISTANCE;
        config.qp = QUANTISER;
        config.bitrate = 0;
        config.framerate = fps as f32;
        // Each of these makes the encoder hold frames back and answer with nothing for a while.
        config.mbtree = false;
        config.bframes = 0;
        config.scenecut = 0;
        // The encoder raises the level for the frame's size, not for the rate.
        config.level_idc = level(width, height, fps);
        Encoder::new(config).map(Self).map_err(|error| error.to_string())
    }

    /// Encodes one frame of the size given at the start.
    pub fn encode(&mut self, canvas: &Canvas) -> Result<EncodedFrame, String> {
        let (width, height) = (canvas.width, canvas.height);
        let planes = YuvPlanes::new(width, height, &canvas.y, &canvas.u, &canvas.v, width, width / 2)
            .ok_or("the planes do not fit the size")?;
        let annex_b = self.0.encode_planes(&planes).map_err(|error| error.to_string())?;
        if annex_b.is_empty() {
            return Err("the encoder kept a frame back".into());
        }
        let key = is_key(&annex_b);
        Ok(EncodedFrame { annex_b, key })
    }
}

/// Whether an access unit has a slice of an IDR picture (NAL type 5).
fn is_key(annex_b: &[u8]) -> bool {
    annex_b.windows(4).any(|window| window[..3] == [0, 0, 1] && window[3] & 0x1f == 5)
}

/// Lowest level for so many macroblocks a second (ITU-T H.264, table A-1, MaxMBPS).
fn level(width: u32, height: u32, fps: u32) -> u8 {
    let rate = width.div_ceil(16) * height.div_ceil(16) * fps;
    let levels =
        [(40_500, 30), (108_000, 31), (216_000, 32), (245_760, 40), (522_240, 42), (589_824, 50), (983_040, 51)];
    levels.iter().find(|(most, _)| rate <= *most).map_or(52, |(_, level)| *level)
}
