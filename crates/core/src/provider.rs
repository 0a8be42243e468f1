//! The seam to providers: six calls, the one they make to us, a profile of what a provider can and cannot do, and what its answers prove.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

use crate::BoxError;
use crate::ablation::{Rule, is_off};
use crate::attempt::{Evidence, Rejection, Retry};
use crate::failure::{Failure, FailureCode};
use crate::id::{AccountId, AttemptNo, ClientRef, JobId, ProviderJobId};
use crate::request::{Size, VideoRequest};
use crate::time::Timestamp;

/// Whether the provider recognises a repeated submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idempotency {
    /// Each submission is a new purchase.
    None,
    /// The same key within this time is the same purchase (rule R8).
    Key {
        /// How long the provider remembers a key.
        ttl: Duration,
    },
}

/// Whether a lost submission can be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// It cannot.
    None,
    /// The provider answers for our client ref, exactly.
    ByRef,
    /// By listing and comparing the whole request, prompt and all: adopts only on exactly one unclaimed match.
    List {
        /// How long an accepted job may be missing from the list.
        lag: Duration,
    },
    /// By a list that shows no prompts, so that equal shapes may be different requests: adopts only on exactly one
    /// unclaimed match, and only while no other attempt of the account is in doubt.
    ListByShape {
        /// How long an accepted job may be missing from the list.
        lag: Duration,
    },
}

impl Lookup {
    /// How long an accepted job may be missing from the answer.
    pub const fn lag(self) -> Duration {
        match self {
            Self::None | Self::ByRef => Duration::ZERO,
            Self::List { lag } | Self::ListByShape { lag } => lag,
        }
    }

    /// The same look-up with another lag.
    #[must_use]
    pub const fn with_lag(self, lag: Duration) -> Self {
        match self {
            Self::None | Self::ByRef => self,
            Self::List { .. } => Self::List { lag },
            Self::ListByShape { .. } => Self::ListByShape { lag },
        }
    }
}

/// Whether a provider stops work it has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelSupport {
    /// It does not.
    None,
    /// Sometimes; its answer tells.
    BestEffort,
}

/// When the provider charges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChargedOn {
    /// On submission: a failed job is paid.
    Submit,
    /// On success: a failed job is free, so another attempt costs nothing extra.
    Success,
}

/// What a provider can and cannot do, as data. An account may override parts of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderProfile {
    /// Whether a repeated submission is recognised.
    pub idempotency: Idempotency,
    /// Whether a lost submission can be found.
    pub lookup: Lookup,
    /// Whether work is stopped on request.
    pub cancel: CancelSupport,
    /// When it charges.
    pub charged_on: ChargedOn,
    /// Longest time for the answer to a submission. A verdict of ours about the answer, never about the job.
    pub submit_timeout: Duration,
    /// Wait before "not found" may prove anything (rule R7).
    pub absence_settle: Duration,
    /// Time for finding out, from the intent; then the job is held (T8).
    pub verify_deadline: Duration,
    /// First wait between polls.
    pub poll_first: Duration,
    /// Longest wait between polls.
    pub poll_ceiling: Duration,
    /// It calls back where a submission says so, and can reach us: submissions carry [`SubmitRequest::callback_url`].
    pub callback: bool,
    /// Wait between polls of a job whose changes are called back: a safety net for calls that get lost. `None` where
    /// nothing calls back, or an account says how often to poll.
    pub poll_quiet: Option<Duration>,
    /// Calls per minute the provider allows for polls and lookups; 0 is no limit.
    pub polls_per_minute: u32,
    /// How long a late attempt is watched.
    pub watch_limit: Duration,
}

