//! A create of Conduit's in the members of `/v1/videos`.
//!
//! What Conduit names is checked as Conduit checks it. Everything else is kept and goes to the provider, where every route
//! of the model knows it; what none could do anything with is left out and told so in the answer, as Conduit passes it on
//! to a provider that ignores it.

use std::collections::BTreeMap;

use longtake_core::provider::InputSupport;
use longtake_core::request::Size;

use super::dialect::Dialect;
use super::webhook;
use crate::app::{App, Model};
use crate::http::error::{ApiError, ErrorCode};
use crate::http::node::{Members, Node, integer_text, repeated};
use crate::http::videos::fields::{self, CreateFields};

/// Longest video that Conduit lets anyone ask for, in seconds.
const MAX_SECONDS: i64 = 60;
/// Most pictures per second.
const MAX_FPS: i64 = 120;
/// Longest time a client may give a task, in seconds.
const MAX_TIMEOUT_SECS: i64 = 3_600;
/// Most members that Conduit does not name.
const MAX_OTHERS: usize = 64;
/// Longest name of one, in characters.
const MAX_NAME_CHARS: usize = 128;
/// Names that clients use for a picture to start from.
const PICTURES: [&str; 2] = ["first_frame_image", "start_image"];

/// What a client wants.
#[derive(Debug)]
pub struct Wish {
    /// In our members.
    pub fields: CreateFields,
    /// Names of members that were left out.
    pub ignored: Vec<String>,
    /// The name that the picture came under.
    picture: Option<&'static str>,
}

impl Wish {
    /// Reads the members of a create.
    ///
    /// # Errors
    /// Names the member at fault, as the client wrote it.
    pub fn read(app: &App, dialect: Dialect, mut members: Members) -> Result<Self, ApiError> {
        let missing = |param: &str, text: &str| ApiError::about(param, ErrorCode::MissingParameter, text);
        let given = |text: &String| !text.trim().is_empty();
        let prompt = members.text("prompt")?.filter(given).ok_or_else(|| missing("prompt", "Prompt is required"))?;
        let model = members.text("model")?.filter(given).ok_or_else(|| missing("model", "Model is required"))?;
        let offered = app.models.get(&model);
        let (seconds, timeout) = (duration(&mut members)?, timeout(&mut members)?);
        let fps = number(&mut members, "fps", 1, MAX_FPS, "FPS must be between 1 and 120")?;
        let seed = number(&mut members, "seed", i64::MIN, i64::MAX, "Seed must be a whole number")?;
        let many = number(&mut members, "n", 1, i64::MAX, "N must be a whole number from 1")?;
        response_format(&mut members)?;
        let size = members.text("size")?.map(|text| offered.and_then(|model| class(model, &text)).unwrap_or(text));
        let metadata = metadata(&mut members)?;
        let (picture, input) = picture(&mut members)?;
        let webhook = webhook::wish(&mut members, dialect)?;
        let numbers = [("fps", fps), ("seed", seed)].into_iter();
        let mut extras: Vec<(String, Node)> =
            numbers.filter_map(|(name, number)| Some((name.to_owned(), Node::Number(number?.into())))).collect();
        extras.extend(others(members)?);
        let known = |name: &str| offered.is_some_and(|model| is_known(app, model, name));
        let (forwarded, left): (Vec<_>, Vec<_>) = extras.into_iter().partition(|(name, _)| known(name));
        let mut ignored: Vec<String> = left.into_iter().map(|(name, _)| name).collect();
        ignored.extend(many.filter(|n| *n > 1).map(|_| "n".to_owned()));
        ignored.sort_unstable();
        let options = (!forwarded.is_empty()).then(|| fields::options(Node::Object(forwarded))).transpose()?;
        let fields = CreateFields {
            prompt: fields::checked_prompt(prompt)?,
            model: Some(model),
            seconds,
            size,
            input,
            metadata,
            deadline_seconds: timeout,
            provider_options: options,
            webhook,
            ..CreateFields::default()
        };
        Ok(Self { fields, ignored, picture })
    }

    /// An error about one of our members, about the one that the client knows.
    pub fn in_its_words(&self, error: ApiError) -> ApiError {
        error.about_instead(|param| match param.strip_prefix("provider_options.") {
            Some(name) => name.to_owned(),
            None if param == "seconds" => "duration".to_owned(),
            None if param.starts_with("input_reference") => self.picture.unwrap_or(PICTURES[0]).to_owned(),
            None => param,
        })
    }
}

