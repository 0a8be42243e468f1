//! Transitions: one pure function, one arm per row of the table (docs/durability.md). Nothing else makes a state.

use crate::artifact::Artifact;
use crate::attempt::{Attempt, AttemptState, Decision, Rejection, Retry, Verdict};
use crate::cost::over_limit;
use crate::event::EventKind;
use crate::failure::{Failure, FailureCode};
use crate::pacing::Budget;
use crate::record::{Cancel, CancelOutcome, Record};
use crate::state::{JobState, StateName};
use crate::time::Timestamp;

/// What happened to a job, as its owner (or, for `Retry`, a client) tells it.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// T2: an intent is to be made durable. It must be in state `Intent` and carry the next number.
    Intent(Attempt),
    /// Rule R12: a submission of this number may have been sent in a history that was lost. An intent as for T2; it becomes unknown.
    HistoryLost(Attempt),
    /// T3-T6, T9: take up what the attempt's evidence, or a person's decision on it, says.
    Fold(Budget),
    /// T6: the intent belongs to another incarnation.
    TakenOver,
    /// T7: the provider provably does not have it (rule R7).
    Absent(Budget),
    /// T8: the time for finding out is over.
    VerifyExpired,
    /// T9: a policy decides.
    Decide(Decision),
    /// T10: the provider's figure changed enough to tell.
    Progress(u8),
    /// T11: the provider is done.
    ProviderDone,
    /// T12, T13: it ended there without a result. `Retry::Never` where another attempt would be paid twice.
    ProviderFailed(Failure, Retry, Budget),
    /// T15: every output is stored and verified.
    Stored(Vec<Artifact>),
    /// T16: the provider's bytes are gone for good.
    SourceGone(Failure),
    /// T17: end it for the client. What the provider said to the cancel.
    Canceled(CancelOutcome),
    /// T18: the client's deadline passed. `stopped`: the provider stopped the work.
    DeadlinePassed {
        /// Nothing more will come of it.
        stopped: bool,
    },
    /// T22: the client wants it again. Who asked.
    Retry(std::sync::Arc<str>),
    /// T23: no route for another attempt fits below the client's limit on cost.
    OverLimit,
}

impl Input {
    /// A word for errors and logs.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Intent(_) => "intent",
            Self::HistoryLost(_) => "history_lost",
            Self::Fold(_) => "fold",
            Self::TakenOver => "taken_over",
            Self::Absent(_) => "absent",
            Self::VerifyExpired => "verify_expired",
            Self::Decide(_) => "decide",
            Self::Progress(_) => "progress",
            Self::ProviderDone => "provider_done",
            Self::ProviderFailed(..) => "provider_failed",
            Self::Stored(_) => "stored",
            Self::SourceGone(_) => "source_gone",
            Self::Canceled(_) => "canceled",
            Self::DeadlinePassed { .. } => "deadline_passed",
            Self::Retry(_) => "retry",
            Self::OverLimit => "over_limit",
        }
    }
}

/// The job afterwards, and what is written with it in one transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Transition {
    /// The new record; its `ver` counts the events.
    pub record: Record,
    /// The events, in order; the last has number `record.ver`.
    pub events: Vec<EventKind>,
    /// The attempt row in `record.attempt` changed (or, at T2, is new).
    pub attempt_changed: bool,
    /// The attempt is late from now on: it must have a watch row.
    pub watch: bool,
    /// Outputs to be recorded.
    pub artifacts: Vec<Artifact>,
}

/// The table has no such row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a job that is {} cannot take {on}", from.word())]
pub struct InvalidTransition {
    /// Where it stands.
    pub from: StateName,
    /// What it was told.
    pub on: &'static str,
}

