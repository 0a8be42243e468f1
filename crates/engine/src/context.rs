//! What every step of one incarnation works with: the seams, the batches, and how long its ownership can be trusted.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longtake_core::attempt::Attempt;
use longtake_core::id::ExecutorId;
use longtake_core::provider::{Provider, ProviderProfile};
use longtake_core::route::{Route, route_of};
use longtake_core::store::{EvidenceRecord, OpenAttempt, OpenResult, StepCommit, StepResult};
use longtake_core::time::Timestamp;

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
    pub fallen: Fallen,
    pub metrics: Arc<EngineMetrics>,
    pub opens: Batcher<OpenAttempt, OpenResult>,
    pub evidence: Batcher<EvidenceRecord, ()>,
    pub steps: Batcher<StepCommit, StepResult>,
}

impl Context {
    pub fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    /// The routes of a job's model. Empty where this process cannot serve it.
    pub fn routes(&self, model: &str) -> &[Route] {
        self.parts.routes.get(model).map_or(&[], Vec::as_slice)
    }

    /// The route of a job's next attempt.
    pub fn next_route(&self, task: &Task, model: &str) -> Option<&Route> {
        route_of(self.routes(model), task.record.first_attempt, task.record.next_attempt())
    }

    /// The account of an attempt, if this process drives it.
    pub fn entry(&self, attempt: &Attempt) -> Option<&AccountEntry> {
        self.parts.accounts.get(&attempt.account)
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
