//! Rows in PostgreSQL, for many machines: the whole store contract over one database.
//!
//! A call is one transaction: it locks and loads what it concerns in one round trip (`load`), lets longtake-core's rules
//! change it in memory (`picture`), and saves what differs together with the COMMIT in a second one (`saves`).
//! Executors beat, and who is silent for longer than its ttl is given up; only `process` and people prove that one sends no
//! more. Times are the database's. Absent: the data directory and its lock.

mod acquire;
mod commands;
mod connect;
mod create;
mod decisions;
mod expire;
mod feed;
mod hint;
mod history;
pub mod inspect;
mod job_deliveries;
mod limits;
mod listen;
mod load;
mod migrate;
mod names;
mod open;
mod ownership;
mod partitions;
mod picture;
mod pool;
mod process;
mod quarantine;
mod reads;
mod saves;
mod session;
mod sql;
mod tls;
mod webhooks;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use longtake_core::artifact::ArtifactKey;
use longtake_core::event::JobEvent;
use longtake_core::feed::{FeedCursor, FeedEvent, FeedPage, Tail};
use longtake_core::id::{AccountId, ExecutorId, Fence, JobId, PoolId, ProjectId, ProviderJobId, Random};
use longtake_core::request::VideoRequest;
use longtake_core::retention::{Expired, Retention};
use longtake_core::store::{
    ApiKey, Beat, Claim, CommandResult, CommitListener, CreateResult, EvidenceRecord, ExecutorInfo, ExecutorRow, Job,
    ListFilter, NewJob, OpenAttempt, OpenResult, Page, ProcessInfo, Release, Resolution, StepCommit, StepResult, Store,
    StoreError, StoreStats, Timeline, Wanted, WorkKey,
};
use longtake_core::time::{Clock, Timestamp};

use create::Draft;
use picture::News;
use pool::Pool;
use session::{Failure, Session, repeated};

/// The store contract over one PostgreSQL database. See the module.
pub struct PostgresStore {
    pool: Arc<Pool>,
    random: Arc<dyn Random>,
    listeners: Arc<Mutex<Vec<CommitListener>>>,
    /// Times are of this clock instead of the database's. Tests turn it by hand.
    injected: Option<Arc<dyn Clock>>,
    /// The process that this store runs in, as its executors told.
    here: Mutex<Option<ProcessInfo>>,
    /// The name of this database's history, in cursors of the feed.
    epoch: u64,
    hints: Option<hint::Hints>,
    /// Jobs completed since the durations were trimmed.
    completed: AtomicU64,
    tasks: open::Tasks,
}

