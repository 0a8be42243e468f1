//! Everything a handler may use: the seams, the models on offer, limits and counters.
//!
//! Built once by `wiring`, cloned into every request. It holds no state of a job: that lies in the store.
//! Absent: concrete types of stores and providers.

use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longtake_core::artifact::ArtifactStore;
use longtake_core::id::{AccountId, Random};
use longtake_core::provider::{ModelCapabilities, Price, Unsupported};
use longtake_core::request::VideoRequest;
use longtake_core::retention::Retention;
use longtake_core::route::Route;
use longtake_core::store::{Store, StoreError};
use longtake_core::time::Clock;
use longtake_engine::{AccountEntry, Engine};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::storage::Redirect;
use crate::http::auth::KeyCache;
use crate::http::callbacks::RecentCallbacks;
use crate::http::feed::RecentJobs;
use crate::http::inputs::InputFetcher;
use crate::http::limits::Limits;
use crate::http::metrics::HttpMetrics;
use crate::http::videos::repeats::RecentCreates;
use crate::http::videos::webhook::RecentOrigins;
use crate::webhooks::WebhookClient;

/// What handlers share. Cheap to clone.
#[derive(Clone)]
pub struct App(Arc<AppParts>);

/// What an [`App`] is built from.
pub struct AppParts {
    /// Rows.
    pub store: Arc<dyn Store>,
    /// Bytes.
    pub artifacts: Arc<dyn ArtifactStore>,
    /// Creates in batches, live news.
    pub engine: Arc<Engine>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// The models on offer.
    pub models: Models,
    /// Accounts by number, to show the names of providers.
    pub accounts: BTreeMap<AccountId, AccountEntry>,
    /// Bounds of requests.
    pub limits: Limits,
    /// SHA-256 of the admin key.
    pub admin_key_hash: [u8; 32],
    /// This server's address as the outside sees it, without a slash at its end: links begin with it. Without it they are
    /// paths.
    pub public_url: Option<Arc<str>>,
    /// Where `/content` sends who asks for a video; `None` where the bytes come from here.
    pub redirect: Option<Redirect>,
    /// Everyone acts as admin. Refused by config on an address that others can reach.
    pub insecure_no_auth: bool,
    /// Fetches the input images that clients name by URL.
    pub inputs: InputFetcher,
    /// Sends webhooks, and says which URLs it would send to.
    pub webhooks: WebhookClient,
    /// What the front door counts.
    pub metrics: Arc<HttpMetrics>,
    /// Creates are refused (507) while the artifact store has less free room than this, in bytes.
    pub low_water_bytes: u64,
    /// `/readyz` says no from now on, while everything is still served: proxies send the next requests elsewhere.
    pub draining: CancellationToken,
    /// Ends event streams and long polls; cancelled when the server is to stop.
    pub stopping: CancellationToken,
    /// Memory of the front door; [`Memory::new`].
    pub memory: Memory,
}

/// What the front door remembers between requests. Losing it costs time, never correctness.
pub struct Memory {
    /// API keys seen in the last seconds.
    pub keys: KeyCache,
    /// Creates that a repeated request of an SDK may mean.
    pub recent: RecentCreates,
    /// Learnt durations.
    pub estimates: Estimates,
    /// Jobs whose events were shown lately.
    pub recent_jobs: RecentJobs,
    /// Providers' calls: room, and what was stored lately.
    pub callbacks: RecentCallbacks,
    /// Units of 64 KiB of request bodies that may be in memory at once.
    pub body_room: Arc<Semaphore>,
    /// Requests being handled at once.
    pub requests: Arc<Semaphore>,
    /// Event streams at once.
    pub streams: Arc<Semaphore>,
    /// Webhooks being tested at once, whatever the number of endpoints.
    pub webhook_tests: Arc<Semaphore>,
    /// Endpoints of `webhook_url`s.
    pub origins: RecentOrigins,
    /// Pictures being drawn at once.
    pub drawing: Arc<Semaphore>,
    /// Free room of the artifact store as last seen, and when (milliseconds of the monotonic clock, from 1).
    free_bytes: (AtomicU64, AtomicU64),
}

