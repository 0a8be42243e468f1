//! One piece of owned work, and what its owner remembers about it between steps.

use std::time::Duration;

use longtake_core::attempt::Attempt;
use longtake_core::id::{AccountId, AttemptNo, Fence};
use longtake_core::provider::Output;
use longtake_core::record::Record;
use longtake_core::state::StateName;
use longtake_core::store::{Claim, WorkKey};
use longtake_core::time::Timestamp;

/// What is worth remembering and not worth a row: lost in a crash, and nothing is the worse for it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Memory {
    /// Polls since the provider took it.
    pub polls: u32,
    /// Calls in a row that gave no usable answer.
    pub errors: u16,
    /// Tries of the present step that count towards a verdict (unplayable copies, refused cancels).
    pub tries: u16,
    /// Since when the provider says "not found" without a break.
    pub not_found_since: Option<Timestamp>,
    /// Since when, on the monotonic clock, this owner looks for the attempt in the provider's list.
    pub looked_since: Option<Duration>,
    /// When progress was last written.
    pub progress_at: Option<Duration>,
    /// Since when, on the monotonic clock, no send of the attempt is under way or can begin: our own ended, its sender said so of its own, or was found dead.
    pub quiet_since: Option<Duration>,
    /// The provider was asked to cancel.
    pub cancel_asked: bool,
    /// What the provider offered when it was last asked.
    pub outputs: Vec<Output>,
    /// The account's pace has given it a turn already.
    pub paced: bool,
    /// Routes that its next attempt passes over, as [`turn`](crate::turn) found.
    pub skipped: usize,
    /// Polls that are left to be made in a hurry, since there was news.
    pub hurried: u8,
    /// It was woken while a step was under way: read again before choosing.
    pub stale: bool,
    /// When this was to be done, on the monotonic clock.
    pub planned_at: Duration,
}

/// Owned work.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub work: WorkKey,
    pub fence: Fence,
    pub record: Record,
    pub late: Option<Box<Attempt>>,
    /// Whose executors drive it; counted in the load.
    pub account: Option<AccountId>,
    pub memory: Memory,
}

impl Task {
    pub fn new(claim: Claim) -> Self {
        Self {
            work: claim.work,
            fence: claim.fence,
            record: claim.record,
            late: claim.late.map(Box::new),
            account: None,
            memory: Memory::default(),
        }
    }

    /// The attempt this work is about.
    pub fn attempt(&self) -> Option<&Attempt> {
        self.late.as_deref().or(self.record.attempt.as_ref())
    }

    /// Takes a newer record up. What was remembered about another state or attempt is forgotten.
    pub fn refresh(&mut self, record: Record, late: Option<Attempt>) {
        let key = |task: &Self| -> (StateName, Option<AttemptNo>) {
            (task.record.state.name(), task.record.attempt.as_ref().map(|attempt| attempt.n))
        };
        let before = key(self);
        self.record = record;
        if late.is_some() {
            self.late = late.map(Box::new);
        }
        if before != key(self) {
            let same_attempt = before.1 == key(self).1;
            let quiet_since = self.memory.quiet_since.filter(|_| same_attempt);
            let looked_since = self.memory.looked_since.filter(|_| same_attempt);
            let outputs = std::mem::take(&mut self.memory.outputs);
            self.memory = Memory { quiet_since, looked_since, outputs, ..Memory::default() };
        }
    }
}

/// When an owner turns to its work again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// At once.
    Now,
    /// After a while.
    After(Duration),
    /// Back into the queue: the account has no room, or none before the given time.
    Queue(AccountId, Option<Timestamp>),
    /// When it comes due then: nobody needs to remember it until then.
    HandBack(Timestamp),
}

/// A step that ended.
#[derive(Debug)]
pub(crate) struct Done {
    pub work: WorkKey,
    pub fence: Fence,
    /// The work and when to go on; `None` where it is finished, handed back or another's.
    pub rest: Option<(Box<Task>, Next)>,
    /// An account at which one job less runs now.
    pub freed: Option<AccountId>,
}

impl Done {
    pub fn keep(task: Task, next: Next) -> Self {
        Self { work: task.work, fence: task.fence, rest: Some((Box::new(task), next)), freed: None }
    }

    pub fn gone(task: &Task) -> Self {
        Self { work: task.work, fence: task.fence, rest: None, freed: None }
    }
}