/// Applies one input to one job.
///
/// # Errors
/// `InvalidTransition` where the table has no such row: the caller's picture is old; it reads again.
pub fn apply(record: &Record, input: Input, now: Timestamp) -> Result<Transition, InvalidTransition> {
    let invalid = InvalidTransition { from: record.state.name(), on: input.name() };
    // Evidence that is not taken up yet would be overruled by an old picture: the caller folds it in first.
    if record.has_news() && !matches!(input, Input::Fold(_)) {
        return Err(invalid);
    }
    let change = Change { record: record.clone(), now };
    match (&record.state, input) {
        (JobState::Queued, Input::Intent(attempt)) => change.submitting(attempt).ok_or(invalid), // T2
        (JobState::Queued, Input::HistoryLost(attempt)) => change.doubted_anew(attempt).ok_or(invalid), // R12
        (_, Input::Fold(budget)) => change.fold(budget).ok_or(invalid),                          // T3-T6, T9
        (JobState::Submitting { attempt }, Input::TakenOver) => {
            let attempt = *attempt;
            Ok(change.doubted().to(JobState::Verifying { attempt }, EventKind::Verifying)) // T6
        }
        (JobState::Verifying { .. } | JobState::Held { .. }, Input::Absent(budget)) => {
            Ok(change.refused(&absent(), budget)) // T7
        }
        (JobState::Verifying { attempt }, Input::VerifyExpired) => {
            let attempt = *attempt;
            Ok(change.doubted().to(JobState::Held { attempt }, EventKind::Held)) // T8
        }
        (JobState::Held { .. }, Input::Decide(decision)) => Ok(change.decided(decision)), // T9
        (JobState::Running { .. }, Input::Progress(percent)) => change.progress(percent).ok_or(invalid), // T10
        (JobState::Running { attempt, provider_job }, Input::ProviderDone) => {
            let state = JobState::Storing { attempt: *attempt, provider_job: provider_job.clone() };
            Ok(change.too_late_to_cancel().to(state, EventKind::Storing)) // T11
        }
        (JobState::Running { .. }, Input::ProviderFailed(failure, retry, budget)) => {
            Ok(change.provider_failed(failure, retry, budget)) // T12, T13
        }
        (JobState::Storing { .. }, Input::Stored(artifacts)) if !artifacts.is_empty() => {
            let mut done = change.attempt(AttemptState::Done).to(JobState::Completed, EventKind::Completed); // T15
            done.artifacts = artifacts;
            Ok(done)
        }
        (JobState::Storing { .. }, Input::SourceGone(failure)) => {
            Ok(change.attempt(AttemptState::FailedAtProvider).because(&failure).failed(failure)) // T16
        }
        (state, Input::Canceled(outcome)) if may_cancel(state) && record.cancel_pending() => {
            Ok(change.canceled(outcome)) // T17
        }
        (state, Input::DeadlinePassed { stopped }) if may_expire(state) && record.deadline_passed(now) => {
            Ok(change.expired(stopped)) // T18
        }
        (JobState::Failed { .. } | JobState::Canceled, Input::Retry(by)) => Ok(change.retried(by)), // T22
        (JobState::Queued, Input::OverLimit) => Ok(change.failed(over_limit(record))),              // T23
        _ => Err(invalid),
    }
}

/// T17 waits for the outcome of a submission, and comes too late once the provider is done.
const fn may_cancel(state: &JobState) -> bool {
    matches!(state, JobState::Queued | JobState::Held { .. } | JobState::Running { .. })
}

/// T18 waits only for a submission under way.
const fn may_expire(state: &JobState) -> bool {
    !matches!(state, JobState::Submitting { .. }) && !state.is_terminal()
}

fn absent() -> Rejection {
    Rejection {
        failure: Failure::new(FailureCode::ProviderUnavailable, "the provider did not receive the request"),
        retry: Retry::Free,
        retry_after: None,
    }
}

/// Why an attempt that the provider finished gave nothing: kept with it, since it may have been paid all the same.
const fn unusable(failure: Failure) -> Rejection {
    Rejection { failure, retry: Retry::Never, retry_after: None }
}

/// A change under way: the record being rewritten.
struct Change {
    record: Record,
    now: Timestamp,
}

impl Change {
    fn attempt(mut self, state: AttemptState) -> Self {
        if let Some(attempt) = &mut self.record.attempt {
            attempt.state = state;
            attempt.resolved_at = attempt.resolved_at.or(Some(self.now));
        }
        self
    }

