//! The store as one process reaches it: the specification's rows, behind latency, outages and answers that get lost.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use longtake_core::artifact::ArtifactKey;
use longtake_core::attempt::Evidence;
use longtake_core::event::JobEvent;
use longtake_core::feed::{FeedCursor, FeedEvent, FeedPage, Tail};
use longtake_core::id::{AccountId, ExecutorId, Fence, JobId, PoolId, ProjectId, ProviderJobId};
use longtake_core::memory_store::MemoryStore;
use longtake_core::request::VideoRequest;
use longtake_core::retention::{Expired, Retention};
use longtake_core::store::{
    ApiKey, Beat, Claim, CommandResult, CommitListener, CreateResult, EvidenceRecord, ExecutorInfo, ExecutorRow, Job,
    ListFilter, NewJob, OpenAttempt, OpenResult, Page, Release, Resolution, StepCommit, StepInput, StepResult, Store,
    StoreError, StoreStats, Timeline, Wanted, WorkKey,
};

use longtake_core::time::Timestamp;

use super::SimRandom;
use super::clock::{Gate, pause, secs};
use super::faults::{Fault, Faults};
use super::trace::Trace;
use super::vendor::Vendor;

/// The database: outlives every process.
pub struct Database {
    pub rows: MemoryStore,
    pub faults: Arc<Faults>,
    pub trace: Trace,
    pub vendor: Arc<Vendor>,
    random: SimRandom,
    notes: Mutex<Notes>,
}

/// What befalls the process at one named call, in scripted tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trap {
    CrashBefore,
    CrashAfter,
    FreezeBefore(Duration),
    FreezeAfter(Duration),
    UnknownApplied,
    UnknownLost,
}

