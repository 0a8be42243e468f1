//! What the engine counts. Plain numbers: the edge gives them their public names.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {
        /// Counters since the process started, and a few gauges of now.
        #[derive(Debug, Default)]
        pub struct EngineMetrics { $($(#[$doc])* pub $name: AtomicU64,)+ }
    };
}

counters! {
    /// Polls made.
    polls,
    /// Polls that got no usable answer; they prove nothing.
    poll_errors,
    /// Milliseconds that polls began later than planned, summed.
    poll_lag_ms_sum,
    /// Submissions sent.
    submits,
    /// Submissions accepted.
    submits_accepted,
    /// Submissions whose outcome was unknown when their answer was due.
    submits_unknown,
    /// Submissions refused.
    submits_refused,
    /// Look-ups of lost submissions.
    lookups,
    /// Lost submissions found again.
    adopted,
    /// Answers "too many requests".
    rate_limited,
    /// Status words no adapter knows; they are waited out.
    unknown_statuses,
    /// Outputs stored and verified.
    artifacts_stored,
    /// Their bytes.
    artifact_bytes,
    /// Copies that failed and are tried again.
    artifact_errors,
    /// Jobs completed.
    jobs_completed,
    /// Jobs failed.
    jobs_failed,
    /// Jobs canceled.
    jobs_canceled,
    /// Jobs that began to be held.
    jobs_held,
    /// Late results stored.
    late_results,
    /// Decisions refused because another owner had taken over.
    stale_steps,
    /// Jobs that retention removed.
    retention_jobs,
    /// Events that retention removed, those of removed jobs among them.
    retention_events,
    /// Objects that retention removed.
    retention_artifacts,
    /// Rounds of retention that an error of the store ended, and objects that could not be removed.
    retention_errors,
    /// Webhooks that their receiver took.
    webhooks_delivered,
    /// Tries of webhooks that came to anything else.
    webhooks_failed,
    /// Milliseconds that tries took, summed.
    webhook_ms_sum,
    /// Webhooks under way right now.
    webhooks_in_flight,
    /// Work owned right now.
    owned,
    /// Work that would be owned if each executor had its fair share of every account that several drive.
    fair_share,
    /// External calls under way right now.
    calls_in_flight,
    /// Submissions under way right now.
    sends_in_flight,
    /// Jobs waiting for a slot of their account right now.
    waiting_for_account,
}

/// Adds one.
pub fn count(counter: &AtomicU64) {
    add(counter, 1);
}

/// Adds some.
pub fn add(counter: &AtomicU64, amount: u64) {
    counter.fetch_add(amount, Ordering::Relaxed);
}

/// Sets a gauge.
pub fn set(gauge: &AtomicU64, value: usize) {
    gauge.store(u64::try_from(value).unwrap_or(u64::MAX), Ordering::Relaxed);
}