    fn because(mut self, failure: &Failure) -> Self {
        if let Some(attempt) = &mut self.record.attempt {
            attempt.rejection = Some(Box::new(unusable(failure.clone())));
        }
        self
    }

    /// Nobody knows, and that is no resolution.
    fn doubted(mut self) -> Self {
        if let Some(attempt) = &mut self.record.attempt {
            attempt.state = AttemptState::Unknown;
        }
        self
    }

    fn too_late_to_cancel(mut self) -> Self {
        if let Some(Cancel { outcome: outcome @ CancelOutcome::Pending, .. }) = &mut self.record.cancel {
            *outcome = CancelOutcome::TooLate;
        }
        self
    }

    fn to(mut self, state: JobState, event: EventKind) -> Transition {
        if state.is_terminal() {
            self.record.finished_at = Some(self.now);
            self = self.too_late_to_cancel();
        }
        self.record.state = state;
        self.record.ver = self.record.ver.saturating_add(1);
        Transition {
            record: self.record,
            events: vec![event],
            attempt_changed: true,
            watch: false,
            artifacts: Vec::new(),
        }
    }

    fn failed(self, failure: Failure) -> Transition {
        self.to(JobState::Failed { failure }, EventKind::Failed)
    }

    fn submitting(mut self, attempt: Attempt) -> Option<Transition> {
        let free = self.record.attempt.as_ref().is_none_or(|last| !last.state.is_open());
        let fits = attempt.state == AttemptState::Intent && attempt.n == self.record.next_attempt();
        if !free || !fits || self.record.cancel_pending() || self.record.deadline_passed(self.now) {
            return None;
        }
        let n = attempt.n;
        self.record.attempt = Some(attempt);
        self.record.progress = None;
        Some(self.to(JobState::Submitting { attempt: n }, EventKind::Submitted))
    }

    /// Nobody here sent it, and nobody knows whether it was sent: it is found out like any other.
    fn doubted_anew(mut self, attempt: Attempt) -> Option<Transition> {
        let free = self.record.attempt.as_ref().is_none_or(|last| !last.state.is_open());
        if !free || attempt.n != self.record.next_attempt() {
            return None;
        }
        let n = attempt.n;
        self.record.attempt = Some(Attempt { state: AttemptState::Unknown, ..attempt });
        self.record.progress = None;
        Some(self.to(JobState::Verifying { attempt: n }, EventKind::Verifying))
    }

    fn fold(mut self, budget: Budget) -> Option<Transition> {
        let attempt = self.record.attempt.clone()?;
        let from = self.record.state.name();
        match (from, attempt.state) {
            (
                StateName::Queued | StateName::Submitting | StateName::Verifying | StateName::Held,
                AttemptState::Accepted,
            ) => {
                let event = if from == StateName::Held { EventKind::Resumed } else { EventKind::InProgress };
                self.record.unavailable_since = None;
                let provider_job = attempt.provider_job?;
                Some(self.to(JobState::Running { attempt: attempt.n, provider_job }, event)) // T3
            }
            (StateName::Submitting | StateName::Verifying | StateName::Held, AttemptState::NotAccepted) => {
                let rejection = attempt.rejection.map_or_else(absent, |rejection| *rejection);
                Some(self.refused(&rejection, budget)) // T4, T5, T7
            }
            (StateName::Submitting, AttemptState::Unknown) => {
                Some(self.to(JobState::Verifying { attempt: attempt.n }, EventKind::Verifying)) // T6
            }
            (StateName::Held, AttemptState::Intent | AttemptState::Unknown) => {
                attempt.decision.map(|decision| self.decided(decision)) // T9
            }
            _ => None,
        }
    }

