//! What a create says, decoded from JSON or from multipart into the same members.
//!
//! The SDKs always send multipart: one text part per member, `input_reference` as a file part or as the text part
//! `input_reference[image_url]`, nested members as `metadata[k]`. Limits of text are checked here, the model in `accept`.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{Context, SHA256};
use axum::extract::multipart::Field;
use axum::extract::{DefaultBodyLimit, FromRequest, Multipart};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Request};
use longtake_core::id::JobId;
use longtake_core::request::SourceKind;

use super::cost;
use super::webhook::WebhookWish;
use crate::http::auth::sha256;
use crate::http::error::{ApiError, ErrorCode};
use crate::http::files::{self, FileId};
use crate::http::node::{Members, Node, integer_text, repeated, wrong_type};

/// Longest prompt, in characters.
pub const MAX_PROMPT_CHARS: usize = 32_000;
/// Most metadata pairs.
const MAX_METADATA: usize = 16;
/// Longest metadata key, in characters.
const MAX_METADATA_KEY_CHARS: usize = 64;
/// Longest metadata value, in characters.
const MAX_METADATA_VALUE_CHARS: usize = 512;
/// Longest deadline, in seconds: a year.
const MAX_DEADLINE_SECS: i64 = 366 * 24 * 3600;
/// Highest and, negated, lowest priority.
const MAX_PRIORITY: i64 = 100;
/// Longest `provider_options`, in bytes of JSON.
const MAX_OPTIONS_BYTES: usize = 16 << 10;
/// Most parts of one form.
const MAX_PARTS: usize = 128;

/// A picture to start from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputReference {
    /// Its bytes, uploaded or in a data URL.
    Bytes(Bytes),
    /// Where to fetch it.
    Url(String),
    /// What was uploaded before.
    File(FileId),
}

/// The decoded members of a create; absent ones stay absent.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CreateFields {
    /// What to show.
    pub prompt: String,
    /// Public model name.
    pub model: Option<String>,
    /// Length, in seconds.
    pub seconds: Option<u32>,
    /// `WIDTHxHEIGHT`.
    pub size: Option<String>,
    /// A picture to start from.
    pub input: Option<InputReference>,
    /// The client's own pairs.
    pub metadata: BTreeMap<String, String>,
    /// Time the client gives it, in seconds.
    pub deadline_seconds: Option<u64>,
    /// -100 to 100.
    pub priority: Option<i16>,
    /// For the provider: a JSON object as text, members sorted.
    pub provider_options: Option<String>,
    /// All attempts together may cost at most this, in millionths of a dollar.
    pub max_cost_usd_micros: Option<u64>,
    /// Who else shall be told of its events.
    pub webhook: Option<WebhookWish>,
    /// The video it is made of: from the path, never from the body.
    pub source: Option<(JobId, SourceKind)>,
}

impl CreateFields {
    /// From a JSON body.
    ///
    /// # Errors
    /// Names the member at fault.
    pub fn from_json(body: &[u8]) -> Result<Self, ApiError> {
        Self::from_members(Members::of_body(Node::from_json(body)?)?, None)
    }

    /// From a multipart body.
    ///
    /// # Errors
    /// Names the part at fault.
    pub async fn from_multipart(content_type: &HeaderValue, body: Bytes) -> Result<Self, ApiError> {
        let mut request = Request::new(axum::body::Body::from(body));
        request.headers_mut().insert(CONTENT_TYPE, content_type.clone());
        DefaultBodyLimit::disable().apply(&mut request); // the body is in memory already, within its own limit
        let mut form = Multipart::from_request(request, &()).await.map_err(|_| broken_form())?;
        let mut members: Vec<(String, Node)> = Vec::new();
        let mut upload = None;
        for _ in 0..MAX_PARTS {
            let Some(part) = form.next_field().await.map_err(|_| broken_form())? else {
                return Self::from_members(Members::of_body(Node::Object(members))?, upload);
            };
            let name = part.name().ok_or_else(broken_form)?.to_owned();
            if name == "input_reference" && is_file(&part) {
                if upload.replace(part.bytes().await.map_err(|_| broken_form())?).is_some() {
                    return Err(repeated(&name));
                }
                continue;
            }
            let text = String::from_utf8(part.bytes().await.map_err(|_| broken_form())?.into())
                .map_err(|_| ApiError::about(&name, ErrorCode::InvalidValue, "the text is not UTF-8"))?;
            place(&mut members, &name, text)?;
        }
        Err(ApiError::new(ErrorCode::InvalidMultipart, format!("a form has at most {MAX_PARTS} parts")))
    }

