//! Named crash points: the process aborts where a test asked it to.
//!
//! `LONGTAKE_FAILPOINT=NAME` aborts at the first hit of that point, `NAME:3` at the third. Points are named after the
//! crash matrix (`C1` … `C19`). Absent without the feature `failpoints`: then a hit is nothing at all.

/// Passes, or ends the process as `kill -9` would: no destructor, no flush.
#[cfg(feature = "failpoints")]
pub fn hit(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static ASKED: OnceLock<Option<(String, u64)>> = OnceLock::new();
    static HITS: AtomicU64 = AtomicU64::new(0);
    let asked = ASKED.get_or_init(|| {
        let text = std::env::var("LONGTAKE_FAILPOINT").ok()?;
        let (name, count) = text.split_once(':').unwrap_or((&text, "1"));
        Some((name.to_owned(), count.parse().unwrap_or(1)))
    });
    if let Some((wanted, count)) = asked
        && wanted == name
        && HITS.fetch_add(1, Ordering::SeqCst) + 1 == *count
    {
        std::process::abort();
    }
}

/// Nothing, in a release.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub const fn hit(_name: &str) {}