/// What is watched from outside, to check the store's own word.
#[derive(Default)]
struct Notes {
    holders: BTreeMap<WorkKey, (ExecutorId, Fence)>,
    /// Provider jobs that were handed in as evidence, with an answer or without.
    testified: BTreeSet<ProviderJobId>,
    trap: Option<(&'static str, Trap)>,
    out: bool,
    commits: u64,
}

impl Database {
    pub fn new(rows: MemoryStore, faults: Arc<Faults>, trace: Trace, vendor: Arc<Vendor>, seed: u64) -> Self {
        Self { rows, faults, trace, vendor, random: SimRandom::stream(seed, 88), notes: Mutex::default() }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets a trap for the next call of this name; a step is named `step` and the word of its decision.
    pub fn set_trap(&self, name: &'static str, trap: Trap) {
        self.notes().trap = Some((name, trap));
    }

    /// Whether the trap is still set.
    pub fn has_trap(&self) -> bool {
        self.notes().trap.is_some()
    }

    fn sprung_by(&self, name: &str) -> Option<Trap> {
        let mut notes = self.notes();
        let (_, trap) = notes.trap.take_if(|(at, _)| *at == name)?;
        drop(notes);
        self.trace.log(format_args!("trap at {name}: {trap:?}"));
        Some(trap)
    }

    /// An outage begins or ends.
    pub fn set_out(&self, out: bool) {
        self.notes().out = out;
    }

    /// Calls that write, without signs of life and empty looks.
    pub fn commits(&self) -> u64 {
        self.notes().commits
    }

    /// What was handed in as evidence: it must be known for ever.
    pub fn was_testified(&self, provider_job: &ProviderJobId) -> bool {
        self.notes().testified.contains(provider_job)
    }

    /// Comes back as a copy had it: everything younger is forgotten, the fences too.
    pub fn lose_history(&self, backup: &MemoryStore) {
        self.rows.restore(backup);
        self.notes().holders.clear();
    }

    fn took(&self, executor: ExecutorId, claims: &[Claim]) {
        for claim in claims {
            let before = self.notes().holders.insert(claim.work, (executor, claim.fence));
            if before.is_some_and(|(_, fence)| fence >= claim.fence) {
                self.trace.violation(format!("I5: fence of {:?} did not grow", claim.work));
            }
        }
    }

    /// I5, seen from outside: what is decided is decided by the last who took it.
    fn decided(&self, executor: ExecutorId, work: WorkKey, fence: Fence) {
        if self.notes().holders.get(&work).is_some_and(|holder| *holder != (executor, fence)) {
            self.trace.violation(format!("I5: {work:?} was decided by {executor} with old fence {fence}"));
        }
    }
}

/// The database as one process reaches it.
pub struct StoreHandle {
    pub database: Arc<Database>,
    pub gate: Gate,
    pub process: usize,
    /// Incarnations of this process.
    pub executors: Arc<Mutex<Vec<ExecutorId>>>,
    /// Listeners of this process only: they are gone with it.
    pub listeners: Arc<Mutex<Vec<CommitListener>>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Read,
    Write,
}

impl StoreHandle {
    pub async fn run<T>(
        &self,
        name: &str,
        kind: Kind,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let (database, faults) = (&self.database, &self.database.faults);
        self.gate.pass().await;
        let trap = database.sprung_by(name);
        match trap {
            Some(Trap::CrashBefore) => self.gate.kill(),
            Some(Trap::FreezeBefore(pause)) => self.gate.freeze_for(pause),
            _ => {}
        }
        self.gate.pass().await;
        let slow = faults.strikes(Fault::SlowStore).then(|| secs(1 + faults.below(Fault::SlowStore, 15)));
        pause(slow.unwrap_or(Duration::from_millis(database.random.between(1, 12)))).await;
        if database.notes().out || faults.strikes(Fault::StoreFailed) {
            return Err(StoreError::Failed("simulated: no connection".into()));
        }
        if kind == Kind::Write && faults.strikes(Fault::CommitUnknown) {
            if faults.below(Fault::CommitUnknown, 2) == 0 {
                let _ = call.await;
            }
            pause(secs(faults.below(Fault::CommitUnknown, 5))).await;
            self.gate.pass().await;
            return Err(StoreError::CommitUnknown);
        }
        if trap == Some(Trap::UnknownLost) {
            return Err(StoreError::CommitUnknown);
        }
        let answer = call.await;
        match trap {
            Some(Trap::CrashAfter) => self.gate.kill(),
            Some(Trap::FreezeAfter(pause)) => self.gate.freeze_for(pause),
            Some(Trap::UnknownApplied) => return Err(StoreError::CommitUnknown),
            _ => {}
        }
        pause(Duration::from_millis(database.random.between(1, 4))).await;
        self.gate.pass().await;
        answer
    }

    fn note(&self, what: std::fmt::Arguments<'_>) {
        self.database.notes().commits += 1;
        self.database.trace.log(format_args!("e{} {what}", self.process));
    }

    pub fn rows(&self) -> &MemoryStore {
        &self.database.rows
    }
}

/// A short word for a decision.
fn word(input: &StepInput) -> String {
    match input {
        StepInput::Job(input) => input.name().to_owned(),
        StepInput::Late(input) => format!("late {}", format!("{input:?}").split(['(', ' ']).next().unwrap_or_default()),
    }
}

#[async_trait]
impl Store for StoreHandle {
    async fn create(&self, jobs: Vec<NewJob>) -> Result<Vec<CreateResult>, StoreError> {
        let ids: Vec<_> = jobs.iter().map(|job| job.job.to_string()).collect();
        self.run("create", Kind::Write, async {
            self.note(format_args!("create {ids:?}"));
            self.rows().create(jobs).await
        })
        .await
    }

    async fn find_idempotent(&self, project: ProjectId, key: &str) -> Result<Option<([u8; 32], JobId)>, StoreError> {
        self.run("find_idempotent", Kind::Read, self.rows().find_idempotent(project, key)).await
    }

    async fn register_executor(&self, info: ExecutorInfo) -> Result<ExecutorId, StoreError> {
        self.run("register_executor", Kind::Write, async {
            let executor = self.rows().register_executor(info).await?;
            self.note(format_args!("registers as {executor}"));
            self.executors.lock().unwrap_or_else(PoisonError::into_inner).push(executor);
            Ok(executor)
        })
        .await
    }

