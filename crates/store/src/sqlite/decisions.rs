//! Intents and decisions of owners, which are fenced, and evidence, which is not.

use std::collections::BTreeMap;

use longtake_core::ablation::{Rule, is_off};
use longtake_core::apply::{Input, apply, apply_late};
use longtake_core::attempt::{Attempt, Evidence, Merge, merge};
use longtake_core::id::{AccountId, ExecutorId};
use longtake_core::record::Record;
use longtake_core::state::JobState;
use longtake_core::store::{EvidenceRecord, OpenAttempt, OpenResult, StepCommit, StepInput, StepResult, WorkKind};
use rusqlite::Result;

use super::change::Change;
use super::load::{self, Held};
use super::sql;

/// Jobs that accounts have at their providers, counted once per call: (how many, counted up to).
pub(super) type InFlight = BTreeMap<AccountId, (u32, u32)>;

impl Change<'_> {
    /// T2, for each of a call's intents.
    pub fn open_attempts(&mut self, executor: ExecutorId, intents: Vec<OpenAttempt>) -> Result<Vec<OpenResult>> {
        let mut in_flight = InFlight::new();
        intents.into_iter().map(|intent| self.open_attempt(executor, intent, &mut in_flight)).collect()
    }

    fn open_attempt(
        &mut self,
        executor: ExecutorId,
        open: OpenAttempt,
        in_flight: &mut InFlight,
    ) -> Result<OpenResult> {
        let OpenAttempt { work, fence, attempt, account_limit } = open;
        let held = load::held(self.connection, work)?;
        let Some(Held { record, .. }) =
            held.filter(|held| work.kind == WorkKind::Drive && held.owner == Some(executor) && held.fence == fence)
        else {
            return Ok(OpenResult::Stale);
        };
        let account = attempt.account;
        let Ok(transition) = apply(&record, Input::Intent(attempt), self.now) else {
            return Ok(OpenResult::Conflict(record));
        };
        if let Some(limit) = account_limit
            && self.in_flight(account, limit, in_flight)? >= limit
        {
            return Ok(OpenResult::AccountFull);
        }
        if let Some(attempt) = &transition.record.attempt {
            self.insert_attempt(work.job, attempt)?;
        }
        // The row is new, so saving it again would change nothing.
        let saved = longtake_core::apply::Transition { attempt_changed: false, ..transition };
        self.save(&saved)?;
        if let Some((count, _)) = in_flight.get_mut(&account) {
            *count += 1;
        }
        Ok(OpenResult::Opened(saved.record))
    }

    /// Counts rows once per call and account, and again only where a higher limit asks for more.
    fn in_flight(&self, account: AccountId, limit: u32, known: &mut InFlight) -> Result<u32> {
        if let Some((count, counted_to)) = known.get(&account)
            && (*count < *counted_to || limit <= *counted_to)
        {
            return Ok(*count);
        }
        let count = load::in_flight(self.connection, account, limit)?;
        known.insert(account, (count, limit));
        Ok(count)
    }

    /// Rule R5: asks for no owner and may be repeated.
    pub fn record_evidence(&mut self, item: &EvidenceRecord) -> Result<()> {
        let Some((record, _)) = load::record(self.connection, item.job)? else { return Ok(()) };
        let Some(attempt) = load::attempt(self.connection, item.job, item.attempt)? else { return Ok(()) };
        if !item.concerns(&attempt) || (is_off(Rule::R5) && self.is_late(&record, &attempt)?) {
            return Ok(());
        }
        let claimed = match &item.evidence {
            Evidence::Accepted(provider_job) => {
                let except = Some((item.job, item.attempt));
                load::is_claimed(self.connection, attempt.account, provider_job, except)?
            }
            Evidence::NotAccepted(_) | Evidence::Unknown => false,
        };
        match merge(&record, &attempt, &item.evidence, claimed, self.now) {
            Merge::Unchanged => return Ok(()),
            Merge::Changed { attempt, watch } => {
                self.save_attempt(item.job, &attempt)?;
                if watch {
                    self.watch(item.job, item.attempt)?;
                }
            }
            Merge::Orphan(provider_job) => self.add_orphan(item.job, &attempt, &provider_job)?,
        }
        self.save_exchanges(item.job, item.attempt, &item.exchanges)?;
        // The testifier may have lost the job since: only the sender that still owns it needs no waking.
        self.wake(item.job, (!item.wake).then_some(attempt.executor))
    }

    /// With rule R5 off: evidence counts only while the sender still owns the job, or its successor is finding out.
    /// What comes while nobody owns it, before the successor took over, or after the end, is lost.
    fn is_late(&self, record: &Record, attempt: &Attempt) -> Result<bool> {
        let owner = load::first(self.connection, sql::DRIVE_OWNER, [record.job.as_bytes()], |row| {
            Ok(row.get::<_, Option<i64>>(0)?.map(ExecutorId))
        })?;
        let verifying = matches!(record.state, JobState::Verifying { .. } | JobState::Held { .. });
        Ok(!owner.flatten().is_some_and(|owner| owner == attempt.executor || verifying))
    }

    /// One decision: all of it or nothing of it.
    pub fn step(&mut self, executor: ExecutorId, commit: StepCommit) -> Result<StepResult> {
        let StepCommit { work, fence, input, exchanges, release } = commit;
        let held = load::held(self.connection, work)?;
        let Some(Held { record, .. }) = held.filter(|held| held.owner == Some(executor) && held.fence == fence) else {
            return Ok(StepResult::Stale);
        };
        let watched = self.watched(work)?;
        let (record, attempt) = match (input, watched) {
            // A retry has no owner, and an intent says whether its account has room.
            (StepInput::Job(Input::Retry(_) | Input::Intent(_)), watched) => {
                return Ok(StepResult::Conflict(record, watched));
            }
            (StepInput::Job(input), None) => {
                let Ok(mut transition) = apply(&record, input, self.now) else {
                    return Ok(StepResult::Conflict(record, None));
                };
                // Evidence is on the attempt before the job folds it in: then there is nothing to write.
                transition.attempt_changed &= transition.record.attempt != record.attempt;
                self.save(&transition)?;
                let attempt = transition.record.attempt.as_ref().map(|attempt| attempt.n);
                (transition.record, attempt)
            }
            (StepInput::Late(input), Some(late)) => {
                let Ok(settled) = apply_late(&record, &late, input, self.now) else {
                    return Ok(StepResult::Conflict(record, Some(late)));
                };
                self.save_late(work, &settled)?;
                (settled.record, Some(late.n))
            }
            (_, watched) => return Ok(StepResult::Conflict(record, watched)),
        };
        if let Some(n) = attempt {
            self.save_exchanges(work.job, n, &exchanges)?;
        }
        if let Some(due_at) = release {
            self.release(executor, work, fence, due_at)?;
        }
        Ok(StepResult::Applied(record))
    }
}
