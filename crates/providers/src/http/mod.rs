//! The client every adapter shares: one send per call, deadlines, size limits, redaction, and "was it sent?" (R9).
//!
//! Submissions go over a fresh connection each, reads over pooled ones, results over one that refuses addresses which
//! are not public ([`guard`]). Nothing here retries or follows a redirect by itself (R3); each call leaves one
//! redacted [`Exchange`] in its [`Call`].
//! Absent: proxies from the environment, cookies, compressed answers, and any vendor's words.

mod fetch;
pub mod guard;
pub mod redact;
pub mod retry_after;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Method, StatusCode, header};
use longtake_core::BoxError;
use longtake_core::provider::{Call, Exchange, ProviderError};
use longtake_core::time::{Clock, Timestamp};
use reqwest::multipart::Form;
use reqwest::{Client, ClientBuilder, RequestBuilder, Url};
use secrecy::{ExposeSecret, SecretString};

use crate::account::{AccountConfig, BuildError};
use guard::{GuardedResolver, Reach};
use redact::Redactor;

pub(crate) use fetch::{Opened, refused};

/// Longest time until a connection stands, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest silence while reading an answer or a result.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest answer that is read, in bytes; a result is not an answer.
pub const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;
/// How long an idle connection for reads is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle connections for reads, per host.
const MAX_IDLE_PER_HOST: usize = 32;

/// The four kinds of connections, made when the first account needs them: an all-sandbox server opens none.
pub(crate) struct Clients {
    clock: Arc<dyn Clock>,
    made: Option<Arc<Made>>,
}

struct Made {
    submissions: Client,
    reads: Client,
    results: [(Reach, Client); 3],
}

impl Clients {
    pub(crate) const fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, made: None }
    }

    /// The client of one account.
    pub(crate) fn http(
        &mut self,
        account: &AccountConfig,
        base: Url,
        key: Option<SecretString>,
    ) -> Result<Http, BuildError> {
        let made = match &self.made {
            Some(made) => Arc::clone(made),
            None => {
                let made =
                    Made::new().map_err(|error| account.error("base_url", format!("no HTTP client: {error}")))?;
                Arc::clone(self.made.insert(Arc::new(made)))
            }
        };
        if let Some(key) = &key
            && http::HeaderValue::from_str(key.expose_secret()).is_err()
        {
            return Err(account.error("api_key", "holds characters that a header cannot carry, such as a line break"));
        }
        Ok(Http { made, clock: Arc::clone(&self.clock), base, key })
    }
}

impl Made {
    fn new() -> Result<Self, reqwest::Error> {
        // A submission never takes a pooled connection. The server may have closed an idle one, and its reset would
        // look like a lost answer (a needless "unknown"); worse, hyper-util resends a request by itself when a reused
        // connection dies. Without a pool no connection is ever reused, so there is nothing it could resend (R3).
        let submissions = client(|builder| builder.pool_max_idle_per_host(0).http1_only())?;
        let reads = client(|builder| {
            builder.pool_max_idle_per_host(MAX_IDLE_PER_HOST).pool_idle_timeout(IDLE_TIMEOUT).read_timeout(READ_TIMEOUT)
        })?;
        let results = |reach: Reach| {
            client(move |builder| builder.dns_resolver(GuardedResolver(reach)).read_timeout(READ_TIMEOUT))
                .map(|client| (reach, client))
        };
        let results = [results(Reach::Public)?, results(Reach::Loopback)?, results(Reach::Private)?];
        Ok(Self { submissions, reads, results })
    }
}

fn client(settings: impl Fn(ClientBuilder) -> ClientBuilder) -> Result<Client, reqwest::Error> {
    let common = || {
        let builder = Client::builder()
            .user_agent(concat!("longtake/", env!("CARGO_PKG_VERSION")))
            .retry(reqwest::retry::never())
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT);
        settings(builder)
    };
    common().build().or_else(|error| {
        // An image without certificates can still speak http:// to a server of its own.
        tracing::warn!(error = %error, "no system certificates, every https:// call will fail: {error}");
        common().tls_certs_only([]).build()
    })
}