    async fn acquire(&self, executor: ExecutorId, wanted: &Wanted) -> Result<Vec<Claim>, StoreError> {
        self.run("acquire", Kind::Write, async {
            let claims = self.rows().acquire(executor, wanted).await?;
            for claim in &claims {
                self.note(format_args!(
                    "{executor} acquires {} {:?} fence {}",
                    claim.work.job, claim.work.kind, claim.fence
                ));
            }
            self.database.took(executor, &claims);
            Ok(claims)
        })
        .await
    }

    async fn owned(&self, executor: ExecutorId) -> Result<Vec<(WorkKey, Fence)>, StoreError> {
        self.run("owned", Kind::Read, self.rows().owned(executor)).await
    }

    async fn claims(&self, executor: ExecutorId, works: Vec<WorkKey>) -> Result<Vec<Claim>, StoreError> {
        self.run("claims", Kind::Read, self.rows().claims(executor, works)).await
    }

    async fn woken(&self, executor: ExecutorId, limit: usize) -> Result<Vec<Claim>, StoreError> {
        self.run("woken", Kind::Write, async {
            let claims = self.rows().woken(executor, limit).await?;
            for claim in &claims {
                self.note(format_args!("{executor} is told of news on {}", claim.work.job));
            }
            Ok(claims)
        })
        .await
    }

    async fn open_attempts(
        &self,
        executor: ExecutorId,
        intents: Vec<OpenAttempt>,
    ) -> Result<Vec<OpenResult>, StoreError> {
        let named: Vec<_> = intents.iter().map(|intent| (intent.work, intent.fence, intent.attempt.clone())).collect();
        for (work, _, attempt) in &named {
            let window = attempt.send_deadline_at.since(attempt.intent_at);
            self.database.vendor.intended(work.job, attempt.n.0, window);
        }
        self.run("open_attempts", Kind::Write, async {
            let opened = self.rows().open_attempts(executor, intents).await?;
            for ((work, fence, attempt), result) in named.iter().zip(&opened) {
                let result = match result {
                    OpenResult::Opened(_) => {
                        self.database.decided(executor, *work, *fence);
                        "opened"
                    }
                    OpenResult::Stale => "stale",
                    OpenResult::Conflict(_) => "conflict",
                    OpenResult::AccountFull => "account full",
                    OpenResult::Paced(_) => "paced",
                    OpenResult::Doubted(_) => "doubted",
                };
                self.note(format_args!("{executor} intent {} n={} -> {result}", work.job, attempt.n));
            }
            Ok(opened)
        })
        .await
    }

    async fn record_evidence(&self, evidence: Vec<EvidenceRecord>) -> Result<(), StoreError> {
        self.run("record_evidence", Kind::Write, async {
            for item in &evidence {
                self.note(format_args!("evidence {} n={} {:?}", item.job, item.attempt, item.evidence));
                if let Evidence::Accepted(provider_job) = &item.evidence {
                    self.database.notes().testified.insert(provider_job.clone());
                }
            }
            self.rows().record_evidence(evidence).await
        })
        .await
    }

    async fn step(&self, executor: ExecutorId, commits: Vec<StepCommit>) -> Result<Vec<StepResult>, StoreError> {
        let named: Vec<_> = commits.iter().map(|commit| (commit.work, commit.fence, word(&commit.input))).collect();
        let name = format!("step {}", named.first().map_or("", |(.., word)| word));
        self.run(&name, Kind::Write, async {
            let results = self.rows().step(executor, commits).await?;
            for ((work, fence, word), result) in named.iter().zip(&results) {
                let result = match result {
                    StepResult::Applied(record) => {
                        self.database.decided(executor, *work, *fence);
                        format!("{} v{}", record.state.name().word(), record.ver)
                    }
                    StepResult::Stale => "stale".to_owned(),
                    StepResult::Conflict(record, _) => format!("conflict: {}", record.state.name().word()),
                };
                self.note(format_args!("{executor} step {} {word} -> {result}", work.job));
            }
            Ok(results)
        })
        .await
    }

