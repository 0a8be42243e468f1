//! The jobs of one call as they are in memory while it runs: loaded under locks, changed by longtake-core's rules, saved
//! as what differs afterwards.
//!
//! The ways in which it changes are those of the executable specification (`memory_store`). Absent: SQL, and rules.

use std::collections::BTreeMap;

use longtake_core::apply::{LateTransition, Transition};
use longtake_core::artifact::Artifact;
use longtake_core::attempt::Attempt;
use longtake_core::event::{EventKind, JobEvent};
use longtake_core::id::{AccountId, AttemptNo, ExecutorId, Fence, JobId, PoolId, ProjectId, ProviderJobId};
use longtake_core::provider::Exchange;
use longtake_core::record::Record;
use longtake_core::state::JobState;
use longtake_core::store::{Place, Release, WorkKey, WorkKind};
use longtake_core::time::Timestamp;

/// What a commit tells its listeners.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Events that become visible.
    pub events: Vec<(JobId, u32)>,
    /// Work was woken or added.
    pub woken: bool,
    /// A job ended; for crash point C14.
    pub finished: bool,
}

/// A work row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WorkRow {
    /// Whose it is.
    pub owner: Option<ExecutorId>,
    /// Its number.
    pub fence: Fence,
    /// When it is due.
    pub due_at: Timestamp,
    /// Where it waits; `None` is the pool of its attempt, found when it is saved.
    pub place: Option<Place>,
}

/// One job with everything of it that a call may change.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct JobRows {
    /// Without the attempt, which is in `attempts`.
    pub record: Record,
    /// Since when a client has hidden it.
    pub hidden_at: Option<Timestamp>,
    /// The highest fence of its deleted work rows.
    pub fence_floor: Fence,
    /// The latest one, and those that the call names.
    pub attempts: BTreeMap<AttemptNo, Attempt>,
    /// The video of the newest attempt that yielded one.
    pub output: Option<Artifact>,
    /// All of its rows.
    pub work: BTreeMap<WorkKey, WorkRow>,
}

impl JobRows {
    /// The record with its latest attempt.
    pub fn full_record(&self) -> Record {
        let attempt = self.attempts.last_key_value().map(|(_, attempt)| attempt.clone());
        Record { attempt, ..self.record.clone() }
    }
}

/// A job before and now.
pub(super) struct Changing {
    /// As it was loaded.
    pub was: JobRows,
    /// As it is.
    pub now: JobRows,
}

/// A provider job that no attempt accounts for.
pub(super) struct Orphan {
    /// Whose account.
    pub account: AccountId,
    /// Its name there.
    pub provider_job: ProviderJobId,
    /// Through which it was found.
    pub job: JobId,
    /// Through which it was found.
    pub n: AttemptNo,
}

/// The jobs of one call.
pub(super) struct Picture {
    /// The time of the call.
    pub now: Timestamp,
    /// By id: rows are saved in this order.
    pub jobs: BTreeMap<JobId, Changing>,
    /// To be appended.
    pub events: Vec<(ProjectId, JobEvent)>,
    /// To be recorded.
    pub artifacts: Vec<(JobId, Artifact)>,
    /// To be appended.
    pub exchanges: Vec<(JobId, AttemptNo, Exchange)>,
    /// To be noted.
    pub orphans: Vec<Orphan>,
    /// What is told after the commit.
    pub news: News,
}

impl Picture {
    /// Of no job yet.
    pub fn new(now: Timestamp) -> Self {
        Self {
            now,
            jobs: BTreeMap::new(),
            events: Vec::new(),
            artifacts: Vec::new(),
            exchanges: Vec::new(),
            orphans: Vec::new(),
            news: News::default(),
        }
    }

    /// The job as it now is.
    pub fn job(&self, job: JobId) -> Option<&JobRows> {
        self.jobs.get(&job).map(|changing| &changing.now)
    }

    /// The job, to be changed.
    pub fn job_mut(&mut self, job: JobId) -> Option<&mut JobRows> {
        self.jobs.get_mut(&job).map(|changing| &mut changing.now)
    }

