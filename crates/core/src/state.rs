//! The nine states of a job and the four statuses a client sees.

use crate::failure::Failure;
use crate::id::{AttemptNo, ProviderJobId};

/// Where a job stands. Each state carries what it needs and nothing that may be absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// Waits for its first or its next attempt.
    Queued,
    /// The intent is durable, the answer is not.
    Submitting {
        /// The open attempt.
        attempt: AttemptNo,
    },
    /// The outcome of the submission is unknown and being found out.
    Verifying {
        /// The open attempt.
        attempt: AttemptNo,
    },
    /// Still unknown: waits for late evidence, a policy or a person.
    Held {
        /// The open attempt.
        attempt: AttemptNo,
    },
    /// The provider has it.
    Running {
        /// The open attempt.
        attempt: AttemptNo,
        /// The provider's name for it.
        provider_job: ProviderJobId,
    },
    /// The provider is done; its bytes are not yet ours.
    Storing {
        /// The open attempt.
        attempt: AttemptNo,
        /// The provider's name for it.
        provider_job: ProviderJobId,
    },
    /// The bytes are ours.
    Completed,
    /// It ended badly.
    Failed {
        /// Why.
        failure: Failure,
    },
    /// The client ended it.
    Canceled,
}

/// A state without what it carries: its word and its number in both databases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i16)]
#[expect(missing_docs, reason = "the words are those of JobState")]
pub enum StateName {
    Queued = 10,
    Submitting = 20,
    Verifying = 25,
    Held = 27,
    Running = 30,
    Storing = 40,
    Completed = 90,
    Failed = 91,
    Canceled = 92,
}

/// What the OpenAI shape can say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the words are OpenAI's")]
pub enum Status {
    Queued,
    InProgress,
    Completed,
    Failed,
}

impl Status {
    /// The word on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::InProgress => "in_progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

impl StateName {
    /// All nine.
    pub const ALL: [Self; 9] = [
        Self::Queued,
        Self::Submitting,
        Self::Verifying,
        Self::Held,
        Self::Running,
        Self::Storing,
        Self::Completed,
        Self::Failed,
        Self::Canceled,
    ];

    /// The word in `state` on the wire.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Submitting => "submitting",
            Self::Verifying => "verifying",
            Self::Held => "held",
            Self::Running => "running",
            Self::Storing => "storing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
        }
    }

    /// The number in both databases.
    pub const fn number(self) -> i16 {
        self as i16
    }

    /// From the number in a database.
    pub fn from_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.number() == number)
    }

    /// The public status.
    pub const fn status(self) -> Status {
        match self {
            Self::Queued | Self::Submitting => Status::Queued,
            Self::Verifying | Self::Held | Self::Running | Self::Storing => Status::InProgress,
            Self::Completed => Status::Completed,
            Self::Failed | Self::Canceled => Status::Failed,
        }
    }

    /// Finished: only `retry` or a late result changes anything any more.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled)
    }
}

impl JobState {
    /// Without what it carries.
    pub const fn name(&self) -> StateName {
        match self {
            Self::Queued => StateName::Queued,
            Self::Submitting { .. } => StateName::Submitting,
            Self::Verifying { .. } => StateName::Verifying,
            Self::Held { .. } => StateName::Held,
            Self::Running { .. } => StateName::Running,
            Self::Storing { .. } => StateName::Storing,
            Self::Completed => StateName::Completed,
            Self::Failed { .. } => StateName::Failed,
            Self::Canceled => StateName::Canceled,
        }
    }

    /// Finished.
    pub const fn is_terminal(&self) -> bool {
        self.name().is_terminal()
    }

    /// The attempt this state waits for.
    pub const fn attempt(&self) -> Option<AttemptNo> {
        match self {
            Self::Submitting { attempt }
            | Self::Verifying { attempt }
            | Self::Held { attempt }
            | Self::Running { attempt, .. }
            | Self::Storing { attempt, .. } => Some(*attempt),
            Self::Queued | Self::Completed | Self::Failed { .. } | Self::Canceled => None,
        }
    }
}
