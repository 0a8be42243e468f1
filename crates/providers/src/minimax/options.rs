//! What `[accounts.x.options]` and `provider_options` may say, and a request in the vendor's words.

use longtake_core::provider::{InputSupport, Unsupported};
use longtake_core::request::VideoRequest;
use serde::Deserialize;

use super::models::{Class, Model, RATIOS, Wire};
use crate::options;

/// `[accounts.x.options]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccountOptions {
    /// Where the key belongs: it works on no other host.
    pub region: Region,
    /// Polls and look-ups per minute, if not the vendor's 300. The models of the first wire have 20: set it for them.
    pub polls_per_minute: Option<u32>,
}

/// The vendor's two installations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Region {
    /// Outside mainland China.
    #[default]
    Global,
    /// Mainland China.
    China,
}

impl Region {
    /// Its host.
    pub const fn base_url(self) -> &'static str {
        match self {
            Self::Global => "https://api.minimax.io",
            Self::China => "https://api.minimax.cn",
        }
    }
}

/// A request in the vendor's words.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// `768P`.
    pub resolution: &'static str,
    /// `16:9`; `None` where the vendor takes the image's.
    pub ratio: Option<&'static str>,
    /// `extra.prompt_expansion_mode`.
    pub prompt_expansion_mode: Option<Box<str>>,
    /// Marks the video as made by a machine.
    pub aigc_watermark: Option<bool>,
    /// Lets the vendor rewrite the prompt.
    pub prompt_optimizer: Option<bool>,
    /// A shorter rewriting.
    pub fast_pretreatment: Option<bool>,
}

/// What `provider_options` may hold for a model.
pub const fn known(model: &Model) -> &'static [&'static str] {
    match (model.wire, model.expands_prompts) {
        (Wire::V2, true) => &["resolution", "ratio", "aigc_watermark", "prompt_expansion_mode"],
        (Wire::V2, false) => &["resolution", "ratio", "aigc_watermark"],
        (Wire::V1, _) => &["resolution", "aigc_watermark", "prompt_optimizer", "fast_pretreatment"],
    }
}

/// Translates a request, or says what of it the model cannot do.
///
/// # Errors
/// `Unsupported` naming the field.
pub fn wanted(model: &'static Model, request: &VideoRequest) -> Result<Wanted, Unsupported> {
    let given = options::read(request)?;
    options::only(&given, known(model))?;
    match (model.input, &request.input) {
        (InputSupport::Required, None) => {
            return Err(Unsupported::new("input_reference", format!("{} needs an input image", model.name)));
        }
        (InputSupport::No, Some(_)) => {
            return Err(Unsupported::new("input_reference", format!("{} takes no input image", model.name)));
        }
        _ => {}
    }
    let names: Vec<&str> = model.classes.iter().map(|class| class.name).collect();
    let chosen = options::word(&given, "resolution", &names)?;
    let shape = model.shape(request.size);
    let class = match (chosen, shape) {
        (Some(name), _) => model.class(name),
        (None, Some(shape)) => model.class(shape.class),
        (None, None) => None,
    };
    let class = class.ok_or_else(|| {
        let message = format!("{} has no size {}; GET /v1/models/… lists what it has", model.name, request.size);
        Unsupported::new("size", message)
    })?;
    check_class(model, class, request)?;
    let ratio = options::word(&given, "ratio", &RATIOS)?;
    let ratio = ratio.and_then(|ratio| RATIOS.into_iter().find(|known| *known == ratio));
    let ratio = match (model.wire, &request.input) {
        // With a first frame the vendor follows the image and ignores a ratio.
        (Wire::V1, _) | (Wire::V2, Some(_)) => None,
        (Wire::V2, None) => ratio.or_else(|| shape.map(|shape| shape.ratio)).or(Some("16:9")),
    };
    let modes = ["disabled", "balanced", "quality"];
    Ok(Wanted {
        resolution: class.name,
        ratio,
        prompt_expansion_mode: options::word(&given, "prompt_expansion_mode", &modes)?.map(Into::into),
        aigc_watermark: options::switch(&given, "aigc_watermark")?,
        prompt_optimizer: options::switch(&given, "prompt_optimizer")?,
        fast_pretreatment: options::switch(&given, "fast_pretreatment")?,
    })
}

fn check_class(model: &Model, class: &Class, request: &VideoRequest) -> Result<(), Unsupported> {
    if !class.seconds.contains(&request.seconds) {
        let possible = class.seconds.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        let message = format!("{} at {} takes {possible} seconds, not {}", model.name, class.name, request.seconds);
        return Err(Unsupported::new("seconds", message));
    }
    if class.needs_image && request.input.is_none() {
        return Err(Unsupported::new("size", format!("{} makes {} only from an input image", model.name, class.name)));
    }
    Ok(())
}