/// What a model accepts. Data in the provider's folder, or from `[models.x]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelCapabilities {
    /// Lengths it accepts, in seconds; empty means any from 1 to [`ModelCapabilities::MAX_SECONDS`].
    pub seconds: Vec<u32>,
    /// The length taken where none is asked for.
    pub default_seconds: u32,
    /// Sizes it accepts; empty means any.
    pub sizes: Vec<Size>,
    /// The size taken where none is asked for.
    pub default_size: Size,
    /// Takes an input image.
    pub input_image: InputSupport,
    /// Longest prompt, in characters.
    pub max_prompt_chars: usize,
    /// Highest price in millionths of a dollar per second of video, for the catalogue; `None` where unknown. What one
    /// request costs is told by [`Provider::price`].
    pub price_usd_micros_per_second: Option<u64>,
    /// Whether it makes a new video of an older one with another prompt.
    pub remix: RemixSupport,
    /// When the provider switches it off: a date, `YYYY-MM-DD`.
    pub sunset: Option<String>,
}

/// Whether a model takes an input image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InputSupport {
    /// It refuses one.
    No,
    /// It may have one.
    Optional,
    /// It cannot do without.
    Required,
}

/// How a model remixes a completed video.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemixSupport {
    /// It does not.
    No,
    /// By the provider's own name for that video, which it still has.
    ByJob,
    /// By starting from a picture of that video, which it takes as its input image.
    FromPicture,
}

/// What one request costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// In millionths of a dollar.
    pub usd_micros: u64,
    /// Who says so.
    pub source: PriceSource,
}

/// Who says what a request costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PriceSource {
    /// The vendor's published prices, as this version knows them.
    Catalogue,
    /// The operator: `[models.x] price_usd_per_second`.
    Config,
}

impl PriceSource {
    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Catalogue => "catalogue",
            Self::Config => "config",
        }
    }
}

impl Price {
    /// A price by the second, as the operator configured it.
    pub fn configured(usd_micros_per_second: u64, seconds: u32) -> Self {
        Self { usd_micros: usd_micros_per_second.saturating_mul(seconds.into()), source: PriceSource::Config }
    }
}

impl ModelCapabilities {
    /// Longest video anyone may ask for, in seconds.
    pub const MAX_SECONDS: u32 = 3_600;
}

/// A request the model cannot serve, found before anything is paid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unsupported {
    /// The field at fault, as the client wrote it.
    pub param: Box<str>,
    /// What is wrong and what would do.
    pub message: Box<str>,
}

impl Unsupported {
    /// Names the field and the remedy.
    pub fn new(param: &str, message: impl Into<Box<str>>) -> Self {
        Self { param: param.into(), message: message.into() }
    }
}

/// The bytes of an input image.
#[derive(Debug, Clone)]
pub struct InputBytes {
    /// `image/png`, `image/jpeg` or `image/webp`.
    pub media_type: Box<str>,
    /// All of it.
    pub bytes: Bytes,
}

/// One submission.
#[derive(Debug, Clone)]
pub struct SubmitRequest {
    /// The job.
    pub job: JobId,
    /// Which attempt of it.
    pub attempt: AttemptNo,
    /// The provider's name for the model.
    pub model: Arc<str>,
    /// What the client asked for.
    pub request: Arc<VideoRequest>,
    /// The input image, read before the intent (rule R1).
    pub input: Option<InputBytes>,
    /// Our name for the attempt; carried wherever the provider has a place for it (rule R6).
    pub client_ref: ClientRef,
    /// Where the provider shall call back about this attempt and no other. A secret between it and us.
    pub callback_url: Option<Box<str>>,
}

/// What to look for after a submission whose answer was lost.
#[derive(Debug, Clone)]
pub struct FindRequest {
    /// Our name for the attempt.
    pub client_ref: ClientRef,
    /// The provider's name for the model.
    pub model: Arc<str>,
    /// What the client asked for, to compare with.
    pub request: Arc<VideoRequest>,
    /// Nothing was sent before this (a margin for clocks is already off).
    pub since: Timestamp,
}

/// What a look-up found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Provider jobs that could be it.
    pub candidates: Vec<ProviderJobId>,
    /// The answer covers everything since the time asked for; only then its silence means anything (rule R7).
    pub complete: bool,
}

/// Something the provider made, to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Where: a URL, or a name only the adapter understands.
    pub source: Arc<str>,
    /// Its media type as the provider tells it, else `video/mp4`.
    pub media_type: Box<str>,
}

