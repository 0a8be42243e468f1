//! What remains to be done, one row each: its key, where it waits, what an executor has room for, and what taking it gives.

use std::time::Duration;

use crate::attempt::Attempt;
use crate::id::{AccountId, AttemptNo, Fence, JobId, PoolId};
use crate::limits::Limits;
use crate::record::Record;
use crate::time::Timestamp;

/// What a work row is for; the number is the stored one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(i16)]
pub enum WorkKind {
    /// Drive a job.
    Drive = 0,
    /// Watch a late attempt.
    Watch = 2,
}

/// Names one work row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkKey {
    /// Whose.
    pub job: JobId,
    /// What for.
    pub kind: WorkKind,
    /// The attempt watched; 0 for `Drive`.
    pub reference: i64,
}

impl WorkKey {
    /// The row that drives a job.
    pub const fn drive(job: JobId) -> Self {
        Self { job, kind: WorkKind::Drive, reference: 0 }
    }

    /// The row that watches a late attempt.
    pub const fn watch(job: JobId, attempt: AttemptNo) -> Self {
        Self { job, kind: WorkKind::Watch, reference: attempt.0 as i64 }
    }
}

/// Where a work row waits while nobody owns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// Whose executors can drive it; [`PoolId::NONE`] is anyone.
    pub pool: PoolId,
    /// It waits for room for a submission: besides being due, it may be taken as soon as there is some.
    pub queued: bool,
}

/// A row to be given back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Release {
    /// Which row.
    pub work: WorkKey,
    /// Our number on it.
    pub fence: Fence,
    /// When it must be looked at again, room or no room; news that came meanwhile makes it earlier.
    pub due_at: Timestamp,
    /// Where it waits.
    pub place: Place,
}

/// What an executor has room for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Wanted {
    /// Due rows, at most.
    pub due: usize,
    /// Queued jobs to submit, at most, over all accounts.
    pub queued: usize,
    /// What it can drive, in the order in which queued jobs are looked for.
    pub accounts: Vec<WantedAccount>,
}

/// One account that an executor drives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedAccount {
    /// Which.
    pub account: AccountId,
    /// Of the account, over all machines.
    pub limits: Limits,
    /// Its models, each with limits of its own.
    pub pools: Vec<(PoolId, Limits)>,
    /// Take queued jobs.
    pub takes_queued: bool,
    /// Take due rows only where nobody took them for this long.
    pub overdue: Duration,
}

/// What acquiring gives.
#[derive(Debug, Clone, PartialEq)]
pub struct Claim {
    /// Which row.
    pub work: WorkKey,
    /// Our number on it.
    pub fence: Fence,
    /// The job.
    pub record: Record,
    /// The late attempt, for `Watch`.
    pub late: Option<Attempt>,
}
