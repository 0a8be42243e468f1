//! Who asks: API keys as bearer tokens, their scopes and their rate.
//!
//! A key is 32 random bytes; only its SHA-256 is stored, so finding a row by it leaks nothing worth having. A key once
//! found is believed for a few seconds, so a revoked one dies quickly and on every node.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::FromRequestParts;
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use longtake_core::id::ProjectId;

use super::error::{ApiError, ErrorCode};
use crate::app::App;

/// The project of the admin key.
pub const DEFAULT_PROJECT: ProjectId = ProjectId(1);
/// How long a key once found is believed.
const KEY_TTL: Duration = Duration::from_secs(5);
/// Keys remembered at once.
const MAX_KEYS: usize = 10_000;
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
    scopes: Arc<[String]>,
}

impl Caller {
    fn admin() -> Self {
        Self { project: DEFAULT_PROJECT, key: 0, name: "admin".into(), scopes: Arc::new(["admin".to_owned()]) }
    }

    fn may(&self, scope: Scope) -> bool {
        self.scopes.iter().any(|held| held == scope.word() || held == Scope::Admin.word())
    }
}

/// A caller who may read.
pub struct Reader(pub Caller);
/// A caller who may write.
pub struct Writer(pub Caller);
/// A caller who may do everything.
pub struct Admin(pub Caller);

macro_rules! extractor {
    ($name:ident, $scope:expr) => {
        impl FromRequestParts<App> for $name {
            type Rejection = ApiError;

            async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, ApiError> {
                let caller = authenticate(app, &parts.headers).await?;
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

extractor!(Reader, Scope::Read);
extractor!(Writer, Scope::Write);
extractor!(Admin, Scope::Admin);

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

async fn authenticate(app: &App, headers: &HeaderMap) -> Result<Caller, ApiError> {
    if app.insecure_no_auth {
        return Ok(Caller::admin());
    }
    let hash = key_hash(bearer(headers)?);
    let caller = if verify_slices_are_equal(&hash, &app.admin_key_hash).is_ok() {
        Caller::admin()
    } else {
        app.memory.keys.find(app, hash).await?
    };
    app.memory.keys.admit(caller.key)?;
    Ok(caller)
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

fn invalid(message: &str) -> ApiError {
    ApiError::new(ErrorCode::InvalidApiKey, message)
}

/// Keys seen in the last seconds, and how often each asked.
pub struct KeyCache {
    known: Mutex<HashMap<[u8; 32], (Duration, Caller)>>,
    rate: Option<DefaultKeyedRateLimiter<i64>>,
}

impl KeyCache {
    /// An empty cache with this many requests per minute and key.
    pub fn new(requests_per_minute: Option<NonZeroU32>) -> Self {
        let rate = requests_per_minute.map(|rate| DefaultKeyedRateLimiter::keyed(Quota::per_minute(rate)));
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
        let caller = Caller { project: key.project, key: key.id, name: key.name.into(), scopes: key.scopes.into() };
        if known.len() >= MAX_KEYS {
            known.clear();
        }
        known.insert(hash, (now, caller.clone()));
        Ok(caller)
    }

    fn admit(&self, key: i64) -> Result<(), ApiError> {
        let Some(rate) = &self.rate else { return Ok(()) };
        rate.check_key(&key).map_err(|early| {
            let wait = early.wait_time_from(DefaultClock::default().now());
            let message = "too many requests with this API key; wait as Retry-After says";
            ApiError::new(ErrorCode::RateLimitExceeded, message).after_secs(wait.as_secs().saturating_add(1))
        })
    }
}
