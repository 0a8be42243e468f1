//! Rows in SQLite, for one process: the whole store contract over one file.
//!
//! `writer` owns the only connection that writes; `readers` answer point reads beside it; an operation (`change`
//! and its verbs) loads, applies longtake-core's rules and saves. The exclusive lock on the data directory is the proof
//! that executors of earlier processes send no more, so there is nothing to reap and no beat to write.
//! Absent: many processes.

mod acquire;
mod change;
mod checkpoint;
mod commands;
mod decisions;
mod expire;
mod feed;
mod job_deliveries;
mod load;
pub mod open;
mod ownership;
mod readers;
mod reads;
pub(crate) mod room;
mod sql;
mod webhooks;
mod writer;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use longtake_core::artifact::ArtifactKey;
use longtake_core::event::JobEvent;
use longtake_core::feed::{FeedCursor, FeedEvent, FeedPage, Tail};
use longtake_core::id::{AccountId, ExecutorId, Fence, JobId, PoolId, ProjectId, ProviderJobId};
use longtake_core::request::VideoRequest;
use longtake_core::retention::{Expired, Retention};
use longtake_core::store::{
    ApiKey, Beat, Claim, CommandResult, CommitListener, CreateResult, EvidenceRecord, ExecutorInfo, ExecutorRow, Job,
    ListFilter, NewJob, OpenAttempt, OpenResult, Page, Release, Resolution, StepCommit, StepResult, Store, StoreError,
    StoreStats, Timeline, Wanted, WorkKey,
};
use longtake_core::time::{Clock, Timestamp};

use commands::Draft;
use open::connect;
use readers::Readers;
use room::Room;
use writer::{Kind, Writer};

/// The store contract over one SQLite file. See the module.
pub struct SqliteStore {
    writer: Writer,
    readers: Readers,
    room: Room,
    clock: Arc<dyn Clock>,
    listeners: Arc<Mutex<Vec<CommitListener>>>,
    /// The newest executor of earlier processes: it and all before it are dead.
    last_dead: i64,
    /// The newest executor of this process.
    last_alive: AtomicI64,
    /// The last signs of life of executors of this process. Nobody else asks, so they are not written.
    beats: Mutex<BTreeMap<i64, Timestamp>>,
    /// The name of this database's history, in cursors of the feed.
    epoch: u64,
}

impl SqliteStore {
    fn is_ours(&self, executor: ExecutorId) -> bool {
        executor.0 > self.last_dead && executor.0 <= self.last_alive.load(Ordering::SeqCst)
    }

    fn note_beat(&self, executor: ExecutorId) {
        self.beats.lock().unwrap_or_else(PoisonError::into_inner).insert(executor.0, self.clock.now());
    }
}

fn failed(error: rusqlite::Error) -> StoreError {
    StoreError::Failed(error.into())
}

#[async_trait]
impl Store for SqliteStore {
    async fn create(&self, jobs: Vec<NewJob>) -> Result<Vec<CreateResult>, StoreError> {
        self.room.check()?;
        let drafts: Vec<Draft> = jobs.into_iter().map(Draft::new).collect::<Result<_, _>>().map_err(failed)?;
        self.writer.write(Kind::Create, move |change| drafts.iter().map(|draft| change.create(draft)).collect()).await
    }

    async fn find_idempotent(&self, project: ProjectId, key: &str) -> Result<Option<([u8; 32], JobId)>, StoreError> {
        let key = key.to_owned();
        self.readers.read(move |connection| commands::find_idempotent(connection, project, &key)).await
    }

    async fn register_executor(&self, info: ExecutorInfo) -> Result<ExecutorId, StoreError> {
        let executor = self.writer.write(Kind::Other, move |change| change.register_executor(&info)).await?;
        self.last_alive.fetch_max(executor.0, Ordering::SeqCst);
        self.note_beat(executor);
        Ok(executor)
    }

    async fn acquire(&self, executor: ExecutorId, wanted: &Wanted) -> Result<Vec<Claim>, StoreError> {
        if !self.is_ours(executor) {
            return Ok(Vec::new());
        }
        // Asked often and mostly in vain: that must not cost the writer a transaction.
        let (now, wanted) = (self.clock.now(), Arc::new(wanted.clone()));
        let look = Arc::clone(&wanted);
        if !self.readers.read(move |connection| acquire::is_any(connection, &look, now)).await? {
            return Ok(Vec::new());
        }
        self.writer.write(Kind::Other, move |change| change.acquire(executor, &wanted)).await
    }

    async fn owned(&self, executor: ExecutorId) -> Result<Vec<(WorkKey, Fence)>, StoreError> {
        self.readers.read(move |connection| reads::owned(connection, executor)).await
    }

