//! The invariants that rows alone can show. Numbers: docs/durability.md.

use super::attempts_of;
use super::content::Content;
use crate::attempt::{Attempt, AttemptState};
use crate::event::EventKind;
use crate::id::JobId;
use crate::record::Record;
use crate::state::JobState;
use crate::store::{WorkKey, WorkKind};

/// How much an attempt's state is based on: it only ever grows (I11).
pub const fn evidence_rank(state: AttemptState) -> u8 {
    match state {
        AttemptState::Intent => 0,
        AttemptState::Unknown => 1,
        AttemptState::Waived => 2,
        AttemptState::NotAccepted => 3,
        AttemptState::Accepted => 4,
        AttemptState::LateAccepted => 5,
        AttemptState::FailedAtProvider | AttemptState::Done => 6,
    }
}

pub(super) fn audit(content: &Content) -> Result<(), String> {
    for job in content.jobs.keys() {
        let record = content.record(*job).ok_or("a job without a record")?;
        work_of(content, &record)?;
        attempts(content, &record)?;
        waits_for(&record)?;
        events(content, &record)?;
        let hidden = content.jobs.get(job).is_some_and(|row| row.hidden);
        let stored =
            content.attempts.range(attempts_of(*job)).filter(|(_, attempt)| attempt.state == AttemptState::Done);
        for (key @ (_, n), _) in stored {
            let gone = hidden || content.stripped.contains(key);
            check(gone || content.artifacts.contains_key(&(*job, *n, 0)), "I8: done without its output", *job)?;
        }
    }
    for (key, row) in &content.work {
        check(content.jobs.contains_key(&key.job), "I1: work without a job", key.job)?;
        let highest = content.highest_fence.get(key);
        check(highest.is_none_or(|highest| row.fence >= *highest), "I5: a fence went down", key.job)?;
    }
    for ((project, _), (_, job)) in &content.idempotency {
        let same = content.jobs.get(job).is_some_and(|row| row.record.project == *project);
        check(same, "I10: a key that stands for no job of its project", *job)?;
    }
    Ok(())
}

fn check(holds: bool, what: &str, job: JobId) -> Result<(), String> {
    if holds { Ok(()) } else { Err(format!("{what}: {job}")) }
}

/// I1: work rows.
fn work_of(content: &Content, record: &Record) -> Result<(), String> {
    let job = record.job;
    let driven = content.work.contains_key(&WorkKey::drive(job));
    check(driven != record.state.is_terminal(), "I1: a live job has one drive row, a finished one none", job)?;
    let rows = content.work.keys().filter(|key| key.job == job && key.kind == WorkKind::Watch);
    for key in rows {
        check(content.watched_attempt(*key).is_some(), "I1: a watch row without an attempt", job)?;
    }
    let hidden = content.jobs.get(&job).is_some_and(|row| row.hidden);
    for (key, attempt) in content.attempts.range(attempts_of(job)) {
        let watched = content.work.contains_key(&WorkKey::watch(job, attempt.n));
        let owed = is_late(record, attempt) && !hidden && !content.settled.contains(key);
        check(watched || !owed, "I1: a late attempt without a watch row", job)?;
        check(!(watched && hidden), "a hidden job with a watch row", job)?;
    }
    Ok(())
}

/// Its job does not wait for it, and it may still yield a paid result.
fn is_late(record: &Record, attempt: &Attempt) -> bool {
    match attempt.state {
        AttemptState::LateAccepted | AttemptState::Waived => true,
        AttemptState::Intent | AttemptState::Accepted | AttemptState::Unknown => record.state.is_terminal(),
        AttemptState::NotAccepted | AttemptState::FailedAtProvider | AttemptState::Done => false,
    }
}

/// I2, I11: attempts.
fn attempts(content: &Content, record: &Record) -> Result<(), String> {
    let job = record.job;
    let open = content.attempts.range(attempts_of(job)).filter(|(_, attempt)| attempt.state.is_open());
    let open: Vec<_> = open.map(|((_, n), _)| *n).collect();
    let latest = record.attempt.as_ref().map(|attempt| attempt.n);
    check(open.len() <= 1, "I2: two open attempts", job)?;
    check(open.is_empty() || open.last().copied() == latest, "I2: an attempt was opened over an open one", job)?;
    for (key, attempt) in content.attempts.range(attempts_of(job)) {
        let highest = content.highest_rank.get(key).copied().unwrap_or_default();
        check(evidence_rank(attempt.state) >= highest, "I11: evidence went down", job)?;
        let named = matches!(
            attempt.state,
            AttemptState::Accepted | AttemptState::LateAccepted | AttemptState::FailedAtProvider | AttemptState::Done
        );
        check(named == attempt.provider_job.is_some(), "accepted and a provider job belong together", job)?;
    }
    Ok(())
}

/// The state names its latest attempt, which is what the state says.
fn waits_for(record: &Record) -> Result<(), String> {
    let job = record.job;
    let latest = record.attempt.as_ref();
    let known = latest.map(|attempt| attempt.state);
    if let Some(n) = record.state.attempt() {
        check(latest.is_some_and(|latest| latest.n == n), "a state that waits for an old attempt", job)?;
    }
    let fits = match &record.state {
        JobState::Queued => !matches!(known, Some(AttemptState::Intent | AttemptState::Unknown)),
        JobState::Submitting { .. } | JobState::Verifying { .. } | JobState::Held { .. } => {
            known.is_some_and(|known| known.is_open() || known == AttemptState::NotAccepted)
        }
        JobState::Running { provider_job, .. } | JobState::Storing { provider_job, .. } => {
            known == Some(AttemptState::Accepted)
                && latest.is_some_and(|latest| latest.provider_job.as_ref() == Some(provider_job))
        }
        JobState::Completed => known == Some(AttemptState::Done),
        JobState::Failed { .. } | JobState::Canceled => known != Some(AttemptState::Accepted),
    };
    check(fits, "a state that its attempt contradicts", job)
}

/// I6: dense, one terminal event per life, nothing but late results after it, and a replay gives the state. Where
/// retention removed older events, what is left is in order, and says the state unless that was removed too.
fn events(content: &Content, record: &Record) -> Result<(), String> {
    let job = record.job;
    let log = content.events.get(&job).map_or(&[][..], Vec::as_slice);
    let trimmed = content.trimmed.contains(&job);
    let dense = log.iter().zip(1..).all(|(event, ver)| event.ver == ver)
        && log.len() == usize::try_from(record.ver).unwrap_or(usize::MAX);
    let ascending = log.is_sorted_by(|one, next| one.ver < next.ver);
    let last = log.last().is_none_or(|event| event.ver == record.ver);
    check(if trimmed { ascending && last } else { dense }, "I6: events are not dense", job)?;
    let mut finished = false;
    let mut replayed = None;
    for event in log {
        let follows = match event.kind {
            EventKind::LateResult => true,
            EventKind::Queued => true,
            _ => !finished,
        };
        check(follows, "I6: an event after the last one of its life", job)?;
        if event.kind != EventKind::LateResult {
            finished = event.kind.is_terminal();
            replayed = Some(event.snapshot.state);
        }
    }
    if trimmed && replayed.is_none() {
        return Ok(());
    }
    check(finished == record.state.is_terminal(), "I6: finished without its event, or the other way round", job)?;
    check(replayed == Some(record.state.name()), "I6: a replay gives another state", job)
}