impl PostgresStore {
    /// A connection with statements prepared.
    async fn session(&self, queries: &[&[&'static str]]) -> Result<Session, Failure> {
        Session::new(self.pool.lease().await?, &queries.concat()).await
    }

    /// The time of a call as it is bound: null is the database's own.
    fn bound_now(&self) -> Option<i64> {
        self.injected.as_ref().map(|clock| clock.now().as_micros())
    }

    fn remember_process(&self, process: &ProcessInfo) {
        *self.here.lock().unwrap_or_else(PoisonError::into_inner) = Some(process.clone());
    }

    fn process(&self) -> Option<ProcessInfo> {
        self.here.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells what was committed: this process at once, the others by a hint that they may look.
    fn tell(&self, news: &News) {
        if news.woken || !news.events.is_empty() {
            let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
            listeners.iter().for_each(|listener| listener(&news.events, news.woken));
        }
        if news.woken
            && let Some(hints) = &self.hints
        {
            hints.send();
        }
        if news.finished && self.completed.fetch_add(1, Ordering::Relaxed).is_multiple_of(partitions::TRIM_EVERY) {
            self.tasks.trim();
        }
    }

    fn told<T>(&self, answer: Result<(T, News), Failure>) -> Result<T, StoreError> {
        let (answer, news) = answer?;
        self.tell(&news);
        Ok(answer)
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn create(&self, jobs: Vec<NewJob>) -> Result<Vec<CreateResult>, StoreError> {
        let drafts = jobs.into_iter().map(Draft::new).collect::<Result<Vec<_>, _>>().map_err(Failure::from)?;
        let (answers, news) = self.create_all(&drafts).await.map_err(Failure::of_create)?;
        self.tell(&news);
        Ok(answers)
    }

    async fn find_idempotent(&self, project: ProjectId, key: &str) -> Result<Option<([u8; 32], JobId)>, StoreError> {
        Ok(repeated!(self, self.try_find_idempotent(project, key))?)
    }

    async fn register_executor(&self, info: ExecutorInfo) -> Result<ExecutorId, StoreError> {
        Ok(repeated!(self, self.try_register(&info))?)
    }

    async fn acquire(&self, executor: ExecutorId, wanted: &Wanted) -> Result<Vec<Claim>, StoreError> {
        Ok(repeated!(self, self.try_acquire(executor, wanted))?)
    }

    async fn owned(&self, executor: ExecutorId) -> Result<Vec<(WorkKey, Fence)>, StoreError> {
        Ok(repeated!(self, self.try_owned(executor))?)
    }

    async fn claims(&self, executor: ExecutorId, works: Vec<WorkKey>) -> Result<Vec<Claim>, StoreError> {
        Ok(repeated!(self, self.try_claims(executor, &works))?)
    }

    async fn woken(&self, executor: ExecutorId, limit: usize) -> Result<Vec<Claim>, StoreError> {
        Ok(repeated!(self, self.try_woken(executor, limit))?)
    }

    async fn open_attempts(
        &self,
        executor: ExecutorId,
        intents: Vec<OpenAttempt>,
    ) -> Result<Vec<OpenResult>, StoreError> {
        let opened = repeated!(self, self.try_open(executor, &intents));
        self.told(opened)
    }

    async fn record_evidence(&self, evidence: Vec<EvidenceRecord>) -> Result<(), StoreError> {
        let recorded = repeated!(self, self.try_evidence(&evidence));
        self.told(recorded)
    }

    async fn step(&self, executor: ExecutorId, commits: Vec<StepCommit>) -> Result<Vec<StepResult>, StoreError> {
        let stepped = repeated!(self, self.try_step(executor, &commits));
        self.told(stepped)
    }

    async fn release(&self, executor: ExecutorId, rows: Vec<Release>) -> Result<(), StoreError> {
        let woken = repeated!(self, self.try_release(executor, &rows))?;
        self.tell(&News { woken, ..News::default() });
        Ok(())
    }

    async fn beat(&self, executor: ExecutorId, load: Vec<(AccountId, u32)>) -> Result<Beat, StoreError> {
        Ok(repeated!(self, self.try_beat(executor, &load))?)
    }

    async fn reap(&self, limit: usize) -> Result<usize, StoreError> {
        let (rows, woken) = repeated!(self, self.try_reap(limit))?;
        if woken {
            let listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner).clone();
            listeners.iter().for_each(|listener| listener(&[], true));
        }
        Ok(rows)
    }

    async fn sender_is_dead(&self, executor: ExecutorId) -> Result<bool, StoreError> {
        Ok(repeated!(self, self.try_sender_is_dead(executor))?)
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(repeated!(self, self.try_now())?)
    }

    async fn quarantine(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(repeated!(self, self.try_quarantine())?)
    }

    async fn set_quarantine(&self) -> Result<Timestamp, StoreError> {
        Ok(repeated!(self, self.try_set_quarantine())?)
    }

    async fn agree(&self, name: &'static str, value: &str) -> Result<bool, StoreError> {
        Ok(repeated!(self, self.try_agree(name, value))?)
    }

    async fn executors(&self, limit: usize) -> Result<Vec<ExecutorRow>, StoreError> {
        Ok(repeated!(self, self.try_executors(limit))?)
    }

    async fn confirm_dead(&self, executor: ExecutorId) -> Result<bool, StoreError> {
        Ok(repeated!(self, self.try_confirm_dead(executor))?)
    }

    async fn claimed(&self, account: AccountId, provider_jobs: Vec<ProviderJobId>) -> Result<Vec<bool>, StoreError> {
        Ok(repeated!(self, self.try_claimed(account, &provider_jobs))?)
    }

    async fn in_flight(&self, account: AccountId) -> Result<u32, StoreError> {
        Ok(repeated!(self, self.try_in_flight(account))?)
    }

    async fn in_doubt(&self, account: AccountId, since: Timestamp) -> Result<u32, StoreError> {
        Ok(repeated!(self, self.try_in_doubt(account, since))?)
    }

    async fn request_cancel(&self, project: ProjectId, job: JobId) -> Result<CommandResult, StoreError> {
        let done = repeated!(self, self.try_cancel(project, job));
        self.told(done)
    }

    async fn resolve_held(
        &self,
        project: ProjectId,
        job: JobId,
        resolution: Resolution,
        by: Arc<str>,
    ) -> Result<CommandResult, StoreError> {
        let done = repeated!(self, self.try_resolve(project, job, &resolution, &by));
        self.told(done)
    }

    async fn retry(
        &self,
        project: ProjectId,
        job: JobId,
        by: Arc<str>,
        pool: PoolId,
    ) -> Result<CommandResult, StoreError> {
        let done = repeated!(self, self.try_retry(project, job, &by, pool));
        self.told(done)
    }

    async fn hide(&self, project: ProjectId, job: JobId) -> Result<(CommandResult, Vec<ArtifactKey>), StoreError> {
        let (answer, keys, news) = repeated!(self, self.try_hide(project, job))?;
        self.tell(&news);
        Ok((answer, keys))
    }

    async fn get(&self, project: ProjectId, job: JobId) -> Result<Option<Job>, StoreError> {
        Ok(repeated!(self, self.try_get(project, job))?)
    }

    async fn request(&self, job: JobId) -> Result<Option<Arc<VideoRequest>>, StoreError> {
        Ok(repeated!(self, self.try_request(job))?)
    }

    async fn list(&self, project: ProjectId, filter: ListFilter) -> Result<Option<Page>, StoreError> {
        Ok(repeated!(self, self.try_list(project, &filter))?)
    }

    async fn events_after(&self, job: JobId, ver: u32, limit: usize) -> Result<Vec<JobEvent>, StoreError> {
        Ok(repeated!(self, self.try_events_after(job, ver, limit))?)
    }

    async fn feed(
        &self,
        project: Option<ProjectId>,
        after: Option<FeedCursor>,
        limit: usize,
    ) -> Result<FeedPage, StoreError> {
        repeated!(self, self.try_feed(project, after, limit))?
    }

    async fn tail(&self, after: Option<Tail>) -> Result<(Vec<FeedEvent>, Tail), StoreError> {
        repeated!(self, self.try_tail(after.as_ref()))?.ok_or(StoreError::Cursor)
    }

    fn tail_interval(&self) -> Option<Duration> {
        Some(feed::TAIL_INTERVAL)
    }

    async fn timeline(&self, project: ProjectId, job: JobId) -> Result<Option<Timeline>, StoreError> {
        Ok(repeated!(self, self.try_timeline(project, job))?)
    }

    async fn durations(&self, model: &str, limit: usize) -> Result<Vec<Duration>, StoreError> {
        Ok(repeated!(self, self.try_durations(model, limit))?)
    }

    async fn referenced(&self, keys: Vec<ArtifactKey>) -> Result<Vec<bool>, StoreError> {
        Ok(repeated!(self, self.try_referenced(&keys))?)
    }

    async fn expire(&self, policy: &Retention, limit: usize) -> Result<Expired, StoreError> {
        Ok(repeated!(self, self.try_expire(policy, limit))?)
    }

    async fn register_accounts(&self, accounts: Vec<(String, String)>) -> Result<Vec<AccountId>, StoreError> {
        Ok(repeated!(self, self.try_accounts(&accounts))?)
    }

    async fn register_pools(&self, pools: Vec<(AccountId, Arc<str>)>) -> Result<Vec<PoolId>, StoreError> {
        Ok(repeated!(self, self.try_pools(&pools))?)
    }

    async fn project(&self, name: &str) -> Result<ProjectId, StoreError> {
        Ok(repeated!(self, self.try_project(name))?)
    }

    async fn create_key(&self, key: ApiKey) -> Result<ApiKey, StoreError> {
        Ok(repeated!(self, self.try_create_key(&key))?)
    }

    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        Ok(repeated!(self, self.try_keys())?)
    }

    async fn revoke_key(&self, id: i64) -> Result<bool, StoreError> {
        Ok(repeated!(self, self.try_revoke_key(id))?)
    }

    async fn find_key(&self, hash: [u8; 32]) -> Result<Option<ApiKey>, StoreError> {
        Ok(repeated!(self, self.try_find_key(&hash))?)
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        Ok(repeated!(self, self.try_stats())?)
    }

    fn on_commit(&self, listener: CommitListener) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(listener);
    }

    /// A round through the database, which must take writes.
    async fn ready(&self) -> Result<(), StoreError> {
        Ok(self.try_ready().await?)
    }
}
