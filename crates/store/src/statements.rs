//! How many statements this process had databases run: tests bound it. Never in a release.

use std::sync::atomic::{AtomicU64, Ordering};

static RUN: AtomicU64 = AtomicU64::new(0);

/// Counts one.
pub(crate) fn count() {
    RUN.fetch_add(1, Ordering::Relaxed);
}

/// All so far, BEGIN and COMMIT among them.
pub fn counted() -> u64 {
    RUN.load(Ordering::Relaxed)
}
