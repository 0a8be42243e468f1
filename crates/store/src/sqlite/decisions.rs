//! Intents and decisions of owners, which are fenced, and evidence, which is not.

use std::collections::BTreeMap;
use std::sync::Arc;

use longtake_core::ablation::{Rule, is_off};
use longtake_core::apply::{Input, apply, apply_late};
use longtake_core::attempt::{Attempt, Evidence, Merge};
use longtake_core::id::{AccountId, ExecutorId, PoolId};
use longtake_core::limits::{AttemptLimits, Pace};
use longtake_core::record::Record;
use longtake_core::state::JobState;
use longtake_core::store::{
    EvidenceRecord, OpenAttempt, OpenResult, Release, StepCommit, StepInput, StepResult, WorkKind,
};
use longtake_core::time::Timestamp;
use rusqlite::{Result, params};

use super::change::Change;
use super::load::{self, Held, Paced};
use super::sql;

/// How many may still run at a provider, counted up to some number.
struct Counted {
    count: u32,
    up_to: u32,
}

impl Counted {
    /// Enough for this limit, or it must be counted again.
    const fn serves(&self, limit: u32) -> bool {
        self.count < self.up_to || limit <= self.up_to
    }
}

/// Jobs that accounts and models have at their providers, counted once per call.
#[derive(Default)]
struct InFlight {
    accounts: BTreeMap<AccountId, Counted>,
    /// With what the pool is; nothing runs in one that has no number.
    pools: BTreeMap<PoolId, (AccountId, Box<str>, Counted)>,
}

impl InFlight {
    /// One more.
    fn opened(&mut self, account: AccountId, model: &str) {
        if let Some(counted) = self.accounts.get_mut(&account) {
            counted.count += 1;
        }
        for (of, name, counted) in self.pools.values_mut() {
            counted.count += u32::from(*of == account && **name == *model);
        }
    }
}

