//! Why a job ended badly: a stored reason with its stable public code.

/// The closed list of failure codes a client can meet in `error.code` of a video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureCode {
    /// The provider's content rules refused the prompt, the input or the result.
    ContentPolicy,
    /// The provider found the request invalid.
    InvalidRequest,
    /// The provider account has no credit or quota left.
    ProviderQuota,
    /// The provider failed on its side.
    ProviderError,
    /// The provider could not be reached for too long.
    ProviderUnavailable,
    /// It is not known whether the provider took the submission, and a policy or a person gave up on it.
    SubmissionInDoubt,
    /// The provider finished, but its bytes could not be had.
    ArtifactUnavailable,
    /// The client's own deadline passed.
    DeadlineExceeded,
    /// The client canceled it.
    Canceled,
    /// The provider let the job or its result expire.
    ExpiredUpstream,
    /// The provider no longer knows a job that it accepted.
    ProviderLost,
}

impl FailureCode {
    /// Every code, in the order of its number.
    pub const ALL: [Self; 11] = [
        Self::ContentPolicy,
        Self::InvalidRequest,
        Self::ProviderQuota,
        Self::ProviderError,
        Self::ProviderUnavailable,
        Self::SubmissionInDoubt,
        Self::ArtifactUnavailable,
        Self::DeadlineExceeded,
        Self::Canceled,
        Self::ExpiredUpstream,
        Self::ProviderLost,
    ];

    /// The stable public word; `docs/errors/<code>.md` explains it.
    pub const fn code(self) -> &'static str {
        match self {
            Self::ContentPolicy => "content_policy",
            Self::InvalidRequest => "invalid_request",
            Self::ProviderQuota => "provider_quota",
            Self::ProviderError => "provider_error",
            Self::ProviderUnavailable => "provider_unavailable",
            Self::SubmissionInDoubt => "submission_in_doubt",
            Self::ArtifactUnavailable => "artifact_unavailable",
            Self::DeadlineExceeded => "deadline_exceeded",
            Self::Canceled => "canceled",
            Self::ExpiredUpstream => "expired_upstream",
            Self::ProviderLost => "provider_lost",
        }
    }

    /// From the public word.
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.code() == code)
    }
}

/// A stored reason. The message is written for clients: no secrets, no prompt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Which of the closed list.
    pub code: FailureCode,
    /// What happened and what to do, at most [`Failure::MAX_MESSAGE_BYTES`] bytes.
    pub message: Box<str>,
}

impl Failure {
    /// Longest message we store, in bytes.
    pub const MAX_MESSAGE_BYTES: usize = 1_000;

    /// Cuts the message to its limit at a character's border.
    pub fn new(code: FailureCode, message: &str) -> Self {
        let mut end = message.len().min(Self::MAX_MESSAGE_BYTES);
        while !message.is_char_boundary(end) {
            end -= 1;
        }
        Self { code, message: message[..end].into() }
    }
}