    /// T4, T5, T7: back to the queue where another attempt is allowed, else the end.
    fn refused(mut self, rejection: &Rejection, budget: Budget) -> Transition {
        if self.record.attempt.as_ref().is_some_and(|attempt| attempt.state.is_unresolved()) {
            self = self.attempt(AttemptState::NotAccepted);
            if let Some(attempt) = &mut self.record.attempt {
                attempt.rejection = Some(Box::new(rejection.clone()));
            }
        }
        if self.another_attempt(rejection.retry, budget) {
            let held = self.record.state.name() == StateName::Held;
            self.to(JobState::Queued, if held { EventKind::Resumed } else { EventKind::Queued })
        } else {
            self.failed(rejection.failure.clone())
        }
    }

    /// Counts what was judged and says whether the budget allows one more.
    fn another_attempt(&mut self, retry: Retry, budget: Budget) -> bool {
        if retry == Retry::Free {
            let since = *self.record.unavailable_since.get_or_insert(self.now);
            return self.now.since(since) < budget.unavailable_limit;
        }
        self.record.unavailable_since = None;
        self.record.attempts_used = self.record.attempts_used.saturating_add(1);
        match retry {
            Retry::Never | Retry::Free => false,
            Retry::NextRoute => self.record.attempts_used < budget.routes,
            Retry::Counted => self.record.attempts_used < budget.max_attempts,
        }
    }

    fn decided(mut self, decision: Decision) -> Transition {
        let resubmit = decision.verdict == Verdict::Resubmit;
        if let Some(attempt) = &mut self.record.attempt {
            attempt.decision = Some(decision);
        }
        let change = self.attempt(AttemptState::Waived);
        let mut decided = if resubmit {
            change.to(JobState::Queued, EventKind::Resumed)
        } else {
            change.failed(Failure::new(
                FailureCode::SubmissionInDoubt,
                "it could not be found out whether the provider took the request; retry makes a new, possibly second paid attempt",
            ))
        };
        decided.watch = true; // it may still yield a paid result
        decided
    }

    fn progress(mut self, percent: u8) -> Option<Transition> {
        let percent = percent.min(100);
        if self.record.progress.is_some_and(|known| known >= percent) {
            return None;
        }
        self.record.progress = Some(percent);
        let state = self.record.state.clone();
        let mut told = self.to(state, EventKind::Progress);
        told.attempt_changed = false;
        Some(told)
    }

    fn provider_failed(self, failure: Failure, retry: Retry, budget: Budget) -> Transition {
        let mut change = self.attempt(AttemptState::FailedAtProvider);
        if change.another_attempt(retry, budget) {
            change.record.progress = None;
            change.to(JobState::Queued, EventKind::Queued) // T12
        } else {
            change.failed(failure) // T13
        }
    }

    fn canceled(mut self, asked: CancelOutcome) -> Transition {
        let (outcome, attempt, watch) = match (&self.record.state, asked) {
            (JobState::Running { .. }, CancelOutcome::StoppedUpstream) => {
                (asked, Some(AttemptState::FailedAtProvider), false)
            }
            (JobState::Running { .. }, _) => (CancelOutcome::NotStoppable, Some(AttemptState::LateAccepted), true),
            (JobState::Held { .. }, _) => (CancelOutcome::NotStoppable, None, true),
            _ => (CancelOutcome::StoppedBeforeStart, None, false),
        };
        if let Some(cancel) = &mut self.record.cancel {
            cancel.outcome = outcome;
        }
        self.ended(JobState::Canceled, EventKind::Canceled, attempt, watch)
    }

    fn expired(self, stopped: bool) -> Transition {
        let (attempt, watch) = match &self.record.state {
            JobState::Running { .. } | JobState::Storing { .. } if stopped => {
                (Some(AttemptState::FailedAtProvider), false)
            }
            JobState::Running { .. } | JobState::Storing { .. } => (Some(AttemptState::LateAccepted), true),
            JobState::Verifying { .. } | JobState::Held { .. } => (None, true),
            _ => (None, false),
        };
        let failure = Failure::new(FailureCode::DeadlineExceeded, "the deadline of the request passed");
        self.ended(JobState::Failed { failure }, EventKind::Failed, attempt, watch)
    }