impl Change<'_> {
    /// T2, for each of a call's intents.
    pub fn open_attempts(&mut self, executor: ExecutorId, intents: Vec<OpenAttempt>) -> Result<Vec<OpenResult>> {
        let mut in_flight = InFlight::default();
        let lost = load::quarantine(self.connection)?;
        intents.into_iter().map(|intent| self.open_attempt(executor, intent, lost, &mut in_flight)).collect()
    }

    fn open_attempt(
        &mut self,
        executor: ExecutorId,
        open: OpenAttempt,
        lost: Option<Timestamp>,
        in_flight: &mut InFlight,
    ) -> Result<OpenResult> {
        let OpenAttempt { work, fence, attempt, limits } = open;
        let held = load::held(self.connection, work)?;
        let Some(Held { record, .. }) =
            held.filter(|held| work.kind == WorkKind::Drive && held.owner == Some(executor) && held.fence == fence)
        else {
            return Ok(OpenResult::Stale);
        };
        let (account, model) = (attempt.account, Arc::clone(&attempt.model));
        if lost.is_some_and(|until| record.is_older_than(until)) {
            let lost = record.lost_intent(attempt, self.now);
            let Ok(transition) = apply(&record, Input::HistoryLost(lost), self.now) else {
                return Ok(OpenResult::Conflict(record));
            };
            if let Some(attempt) = &transition.record.attempt {
                self.insert_attempt(work.job, attempt)?;
            }
            self.save(&transition)?;
            in_flight.opened(account, &model);
            return Ok(OpenResult::Doubted(transition.record));
        }
        let Ok(transition) = apply(&record, Input::Intent(attempt), self.now) else {
            return Ok(OpenResult::Conflict(record));
        };
        if self.is_full(account, &limits, in_flight)? {
            return Ok(OpenResult::AccountFull);
        }
        if let Err(again) = self.take_permits(account, &limits)? {
            return Ok(OpenResult::Paced(again));
        }
        if let Some(attempt) = &transition.record.attempt {
            self.insert_attempt(work.job, attempt)?;
        }
        // The row is new, so saving it again would change nothing.
        let saved = longtake_core::apply::Transition { attempt_changed: false, ..transition };
        self.save(&saved)?;
        in_flight.opened(account, &model);
        Ok(OpenResult::Opened(saved.record))
    }

    /// Whether the account, or the model at it, has as many at the provider as it may.
    fn is_full(&self, account: AccountId, limits: &AttemptLimits, known: &mut InFlight) -> Result<bool> {
        if let Some(limit) = limits.account.max_in_flight
            && self.in_flight(account, limit, known)? >= limit
        {
            return Ok(true);
        }
        match limits.model.max_in_flight {
            Some(limit) => Ok(self.in_flight_pool(limits.pool, limit, known)? >= limit),
            None => Ok(false),
        }
    }

    /// Counts rows once per call and account, and again only where a higher limit asks for more.
    fn in_flight(&self, account: AccountId, limit: u32, known: &mut InFlight) -> Result<u32> {
        if let Some(counted) = known.accounts.get(&account).filter(|counted| counted.serves(limit)) {
            return Ok(counted.count);
        }
        let count = load::in_flight(self.connection, account, limit)?;
        known.accounts.insert(account, Counted { count, up_to: limit });
        Ok(count)
    }

    /// The same for a model of an account.
    fn in_flight_pool(&self, pool: PoolId, limit: u32, known: &mut InFlight) -> Result<u32> {
        if let Some((.., counted)) = known.pools.get(&pool).filter(|(.., counted)| counted.serves(limit)) {
            return Ok(counted.count);
        }
        let Some((account, model)) = load::pool_name(self.connection, pool)? else { return Ok(0) };
        let count = load::in_flight_pool(self.connection, account, &model, limit)?;
        known.pools.insert(pool, (account, model, Counted { count, up_to: limit }));
        Ok(count)
    }

    /// One permit of the account's pace and one of the model's, or neither and when to ask again.
    fn take_permits(&self, account: AccountId, limits: &AttemptLimits) -> Result<std::result::Result<(), Timestamp>> {
        let wanted = [(Paced::Account(account), &limits.account), (Paced::Pool(limits.pool), &limits.model)];
        let mut taken = Vec::with_capacity(wanted.len());
        let mut again = None;
        for (paced, limits) in wanted {
            let Some(pace) = Pace::of(limits) else { continue };
            match pace.take(load::tat_at(self.connection, paced)?, self.now) {
                Ok(tat_at) => taken.push((paced.key(), tat_at)),
                Err(at) => again = again.max(Some(at)),
            }
        }
        if let Some(again) = again {
            return Ok(Err(again));
        }
        for ((account, pool), tat_at) in taken {
            self.run(sql::PACE_SET, params![account, pool, tat_at.as_micros()])?;
        }
        Ok(Ok(()))
    }

    /// Rule R5: asks for no owner and may be repeated.
    pub fn record_evidence(&mut self, item: &EvidenceRecord) -> Result<()> {
        let Some((record, _)) = load::record(self.connection, item.job)? else { return Ok(()) };
        let Some(attempt) = load::attempt(self.connection, item.job, item.attempt)? else { return Ok(()) };
        if is_off(Rule::R5) && self.is_late(&record, &attempt)? {
            return Ok(());
        }
        let claimed = match &item.evidence {
            Evidence::Accepted(provider_job) => {
                let except = Some((item.job, item.attempt));
                load::is_claimed(self.connection, attempt.account, provider_job, except)?
            }
            Evidence::NotAccepted(_) | Evidence::Unknown => false,
        };
        match item.merge(&record, &attempt, claimed, self.now) {
            Merge::Unchanged if !item.is_word_of(&attempt) => return Ok(()),
            Merge::Unchanged => {}
            Merge::Changed { attempt, watch } => {
                self.save_attempt(item.job, &attempt)?;
                if watch {
                    self.watch(item.job, item.attempt)?;
                }
            }
            Merge::Orphan(provider_job) => self.add_orphan(item.job, &attempt, &provider_job)?,
        }
        self.save_exchanges(item.job, item.attempt, &item.exchanges)?;
        self.wake(item.job, item.spared(&attempt))
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
            (StepInput::Job(Input::Retry(_) | Input::Intent(_) | Input::HistoryLost(_)), watched) => {
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
        if let Some((due_at, place)) = release {
            self.release(executor, &Release { work, fence, due_at, place })?;
        }
        Ok(StepResult::Applied(record))
    }
}
