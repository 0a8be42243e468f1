//! The rows, and the few ways in which they are loaded and saved.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::attempts_of;
use super::audit::evidence_rank;
use super::expire::Walk;
use super::webhooks::Webhooks;
use crate::apply::Transition;
use crate::artifact::Artifact;
use crate::attempt::{Attempt, AttemptState};
use crate::event::{EventKind, JobEvent};
use crate::id::{AccountId, AttemptNo, ExecutorId, Fence, JobId, PoolId, ProjectId, ProviderJobId};
use crate::provider::Exchange;
use crate::record::Record;
use crate::request::VideoRequest;
use crate::retention::Kind;
use crate::store::{ApiKey, Claim, Job, Place, ProcessInfo, WorkKey, WorkKind};
use crate::time::Timestamp;

/// A job's row. The attempt is not in the record here: attempts have rows of their own.
#[derive(Clone)]
pub(super) struct JobRow {
    pub record: Record,
    pub request: Arc<VideoRequest>,
    pub hidden: bool,
    /// The highest fence of the job's deleted work rows: new ones start there.
    pub fence_floor: Fence,
}

/// Something that remains to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkRow {
    /// Earliest time for unowned work; for owned work, [`Timestamp::NEVER`] unless it was woken.
    pub due_at: Timestamp,
    /// Whose it is.
    pub owner: Option<ExecutorId>,
    /// Grows with each acquire and reap.
    pub fence: Fence,
    /// Where it waits; owned work waits nowhere, but keeps its pool.
    pub place: Place,
    /// Of the job.
    pub priority: i16,
    /// Of the job.
    pub project: ProjectId,
}

/// A provider job no attempt accounts for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    /// Whose account.
    pub account: AccountId,
    /// The provider's name for it.
    pub provider_job: ProviderJobId,
    /// The job through which it was found.
    pub job: JobId,
    /// The attempt through which it was found.
    pub attempt: AttemptNo,
}

#[derive(Clone)]
pub(super) struct Incarnation {
    pub process: ProcessInfo,
    pub ttl: Duration,
    pub started_at: Timestamp,
    pub beat_at: Timestamp,
    pub dead_at: Option<Timestamp>,
    pub process_dead_at: Option<Timestamp>,
    /// Rows owned at its last beat, for each account it drives.
    pub load: BTreeMap<AccountId, u32>,
}

/// What a commit tells its listeners.
#[derive(Clone, Default)]
pub(super) struct News {
    pub events: Vec<(JobId, u32)>,
    pub woken: bool,
}

#[derive(Clone)]
pub(super) struct Content {
    pub jobs: BTreeMap<JobId, JobRow>,
    pub attempts: BTreeMap<(JobId, AttemptNo), Attempt>,
    pub work: BTreeMap<WorkKey, WorkRow>,
    pub events: BTreeMap<JobId, Vec<JobEvent>>,
    /// Every event in the order of the commits; the place of one that was removed stays empty.
    pub feed: Vec<Option<(JobId, u32)>>,
    /// For each project, how many places the feed had behind the last one that is empty.
    pub feed_floors: BTreeMap<ProjectId, usize>,
    pub exchanges: BTreeMap<JobId, Vec<(AttemptNo, Exchange)>>,
    pub artifacts: BTreeMap<(JobId, AttemptNo, u16), Artifact>,
    pub orphans: Vec<Orphan>,
    pub idempotency: BTreeMap<(ProjectId, Box<str>), ([u8; 32], JobId)>,
    pub executors: BTreeMap<ExecutorId, Incarnation>,
    pub accounts: Vec<(String, String)>,
    /// Numbered from 1 in this order.
    pub pools: Vec<(AccountId, Arc<str>)>,
    /// The project served last, for each account.
    pub turns: BTreeMap<AccountId, ProjectId>,
    /// Theoretical arrival times of the pace.
    pub account_pace: BTreeMap<AccountId, Timestamp>,
    pub pool_pace: BTreeMap<PoolId, Timestamp>,
    pub projects: Vec<String>,
    pub keys: BTreeMap<i64, ApiKey>,
    pub webhooks: Webhooks,
    /// What all processes agree on.
    pub agreed: BTreeMap<&'static str, Box<str>>,
    /// History before it may be missing (rule R12).
    pub quarantine: Option<Timestamp>,
    /// How far retention has come.
    pub walks: BTreeMap<(ProjectId, Kind), Walk>,
    pub news: News,
    /// For the audit: the highest fence each work row ever had (I5).
    pub highest_fence: BTreeMap<WorkKey, Fence>,
    /// For the audit: the highest rank each attempt's evidence ever had (I11).
    pub highest_rank: BTreeMap<(JobId, AttemptNo), u8>,
    /// For the audit: late attempts whose watch ended (T20, T21).
    pub settled: BTreeSet<(JobId, AttemptNo)>,
    /// For the audit: attempts whose outputs, and jobs whose older events retention removed.
    pub stripped: BTreeSet<(JobId, AttemptNo)>,
    pub trimmed: BTreeSet<JobId>,
}

