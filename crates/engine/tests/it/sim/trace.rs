//! What happened, in order and with its virtual time: hashed whole, the end of it kept for reading.

use std::collections::VecDeque;
use std::fmt::Arguments;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

/// Lines kept for a failure.
const KEPT: usize = 60;
/// Violations kept; one is enough to fail.
const MAX_VIOLATIONS: usize = 20;

/// Shared by everything in one world.
#[derive(Clone)]
pub struct Trace(Arc<Mutex<Lines>>);

struct Lines {
    start: Instant,
    hash: u64,
    count: u64,
    last: VecDeque<String>,
    kept: usize,
    violations: Vec<String>,
}

impl Trace {
    /// Must be made inside the runtime whose time it tells.
    pub fn new() -> Self {
        let kept = std::env::var("LONGTAKE_SIM_TRACE").ok().and_then(|lines| lines.parse().ok()).unwrap_or(KEPT);
        Self(Arc::new(Mutex::new(Lines {
            start: Instant::now(),
            hash: 0xcbf2_9ce4_8422_2325,
            count: 0,
            last: VecDeque::new(),
            kept,
            violations: Vec::new(),
        })))
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes one line.
    pub fn log(&self, what: Arguments<'_>) {
        let mut lines = self.lines();
        let line = format!("{:>10.3} {what}", lines.start.elapsed().as_secs_f64());
        for byte in line.bytes() {
            lines.hash = (lines.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        lines.count += 1;
        if lines.last.len() >= lines.kept {
            lines.last.pop_front();
        }
        lines.last.push_back(line);
    }

    /// Notes that an invariant is broken.
    pub fn violation(&self, what: String) {
        self.log(format_args!("VIOLATION {what}"));
        let mut lines = self.lines();
        if lines.violations.len() < MAX_VIOLATIONS && !lines.violations.contains(&what) {
            lines.violations.push(what);
        }
    }

    /// What was broken so far.
    pub fn violations(&self) -> Vec<String> {
        self.lines().violations.clone()
    }

    /// Hash and number of all lines.
    pub fn hash(&self) -> (u64, u64) {
        let lines = self.lines();
        (lines.hash, lines.count)
    }

    /// The last lines.
    pub fn tail(&self) -> Vec<String> {
        self.lines().last.iter().cloned().collect()
    }
}
