//! Intents and decisions of owners, which are fenced, and evidence, which is not.
//!
//! Two round trips each: begin, lock and load; then save and commit. What comes several times for one job in a call is
//! applied in order in memory and saved once.

use std::collections::BTreeSet;

use longtake_core::ablation::{Rule, is_off};
use longtake_core::apply::{Input, apply, apply_late};
use longtake_core::attempt::{Attempt, Evidence, Merge};
use longtake_core::failpoint;
use longtake_core::id::{AttemptNo, ExecutorId, JobId, ProviderJobId};
use longtake_core::record::Record;
use longtake_core::state::JobState;
use longtake_core::store::{
    EvidenceRecord, OpenAttempt, OpenResult, Release, StepCommit, StepInput, StepResult, WorkKey, WorkKind,
};
use longtake_core::time::Timestamp;
use uuid::Uuid;

use super::limits::{self, InFlight};
use super::load::{self, ids, lock};
use super::picture::{News, Picture};
use super::saves::{self, saves};
use super::session::{Failure, Session};
use super::{PostgresStore, sql};
use crate::rows::postgres::{get, uuid_of};

impl PostgresStore {
    /// T2, for each of a call's intents.
    pub(super) async fn try_open(
        &self,
        executor: ExecutorId,
        intents: &[OpenAttempt],
    ) -> Result<(Vec<OpenResult>, News), Failure> {
        let session =
            self.session(&[load::LOCK, limits::LOCK, saves::ALL, &[sql::PACE_UPDATE, sql::QUARANTINE_GET]]).await?;
        let jobs = ids(intents.iter().map(|intent| intent.work.job));
        let kept = limits::Kept::of(intents);
        // The limits come last: who waits for them holds the jobs, and nobody who has them asks for a job.
        let (picture, in_flight, quarantine) = futures::join!(
            lock(&session, &jobs, &[], self.bound_now()),
            limits::lock(&session, &kept),
            super::quarantine::get_of(&session)
        );
        let (mut picture, mut in_flight, quarantine) = (picture?, in_flight?, quarantine?);
        let answers: Vec<OpenResult> = (intents.iter())
            .map(|intent| open(&mut picture, &mut in_flight, quarantine, executor, intent.clone()))
            .collect();
        let mut all = saves(&picture)?;
        all.extend(in_flight.save());
        failpoint::hit("C4.before");
        session.save(all).await?;
        failpoint::hit("C4.after");
        Ok((answers, picture.news))
    }

    /// Rule R5: asks for no owner and may be repeated.
    pub(super) async fn try_evidence(&self, evidence: &[EvidenceRecord]) -> Result<((), News), Failure> {
        let session = self.session(&[load::LOCK, saves::ALL, &[sql::CLAIMED_BY_OTHERS]]).await?;
        let jobs = ids(evidence.iter().map(|item| item.job));
        let named: BTreeSet<(JobId, AttemptNo)> = evidence.iter().map(|item| (item.job, item.attempt)).collect();
        let named: Vec<_> = named.into_iter().collect();
        let (picture, claimed) =
            futures::join!(lock(&session, &jobs, &named, self.bound_now()), claimed_by_others(&session, evidence));
        let (mut picture, claimed) = (picture?, claimed?);
        for (place, item) in evidence.iter().enumerate() {
            record_evidence(&mut picture, item.clone(), claimed.contains(&place));
        }
        session.save(saves(&picture)?).await?;
        failpoint::hit("C8");
        Ok(((), picture.news))
    }

    /// Decisions of one owner: all of each, or nothing of it.
    pub(super) async fn try_step(
        &self,
        executor: ExecutorId,
        commits: &[StepCommit],
    ) -> Result<(Vec<StepResult>, News), Failure> {
        let session = self.session(&[load::LOCK, saves::ALL]).await?;
        let jobs = ids(commits.iter().map(|commit| commit.work.job));
        let watched = commits.iter().filter(|commit| commit.work.kind == WorkKind::Watch);
        let named: BTreeSet<_> = watched.filter_map(|commit| watched_of(commit.work)).collect();
        let named: Vec<_> = named.into_iter().collect();
        let mut picture = lock(&session, &jobs, &named, self.bound_now()).await?;
        let answers = commits.iter().map(|commit| step(&mut picture, executor, commit.clone())).collect();
        session.save(saves(&picture)?).await?;
        if picture.news.finished {
            failpoint::hit("C14");
        }
        Ok((answers, picture.news))
    }
}

fn watched_of(work: WorkKey) -> Option<(JobId, AttemptNo)> {
    Some((work.job, AttemptNo(u16::try_from(work.reference).ok()?)))
}

fn open(
    picture: &mut Picture,
    in_flight: &mut InFlight,
    quarantine: Option<Timestamp>,
    executor: ExecutorId,
    open: OpenAttempt,
) -> OpenResult {
    let OpenAttempt { work, fence, attempt, limits } = open;
    if work.kind != WorkKind::Drive || !picture.holds(executor, work, fence) {
        return OpenResult::Stale;
    }
    let Some(record) = picture.job(work.job).map(|rows| rows.full_record()) else { return OpenResult::Stale };
    let account = attempt.account;
    let model = attempt.model.clone();
    if quarantine.is_some_and(|until| record.is_older_than(until)) {
        let lost = record.lost_intent(attempt, picture.now);
        let Ok(transition) = apply(&record, Input::HistoryLost(lost), picture.now) else {
            return OpenResult::Conflict(record);
        };
        in_flight.opened(account, &model);
        let doubted = transition.record.clone();
        picture.save(transition);
        return OpenResult::Doubted(doubted);
    }
    let Ok(transition) = apply(&record, Input::Intent(attempt), picture.now) else {
        return OpenResult::Conflict(record);
    };
    if in_flight.is_full(account, &limits) {
        return OpenResult::AccountFull;
    }
    if let Err(again) = in_flight.take_permits(account, &limits, picture.now) {
        return OpenResult::Paced(again);
    }
    in_flight.opened(account, &model);
    let opened = transition.record.clone();
    picture.save(transition);
    OpenResult::Opened(opened)
}