    fn from_members(mut members: Members, upload: Option<Bytes>) -> Result<Self, ApiError> {
        let prompt = members.text("prompt")?.ok_or_else(|| {
            ApiError::about("prompt", ErrorCode::MissingParameter, "say in `prompt` what the video shall show")
        })?;
        let input = match (members.take("input_reference"), upload) {
            (Some(_), Some(_)) => return Err(repeated("input_reference")),
            (Some(node), None) => Some(reference(node)?),
            (None, upload) => upload.map(InputReference::Bytes),
        };
        let fields = Self {
            prompt: checked_prompt(prompt)?,
            model: members.text("model")?,
            seconds: members.take("seconds").map(seconds).transpose()?,
            size: members.text("size")?,
            input,
            metadata: members.take("metadata").map(|node| pairs("metadata", node)).transpose()?.unwrap_or_default(),
            deadline_seconds: ranged(&mut members, "deadline_seconds", 1, MAX_DEADLINE_SECS)?.map(i64::unsigned_abs),
            priority: ranged(&mut members, "priority", -MAX_PRIORITY, MAX_PRIORITY)?
                .map(|priority| i16::try_from(priority).unwrap_or_default()),
            provider_options: members.take("provider_options").map(options).transpose()?,
            max_cost_usd_micros: members.take("max_cost_usd").map(cost::limit).transpose()?,
            webhook: members.text(WebhookWish::PARAM)?.map(WebhookWish::at),
            source: None,
        };
        members.done("")?;
        Ok(fields)
    }

    /// SHA-256 over the decoded members: an uploaded image by its digest, a linked one by its address.
    ///
    /// Equal for JSON and multipart and for any order of members, so that an idempotency key means what was asked.
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut context = Context::new(&SHA256);
        let mut put = |name: &str, value: Option<&[u8]>| {
            let Some(value) = value else { return };
            for part in [name.as_bytes(), value] {
                context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
                context.update(part);
            }
        };
        put("prompt", Some(self.prompt.as_bytes()));
        put("model", self.model.as_deref().map(str::as_bytes));
        put("seconds", self.seconds.map(u32::to_be_bytes).as_ref().map(<[u8; 4]>::as_slice));
        put("size", self.size.as_deref().map(str::as_bytes));
        match &self.input {
            Some(InputReference::Bytes(bytes)) => put("input_reference", Some(&sha256(bytes))),
            Some(InputReference::Url(url)) => put("input_reference.image_url", Some(url.as_bytes())),
            // The same bytes are the same picture, whichever way they came.
            Some(InputReference::File(FileId(digest))) => put("input_reference", Some(&digest.0)),
            None => {}
        }
        for (key, value) in &self.metadata {
            put("metadata", Some(key.as_bytes()));
            put("value", Some(value.as_bytes()));
        }
        put("deadline_seconds", self.deadline_seconds.map(u64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice));
        put("priority", self.priority.map(i16::to_be_bytes).as_ref().map(<[u8; 2]>::as_slice));
        put("provider_options", self.provider_options.as_deref().map(str::as_bytes));
        put("max_cost_usd", self.max_cost_usd_micros.map(u64::to_be_bytes).as_ref().map(<[u8; 8]>::as_slice));
        for (name, value) in self.webhook.iter().flat_map(WebhookWish::parts) {
            put(name, Some(value.as_bytes()));
        }
        if let Some((video, kind)) = &self.source {
            put(kind.word(), Some(video.as_bytes()));
        }
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(context.finish().as_ref());
        fingerprint
    }
}

fn broken_form() -> ApiError {
    ApiError::new(ErrorCode::InvalidMultipart, "the body is not well-formed multipart form data with named parts")
}

/// A file part has a file name, or a type that is not text.
fn is_file(part: &Field<'_>) -> bool {
    part.file_name().is_some()
        || part.content_type().is_some_and(|kind| kind.starts_with("image/") || kind == "application/octet-stream")
}

/// Puts a form's text where its name says: `metadata[k]` becomes member `k` of `metadata`.
fn place(members: &mut Vec<(String, Node)>, name: &str, text: String) -> Result<(), ApiError> {
    let nested = name.strip_suffix(']').and_then(|name| name.split_once('['));
    let Some((outer, inner)) = nested else {
        members.push((name.to_owned(), Node::Form(text)));
        return Ok(());
    };
    if inner.contains(['[', ']']) {
        return Err(wrong_type(name, "a name with at most one pair of brackets; send deeper values as JSON"));
    }
    match members.iter_mut().find(|(known, _)| known == outer) {
        Some((_, Node::Object(inside))) => inside.push((inner.to_owned(), Node::Form(text))),
        Some(_) => return Err(repeated(outer)),
        None => members.push((outer.to_owned(), Node::Object(vec![(inner.to_owned(), Node::Form(text))]))),
    }
    Ok(())
}

