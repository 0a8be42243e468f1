//! Named crash points: the process aborts, or freezes, where a test asked it to; and errors that a test orders.
//!
//! `LONGTAKE_FAILPOINT=NAME` aborts at the first hit of that point, `NAME:3` at the third; `NAME:1:stop` freezes the whole
//! process there (SIGSTOP) until somebody sends SIGCONT. Points are named after the crash matrix (`C1` … `C19`).
//! `LONGTAKE_FAILPOINT_FAULTS=DIR`: as long as the file `DIR/NAME` holds a number above zero, [`fails`] takes one off it and says so.
//! Absent without the feature `failpoints`: then a hit is nothing at all, and nothing fails.

/// Passes, or ends the process as `kill -9` would (no destructor, no flush), or freezes it.
#[cfg(feature = "failpoints")]
pub fn hit(name: &str) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Asked {
        name: String,
        count: u64,
        freezes: bool,
    }
    static ASKED: OnceLock<Option<Asked>> = OnceLock::new();
    static HITS: AtomicU64 = AtomicU64::new(0);
    let asked = ASKED.get_or_init(|| {
        let text = std::env::var("LONGTAKE_FAILPOINT").ok()?;
        let mut parts = text.split(':');
        let name = parts.next()?.to_owned();
        let count = parts.next().and_then(|count| count.parse().ok()).unwrap_or(1);
        Some(Asked { name, count, freezes: parts.next() == Some("stop") })
    });
    if let Some(asked) = asked
        && asked.name == name
        && HITS.fetch_add(1, Ordering::SeqCst) + 1 == asked.count
    {
        if asked.freezes {
            freeze();
        } else {
            std::process::abort();
        }
    }
}

/// Stops every thread of this process. The shell's own `kill` does it, so that no crate for signals is needed here.
#[cfg(feature = "failpoints")]
fn freeze() {
    let order = format!("kill -STOP {}", std::process::id());
    let told = std::process::Command::new("sh").arg("-c").arg(order).status();
    if !told.is_ok_and(|status| status.success()) {
        // A test that believes in a freeze that did not happen would prove nothing.
        std::process::abort();
    }
    // The signal may still wait for one of our threads while this one runs on; once a thread has taken it, all stop.
    while stop_is_pending() {}
}

/// Whether a SIGSTOP was sent to this process and no thread has taken it yet.
#[cfg(feature = "failpoints")]
fn stop_is_pending() -> bool {
    /// SIGSTOP, number 19, in a mask whose lowest bit is signal 1.
    const STOP: u64 = 1 << 18;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let pending = status.lines().find_map(|line| line.strip_prefix("ShdPnd:"));
    pending.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & STOP != 0)
}

/// Whether a test ordered that this fails now.
#[cfg(feature = "failpoints")]
pub fn fails(name: &str) -> bool {
    let Some(folder) = std::env::var_os("LONGTAKE_FAILPOINT_FAULTS") else { return false };
    let order = std::path::Path::new(&folder).join(name);
    let left: Option<u64> = std::fs::read_to_string(&order).ok().and_then(|text| text.trim().parse().ok());
    match left {
        Some(left) if left > 0 => std::fs::write(&order, (left - 1).to_string()).is_ok(),
        _ => false,
    }
}

/// Nothing, in a release.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub const fn hit(_name: &str) {}

/// Never, in a release.
#[cfg(not(feature = "failpoints"))]
#[inline(always)]
pub const fn fails(_name: &str) -> bool {
    false
}
