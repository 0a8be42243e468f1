//! Identities: typed, with their text forms, and the source of randomness they are made from.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use uuid::Uuid;

use crate::time::Timestamp;

/// Random bytes; the operating system's in production, a seed's in simulation.
pub trait Random: Send + Sync {
    /// Fills the whole slice.
    fn fill(&self, bytes: &mut [u8]);

    /// One random number.
    fn u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A number below `bound`; 0 if `bound` is 0.
    fn below(&self, bound: u64) -> u64 {
        if bound == 0 { 0 } else { self.u64() % bound }
    }
}

/// Identifies one job. Shown to clients as `video_` and 32 hex digits (UUIDv7: sorts by age).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(Uuid);

impl JobId {
    /// Makes a new id; ids made later sort later, to the millisecond.
    pub fn new(now: Timestamp, random: &dyn Random) -> Self {
        let mut bytes = [0; 10];
        random.fill(&mut bytes);
        let millis = u64::try_from(now.as_micros() / 1000).unwrap_or(0);
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &bytes).into_uuid())
    }

    /// The 16 bytes as stored.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// From the 16 bytes as stored.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "video_{}", self.0.simple())
    }
}

/// The text is not a video id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a video id: it reads video_ and 32 hex digits")]
pub struct NotAnId;

impl FromStr for JobId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let hex = text.strip_prefix("video_").ok_or(NotAnId)?;
        if hex.len() != 32 || !hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(NotAnId);
        }
        Uuid::try_parse(hex).map(Self).map_err(|_| NotAnId)
    }
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident, $inner:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

number_id!(
    /// Who owns jobs and API keys. 1 is the default project.
    ProjectId, i64
);
number_id!(
    /// One credential at a provider, numbered by the store when its name is first seen.
    AccountId, i32
);
number_id!(
    /// What a queued job waits for: one provider model at one account, numbered by the store.
    PoolId, i32
);
number_id!(
    /// One incarnation of a process that owns work: new at each start.
    ExecutorId, i64
);
number_id!(
    /// The number of an attempt within its job, from 1.
    AttemptNo, u16
);
number_id!(
    /// Grows on a work row with each acquire and reap; guards decisions, never evidence.
    Fence, i64
);
number_id!(
    /// Names one execution's own intent, so that nobody mistakes another's for it (rule R2).
    Nonce, i64
);
number_id!(
    /// Who is told of events: an endpoint of webhooks.
    EndpointId, i64
);
number_id!(
    /// One event for one endpoint.
    DeliveryId, i64
);

impl PoolId {
    /// No pool is known: any executor may take the work.
    pub const NONE: Self = Self(0);
}

impl ExecutorId {
    /// Whoever acted in a history that was lost.
    pub const LOST: Self = Self(0);
}

impl Default for PoolId {
    fn default() -> Self {
        Self::NONE
    }
}

/// The provider's name for its side of an attempt. At most [`ProviderJobId::MAX_BYTES`] bytes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProviderJobId(Arc<str>);

impl ProviderJobId {
    /// Longest id we store, in bytes.
    pub const MAX_BYTES: usize = 512;

    /// `None` if the text is empty, too long or holds control characters: such an id cannot be asked for again.
    pub fn new(text: &str) -> Option<Self> {
        let fits = !text.is_empty() && text.len() <= Self::MAX_BYTES && !text.chars().any(char::is_control);
        fits.then(|| Self(text.into()))
    }

    /// The id as the provider wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProviderJobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Our name for an attempt, carried in the submission (rule R6): 26 characters of base 32.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientRef(Arc<str>);

impl ClientRef {
    /// Encodes the first 16 bytes of a keyed hash over (project, idempotency key or job, attempt).
    pub fn from_hash(hash: &[u8; 16]) -> Self {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let mut bits = u128::from_be_bytes(*hash);
        let mut text = [0u8; 26];
        for place in text.iter_mut().rev() {
            *place = ALPHABET[usize::try_from(bits & 31).unwrap_or(0)];
            bits >>= 5;
        }
        Self(String::from_utf8_lossy(&text).into())
    }

    /// From its stored text.
    pub fn from_stored(text: &str) -> Self {
        Self(text.into())
    }

    /// The 26 characters.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Sevens;
    impl Random for Sevens {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(7);
        }
    }

    #[test]
    fn a_job_id_reads_back_and_sorts_by_age() {
        let old = JobId::new(Timestamp::from_micros(1_700_000_000_000_000), &Sevens);
        let new = JobId::new(Timestamp::from_micros(1_700_000_000_002_000), &Sevens);
        assert!(old < new);
        assert_eq!(old.to_string().parse(), Ok(old));
        for wrong in ["", "video_", "video_123", "VIDEO_00000000000000000000000000000000", "edits"] {
            assert_eq!(wrong.parse::<JobId>(), Err(NotAnId), "{wrong}");
        }
        assert!(old.to_string().to_uppercase().parse::<JobId>().is_err());
    }

    #[test]
    fn a_client_ref_is_26_characters_and_tells_hashes_apart() {
        let one = ClientRef::from_hash(&[1; 16]);
        assert_eq!(one.as_str().len(), 26);
        assert_ne!(one, ClientRef::from_hash(&[2; 16]));
    }
}