/// Webhooks tested at once: each may wait for its receiver for many seconds.
const MAX_WEBHOOK_TESTS: usize = 16;
/// Pictures drawn at once: each decodes video on a blocking thread.
const MAX_DRAWING: usize = 2;
/// How long a figure of the artifact store's free room is believed, in milliseconds.
const FREE_BYTES_TTL_MS: u64 = 1_000;

impl Memory {
    /// Empty, with the bounds of these limits.
    pub fn new(limits: &Limits) -> Self {
        Self {
            keys: KeyCache::new(limits.requests_per_minute),
            recent: RecentCreates::default(),
            estimates: Estimates::default(),
            recent_jobs: RecentJobs::default(),
            callbacks: RecentCallbacks::default(),
            body_room: Arc::new(Semaphore::new(limits.body_room_units())),
            requests: Arc::new(Semaphore::new(limits.max_requests)),
            streams: Arc::new(Semaphore::new(limits.max_event_streams)),
            webhook_tests: Arc::new(Semaphore::new(MAX_WEBHOOK_TESTS)),
            origins: RecentOrigins::default(),
            drawing: Arc::new(Semaphore::new(MAX_DRAWING)),
            free_bytes: (AtomicU64::new(u64::MAX), AtomicU64::new(0)),
        }
    }
}

impl App {
    /// Shares the parts.
    pub fn new(parts: AppParts) -> Self {
        Self(Arc::new(parts))
    }

    /// Whether the artifact store has too little room to accept another video. Asks it at most once a second.
    pub async fn is_out_of_room(&self) -> bool {
        let (free, seen) = &self.memory.free_bytes;
        let now = u64::try_from(self.clock.monotonic().as_millis()).unwrap_or(u64::MAX).saturating_add(1);
        let last = seen.load(Ordering::Relaxed);
        if last == 0 || now.saturating_sub(last) > FREE_BYTES_TTL_MS {
            seen.store(now, Ordering::Relaxed);
            // A store that cannot tell (a bucket) has room.
            free.store(self.artifacts.free_bytes().await.unwrap_or(u64::MAX), Ordering::Relaxed);
        }
        free.load(Ordering::Relaxed) < self.low_water_bytes
    }

    /// How long what is over is kept.
    pub fn retention(&self) -> &Retention {
        &self.engine.parts().config.retention
    }

    /// What a request costs with a model of an account; `None` where nobody knows.
    pub fn price(&self, account: AccountId, model: &str, request: &VideoRequest) -> Option<Price> {
        self.accounts.get(&account)?.provider.price(account, model, request)
    }

    /// The name of the provider behind an account.
    pub fn provider_name(&self, account: AccountId) -> Option<&'static str> {
        self.accounts.get(&account).map(|entry| entry.provider.name())
    }
}

impl Deref for App {
    type Target = AppParts;

    fn deref(&self) -> &AppParts {
        &self.0
    }
}

/// One model on offer.
#[derive(Debug, Clone)]
pub struct Model {
    /// Its public name.
    pub name: String,
    /// Who serves it, in order of fallback; at least one.
    pub routes: Vec<Route>,
    /// What its first route accepts.
    pub accepts: ModelCapabilities,
}

/// The models on offer, in the order of the config.
#[derive(Debug)]
pub struct Models {
    models: Vec<Model>,
    default: String,
}

/// A model cannot be offered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ModelError {
    /// Its list of routes is empty.
    #[error("model {0} has no routes")]
    NoRoutes(String),
    /// A route names an account that does not exist.
    #[error("model {0}: no such account")]
    NoAccount(String),
    /// Its provider has no such model.
    #[error("model {model}: {provider} has no model {name}")]
    NoSuchModel {
        /// The public name.
        model: String,
        /// The provider.
        provider: String,
        /// The name the route gives.
        name: String,
    },
}

