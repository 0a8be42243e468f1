//! The documented rules for a V2 create; whatever breaks one is refused with 400 and code 2013.
//!
//! Stricter than the vendor where its behaviour is not known, so that a wrong request of ours is seen: unknown
//! fields, media without a role and a text-only request without a ratio are refused.

use serde_json::Value;

/// The checked request.
pub(super) struct Checked {
    pub(super) model: String,
    pub(super) prompt: String,
    pub(super) resolution: String,
    pub(super) duration: u32,
    pub(super) ratio: String,
    pub(super) callback_url: Option<String>,
    pub(super) price_usd: f64,
}

/// What is wrong, in words.
pub(super) type Wrong = String;

const FIELDS: [&str; 8] =
    ["model", "content", "resolution", "duration", "ratio", "callback_url", "extra", "aigc_watermark"];
const RATIOS: [&str; 7] = ["adaptive", "21:9", "16:9", "4:3", "1:1", "3:4", "9:16"];
/// Longest text item, in characters.
const MAX_PROMPT_CHARS: usize = 7000;

/// Checks a create body by the rules of its model.
pub(super) fn check(body: &Value, insecure_inputs: bool) -> Result<Checked, Wrong> {
    let fields = body.as_object().ok_or("the body must be a JSON object")?;
    if let Some(unknown) = fields.keys().find(|name| !FIELDS.contains(&name.as_str())) {
        return Err(format!("unknown field {unknown}"));
    }
    let model = body["model"].as_str().ok_or("model is required")?;
    let (resolutions, default, seconds): (&[&str], &str, _) = match model {
        "MiniMax-H3" => (&["768P", "2K"], "2K", 4..=15),
        "MiniMax-H3-Max" => (&["480P", "768P"], "768P", 5..=15),
        other => return Err(format!("unknown model {other}")),
    };
    let max = model == "MiniMax-H3-Max";
    let media = check_content(&body["content"], insecure_inputs)?;
    if max && media.references > 0 {
        return Err("MiniMax-H3-Max takes no references".to_owned());
    }
    let resolution = optional_text(body, "resolution")?.unwrap_or_else(|| default.to_owned());
    if !resolutions.contains(&resolution.as_str()) {
        return Err(format!("resolution {resolution} is not one of {resolutions:?}"));
    }
    let duration = match &body["duration"] {
        Value::Null => 5,
        Value::Number(number) => number.as_u64().ok_or("duration must be an integer")?,
        _ => return Err("duration must be an integer".to_owned()),
    };
    let duration = u32::try_from(duration).unwrap_or(u32::MAX);
    if !seconds.contains(&duration) {
        return Err(format!("duration {duration} is not in {seconds:?}"));
    }
    let ratio = optional_text(body, "ratio")?.unwrap_or_default();
    if !ratio.is_empty() && !RATIOS.contains(&ratio.as_str()) {
        return Err(format!("ratio {ratio} is not one of {RATIOS:?}"));
    }
    if media.is_text_only() && (ratio.is_empty() || ratio == "adaptive") {
        return Err("text only needs a concrete ratio".to_owned());
    }
    check_extra(&body["extra"], max)?;
    if !matches!(body["aigc_watermark"], Value::Null | Value::Bool(_)) {
        return Err("aigc_watermark must be a boolean".to_owned());
    }
    let callback_url = optional_text(body, "callback_url")?;
    let per_second = match (max, resolution.as_str()) {
        (false, "2K") => 0.13,
        (true, "480P") => 0.05,
        _ => 0.08,
    };
    let price_usd = per_second * f64::from(duration) + media.price_usd(max);
    let (model, prompt) = (model.to_owned(), media.prompt);
    Ok(Checked { model, prompt, resolution, duration, ratio, callback_url, price_usd })
}

fn optional_text(body: &Value, name: &str) -> Result<Option<String>, Wrong> {
    match &body[name] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone())),
        _ => Err(format!("{name} must be a string")),
    }
}

