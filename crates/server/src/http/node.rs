//! Request members as a tree, decoded strictly: a member given twice is seen, a wrong type is named.
//!
//! JSON and multipart both become a [`Node`]; a form's text may stand for a number or for JSON, so it has a kind of its
//! own. [`Members`] takes members out one by one and complains about what is left.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};

use super::error::{ApiError, ErrorCode};

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// JSON `null`, which means absent.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number as JSON holds it.
    Number(serde_json::Number),
    /// A JSON string.
    Text(String),
    /// Text of a form, whose type nobody declared.
    Form(String),
    /// A list.
    List(Vec<Node>),
    /// Members in the order given, repeated ones too.
    Object(Vec<(String, Node)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(serde_json::Number::from_f64(value).map_or(Node::Null, Node::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Node, E> {
        Ok(Node::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Node, A::Error> {
        let mut members = Vec::new();
        while let Some(entry) = entries.next_entry()? {
            members.push(entry);
        }
        Ok(Node::Object(members))
    }
}

impl Node {
    /// Reads JSON text.
    ///
    /// # Errors
    /// `invalid_json` with the place of the mistake.
    pub fn from_json(bytes: &[u8]) -> Result<Self, ApiError> {
        serde_json::from_slice(bytes).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let message =
                format!("the body is not JSON (line {line}, column {column}); see /openapi.json for its shape");
            ApiError::new(ErrorCode::InvalidJson, message)
        })
    }

    /// Refuses repeated members, however deep.
    ///
    /// # Errors
    /// `repeated_parameter` naming the path.
    pub fn refuse_repeats(&self, path: &str) -> Result<(), ApiError> {
        match self {
            Self::Object(members) => {
                let mut names: Vec<&str> = members.iter().map(|(name, _)| name.as_str()).collect();
                names.sort_unstable();
                if let Some(pair) = names.windows(2).find(|pair| pair.first() == pair.get(1)) {
                    return Err(repeated(&join(path, pair.first().copied().unwrap_or_default())));
                }
                members.iter().try_for_each(|(name, node)| node.refuse_repeats(&join(path, name)))
            }
            Self::List(items) => items.iter().try_for_each(|item| item.refuse_repeats(path)),
            _ => Ok(()),
        }
    }

    /// Text, from JSON or a form.
    ///
    /// # Errors
    /// `invalid_type`.
    pub fn into_text(self, param: &str) -> Result<String, ApiError> {
        match self {
            Self::Text(text) | Self::Form(text) => Ok(text),
            _ => Err(wrong_type(param, "a string")),
        }
    }

    /// A whole number; from a form also as text.
    ///
    /// # Errors
    /// `invalid_type`, or `invalid_value` where it does not fit.
    pub fn into_integer(self, param: &str) -> Result<i64, ApiError> {
        match self {
            Self::Number(number) if number.is_f64() => Err(wrong_type(param, "a whole number")),
            Self::Number(number) => number.as_i64().ok_or_else(|| too_big(param)),
            Self::Form(text) => integer_text(&text).ok_or_else(|| wrong_type(param, "a whole number")),
            _ => Err(wrong_type(param, "a whole number")),
        }
    }

    /// An object; from a form also as JSON text.
    ///
    /// # Errors
    /// `invalid_type`.
    pub fn into_members(self, param: &str) -> Result<Vec<(String, Self)>, ApiError> {
        match self {
            Self::Object(members) => Ok(members),
            Self::Form(text) => match serde_json::from_str::<Self>(&text) {
                Ok(Self::Object(members)) => {
                    Self::Object(members.clone()).refuse_repeats(param)?;
                    Ok(members)
                }
                _ => Err(wrong_type(param, "a JSON object")),
            },
            _ => Err(wrong_type(param, "an object")),
        }
    }

    /// The same as plain JSON with sorted members. A form's text that reads as a JSON scalar is that scalar.
    pub fn into_json(self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(value) => value.into(),
            Self::Number(number) => serde_json::Value::Number(number),
            Self::Text(text) => text.into(),
            Self::Form(text) => match serde_json::from_str::<serde_json::Value>(&text) {
                Ok(value) if value.is_number() || value.is_boolean() => value,
                _ => text.into(),
            },
            Self::List(items) => items.into_iter().map(Self::into_json).collect(),
            Self::Object(mut members) => {
                members.sort_by(|(a, _), (b, _)| a.cmp(b));
                members
                    .into_iter()
                    .map(|(name, node)| (name, node.into_json()))
                    .collect::<serde_json::Map<_, _>>()
                    .into()
            }
        }
    }
}

/// A whole number in plain digits: no sign but a minus, no leading zero, at most 18 digits.
pub fn integer_text(text: &str) -> Option<i64> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = digits == "0" || (!digits.starts_with('0') && !digits.is_empty());
    (plain && digits.len() <= 18 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A member given twice.
pub fn repeated(param: &str) -> ApiError {
    ApiError::about(param, ErrorCode::RepeatedParameter, "the member is given twice; give it once")
}

/// A member of the wrong type.
pub fn wrong_type(param: &str, expected: &str) -> ApiError {
    ApiError::about(param, ErrorCode::InvalidType, format!("must be {expected}"))
}

fn too_big(param: &str) -> ApiError {
    ApiError::about(param, ErrorCode::InvalidValue, "the number is out of range")
}

/// The members of an object, to be taken out by name.
#[derive(Debug)]
pub struct Members(Vec<(String, Node)>);

impl Members {
    /// The members of a whole body.
    ///
    /// # Errors
    /// `invalid_type` unless it is an object, `repeated_parameter`.
    pub fn of_body(body: Node) -> Result<Self, ApiError> {
        body.refuse_repeats("")?;
        match body {
            Node::Object(members) => Ok(Self(members)),
            _ => Err(ApiError::new(ErrorCode::InvalidType, "the body must be a JSON object")),
        }
    }

    /// The members of a member, from `Node::into_members`.
    pub const fn of(members: Vec<(String, Node)>) -> Self {
        Self(members)
    }

    /// Takes a member out; `null` counts as absent.
    pub fn take(&mut self, name: &str) -> Option<Node> {
        let place = self.0.iter().position(|(known, _)| known == name)?;
        match self.0.swap_remove(place).1 {
            Node::Null => None,
            node => Some(node),
        }
    }

    /// Takes text out.
    ///
    /// # Errors
    /// `invalid_type`.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        self.take(name).map(|node| node.into_text(name)).transpose()
    }

    /// What nobody took; `null` counts as absent.
    pub fn rest(self) -> impl Iterator<Item = (String, Node)> {
        self.0.into_iter().filter(|(_, node)| *node != Node::Null)
    }

    /// # Errors
    /// `unknown_parameter` for what nobody took.
    pub fn done(self, path: &str) -> Result<(), ApiError> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(ApiError::about(
                &join(path, name),
                ErrorCode::UnknownParameter,
                "there is no such member; remove it, or see /openapi.json for its right name",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_repeated_members_at_any_depth() {
        let node = Node::from_json(br#"{"a": {"b": 1, "c": [{"d": 1, "d": 2}]}}"#).unwrap();
        let error = Members::of_body(node).unwrap_err();
        assert_eq!(error, repeated("a.c.d"));
    }

    #[test]
    fn numbers_keep_their_kind() {
        let number = |text: &str| Node::from_json(text.as_bytes()).unwrap().into_integer("n");
        assert_eq!(number("7"), Ok(7));
        assert_eq!(number("-7"), Ok(-7));
        assert_eq!(number("7.0").unwrap_err().code(), ErrorCode::InvalidType);
        assert_eq!(number("18446744073709551615").unwrap_err().code(), ErrorCode::InvalidValue);
        assert_eq!(number("99999999999999999999999").unwrap_err().code(), ErrorCode::InvalidType);
        for (text, value) in
            [("12", Some(12)), ("-3", Some(-3)), ("0", Some(0)), ("012", None), ("", None), ("1e3", None)]
        {
            assert_eq!(integer_text(text), value, "{text}");
        }
    }
}