/// Members that Conduit does not name: within bounds, since the answer may name them again.
fn others(members: Members) -> Result<Vec<(String, Node)>, ApiError> {
    let others: Vec<(String, Node)> = members.rest().collect();
    if others.len() > MAX_OTHERS {
        let message = format!("at most {MAX_OTHERS} members beyond Conduit's own");
        return Err(ApiError::new(ErrorCode::InvalidValue, message));
    }
    match others.iter().find(|(name, _)| name.chars().count() > MAX_NAME_CHARS) {
        Some((name, _)) => {
            let message = format!("a member's name has at most {MAX_NAME_CHARS} characters");
            Err(ApiError::about(name, ErrorCode::InvalidValue, message))
        }
        None => Ok(others),
    }
}

/// Whether every provider that may be asked understands it.
pub fn is_known(app: &App, model: &Model, name: &str) -> bool {
    model.routes.iter().all(|route| {
        let entry = app.accounts.get(&route.account);
        entry.is_some_and(|entry| entry.provider.knows_option(route.account, &route.model, name))
    })
}

/// A whole number, also as text: Conduit's own catalogue offers it as text.
fn number(members: &mut Members, name: &str, least: i64, most: i64, message: &str) -> Result<Option<i64>, ApiError> {
    let Some(node) = members.take(name) else { return Ok(None) };
    let wrong = || ApiError::about(name, ErrorCode::InvalidValue, message);
    let number = match node {
        Node::Text(text) => integer_text(text.trim()),
        Node::Number(number) => number.as_i64(),
        _ => None,
    };
    number.filter(|number| (least..=most).contains(number)).map(Some).ok_or_else(wrong)
}

fn duration(members: &mut Members) -> Result<Option<u32>, ApiError> {
    let message = "Duration must be between 1 and 60 seconds";
    Ok(number(members, "duration", 1, MAX_SECONDS, message)?.and_then(|seconds| u32::try_from(seconds).ok()))
}

fn timeout(members: &mut Members) -> Result<Option<u64>, ApiError> {
    let message = "Timeout must be between 1 and 3600 seconds";
    Ok(number(members, "timeout_seconds", 1, MAX_TIMEOUT_SECS, message)?.map(i64::unsigned_abs))
}

/// Both words are taken: a video is stored and its URL answered, as Conduit does.
fn response_format(members: &mut Members) -> Result<(), ApiError> {
    match members.text("response_format")?.as_deref() {
        None | Some("url" | "b64_json") => Ok(()),
        Some(_) => Err(ApiError::about("response_format", ErrorCode::InvalidValue, "must be url or b64_json")),
    }
}

/// A class such as `720p` as the first size of the model with that short side; of one that takes any size, in 16:9.
fn class(model: &Model, text: &str) -> Option<String> {
    let lines = text.strip_suffix(['p', 'P'])?;
    let short = integer_text(lines).and_then(|lines| u32::try_from(lines).ok()).filter(|lines| *lines > 0)?;
    let sizes = &model.accepts.sizes;
    if sizes.is_empty() {
        // Encoders want even sides: 480p is 854x480, as everywhere.
        let width = short.checked_mul(16)?.div_ceil(9).next_multiple_of(2);
        return Some(Size { width, height: short }.to_string());
    }
    let fits = |size: &&Size| size.width.min(size.height) == short;
    let found = sizes.iter().filter(fits).find(|size| size.width > size.height).or_else(|| sizes.iter().find(fits));
    found.map(ToString::to_string)
}

/// `webhook_metadata` and `user`, as the client's pairs. What is no text becomes JSON text.
fn metadata(members: &mut Members) -> Result<BTreeMap<String, String>, ApiError> {
    let (user, given) = (members.text("user")?, members.take("webhook_metadata"));
    let mut pairs = match given {
        None => BTreeMap::new(),
        Some(node) => {
            let text = |node: Node| match node {
                Node::Text(text) => text,
                node => node.into_json().to_string(),
            };
            let members = node.into_members("webhook_metadata")?.into_iter();
            let texts = members.map(|(name, node)| (name, Node::Text(text(node)))).collect();
            fields::pairs("webhook_metadata", Node::Object(texts))?
        }
    };
    if let Some(user) = user {
        let node = Node::Object(vec![("user".to_owned(), Node::Text(user))]);
        let own = fields::pairs("", node).map_err(|error| error.about_instead(|_| "user".to_owned()))?;
        for (name, value) in own {
            pairs.entry(name).or_insert(value);
        }
    }
    Ok(pairs)
}