/// How far a provider job is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProviderState {
    /// Accepted and not finished; also every word we do not know.
    Pending,
    /// Finished, with at least one output.
    Done(Vec<Output>),
    /// Ended without a result.
    Failed(Failure),
    /// The provider does not know it (any more). Proves loss only if it goes on (rule R7).
    NotFound,
}

/// A provider's answer to a poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderStatus {
    /// How far.
    pub state: ProviderState,
    /// The provider's own figure, 0 to 100, if it gives one.
    pub progress: Option<u8>,
    /// The wait it asked for.
    pub retry_after: Option<Duration>,
}

/// A provider's answer to a cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelAnswer {
    /// Nothing more will come of it.
    Stopped,
    /// It works on.
    NotStoppable,
    /// It was finished already: ask for its result.
    AlreadyFinished,
}

/// The bytes of one output.
pub struct Fetched {
    /// The bytes, from the first.
    pub stream: BoxStream<'static, Result<Bytes, ProviderError>>,
    /// Their length as announced; the stream must match it.
    pub length: Option<u64>,
}

/// A provider's call to us, as it came in. Whose attempt its address names is known already.
#[derive(Debug, Clone, Copy)]
pub struct CallbackRequest<'a> {
    /// Names in lower case, with those values that are text.
    pub headers: &'a [(&'a str, &'a str)],
    /// All of it.
    pub body: &'a [u8],
}

/// What a provider's call to us says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Callback {
    /// It asks whether anyone listens: this JSON goes back at once.
    Challenge(Box<str>),
    /// Something happened to its job.
    News(CallbackNews),
    /// Not this provider's words, or not signed with a key of this account.
    Refused,
}

/// What a call testifies: that the attempt was accepted. Whether it succeeded is read again, whatever the call says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallbackNews {
    /// The job, if it names one.
    pub provider_job: Option<ProviderJobId>,
    /// It says that the job goes on: then nobody needs to look.
    pub pending: bool,
    /// The body as the timeline keeps it, redacted.
    pub excerpt: Box<str>,
}

/// A call that did not give what was asked. A variant exists only where the caller does something else.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// The provider itself said no; the request is at fault.
    #[error("the provider rejected the request: {}", .0.message)]
    Rejected(Failure),
    /// The provider said no because of the account: key, credit, quota.
    #[error("the provider refused the account: {}", .0.message)]
    Account(Failure),
    /// Too many calls or jobs right now; nothing was accepted.
    #[error("rate limited")]
    RateLimited {
        /// The wait the provider asked for.
        retry_after: Option<Duration>,
    },
    /// No byte of the request left us.
    #[error("provider unavailable, request not sent")]
    NotSent {
        /// Why.
        #[source]
        source: BoxError,
    },
    /// What was asked for is not there (any more): an output whose link died, a job it does not know.
    #[error("gone at the provider")]
    Gone,
    /// It may have been accepted. Everything that proves nothing ends here (rule R9).
    #[error("outcome unknown")]
    Unknown {
        /// What was seen.
        #[source]
        source: BoxError,
        /// The wait the provider asked for.
        retry_after: Option<Duration>,
    },
}

impl ProviderError {
    /// The wait the provider asked for.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after } | Self::Unknown { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// Rule R9: what the answer to a submission proves.
pub fn evidence_of(answer: &Result<ProviderJobId, ProviderError>) -> Evidence {
    let (failure, retry, retry_after) = match answer {
        Ok(provider_job) => return Evidence::Accepted(provider_job.clone()),
        Err(ProviderError::Unknown { .. } | ProviderError::Gone) if !is_off(Rule::R9) => return Evidence::Unknown,
        Err(ProviderError::Rejected(failure)) => (failure.clone(), Retry::Never, None),
        Err(ProviderError::Account(failure)) => (failure.clone(), Retry::NextRoute, None),
        Err(error) => {
            let message = "the provider could not be reached, or answered that it is overloaded, for too long";
            (Failure::new(FailureCode::ProviderUnavailable, message), Retry::Free, error.retry_after())
        }
    };
    Evidence::NotAccepted(Rejection { failure, retry, retry_after })
}

/// One exchange with a provider as the timeline keeps it: no credentials, no prompt, no signed query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exchange {
    /// `submit`, `find`, `poll`, `fetch`, `cancel`, or `callback` for a call of theirs.
    pub call: &'static str,
    /// When it began.
    pub at: Timestamp,
    /// Method and address without its query.
    pub request: Box<str>,
    /// HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// From the first byte out to the last byte in, in milliseconds.
    pub duration_ms: u32,
    /// What was answered, redacted, at most [`Exchange::MAX_EXCERPT_BYTES`]; or what went wrong.
    pub answer: Box<str>,
}

