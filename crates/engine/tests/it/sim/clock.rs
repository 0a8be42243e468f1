//! Virtual time, one machine's wrong idea of it, and the gate that stops a whole process.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use longtake_core::time::{Clock, Timestamp};
use tokio::sync::Notify;
use tokio::time::Instant;

/// Where virtual wall time begins, in microseconds since the epoch.
const BASE_MICROS: i64 = 1_800_000_000_000_000;

/// Waits in virtual time.
#[expect(clippy::disallowed_methods, reason = "this is the clock that the simulation turns")]
pub async fn pause(duration: Duration) {
    tokio::time::sleep(duration).await;
}

/// Seconds, for short lines.
pub const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Open,
    Frozen,
    Dead,
}

/// Every call of one process passes it on its way out and on its way back.
#[derive(Clone)]
pub struct Gate(Arc<Inner>);

struct Inner {
    phase: Mutex<Phase>,
    /// Wakes in order of arrival; a `watch` channel would wake at random.
    changed: Notify,
}

impl Gate {
    pub fn open() -> Self {
        Self(Arc::new(Inner { phase: Mutex::new(Phase::Open), changed: Notify::new() }))
    }

    fn phase(&self) -> MutexGuard<'_, Phase> {
        self.0.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while the process is stopped; for ever once it is dead.
    pub async fn pass(&self) {
        loop {
            let changed = self.0.changed.notified();
            let phase = *self.phase();
            match phase {
                Phase::Open => return,
                Phase::Dead => std::future::pending().await,
                Phase::Frozen => changed.await,
            }
        }
    }

    /// Stops the process for a while, as SIGSTOP and SIGCONT do.
    pub fn freeze_for(&self, duration: Duration) {
        self.set(Phase::Frozen);
        let gate = self.clone();
        tokio::spawn(async move {
            pause(duration).await;
            gate.set(Phase::Open);
        });
    }

    /// No call of this process begins or ends any more.
    pub fn kill(&self) {
        self.set(Phase::Dead);
    }

    pub fn is_frozen(&self) -> bool {
        *self.phase() == Phase::Frozen
    }

    fn set(&self, to: Phase) {
        let mut phase = self.phase();
        if *phase != Phase::Dead {
            *phase = to;
        }
        drop(phase);
        self.0.changed.notify_waiters();
    }
}

/// One machine's clock.
#[derive(Clone)]
pub struct SimClock {
    start: Instant,
    skew_micros: Arc<AtomicI64>,
    gate: Gate,
}

impl SimClock {
    /// The true time. Must be made inside the runtime.
    pub fn new() -> Self {
        Self { start: Instant::now(), skew_micros: Arc::default(), gate: Gate::open() }
    }

    /// The same time behind a process's gate, wrong by `skew_micros`.
    pub fn of_process(&self, gate: &Gate, skew_micros: i64) -> Self {
        Self { start: self.start, skew_micros: Arc::new(AtomicI64::new(skew_micros)), gate: gate.clone() }
    }

    /// Sets the wall clock: it jumps.
    pub fn skew(&self, micros: i64) {
        self.skew_micros.store(micros, Ordering::Relaxed);
    }
}

impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        let elapsed = i64::try_from(self.start.elapsed().as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(BASE_MICROS + elapsed + self.skew_micros.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        // Not from zero: a bare zero would hide arithmetic that forgets the start.
        secs(1_000) + self.start.elapsed()
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let gate = self.gate.clone();
        Box::pin(async move {
            pause(duration).await;
            gate.pass().await;
        })
    }
}
