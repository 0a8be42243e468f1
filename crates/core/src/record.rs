//! The changing half of a job: what an owner holds in memory and a store keeps in one row.

use std::sync::Arc;
use std::time::Duration;

use crate::artifact::Artifact;
use crate::attempt::{Attempt, AttemptState};
use crate::event::Snapshot;
use crate::id::{AttemptNo, ExecutorId, JobId, ProjectId};
use crate::request::VideoRequest;
use crate::state::JobState;
use crate::time::Timestamp;

/// What became of a cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum CancelOutcome {
    /// Not known yet.
    Pending = 0,
    /// No provider had it.
    StoppedBeforeStart = 1,
    /// The provider stopped it.
    StoppedUpstream = 2,
    /// Canceled here; the provider works on and is watched.
    NotStoppable = 3,
    /// Storing or finished: nothing changed.
    TooLate = 4,
}

impl CancelOutcome {
    /// All five.
    pub const ALL: [Self; 5] =
        [Self::Pending, Self::StoppedBeforeStart, Self::StoppedUpstream, Self::NotStoppable, Self::TooLate];

    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::StoppedBeforeStart => "stopped_before_start",
            Self::StoppedUpstream => "stopped_upstream",
            Self::NotStoppable => "not_stoppable",
            Self::TooLate => "too_late",
        }
    }

    /// From the number in a database.
    pub fn from_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| *outcome as i16 == number)
    }
}

/// A cancel that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cancel {
    /// When.
    pub requested_at: Timestamp,
    /// What became of it.
    pub outcome: CancelOutcome,
}

/// Whose figure a progress is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ProgressSource {
    /// The provider reported it.
    Provider,
    /// Learnt from how long this model took before.
    Estimate,
}

impl ProgressSource {
    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Provider => "provider",
            Self::Estimate => "estimate",
        }
    }
}

/// A job without its request. Small, since an owner keeps one for every job in flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Which.
    pub job: JobId,
    /// Whose.
    pub project: ProjectId,
    /// The public model: it chooses the routes.
    pub model: Arc<str>,
    /// Where it stands.
    pub state: JobState,
    /// Number of its last event.
    pub ver: u32,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it finished.
    pub finished_at: Option<Timestamp>,
    /// How long the client gave it, from create or retry.
    pub deadline: Option<Duration>,
    /// When that is over.
    pub deadline_at: Option<Timestamp>,
    /// A cancel that was asked for.
    pub cancel: Option<Cancel>,
    /// Higher goes first among what waits for the same account.
    pub priority: i16,
    /// The provider's figure, 0 to 100.
    pub progress: Option<u8>,
    /// Number of the first attempt since create or retry.
    pub first_attempt: AttemptNo,
    /// Attempts since then that were judged.
    pub attempts_used: u16,
    /// Since when every attempt was "not sent" or "rate limited".
    pub unavailable_since: Option<Timestamp>,
    /// The open attempt, else the latest.
    pub attempt: Option<Attempt>,
}

impl Record {
    /// T1: a new job, at its first event.
    pub fn new(
        job: JobId,
        project: ProjectId,
        request: &VideoRequest,
        deadline: Option<Duration>,
        now: Timestamp,
    ) -> Self {
        Self {
            job,
            project,
            model: (&*request.model).into(),
            state: JobState::Queued,
            ver: 1,
            created_at: now,
            finished_at: None,
            deadline,
            deadline_at: deadline.map(|deadline| now + deadline),
            cancel: None,
            priority: request.priority,
            progress: None,
            first_attempt: AttemptNo(1),
            attempts_used: 0,
            unavailable_since: None,
            attempt: None,
        }
    }

    /// The number the next attempt takes.
    pub fn next_attempt(&self) -> AttemptNo {
        AttemptNo(self.attempt.as_ref().map_or(1, |attempt| attempt.n.0.saturating_add(1)))
    }

    /// A cancel was asked for and has not been answered.
    pub fn cancel_pending(&self) -> bool {
        self.cancel.is_some_and(|cancel| cancel.outcome == CancelOutcome::Pending)
    }

    /// The attempt's evidence says more than the state: it is taken up before anything else is decided.
    pub fn has_news(&self) -> bool {
        let known = self.attempt.as_ref().map(|attempt| attempt.state);
        match &self.state {
            JobState::Queued => known == Some(AttemptState::Accepted),
            JobState::Submitting { .. } | JobState::Verifying { .. } | JobState::Held { .. } => {
                matches!(known, Some(AttemptState::Accepted | AttemptState::NotAccepted))
            }
            JobState::Running { .. } | JobState::Storing { .. } => false,
            JobState::Completed | JobState::Failed { .. } | JobState::Canceled => false,
        }
    }

    /// Nothing that is known of it is younger: what was done with it since then may be in a history that was lost.
    pub fn is_older_than(&self, at: Timestamp) -> bool {
        let judged = self.attempt.as_ref().and_then(|attempt| attempt.resolved_at);
        self.created_at < at && judged.is_none_or(|judged| judged < at)
    }

    /// The intent of a submission that may have been made in a history that was lost: by whom and when, nobody knows.
    pub fn lost_intent(&self, attempt: Attempt, now: Timestamp) -> Attempt {
        Attempt { executor: ExecutorId::LOST, intent_at: self.created_at, send_deadline_at: now, ..attempt }
    }

    /// The client's deadline is over.
    pub fn deadline_passed(&self, now: Timestamp) -> bool {
        self.deadline_at.is_some_and(|deadline| deadline <= now)
    }

    /// What an event at this moment shows. `output` is the stored video, if there is one.
    pub fn snapshot(&self, output: Option<&Artifact>) -> Snapshot {
        let progress = if matches!(self.state, JobState::Completed) { Some(100) } else { self.progress };
        Snapshot {
            state: self.state.name(),
            attempt: self.attempt.as_ref().map(|attempt| (attempt.n, attempt.account)),
            progress: progress.unwrap_or(0),
            progress_source: progress.map(|_| ProgressSource::Provider),
            failure: match &self.state {
                JobState::Failed { failure } => Some(failure.clone()),
                _ => None,
            },
            finished_at: self.finished_at,
            cancel: self.cancel,
            output: output.map(|artifact| (artifact.bytes, artifact.sha256)),
        }
    }

    /// The record with a cancel asked for; `None` where one already was. Where it is too late nothing else changes.
    pub fn with_cancel(&self, now: Timestamp) -> Option<Self> {
        if self.cancel.is_some() {
            return None;
        }
        let too_late = self.state.is_terminal() || matches!(self.state, JobState::Storing { .. });
        let outcome = if too_late { CancelOutcome::TooLate } else { CancelOutcome::Pending };
        Some(Self { cancel: Some(Cancel { requested_at: now, outcome }), ..self.clone() })
    }
}
