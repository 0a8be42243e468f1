//! One operation inside a transaction of the writer, and the few ways in which it saves.
//!
//! The order within an operation is that of the executable specification (`memory_store`): artifacts, events, job,
//! attempt, work. Absent: COMMIT, which is the writer's, and rules, which are longtake-core's.

use longtake_core::apply::{LateTransition, Transition};
use longtake_core::artifact::Artifact;
use longtake_core::attempt::Attempt;
use longtake_core::event::EventKind;
use longtake_core::failure::Failure;
use longtake_core::id::{AttemptNo, ExecutorId, Fence, JobId, PoolId, ProviderJobId};
use longtake_core::provider::Exchange;
use longtake_core::record::Record;
use longtake_core::state::JobState;
use longtake_core::store::{Release, WorkKey, WorkKind};
use longtake_core::time::Timestamp;
use rusqlite::{Connection, Params, Result, params};

use super::{load, sql};
use crate::rows::{corrupt, kind_number, micros, signed, snapshot_text};

/// Exchanges kept for each job; the oldest go.
const MAX_EXCHANGES_PER_JOB: i64 = 200;

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

/// One operation under way.
pub(super) struct Change<'a> {
    /// The writer's connection, inside a transaction.
    pub connection: &'a Connection,
    /// The time of the operation.
    pub now: Timestamp,
    /// What is told after the commit.
    pub news: &'a mut News,
}

