//! Facts about a job, numbered per job and committed with the change they describe.

use crate::artifact::Digest;
use crate::failure::Failure;
use crate::id::{AccountId, AttemptNo, JobId};
use crate::record::{Cancel, ProgressSource};
use crate::state::StateName;
use crate::time::Timestamp;

/// What happened; the number is the stored one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i16)]
#[expect(missing_docs, reason = "the words are explained in docs/api.md and are those of the states")]
pub enum EventKind {
    Queued = 1,
    Submitted = 2,
    Verifying = 3,
    Held = 4,
    Resumed = 5,
    InProgress = 6,
    Progress = 7,
    Storing = 8,
    Completed = 9,
    Failed = 10,
    Canceled = 11,
    LateResult = 12,
}

impl EventKind {
    /// All kinds, by number.
    pub const ALL: [Self; 12] = [
        Self::Queued,
        Self::Submitted,
        Self::Verifying,
        Self::Held,
        Self::Resumed,
        Self::InProgress,
        Self::Progress,
        Self::Storing,
        Self::Completed,
        Self::Failed,
        Self::Canceled,
        Self::LateResult,
    ];

    /// The public `type`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Queued => "video.queued",
            Self::Submitted => "video.submitted",
            Self::Verifying => "video.verifying",
            Self::Held => "video.held",
            Self::Resumed => "video.resumed",
            Self::InProgress => "video.in_progress",
            Self::Progress => "video.progress",
            Self::Storing => "video.storing",
            Self::Completed => "video.completed",
            Self::Failed => "video.failed",
            Self::Canceled => "video.canceled",
            Self::LateResult => "video.late_result",
        }
    }

    /// The stored number.
    pub const fn number(self) -> i16 {
        self as i16
    }

    /// From the stored number.
    pub fn from_number(number: i16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// The last event of a life: from create or retry to the next retry there is one.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Canceled)
    }
}

/// The changing half of a video as it was at an event; the unchanging half is the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The state after the event.
    pub state: StateName,
    /// The latest attempt and the account it went to.
    pub attempt: Option<(AttemptNo, AccountId)>,
    /// 0 to 100; 0 where nothing is known.
    pub progress: u8,
    /// Whose figure `progress` is.
    pub progress_source: Option<ProgressSource>,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// When it finished.
    pub finished_at: Option<Timestamp>,
    /// A cancel that was asked for.
    pub cancel: Option<Cancel>,
    /// Length and digest of the stored video.
    pub output: Option<(u64, Digest)>,
}

/// One committed fact. `ver` is its public sequence, `evt_<job>_<ver>` its public id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobEvent {
    /// Whose.
    pub job: JobId,
    /// 1, 2, 3 … per job.
    pub ver: u32,
    /// What.
    pub kind: EventKind,
    /// When it was committed.
    pub at: Timestamp,
    /// The video as it then was.
    pub snapshot: Snapshot,
}
