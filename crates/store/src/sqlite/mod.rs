//! Rows in SQLite, for one process: the whole store contract over one file.
//!
//! `writer` owns the only connection that writes; `readers` answer point reads beside it; an operation (`change`
//! and its verbs) loads, applies longtake-core's rules and saves. The exclusive lock on the data directory is the proof
//! that executors of earlier processes send no more, so there is nothing to reap and no beat to write.
//! Absent: many processes, webhooks, retention.

mod change;
mod checkpoint;
mod commands;
mod decisions;
mod load;
pub mod open;
mod ownership;
mod readers;
mod reads;
pub(crate) mod room;
mod sql;
mod writer;

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use longtake_core::artifact::ArtifactKey;
use longtake_core::event::JobEvent;
use longtake_core::id::{AccountId, ExecutorId, Fence, JobId, ProjectId, ProviderJobId};
use longtake_core::request::VideoRequest;
use longtake_core::store::{
    ApiKey, Beat, Claim, CommandResult, CommitListener, CreateResult, EvidenceRecord, ExecutorInfo, Job, ListFilter,
    NewJob, OpenAttempt, OpenResult, Page, Resolution, StepCommit, StepResult, Store, StoreError, StoreStats, Timeline,
    WorkKey,
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
}

impl SqliteStore {
    fn is_ours(&self, executor: ExecutorId) -> bool {
        executor.0 > self.last_dead && executor.0 <= self.last_alive.load(Ordering::SeqCst)
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
        Ok(executor)
    }

    async fn acquire(&self, executor: ExecutorId, limit: usize) -> Result<Vec<Claim>, StoreError> {
        if !self.is_ours(executor) {
            return Ok(Vec::new());
        }
        self.writer.write(Kind::Other, move |change| change.acquire(executor, limit)).await
    }

    async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.readers.read(reads::next_due).await
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

    async fn release(&self, executor: ExecutorId, rows: Vec<(WorkKey, Fence, Timestamp)>) -> Result<(), StoreError> {
        let release = move |change: &mut change::Change<'_>| {
            rows.into_iter().try_for_each(|(work, fence, due_at)| change.release(executor, work, fence, due_at))
        };
        self.writer.write(Kind::Other, release).await
    }

    /// Writes nothing: there is no other process that could give us up.
    async fn beat(&self, executor: ExecutorId) -> Result<Beat, StoreError> {
        Ok(if self.is_ours(executor) { Beat::Alive } else { Beat::Dead })
    }

    /// Nothing: what dead processes owned was taken when this one opened the database.
    async fn reap(&self, _limit: usize) -> Result<usize, StoreError> {
        Ok(0)
    }

    /// The lock on the data directory is the proof for every executor of an earlier process.
    async fn sender_is_dead(&self, executor: ExecutorId) -> Result<bool, StoreError> {
        Ok(executor.0 <= self.last_dead)
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

    async fn in_doubt(&self, account: AccountId) -> Result<u32, StoreError> {
        self.readers.read(move |connection| load::in_doubt(connection, account)).await
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

    async fn retry(&self, project: ProjectId, job: JobId, by: Arc<str>) -> Result<CommandResult, StoreError> {
        self.writer.write(Kind::Other, move |change| change.retry(project, job, by)).await
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

    async fn register_accounts(&self, accounts: Vec<(String, String)>) -> Result<Vec<AccountId>, StoreError> {
        let register = move |change: &mut change::Change<'_>| {
            accounts.iter().map(|(name, provider)| change.account(name, provider)).collect()
        };
        self.writer.write(Kind::Other, register).await
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
        self.readers.read(move |connection| reads::stats(connection, now)).await
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