impl Content {
    pub fn new() -> Self {
        Self {
            jobs: BTreeMap::new(),
            attempts: BTreeMap::new(),
            work: BTreeMap::new(),
            events: BTreeMap::new(),
            feed: Vec::new(),
            feed_floors: BTreeMap::new(),
            exchanges: BTreeMap::new(),
            artifacts: BTreeMap::new(),
            orphans: Vec::new(),
            idempotency: BTreeMap::new(),
            executors: BTreeMap::new(),
            accounts: Vec::new(),
            pools: Vec::new(),
            turns: BTreeMap::new(),
            account_pace: BTreeMap::new(),
            pool_pace: BTreeMap::new(),
            projects: vec!["default".to_owned()],
            keys: BTreeMap::new(),
            webhooks: Webhooks::default(),
            agreed: BTreeMap::new(),
            quarantine: None,
            walks: BTreeMap::new(),
            news: News::default(),
            highest_fence: BTreeMap::new(),
            highest_rank: BTreeMap::new(),
            settled: BTreeSet::new(),
            stripped: BTreeSet::new(),
            trimmed: BTreeSet::new(),
        }
    }

    /// The record with its latest attempt; if one is open, it is the latest.
    pub fn record(&self, job: JobId) -> Option<Record> {
        let mut record = self.jobs.get(&job)?.record.clone();
        record.attempt = self.attempts.range(attempts_of(job)).next_back().map(|(_, attempt)| attempt.clone());
        Some(record)
    }

    /// The job as readers see it, hidden or not.
    pub fn view(&self, job: JobId) -> Option<Job> {
        let request = self.jobs.get(&job)?.request.clone();
        Some(Job { record: self.record(job)?, request, output: self.output(job).cloned() })
    }

    /// The job as a client of this project sees it.
    pub fn visible(&self, project: ProjectId, job: JobId) -> Option<Job> {
        let row = self.jobs.get(&job)?;
        if row.hidden || row.record.project != project { None } else { self.view(job) }
    }

    /// The video of the newest attempt that yielded one; of a completed job that is its last attempt.
    pub fn output(&self, job: JobId) -> Option<&Artifact> {
        let artifacts = self.artifacts.range((job, AttemptNo(0), 0)..=(job, AttemptNo(u16::MAX), u16::MAX));
        artifacts.rev().find(|((_, _, n), _)| *n == 0).map(|(_, artifact)| artifact)
    }

    pub fn claim(&self, work: WorkKey) -> Option<Claim> {
        let fence = self.work.get(&work)?.fence;
        let record = self.record(work.job)?;
        let late = match work.kind {
            WorkKind::Drive => None,
            WorkKind::Watch => Some(self.watched_attempt(work)?.clone()),
        };
        Some(Claim { work, fence, record, late })
    }

    /// The attempt a watch row refers to.
    pub fn watched_attempt(&self, work: WorkKey) -> Option<&Attempt> {
        let n = AttemptNo(u16::try_from(work.reference).ok()?);
        self.attempts.get(&(work.job, n))
    }