    /// The job as a client of this project sees it.
    pub fn visible(&self, project: ProjectId, job: JobId) -> Option<&JobRows> {
        self.job(job).filter(|rows| rows.hidden_at.is_none() && rows.record.project == project)
    }

    /// Whether this executor owns the row under this very number.
    pub fn holds(&self, executor: ExecutorId, work: WorkKey, fence: Fence) -> bool {
        let row = self.job(work.job).and_then(|rows| rows.work.get(&work));
        row.is_some_and(|row| row.owner == Some(executor) && row.fence == fence)
    }

    /// The attempt a work row is about: the watched one, or none.
    pub fn watched(&self, work: WorkKey) -> Option<&Attempt> {
        if work.kind == WorkKind::Drive {
            return None;
        }
        let n = AttemptNo(u16::try_from(work.reference).ok()?);
        self.job(work.job)?.attempts.get(&n)
    }

    /// Takes the job, its attempt and outputs, its event and its work rows as a transition left them.
    pub fn save(&mut self, transition: Transition) {
        let Transition { mut record, events, attempt_changed, watch, artifacts } = transition;
        let job = record.job;
        artifacts.into_iter().for_each(|artifact| self.save_artifact(job, artifact));
        self.save_events(&record, &events);
        let attempt = record.attempt.take();
        let finished = record.state.is_terminal();
        if let Some(rows) = self.job_mut(job) {
            rows.record = record;
        }
        let n = attempt.as_ref().map(|attempt| attempt.n);
        if let Some(attempt) = attempt.filter(|_| attempt_changed) {
            self.save_attempt(job, attempt);
        }
        if finished {
            self.news.finished = true;
            self.delete_work(WorkKey::drive(job));
        }
        if let Some(n) = n.filter(|_| watch) {
            self.watch(job, n);
        }
    }

    /// Takes what became of a late attempt; its watch row goes.
    pub fn save_late(&mut self, work: WorkKey, settled: LateTransition) {
        let LateTransition { mut record, attempt, event, artifacts, orphan } = settled;
        artifacts.into_iter().for_each(|artifact| self.save_artifact(work.job, artifact));
        if let Some(event) = event {
            self.save_events(&record, &[event]);
        }
        if let Some(provider_job) = attempt.provider_job.clone().filter(|_| orphan) {
            self.add_orphan(work.job, &attempt, provider_job);
        }
        record.attempt = None;
        if let Some(rows) = self.job_mut(work.job) {
            rows.record = record;
        }
        self.save_attempt(work.job, attempt);
        self.delete_work(work);
    }

    fn save_artifact(&mut self, job: JobId, artifact: Artifact) {
        if let Some(rows) = self.job_mut(job)
            && artifact.n == 0
            && rows.output.as_ref().is_none_or(|known| known.attempt <= artifact.attempt)
        {
            rows.output = Some(artifact.clone());
        }
        // Told twice within a call, the later one counts.
        self.artifacts.retain(|(of, known)| (*of, known.attempt, known.n) != (job, artifact.attempt, artifact.n));
        self.artifacts.push((job, artifact));
    }

    /// Appends events; the last has the record's number.
    fn save_events(&mut self, record: &Record, kinds: &[EventKind]) {
        let output = self.job(record.job).and_then(|rows| rows.output.as_ref());
        let snapshot = record.snapshot(output);
        let before = record.ver.saturating_sub(u32::try_from(kinds.len()).unwrap_or(u32::MAX));
        for (ver, kind) in (before + 1..).zip(kinds) {
            let event = JobEvent { job: record.job, ver, kind: *kind, at: self.now, snapshot: snapshot.clone() };
            self.events.push((record.project, event));
            self.news.events.push((record.job, ver));
        }
    }

    /// An attempt as it is known.
    pub fn save_attempt(&mut self, job: JobId, attempt: Attempt) {
        if let Some(rows) = self.job_mut(job) {
            rows.attempts.insert(attempt.n, attempt);
        }
    }