    /// Ends the job and leaves its attempt behind: in a new state, or in doubt as it is.
    fn ended(mut self, state: JobState, event: EventKind, attempt: Option<AttemptState>, watch: bool) -> Transition {
        if let (Some(latest), Some(left)) = (&mut self.record.attempt, attempt) {
            latest.state = left;
        }
        let mut transition = self.to(state, event);
        transition.watch = watch;
        transition
    }

    fn retried(mut self, by: std::sync::Arc<str>) -> Transition {
        if let Some(attempt) = &mut self.record.attempt
            && attempt.state.is_unresolved()
        {
            attempt.state = AttemptState::Waived;
            attempt.decision = Some(Decision { verdict: Verdict::Retried, by });
        }
        self.record.cancel = None;
        self.record.finished_at = None;
        self.record.progress = None;
        self.record.deadline_at = self.record.deadline.map(|deadline| self.now + deadline);
        self.record.first_attempt = self.record.next_attempt();
        self.record.attempts_used = 0;
        self.record.unavailable_since = None;
        self.to(JobState::Queued, EventKind::Queued)
    }
}

/// What became of a late attempt, as the owner of its watch row tells it.
#[derive(Debug, Clone, PartialEq)]
pub enum LateInput {
    /// T20: its result is stored.
    Stored(Vec<Artifact>),
    /// T21: it ended there without a result.
    Ended,
    /// T21: the provider was done, and its bytes cannot be had.
    SourceGone(Failure),
    /// T21: the provider provably never had it (rule R7).
    Absent,
    /// T21: the watch limit passed. If the provider has it, it becomes an orphan.
    LimitPassed,
}

/// A late attempt afterwards. Its watch row is deleted with it.
#[derive(Debug, Clone, PartialEq)]
pub struct LateTransition {
    /// The record; `ver` grew if there is an event.
    pub record: Record,
    /// The attempt to be saved.
    pub attempt: Attempt,
    /// `video.late_result`, or none.
    pub event: Option<EventKind>,
    /// Outputs to be recorded.
    pub artifacts: Vec<Artifact>,
    /// The provider's job is accounted for by nobody any more.
    pub orphan: bool,
}

/// Applies what became of a late attempt. The job's state stays as it is, whatever it is.
///
/// # Errors
/// `InvalidTransition` where the attempt is not late (any more).
pub fn apply_late(
    record: &Record,
    attempt: &Attempt,
    input: LateInput,
    now: Timestamp,
) -> Result<LateTransition, InvalidTransition> {
    let mut late = LateTransition {
        record: record.clone(),
        attempt: attempt.clone(),
        event: None,
        artifacts: Vec::new(),
        orphan: false,
    };
    let unresolved = attempt.state.is_unresolved() || attempt.state == AttemptState::Waived;
    late.attempt.state = match input {
        LateInput::Stored(artifacts) if attempt.state == AttemptState::LateAccepted && !artifacts.is_empty() => {
            late.event = Some(EventKind::LateResult);
            late.record.ver = late.record.ver.saturating_add(1);
            late.artifacts = artifacts;
            AttemptState::Done
        }
        LateInput::Ended if attempt.state == AttemptState::LateAccepted => AttemptState::FailedAtProvider,
        LateInput::SourceGone(failure) if attempt.state == AttemptState::LateAccepted => {
            late.attempt.rejection = Some(Box::new(unusable(failure)));
            AttemptState::FailedAtProvider
        }
        LateInput::Absent if unresolved => AttemptState::NotAccepted,
        LateInput::LimitPassed if unresolved || attempt.state == AttemptState::LateAccepted => {
            late.orphan = attempt.state == AttemptState::LateAccepted;
            attempt.state
        }
        // The evidence already settled it; what is left is the watch row.
        LateInput::Ended | LateInput::Absent if !unresolved => attempt.state,
        _ => return Err(InvalidTransition { from: record.state.name(), on: "late" }),
    };
    late.attempt.resolved_at = Some(now);
    if let Some(current) = &mut late.record.attempt
        && current.n == late.attempt.n
    {
        *current = late.attempt.clone();
    }
    Ok(late)
}