/// What one call sends.
pub(crate) struct Ask<'a> {
    /// `submit`, `find`, `poll`, `fetch` or `cancel`.
    pub(crate) call: &'static str,
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    /// Longest time from the first byte out to the last byte in.
    pub(crate) deadline: Duration,
    /// Whatever must not be recorded even if the answer repeats it.
    pub(crate) prompt: Option<&'a str>,
}

/// What a request carries.
pub(crate) enum Body {
    None,
    Json(serde_json::Value),
    Form(Form),
}

impl Ask<'_> {
    /// A call that changes nothing at the provider.
    pub(crate) fn get(call: &'static str, url: Url) -> Self {
        let (headers, body) = (HeaderMap::new(), Body::None);
        Self { call, method: Method::GET, url, headers, body, deadline: Duration::from_secs(30), prompt: None }
    }
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `Retry-After`, at most an hour.
    pub retry_after: Option<Duration>,
    /// `openai-poll-after-ms`, at most a minute.
    pub poll_after: Option<Duration>,
    /// At most [`MAX_ANSWER_BYTES`].
    pub body: Bytes,
}

impl Answer {
    /// An answer without headers.
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        Self { status, retry_after: None, poll_after: None, body: body.into() }
    }

    /// 200 to 299.
    pub const fn is_success(&self) -> bool {
        matches!(self.status, 200..=299)
    }

    /// The error for an answer that proves nothing.
    pub fn unknown(&self, what: &str) -> ProviderError {
        let source = Seen(format!("HTTP {}: {what}", self.status)).into();
        ProviderError::Unknown { source, retry_after: self.retry_after }
    }

    fn read_headers(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let poll_after = text("openai-poll-after-ms").and_then(|text| text.trim().parse().ok());
        Self {
            status: status.as_u16(),
            retry_after: text("retry-after").and_then(|text| retry_after::parse(text, now)),
            poll_after: poll_after.map(|millis: u64| Duration::from_millis(millis.min(60_000))),
            body: Bytes::new(),
        }
    }
}

/// What went wrong, in words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Seen(pub(crate) String);

/// The client of one account: its address and key never leave it.
pub(crate) struct Http {
    made: Arc<Made>,
    clock: Arc<dyn Clock>,
    base: Url,
    key: Option<SecretString>,
}

impl Http {
    /// The account's base URL.
    pub(crate) const fn base(&self) -> &Url {
        &self.base
    }

