//! A job as a task: its name, and its state in Conduit's words.

use axum::extract::FromRequestParts;
use http::request::Parts;
use longtake_core::failure::FailureCode;
use longtake_core::id::JobId;
use longtake_core::state::{JobState, StateName};

use super::dialect::Dialect;
use crate::http::error::ApiError;
use crate::http::videos::path::Name;

/// What every task id begins with.
const PREFIX: &str = "task_";

/// A job's name as a task: `task_` and the 32 hex digits of its id.
pub fn task_id(job: JobId) -> String {
    let name = job.to_string();
    format!("{PREFIX}{}", name.strip_prefix("video_").unwrap_or(&name))
}

/// The job a task's name stands for; `None` for what is none.
pub fn job_of(task: &str) -> Option<JobId> {
    format!("video_{}", task.strip_prefix(PREFIX)?).parse().ok()
}

/// The task in the path. What is no task's name names no task: 404, whatever it is.
pub struct TaskId(pub JobId);

impl<S: Send + Sync> FromRequestParts<S> for TaskId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        let Name(text) = Name::from_request_parts(parts, state).await?;
        text.and_then(|text| job_of(&text)).map(Self).ok_or_else(ApiError::video_not_found)
    }
}

/// Where a task stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskState {
    /// Waits; nothing was sent.
    Pending,
    /// Being sent, rendered or stored.
    Processing,
    /// Its video is there.
    Completed,
    /// It ended badly.
    Failed,
    /// Its client ended it.
    Cancelled,
    /// The time its client gave it is over.
    TimedOut,
    /// A provider may have it, and may have charged for it; late news, a policy or a person will tell. B only.
    Indeterminate,
}

impl TaskState {
    /// Of a job as it is.
    pub fn of(dialect: Dialect, state: &JobState) -> Self {
        let code = match state {
            JobState::Failed { failure } => Some(failure.code),
            _ => None,
        };
        Self::at(dialect, state.name(), code)
    }

    /// Of a job at a moment; the code is that of its failure.
    pub fn at(dialect: Dialect, state: StateName, code: Option<FailureCode>) -> Self {
        match state {
            StateName::Queued => Self::Pending,
            // A's clients know no word for it, and it may go on.
            StateName::Held if dialect == Dialect::B => Self::Indeterminate,
            StateName::Submitting
            | StateName::Verifying
            | StateName::Held
            | StateName::Running
            | StateName::Storing => Self::Processing,
            StateName::Completed => Self::Completed,
            StateName::Failed if code == Some(FailureCode::DeadlineExceeded) => Self::TimedOut,
            StateName::Failed => Self::Failed,
            StateName::Canceled => Self::Cancelled,
        }
    }

    /// The word on the video routes.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Processing => "processing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::TimedOut => "timedout",
            Self::Indeterminate => "indeterminate",
        }
    }

    /// The word on B's generic routes.
    pub const fn generic_word(self) -> &'static str {
        match self {
            Self::TimedOut => "timed_out",
            other => other.word(),
        }
    }

    /// The number on A's generic routes.
    pub const fn number(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Processing | Self::Indeterminate => 1,
            Self::Completed => 2,
            Self::Failed => 3,
            Self::Cancelled => 4,
            Self::TimedOut => 5,
        }
    }

    /// The word in messages.
    pub const fn title(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Processing => "Processing",
            Self::Completed => "Completed",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
            Self::TimedOut => "TimedOut",
            Self::Indeterminate => "Indeterminate",
        }
    }

    /// A client stops waiting.
    pub const fn is_finished(self) -> bool {
        !matches!(self, Self::Pending | Self::Processing)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_one_job() {
        let job = JobId::from_bytes([0xab; 16]);
        let name = task_id(job);
        assert_eq!(name, format!("task_{}", "ab".repeat(16)));
        assert!(name.len() <= 50);
        assert_eq!(job_of(&name), Some(job));
        for wrong in ["", "task_", "task_12", &job.to_string(), &name.to_uppercase(), &format!("{name}0")] {
            assert_eq!(job_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn every_state_has_its_word() {
        for (state, code, a, b) in [
            (StateName::Queued, None, "pending", "pending"),
            (StateName::Submitting, None, "processing", "processing"),
            (StateName::Verifying, None, "processing", "processing"),
            (StateName::Held, None, "processing", "indeterminate"),
            (StateName::Running, None, "processing", "processing"),
            (StateName::Storing, None, "processing", "processing"),
            (StateName::Completed, None, "completed", "completed"),
            (StateName::Failed, Some(FailureCode::ProviderError), "failed", "failed"),
            (StateName::Failed, Some(FailureCode::DeadlineExceeded), "timedout", "timedout"),
            (StateName::Canceled, None, "cancelled", "cancelled"),
        ] {
            assert_eq!(TaskState::at(Dialect::A, state, code).word(), a);
            let in_b = TaskState::at(Dialect::B, state, code);
            assert_eq!(in_b.word(), b);
            assert_eq!(in_b.is_finished(), state.is_terminal() || state == StateName::Held);
        }
    }
}