    /// Saves the job, its attempt and outputs, its event and its work rows.
    pub fn save(&mut self, transition: Transition, now: Timestamp) {
        let Transition { mut record, events, attempt_changed, watch, artifacts } = transition;
        let job = record.job;
        for artifact in artifacts {
            self.artifacts.insert((job, artifact.attempt, artifact.n), artifact);
        }
        self.save_events(&record, &events, now);
        let attempt = record.attempt.take();
        let finished = record.state.is_terminal();
        if let Some(row) = self.jobs.get_mut(&job) {
            row.record = record;
        }
        let Some(attempt) = attempt else {
            if finished {
                self.delete_work(WorkKey::drive(job));
            }
            return;
        };
        let n = attempt.n;
        if attempt_changed {
            self.save_attempt(job, attempt);
        }
        if finished {
            self.delete_work(WorkKey::drive(job));
        }
        if watch {
            self.watch(job, n, now);
        }
    }

    /// Appends events; the last has the record's number.
    pub fn save_events(&mut self, record: &Record, events: &[EventKind], now: Timestamp) {
        let snapshot = record.snapshot(self.output(record.job));
        let before = record.ver.saturating_sub(u32::try_from(events.len()).unwrap_or(u32::MAX));
        let log = self.events.entry(record.job).or_default();
        for (ver, kind) in (before + 1..).zip(events) {
            log.push(JobEvent { job: record.job, ver, kind: *kind, at: now, snapshot: snapshot.clone() });
            self.feed.push(Some((record.job, ver)));
            self.news.events.push((record.job, ver));
        }
        let news = log.iter().rev().take(events.len()).rev().cloned().collect::<Vec<_>>();
        news.iter().for_each(|event| self.announce(event));
    }

    pub fn save_attempt(&mut self, job: JobId, attempt: Attempt) {
        let highest = self.highest_rank.entry((job, attempt.n)).or_default();
        *highest = (*highest).max(evidence_rank(attempt.state));
        self.attempts.insert((job, attempt.n), attempt);
    }

    pub fn save_exchanges(&mut self, job: JobId, attempt: AttemptNo, exchanges: Vec<Exchange>) {
        if !exchanges.is_empty() {
            let log = self.exchanges.entry(job).or_default();
            log.extend(exchanges.into_iter().map(|exchange| (attempt, exchange)));
        }
    }

    /// A late attempt has one watch row; of a hidden job nobody wants what it yields.
    pub fn watch(&mut self, job: JobId, attempt: AttemptNo, now: Timestamp) {
        if self.jobs.get(&job).is_some_and(|row| !row.hidden) {
            self.settled.remove(&(job, attempt));
            let pool = self.attempts.get(&(job, attempt)).map_or(PoolId::NONE, |attempt| self.pool_of(attempt));
            self.add_work(WorkKey::watch(job, attempt), now, Place { pool, queued: false });
        }
    }

    /// Adds a work row, unless it is there.
    pub fn add_work(&mut self, work: WorkKey, due_at: Timestamp, place: Place) {
        let Some(job) = self.jobs.get(&work.job) else { return };
        let (priority, project) = (job.record.priority, job.record.project);
        let row = WorkRow { due_at, owner: None, fence: job.fence_floor, place, priority, project };
        self.work.entry(work).or_insert(row);
        self.news.woken = true;
    }

    /// The pool an attempt was made in; none where it was never numbered.
    pub fn pool_of(&self, attempt: &Attempt) -> PoolId {
        let place =
            self.pools.iter().position(|(account, model)| *account == attempt.account && *model == attempt.model);
        place.and_then(|place| i32::try_from(place + 1).ok()).map_or(PoolId::NONE, PoolId)
    }

    /// The number of a pool; a new one gets a new number.
    pub fn pool(&mut self, account: AccountId, model: Arc<str>) -> PoolId {
        let known = self.pools.iter().position(|(of, name)| *of == account && *name == model);
        let place = known.unwrap_or_else(|| {
            self.pools.push((account, model));
            self.pools.len() - 1
        });
        i32::try_from(place + 1).map_or(PoolId::NONE, PoolId)
    }