/// A prompt within its limits.
///
/// # Errors
/// Which of them it breaks.
pub fn checked_prompt(prompt: String) -> Result<String, ApiError> {
    let wrong = |code, message: &str| Err(ApiError::about("prompt", code, message));
    if prompt.contains('\0') {
        return wrong(ErrorCode::PromptHasNul, "the prompt holds a NUL character; remove it");
    }
    if prompt.trim().is_empty() {
        return wrong(ErrorCode::PromptBlank, "the prompt is blank; say what the video shall show");
    }
    if prompt.chars().count() > MAX_PROMPT_CHARS {
        return wrong(ErrorCode::PromptTooLong, "the prompt has more than 32,000 characters; shorten it");
    }
    Ok(prompt)
}

/// The SDKs send text, people send numbers.
fn seconds(node: Node) -> Result<u32, ApiError> {
    let wrong =
        || ApiError::about("seconds", ErrorCode::InvalidValue, "must be a whole number of seconds from 1 to 3600");
    let number = match node {
        Node::Text(text) | Node::Form(text) => integer_text(&text).ok_or_else(wrong)?,
        node => node.into_integer("seconds")?,
    };
    u32::try_from(number).ok().filter(|seconds| (1..=3_600).contains(seconds)).ok_or_else(wrong)
}

fn ranged(members: &mut Members, name: &str, least: i64, most: i64) -> Result<Option<i64>, ApiError> {
    let Some(node) = members.take(name) else { return Ok(None) };
    let number = node.into_integer(name)?;
    if !(least..=most).contains(&number) {
        return Err(ApiError::about(name, ErrorCode::InvalidValue, format!("must be {least} to {most}")));
    }
    Ok(Some(number))
}

/// A client's own pairs, from the member of this name.
///
/// # Errors
/// Names the pair at fault.
pub fn pairs(member: &str, node: Node) -> Result<BTreeMap<String, String>, ApiError> {
    let members = node.into_members(member)?;
    if members.len() > MAX_METADATA {
        return Err(ApiError::about(member, ErrorCode::MetadataTooMany, "at most 16 pairs"));
    }
    let mut pairs = BTreeMap::new();
    for (key, node) in members {
        let param = format!("{member}.{key}");
        check_key(&key, &param)?;
        let value = node.into_text(&param)?;
        if value.chars().count() > MAX_METADATA_VALUE_CHARS {
            return Err(ApiError::about(&param, ErrorCode::MetadataValueTooLong, "a value has at most 512 characters"));
        }
        if value.contains('\0') {
            return Err(ApiError::about(&param, ErrorCode::InvalidValue, "the value holds a NUL character; remove it"));
        }
        pairs.insert(key, value);
    }
    Ok(pairs)
}

fn check_key(key: &str, param: &str) -> Result<(), ApiError> {
    let fits = !key.is_empty() && key.chars().count() <= MAX_METADATA_KEY_CHARS && !key.contains('\0');
    if fits {
        Ok(())
    } else {
        Err(ApiError::about(param, ErrorCode::MetadataKeyInvalid, "a key has 1 to 64 characters, none of them NUL"))
    }
}

/// Options for a provider, as JSON text with sorted members.
///
/// # Errors
/// Where they are no object, or too much.
pub fn options(node: Node) -> Result<String, ApiError> {
    let members = node.into_members("provider_options")?;
    let text = Node::Object(members).into_json().to_string();
    if text.len() > MAX_OPTIONS_BYTES {
        return Err(ApiError::about("provider_options", ErrorCode::InvalidValue, "at most 16 KiB of JSON"));
    }
    Ok(text)
}

fn reference(node: Node) -> Result<InputReference, ApiError> {
    if let Node::Text(text) | Node::Form(text) = &node
        && text.starts_with(FileId::PREFIX)
    {
        return FileId::of_member("input_reference", text).map(InputReference::File);
    }
    let mut members = Members::of(node.into_members("input_reference")?);
    if let Some(id) = members.take("file_id") {
        members.done("input_reference")?;
        return FileId::of_member(files::PARAM, &id.into_text(files::PARAM)?).map(InputReference::File);
    }
    let param = "input_reference.image_url";
    let url = members.take("image_url").ok_or_else(|| {
        ApiError::about(
            param,
            ErrorCode::MissingParameter,
            "give the image as an http, https or data URL, or as the `file_id` of an upload",
        )
    })?;
    members.done("input_reference")?;
    picture_at(param, url.into_text(param).map_err(|_| wrong_type(param, "a URL as a string"))?)
}

