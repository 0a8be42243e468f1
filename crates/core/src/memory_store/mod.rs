//! The store contract over plain maps: the executable specification the other stores are compared with.
//!
//! One mutex is the transaction, so every call is atomic and in order; a call loads, applies and saves, like every
//! store. What it holds can be looked at, copied ([`MemoryStore::fork`]) and audited ([`MemoryStore::audit`]).
//! Absent: durability, failures. Deterministic: ordered maps only, no time but the injected clock.

mod acquire;
mod audit;
mod commands;
mod content;
mod decisions;
mod expire;
mod feed;
mod ownership;
mod reads;
mod webhooks;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

pub use audit::evidence_rank;
pub use content::{Orphan, WorkRow};

use crate::artifact::{Artifact, ArtifactKey};
use crate::attempt::Attempt;
use crate::event::JobEvent;
use crate::feed::{FeedCursor, FeedEvent, FeedPage, Tail};
use crate::id::{AccountId, AttemptNo, ExecutorId, Fence, JobId, PoolId, ProjectId, ProviderJobId};
use crate::record::Record;
use crate::request::VideoRequest;
use crate::retention::{Expired, Retention};
use crate::store::{
    ApiKey, Beat, Claim, CommandResult, CommitListener, CreateResult, EvidenceRecord, ExecutorInfo, ExecutorRow, Job,
    ListFilter, NewJob, OpenAttempt, OpenResult, Page, Release, Resolution, StepCommit, StepResult, Store, StoreError,
    StoreStats, Timeline, Wanted, WorkKey,
};
use crate::time::{Clock, Timestamp};
use content::Content;

/// Rows in memory. See the module.
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    content: Mutex<Content>,
    listeners: Mutex<Vec<CommitListener>>,
}

