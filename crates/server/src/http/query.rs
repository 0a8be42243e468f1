//! Query strings, decoded strictly: what is unknown, repeated or broken is an error.

use axum::extract::FromRequestParts;
use http::request::Parts;

use super::error::{ApiError, ErrorCode};

/// The decoded pairs of a query string, in order.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

/// Most pairs of one query string.
const MAX_PAIRS: usize = 64;

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Self::parse(parts.uri.query().unwrap_or(""))
    }
}

impl Query {
    /// Decodes `a=b&c=d`; `+` is a blank.
    ///
    /// # Errors
    /// `invalid_query` where an escape is broken or the text is not UTF-8, `repeated_parameter` for a name given twice.
    pub fn parse(text: &str) -> Result<Self, ApiError> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decode(name)?, decode(value)?);
            if pairs.iter().any(|(known, _)| *known == name) {
                return Err(ApiError::about(
                    &name,
                    ErrorCode::RepeatedParameter,
                    "the parameter is given twice; give it once",
                ));
            }
            if pairs.len() == MAX_PAIRS {
                return Err(ApiError::new(ErrorCode::InvalidQuery, "the query string has too many parameters"));
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    /// Takes a parameter out.
    pub fn take(&mut self, name: &str) -> Option<String> {
        let place = self.0.iter().position(|(known, _)| known == name)?;
        Some(self.0.swap_remove(place).1)
    }

    /// Takes every `prefix[key]` out.
    pub fn take_members(&mut self, prefix: &str) -> Vec<(String, String)> {
        let inner = |name: &str| {
            let key = name.strip_prefix(prefix)?.strip_prefix('[')?.strip_suffix(']')?;
            Some(key.to_owned())
        };
        let (members, rest) = std::mem::take(&mut self.0).into_iter().partition(|(name, _)| inner(name).is_some());
        self.0 = rest;
        let members: Vec<(String, String)> = members;
        members.into_iter().filter_map(|(name, value)| Some((inner(&name)?, value))).collect()
    }

    /// # Errors
    /// `unknown_parameter` for what nobody took.
    pub fn done(self, known: &str) -> Result<(), ApiError> {
        match self.0.first() {
            None => Ok(()),
            Some((name, _)) => Err(ApiError::about(
                name,
                ErrorCode::UnknownParameter,
                format!("the route has no such query parameter; it knows {known}"),
            )),
        }
    }
}

fn decode(text: &str) -> Result<String, ApiError> {
    let broken = || ApiError::new(ErrorCode::InvalidQuery, "the query string has a broken % escape or is not UTF-8");
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16)).ok_or_else(broken);
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => b' ',
            b'%' => {
                let (high, low) = (digit(bytes.next())?, digit(bytes.next())?);
                u8::try_from(high * 16 + low).map_err(|_| broken())?
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).map_err(|_| broken())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_and_refuses() {
        let mut query = Query::parse("a=1&metadata%5Bk%5D=x+y&&b").unwrap();
        assert_eq!(query.take("a").as_deref(), Some("1"));
        assert_eq!(query.take_members("metadata"), [("k".to_owned(), "x y".to_owned())]);
        assert_eq!(query.take("b").as_deref(), Some(""));
        assert!(query.done("").is_ok());
        for (text, code) in [
            ("a=%", ErrorCode::InvalidQuery),
            ("a=%g0", ErrorCode::InvalidQuery),
            ("a=%ff", ErrorCode::InvalidQuery),
            ("a=1&a=1", ErrorCode::RepeatedParameter),
        ] {
            assert_eq!(Query::parse(text).unwrap_err().code(), code, "{text}");
        }
        assert_eq!(Query::parse("z=1").unwrap().done("a").unwrap_err().code(), ErrorCode::UnknownParameter);
    }
}
