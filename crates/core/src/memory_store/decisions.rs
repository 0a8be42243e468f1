//! Intents and decisions of owners, which are fenced, and evidence, which is not.

use super::content::Content;
use crate::ablation::{Rule, is_off};
use crate::apply::{Input, apply, apply_late};
use crate::attempt::{Attempt, Evidence, Merge};
use crate::id::{AccountId, ExecutorId, Fence};
use crate::limits::{AttemptLimits, Pace};
use crate::record::Record;
use crate::state::JobState;
use crate::store::{
    EvidenceRecord, OpenAttempt, OpenResult, Release, StepCommit, StepInput, StepResult, WorkKey, WorkKind,
};
use crate::time::Timestamp;

impl Content {
    /// Whether this executor owns the row under this very number.
    fn holds(&self, executor: ExecutorId, work: WorkKey, fence: Fence) -> bool {
        self.work.get(&work).is_some_and(|row| row.owner == Some(executor) && row.fence == fence)
    }

    /// T2.
    pub fn open_attempt(&mut self, executor: ExecutorId, open: OpenAttempt, now: Timestamp) -> OpenResult {
        let OpenAttempt { work, fence, attempt, limits } = open;
        if work.kind != WorkKind::Drive || !self.holds(executor, work, fence) {
            return OpenResult::Stale;
        }
        let Some(record) = self.record(work.job) else { return OpenResult::Stale };
        let account = attempt.account;
        if self.quarantine.is_some_and(|until| record.is_older_than(until)) {
            let lost = record.lost_intent(attempt, now);
            let Ok(transition) = apply(&record, Input::HistoryLost(lost), now) else {
                return OpenResult::Conflict(record);
            };
            let doubted = transition.record.clone();
            self.save(transition, now);
            return OpenResult::Doubted(doubted);
        }
        let Ok(transition) = apply(&record, Input::Intent(attempt), now) else { return OpenResult::Conflict(record) };
        let full = limits.account.max_in_flight.is_some_and(|limit| self.in_flight(account) >= limit)
            || limits.model.max_in_flight.is_some_and(|limit| self.in_flight_pool(limits.pool) >= limit);
        if full {
            return OpenResult::AccountFull;
        }
        if let Err(again) = self.take_permits(account, &limits, now) {
            return OpenResult::Paced(again);
        }
        let opened = transition.record.clone();
        self.save(transition, now);
        OpenResult::Opened(opened)
    }

    /// One permit of the account's pace and one of the model's, or neither and when to ask again.
    fn take_permits(&mut self, account: AccountId, limits: &AttemptLimits, now: Timestamp) -> Result<(), Timestamp> {
        let start = Timestamp::from_micros(0);
        let of_account = self.account_pace.get(&account).copied().unwrap_or(start);
        let of_pool = self.pool_pace.get(&limits.pool).copied().unwrap_or(start);
        let of_account = Pace::of(&limits.account).map(|pace| pace.take(of_account, now)).transpose();
        let of_pool = Pace::of(&limits.model).map(|pace| pace.take(of_pool, now)).transpose();
        match (of_account, of_pool) {
            (Ok(of_account), Ok(of_pool)) => {
                self.account_pace.extend(of_account.map(|at| (account, at)));
                self.pool_pace.extend(of_pool.map(|at| (limits.pool, at)));
                Ok(())
            }
            (Err(one), Err(other)) => Err(one.max(other)),
            (Err(again), Ok(_)) | (Ok(_), Err(again)) => Err(again),
        }
    }

    /// Rule R5: asks for no owner and may be repeated.
    pub fn record_evidence(&mut self, item: EvidenceRecord, now: Timestamp) {
        let key = (item.job, item.attempt);
        let (Some(record), Some(attempt)) = (self.record(item.job), self.attempts.get(&key).cloned()) else { return };
        if is_off(Rule::R5) && self.is_late(&record, &attempt) {
            return;
        }
        let claimed = match &item.evidence {
            Evidence::Accepted(provider_job) => self.is_claimed(attempt.account, provider_job, Some(key)),
            Evidence::NotAccepted(_) | Evidence::Unknown => false,
        };
        match item.merge(&record, &attempt, claimed, now) {
            Merge::Unchanged if !item.is_word_of(&attempt) => return,
            Merge::Unchanged => {}
            Merge::Changed { attempt, watch } => {
                self.save_attempt(item.job, attempt);
                if watch {
                    self.watch(item.job, item.attempt, now);
                }
            }
            Merge::Orphan(provider_job) => self.add_orphan(item.job, &attempt, provider_job),
        }
        let spared = item.spared(&attempt);
        self.save_exchanges(item.job, item.attempt, item.exchanges);
        self.wake(item.job, spared, now);
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
            (StepInput::Job(Input::Retry(_) | Input::Intent(_) | Input::HistoryLost(_)), watched) => {
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
        if let Some((due_at, place)) = release {
            self.release(executor, &Release { work, fence, due_at, place });
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
