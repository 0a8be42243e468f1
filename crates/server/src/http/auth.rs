//! Who asks: API keys as bearer tokens, their scopes and their rate.
//!
//! A key is 32 random bytes; only its SHA-256 is stored, so finding a row by it leaks nothing worth having. A key once
//! found is believed for a few seconds, so a revoked one dies quickly and on every node.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::FromRequestParts;
use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::{DefaultKeyedRateLimiter, Quota};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use longtake_core::id::ProjectId;
use longtake_core::time::Timestamp;

use super::conduit::ephemeral;
use super::error::{ApiError, ErrorCode};
use super::own_pages;
use super::websocket::protocols;
use crate::app::App;

/// The project of the admin key.
pub const DEFAULT_PROJECT: ProjectId = ProjectId(1);
/// How long a key once found is believed.
const KEY_TTL: Duration = Duration::from_secs(5);
/// Keys remembered at once.
const MAX_KEYS: usize = 10_000;
/// What stands before a key among the protocols of a WebSocket.
const KEY_PROTOCOL: &str = "key.";
/// Longest bearer token that is looked at, in bytes.
const MAX_TOKEN_BYTES: usize = 512;

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// See videos, models and metrics.
    Read,
    /// Make, cancel, retry, resolve and delete videos.
    Write,
    /// Everything, API keys too.
    Admin,
}

impl Scope {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Read, Self::Write, Self::Admin];

    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Admin => "admin",
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Whose videos they see.
    pub project: ProjectId,
    /// Number of their key; 0 is the admin key.
    pub key: i64,
    /// Name of their key, for records of decisions.
    pub name: Arc<str>,
    /// SHA-256 of their key.
    pub hash: [u8; 32],
    /// They showed a short-lived stand-in for their key.
    pub ephemeral: bool,
    scopes: Arc<[String]>,
}

impl Caller {
    fn admin(app: &App) -> Self {
        let scopes = Arc::new(["admin".to_owned()]);
        let hash = app.admin_key_hash;
        Self { project: DEFAULT_PROJECT, key: 0, name: "admin".into(), hash, ephemeral: false, scopes }
    }

    /// A stand-in lies in browsers: it never makes keys, which would outlive it.
    fn may(&self, scope: Scope) -> bool {
        let holds = self.scopes.iter().any(|held| held == scope.word() || held == Scope::Admin.word());
        holds && !(self.ephemeral && scope == Scope::Admin)
    }
}

/// A caller with any key.
pub struct Known(pub Caller);
/// A caller who may read.
pub struct Reader(pub Caller);
/// A caller who may write.
pub struct Writer(pub Caller);
/// A caller who may do everything.
pub struct Admin(pub Caller);
/// A caller who may read, at the handshake of a WebSocket: a page's script can give it no header of its own, so the key may
/// be one of the protocols it offers. Never in the address, which ends up in logs.
pub struct SocketReader(pub Caller);

macro_rules! extractor {
    ($name:ident, $scope:expr, $token:expr) => {
        impl FromRequestParts<App> for $name {
            type Rejection = ApiError;

            async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
                let caller = authenticate(app, parts, $token).await?;
                if caller.may($scope) {
                    return Ok(Self(caller));
                }
                let message =
                    format!("the API key lacks the scope {}; ask the operator for one that has it", $scope.word());
                Err(ApiError::new(ErrorCode::InsufficientScope, message))
            }
        }
    };
}

impl FromRequestParts<App> for Known {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
        authenticate(app, parts, bearer).await.map(Self)
    }
}

extractor!(Reader, Scope::Read, bearer);
extractor!(Writer, Scope::Write, bearer);
extractor!(Admin, Scope::Admin, bearer);
extractor!(SocketReader, Scope::Read, bearer_or_protocol);

/// SHA-256 of a key, as stored.
pub fn key_hash(key: &str) -> [u8; 32] {
    sha256(key.as_bytes())
}

/// SHA-256 of some bytes.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// Where the key stands.
type Token = fn(&HeaderMap) -> Result<&str, ApiError>;

async fn authenticate(app: &App, parts: &Parts, token: Token) -> Result<Caller, ApiError> {
    if app.insecure_no_auth {
        own_pages::check(app, &parts.headers)?;
        return Ok(Caller::admin(app));
    }
    let token = token(&parts.headers)?;
    let hash = key_hash(token);
    let caller = if verify_slices_are_equal(&hash, &app.admin_key_hash).is_ok() {
        Caller::admin(app)
    } else if token.starts_with(ephemeral::PREFIX) {
        let Some(hash) = ephemeral::open(app, token) else {
            return Err(invalid("the ephemeral key is not known or is over; make another with your API key"));
        };
        Caller { ephemeral: true, ..key_of(app, hash).await? }
    } else {
        app.memory.keys.find(app, hash).await?
    };
    app.memory.keys.admit(app, caller.key, parts.extensions.get::<RateNote>())?;
    Ok(caller)
}