    /// For the timeline.
    pub fn save_exchanges(&mut self, job: JobId, attempt: AttemptNo, exchanges: Vec<Exchange>) {
        self.exchanges.extend(exchanges.into_iter().map(|exchange| (job, attempt, exchange)));
    }

    /// A late attempt has one watch row; of a hidden job nobody wants what it yields.
    pub fn watch(&mut self, job: JobId, attempt: AttemptNo) {
        if self.job(job).is_some_and(|rows| rows.hidden_at.is_none()) {
            self.add_work(WorkKey::watch(job, attempt), self.now, None);
        }
    }

    /// A drive row that waits for its first submission, or for its deadline. Without a pool anyone may look at it now.
    pub fn queue(&mut self, record: &Record, pool: PoolId) {
        let due_at = if pool == PoolId::NONE { self.now } else { record.deadline_at.unwrap_or(Timestamp::NEVER) };
        self.add_work(WorkKey::drive(record.job), due_at, Some(Place { pool, queued: true }));
    }

    /// Adds a work row, unless it is there. Fences go on where the job's deleted rows left off.
    fn add_work(&mut self, work: WorkKey, due_at: Timestamp, place: Option<Place>) {
        if let Some(rows) = self.job_mut(work.job) {
            let fence = rows.fence_floor;
            rows.work.entry(work).or_insert(WorkRow { owner: None, fence, due_at, place });
            self.news.woken = true;
        }
    }

    /// Deletes a work row; its fence is remembered.
    pub fn delete_work(&mut self, work: WorkKey) {
        if let Some(rows) = self.job_mut(work.job)
            && let Some(row) = rows.work.remove(&work)
        {
            rows.fence_floor = rows.fence_floor.max(row.fence);
        }
    }

    /// Makes the job's drive and watch rows due, but for those that `spared` owns.
    pub fn wake(&mut self, job: JobId, spared: Option<ExecutorId>) {
        let now = self.now;
        let mut woken = false;
        if let Some(rows) = self.job_mut(job) {
            for row in rows.work.values_mut().filter(|row| row.owner.is_none() || row.owner != spared) {
                row.due_at = row.due_at.min(now);
                woken = true;
            }
        }
        self.news.woken |= woken;
    }

    /// Gives a row back; news that came meanwhile keeps it due.
    pub fn release(&mut self, executor: ExecutorId, release: &Release) {
        let mut woken = false;
        if let Some(rows) = self.job_mut(release.work.job)
            && let Some(row) = rows.work.get_mut(&release.work)
            && row.owner == Some(executor)
            && row.fence == release.fence
        {
            row.owner = None;
            row.due_at = row.due_at.min(release.due_at);
            row.place = Some(release.place);
            woken = release.place.queued;
        }
        self.news.woken |= woken;
    }

    /// Notes a provider job that no attempt accounts for.
    pub fn add_orphan(&mut self, job: JobId, attempt: &Attempt, provider_job: ProviderJobId) {
        self.orphans.push(Orphan { account: attempt.account, provider_job, job, n: attempt.n });
    }

    /// Whether this very call has given the provider job to another attempt or made it an orphan.
    pub fn is_claimed(&self, account: AccountId, provider_job: &ProviderJobId, except: (JobId, AttemptNo)) -> bool {
        let attempts = self.jobs.iter().flat_map(|(job, changing)| {
            changing.now.attempts.values().map(move |attempt| ((*job, attempt.n), attempt))
        });
        let mut others = attempts.filter(|(key, _)| *key != except);
        others.any(|(_, attempt)| attempt.account == account && attempt.provider_job.as_ref() == Some(provider_job))
            || self.orphans.iter().any(|orphan| orphan.account == account && orphan.provider_job == *provider_job)
    }

    /// Jobs that a call completed: their models, and how long they ran.
    pub fn completed(&self) -> impl Iterator<Item = &Record> {
        let ended = self.jobs.values().filter(|changing| matches!(changing.now.record.state, JobState::Completed));
        ended.filter(|changing| changing.was.record.state != changing.now.record.state).map(|job| &job.now.record)
    }
}
