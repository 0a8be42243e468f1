//! What clients and people ask for: create, cancel, resolve, retry, hide. No owner is asked.

use std::sync::Arc;

use super::attempts_of;
use super::content::{Content, JobRow};
use crate::apply::{Input, apply};
use crate::artifact::ArtifactKey;
use crate::attempt::{Attempt, Decision, Evidence, Merge, Verdict, merge};
use crate::event::EventKind;
use crate::id::{AttemptNo, Fence, JobId, PoolId, ProjectId, ProviderJobId};
use crate::record::Record;
use crate::state::JobState;
use crate::store::{CommandResult, CreateResult, Job, NewJob, Place, Resolution, WorkKey};
use crate::time::Timestamp;

impl Content {
    /// T1.
    pub fn create(&mut self, new: NewJob, now: Timestamp) -> CreateResult {
        let known = new.idempotency.as_ref().and_then(|idempotency| {
            let (fingerprint, job) = self.idempotency.get(&(new.project, idempotency.key.clone()))?;
            Some((*fingerprint == idempotency.fingerprint, *job))
        });
        match known {
            Some((false, job)) => return CreateResult::KeyReused(job),
            Some((true, job)) => {
                if let Some(job) = self.view(job) {
                    return CreateResult::Replayed(job);
                }
            }
            // Without a key the job's id makes a create repeatable.
            None => {
                if let Some(job) = self.view(new.job) {
                    return CreateResult::Replayed(job);
                }
            }
        }
        let record = Record::new(new.job, new.project, &new.request, new.deadline, now);
        let request = Arc::new(new.request);
        if let Some(idempotency) = new.idempotency {
            self.idempotency.insert((new.project, idempotency.key), (idempotency.fingerprint, new.job));
        }
        let row = JobRow { record: record.clone(), request: request.clone(), hidden: false, fence_floor: Fence(0) };
        self.jobs.insert(new.job, row);
        self.save_events(&record, &[EventKind::Queued], now);
        self.queue(&record, new.pool, now);
        CreateResult::Created(Job { record, request, output: None })
    }

    /// A drive row that waits for its first submission, or for its deadline. Without a pool anyone may look at it now.
    fn queue(&mut self, record: &Record, pool: PoolId, now: Timestamp) {
        let due_at = if pool == PoolId::NONE { now } else { record.deadline_at.unwrap_or(Timestamp::NEVER) };
        self.add_work(WorkKey::drive(record.job), due_at, Place { pool, queued: true });
    }

    pub fn request_cancel(&mut self, project: ProjectId, job: JobId, now: Timestamp) -> CommandResult {
        let Some(seen) = self.visible(project, job) else { return CommandResult::NotFound };
        let Some(record) = seen.record.with_cancel(now) else { return CommandResult::Done(seen) };
        let pending = record.cancel_pending();
        if let Some(row) = self.jobs.get_mut(&job) {
            row.record = Record { attempt: None, ..record.clone() };
        }
        if pending {
            self.wake(job, None, now);
        }
        CommandResult::Done(Job { record, ..seen })
    }

    /// Notes a decision, or the provider job a person found. A decision is refused where nothing is in doubt any more.
    pub fn resolve_held(
        &mut self,
        project: ProjectId,
        job: JobId,
        resolution: Resolution,
        by: Arc<str>,
        now: Timestamp,
    ) -> CommandResult {
        let Some(seen) = self.visible(project, job) else { return CommandResult::NotFound };
        let held = matches!(seen.record.state, JobState::Held { .. });
        let Some(attempt) = seen.record.attempt.clone().filter(|_| held) else { return CommandResult::Refused(seen) };
        let taken = match resolution {
            Resolution::Decide(verdict) => self.note(job, attempt, Decision { verdict, by }),
            Resolution::Adopt(provider_job) => self.adopt(&seen.record, &attempt, provider_job, now),
        };
        if !taken {
            return CommandResult::Refused(seen);
        }
        self.wake(job, None, now);
        self.done(job)
    }

    fn note(&mut self, job: JobId, attempt: Attempt, decision: Decision) -> bool {
        let open = attempt.state.is_unresolved() && decision.verdict != Verdict::Retried;
        if open {
            self.save_attempt(job, Attempt { decision: Some(decision), ..attempt });
        }
        open
    }

    /// A slip of a person is no evidence: what another attempt has is refused, not taken for "not accepted".
    fn adopt(&mut self, record: &Record, attempt: &Attempt, provider_job: ProviderJobId, now: Timestamp) -> bool {
        if self.is_claimed(attempt.account, &provider_job, Some((record.job, attempt.n))) {
            return false;
        }
        match merge(record, attempt, &Evidence::Accepted(provider_job), false, now) {
            Merge::Unchanged => {}
            Merge::Changed { attempt, watch } => {
                let n = attempt.n;
                self.save_attempt(record.job, attempt);
                if watch {
                    self.watch(record.job, n, now);
                }
            }
            Merge::Orphan(provider_job) => self.add_orphan(record.job, attempt, provider_job),
        }
        true
    }

    /// T22.
    pub fn retry(
        &mut self,
        project: ProjectId,
        job: JobId,
        by: Arc<str>,
        pool: PoolId,
        now: Timestamp,
    ) -> CommandResult {
        let Some(seen) = self.visible(project, job) else { return CommandResult::NotFound };
        let Ok(transition) = apply(&seen.record, Input::Retry(by), now) else { return CommandResult::Refused(seen) };
        let record = transition.record.clone();
        self.save(transition, now);
        self.queue(&record, pool, now);
        self.done(job)
    }

    pub fn hide(&mut self, project: ProjectId, job: JobId) -> (CommandResult, Vec<ArtifactKey>) {
        let Some(seen) = self.visible(project, job) else { return (CommandResult::NotFound, Vec::new()) };
        if !seen.record.state.is_terminal() {
            return (CommandResult::Refused(seen), Vec::new());
        }
        if let Some(row) = self.jobs.get_mut(&job) {
            row.hidden = true;
        }
        let attempts: Vec<AttemptNo> = self.attempts.range(attempts_of(job)).map(|((_, n), _)| *n).collect();
        for n in attempts {
            self.delete_work(WorkKey::watch(job, n));
        }
        let keys = self.artifacts.range((job, AttemptNo(0), 0)..=(job, AttemptNo(u16::MAX), u16::MAX));
        let keys = keys.map(|(_, artifact)| artifact.key.clone()).collect();
        self.artifacts.retain(|(of, ..), _| *of != job);
        (CommandResult::Done(Job { output: None, ..seen }), keys)
    }

    fn done(&self, job: JobId) -> CommandResult {
        self.view(job).map_or(CommandResult::NotFound, CommandResult::Done)
    }
}