fn check_extra(extra: &Value, max: bool) -> Result<(), Wrong> {
    if extra.is_null() {
        return Ok(());
    }
    let extra = extra.as_object().ok_or("extra must be an object")?;
    for (name, value) in extra {
        let mode = value.as_str().unwrap_or_default();
        if name != "prompt_expansion_mode" || !["disabled", "balanced", "quality"].contains(&mode) {
            return Err(format!("unknown extra {name}"));
        }
        if !max {
            return Err("prompt_expansion_mode is for MiniMax-H3-Max only".to_owned());
        }
    }
    Ok(())
}

/// What the content items add up to.
#[derive(Default)]
struct Media {
    prompt: String,
    texts: usize,
    first_frames: usize,
    last_frames: usize,
    references: usize,
    images: usize,
    videos: usize,
    audios: usize,
}

impl Media {
    fn is_text_only(&self) -> bool {
        self.first_frames + self.last_frames + self.references == 0
    }

    fn price_usd(&self, max: bool) -> f64 {
        let images = self.images + self.first_frames + self.last_frames;
        let (free, each) = if max { (2, 0.074) } else { (5, 0.04) };
        each * images.saturating_sub(free) as f64
    }
}

fn check_content(content: &Value, insecure_inputs: bool) -> Result<Media, Wrong> {
    let items = content.as_array().ok_or("content must be an array")?;
    let mut media = Media::default();
    for item in items {
        let kind = item["type"].as_str().ok_or("every content item has a type")?;
        if kind == "text" {
            media.texts += 1;
            item["text"].as_str().ok_or("a text item has a text")?.clone_into(&mut media.prompt);
            continue;
        }
        if !["image_url", "video_url", "audio_url"].contains(&kind) {
            return Err(format!("unknown content type {kind}"));
        }
        let url = item[kind]["url"].as_str().ok_or_else(|| format!("a {kind} item has a {kind}.url"))?;
        let secure = ["https://", "mm_file://", "data:"].iter().any(|scheme| url.starts_with(scheme));
        let tolerated = insecure_inputs && url.starts_with("http://");
        if !secure && !tolerated {
            return Err("a url is https://, mm_file:// or data:".to_owned());
        }
        match (kind, item["role"].as_str()) {
            ("image_url", Some("first_frame")) => media.first_frames += 1,
            ("image_url", Some("last_frame")) => media.last_frames += 1,
            ("image_url", Some("reference_image")) => media.images += 1,
            ("video_url", Some("reference_video")) => media.videos += 1,
            ("audio_url", Some("reference_audio")) => media.audios += 1,
            (_, role) => return Err(format!("role {role:?} does not fit {kind}")),
        }
    }
    media.references = media.images + media.videos + media.audios;
    check_counts(&media)?;
    Ok(media)
}

fn check_counts(media: &Media) -> Result<(), Wrong> {
    let length = media.prompt.chars().count();
    let frames = media.first_frames + media.last_frames;
    let broken = [
        (media.texts != 1 || media.prompt.trim().is_empty(), "exactly one non-empty text item is required"),
        (length > MAX_PROMPT_CHARS, "the text has more than 7000 characters"),
        (media.first_frames > 1 || media.last_frames > 1, "there is one first_frame and one last_frame at most"),
        (media.last_frames > media.first_frames, "last_frame needs first_frame"),
        (frames > 0 && media.references > 0, "frames and references exclude each other"),
        (media.audios > 0 && media.images + media.videos == 0, "audio needs an image or video reference"),
        (media.images > 9, "there are 9 reference images at most"),
        (media.videos > 3, "there are 3 reference videos at most"),
        (media.audios > 3, "there are 3 reference audios at most"),
        (media.references > 12, "there are 12 references at most"),
    ];
    match broken.iter().find(|(broken, _)| *broken) {
        Some((_, rule)) => Err((*rule).to_owned()),
        None => Ok(()),
    }
}