fn record_evidence(picture: &mut Picture, item: EvidenceRecord, claimed: bool) {
    let Some(rows) = picture.job(item.job) else { return };
    let Some(attempt) = rows.attempts.get(&item.attempt).cloned() else { return };
    let record = rows.full_record();
    if is_off(Rule::R5) && is_late(picture, &record, &attempt) {
        return;
    }
    let claimed = match &item.evidence {
        Evidence::Accepted(provider_job) => {
            claimed || picture.is_claimed(attempt.account, provider_job, (item.job, item.attempt))
        }
        Evidence::NotAccepted(_) | Evidence::Unknown => false,
    };
    match item.merge(&record, &attempt, claimed, picture.now) {
        Merge::Unchanged if !item.is_word_of(&attempt) => return,
        Merge::Unchanged => {}
        Merge::Changed { attempt, watch } => {
            picture.save_attempt(item.job, attempt);
            if watch {
                picture.watch(item.job, item.attempt);
            }
        }
        Merge::Orphan(provider_job) => picture.add_orphan(item.job, &attempt, provider_job),
    }
    let spared = item.spared(&attempt);
    picture.save_exchanges(item.job, item.attempt, item.exchanges);
    picture.wake(item.job, spared);
}

/// With rule R5 off: evidence counts only while the sender still owns the job, or its successor is finding out.
/// What comes while nobody owns it, before the successor took over, or after the end, is lost.
fn is_late(picture: &Picture, record: &Record, attempt: &Attempt) -> bool {
    let drive = picture.job(record.job).and_then(|rows| rows.work.get(&WorkKey::drive(record.job)));
    let owner = drive.and_then(|row| row.owner);
    let verifying = matches!(record.state, JobState::Verifying { .. } | JobState::Held { .. });
    !owner.is_some_and(|owner| owner == attempt.executor || verifying)
}

fn step(picture: &mut Picture, executor: ExecutorId, commit: StepCommit) -> StepResult {
    let StepCommit { work, fence, input, exchanges, release } = commit;
    if !picture.holds(executor, work, fence) {
        return StepResult::Stale;
    }
    let Some(record) = picture.job(work.job).map(|rows| rows.full_record()) else { return StepResult::Stale };
    let watched = picture.watched(work).cloned();
    let (record, attempt) = match (input, watched) {
        // A retry has no owner, and an intent says whether its account has room.
        (StepInput::Job(Input::Retry(_) | Input::Intent(_) | Input::HistoryLost(_)), watched) => {
            return StepResult::Conflict(record, watched);
        }
        (StepInput::Job(input), None) => {
            let Ok(transition) = apply(&record, input, picture.now) else {
                return StepResult::Conflict(record, None);
            };
            let applied = transition.record.clone();
            picture.save(transition);
            let attempt = applied.attempt.as_ref().map(|attempt| attempt.n);
            (applied, attempt)
        }
        (StepInput::Late(input), Some(late)) => {
            let Ok(settled) = apply_late(&record, &late, input, picture.now) else {
                return StepResult::Conflict(record, Some(late));
            };
            let applied = settled.record.clone();
            picture.save_late(work, settled);
            (applied, Some(late.n))
        }
        (_, watched) => return StepResult::Conflict(record, watched),
    };
    if let Some(n) = attempt {
        picture.save_exchanges(work.job, n, exchanges);
    }
    if let Some((due_at, place)) = release {
        picture.release(executor, &Release { work, fence, due_at, place });
    }
    StepResult::Applied(record)
}

/// Places of the evidence that names a provider job which another attempt or an orphan has.
async fn claimed_by_others(session: &Session, evidence: &[EvidenceRecord]) -> Result<BTreeSet<usize>, Failure> {
    let accepted: Vec<(usize, Uuid, i32, &ProviderJobId)> = (evidence.iter().enumerate())
        .filter_map(|(place, item)| match &item.evidence {
            Evidence::Accepted(name) => Some((place, uuid_of(item.job), i32::from(item.attempt.0), name)),
            Evidence::NotAccepted(_) | Evidence::Unknown => None,
        })
        .collect();
    if accepted.is_empty() {
        return Ok(BTreeSet::new());
    }
    let jobs: Vec<Uuid> = accepted.iter().map(|item| item.1).collect();
    let ns: Vec<i32> = accepted.iter().map(|item| item.2).collect();
    let names: Vec<&str> = accepted.iter().map(|item| item.3.as_str()).collect();
    let rows = session.rows(sql::CLAIMED_BY_OTHERS, &[&jobs, &ns, &names]).await?;
    let mut claimed = BTreeSet::new();
    for row in &rows {
        let place = usize::try_from(get::<i64>(row, 0)? - 1).unwrap_or(usize::MAX);
        if get::<bool>(row, 1)? {
            claimed.extend(accepted.get(place).map(|item| item.0));
        }
    }
    Ok(claimed)
}