impl MemoryStore {
    /// An empty store that asks this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, content: Mutex::new(Content::new()), listeners: Mutex::new(Vec::new()) }
    }

    /// A copy of everything it holds; without the listeners.
    pub fn fork(&self) -> Self {
        Self {
            clock: self.clock.clone(),
            content: Mutex::new(self.content().clone()),
            listeners: Mutex::new(Vec::new()),
        }
    }

    /// Goes back to what `copy` holds, as after the loss of the newest commits. Listeners stay and are not told.
    pub fn restore(&self, copy: &Self) {
        let copied = copy.content().clone();
        *self.content() = copied;
    }

    /// From now on the process behind this incarnation provably sends no more (rule R7c).
    pub fn mark_process_dead(&self, executor: ExecutorId) {
        let now = self.clock.now();
        if let Some(row) = self.content().executors.get_mut(&executor) {
            row.process_dead_at.get_or_insert(now);
        }
    }

    /// Checks the invariants that the rows alone can show (I1, I2, I5, I6, I8, I10, I11), over all of them.
    ///
    /// # Errors
    /// The first violation, in words.
    pub fn audit(&self) -> Result<(), String> {
        audit::audit(&self.content())
    }

    /// Every job, hidden ones too.
    pub fn records(&self) -> Vec<Record> {
        let content = self.content();
        content.jobs.keys().filter_map(|job| content.record(*job)).collect()
    }

    /// Every attempt.
    pub fn attempts(&self) -> Vec<(JobId, Attempt)> {
        self.content().attempts.iter().map(|((job, _), attempt)| (*job, attempt.clone())).collect()
    }

    /// Every provider job nobody accounts for.
    pub fn orphans(&self) -> Vec<Orphan> {
        self.content().orphans.clone()
    }

    /// Every work row.
    pub fn work(&self) -> Vec<(WorkKey, WorkRow)> {
        self.content().work.iter().map(|(key, row)| (*key, row.clone())).collect()
    }

    /// Every event, by job and number.
    pub fn events(&self) -> Vec<JobEvent> {
        self.content().events.values().flatten().cloned().collect()
    }

    /// Every stored output.
    pub fn artifacts(&self) -> Vec<(JobId, Artifact)> {
        self.content().artifacts.iter().map(|((job, ..), artifact)| (*job, artifact.clone())).collect()
    }

    /// Whether a job was hidden by its client.
    pub fn is_hidden(&self, job: JobId) -> bool {
        self.content().jobs.get(&job).is_some_and(|row| row.hidden)
    }

    fn content(&self) -> MutexGuard<'_, Content> {
        self.content.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One transaction. Listeners are told after it, without the lock.
    fn commit<T>(&self, change: impl FnOnce(&mut Content, Timestamp) -> T) -> T {
        let (answer, news) = {
            let mut content = self.content();
            let answer = change(&mut content, self.clock.now());
            (answer, std::mem::take(&mut content.news))
        };
        if news.woken || !news.events.is_empty() {
            let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
            listeners.iter().for_each(|listener| listener(&news.events, news.woken));
        }
        answer
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn create(&self, jobs: Vec<NewJob>) -> Result<Vec<CreateResult>, StoreError> {
        Ok(self.commit(|content, now| jobs.into_iter().map(|job| content.create(job, now)).collect()))
    }

    async fn find_idempotent(&self, project: ProjectId, key: &str) -> Result<Option<([u8; 32], JobId)>, StoreError> {
        Ok(self.content().idempotency.get(&(project, key.into())).copied())
    }

    async fn register_executor(&self, info: ExecutorInfo) -> Result<ExecutorId, StoreError> {
        Ok(self.commit(|content, now| content.register_executor(info, now)))
    }

    async fn acquire(&self, executor: ExecutorId, wanted: &Wanted) -> Result<Vec<Claim>, StoreError> {
        Ok(self.commit(|content, now| content.acquire(executor, wanted, now)))
    }

    async fn owned(&self, executor: ExecutorId) -> Result<Vec<(WorkKey, Fence)>, StoreError> {
        Ok(self.content().owned(executor))
    }

    async fn claims(&self, executor: ExecutorId, works: Vec<WorkKey>) -> Result<Vec<Claim>, StoreError> {
        Ok(self.content().claims(executor, &works))
    }

    async fn woken(&self, executor: ExecutorId, limit: usize) -> Result<Vec<Claim>, StoreError> {
        Ok(self.commit(|content, now| content.woken(executor, limit, now)))
    }

    async fn open_attempts(
        &self,
        executor: ExecutorId,
        intents: Vec<OpenAttempt>,
    ) -> Result<Vec<OpenResult>, StoreError> {
        Ok(self.commit(|content, now| {
            intents.into_iter().map(|intent| content.open_attempt(executor, intent, now)).collect()
        }))
    }

    async fn record_evidence(&self, evidence: Vec<EvidenceRecord>) -> Result<(), StoreError> {
        self.commit(|content, now| evidence.into_iter().for_each(|item| content.record_evidence(item, now)));
        Ok(())
    }

    async fn step(&self, executor: ExecutorId, commits: Vec<StepCommit>) -> Result<Vec<StepResult>, StoreError> {
        Ok(self.commit(|content, now| commits.into_iter().map(|item| content.step(executor, item, now)).collect()))
    }

    async fn release(&self, executor: ExecutorId, rows: Vec<Release>) -> Result<(), StoreError> {
        self.commit(|content, _| rows.iter().for_each(|row| content.release(executor, row)));
        Ok(())
    }

    async fn beat(&self, executor: ExecutorId, load: Vec<(AccountId, u32)>) -> Result<Beat, StoreError> {
        Ok(self.commit(|content, now| content.beat(executor, load, now)))
    }

    async fn reap(&self, limit: usize) -> Result<usize, StoreError> {
        Ok(self.commit(|content, now| content.reap(limit, now)))
    }

    async fn sender_is_dead(&self, executor: ExecutorId) -> Result<bool, StoreError> {
        Ok(self.content().sender_is_dead(executor))
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.clock.now())
    }

    async fn quarantine(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.content().quarantine)
    }

    async fn set_quarantine(&self) -> Result<Timestamp, StoreError> {
        Ok(self.commit(|content, now| *content.quarantine.insert(now)))
    }

    async fn agree(&self, name: &'static str, value: &str) -> Result<bool, StoreError> {
        Ok(self.commit(|content, _| *content.agreed.entry(name).or_insert_with(|| value.into()) == value.into()))
    }

    async fn executors(&self, limit: usize) -> Result<Vec<ExecutorRow>, StoreError> {
        Ok(self.content().executors(limit))
    }

    async fn confirm_dead(&self, executor: ExecutorId) -> Result<bool, StoreError> {
        Ok(self.commit(|content, now| content.confirm_dead(executor, now)))
    }

    async fn claimed(&self, account: AccountId, provider_jobs: Vec<ProviderJobId>) -> Result<Vec<bool>, StoreError> {
        let content = self.content();
        Ok(provider_jobs.iter().map(|provider_job| content.is_claimed(account, provider_job, None)).collect())
    }

    async fn in_flight(&self, account: AccountId) -> Result<u32, StoreError> {
        Ok(self.content().in_flight(account))
    }

    async fn in_doubt(&self, account: AccountId, since: Timestamp) -> Result<u32, StoreError> {
        Ok(self.content().in_doubt(account, since))
    }

    async fn request_cancel(&self, project: ProjectId, job: JobId) -> Result<CommandResult, StoreError> {
        Ok(self.commit(|content, now| content.request_cancel(project, job, now)))
    }

    async fn resolve_held(
        &self,
        project: ProjectId,
        job: JobId,
        resolution: Resolution,
        by: Arc<str>,
    ) -> Result<CommandResult, StoreError> {
        Ok(self.commit(|content, now| content.resolve_held(project, job, resolution, by, now)))
    }

    async fn retry(
        &self,
        project: ProjectId,
        job: JobId,
        by: Arc<str>,
        pool: PoolId,
    ) -> Result<CommandResult, StoreError> {
        Ok(self.commit(|content, now| content.retry(project, job, by, pool, now)))
    }

    async fn hide(&self, project: ProjectId, job: JobId) -> Result<(CommandResult, Vec<ArtifactKey>), StoreError> {
        Ok(self.commit(|content, _| content.hide(project, job)))
    }

    async fn get(&self, project: ProjectId, job: JobId) -> Result<Option<Job>, StoreError> {
        Ok(self.content().visible(project, job))
    }

    async fn request(&self, job: JobId) -> Result<Option<Arc<VideoRequest>>, StoreError> {
        Ok(self.content().jobs.get(&job).map(|row| row.request.clone()))
    }

    async fn list(&self, project: ProjectId, filter: ListFilter) -> Result<Option<Page>, StoreError> {
        Ok(self.content().list(project, &filter))
    }

    async fn events_after(&self, job: JobId, ver: u32, limit: usize) -> Result<Vec<JobEvent>, StoreError> {
        Ok(self.content().events_after(job, ver, limit))
    }

    async fn feed(
        &self,
        project: Option<ProjectId>,
        after: Option<FeedCursor>,
        limit: usize,
    ) -> Result<FeedPage, StoreError> {
        self.content().feed_page(project, after, limit)
    }

    async fn tail(&self, after: Option<Tail>) -> Result<(Vec<FeedEvent>, Tail), StoreError> {
        self.content().tail_after(after.as_ref())
    }

    async fn timeline(&self, project: ProjectId, job: JobId) -> Result<Option<Timeline>, StoreError> {
        Ok(self.content().timeline(project, job))
    }

    async fn durations(&self, model: &str, limit: usize) -> Result<Vec<Duration>, StoreError> {
        Ok(self.content().durations(model, limit))
    }

    async fn referenced(&self, keys: Vec<ArtifactKey>) -> Result<Vec<bool>, StoreError> {
        Ok(self.content().referenced(&keys))
    }

    async fn expire(&self, policy: &Retention, limit: usize) -> Result<Expired, StoreError> {
        Ok(self.commit(|content, now| content.expire(policy, limit, now)))
    }

    async fn register_accounts(&self, accounts: Vec<(String, String)>) -> Result<Vec<AccountId>, StoreError> {
        Ok(self.commit(|content, _| accounts.into_iter().map(|account| content.account(account)).collect()))
    }

    async fn register_pools(&self, pools: Vec<(AccountId, Arc<str>)>) -> Result<Vec<PoolId>, StoreError> {
        Ok(self.commit(|content, _| pools.into_iter().map(|(account, model)| content.pool(account, model)).collect()))
    }

    async fn project(&self, name: &str) -> Result<ProjectId, StoreError> {
        Ok(self.commit(|content, _| content.project(name)))
    }

    async fn create_key(&self, key: ApiKey) -> Result<ApiKey, StoreError> {
        Ok(self.commit(|content, _| content.create_key(key)))
    }

    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        Ok(self.content().keys.values().take(reads::MAX_KEYS).cloned().collect())
    }

    async fn revoke_key(&self, id: i64) -> Result<bool, StoreError> {
        Ok(self.commit(|content, now| content.revoke_key(id, now)))
    }

    async fn find_key(&self, hash: [u8; 32]) -> Result<Option<ApiKey>, StoreError> {
        let content = self.content();
        Ok(content.keys.values().find(|key| key.hash == hash && key.revoked_at.is_none()).cloned())
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        Ok(self.content().stats(self.clock.now()))
    }

    fn on_commit(&self, listener: CommitListener) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(listener);
    }

    async fn ready(&self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// The range of all attempts of a job.
fn attempts_of(job: JobId) -> std::ops::RangeInclusive<(JobId, AttemptNo)> {
    (job, AttemptNo(0))..=(job, AttemptNo(u16::MAX))
}