/// A picture to start from, and the name it came under.
fn picture(members: &mut Members) -> Result<(Option<&'static str>, Option<fields::InputReference>), ApiError> {
    let mut found = None;
    for name in PICTURES {
        let Some(url) = members.text(name)? else { continue };
        if found.is_some() {
            return Err(repeated(name));
        }
        found = Some((name, fields::picture_at(name, url)?));
    }
    Ok(match found {
        None => (None, None),
        Some((name, input)) => (Some(name), Some(input)),
    })
}

/// Whether a model can start from a picture.
pub fn takes_picture(model: &Model) -> bool {
    model.accepts.input_image != InputSupport::No
}

#[cfg(test)]
mod tests {
    use longtake_core::provider::ModelCapabilities;

    use super::*;

    fn members(json: &str) -> Members {
        Members::of_body(Node::from_json(json.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn numbers_may_come_as_text() {
        let read = |json: &str| duration(&mut members(json));
        for (json, seconds) in [
            (r#"{"duration": 6}"#, Some(6)),
            (r#"{"duration": "6"}"#, Some(6)),
            (r#"{"duration": " 10 "}"#, Some(10)),
            (r#"{"duration": null}"#, None),
            ("{}", None),
        ] {
            assert_eq!(read(json).unwrap(), seconds, "{json}");
        }
        for json in [
            r#"{"duration": 0}"#,
            r#"{"duration": 61}"#,
            r#"{"duration": "61"}"#,
            r#"{"duration": "six"}"#,
            r#"{"duration": ""}"#,
            r#"{"duration": 6.5}"#,
            r#"{"duration": true}"#,
            r#"{"duration": [6]}"#,
        ] {
            let error = read(json).unwrap_err();
            assert_eq!(error.code(), ErrorCode::InvalidValue, "{json}");
            assert_eq!(error.body().error.message, "Duration must be between 1 and 60 seconds");
        }
    }

    #[test]
    fn pairs_come_from_user_and_webhook_metadata() {
        let json = r#"{"user": "u-7", "webhook_metadata": {"order": 7, "nested": {"a": [1]}, "word": "x"}}"#;
        let pairs = metadata(&mut members(json)).unwrap();
        let expected = [("nested", r#"{"a":[1]}"#), ("order", "7"), ("user", "u-7"), ("word", "x")];
        assert_eq!(pairs, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        let long = format!(r#"{{"user": "{}"}}"#, "u".repeat(513));
        assert_eq!(metadata(&mut members(&long)).unwrap_err().body().error.param.as_deref(), Some("user"));
    }

    #[test]
    fn a_class_is_a_size_of_the_model() {
        let model = |sizes: &[&str]| Model {
            name: "m".to_owned(),
            routes: Vec::new(),
            accepts: ModelCapabilities { sizes: sizes.iter().map(|size| size.parse().unwrap()).collect(), ..any() },
        };
        let listed = model(&["720x1280", "1280x720", "768x768", "1366x768"]);
        for (text, size) in [("720p", Some("1280x720")), ("768P", Some("1366x768")), ("1080p", None), ("0p", None)] {
            assert_eq!(class(&listed, text).as_deref(), size, "{text}");
        }
        assert_eq!(class(&model(&["768x768"]), "768p").as_deref(), Some("768x768"));
        for (text, size) in [("480p", "854x480"), ("720p", "1280x720"), ("1080p", "1920x1080")] {
            assert_eq!(class(&model(&[]), text).as_deref(), Some(size), "{text}");
        }
        assert_eq!(class(&listed, "1280x720"), None);
    }

    fn any() -> ModelCapabilities {
        ModelCapabilities {
            seconds: Vec::new(),
            default_seconds: 4,
            sizes: Vec::new(),
            default_size: Size { width: 64, height: 64 },
            input_image: InputSupport::No,
            max_prompt_chars: 100,
            price_usd_micros_per_second: None,
            remix: longtake_core::provider::RemixSupport::No,
            sunset: None,
        }
    }
}
