//! The models: which wire, which sizes in the vendor's words, lengths and prices. Data, with its source.
//!
//! Sources: API reference of both wires and the price page (V2: page of 2026-09-27, V1: page of 2026-07-10), read
//! 2026-11-23; see `README.md`. A size is ours: the vendor knows only a class (`768P`) and a ratio (`16:9`).

use longtake_core::provider::{InputSupport, ModelCapabilities, RemixSupport};
use longtake_core::request::Size;

/// Which of the two wire contracts a model speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// `/v1`: HTTP 200 with `base_resp`; no list, no cancel.
    V1,
    /// `/v2`: HTTP statuses, list, cancel while queued.
    V2,
}

/// One class of sizes of a model.
#[derive(Debug)]
pub struct Class {
    /// As on the wire, capital letter included.
    pub name: &'static str,
    /// Lengths it can be made in, in seconds.
    pub seconds: &'static [u32],
    /// What it costs.
    pub price: ClassPrice,
    /// Only from an input image.
    pub needs_image: bool,
}

/// What videos of one class cost, in millionths of a dollar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClassPrice {
    /// By the second of output.
    PerSecond(u64),
    /// By the video, for each length there is.
    PerVideo(&'static [(u32, u64)]),
    /// None is published.
    Unknown,
}

impl ClassPrice {
    /// The price of a video of so many seconds.
    pub fn of(self, seconds: u32) -> Option<u64> {
        match self {
            Self::PerSecond(price) => Some(price.saturating_mul(seconds.into())),
            Self::PerVideo(prices) => prices.iter().find(|(length, _)| *length == seconds).map(|(_, price)| *price),
            Self::Unknown => None,
        }
    }
}

/// One model.
#[derive(Debug)]
pub struct Model {
    /// As on the wire.
    pub name: &'static str,
    /// Its contract.
    pub wire: Wire,
    /// Its classes; the first is the default.
    pub classes: &'static [Class],
    /// Whether it takes a first frame.
    pub input: InputSupport,
    /// Takes `extra.prompt_expansion_mode`.
    pub expands_prompts: bool,
}

/// Longest prompt of the two wires, in characters.
const V2_PROMPT_CHARS: usize = 7_000;
const V1_PROMPT_CHARS: usize = 2_000;

