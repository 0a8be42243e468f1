//! What a client asked for, validated: the immutable half of a job.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::artifact::{ArtifactKey, Digest};
use crate::id::{AccountId, JobId, ProviderJobId};
use crate::webhook::VideoWebhook;

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Size {
    /// Pixels from left to right.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// The text is not a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a size reads WIDTHxHEIGHT in pixels, such as 1280x720")]
pub struct NotASize;

impl FromStr for Size {
    type Err = NotASize;

    fn from_str(text: &str) -> Result<Self, NotASize> {
        let (width, height) = text.split_once('x').ok_or(NotASize)?;
        let side = |digits: &str| match digits.as_bytes() {
            [b'1'..=b'9', rest @ ..] if rest.len() < 5 && rest.iter().all(u8::is_ascii_digit) => {
                digits.parse().map_err(|_| NotASize)
            }
            _ => Err(NotASize),
        };
        Ok(Self { width: side(width)?, height: side(height)? })
    }
}

/// An input image whose bytes are already ours: a link may die before its job starts, our copy does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputImage {
    /// Where its bytes lie in the artifact store.
    pub key: ArtifactKey,
    /// As recognised by content: `image/png`, `image/jpeg` or `image/webp`.
    pub media_type: Box<str>,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 of the bytes.
    pub sha256: Digest,
}

/// What is made of an older video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceKind {
    /// The same video with another prompt.
    Remix,
}

impl SourceKind {
    /// The word in stored requests.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Remix => "remix",
        }
    }

    /// From the stored word.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Remix].into_iter().find(|kind| kind.word() == word)
    }
}

/// A completed video of ours that another one is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Which.
    pub video: JobId,
    /// What is made of it.
    pub kind: SourceKind,
    /// Who made it. Nobody else knows it, so every attempt goes there.
    pub account: AccountId,
    /// The provider's name for it; `None` where the provider starts from a picture of it, which is then the input.
    pub provider_job: Option<ProviderJobId>,
}

/// One request, with every default filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoRequest {
    /// 1 to 32,000 characters, not blank, no NUL.
    pub prompt: Box<str>,
    /// The public model name.
    pub model: Box<str>,
    /// Length asked for, in seconds.
    pub seconds: u32,
    /// Size asked for.
    pub size: Size,
    /// A picture to start from.
    pub input: Option<InputImage>,
    /// The client's own pairs: at most 16, keys to 64 and values to 512 characters.
    pub metadata: BTreeMap<String, String>,
    /// Higher goes first among what waits for the same account; -100 to 100.
    pub priority: i16,
    /// For the route's provider: a JSON object as text, already checked by it.
    pub provider_options: Option<Box<str>>,
    /// The older video this one is made of.
    pub source: Option<Source>,
    /// All attempts together may cost at most this, in millionths of a dollar (module `cost`).
    pub max_cost_usd_micros: Option<u64>,
    /// Who else is told of its events.
    pub webhook: Option<VideoWebhook>,
}

impl VideoRequest {
    /// Whether an account can serve it at all.
    pub fn may_go_to(&self, account: AccountId) -> bool {
        self.source.as_ref().is_none_or(|source| source.account == account)
    }
}
