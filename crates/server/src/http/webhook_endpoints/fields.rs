//! What a client says about an endpoint, decoded strictly.
//!
//! The official SDKs manage endpoints of OpenAI's own under the same paths, with `event_types` and `name` for what we call
//! `events` and `description`; both spellings are taken, never both at once.

use longtake_core::event::EventKind;
use longtake_core::webhook::EventTypes;
use longtake_providers::nearest::nearest;

use crate::app::App;
use crate::http::error::{ApiError, ErrorCode};
use crate::http::node::{Members, Node, repeated, wrong_type};

/// Longest description, in characters.
const MAX_DESCRIPTION_CHARS: usize = 256;
/// Stands for every type, also those of later versions.
const EVERY_TYPE: &str = "*";

/// The members of an endpoint; absent ones stay absent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct EndpointFields {
    /// Where to; not yet looked at.
    pub url: Option<String>,
    /// Which events.
    pub types: Option<EventTypes>,
    /// The client's words.
    pub description: Option<String>,
}

impl EndpointFields {
    /// Takes them out.
    ///
    /// # Errors
    /// Names the member at fault.
    pub fn take(members: &mut Members) -> Result<Self, ApiError> {
        let (events, node) = either(members, "events", "event_types")?;
        let types = node.map(|node| types(events, node)).transpose()?;
        let (description, node) = either(members, "description", "name")?;
        let text = node.map(|node| node.into_text(description)).transpose()?;
        let description = text.map(|text| checked_description(description, text)).transpose()?;
        Ok(Self { url: members.text("url")?, types, description })
    }

    /// Looks at the address, as far as that can be done without asking anybody.
    ///
    /// # Errors
    /// `webhook_url_refused`.
    pub fn check_url(&self, app: &App) -> Result<(), ApiError> {
        self.url.as_deref().map_or(Ok(()), |url| check_url(app, "url", url).map(drop))
    }
}

/// An address that this server may send to, as far as can be told without asking anybody for the addresses of a name.
///
/// # Errors
/// `webhook_url_refused`, with the reason.
pub fn check_url(app: &App, param: &str, url: &str) -> Result<reqwest::Url, ApiError> {
    app.webhooks.check_url(url).map_err(|why| ApiError::about(param, ErrorCode::WebhookUrlRefused, why))
}

/// A member under one of its two names, and that name.
fn either<'n>(members: &mut Members, ours: &'n str, theirs: &'n str) -> Result<(&'n str, Option<Node>), ApiError> {
    match (members.take(ours), members.take(theirs)) {
        (Some(_), Some(_)) => Err(repeated(theirs)),
        (None, Some(node)) => Ok((theirs, Some(node))),
        (node, None) => Ok((ours, node)),
    }
}

fn types(param: &str, node: Node) -> Result<EventTypes, ApiError> {
    let Node::List(items) = node else { return Err(wrong_type(param, "a list of types of events")) };
    if items.is_empty() {
        let message = "an endpoint that wants nothing is told nothing; leave it out for every type";
        return Err(ApiError::about(param, ErrorCode::InvalidValue, message));
    }
    if matches!(items.as_slice(), [Node::Text(text)] if text == EVERY_TYPE) {
        return Ok(EventTypes::ALL);
    }
    let mut kinds: Vec<EventKind> = Vec::with_capacity(EventKind::ALL.len());
    for (place, item) in items.into_iter().enumerate() {
        let param = format!("{param}[{place}]");
        let kind = kind(&param, &item.into_text(&param)?)?;
        // Also the bound of the list: there are only so many to name.
        if kinds.contains(&kind) {
            return Err(ApiError::about(&param, ErrorCode::InvalidValue, "the type is given twice; give it once"));
        }
        kinds.push(kind);
    }
    Ok(EventTypes::of(kinds))
}

fn kind(param: &str, word: &str) -> Result<EventKind, ApiError> {
    EventKind::ALL.into_iter().find(|kind| kind.word() == word).ok_or_else(|| {
        let known = EventKind::ALL.map(EventKind::word);
        let message = match nearest(word, known) {
            Some(near) => format!("there is no such type; did you mean {near}?"),
            None => format!("there is no such type; known: {}", known.join(", ")),
        };
        ApiError::about(param, ErrorCode::InvalidValue, message)
    })
}

