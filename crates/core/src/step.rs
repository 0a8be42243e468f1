//! The one thing to do now for a job, chosen purely.

use crate::attempt::{Attempt, AttemptState};
use crate::record::Record;
use crate::state::JobState;
use crate::time::Timestamp;

/// Why a job ends before its result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// The client canceled it.
    Cancel,
    /// The client's deadline passed.
    Deadline,
}

/// What an owner does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Make an attempt.
    Submit,
    /// Take up evidence or a decision that is already on the attempt.
    Fold,
    /// The intent is another's: say so (rule R4).
    TakeOver,
    /// Find out what became of the submission.
    Verify,
    /// Ask the provider how far it is.
    Poll,
    /// Copy the provider's bytes.
    Store,
    /// End it for the client; at the provider too, if it has it.
    Stop(Stop),
    /// Held: nothing to do before evidence, a decision or a deadline.
    Wait,
}

/// Chooses the step; `None` when the job is finished. Asked of a job just acquired, or just changed by its owner.
pub fn next_step(record: &Record, now: Timestamp) -> Option<Step> {
    let attempt = record.attempt.as_ref();
    let known = attempt.map(|attempt| attempt.state);
    let decided = attempt.is_some_and(|attempt| attempt.decision.is_some());
    let stop = stop(record, now);
    let step = match (&record.state, known, stop) {
        (JobState::Completed | JobState::Failed { .. } | JobState::Canceled, ..) => return None,
        // What is known is taken up before anything else is decided.
        _ if record.has_news() => Step::Fold,
        (JobState::Queued, _, Some(stop)) => Step::Stop(stop),
        (JobState::Queued, _, None) => Step::Submit,
        (JobState::Submitting { .. }, Some(AttemptState::Unknown), _) => Step::Fold,
        (JobState::Submitting { .. }, ..) => Step::TakeOver,
        // A cancel waits for the outcome; the deadline does not.
        (JobState::Verifying { .. } | JobState::Storing { .. }, ..) if record.deadline_passed(now) => {
            Step::Stop(Stop::Deadline)
        }
        (JobState::Verifying { .. }, ..) => Step::Verify,
        (JobState::Held { .. }, ..) if decided => Step::Fold,
        (JobState::Held { .. }, _, Some(stop)) => Step::Stop(stop),
        (JobState::Held { .. }, ..) => Step::Wait,
        (JobState::Running { .. }, _, Some(stop)) => Step::Stop(stop),
        (JobState::Running { .. }, ..) => Step::Poll,
        (JobState::Storing { .. }, ..) => Step::Store,
    };
    Some(step)
}

fn stop(record: &Record, now: Timestamp) -> Option<Stop> {
    if record.cancel_pending() {
        Some(Stop::Cancel)
    } else if record.deadline_passed(now) {
        Some(Stop::Deadline)
    } else {
        None
    }
}

/// What the owner of a watch row does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchStep {
    /// The provider has it: ask it to cancel once, then poll and store.
    Follow,
    /// Nobody knows: look it up.
    Verify,
    /// It is settled: delete the row.
    Settle,
}

/// Chooses the step for a late attempt. It never submits.
pub const fn watch_step(attempt: &Attempt) -> WatchStep {
    match attempt.state {
        AttemptState::LateAccepted => WatchStep::Follow,
        AttemptState::Intent | AttemptState::Unknown | AttemptState::Waived => WatchStep::Verify,
        // Accepted: revived after all, so its job waits for it again and drives it.
        AttemptState::Accepted | AttemptState::NotAccepted | AttemptState::FailedAtProvider | AttemptState::Done => {
            WatchStep::Settle
        }
    }
}