    async fn claims(&self, executor: ExecutorId, works: Vec<WorkKey>) -> Result<Vec<Claim>, StoreError> {
        let read = move |connection: &rusqlite::Connection| {
            let claims = works.into_iter().map(|work| load::claim(connection, work, executor));
            claims.filter_map(Result::transpose).collect()
        };
        self.readers.read(read).await
    }

    async fn woken(&self, executor: ExecutorId, limit: usize) -> Result<Vec<Claim>, StoreError> {
        let now = self.clock.now();
        // Asked often and mostly in vain: that must not cost the writer a transaction.
        if !self.readers.read(move |connection| reads::is_woken(connection, executor, now)).await? {
            return Ok(Vec::new());
        }
        self.writer.write(Kind::Other, move |change| change.woken(executor, limit)).await
    }

    async fn open_attempts(
        &self,
        executor: ExecutorId,
        intents: Vec<OpenAttempt>,
    ) -> Result<Vec<OpenResult>, StoreError> {
        self.writer.write(Kind::Open, move |change| change.open_attempts(executor, intents)).await
    }

    async fn record_evidence(&self, evidence: Vec<EvidenceRecord>) -> Result<(), StoreError> {
        let record =
            move |change: &mut change::Change<'_>| evidence.iter().try_for_each(|item| change.record_evidence(item));
        self.writer.write(Kind::Evidence, record).await
    }