    async fn release(&self, executor: ExecutorId, rows: Vec<Release>) -> Result<(), StoreError> {
        self.run("release", Kind::Write, async {
            for Release { work, fence, place, .. } in &rows {
                let to = if place.queued { "into the queue" } else { "as due" };
                self.note(format_args!("{executor} releases {} fence {fence} {to}", work.job));
            }
            self.rows().release(executor, rows).await
        })
        .await
    }

    async fn beat(&self, executor: ExecutorId, load: Vec<(AccountId, u32)>) -> Result<Beat, StoreError> {
        let beat = self.run("beat", Kind::Write, self.rows().beat(executor, load)).await?;
        if beat == Beat::Dead {
            self.note(format_args!("{executor} learns that it was given up"));
        }
        Ok(beat)
    }

    async fn reap(&self, limit: usize) -> Result<usize, StoreError> {
        self.run("reap", Kind::Write, async {
            let reaped = self.rows().reap(limit).await?;
            if reaped > 0 {
                self.note(format_args!("reaps {reaped}"));
            }
            Ok(reaped)
        })
        .await
    }

    async fn sender_is_dead(&self, executor: ExecutorId) -> Result<bool, StoreError> {
        self.run("sender_is_dead", Kind::Read, self.rows().sender_is_dead(executor)).await
    }

    async fn now(&self) -> Result<Timestamp, StoreError> {
        self.run("now", Kind::Read, self.rows().now()).await
    }

    async fn quarantine(&self) -> Result<Option<Timestamp>, StoreError> {
        self.run("quarantine", Kind::Read, self.rows().quarantine()).await
    }

    async fn set_quarantine(&self) -> Result<Timestamp, StoreError> {
        self.run("set_quarantine", Kind::Write, self.rows().set_quarantine()).await
    }

    async fn agree(&self, name: &'static str, value: &str) -> Result<bool, StoreError> {
        self.run("agree", Kind::Write, self.rows().agree(name, value)).await
    }

    async fn executors(&self, limit: usize) -> Result<Vec<ExecutorRow>, StoreError> {
        self.run("executors", Kind::Read, self.rows().executors(limit)).await
    }

    async fn confirm_dead(&self, executor: ExecutorId) -> Result<bool, StoreError> {
        self.run("confirm_dead", Kind::Write, self.rows().confirm_dead(executor)).await
    }

    async fn feed(
        &self,
        project: Option<ProjectId>,
        after: Option<FeedCursor>,
        limit: usize,
    ) -> Result<FeedPage, StoreError> {
        self.run("feed", Kind::Read, self.rows().feed(project, after, limit)).await
    }

    async fn tail(&self, after: Option<Tail>) -> Result<(Vec<FeedEvent>, Tail), StoreError> {
        self.run("tail", Kind::Read, self.rows().tail(after)).await
    }

    async fn register_pools(&self, pools: Vec<(AccountId, Arc<str>)>) -> Result<Vec<PoolId>, StoreError> {
        self.run("register_pools", Kind::Write, self.rows().register_pools(pools)).await
    }

    async fn claimed(&self, account: AccountId, provider_jobs: Vec<ProviderJobId>) -> Result<Vec<bool>, StoreError> {
        self.run("claimed", Kind::Read, self.rows().claimed(account, provider_jobs)).await
    }

    async fn in_flight(&self, account: AccountId) -> Result<u32, StoreError> {
        self.run("in_flight", Kind::Read, self.rows().in_flight(account)).await
    }

    async fn in_doubt(&self, account: AccountId, since: Timestamp) -> Result<u32, StoreError> {
        self.run("in_doubt", Kind::Read, self.rows().in_doubt(account, since)).await
    }

    async fn request_cancel(&self, project: ProjectId, job: JobId) -> Result<CommandResult, StoreError> {
        self.run("request_cancel", Kind::Write, async {
            self.note(format_args!("cancel {job}"));
            self.rows().request_cancel(project, job).await
        })
        .await
    }

