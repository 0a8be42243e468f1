//! Room on the disk of the database: below the low-water mark, creates are refused and everything else goes on.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longtake_core::store::StoreError;
use longtake_core::time::Clock;

/// How long one look at the disk counts.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The mark, and the last look.
pub(super) struct Room {
    directory: PathBuf,
    low_water_bytes: u64,
    clock: Arc<dyn Clock>,
    last: Mutex<Option<(Duration, bool)>>,
}

impl Room {
    /// Watches the disk of a directory.
    pub fn new(directory: &Path, low_water_bytes: u64, clock: Arc<dyn Clock>) -> Self {
        Self { directory: directory.to_owned(), low_water_bytes, clock, last: Mutex::new(None) }
    }

    /// `Full` below the mark. A disk that does not answer is not taken for a full one.
    pub fn check(&self) -> Result<(), StoreError> {
        let now = self.clock.monotonic();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = match *last {
            Some((at, has_room)) if now < at + LOOK_EVERY => has_room,
            _ => free_bytes(&self.directory).is_none_or(|free| free >= self.low_water_bytes),
        };
        if last.is_none_or(|(at, _)| now >= at + LOOK_EVERY) {
            *last = Some((now, has_room));
        }
        if has_room { Ok(()) } else { Err(StoreError::Full) }
    }
}

/// Bytes that this process may still write on the disk of a directory.
pub(crate) fn free_bytes(directory: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(directory).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}
