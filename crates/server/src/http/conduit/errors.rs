//! What went wrong, in the words of each dialect: problem details in A, an `error` object in B.

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::json;
use utoipa::{IntoResponses, ToSchema};

use super::dialect::Dialect;
use crate::http::error::{ApiError, ErrorCode};

/// An error that only Conduit's front door knows, or one of ours in its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    status: StatusCode,
    /// `title` in A.
    title: &'static str,
    /// `code`; in A a member beside the standard ones.
    code: &'static str,
    message: String,
    param: Option<String>,
}

/// An error of a handler: one of ours, or one that only Conduit knows.
#[derive(Debug)]
pub enum Trouble {
    /// One of ours.
    Ours(ApiError),
    /// One of Conduit's.
    Conduits(Refusal),
}

impl<E: Into<ApiError>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Ours(error.into())
    }
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Self {
        Self::Conduits(refusal)
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        match self {
            Self::Ours(error) => error.into_response(),
            Self::Conduits(refusal) => {
                let mut response = refusal.status.into_response();
                response.headers_mut().insert("x-should-retry", HeaderValue::from_static("false"));
                response.extensions_mut().insert(refusal);
                response
            }
        }
    }
}

impl Refusal {
    /// A retry that is not possible: 400.
    pub fn no_retry(message: String) -> Self {
        let (status, title) = (StatusCode::BAD_REQUEST, "Cannot Retry Task");
        Self { status, title, code: "invalid_operation", message, param: None }
    }

    /// A cancel that is not possible: 409.
    pub fn no_cancel(message: String) -> Self {
        let (status, title) = (StatusCode::CONFLICT, "Cannot Cancel Task");
        Self { status, title, code: "invalid_operation", message, param: None }
    }

    /// The error a response was made from; `None` where it is none.
    pub fn behind(response: &Response) -> Option<Self> {
        let refusal = response.extensions().get::<Self>().cloned();
        refusal.or_else(|| response.extensions().get::<ApiError>().map(Self::of))
    }

    /// One of our errors in Conduit's words.
    fn of(error: &ApiError) -> Self {
        let (code, body) = (error.code(), error.body().error);
        let status = match code {
            // Said before anything is paid, as for a route that is not there.
            ErrorCode::UnknownModel => StatusCode::NOT_FOUND,
            // A file that is not there (any more) is no state of a task.
            ErrorCode::ContentExpired => StatusCode::NOT_FOUND,
            code => code.status(),
        };
        let title = match (code, status) {
            (ErrorCode::UnsupportedByModel, _) => "Not Supported",
            (ErrorCode::VideoNotFound, _) => "Task Not Found",
            (_, StatusCode::BAD_REQUEST) => "Invalid Request",
            (_, status) => status.canonical_reason().unwrap_or("Error"),
        };
        let word = match (code, status) {
            (ErrorCode::MissingParameter | ErrorCode::PromptBlank, _) => "missing_parameter",
            (ErrorCode::InvalidType | ErrorCode::InvalidValue, _) => "invalid_value",
            (ErrorCode::InvalidJson | ErrorCode::InvalidHeader | ErrorCode::InvalidQuery, _) => "invalid_request",
            (_, StatusCode::UNAUTHORIZED) => "unauthorized",
            (_, StatusCode::NOT_FOUND) => "not_found",
            (_, StatusCode::REQUEST_TIMEOUT) => "timeout",
            _ => body.code,
        };
        Self { status, title, code: word, message: body.message, param: body.param }
    }

    /// `type` in B, by the status.
    const fn kind(&self) -> &'static str {
        match self.status {
            StatusCode::PAYMENT_REQUIRED => "billing_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::REQUEST_TIMEOUT => "timeout",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            StatusCode::SERVICE_UNAVAILABLE => "service_unavailable",
            status if status.as_u16() >= 500 => "server_error",
            _ => "invalid_request_error",
        }
    }

    /// `detail` in A, which has no member for the one at fault: it comes first, unless Conduit's own words begin with it.
    fn detail(&self) -> String {
        match &self.param {
            Some(param) if !names(&self.message, param) => format!("{param}: {}", self.message),
            _ => self.message.clone(),
        }
    }

    /// The same response with a body in the words of the dialect. The path says which task was not found.
    pub fn told(self, dialect: Dialect, path: &str, response: Response) -> Response {
        let (parts, _) = response.into_parts();
        let message = match (self.title, dialect) {
            ("Task Not Found", Dialect::A) => format!("No task found with ID: {}", task_in(path)),
            ("Task Not Found", Dialect::B) => "The requested task was not found".to_owned(),
            (_, Dialect::A) => self.detail(),
            (_, Dialect::B) => self.message.clone(),
        };
        let (kind, body) = match dialect {
            Dialect::A => {
                let problem =
                    Problem { title: self.title, status: self.status.as_u16(), detail: message, code: self.code };
                ("application/problem+json", json!(problem))
            }
            Dialect::B => {
                let param = self.param.clone();
                let error = ConduitErrorDetail { message, kind: self.kind(), code: self.code, param };
                ("application/json", json!(ConduitError { error }))
            }
        };
        let mut told = Response::from_parts(parts, body.to_string().into());
        *told.status_mut() = self.status;
        told.headers_mut().remove(CONTENT_LENGTH);
        told.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        told
    }
}

/// Whether a message is in Conduit's own words, which begin with the member in title case: `File ID` for `file_id`. Ours
/// begin in lower case.
fn names(message: &str, param: &str) -> bool {
    let word = message.split(' ').next().unwrap_or_default();
    let start = param.get(..word.len());
    message.starts_with(char::is_uppercase) && start.is_some_and(|start| start.eq_ignore_ascii_case(word))
}

/// Longest task id that is repeated to a client, in characters: it may be the client's own junk.
const MAX_TASK_CHARS: usize = 50;

fn task_in(path: &str) -> String {
    let segment = path.split('/').rev().find(|segment| segment.starts_with("task_"));
    let segment = segment.or_else(|| path.rsplit('/').next()).unwrap_or_default();
    segment.chars().take(MAX_TASK_CHARS).collect()
}

/// Dialect A's errors (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ConduitProblem)]
pub struct Problem {
    /// The family.
    title: &'static str,
    /// The status of the response.
    status: u16,
    /// What happened and what to do. Where a member is at fault it comes first.
    detail: String,
    /// The code, as dialect B has it.
    code: &'static str,
}

/// Dialect B's errors.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConduitError {
    /// What went wrong.
    error: ConduitErrorDetail,
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
pub struct ConduitErrorDetail {
    /// What happened and what to do.
    message: String,
    /// The family.
    #[serde(rename = "type")]
    kind: &'static str,
    /// Stable.
    code: &'static str,
    /// The member at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    param: Option<String>,
}

/// What every route of Conduit's may refuse with, for the OpenAPI document; `document` adds the bodies.
#[derive(IntoResponses)]
pub enum Refusals {
    /// Invalid, or not possible.
    #[response(status = 400)]
    Invalid,
    /// Not there, or another project's.
    #[response(status = 404)]
    NotFound,
}
