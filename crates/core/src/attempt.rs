//! Attempts: the ledger of paid submissions, and the order in which evidence about them counts.

use std::sync::Arc;
use std::time::Duration;

use crate::failure::{Failure, FailureCode};
use crate::id::{AccountId, AttemptNo, ClientRef, ExecutorId, Nonce, ProviderJobId};
use crate::record::Record;
use crate::time::Timestamp;

/// What is known of one attempt. It only moves up: accepted beats everything, not accepted and unknown only replace less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum AttemptState {
    /// The row is durable; it may or may not have been sent.
    Intent = 1,
    /// The provider has it, and its job waits for it.
    Accepted = 2,
    /// The provider does not have it.
    NotAccepted = 3,
    /// Sent, outcome unknown.
    Unknown = 4,
    /// It ended at the provider without a result.
    FailedAtProvider = 5,
    /// Given up: a policy or a person accepted the risk of paying twice.
    Waived = 6,
    /// The provider has it, but its job does not wait for it.
    LateAccepted = 7,
    /// Its result is stored.
    Done = 8,
}

impl AttemptState {
    /// All eight.
    pub const ALL: [Self; 8] = [
        Self::Intent,
        Self::Accepted,
        Self::NotAccepted,
        Self::Unknown,
        Self::FailedAtProvider,
        Self::Waived,
        Self::LateAccepted,
        Self::Done,
    ];

    /// The number in both databases.
    pub const fn number(self) -> i16 {
        self as i16
    }

    /// From the number in a database.
    pub fn from_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.number() == number)
    }

    /// The word in timelines.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Accepted => "accepted",
            Self::NotAccepted => "not_accepted",
            Self::Unknown => "unknown",
            Self::FailedAtProvider => "failed_at_provider",
            Self::Waived => "waived",
            Self::LateAccepted => "late_accepted",
            Self::Done => "done",
        }
    }

    /// We still wait to know or to have it. A job has at most one open attempt.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Intent | Self::Accepted | Self::Unknown)
    }

    /// Sent or not, nobody knows.
    pub const fn is_unresolved(self) -> bool {
        matches!(self, Self::Intent | Self::Unknown)
    }
}

/// Whether a refusal leaves room for another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum Retry {
    /// The request itself is at fault: no attempt will do better.
    Never = 0,
    /// The account is at fault (key, credit): another route may do better.
    NextRoute = 1,
    /// Worth trying again, and it counts.
    Counted = 2,
    /// It was not sent, or sent too fast: try again for as long as the budget knocks at closed doors.
    Free = 3,
}

impl Retry {
    /// From the number in a database.
    pub fn from_number(number: i16) -> Option<Self> {
        [Self::Never, Self::NextRoute, Self::Counted, Self::Free].into_iter().find(|r| *r as i16 == number)
    }
}

/// Why an attempt was not accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// What the job fails with if there is no further attempt.
    pub failure: Failure,
    /// Whether there may be one.
    pub retry: Retry,
    /// The wait the provider asked for.
    pub retry_after: Option<Duration>,
}

/// What is known of an attempt, whoever learned it and however late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// The provider has it under this name.
    Accepted(ProviderJobId),
    /// The provider does not have it.
    NotAccepted(Rejection),
    /// Nothing was proved (rule R9).
    Unknown,
}

/// What a person, a policy or a retry decided about an attempt nobody could find out about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i16)]
pub enum Verdict {
    /// Make another attempt and accept the risk of paying twice.
    Resubmit = 1,
    /// End the job as `submission_in_doubt`.
    Fail = 2,
    /// The client retried a finished job although this attempt may still be paid.
    Retried = 3,
}

impl Verdict {
    /// From the number in a database.
    pub fn from_number(number: i16) -> Option<Self> {
        [Self::Resubmit, Self::Fail, Self::Retried].into_iter().find(|v| *v as i16 == number)
    }

    /// The word in timelines.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Resubmit => "resubmit",
            Self::Fail => "fail",
            Self::Retried => "retried",
        }
    }
}

/// A recorded decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What.
    pub verdict: Verdict,
    /// Who took it: an API key's name, or `policy`.
    pub by: Arc<str>,
}

/// One paid submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// From 1 within the job.
    pub n: AttemptNo,
    /// What is known.
    pub state: AttemptState,
    /// The incarnation that wrote the intent; only it may send (rule R4).
    pub executor: ExecutorId,
    /// The very execution that wrote the intent (rule R2).
    pub nonce: Nonce,
    /// Whose credential.
    pub account: AccountId,
    /// The provider's name for the model.
    pub model: Arc<str>,
    /// Carried in the submission (rule R6).
    pub client_ref: ClientRef,
    /// The provider's name for it, once accepted.
    pub provider_job: Option<ProviderJobId>,
    /// When the intent was committed.
    pub intent_at: Timestamp,
    /// After this no byte of the submission is written (rule R10).
    pub send_deadline_at: Timestamp,
    /// When it was accepted, refused or given up.
    pub resolved_at: Option<Timestamp>,
    /// When the store learned from the sender itself that its request ended: it writes no more bytes of it (rule R7).
    /// An unknown outcome alone does not say so: a successor writes that too, and the sender may send yet.
    pub request_ended_at: Option<Timestamp>,
    /// Why it was not accepted, or why the bytes of its result could not be had. In a box: few attempts have one, and a
    /// hundred thousand may wait in memory.
    pub rejection: Option<Box<Rejection>>,
    /// What was decided while nobody knew.
    pub decision: Option<Decision>,
}