    async fn resolve_held(
        &self,
        project: ProjectId,
        job: JobId,
        resolution: Resolution,
        by: Arc<str>,
    ) -> Result<CommandResult, StoreError> {
        self.run("resolve_held", Kind::Write, async {
            self.note(format_args!("resolve {job} {resolution:?}"));
            self.rows().resolve_held(project, job, resolution, by).await
        })
        .await
    }

    async fn retry(
        &self,
        project: ProjectId,
        job: JobId,
        by: Arc<str>,
        pool: PoolId,
    ) -> Result<CommandResult, StoreError> {
        self.run("retry", Kind::Write, async {
            self.note(format_args!("retry {job}"));
            self.rows().retry(project, job, by, pool).await
        })
        .await
    }

    async fn hide(&self, project: ProjectId, job: JobId) -> Result<(CommandResult, Vec<ArtifactKey>), StoreError> {
        self.run("hide", Kind::Write, async {
            self.note(format_args!("hide {job}"));
            self.rows().hide(project, job).await
        })
        .await
    }

    async fn get(&self, project: ProjectId, job: JobId) -> Result<Option<Job>, StoreError> {
        self.run("get", Kind::Read, self.rows().get(project, job)).await
    }

    async fn request(&self, job: JobId) -> Result<Option<Arc<VideoRequest>>, StoreError> {
        self.run("request", Kind::Read, self.rows().request(job)).await
    }

    async fn list(&self, project: ProjectId, filter: ListFilter) -> Result<Option<Page>, StoreError> {
        self.run("list", Kind::Read, self.rows().list(project, filter)).await
    }

    async fn events_after(&self, job: JobId, ver: u32, limit: usize) -> Result<Vec<JobEvent>, StoreError> {
        self.run("events_after", Kind::Read, self.rows().events_after(job, ver, limit)).await
    }

    async fn timeline(&self, project: ProjectId, job: JobId) -> Result<Option<Timeline>, StoreError> {
        self.run("timeline", Kind::Read, self.rows().timeline(project, job)).await
    }

    async fn durations(&self, model: &str, limit: usize) -> Result<Vec<Duration>, StoreError> {
        self.run("durations", Kind::Read, self.rows().durations(model, limit)).await
    }

    async fn referenced(&self, keys: Vec<ArtifactKey>) -> Result<Vec<bool>, StoreError> {
        self.run("referenced", Kind::Read, self.rows().referenced(keys)).await
    }

    async fn expire(&self, policy: &Retention, limit: usize) -> Result<Expired, StoreError> {
        self.run("expire", Kind::Write, async {
            let expired = self.rows().expire(policy, limit).await?;
            if expired.jobs + expired.events > 0 || !expired.artifacts.is_empty() {
                self.note(format_args!("expires {expired:?}"));
            }
            Ok(expired)
        })
        .await
    }

    async fn register_accounts(&self, accounts: Vec<(String, String)>) -> Result<Vec<AccountId>, StoreError> {
        self.rows().register_accounts(accounts).await
    }

    async fn project(&self, name: &str) -> Result<ProjectId, StoreError> {
        self.rows().project(name).await
    }

    async fn create_key(&self, key: ApiKey) -> Result<ApiKey, StoreError> {
        self.rows().create_key(key).await
    }

    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        self.rows().keys().await
    }

    async fn revoke_key(&self, id: i64) -> Result<bool, StoreError> {
        self.rows().revoke_key(id).await
    }

    async fn find_key(&self, hash: [u8; 32]) -> Result<Option<ApiKey>, StoreError> {
        self.rows().find_key(hash).await
    }

    async fn stats(&self) -> Result<StoreStats, StoreError> {
        self.run("stats", Kind::Read, self.rows().stats()).await
    }

    fn on_commit(&self, listener: CommitListener) {
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner).push(listener);
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.run("ready", Kind::Read, self.rows().ready()).await
    }
}
