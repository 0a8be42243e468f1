//! One server as a command sees it: requests with a key, answers as JSON, errors with their remedy.

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::multipart::{Form, Part};
use reqwest::redirect::Policy;
use reqwest::{Method, Response, StatusCode, Url};
use serde_json::Value;

use super::CliError;

/// Time for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time for an answer, longer than a server needs to commit on a slow disk.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest silence within a stream; the server sends comments more often.
const STREAM_TIMEOUT: Duration = Duration::from_secs(75);
/// Time for the question "are you a Longtake".
const GREETING_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest answer that is read as JSON, in bytes.
const MAX_ANSWER_BYTES: u64 = 64 << 20;
/// Steps from our server to where the bytes of a video lie.
const MAX_REDIRECTS: usize = 3;

/// A file to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    /// The form's field.
    pub(crate) field: &'static str,
    /// The file's name.
    pub(crate) name: String,
    /// Its bytes.
    pub(crate) bytes: bytes::Bytes,
}

/// One request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// From `/` on, with its query.
    pub(crate) path: String,
    /// Members of a JSON body, or fields of a form if there is a file.
    pub(crate) body: Option<serde_json::Map<String, Value>>,
    pub(crate) upload: Option<Upload>,
    pub(crate) idempotency_key: Option<String>,
    /// Sending it again does no harm.
    pub(crate) is_repeatable: bool,
}

impl Request {
    /// Reads something.
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            body: None,
            upload: None,
            idempotency_key: None,
            is_repeatable: true,
        }
    }

    /// Changes something.
    pub(crate) fn post(path: impl Into<String>, body: serde_json::Map<String, Value>) -> Self {
        Self { method: Method::POST, body: Some(body), is_repeatable: false, ..Self::get(path) }
    }

    /// Removes something.
    pub(crate) fn delete(path: impl Into<String>) -> Self {
        Self { method: Method::DELETE, is_repeatable: false, ..Self::get(path) }
    }
}

/// A request that did not give what was asked.
#[derive(Debug)]
pub(crate) enum CallError {
    /// No server, or the connection broke: nothing is known about the request.
    Unreachable(String),
    /// The server is there and cannot right now; how long it wants to be left alone.
    Busy(String, Duration),
    /// The server said no.
    Refused { status: u16, code: String, message: String },
}

impl From<CallError> for CliError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Unreachable(message) | CallError::Busy(message, _) => Self::Failed(message),
            CallError::Refused { code, message, .. } => Self::Failed(format!("{message} ({code})")),
        }
    }
}

/// A server and the key for it.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
}

/// The bytes of a video may lie elsewhere, and those alone: nothing else is led away, and nobody from https to http. The
/// client itself leaves our key behind where the host changes.
fn to_content() -> Policy {
    Policy::custom(|attempt| {
        let follows = attempt.previous().len() <= MAX_REDIRECTS
            && attempt.previous().first().is_some_and(|first| {
                let safe = first.scheme() == "http" || attempt.url().scheme() == "https";
                first.path().ends_with("/content") && safe
            });
        if follows { attempt.follow() } else { attempt.stop() }
    })
}

impl Client {
    /// For a server at this address.
    pub(crate) fn new(base: &str, key: Option<&str>) -> Result<Self, CliError> {
        let wrong = |problem: String| {
            CliError::Failed(format!(
                "--server or LONGTAKE_URL: {base:?} {problem}; write one such as http://127.0.0.1:7373"
            ))
        };
        let base_url = Url::parse(base).map_err(|error| wrong(format!("is not a URL: {error}")))?;
        if !matches!(base_url.scheme(), "http" | "https") || base_url.host_str().is_none() {
            return Err(wrong("is no http or https URL".to_owned()));
        }
        let mut headers = HeaderMap::new();
        if let Some(key) = key {
            let mut value = HeaderValue::from_str(&format!("Bearer {key}"))
                .map_err(|_| CliError::failed("LONGTAKE_API_KEY: holds characters that no key has; copy it again"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        let mut builder = reqwest::Client::builder()
            .default_headers(headers)
            .connect_timeout(CONNECT_TIMEOUT)
            .read_timeout(STREAM_TIMEOUT)
            .user_agent(concat!("longtake/", env!("CARGO_PKG_VERSION")))
            .redirect(to_content());
        let host = base_url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        if host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback()) {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| CliError::failed(format!("no HTTP client: {error}")))?;
        Ok(Self { http, base: base_url })
    }

    /// Where the server is, without a slash at the end.
    pub(crate) fn address(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.address())
    }

    /// Whether a Longtake answers there.
    pub(crate) async fn is_longtake(&self) -> bool {
        let page = |path: &'static str| async move {
            let answer = self.http.get(self.url(path)).timeout(GREETING_TIMEOUT).send().await.ok()?;
            answer.status().is_success().then_some(())?;
            answer.text().await.ok()
        };
        let Some(health) = page("/healthz").await else { return false };
        let health: Value = serde_json::from_str(&health).unwrap_or_default();
        let is_ours = health.get("status").is_some_and(|status| status == "ok") && health.get("version").is_some();
        is_ours && page("/").await.is_some_and(|page| page.contains("Longtake"))
    }