impl Change<'_> {
    /// Runs one statement. How many rows it changed.
    pub fn run(&self, query: &str, params: impl Params) -> Result<usize> {
        self.connection.prepare_cached(query)?.execute(params)
    }

    /// Saves the job, its attempt and outputs, its event and its work rows.
    pub fn save(&mut self, transition: &Transition) -> Result<()> {
        let Transition { record, events, attempt_changed, watch, artifacts } = transition;
        let job = record.job;
        for artifact in artifacts {
            self.save_artifact(job, artifact)?;
        }
        self.save_events(record, events)?;
        self.save_job(record)?;
        if let Some(attempt) = record.attempt.as_ref().filter(|_| *attempt_changed) {
            self.save_attempt(job, attempt)?;
        }
        if record.state.is_terminal() {
            self.delete_work(WorkKey::drive(job))?;
            self.news.finished = true;
        }
        match &record.attempt {
            Some(attempt) if *watch => self.watch(job, attempt.n),
            _ => Ok(()),
        }
    }

    /// Saves what became of a late attempt; its watch row goes.
    pub fn save_late(&mut self, work: WorkKey, settled: &LateTransition) -> Result<()> {
        let LateTransition { record, attempt, event, artifacts, orphan } = settled;
        for artifact in artifacts {
            self.save_artifact(work.job, artifact)?;
        }
        if let Some(event) = event {
            self.save_events(record, &[*event])?;
            self.save_job(record)?;
        }
        if let Some(provider_job) = attempt.provider_job.as_ref().filter(|_| *orphan) {
            self.add_orphan(work.job, attempt, provider_job)?;
        }
        self.save_attempt(work.job, attempt)?;
        self.delete_work(work)
    }

    /// The changing half of a job.
    pub fn save_job(&self, record: &Record) -> Result<()> {
        let failure = match &record.state {
            JobState::Failed { failure } => Some(failure),
            _ => None,
        };
        let (code, message) = words(failure);
        self.run(
            sql::JOB_UPDATE,
            params![
                record.job.as_bytes(),
                record.state.name().number(),
                record.ver,
                code,
                message,
                record.finished_at.map(Timestamp::as_micros),
                record.deadline_at.map(Timestamp::as_micros),
                record.cancel.map(|cancel| cancel.requested_at.as_micros()),
                record.cancel.map(|cancel| cancel.outcome as i16),
                record.progress,
                record.first_attempt.0,
                record.attempts_used,
                record.unavailable_since.map(Timestamp::as_micros),
            ],
        )?;
        Ok(())
    }

    /// An attempt as it is known; an unknown one is new.
    pub fn save_attempt(&self, job: JobId, attempt: &Attempt) -> Result<()> {
        let rejection = attempt.rejection.as_ref();
        let (code, message) = words(rejection.map(|rejection| &rejection.failure));
        let known = self.run(
            sql::ATTEMPT_UPDATE,
            params![
                job.as_bytes(),
                attempt.n.0,
                load::state_number(attempt.state),
                attempt.provider_job.as_ref().map(ProviderJobId::as_str),
                attempt.resolved_at.map(Timestamp::as_micros),
                code,
                message,
                rejection.map(|rejection| rejection.retry as i16),
                rejection.and_then(|rejection| rejection.retry_after).map(micros),
                attempt.decision.as_ref().map(|decision| decision.verdict as i16),
                attempt.decision.as_ref().map(|decision| &*decision.by),
                attempt.request_ended_at.map(Timestamp::as_micros),
            ],
        )?;
        if known == 1 { Ok(()) } else { Err(corrupt("an attempt that is not there")) }
    }

    /// T2: the intent.
    pub fn insert_attempt(&self, job: JobId, attempt: &Attempt) -> Result<()> {
        self.run(
            sql::ATTEMPT_INSERT,
            params![
                job.as_bytes(),
                attempt.n.0,
                load::state_number(attempt.state),
                attempt.executor.0,
                attempt.nonce.0,
                attempt.account.0,
                &*attempt.model,
                attempt.client_ref.as_str(),
                attempt.intent_at.as_micros(),
                attempt.send_deadline_at.as_micros(),
            ],
        )?;
        Ok(())
    }

    /// Appends events; the last has the record's number.
    pub fn save_events(&mut self, record: &Record, events: &[EventKind]) -> Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        let output = load::output(self.connection, record.job)?;
        let body = snapshot_text(&record.snapshot(output.as_ref()))?;
        let before = record.ver.saturating_sub(u32::try_from(events.len()).unwrap_or(u32::MAX));
        for (ver, kind) in (before + 1..).zip(events) {
            self.save_event(record, ver, *kind, &body)?;
        }
        Ok(())
    }

    /// One event with a snapshot that is text already.
    pub fn save_event(&mut self, record: &Record, ver: u32, kind: EventKind, body: &str) -> Result<()> {
        let at = self.now.as_micros();
        self.run(sql::EVENT_INSERT, params![record.job.as_bytes(), ver, record.project.0, kind.number(), at, body])?;
        self.announce(record, ver, kind)?;
        self.news.events.push((record.job, ver));
        Ok(())
    }

    fn save_artifact(&self, job: JobId, artifact: &Artifact) -> Result<()> {
        let media = &artifact.media;
        self.run(
            sql::ARTIFACT_INSERT,
            params![
                job.as_bytes(),
                artifact.attempt.0,
                artifact.n,
                artifact.key.as_str(),
                signed(artifact.bytes),
                artifact.sha256.0,
                artifact.media_type,
                media.width,
                media.height,
                signed(media.duration_ms),
                media.frames,
                media.codec,
            ],
        )?;
        Ok(())
    }

    /// For the timeline.
    pub fn save_exchanges(&self, job: JobId, attempt: AttemptNo, exchanges: &[Exchange]) -> Result<()> {
        for exchange in exchanges {
            self.run(
                sql::EXCHANGE_INSERT,
                params![
                    job.as_bytes(),
                    attempt.0,
                    exchange.call,
                    exchange.at.as_micros(),
                    exchange.request,
                    exchange.status,
                    exchange.duration_ms,
                    exchange.answer,
                ],
            )?;
        }
        if !exchanges.is_empty() {
            self.run(sql::EXCHANGE_TRIM, params![job.as_bytes(), MAX_EXCHANGES_PER_JOB])?;
        }
        Ok(())
    }

    /// A late attempt has one watch row.
    pub fn watch(&mut self, job: JobId, attempt: AttemptNo) -> Result<()> {
        self.run(sql::WATCH_INSERT, params![job.as_bytes(), attempt.0, self.now.as_micros()])?;
        self.news.woken = true;
        Ok(())
    }

    /// A drive row that waits for its first submission, or for its deadline. Without a pool anyone may look at it now.
    pub fn queue(&mut self, record: &Record, pool: PoolId) -> Result<()> {
        let due_at = if pool == PoolId::NONE { self.now } else { record.deadline_at.unwrap_or(Timestamp::NEVER) };
        self.run(sql::WORK_INSERT, params![record.job.as_bytes(), due_at.as_micros(), pool.0])?;
        self.news.woken = true;
        Ok(())
    }

    /// Deletes a work row; its fence is remembered.
    pub fn delete_work(&self, work: WorkKey) -> Result<()> {
        let key = params![work.job.as_bytes(), kind_number(work.kind), work.reference];
        match load::first(self.connection, sql::WORK_DELETE, key, |row| Ok(Fence(row.get(0)?)))? {
            Some(fence) => self.raise_floor(work.job, fence),
            None => Ok(()),
        }
    }

    /// New work rows of the job start above this fence.
    pub fn raise_floor(&self, job: JobId, fence: Fence) -> Result<()> {
        self.run(sql::FLOOR_RAISE, params![job.as_bytes(), fence.0])?;
        Ok(())
    }

    /// Makes the job's drive and watch rows due, but for those that `spared` owns.
    pub fn wake(&mut self, job: JobId, spared: Option<ExecutorId>) -> Result<()> {
        let spared = spared.map(|executor| executor.0);
        let woken = self.run(sql::WAKE, params![job.as_bytes(), self.now.as_micros(), spared])?;
        self.news.woken |= woken > 0;
        Ok(())
    }

    /// Gives a row back; news that came meanwhile keeps it due.
    pub fn release(&mut self, executor: ExecutorId, release: &Release) -> Result<()> {
        let Release { work, fence, due_at, place } = release;
        let released = self.run(
            sql::RELEASE,
            params![
                work.job.as_bytes(),
                kind_number(work.kind),
                work.reference,
                due_at.as_micros(),
                executor.0,
                fence.0,
                place.pool.0,
                place.queued,
            ],
        )?;
        self.news.woken |= released > 0 && place.queued;
        Ok(())
    }

    /// Notes a provider job that no attempt accounts for, once.
    pub fn add_orphan(&self, job: JobId, attempt: &Attempt, provider_job: &ProviderJobId) -> Result<()> {
        let at = self.now.as_micros();
        self.run(
            sql::ORPHAN_INSERT,
            params![attempt.account.0, provider_job.as_str(), job.as_bytes(), attempt.n.0, at],
        )?;
        Ok(())
    }

    /// The attempt a work row is about: the watched one, or none.
    pub fn watched(&self, work: WorkKey) -> Result<Option<Attempt>> {
        match work.kind {
            WorkKind::Drive => Ok(None),
            WorkKind::Watch => load::watched(self.connection, work),
        }
    }
}

fn words(failure: Option<&Failure>) -> (Option<&'static str>, Option<&str>) {
    (failure.map(|failure| failure.code.code()), failure.map(|failure| &*failure.message))
}