/// A picture at a URL, whose bytes are known already where it is a data URL.
///
/// # Errors
/// `invalid_value` for a data URL that cannot be read.
pub fn picture_at(param: &str, url: String) -> Result<InputReference, ApiError> {
    match url.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:")) {
        true => data_url(param, &url).map(InputReference::Bytes),
        false => Ok(InputReference::Url(url)),
    }
}

/// `data:image/png;base64,…`; the media type is not believed, the bytes are looked at.
fn data_url(param: &str, url: &str) -> Result<Bytes, ApiError> {
    let wrong = || {
        let message = "must read data:image/png;base64, and the image in base64";
        ApiError::about(param, ErrorCode::InvalidValue, message)
    };
    let (head, data) = url.split_once(',').ok_or_else(wrong)?;
    if !head.to_ascii_lowercase().ends_with(";base64") {
        return Err(wrong());
    }
    STANDARD.decode(data.trim()).map(Bytes::from).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn json_and_multipart_mean_the_same() {
        let json = br#"{"seconds": 4, "prompt": "a boat", "metadata": {"b": "2", "a": "1"}, "priority": 5,
            "provider_options": {"fps": 12, "mode": "fast"}, "deadline_seconds": 60, "size": "64x64", "model": "m",
            "webhook_url": "https://a.example/x"}"#;
        let json = CreateFields::from_json(json).unwrap();
        let parts = [
            ("prompt", "a boat"),
            ("model", "m"),
            ("seconds", "4"),
            ("size", "64x64"),
            ("metadata[a]", "1"),
            ("metadata[b]", "2"),
            ("priority", "5"),
            ("deadline_seconds", "60"),
            ("webhook_url", "https://a.example/x"),
            ("provider_options[fps]", "12"),
            ("provider_options[mode]", "fast"),
        ];
        let mut body = String::new();
        for (name, value) in parts {
            body.push_str(&format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"));
        }
        body.push_str("--x--\r\n");
        let kind = HeaderValue::from_static("multipart/form-data; boundary=x");
        let form = CreateFields::from_multipart(&kind, body.into()).await.unwrap();
        assert_eq!(form, json);
        assert_eq!(form.fingerprint(), json.fingerprint());
        let source = Some((JobId::from_bytes([1; 16]), SourceKind::Remix));
        for other in [
            CreateFields { seconds: Some(5), ..json.clone() },
            CreateFields { max_cost_usd_micros: Some(1), ..json.clone() },
            CreateFields { source, ..json.clone() },
            CreateFields { webhook: None, ..json.clone() },
            CreateFields { webhook: Some(WebhookWish::at("https://a.example/y".to_owned())), ..json.clone() },
        ] {
            assert_ne!(other.fingerprint(), json.fingerprint());
        }
    }

    #[test]
    fn members_are_refused_by_name() {
        for (body, code) in [
            (r#"{"prompt": "x", "webhook_url": ["https://a"]}"#, ErrorCode::InvalidType),
            (r#"{"prompt": "x", "input_reference": {"file_id": "f"}}"#, ErrorCode::UnknownFile),
            (r#"{"prompt": "x", "input_reference": "file_0"}"#, ErrorCode::UnknownFile),
            (r#"{"prompt": "x", "input_reference": {"file_id": 7}}"#, ErrorCode::InvalidType),
            (r#"{"prompt": "x", "input_reference": {"file_id": "f", "image_url": "u"}}"#, ErrorCode::UnknownParameter),
            (r#"{"prompt": "x", "max_cost_usd": 0}"#, ErrorCode::InvalidValue),
            (r#"{"prompt": "x", "source": "video_1"}"#, ErrorCode::UnknownParameter),
            (r#"{"prompt": "x", "n": 2}"#, ErrorCode::UnknownParameter),
            (r#"{"prompt": "x", "prompt": "x"}"#, ErrorCode::RepeatedParameter),
            (r#"{"prompt": 3}"#, ErrorCode::InvalidType),
            (r#"{"prompt": "x", "seconds": true}"#, ErrorCode::InvalidType),
            (r#"{"prompt": "x", "seconds": "04"}"#, ErrorCode::InvalidValue),
            (r#"{"prompt": "x", "metadata": {"a": 1}}"#, ErrorCode::InvalidType),
            (r#"{"prompt": "x", "priority": 101}"#, ErrorCode::InvalidValue),
            (r#"{"seconds": 4}"#, ErrorCode::MissingParameter),
            (r#"[]"#, ErrorCode::InvalidType),
            (r#"{"#, ErrorCode::InvalidJson),
        ] {
            assert_eq!(CreateFields::from_json(body.as_bytes()).unwrap_err().code(), code, "{body}");
        }
    }
}