    async fn step(&self, executor: ExecutorId, commits: Vec<StepCommit>) -> Result<Vec<StepResult>, StoreError> {
        let step = move |change: &mut change::Change<'_>| {
            commits.into_iter().map(|commit| change.step(executor, commit)).collect()
        };
        self.writer.write(Kind::Other, step).await
    }

    async fn release(&self, executor: ExecutorId, rows: Vec<Release>) -> Result<(), StoreError> {
        let release =
            move |change: &mut change::Change<'_>| rows.iter().try_for_each(|row| change.release(executor, row));
        self.writer.write(Kind::Other, release).await
    }

    /// Writes nothing, and nothing is to be shared: there is no other process.
    async fn beat(&self, executor: ExecutorId, _load: Vec<(AccountId, u32)>) -> Result<Beat, StoreError> {
        if !self.is_ours(executor) {
            return Ok(Beat::Dead);
        }
        self.note_beat(executor);
        Ok(Beat::Alive(Vec::new()))
    }

    /// Nothing: what dead processes owned was taken when this one opened the database.
    async fn reap(&self, _limit: usize) -> Result<usize, StoreError> {
        Ok(0)
    }

    /// The lock on the data directory is the proof for every executor of an earlier process, known or lost.
    async fn sender_is_dead(&self, executor: ExecutorId) -> Result<bool, StoreError> {
        Ok(executor.0 <= self.last_dead)
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        Ok(self.clock.now())
    }

    async fn quarantine(&self) -> Result<Option<Timestamp>, StoreError> {
        self.readers.read(load::quarantine).await
    }

    async fn set_quarantine(&self) -> Result<Timestamp, StoreError> {
        self.writer.write(Kind::Other, |change| change.set_quarantine()).await
    }

    async fn agree(&self, name: &'static str, value: &str) -> Result<bool, StoreError> {
        let value = value.to_owned();
        self.writer.write(Kind::Other, move |change| change.agree(name, &value)).await
    }

    async fn executors(&self, limit: usize) -> Result<Vec<ExecutorRow>, StoreError> {
        let beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.readers.read(move |connection| reads::executors(connection, limit, &beats)).await
    }

    /// What a person could confirm, the lock proves already.
    async fn confirm_dead(&self, executor: ExecutorId) -> Result<bool, StoreError> {
        let known = self.readers.read(move |connection| reads::is_known(connection, executor)).await?;
        Ok(known && executor.0 <= self.last_dead)
    }

    async fn claimed(&self, account: AccountId, provider_jobs: Vec<ProviderJobId>) -> Result<Vec<bool>, StoreError> {
        let read = move |connection: &rusqlite::Connection| {
            provider_jobs.iter().map(|job| load::is_claimed(connection, account, job, None)).collect()
        };
        self.readers.read(read).await
    }

    async fn in_flight(&self, account: AccountId) -> Result<u32, StoreError> {
        self.readers.read(move |connection| load::in_flight(connection, account, u32::MAX)).await
    }

    async fn in_doubt(&self, account: AccountId, since: Timestamp) -> Result<u32, StoreError> {
        self.readers.read(move |connection| load::in_doubt(connection, account, since)).await
    }

    async fn request_cancel(&self, project: ProjectId, job: JobId) -> Result<CommandResult, StoreError> {
        self.writer.write(Kind::Other, move |change| change.request_cancel(project, job)).await
    }

    async fn resolve_held(
        &self,
        project: ProjectId,
        job: JobId,
        resolution: Resolution,
        by: Arc<str>,
    ) -> Result<CommandResult, StoreError> {
        self.writer.write(Kind::Other, move |change| change.resolve_held(project, job, resolution, by)).await
    }

    async fn retry(
        &self,
        project: ProjectId,
        job: JobId,
        by: Arc<str>,
        pool: PoolId,
    ) -> Result<CommandResult, StoreError> {
        self.writer.write(Kind::Other, move |change| change.retry(project, job, by, pool)).await
    }

    async fn hide(&self, project: ProjectId, job: JobId) -> Result<(CommandResult, Vec<ArtifactKey>), StoreError> {
        self.writer.write(Kind::Other, move |change| change.hide(project, job)).await
    }

    async fn get(&self, project: ProjectId, job: JobId) -> Result<Option<Job>, StoreError> {
        self.readers.read(move |connection| load::visible(connection, project, job)).await
    }

    async fn request(&self, job: JobId) -> Result<Option<Arc<VideoRequest>>, StoreError> {
        self.readers.read(move |connection| load::request(connection, job)).await
    }

    async fn list(&self, project: ProjectId, filter: ListFilter) -> Result<Option<Page>, StoreError> {
        self.readers.read(move |connection| reads::list(connection, project, &filter)).await
    }

    async fn events_after(&self, job: JobId, ver: u32, limit: usize) -> Result<Vec<JobEvent>, StoreError> {
        self.readers.read(move |connection| reads::events_after(connection, job, ver, limit)).await
    }

    async fn feed(
        &self,
        project: Option<ProjectId>,
        after: Option<FeedCursor>,
        limit: usize,
    ) -> Result<FeedPage, StoreError> {
        let epoch = self.epoch;
        self.readers.read(move |connection| feed::feed(connection, epoch, project, after, limit)).await?
    }

    async fn tail(&self, after: Option<Tail>) -> Result<(Vec<FeedEvent>, Tail), StoreError> {
        let epoch = self.epoch;
        let told = self.readers.read(move |connection| feed::tail(connection, epoch, after.as_ref())).await?;
        told.ok_or(StoreError::Cursor)
    }

    async fn timeline(&self, project: ProjectId, job: JobId) -> Result<Option<Timeline>, StoreError> {
        self.readers.read(move |connection| reads::timeline(connection, project, job)).await
    }

    async fn durations(&self, model: &str, limit: usize) -> Result<Vec<Duration>, StoreError> {
        let model = model.to_owned();
        self.readers.read(move |connection| reads::durations(connection, &model, limit)).await
    }

    async fn referenced(&self, keys: Vec<ArtifactKey>) -> Result<Vec<bool>, StoreError> {
        self.readers.read(move |connection| reads::referenced(connection, &keys)).await
    }

    async fn expire(&self, policy: &Retention, limit: usize) -> Result<Expired, StoreError> {
        let policy = policy.clone();
        self.writer.write(Kind::Other, move |change| change.expire(&policy, limit)).await
    }

    async fn register_accounts(&self, accounts: Vec<(String, String)>) -> Result<Vec<AccountId>, StoreError> {
        let register = move |change: &mut change::Change<'_>| {
            accounts.iter().map(|(name, provider)| change.account(name, provider)).collect()
        };
        self.writer.write(Kind::Other, register).await
    }

    async fn register_pools(&self, pools: Vec<(AccountId, Arc<str>)>) -> Result<Vec<PoolId>, StoreError> {
        self.writer.write(Kind::Other, move |change| change.pools(&pools)).await
    }

    async fn project(&self, name: &str) -> Result<ProjectId, StoreError> {
        let name = name.to_owned();
        self.writer.write(Kind::Other, move |change| change.project(&name)).await
    }

    async fn create_key(&self, key: ApiKey) -> Result<ApiKey, StoreError> {
        self.writer.write(Kind::Other, move |change| change.create_key(key)).await
    }

    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        self.readers.read(reads::keys).await
    }

    async fn revoke_key(&self, id: i64) -> Result<bool, StoreError> {
        self.writer.write(Kind::Other, move |change| change.revoke_key(id)).await
    }

    async fn find_key(&self, hash: [u8; 32]) -> Result<Option<ApiKey>, StoreError> {
        self.readers.read(move |connection| reads::find_key(connection, &hash)).await
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        let now = self.clock.now();
        let beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.readers.read(move |connection| reads::stats(connection, now, &beats)).await
    }

    fn on_commit(&self, listener: CommitListener) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(listener);
    }

    /// A round through the writer, and room for creates.
    async fn ready(&self) -> Result<(), StoreError> {
        self.room.check()?;
        self.writer.write(Kind::Other, |_| Ok(())).await
    }
}