async fn key_of(app: &App, hash: [u8; 32]) -> Result<Caller, ApiError> {
    if hash == app.admin_key_hash { Ok(Caller::admin(app)) } else { app.memory.keys.find(app, hash).await }
}

fn bearer(headers: &HeaderMap) -> Result<&str, ApiError> {
    let missing = || invalid("send your API key as Authorization: Bearer lt_…");
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next().ok_or_else(missing)?;
    if values.next().is_some() {
        return Err(invalid("send one Authorization header, not several"));
    }
    let text = value.to_str().map_err(|_| missing())?;
    let (scheme, token) = text.split_once(' ').ok_or_else(missing)?;
    let token = token.trim_matches(' ');
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() || token.len() > MAX_TOKEN_BYTES {
        return Err(missing());
    }
    Ok(token)
}

/// The header wins; of the protocols one, `key.` and the key.
fn bearer_or_protocol(headers: &HeaderMap) -> Result<&str, ApiError> {
    if headers.contains_key(AUTHORIZATION) {
        return bearer(headers);
    }
    let mut keys = protocols(headers).filter_map(|offered| offered.strip_prefix(KEY_PROTOCOL));
    let usable = |key: &&str| !key.is_empty() && key.len() <= MAX_TOKEN_BYTES;
    let key = keys.next().filter(usable).ok_or_else(|| {
        invalid(
            "send your API key as Authorization: Bearer lt_…, or from a page as new WebSocket(url, [\"longtake\", \"key.lt_…\"])",
        )
    })?;
    if keys.next().is_some() {
        return Err(invalid("offer one protocol that begins with key., not several"));
    }
    Ok(key)
}

fn invalid(message: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidApiKey, message)
}

/// Keys seen in the last seconds, and how often each asked.
pub struct KeyCache {
    known: Mutex<HashMap<[u8; 32], (Duration, Caller)>>,
    rate: Option<DefaultKeyedRateLimiter<i64, StateInformationMiddleware>>,
}

/// How much of its rate a key has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLeft {
    /// Requests at once, and per minute.
    pub limit: u32,
    /// Requests at once from now.
    pub remaining: u32,
    /// When all of them are there again; where there are none, when there is one.
    pub reset_at: Timestamp,
}

/// Where the rate of a request's key is noted, in the extensions of a request whose front door tells of it.
#[derive(Debug, Clone, Default)]
pub struct RateNote(Arc<OnceLock<RateLeft>>);

impl RateNote {
    /// What was noted; `None` where there is no rate, or no key.
    pub fn left(&self) -> Option<RateLeft> {
        self.0.get().copied()
    }
}

impl KeyCache {
    /// An empty cache with this many requests per minute and key.
    pub fn new(requests_per_minute: Option<NonZeroU32>) -> Self {
        let rate =
            requests_per_minute.map(|rate| DefaultKeyedRateLimiter::keyed(Quota::per_minute(rate)).with_middleware());
        Self { known: Mutex::default(), rate }
    }

    /// Forgets every key: one was revoked.
    pub fn forget(&self) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    async fn find(&self, app: &App, hash: [u8; 32]) -> Result<Caller, ApiError> {
        let now = app.clock.monotonic();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&hash).cloned();
        if let Some((at, caller)) = known
            && now.saturating_sub(at) < KEY_TTL
        {
            return Ok(caller);
        }
        let found = app.store.find_key(hash).await?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(key) = found.filter(|key| key.revoked_at.is_none()) else {
            known.remove(&hash);
            return Err(invalid("the API key is not known or was revoked"));
        };
        let (project, key, name, scopes) = (key.project, key.id, key.name.into(), key.scopes.into());
        let caller = Caller { project, key, name, hash, ephemeral: false, scopes };
        if known.len() >= MAX_KEYS {
            known.clear();
        }
        known.insert(hash, (now, caller.clone()));
        Ok(caller)
    }

    fn admit(&self, app: &App, key: i64, note: Option<&RateNote>) -> Result<(), ApiError> {
        let Some(rate) = &self.rate else { return Ok(()) };
        let (limit, remaining, wait, admitted) = match rate.check_key(&key) {
            Ok(state) => {
                let (quota, remaining) = (state.quota(), state.remaining_burst_capacity());
                let used = quota.burst_size().get().saturating_sub(remaining);
                (quota.burst_size(), remaining, quota.replenish_interval().saturating_mul(used), Ok(()))
            }
            Err(early) => {
                let wait = early.wait_time_from(DefaultClock::default().now());
                let message = "too many requests with this API key; wait as Retry-After says";
                let error = ApiError::new(ErrorCode::RateLimitExceeded, message);
                (early.quota().burst_size(), 0, wait, Err(error.after_secs(wait.as_secs().saturating_add(1))))
            }
        };
        if let Some(RateNote(note)) = note {
            // A request has one key: it is noted once.
            note.get_or_init(|| RateLeft { limit: limit.get(), remaining, reset_at: app.clock.now() + wait });
        }
        admitted
    }
}