impl Exchange {
    /// Longest excerpt kept, in bytes.
    pub const MAX_EXCERPT_BYTES: usize = 2_048;
}

/// One call to a provider: whose account, and the recorder of its exchanges.
///
/// The adapter knows its accounts by id (base URL and key stay inside it); the engine never sees a credential.
#[derive(Debug)]
pub struct Call {
    /// Whose account.
    pub account: AccountId,
    exchanges: Mutex<Vec<Exchange>>,
}

impl Call {
    /// Most exchanges one call records.
    const MAX_EXCHANGES: usize = 16;

    /// A call with nothing recorded yet.
    pub const fn new(account: AccountId) -> Self {
        Self { account, exchanges: Mutex::new(Vec::new()) }
    }

    /// Keeps an exchange for the timeline.
    pub fn record(&self, exchange: Exchange) {
        let mut exchanges = self.exchanges.lock().unwrap_or_else(PoisonError::into_inner);
        if exchanges.len() < Self::MAX_EXCHANGES {
            exchanges.push(exchange);
        }
    }

    /// What was recorded.
    pub fn into_exchanges(self) -> Vec<Exchange> {
        self.exchanges.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An outside service that makes videos, with the accounts configured for it.
#[async_trait]
pub trait Provider: Send + Sync {
    /// The name in config and on the wire, such as `minimax`.
    fn name(&self) -> &'static str;

    /// What it can and cannot do, with the account's overrides.
    fn profile(&self, account: AccountId) -> &ProviderProfile;

    /// What a model of it accepts; `None` if it has no such model.
    fn capabilities(&self, account: AccountId, model: &str) -> Option<ModelCapabilities>;

    /// Checks what capabilities cannot say, `provider_options` above all.
    ///
    /// # Errors
    /// `Unsupported` naming the field, before anything is paid.
    fn check(&self, account: AccountId, model: &str, request: &VideoRequest) -> Result<(), Unsupported>;

    /// Whether a member of `provider_options` means anything to a model; whether its value will do, [`Provider::check`]
    /// says. For front doors whose clients send what only some providers know.
    fn knows_option(&self, account: AccountId, model: &str, name: &str) -> bool;

    /// What a request costs if it succeeds; `None` where nobody knows.
    fn price(&self, account: AccountId, model: &str, request: &VideoRequest) -> Option<Price>;

    /// Sends one submission, once (rule R3).
    async fn submit(&self, call: &Call, request: &SubmitRequest) -> Result<ProviderJobId, ProviderError>;

    /// Looks for a submission whose answer was lost. Asked only where the profile has a lookup.
    async fn find(&self, call: &Call, request: &FindRequest) -> Result<Found, ProviderError>;

    /// Asks how far a provider job is. `Err` proves nothing about it.
    async fn poll(&self, call: &Call, job: &ProviderJobId) -> Result<ProviderStatus, ProviderError>;

    /// Opens an output for reading from its first byte.
    async fn fetch(&self, call: &Call, output: &Output) -> Result<Fetched, ProviderError>;

    /// Asks to stop a provider job. Asked only where the profile has a cancel.
    async fn cancel(&self, call: &Call, job: &ProviderJobId) -> Result<CancelAnswer, ProviderError>;

    /// Reads a call of the provider to us, and verifies it where the provider signs. Asked only where the profile has
    /// callbacks; answers at once, from the request alone.
    fn callback(&self, _account: AccountId, _request: &CallbackRequest<'_>) -> Callback {
        Callback::Refused
    }

    /// Says whether the account works, without paying: for `longtake doctor`. `Ok` carries a word on what was seen.
    async fn check_account(&self, call: &Call) -> Result<String, ProviderError>;
}
