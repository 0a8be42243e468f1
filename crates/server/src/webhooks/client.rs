//! Sends one signed request to a receiver, bounded in time and size, and never into the operator's network.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use longtake_core::time::Clock;
use longtake_core::webhook::{Answer, Delivery, Sent, Try};
use longtake_providers::http::retry_after;
use reqwest::{Client, Url};

use super::signature::sign;
use crate::guard::{Guard, Refused};
use crate::http::network::Network;

/// Longest time for a try: connecting, sending, and the head of the answer.
const TRY_TIMEOUT: Duration = Duration::from_secs(15);
/// Of it, for connecting.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest time for the first bytes of the answer's body, which only the log wants.
const BODY_TIMEOUT: Duration = Duration::from_secs(1);
/// Idle connections kept for each receiver, as many as it may have tries under way, or a burst would open each anew; and
/// how long: shorter than common servers keep theirs.
const IDLE_PER_HOST: usize = 32;
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);
/// Longest URL, in bytes.
pub const MAX_URL_BYTES: usize = 2_048;

/// What is sent.
pub struct Message {
    /// `webhook-id`: the event's.
    pub id: String,
    /// JSON.
    pub body: Vec<u8>,
    /// Each signs; newest first.
    pub secrets: Vec<String>,
    /// Sent along; they replace none of ours.
    pub headers: BTreeMap<String, String>,
}

/// Sends webhooks.
pub struct WebhookClient {
    client: Client,
    guard: Guard,
    allow_http: bool,
}

impl WebhookClient {
    /// A client for public addresses and these networks.
    ///
    /// # Errors
    /// Where the HTTP client cannot be made, such as without usable TLS roots.
    pub fn new(allow: Vec<Network>, allow_http: bool) -> Result<Self, reqwest::Error> {
        Self::guarded(Guard::new(allow), allow_http)
    }

    /// A client for what the guard admits.
    ///
    /// # Errors
    /// As [`WebhookClient::new`].
    pub fn guarded(guard: Guard, allow_http: bool) -> Result<Self, reqwest::Error> {
        let client = guard
            .client()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build()?;
        Ok(Self { client, guard, allow_http })
    }

    /// A URL that may be sent to, as far as its text tells; names are looked at when connected to.
    ///
    /// # Errors
    /// What is wrong and what would do, for the client.
    pub fn check_url(&self, text: &str) -> Result<Url, String> {
        if text.len() > MAX_URL_BYTES {
            return Err(format!("is longer than {MAX_URL_BYTES} bytes"));
        }
        // The parser would drop line breaks and tabs in silence.
        if text.chars().any(|character| character.is_control() || character.is_whitespace()) {
            return Err("must hold no blanks and no control characters".to_owned());
        }
        let url = Url::parse(text)
            .map_err(|error| format!("is not a URL ({error}); write one such as https://example.com/hook"))?;
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            "http" => {
                return Err("must be an https URL; plain http is sent to only if the operator allows it".to_owned());
            }
            _ => return Err("must be an https URL".to_owned()),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("must name no user: sign in by the signature of each request instead".to_owned());
        }
        if url.fragment().is_some() {
            return Err("must have no fragment: it is never sent".to_owned());
        }
        if url.host_str().is_none_or(str::is_empty) || url.port() == Some(0) {
            return Err("must name a host that can be connected to".to_owned());
        }
        if self.guard.refuses_literal(&url) {
            return Err("must lead to a public address; the operator may allow others".to_owned());
        }
        Ok(url)
    }

    /// Sends, once.
    pub async fn post(&self, clock: &dyn Clock, url: &str, message: Message) -> Sent {
        let begun = clock.monotonic();
        let late = clock.sleep(TRY_TIMEOUT);
        let answered = tokio::select! {
            biased;
            answered = self.answer(clock, url, message) => answered,
            () = late => Err("no answer within 15 seconds".to_owned()),
        };
        let took = clock.monotonic().saturating_sub(begun).as_millis();
        let duration_ms = u32::try_from(took).unwrap_or(u32::MAX);
        match answered {
            Ok((status, answer, words)) => Sent { answer, status: Some(status), duration_ms, words },
            Err(problem) => {
                Sent { answer: Answer::Failed { retry_after: None }, status: None, duration_ms, words: problem.into() }
            }
        }
    }

    async fn answer(&self, clock: &dyn Clock, url: &str, message: Message) -> Result<(u16, Answer, Box<str>), String> {
        // What is allowed may have changed since the URL was taken.
        let url = self.check_url(url).map_err(|why| format!("not sent: the URL {why}"))?;
        let now = clock.now();
        let mut request = self.client.post(url);
        for (name, value) in &message.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                request = request.header(name, value);
            }
        }
        let signature = sign(&message.secrets, &message.id, now.as_secs(), &message.body);
        let text =
            |text: String| HeaderValue::try_from(text).map_err(|_| "not sent: a header cannot be written".to_owned());
        let headers = http::HeaderMap::from_iter([
            (CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (USER_AGENT, HeaderValue::from_static(concat!("longtake/", env!("CARGO_PKG_VERSION")))),
            (HeaderName::from_static("webhook-timestamp"), HeaderValue::from(now.as_secs())),
            (HeaderName::from_static("webhook-id"), text(message.id)?),
            (HeaderName::from_static("webhook-signature"), text(signature)?),
        ]);
        let response = request.headers(headers).body(message.body).send().await.map_err(|error| explain(&error))?;
        let status = response.status();
        let retry_after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|text| retry_after::parse_up_to(text, now, Delivery::MAX_RETRY_AFTER));
        let answer = match status {
            status if status.is_success() => Answer::Taken,
            StatusCode::GONE => Answer::Gone,
            _ => Answer::Failed { retry_after },
        };
        let words = tokio::select! {
            words = first_bytes(response) => words,
            () = clock.sleep(BODY_TIMEOUT) => Box::default(),
        };
        Ok((status.as_u16(), answer, words))
    }
}

/// For the log; the rest is not read.
async fn first_bytes(response: reqwest::Response) -> Box<str> {
    let mut first: Vec<u8> = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(Ok(chunk)) = chunks.next().await {
        let chunk: Bytes = chunk;
        let room = Try::MAX_ANSWER_BYTES - first.len();
        first.extend(chunk.iter().take(room));
        if first.len() >= Try::MAX_ANSWER_BYTES {
            break;
        }
    }
    excerpt(&first)
}

/// As text, cut at a character and within the bound also where bytes were no text.
fn excerpt(bytes: &[u8]) -> Box<str> {
    let mut text = String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}");
    while text.len() > Try::MAX_ANSWER_BYTES {
        text.pop();
    }
    text.into()
}

/// The innermost cause: that nobody listens, that a name is not known, what is wrong with a certificate.
fn cause(error: &reqwest::Error) -> &dyn Error {
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause
}

fn explain(error: &reqwest::Error) -> String {
    if Refused::is_behind(error) {
        return "not sent: its name leads to no public address; the operator may allow others".to_owned();
    }
    if error.is_connect() {
        return excerpt(format!("the receiver could not be connected to: {}", cause(error)).as_bytes()).into();
    }
    "the receiver broke off before it answered".to_owned()
}
