//! What every step of one incarnation works with: the seams, the batches, and how long its ownership can be trusted.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longtake_core::attempt::Attempt;
use longtake_core::id::{AccountId, ExecutorId, PoolId};
use longtake_core::limits::Limits;
use longtake_core::provider::{Provider, ProviderProfile};
use longtake_core::route::{Route, turns_of};
use longtake_core::state::JobState;
use longtake_core::store::{EvidenceRecord, OpenAttempt, OpenResult, Place, StepCommit, StepResult, Store, StoreError};
use longtake_core::time::{Clock, Timestamp};

use crate::batch::Batcher;
use crate::config::{AccountEntry, Parts};
use crate::metrics::EngineMetrics;
use crate::task::Task;

/// Until when, on the monotonic clock, this incarnation may believe that it owns its work.
#[derive(Debug, Default)]
pub(crate) struct Trust(AtomicU64);

impl Trust {
    pub fn extend(&self, until: Duration) {
        self.0.fetch_max(u64::try_from(until.as_micros()).unwrap_or(u64::MAX), Ordering::SeqCst);
    }

    pub fn holds(&self, now: Duration) -> bool {
        now < Duration::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// The store's clock, as the monotonic one tells it: deadlines are compared with the clock that wrote them, whatever the
/// clock of this machine says.
#[derive(Debug, Default)]
pub(crate) struct StoreTime(AtomicI64);

impl StoreTime {
    /// A slower answer says too little about now.
    const SLOWEST_ANSWER: Duration = Duration::from_millis(500);

    /// Asks for the time; an answer that took long counts only where there is no better yet.
    pub async fn learn(&self, store: &dyn Store, clock: &dyn Clock) -> Result<(), StoreError> {
        let asked_at = clock.monotonic();
        let now = store.now().await?;
        let answered_at = clock.monotonic();
        let took = answered_at.saturating_sub(asked_at);
        if took <= Self::SLOWEST_ANSWER || self.0.load(Ordering::SeqCst) == 0 {
            let local = i64::try_from((asked_at + took / 2).as_micros()).unwrap_or(i64::MAX);
            self.0.store(now.as_micros().saturating_sub(local), Ordering::SeqCst);
        }
        Ok(())
    }

    fn at(&self, monotonic: Duration) -> Timestamp {
        let local = i64::try_from(monotonic.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(self.0.load(Ordering::SeqCst).saturating_add(local))
    }
}

/// Earlier incarnations of this very process whose sends have all ended: they send no more, although the process lives (rule R7c).
#[derive(Debug, Clone, Default)]
pub(crate) struct Fallen(Arc<Mutex<BTreeSet<ExecutorId>>>);

impl Fallen {
    /// Most that are remembered; an older one counts as alive again, which is only slower.
    const MAX_REMEMBERED: usize = 1_024;

    pub fn note(&self, executor: ExecutorId) {
        let mut fallen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        fallen.insert(executor);
        if fallen.len() > Self::MAX_REMEMBERED {
            fallen.pop_first();
        }
    }

    pub fn has(&self, executor: ExecutorId) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(&executor)
    }
}

/// Shared by the steps of one incarnation.
pub(crate) struct Context {
    pub parts: Parts,
    pub executor: ExecutorId,
    pub trust: Trust,
    pub time: Arc<StoreTime>,
    pub fallen: Fallen,
    pub metrics: Arc<EngineMetrics>,
    pub opens: Batcher<OpenAttempt, OpenResult>,
    pub evidence: Batcher<EvidenceRecord, ()>,
    pub steps: Batcher<StepCommit, StepResult>,
}

impl Context {
    /// The time by the store's clock.
    pub fn now(&self) -> Timestamp {
        self.time.at(self.parts.clock.monotonic())
    }

    /// The routes of a job's model. Empty where this process cannot serve it.
    pub fn routes(&self, model: &str) -> &[Route] {
        self.parts.routes.get(model).map_or(&[], Vec::as_slice)
    }

    /// The route of a job's next attempt, as far as it is known what the request itself rules out.
    pub fn next_route(&self, task: &Task, model: &str) -> Option<&Route> {
        turns_of(self.routes(model), task.record.first_attempt, task.record.next_attempt()).nth(task.memory.skipped)
    }

    /// The account of an attempt, if this process drives it.
    pub fn entry(&self, attempt: &Attempt) -> Option<&AccountEntry> {
        self.driven(attempt.account)
    }

    /// An account, if this process drives it.
    pub fn driven(&self, account: AccountId) -> Option<&AccountEntry> {
        self.parts.accounts.get(&account).filter(|entry| entry.drives)
    }

    /// The route an attempt took: as configured, or, where it is configured no more, what the attempt says.
    pub fn route_of(&self, attempt: &Attempt) -> Route {
        let mut routes = self.parts.routes.values().flatten();
        let known = routes.find(|route| route.account == attempt.account && route.model == attempt.model);
        known.cloned().unwrap_or_else(|| Route {
            account: attempt.account,
            model: attempt.model.clone(),
            pool: PoolId::NONE,
            limits: Limits::NONE,
        })
    }

    /// Where work waits when nobody owns it. `queued`: for a submission by its next route.
    pub fn place(&self, task: &Task, queued: bool) -> Place {
        let submits = queued || matches!(task.record.state, JobState::Queued);
        let pool = match (task.attempt(), self.next_route(task, &task.record.model)) {
            (_, Some(route)) if submits && task.late.is_none() => route.pool,
            (Some(attempt), _) => self.route_of(attempt).pool,
            (None, route) => route.map_or(PoolId::NONE, |route| route.pool),
        };
        Place { pool, queued }
    }

    /// The models of an account that routes name.
    pub fn pools(&self, account: AccountId) -> Vec<(PoolId, Limits)> {
        let routes = self.parts.routes.values().flatten().filter(|route| route.account == account);
        let pools: BTreeMap<PoolId, Limits> = routes.map(|route| (route.pool, route.limits)).collect();
        pools.into_iter().collect()
    }

    /// The account whose executors drive this work.
    pub fn account_of(&self, task: &Task) -> Option<AccountId> {
        let submits = task.late.is_none() && matches!(task.record.state, JobState::Queued);
        match (task.attempt(), submits) {
            (Some(attempt), false) => Some(attempt.account),
            _ => self.next_route(task, &task.record.model).map(|route| route.account),
        }
    }

    /// Provider and profile of an attempt.
    pub fn provider(&self, attempt: &Attempt) -> Option<(Arc<dyn Provider>, ProviderProfile)> {
        let entry = self.entry(attempt)?;
        Some((Arc::clone(&entry.provider), entry.provider.profile(attempt.account).clone()))
    }

    /// Profile of the attempt this work is about.
    pub fn provider_profile(&self, task: &Task) -> Option<ProviderProfile> {
        self.provider(task.attempt()?).map(|(_, profile)| profile)
    }

    /// Runs a call within a time; `None` when it took longer.
    pub async fn within<T>(&self, limit: Duration, call: impl Future<Output = T>) -> Option<T> {
        let late = self.parts.clock.sleep(limit);
        tokio::select! {
            biased;
            answer = call => Some(answer),
            () = late => None,
        }
    }
}