    /// Whether the server takes the key.
    pub(crate) async fn takes_the_key(&self) -> Result<bool, CallError> {
        match self.send(&Request::get("/v1/videos?limit=1")).await {
            Err(CallError::Refused { status: 401, .. }) => Ok(false),
            Err(CallError::Refused { .. }) | Ok(_) => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Sends once and reads the answer.
    pub(crate) async fn send(&self, request: &Request) -> Result<Value, CallError> {
        let mut builder = self.http.request(request.method.clone(), self.url(&request.path)).timeout(ANSWER_TIMEOUT);
        if let Some(key) = &request.idempotency_key {
            builder = builder.header("idempotency-key", key);
        }
        builder = match (&request.body, &request.upload) {
            (Some(body), Some(upload)) => builder.multipart(form(body, upload)),
            (Some(body), None) => builder.json(body),
            (None, _) => builder,
        };
        let response = builder.send().await.map_err(|error| self.unreachable(&error))?;
        let response = self.checked(response).await?;
        let text = limited(response).await.map_err(|error| self.unreachable(&error))?;
        serde_json::from_str(&text)
            .map_err(|_| CallError::Unreachable(format!("what answers at {} is no Longtake", self.address())))
    }

    /// Opens a stream of bytes or events.
    pub(crate) async fn open(&self, path: &str, headers: &[(&'static str, String)]) -> Result<Response, CallError> {
        let mut builder = self.http.get(self.url(path));
        for (name, value) in headers {
            builder = builder.header(*name, value);
        }
        let response = builder.send().await.map_err(|error| self.unreachable(&error))?;
        self.checked(response).await
    }

    async fn checked(&self, response: Response) -> Result<Response, CallError> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let text = limited(response).await.unwrap_or_default();
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        let member = |name: &str| body.pointer(&format!("/error/{name}")).and_then(Value::as_str).map(str::to_owned);
        let message =
            member("message").unwrap_or_else(|| format!("the server at {} answered {status}", self.address()));
        if matches!(
            status,
            StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::GATEWAY_TIMEOUT
        ) {
            return Err(CallError::Busy(message, Duration::from_secs(wait.unwrap_or(1))));
        }
        let code = member("code").unwrap_or_else(|| status.as_u16().to_string());
        let message = match status {
            StatusCode::UNAUTHORIZED => format!(
                "the server at {} does not take this key: {message}; set LONGTAKE_API_KEY, or give the server's own --data-dir",
                self.address()
            ),
            _ => message,
        };
        Err(CallError::Refused { status: status.as_u16(), code, message })
    }

    fn unreachable(&self, error: &reqwest::Error) -> CallError {
        let mut reason = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(inner) = source {
            reason = inner.to_string();
            source = inner.source();
        }
        CallError::Unreachable(format!("no answer from {}: {reason}; is the server running there?", self.address()))
    }
}

async fn limited(response: Response) -> Result<String, reqwest::Error> {
    if response.content_length().is_some_and(|length| length > MAX_ANSWER_BYTES) {
        return Ok(String::new());
    }
    response.text().await
}

fn form(fields: &serde_json::Map<String, Value>, upload: &Upload) -> Form {
    let mut form = Form::new();
    for (name, value) in fields {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        form = form.text(name.clone(), text);
    }
    let length = upload.bytes.len() as u64;
    form.part(upload.field, Part::stream_with_length(upload.bytes.clone(), length).file_name(upload.name.clone()))
}