    /// Wall time.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// An address below the base URL; segments are escaped, so an id cannot leave its place.
    pub(crate) fn url(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    fn key(&self) -> Option<&str> {
        self.key.as_ref().map(|key| key.expose_secret())
    }

    fn with_key(&self, request: RequestBuilder) -> RequestBuilder {
        match self.key() {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Takes the key and a prompt out of a text a provider wrote, so that a client may read it.
    pub(crate) fn redact(&self, text: &str, prompt: Option<&str>) -> String {
        Redactor { key: self.key(), prompt }.text(text)
    }

    /// Of a body that came to us, what may be kept.
    pub(crate) fn excerpt(&self, body: &[u8]) -> Box<str> {
        let excerpt = Redactor { key: self.key(), prompt: None }.excerpt(body);
        redact::cut(&excerpt, Exchange::MAX_EXCERPT_BYTES).into()
    }

    /// Sends one request, once, and reads its whole answer.
    ///
    /// # Errors
    /// `NotSent` where no byte of the request left us, `Unknown` for everything else that is no answer.
    pub(crate) async fn ask(&self, call: &Call, ask: Ask<'_>) -> Result<Answer, ProviderError> {
        let client = if ask.call == "submit" { &self.made.submissions } else { &self.made.reads };
        let request = client.request(ask.method.clone(), ask.url.clone()).headers(ask.headers).timeout(ask.deadline);
        let request = match ask.body {
            Body::None => request,
            Body::Json(body) => request.json(&body),
            Body::Form(form) => request.multipart(form),
        };
        let recorder = Recorder::start(self, ask.call, &ask.method, &ask.url, ask.prompt);
        let answered = self.answer(self.with_key(request)).await;
        match &answered {
            Ok(answer) => recorder.answered(call, answer.status, &answer.body),
            Err(error) => recorder.failed(call, error),
        }
        answered
    }

    async fn answer(&self, request: RequestBuilder) -> Result<Answer, ProviderError> {
        let response = request.send().await.map_err(judge)?;
        let mut answer = Answer::read_headers(response.status(), response.headers(), self.clock.now());
        answer.body = read_body(response, MAX_ANSWER_BYTES).await?;
        Ok(answer)
    }
}

/// Reads a body up to a limit; a longer one is an error.
async fn read_body(mut response: reqwest::Response, limit: usize) -> Result<Bytes, ProviderError> {
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(judge_late)? {
        if body.len() + chunk.len() > limit {
            let seen = Seen(format!("an answer of more than {limit} bytes"));
            return Err(ProviderError::Unknown { source: seen.into(), retry_after: None });
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// Was it sent? Only a connection that never stood (DNS, TCP, TLS) proves that nothing was (R9).
fn judge(error: reqwest::Error) -> ProviderError {
    // A deadline over everything may pass at any moment, so it proves nothing even if it names the connect phase.
    if error.is_builder() || error.is_connect() {
        return ProviderError::NotSent { source: flat(error) };
    }
    judge_late(error)
}

fn judge_late(error: reqwest::Error) -> ProviderError {
    ProviderError::Unknown { source: flat(error), retry_after: None }
}

/// The error without its URL (which may carry a signature), its causes in one line.
fn flat(error: reqwest::Error) -> BoxError {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    for _ in 0..8 {
        let Some(next) = cause else { break };
        text = format!("{text}: {next}");
        cause = next.source();
    }
    Seen(text).into()
}

/// Keeps one exchange for the timeline.
struct Recorder<'a> {
    http: &'a Http,
    call: &'static str,
    at: Timestamp,
    began: Duration,
    request: Box<str>,
    prompt: Option<&'a str>,
}

impl<'a> Recorder<'a> {
    fn start(http: &'a Http, call: &'static str, method: &Method, url: &Url, prompt: Option<&'a str>) -> Self {
        let (at, began) = (http.clock.now(), http.clock.monotonic());
        Self { http, call, at, began, request: format!("{method} {}", redact::address(url)).into(), prompt }
    }

    fn answered(self, call: &Call, status: u16, body: &[u8]) {
        let redactor = Redactor { key: self.http.key(), prompt: self.prompt };
        let excerpt = redactor.excerpt(body);
        self.keep(call, Some(status), excerpt);
    }

    /// A result's head; its bytes are nobody's to keep.
    fn opened(self, call: &Call, status: u16, length: Option<u64>) {
        let answer = length.map_or_else(|| "[bytes]".to_owned(), |length| format!("[{length} bytes]"));
        self.keep(call, Some(status), answer);
    }

    fn failed(self, call: &Call, error: &ProviderError) {
        let source = std::error::Error::source(error).map_or(String::new(), |source| format!(": {source}"));
        let redactor = Redactor { key: self.http.key(), prompt: self.prompt };
        let text = redactor.text(&format!("{error}{source}"));
        self.keep(call, None, text);
    }

    fn keep(self, call: &Call, status: Option<u16>, answer: String) {
        let duration = self.http.clock.monotonic().saturating_sub(self.began);
        call.record(Exchange {
            call: self.call,
            at: self.at,
            request: self.request,
            status,
            duration_ms: u32::try_from(duration.as_millis()).unwrap_or(u32::MAX),
            answer: redact::cut(&answer, Exchange::MAX_EXCERPT_BYTES).into(),
        });
    }
}

/// A header name of ours with a value that fits into a header, else nothing.
pub(crate) fn set_header(headers: &mut HeaderMap, name: header::HeaderName, value: &str) {
    if let Ok(value) = http::HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