fn checked_description(param: &str, text: String) -> Result<String, ApiError> {
    if text.chars().count() <= MAX_DESCRIPTION_CHARS && !text.chars().any(char::is_control) {
        return Ok(text);
    }
    let message = format!("must have at most {MAX_DESCRIPTION_CHARS} characters and no control characters");
    Err(ApiError::about(param, ErrorCode::InvalidValue, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(body: &str) -> Result<EndpointFields, ApiError> {
        let mut members = Members::of_body(Node::from_json(body.as_bytes()).unwrap()).unwrap();
        let fields = EndpointFields::take(&mut members)?;
        members.done("")?;
        Ok(fields)
    }

    #[test]
    fn types_are_named_one_by_one_or_all_at_once() {
        let types = |body: &str| fields(body).unwrap().types;
        assert_eq!(types("{}"), None);
        assert_eq!(types(r#"{"events": null}"#), None);
        assert_eq!(types(r#"{"events": ["*"]}"#), Some(EventTypes::ALL));
        let some = types(r#"{"events": ["video.failed", "video.completed"]}"#).unwrap();
        assert_eq!(some, EventTypes::of([EventKind::Completed, EventKind::Failed]));
        for kind in EventKind::ALL {
            assert_eq!(types(&format!(r#"{{"events": ["{}"]}}"#, kind.word())), Some(EventTypes::of([kind])));
        }
    }

    #[test]
    fn the_names_of_the_official_sdks_mean_the_same() {
        let ours = fields(r#"{"url": "https://a.example", "events": ["video.failed"], "description": "a"}"#);
        let theirs = fields(r#"{"url": "https://a.example", "event_types": ["video.failed"], "name": "a"}"#);
        assert_eq!(ours.unwrap(), theirs.unwrap());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let long = "x".repeat(MAX_DESCRIPTION_CHARS + 1);
        for (body, param, code) in [
            (r#"{"events": "video.failed"}"#.to_owned(), "events", ErrorCode::InvalidType),
            (r#"{"events": []}"#.to_owned(), "events", ErrorCode::InvalidValue),
            (r#"{"events": [7]}"#.to_owned(), "events[0]", ErrorCode::InvalidType),
            (r#"{"events": ["video.failed", "video.complete"]}"#.to_owned(), "events[1]", ErrorCode::InvalidValue),
            (r#"{"events": ["video.failed", "video.failed"]}"#.to_owned(), "events[1]", ErrorCode::InvalidValue),
            (r#"{"events": ["video.failed", "*"]}"#.to_owned(), "events[1]", ErrorCode::InvalidValue),
            (r#"{"url": 7}"#.to_owned(), "url", ErrorCode::InvalidType),
            (r#"{"description": "a\u0000b"}"#.to_owned(), "description", ErrorCode::InvalidValue),
            (format!(r#"{{"description": "{long}"}}"#), "description", ErrorCode::InvalidValue),
            (r#"{"event_types": ["video.done"]}"#.to_owned(), "event_types[0]", ErrorCode::InvalidValue),
            (r#"{"events": ["*"], "event_types": ["*"]}"#.to_owned(), "event_types", ErrorCode::RepeatedParameter),
            (r#"{"name": "a", "description": "a"}"#.to_owned(), "name", ErrorCode::RepeatedParameter),
            (r#"{"name": 7}"#.to_owned(), "name", ErrorCode::InvalidType),
            (r#"{"enabled_events": ["*"]}"#.to_owned(), "enabled_events", ErrorCode::UnknownParameter),
        ] {
            let error = fields(&body).unwrap_err();
            assert_eq!((error.code(), error.body().error.param.as_deref()), (code, Some(param)), "{body}");
        }
        let slip = fields(r#"{"events": ["video.complete"]}"#).unwrap_err().body().error.message;
        assert!(slip.contains("did you mean video.completed?"), "{slip}");
        let strange = fields(r#"{"events": ["payment.received.at.last"]}"#).unwrap_err().body().error.message;
        assert!(strange.contains("known: video.queued, "), "{strange}");
    }
}
