//! Recognises the repeated create of an SDK that sends no idempotency key.
//!
//! The official SDKs repeat a POST by themselves after a lost connection or a 5xx and mark it `x-stainless-retry-count: n`
//! (n >= 1), with the same fields and no key. Such a request means the create it repeats. So every create without a key
//! notes its job's id **before** it is handed to the store; a repeat with the same API key and the same fields within
//! five minutes takes the oldest note that no repeat of its count took yet, and creates *that* id again, which the store
//! answers with the job that is there. Two equal creates on purpose carry count 0 and stay two.
//! In memory of one process: after a restart, or on another node, a repeat is a new create. An `Idempotency-Key` always holds.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use longtake_core::id::JobId;

/// How long after a create a repeat can mean it.
const WINDOW: Duration = Duration::from_secs(300);
/// Creates remembered at once.
const MAX_NOTES: usize = 10_000;

/// One create.
struct Note {
    key: i64,
    fingerprint: [u8; 32],
    job: JobId,
    at: Duration,
    /// The highest retry count that meant it.
    count: u32,
}

/// Creates that a repeat may mean, oldest first.
#[derive(Default)]
pub struct RecentCreates {
    notes: Mutex<VecDeque<Note>>,
}

impl RecentCreates {
    /// The id that a create shall have: `fresh`, or the one of the create it repeats.
    pub fn id_for(&self, key: i64, fingerprint: [u8; 32], count: u32, fresh: JobId, now: Duration) -> JobId {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        while notes.front().is_some_and(|note| now.saturating_sub(note.at) > WINDOW) || notes.len() >= MAX_NOTES {
            notes.pop_front();
        }
        // A first request repeats nothing: it need not look through thousands of notes.
        let repeated = |note: &&mut Note| note.key == key && note.fingerprint == fingerprint && note.count < count;
        if count > 0
            && let Some(note) = notes.iter_mut().find(repeated)
        {
            note.count = count;
            return note.job;
        }
        notes.push_back(Note { key, fingerprint, job: fresh, at: now, count });
        fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(n: u8) -> JobId {
        JobId::from_bytes([n; 16])
    }

    #[test]
    fn a_repeat_means_the_create_before_it() {
        let recent = RecentCreates::default();
        let now = Duration::from_secs(1);
        assert_eq!(recent.id_for(7, [1; 32], 0, job(1), now), job(1));
        assert_eq!(recent.id_for(7, [1; 32], 0, job(2), now), job(2), "two on purpose stay two");
        assert_eq!(recent.id_for(7, [1; 32], 1, job(3), now), job(1));
        assert_eq!(recent.id_for(7, [1; 32], 2, job(4), now), job(1), "a second repeat of the same create");
        assert_eq!(recent.id_for(7, [1; 32], 1, job(5), now), job(2));
        assert_eq!(recent.id_for(7, [1; 32], 1, job(6), now), job(6), "nothing left that it could repeat");
    }

    #[test]
    fn others_fields_others_keys_and_old_creates_are_not_meant() {
        let recent = RecentCreates::default();
        let now = Duration::from_secs(1);
        recent.id_for(7, [1; 32], 0, job(1), now);
        assert_eq!(recent.id_for(8, [1; 32], 1, job(2), now), job(2));
        assert_eq!(recent.id_for(7, [2; 32], 1, job(3), now), job(3));
        assert_eq!(recent.id_for(7, [1; 32], 1, job(4), now + WINDOW + WINDOW), job(4));
    }
}