impl Models {
    /// Checks every route and learns what each model accepts. `default` is taken where a request names no model.
    ///
    /// # Errors
    /// [`ModelError`] for a model that no account could serve.
    pub fn new(
        models: Vec<(String, Vec<Route>)>,
        default: &str,
        accounts: &BTreeMap<AccountId, AccountEntry>,
    ) -> Result<Self, ModelError> {
        let mut offered = Vec::with_capacity(models.len());
        for (name, routes) in models {
            let mut accepts = None;
            for route in &routes {
                let entry = accounts.get(&route.account).ok_or_else(|| ModelError::NoAccount(name.clone()))?;
                let capabilities = entry.provider.capabilities(route.account, &route.model).ok_or_else(|| {
                    ModelError::NoSuchModel {
                        model: name.clone(),
                        provider: entry.provider.name().to_owned(),
                        name: route.model.to_string(),
                    }
                })?;
                accepts.get_or_insert(capabilities);
            }
            let accepts = accepts.ok_or_else(|| ModelError::NoRoutes(name.clone()))?;
            offered.push(Model { name, routes, accepts });
        }
        Ok(Self { models: offered, default: default.to_owned() })
    }

    /// One model by its public name.
    pub fn get(&self, name: &str) -> Option<&Model> {
        self.models.iter().find(|model| model.name == name)
    }

    /// All models, in the order of the config.
    pub fn all(&self) -> &[Model] {
        &self.models
    }

    /// The model taken where a request names none.
    pub fn default_name(&self) -> &str {
        &self.default
    }

    /// Asks every route that may serve the request: a later attempt may take any of them.
    ///
    /// # Errors
    /// The first refusal.
    pub fn check(
        &self,
        request: &VideoRequest,
        accounts: &BTreeMap<AccountId, AccountEntry>,
    ) -> Result<(), Unsupported> {
        let Some(model) = self.get(&request.model) else {
            return Err(Unsupported::new("model", format!("there is no model {}", request.model)));
        };
        for route in model.routes.iter().filter(|route| request.may_go_to(route.account)) {
            if let Some(entry) = accounts.get(&route.account) {
                entry.provider.check(route.account, &route.model, request)?;
            }
        }
        Ok(())
    }
}

/// How long videos of a model take here, learnt from those that completed.
#[derive(Default)]
pub struct Estimates {
    by_model: Mutex<HashMap<String, Learnt>>,
}

#[derive(Clone, Copy)]
struct Learnt {
    at: Option<Duration>,
    median: Option<Duration>,
}

/// How long a learnt figure is used before the store is asked again.
const ESTIMATE_TTL: Duration = Duration::from_secs(30);
/// How long "too few are known" is believed.
const ESTIMATE_UNKNOWN_TTL: Duration = Duration::from_secs(3);
/// Videos a figure is learnt from, at most.
const ESTIMATE_SAMPLES: usize = 50;
/// Fewer than this teach nothing.
const ESTIMATE_MIN_SAMPLES: usize = 3;
/// Models remembered at once.
const MAX_ESTIMATES: usize = 1_000;

impl Estimates {
    /// The median time from create to completion of the newest videos of a model; `None` where too few are known.
    ///
    /// # Errors
    /// As [`Store::durations`].
    pub async fn median(&self, app: &App, model: &str) -> Result<Option<Duration>, StoreError> {
        let now = app.clock.monotonic();
        {
            let mut by_model = self.by_model.lock().unwrap_or_else(PoisonError::into_inner);
            if by_model.len() >= MAX_ESTIMATES && !by_model.contains_key(model) {
                by_model.clear();
            }
            let learnt = by_model.entry(model.to_owned()).or_insert(Learnt { at: None, median: None });
            let ttl = if learnt.median.is_some() { ESTIMATE_TTL } else { ESTIMATE_UNKNOWN_TTL };
            if learnt.at.is_some_and(|at| now.saturating_sub(at) < ttl) {
                return Ok(learnt.median);
            }
            // Others go on with the old figure meanwhile, so that one of many asks the store.
            learnt.at = Some(now);
        }
        let mut durations = app.store.durations(model, ESTIMATE_SAMPLES).await?;
        durations.sort_unstable();
        let median =
            (durations.len() >= ESTIMATE_MIN_SAMPLES).then(|| durations.get(durations.len() / 2).copied()).flatten();
        let mut by_model = self.by_model.lock().unwrap_or_else(PoisonError::into_inner);
        by_model.insert(model.to_owned(), Learnt { at: Some(now), median });
        Ok(median)
    }
}
