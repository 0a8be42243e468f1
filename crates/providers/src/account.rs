//! What a configured account says, and how it changes a provider's profile.

use std::collections::BTreeMap;
use std::time::Duration;

use longtake_core::id::AccountId;
use longtake_core::provider::{Idempotency, Lookup, ProviderProfile};
use longtake_core::request::Size;
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;

/// How much rarer polls are where changes are called back: one for thirty.
const QUIET_FACTOR: u32 = 30;
/// How long a lost submission is verified at least where its first callback may tell of it; then it is held.
const CALLED_BACK_WITHIN: Duration = Duration::from_secs(1_800);

/// `[accounts.X]` of the configuration, its secrets already read.
#[derive(Debug, Clone)]
pub struct AccountConfig {
    /// The store's number for it.
    pub id: AccountId,
    /// The X of `[accounts.X]`, for error messages.
    pub name: String,
    /// Which provider, by its name in the registry.
    pub provider: String,
    /// The credential; some self-hosted servers have none.
    pub api_key: Option<SecretString>,
    /// Instead of the provider's own address.
    pub base_url: Option<String>,
    /// First wait between polls, in milliseconds.
    pub poll_first_ms: Option<u64>,
    /// Longest wait between polls, in milliseconds.
    pub poll_ceiling_ms: Option<u64>,
    /// Wait before "not found" may prove anything (rule R7), in milliseconds.
    pub absence_settle_ms: Option<u64>,
    /// Time for finding out, in milliseconds; then the job is held (T8).
    pub verify_deadline_ms: Option<u64>,
    /// How a lost submission is found: a word the provider knows, or `none`.
    pub lookup: Option<String>,
    /// `key` where the server honours `Idempotency-Key`, or `none`.
    pub idempotency: Option<String>,
    /// Providers that call back can reach this server.
    pub callbacks: bool,
    /// `[accounts.X.options]`: what only this provider understands.
    pub options: serde_json::Map<String, serde_json::Value>,
    /// What `[models.x]` says of the provider's models that this account serves, by the provider's model name.
    pub model_limits: BTreeMap<String, ModelLimits>,
}

impl AccountConfig {
    /// An account with nothing but its id, name and provider.
    pub fn new(id: AccountId, name: &str, provider: &str) -> Self {
        Self {
            id,
            name: name.to_owned(),
            provider: provider.to_owned(),
            api_key: None,
            base_url: None,
            poll_first_ms: None,
            poll_ceiling_ms: None,
            absence_settle_ms: None,
            verify_deadline_ms: None,
            lookup: None,
            idempotency: None,
            callbacks: false,
            options: serde_json::Map::new(),
            model_limits: BTreeMap::new(),
        }
    }

    /// An error about one key of this account.
    pub(crate) fn error(&self, key: &'static str, problem: impl Into<String>) -> BuildError {
        BuildError { account: self.name.clone(), key, problem: problem.into() }
    }

    /// The credential, where the provider cannot do without.
    pub(crate) fn required_key(&self) -> Result<SecretString, BuildError> {
        match &self.api_key {
            Some(key) if !key.expose_secret().trim().is_empty() => Ok(key.clone()),
            _ => Err(self.error("api_key", "this provider needs one, such as api_key = \"env:NAME\"")),
        }
    }

