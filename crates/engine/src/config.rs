//! What the engine is given: limits, accounts, routes and the seams it works through.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use longtake_core::artifact::{ArtifactStore, MediaProbe};
use longtake_core::id::{AccountId, Random};
use longtake_core::limits::Limits;
use longtake_core::pacing::Budget;
use longtake_core::provider::Provider;
use longtake_core::retention::Retention;
use longtake_core::route::Route;
use longtake_core::store::{ProcessInfo, Store};
use longtake_core::time::Clock;

use crate::dispatcher::WebhookConfig;

/// What happens to a job whose submission nobody could find out about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnUnknown {
    /// It waits for late evidence or a person.
    Hold,
    /// It fails as `submission_in_doubt`.
    Fail,
    /// It is submitted again; the risk of paying twice is accepted and recorded.
    Resubmit,
}

/// Limits and times of one process's engine.
#[derive(Debug, Clone)]
pub struct EngineConfig {
    /// Drive work at all; otherwise the process only takes jobs in and tells of events.
    pub drives: bool,
    /// External calls in flight at once; each may hold one connection.
    pub concurrency: usize,
    /// Jobs kept in memory at once.
    pub max_owned: usize,
    /// Submissions at once: at most this many can be uncertain after a crash (rule R11).
    pub max_inflight_sends: usize,
    /// Rows taken by one acquire.
    pub acquire_batch: usize,
    /// How often unowned and woken work is looked for when nobody hinted at it.
    pub look_interval: Duration,
    /// Silence after which others may take this executor's work. Must exceed beat and margin together.
    pub ttl: Duration,
    /// How often the executor shows that it lives.
    pub beat: Duration,
    /// Trust in the own ownership ends this much before the ttl does.
    pub margin: Duration,
    /// Time from the intent to the first byte (rule R10).
    pub send_window: Duration,
    /// Judged attempts a job makes by itself.
    pub max_attempts: u16,
    /// How long a job knocks at closed doors before it fails as `provider_unavailable`.
    pub unavailable_limit: Duration,
    /// What happens where nobody can find out.
    pub on_unknown: OnUnknown,
    /// How often a held job is looked up again, where its provider has a lookup.
    pub held_lookup_interval: Duration,
    /// Longest output accepted, in bytes.
    pub max_artifact_bytes: u64,
    /// How long a shutdown waits for submissions under way.
    pub drain_timeout: Duration,
    /// How often unreferenced objects are swept.
    pub sweep_interval: Duration,
    /// Age an object must have before it counts as unreferenced.
    pub sweep_age: Duration,
    /// Where providers reach the receiver of their callbacks, without a slash at its end; `/{provider}/{token}` follows.
    /// `None` where nobody can call us.
    pub callback_base: Option<Box<str>>,
    /// How often the store is asked for news of own work that providers call back about. `None` where news come with
    /// [`Store::on_commit`] alone: no other process takes callbacks in.
    pub news_interval: Option<Duration>,
    /// How much is sent to webhooks at once.
    pub webhooks: WebhookConfig,
    /// How long what is over is kept.
    pub retention: Retention,
    /// How often what is kept no longer is removed.
    pub expire_interval: Duration,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            drives: true,
            concurrency: 256,
            max_owned: 100_000,
            max_inflight_sends: 64,
            acquire_batch: 500,
            look_interval: Duration::from_secs(1),
            ttl: Duration::from_secs(15),
            beat: Duration::from_secs(3),
            margin: Duration::from_secs(3),
            send_window: Duration::from_secs(10),
            max_attempts: 3,
            unavailable_limit: Duration::from_secs(24 * 3600),
            on_unknown: OnUnknown::Hold,
            held_lookup_interval: Duration::from_secs(300),
            max_artifact_bytes: 16 << 30,
            drain_timeout: Duration::from_secs(30),
            sweep_interval: Duration::from_secs(3600),
            sweep_age: Duration::from_secs(24 * 3600),
            callback_base: None,
            news_interval: None,
            webhooks: WebhookConfig::default(),
            retention: Retention::default(),
            expire_interval: Duration::from_secs(600),
        }
    }
}

impl EngineConfig {
    /// The attempt budget of a job with this many routes.
    pub fn budget(&self, routes: usize) -> Budget {
        Budget {
            max_attempts: self.max_attempts,
            routes: u16::try_from(routes).unwrap_or(u16::MAX),
            unavailable_limit: self.unavailable_limit,
        }
    }
}

/// One account: who serves it and how much at once.
#[derive(Clone)]
pub struct AccountEntry {
    /// Its name in config.
    pub name: String,
    /// Its provider.
    pub provider: Arc<dyn Provider>,
    /// Over all machines.
    pub limits: Limits,
    /// This process drives its jobs; otherwise it only knows it, for validation and names.
    pub drives: bool,
}

/// Everything an engine is built from.
#[derive(Clone)]
pub struct Parts {
    /// Rows.
    pub store: Arc<dyn Store>,
    /// Bytes.
    pub artifacts: Arc<dyn ArtifactStore>,
    /// Looks into videos.
    pub probe: Arc<dyn MediaProbe>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// Accounts by number.
    pub accounts: BTreeMap<AccountId, AccountEntry>,
    /// Routes by public model, in order of fallback.
    pub routes: BTreeMap<String, Vec<Route>>,
    /// Signs client refs.
    pub secret_key: [u8; 32],
    /// This process, for the executor's row.
    pub process: ProcessInfo,
    /// Limits.
    pub config: EngineConfig,
}