const FROM_4: &[u32] = &[4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const FROM_5: &[u32] = &[5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
const SIX: &[u32] = &[6];
const SIX_OR_TEN: &[u32] = &[6, 10];

const fn class(name: &'static str, seconds: &'static [u32], price: ClassPrice) -> Class {
    Class { name, seconds, price, needs_image: false }
}

const fn per_second(name: &'static str, seconds: &'static [u32], usd_micros: u64) -> Class {
    class(name, seconds, ClassPrice::PerSecond(usd_micros))
}

/// The classes that two Hailuo models have in common.
const HAILUO_768P: Class = class("768P", SIX_OR_TEN, ClassPrice::PerVideo(&[(6, 280_000), (10, 560_000)]));
const HAILUO_1080P: Class = class("1080P", SIX, ClassPrice::PerVideo(&[(6, 490_000)]));

/// Legacy models: one class, six seconds, no published price.
const fn legacy(name: &'static str, input: InputSupport) -> Model {
    const CLASSES: &[Class] = &[class("720P", SIX, ClassPrice::Unknown)];
    Model { name, wire: Wire::V1, classes: CLASSES, input, expands_prompts: false }
}

/// Every model this adapter sends to. Not offered: S2V-01, which needs a subject picture that our API has no place for.
pub const MODELS: [Model; 10] = [
    Model {
        name: "MiniMax-H3",
        wire: Wire::V2,
        classes: &[per_second("768P", FROM_4, 80_000), per_second("2K", FROM_4, 130_000)],
        input: InputSupport::Optional,
        expands_prompts: false,
    },
    Model {
        name: "MiniMax-H3-Max",
        wire: Wire::V2,
        classes: &[per_second("768P", FROM_5, 80_000), per_second("480P", FROM_5, 50_000)],
        input: InputSupport::Optional,
        expands_prompts: true,
    },
    Model {
        name: "MiniMax-Hailuo-2.3",
        wire: Wire::V1,
        classes: &[HAILUO_768P, HAILUO_1080P],
        input: InputSupport::Optional,
        expands_prompts: false,
    },
    Model {
        name: "MiniMax-Hailuo-2.3-Fast",
        wire: Wire::V1,
        classes: &[
            class("768P", SIX_OR_TEN, ClassPrice::PerVideo(&[(6, 190_000), (10, 320_000)])),
            class("1080P", SIX, ClassPrice::PerVideo(&[(6, 330_000)])),
        ],
        input: InputSupport::Required,
        expands_prompts: false,
    },
    Model {
        name: "MiniMax-Hailuo-02",
        wire: Wire::V1,
        classes: &[
            HAILUO_768P,
            HAILUO_1080P,
            Class {
                name: "512P",
                seconds: SIX_OR_TEN,
                price: ClassPrice::PerVideo(&[(6, 100_000), (10, 150_000)]),
                needs_image: true,
            },
        ],
        input: InputSupport::Optional,
        expands_prompts: false,
    },
    legacy("T2V-01", InputSupport::No),
    legacy("T2V-01-Director", InputSupport::No),
    legacy("I2V-01", InputSupport::Required),
    legacy("I2V-01-Director", InputSupport::Required),
    legacy("I2V-01-live", InputSupport::Required),
];

/// What a size of ours is in the vendor's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Width and height in pixels, as a client asks for them.
    pub size: (u32, u32),
    /// `768P`.
    pub class: &'static str,
    /// `16:9`.
    pub ratio: &'static str,
}

const fn shape(width: u32, height: u32, class: &'static str, ratio: &'static str) -> Shape {
    Shape { size: (width, height), class, ratio }
}

/// Every size that can be asked for. The vendor's own pixels may differ a little; the probe records what came.
///
/// 1280x720 is both the usual request for `768P` and the exact size of the legacy `720P`.
pub const SHAPES: [Shape; 29] = [
    shape(1280, 720, "768P", "16:9"),
    shape(720, 1280, "768P", "9:16"),
    shape(1366, 768, "768P", "16:9"),
    shape(768, 1366, "768P", "9:16"),
    shape(1024, 768, "768P", "4:3"),
    shape(768, 1024, "768P", "3:4"),
    shape(768, 768, "768P", "1:1"),
    shape(1792, 768, "768P", "21:9"),
    shape(2560, 1440, "2K", "16:9"),
    shape(1440, 2560, "2K", "9:16"),
    shape(1920, 1440, "2K", "4:3"),
    shape(1440, 1920, "2K", "3:4"),
    shape(1440, 1440, "2K", "1:1"),
    shape(3360, 1440, "2K", "21:9"),
    shape(854, 480, "480P", "16:9"),
    shape(480, 854, "480P", "9:16"),
    shape(640, 480, "480P", "4:3"),
    shape(480, 640, "480P", "3:4"),
    shape(480, 480, "480P", "1:1"),
    shape(1120, 480, "480P", "21:9"),
    shape(1920, 1080, "1080P", "16:9"),
    shape(1080, 1920, "1080P", "9:16"),
    shape(1440, 1080, "1080P", "4:3"),
    shape(1080, 1440, "1080P", "3:4"),
    shape(1080, 1080, "1080P", "1:1"),
    shape(912, 512, "512P", "16:9"),
    shape(512, 912, "512P", "9:16"),
    shape(512, 512, "512P", "1:1"),
    shape(1280, 720, "720P", "16:9"),
];

/// Ratios of the second wire, without `adaptive`.
pub const RATIOS: [&str; 6] = ["21:9", "16:9", "4:3", "1:1", "3:4", "9:16"];

impl Model {
    /// The model by its name on the wire.
    pub fn by_name(name: &str) -> Option<&'static Self> {
        MODELS.iter().find(|model| model.name == name)
    }

    /// The class by its name on the wire.
    pub fn class(&self, name: &str) -> Option<&'static Class> {
        self.classes.iter().find(|class| class.name == name)
    }

    /// What a size is for this model; `None` if it has none such.
    pub fn shape(&self, size: Size) -> Option<&'static Shape> {
        SHAPES.iter().find(|shape| shape.size == (size.width, size.height) && self.has(shape))
    }

    /// The first wire has no ratio: from text it makes 16:9, from an image the image's own.
    fn has(&self, shape: &Shape) -> bool {
        let shown = self.wire == Wire::V2 || shape.ratio == "16:9" || self.input != InputSupport::No;
        shown && self.class(shape.class).is_some()
    }

    /// What a client may ask for.
    pub fn capabilities(&self) -> ModelCapabilities {
        let mut seconds: Vec<u32> = self.classes.iter().flat_map(|class| class.seconds).copied().collect();
        seconds.sort_unstable();
        seconds.dedup();
        let default_seconds = if seconds.contains(&6) { 6 } else { seconds[0] };
        let size = |shape: &Shape| Size { width: shape.size.0, height: shape.size.1 };
        let sizes = SHAPES.iter().filter(|shape| self.has(shape)).map(size).collect();
        ModelCapabilities {
            seconds,
            default_seconds,
            sizes,
            default_size: Size { width: 1280, height: 720 },
            input_image: self.input,
            max_prompt_chars: if self.wire == Wire::V2 { V2_PROMPT_CHARS } else { V1_PROMPT_CHARS },
            price_usd_micros_per_second: self.highest_price_per_second(),
            remix: RemixSupport::No,
            sunset: None,
        }
    }

    /// Of all classes and lengths, rounded up: where one figure must do, it must not promise too little.
    fn highest_price_per_second(&self) -> Option<u64> {
        let each = self.classes.iter().flat_map(|class| class.seconds.iter().map(move |seconds| (class, *seconds)));
        each.filter_map(|(class, seconds)| Some(class.price.of(seconds)?.div_ceil(seconds.max(1).into()))).max()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_model_serves_its_default_size_and_length() {
        for model in &MODELS {
            let capabilities = model.capabilities();
            let shape = model.shape(capabilities.default_size).expect(model.name);
            let class = model.class(shape.class).expect(model.name);
            assert!(class.seconds.contains(&capabilities.default_seconds), "{}", model.name);
            assert!(capabilities.sizes.contains(&capabilities.default_size), "{}", model.name);
        }
    }

    #[test]
    fn every_length_of_a_class_has_a_price_or_none_has() {
        for model in &MODELS {
            for class in model.classes {
                let priced = class.seconds.iter().filter(|seconds| class.price.of(**seconds).is_some()).count();
                let all = if class.price == ClassPrice::Unknown { 0 } else { class.seconds.len() };
                assert_eq!(priced, all, "{} {}", model.name, class.name);
            }
        }
        let highest = |name| Model::by_name(name).and_then(|model| model.capabilities().price_usd_micros_per_second);
        assert_eq!(highest("MiniMax-H3"), Some(130_000));
        assert_eq!(highest("MiniMax-Hailuo-2.3"), Some(81_667));
        assert_eq!(highest("T2V-01"), None);
    }

    #[test]
    fn every_class_of_every_model_can_be_asked_for_by_a_size() {
        for model in &MODELS {
            for class in model.classes {
                assert!(SHAPES.iter().any(|shape| shape.class == class.name), "{} {}", model.name, class.name);
            }
        }
    }
}
