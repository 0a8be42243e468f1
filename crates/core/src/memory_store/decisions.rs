//! Intents and decisions of owners, which are fenced, and evidence, which is not.

use super::content::Content;
use crate::ablation::{Rule, is_off};
use crate::apply::{Input, apply, apply_late};
use crate::attempt::{Attempt, Evidence, Merge, merge};
use crate::id::{ExecutorId, Fence};
use crate::record::Record;
use crate::state::JobState;
use crate::store::{EvidenceRecord, OpenAttempt, OpenResult, StepCommit, StepInput, StepResult, WorkKey, WorkKind};
use crate::time::Timestamp;

impl Content {
    /// Whether this executor owns the row under this very number.
    fn holds(&self, executor: ExecutorId, work: WorkKey, fence: Fence) -> bool {
        self.work.get(&work).is_some_and(|row| row.owner == Some(executor) && row.fence == fence)
    }

    /// T2.
    pub fn open_attempt(&mut self, executor: ExecutorId, open: OpenAttempt, now: Timestamp) -> OpenResult {
        let OpenAttempt { work, fence, attempt, account_limit } = open;
        if work.kind != WorkKind::Drive || !self.holds(executor, work, fence) {
            return OpenResult::Stale;
        }
        let Some(record) = self.record(work.job) else { return OpenResult::Stale };
        let account = attempt.account;
        let Ok(transition) = apply(&record, Input::Intent(attempt), now) else { return OpenResult::Conflict(record) };
        if account_limit.is_some_and(|limit| self.in_flight(account) >= limit) {
            return OpenResult::AccountFull;
        }
        let opened = transition.record.clone();
        self.save(transition, now);
        OpenResult::Opened(opened)
    }

    /// Rule R5: asks for no owner and may be repeated.
    pub fn record_evidence(&mut self, item: EvidenceRecord, now: Timestamp) {
        let key = (item.job, item.attempt);
        let (Some(record), Some(attempt)) = (self.record(item.job), self.attempts.get(&key).cloned()) else { return };
        if !item.concerns(&attempt) || (is_off(Rule::R5) && self.is_late(&record, &attempt)) {
            return;
        }
        let claimed = match &item.evidence {
            Evidence::Accepted(provider_job) => self.is_claimed(attempt.account, provider_job, Some(key)),
            Evidence::NotAccepted(_) | Evidence::Unknown => false,
        };
        match merge(&record, &attempt, &item.evidence, claimed, now) {
            Merge::Unchanged => return,
            Merge::Changed { attempt, watch } => {
                self.save_attempt(item.job, attempt);
                if watch {
                    self.watch(item.job, item.attempt, now);
                }
            }
            Merge::Orphan(provider_job) => self.add_orphan(item.job, &attempt, provider_job),
        }
        self.save_exchanges(item.job, item.attempt, item.exchanges);
        // The testifier may have lost the job since: only the sender that still owns it needs no waking.
        self.wake(item.job, (!item.wake).then_some(attempt.executor), now);
    }

    /// With rule R5 off: evidence counts only while the sender still owns the job, or its successor is finding out.
    /// What comes while nobody owns it, before the successor took over, or after the end, is lost.
    fn is_late(&self, record: &Record, attempt: &Attempt) -> bool {
        let owner = self.work.get(&WorkKey::drive(record.job)).and_then(|row| row.owner);
        let verifying = matches!(record.state, JobState::Verifying { .. } | JobState::Held { .. });
        !owner.is_some_and(|owner| owner == attempt.executor || verifying)
    }

    /// One decision: all of it or nothing of it.
    pub fn step(&mut self, executor: ExecutorId, commit: StepCommit, now: Timestamp) -> StepResult {
        let StepCommit { work, fence, input, exchanges, release } = commit;
        if !self.holds(executor, work, fence) {
            return StepResult::Stale;
        }
        let Some(record) = self.record(work.job) else { return StepResult::Stale };
        let watched = match work.kind {
            WorkKind::Drive => None,
            WorkKind::Watch => self.watched_attempt(work).cloned(),
        };
        let (record, attempt) = match (input, watched) {
            // A retry has no owner, and an intent says whether its account has room.
            (StepInput::Job(Input::Retry(_) | Input::Intent(_)), watched) => {
                return StepResult::Conflict(record, watched);
            }
            (StepInput::Job(input), None) => {
                let Ok(transition) = apply(&record, input, now) else { return StepResult::Conflict(record, None) };
                let applied = transition.record.clone();
                self.save(transition, now);
                let attempt = applied.attempt.as_ref().map(|attempt| attempt.n);
                (applied, attempt)
            }
            (StepInput::Late(input), Some(late)) => {
                let Ok(settled) = apply_late(&record, &late, input, now) else {
                    return StepResult::Conflict(record, Some(late));
                };
                let n = late.n;
                let applied = settled.record.clone();
                self.save_late(work, settled, now);
                (applied, Some(n))
            }
            (_, watched) => return StepResult::Conflict(record, watched),
        };
        if let Some(n) = attempt {
            self.save_exchanges(work.job, n, exchanges);
        }
        if let Some(due_at) = release {
            self.release(executor, work, fence, due_at);
        }
        StepResult::Applied(record)
    }

    fn save_late(&mut self, work: WorkKey, settled: crate::apply::LateTransition, now: Timestamp) {
        let crate::apply::LateTransition { mut record, attempt, event, artifacts, orphan } = settled;
        for artifact in artifacts {
            self.artifacts.insert((work.job, artifact.attempt, artifact.n), artifact);
        }
        if let Some(event) = event {
            self.save_events(&record, &[event], now);
        }
        if orphan && let Some(provider_job) = attempt.provider_job.clone() {
            self.add_orphan(work.job, &attempt, provider_job);
        }
        record.attempt = None;
        if let Some(row) = self.jobs.get_mut(&work.job) {
            row.record = record;
        }
        self.save_attempt(work.job, attempt);
        self.delete_work(work);
    }
}