    /// The base URL, or the provider's own; without a slash at its end.
    pub(crate) fn base(&self, default: Option<&str>) -> Result<Url, BuildError> {
        let text = self.base_url.as_deref().or(default);
        let text =
            text.ok_or_else(|| self.error("base_url", "this provider needs one, such as http://host:8000/v1"))?;
        let wrong = |problem: String| self.error("base_url", problem);
        let mut url = Url::parse(text).map_err(|error| wrong(format!("{text:?} is not a URL: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
            return Err(wrong(format!("{text:?} must begin with https:// or http:// and a host")));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("credentials do not belong into a URL; use api_key".to_owned()));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong(format!("{text:?} must not have a query or a fragment")));
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(url)
    }

    /// `[accounts.X.options]` as the provider's own type.
    pub(crate) fn read_options<T: DeserializeOwned>(&self) -> Result<T, BuildError> {
        let options = serde_json::Value::Object(self.options.clone());
        serde_json::from_value(options).map_err(|error| self.error("options", error.to_string()))
    }

    /// A provider's profile with what this account overrides. `lookups` are the words it knows beside `none`.
    pub(crate) fn profile(
        &self,
        mut profile: ProviderProfile,
        lookups: &[(&str, Lookup)],
    ) -> Result<ProviderProfile, BuildError> {
        let millis = |text: Option<u64>, default: Duration| text.map_or(default, Duration::from_millis);
        profile.callback &= self.callbacks;
        // Whoever says how often to poll means it, whatever is called back.
        let says_how_often = self.poll_first_ms.is_some() || self.poll_ceiling_ms.is_some();
        profile.poll_quiet =
            (profile.callback && !says_how_often).then(|| profile.poll_ceiling.saturating_mul(QUIET_FACTOR));
        if profile.callback {
            // A first call may come long after the submission, when the provider begins; a held job takes it too.
            profile.verify_deadline = profile.verify_deadline.max(CALLED_BACK_WITHIN);
        }
        profile.poll_first = millis(self.poll_first_ms, profile.poll_first);
        profile.poll_ceiling = millis(self.poll_ceiling_ms, profile.poll_ceiling);
        if profile.poll_first.is_zero() {
            return Err(self.error("poll_first_ms", "must be at least 1"));
        }
        if profile.poll_ceiling < profile.poll_first {
            if self.poll_ceiling_ms.is_some() {
                return Err(self.error("poll_ceiling_ms", "must not be less than poll_first_ms"));
            }
            profile.poll_ceiling = profile.poll_first;
        }
        profile.absence_settle = millis(self.absence_settle_ms, profile.absence_settle);
        profile.verify_deadline = millis(self.verify_deadline_ms, profile.verify_deadline);
        match self.lookup.as_deref() {
            None => {}
            Some("none") => profile.lookup = Lookup::None,
            Some(word) => match lookups.iter().find(|(known, _)| *known == word) {
                Some((_, lookup)) => profile.lookup = *lookup,
                None => {
                    let mut known: Vec<&str> = lookups.iter().map(|(known, _)| *known).collect();
                    known.push("none");
                    let problem = format!("{word:?} is not possible here; possible: {}", known.join(", "));
                    return Err(self.error("lookup", problem));
                }
            },
        }
        // Whoever says how long "not found" proves nothing says so for the list as well.
        profile.lookup = profile.lookup.with_lag(profile.lookup.lag().min(profile.absence_settle));
        Ok(profile)
    }

    /// Prices per second in millionths of a dollar that the operator set, by the provider's model name.
    pub(crate) fn prices(&self) -> BTreeMap<String, u64> {
        let limits = self.model_limits.iter();
        limits.filter_map(|(model, limits)| Some((model.clone(), limits.price_usd_micros_per_second?))).collect()
    }

    /// Whether the server recognises a repeated submission; `ttl` is how long it remembers keys.
    pub(crate) fn idempotency(&self, ttl: Duration) -> Result<Idempotency, BuildError> {
        match self.idempotency.as_deref() {
            None | Some("none") => Ok(Idempotency::None),
            Some("key") => Ok(Idempotency::Key { ttl }),
            Some(word) => Err(self.error("idempotency", format!("{word:?} is not possible here; possible: key, none"))),
        }
    }

    /// Refuses `idempotency = "key"` for a provider that has no such thing.
    pub(crate) fn without_idempotency(&self) -> Result<(), BuildError> {
        match self.idempotency.as_deref() {
            None | Some("none") => Ok(()),
            Some(_) => Err(self.error("idempotency", "this provider recognises no key; only \"none\" is possible")),
        }
    }
}

/// What `[models.x]` says of one of an account's models.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelLimits {
    /// Lengths it accepts, in seconds; empty means any.
    pub seconds: Vec<u32>,
    /// Sizes it accepts; empty means any.
    pub sizes: Vec<Size>,
    /// Price in millionths of a dollar per second of video.
    pub price_usd_micros_per_second: Option<u64>,
}

/// An account that cannot be used as configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("[accounts.{account}] {key}: {problem}")]
pub struct BuildError {
    /// The X of `[accounts.X]`.
    pub account: String,
    /// The key at fault.
    pub key: &'static str,
    /// What is wrong and what would do.
    pub problem: String,
}