impl Attempt {
    /// The provider made the result, and its bytes could not be had: nobody says that this is not charged.
    pub fn is_lost_result(&self) -> bool {
        let unavailable = |rejection: &Rejection| rejection.failure.code == FailureCode::ArtifactUnavailable;
        self.state == AttemptState::FailedAtProvider && self.rejection.as_deref().is_some_and(unavailable)
    }

    /// Who may send it: that execution alone.
    pub const fn sender(&self) -> Sender {
        Sender { executor: self.executor, nonce: self.nonce }
    }

    /// With its sender's word that its request ended; `None` where that is another's word, known, or of no use any more.
    pub fn with_request_ended(&self, said_by: Option<Sender>, now: Timestamp) -> Option<Self> {
        let in_doubt = self.state.is_unresolved() || self.state == AttemptState::Waived;
        let news = said_by == Some(self.sender()) && in_doubt && self.request_ended_at.is_none();
        news.then(|| Self { request_ended_at: Some(now), ..self.clone() })
    }
}

/// One execution of one incarnation. Both must fit: an intent of a lost history has a nonce of ours and no sender (rule R12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// The incarnation.
    pub executor: ExecutorId,
    /// The execution.
    pub nonce: Nonce,
}

/// What evidence does to an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Merge {
    /// It was known already, or proves less than what is known.
    Unchanged,
    /// The attempt as it now is. `watch`: it is late, so it must have a watch row (T19).
    Changed {
        /// To be saved.
        attempt: Attempt,
        /// A watch row, due now, must exist.
        watch: bool,
    },
    /// A second provider job for one attempt: no attempt accounts for it.
    Orphan(ProviderJobId),
}

/// Merges evidence into an attempt of `record`'s job. Asks for no owner (rule R5) and may be repeated.
///
/// `claimed`: another attempt of the same account already has the provider job that `evidence` names. As the answer to
/// the one send of an intent it says that the provider merged two equal requests: this one was not bought and is free to
/// try again. Found by anyone else it proves nothing, since the true one may be another.
pub fn merge(record: &Record, attempt: &Attempt, evidence: &Evidence, claimed: bool, now: Timestamp) -> Merge {
    match evidence {
        Evidence::Accepted(provider_job) => match &attempt.provider_job {
            Some(known) if known == provider_job => Merge::Unchanged,
            Some(_) => Merge::Orphan(provider_job.clone()),
            None if claimed && attempt.state == AttemptState::Intent => refuse(attempt, &served_elsewhere(), now),
            None if claimed => Merge::Unchanged,
            None => accept(record, attempt, provider_job, now),
        },
        Evidence::NotAccepted(rejection) => refuse(attempt, rejection, now),
        Evidence::Unknown if attempt.state == AttemptState::Intent => {
            Merge::Changed { attempt: Attempt { state: AttemptState::Unknown, ..attempt.clone() }, watch: false }
        }
        Evidence::Unknown => Merge::Unchanged,
    }
}

fn accept(record: &Record, attempt: &Attempt, provider_job: &ProviderJobId, now: Timestamp) -> Merge {
    let latest = record.attempt.as_ref().is_some_and(|current| current.n == attempt.n);
    // On a refusal that was none the attempt is revived before the job buys again.
    let revivable = matches!(attempt.state, AttemptState::Intent | AttemptState::Unknown | AttemptState::NotAccepted);
    let awaited = latest && revivable && !record.state.is_terminal();
    let state = if awaited { AttemptState::Accepted } else { AttemptState::LateAccepted };
    let provider_job = Some(provider_job.clone());
    let attempt = Attempt { state, provider_job, resolved_at: Some(now), rejection: None, ..attempt.clone() };
    Merge::Changed { attempt, watch: !awaited }
}

fn refuse(attempt: &Attempt, rejection: &Rejection, now: Timestamp) -> Merge {
    if !attempt.state.is_unresolved() {
        return Merge::Unchanged;
    }
    let rejection = Some(Box::new(rejection.clone()));
    let attempt = Attempt { state: AttemptState::NotAccepted, rejection, resolved_at: Some(now), ..attempt.clone() };
    Merge::Changed { attempt, watch: false }
}

fn served_elsewhere() -> Rejection {
    let message = "the provider answered with a job that already serves another video";
    Rejection { failure: Failure::new(FailureCode::ProviderError, message), retry: Retry::Counted, retry_after: None }
}
