//! Which dialect a path speaks, and how that writes names, times and answers.

use std::sync::Arc;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;
use longtake_core::time::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::app::App;
use crate::http::error::{ApiError, ErrorCode};
use crate::http::videos::link::base;

/// One of Conduit's two ways of speaking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Of 2025: below `/v1`, answers in camelCase with nulls, problem details for errors.
    A,
    /// Since 2026: below `/v1/conduit`, answers in snake_case without nulls, an `error` object for errors.
    B,
}

/// What lies below `/v1` in dialect A.
const ROOMS_OF_A: [&str; 6] = ["videos/generations", "tasks", "media", "downloads", "discovery", "auth"];

impl Dialect {
    /// The dialect of a path; `None` for paths that are none of Conduit's.
    pub fn of_path(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/v1/")?;
        let is_in = |room: &str| rest.strip_prefix(room).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if is_in("conduit") {
            return Some(Self::B);
        }
        ROOMS_OF_A.into_iter().any(is_in).then_some(Self::A)
    }

    /// What its paths begin with.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::A => "/v1",
            Self::B => "/v1/conduit",
        }
    }

    /// A time in ISO 8601 to the second, in UTC: A writes the offset, B a `Z`.
    pub fn time(self, at: Timestamp) -> String {
        let at = jiff::Timestamp::from_second(at.as_secs()).unwrap_or_default();
        match self {
            Self::A => at.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string(),
            Self::B => at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        }
    }

    /// An answer whose members are named in snake_case.
    pub fn answer(self, status: StatusCode, body: &impl Serialize) -> Response {
        match serde_json::to_value(body) {
            Ok(value) => (status, Json(self.spelled(value))).into_response(),
            Err(_) => ApiError::new(ErrorCode::InternalError, "the answer could not be written").into_response(),
        }
    }

    /// The outermost members as this dialect writes them. What lies deeper is the same in both.
    pub fn spelled(self, value: Value) -> Value {
        let Value::Object(members) = value else { return value };
        let members: Map<String, Value> = match self {
            Self::A => members.into_iter().map(|(name, value)| (camel(&name), value)).collect(),
            Self::B => members.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        };
        Value::Object(members)
    }
}

/// A name in snake_case, in camelCase.
pub fn camel(name: &str) -> String {
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}

/// Set by the [door](super::door) for every path of Conduit's.
impl<S: Sync> FromRequestParts<S> for Dialect {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let missing = || ApiError::new(ErrorCode::InternalError, "this path has no dialect");
        parts.extensions.get::<Self>().copied().ok_or_else(missing)
    }
}

/// How a request came to us: its dialect, and what links in its answer begin with.
#[derive(Debug, Clone)]
pub struct Front {
    /// The dialect of its path.
    pub dialect: Dialect,
    /// The public address where one is configured, else what the client itself came by.
    pub base: Arc<str>,
}

impl FromRequestParts<App> for Front {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        let dialect = Dialect::from_request_parts(parts, app).await?;
        Ok(Self { dialect, base: base(app, &parts.headers, &parts.uri).into() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_path_says_the_dialect() {
        for (path, dialect) in [
            ("/v1/videos/generations/async", Some(Dialect::A)),
            ("/v1/videos/generations", Some(Dialect::A)),
            ("/v1/tasks/x", Some(Dialect::A)),
            ("/v1/media/video/x.mp4", Some(Dialect::A)),
            ("/v1/downloads/x", Some(Dialect::A)),
            ("/v1/discovery/models", Some(Dialect::A)),
            ("/v1/auth/ephemeral-key", Some(Dialect::A)),
            ("/v1/conduit", Some(Dialect::B)),
            ("/v1/conduit/tasks/x", Some(Dialect::B)),
            ("/v1/conduits", None),
            ("/v1/tasksx", None),
            ("/v1/videos", None),
            ("/v1/videos/generationsx", None),
            ("/v1/videos/video_1/content", None),
            ("/tasks", None),
        ] {
            assert_eq!(Dialect::of_path(path), dialect, "{path}");
        }
    }

    #[test]
    fn names_nulls_and_times_are_as_each_writes_them() {
        let value = json!({"task_id": 1, "check_status_url": {"deep_name": null}, "error": null});
        assert_eq!(
            Dialect::A.spelled(value.clone()),
            json!({"taskId": 1, "checkStatusUrl": {"deep_name": null}, "error": null})
        );
        assert_eq!(Dialect::B.spelled(value), json!({"task_id": 1, "check_status_url": {"deep_name": null}}));
        let at = Timestamp::from_micros(1_756_461_600_900_000);
        assert_eq!(Dialect::A.time(at), "2025-08-29T10:00:00+00:00");
        assert_eq!(Dialect::B.time(at), "2025-08-29T10:00:00Z");
    }
}