    /// Deletes a work row; its fence is remembered.
    pub fn delete_work(&mut self, work: WorkKey) {
        let Some(row) = self.work.remove(&work) else { return };
        if let Some(job) = self.jobs.get_mut(&work.job) {
            job.fence_floor = job.fence_floor.max(row.fence);
        }
        if work.kind == WorkKind::Watch
            && let Ok(n) = u16::try_from(work.reference)
        {
            self.settled.insert((work.job, AttemptNo(n)));
        }
    }

    /// Makes the job's drive and watch rows due, but for those that `spared` owns.
    pub fn wake(&mut self, job: JobId, spared: Option<ExecutorId>, now: Timestamp) {
        let rows = self.work.range_mut(WorkKey::drive(job)..=WorkKey::watch(job, AttemptNo(u16::MAX)));
        for (_, row) in rows {
            if row.owner.is_none() || row.owner != spared {
                row.due_at = row.due_at.min(now);
                self.news.woken = true;
            }
        }
    }

    /// Whether an attempt of the account, but for `except`, or an orphan of it has this provider job.
    pub fn is_claimed(
        &self,
        account: AccountId,
        provider_job: &ProviderJobId,
        except: Option<(JobId, AttemptNo)>,
    ) -> bool {
        let attempts = self.attempts.iter().filter(|(key, _)| Some(**key) != except);
        let mut named = attempts.map(|(_, attempt)| (attempt.account, attempt.provider_job.as_ref()));
        named.any(|(of, name)| of == account && name == Some(provider_job))
            || self.orphans.iter().any(|orphan| orphan.account == account && orphan.provider_job == *provider_job)
    }

    /// Attempts of the account that may still run at the provider: open while their job lives, or watched.
    pub fn in_flight(&self, account: AccountId) -> u32 {
        self.running(|attempt| attempt.account == account)
    }

    /// As [`Content::in_flight`], for one model of an account.
    pub fn in_flight_pool(&self, pool: PoolId) -> u32 {
        self.running(|attempt| pool != PoolId::NONE && self.pool_of(attempt) == pool)
    }

    fn running(&self, wanted: impl Fn(&Attempt) -> bool) -> u32 {
        let runs = |job: JobId, attempt: &Attempt| {
            let live = self.jobs.get(&job).is_some_and(|row| !row.record.state.is_terminal());
            let may_run =
                attempt.state.is_open() || matches!(attempt.state, AttemptState::Waived | AttemptState::LateAccepted);
            let watched = self.work.contains_key(&WorkKey::watch(job, attempt.n));
            may_run && ((attempt.state.is_open() && live) || watched)
        };
        let attempts = self.attempts.iter().filter(|((job, _), attempt)| wanted(attempt) && runs(*job, attempt));
        u32::try_from(attempts.count()).unwrap_or(u32::MAX)
    }

    /// Attempts of the account of which nobody knows whether the provider has them.
    pub fn in_doubt(&self, account: AccountId, since: Timestamp) -> u32 {
        let doubt = |job: JobId, attempt: &Attempt| {
            let watched = self.work.contains_key(&WorkKey::watch(job, attempt.n));
            let waived = attempt.state == AttemptState::Waived;
            attempt.state.is_unresolved() || (waived && (watched || attempt.intent_at >= since))
        };
        let attempts =
            self.attempts.iter().filter(|((job, _), attempt)| attempt.account == account && doubt(*job, attempt));
        u32::try_from(attempts.count()).unwrap_or(u32::MAX)
    }

    /// Notes a provider job that no attempt accounts for, once.
    pub fn add_orphan(&mut self, job: JobId, attempt: &Attempt, provider_job: ProviderJobId) {
        if !self.is_orphan(attempt.account, &provider_job) {
            self.orphans.push(Orphan { account: attempt.account, provider_job, job, attempt: attempt.n });
        }
    }

    fn is_orphan(&self, account: AccountId, provider_job: &ProviderJobId) -> bool {
        self.orphans.iter().any(|orphan| orphan.account == account && orphan.provider_job == *provider_job)
    }
}
