//! Owned work in memory: what is idle, what is busy, and a timer for each that waits.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use longtake_core::id::{AccountId, Fence};
use longtake_core::store::{Place, Release, WorkKey};
use longtake_core::time::Timestamp;

use crate::task::Task;

enum Slot {
    /// Waits; `timer` tells the live timer from stale ones.
    Idle { task: Box<Task>, timer: u64 },
    /// A step is under way. `woken`: choose again when it ends.
    Busy { fence: Fence, woken: bool, account: Option<AccountId> },
}

impl Slot {
    fn fence(&self) -> Fence {
        match self {
            Self::Idle { task, .. } => task.fence,
            Self::Busy { fence, .. } => *fence,
        }
    }

    fn account(&self) -> Option<AccountId> {
        match self {
            Self::Idle { task, .. } => task.account,
            Self::Busy { account, .. } => *account,
        }
    }
}

/// All work of one incarnation.
#[derive(Default)]
pub(crate) struct Owned {
    slots: BTreeMap<WorkKey, Slot>,
    timers: BinaryHeap<Reverse<(Duration, u64, WorkKey)>>,
    last_timer: u64,
    /// How many of each account.
    load: BTreeMap<AccountId, u32>,
    names: Names,
}

/// Names of models, once for all the work that has them: every row brings its own.
#[derive(Default)]
struct Names(BTreeSet<Arc<str>>);

impl Names {
    /// More than any config has; jobs of models that were removed from it come on top.
    const MOST: usize = 1_000;

    fn share(&mut self, name: &mut Arc<str>) {
        match self.0.get(&**name) {
            Some(known) => *name = Arc::clone(known),
            None if self.0.len() < Self::MOST => drop(self.0.insert(Arc::clone(name))),
            None => {}
        }
    }
}

/// Stale timers are swept when they outnumber the live ones by this factor.
const STALE_FACTOR: usize = 2;

impl Owned {
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Keeps idle work until `at` on the monotonic clock.
    pub fn put(&mut self, mut task: Box<Task>, at: Duration) {
        self.last_timer += 1;
        let (work, timer) = (task.work, self.last_timer);
        task.memory.planned_at = at;
        self.names.share(&mut task.record.model);
        if let Some(attempt) = &mut task.record.attempt {
            self.names.share(&mut attempt.model);
        }
        self.set(work, Slot::Idle { task, timer });
        self.timers.push(Reverse((at, timer, work)));
        if self.timers.len() > 1_024 && self.timers.len() > STALE_FACTOR * self.slots.len() {
            self.sweep();
        }
    }

    fn set(&mut self, work: WorkKey, slot: Slot) {
        if let Some(account) = slot.account() {
            *self.load.entry(account).or_default() += 1;
        }
        if let Some(before) = self.slots.insert(work, slot) {
            self.unload(&before);
        }
    }

    fn unload(&mut self, slot: &Slot) {
        if let Some(count) = slot.account().and_then(|account| self.load.get_mut(&account)) {
            *count = count.saturating_sub(1);
        }
    }

    /// How many are owned of an account.
    pub fn of(&self, account: AccountId) -> u32 {
        self.load.get(&account).copied().unwrap_or(0)
    }

    fn sweep(&mut self) {
        let slots = &self.slots;
        self.timers.retain(
            |Reverse((_, timer, work))| matches!(slots.get(work), Some(Slot::Idle { timer: live, .. }) if live == timer),
        );
    }

    /// When the next timer fires.
    pub fn next_at(&self) -> Option<Duration> {
        self.timers.peek().map(|Reverse((at, ..))| *at)
    }

    /// Takes one piece of work whose time has come; it is busy from now on.
    pub fn take_due(&mut self, now: Duration) -> Option<Box<Task>> {
        while let Some(Reverse((at, timer, work))) = self.timers.peek().copied() {
            if at > now {
                return None;
            }
            self.timers.pop();
            if matches!(self.slots.get(&work), Some(Slot::Idle { timer: live, .. }) if *live == timer) {
                return self.take(work);
            }
        }
        None
    }

    /// Takes idle work; it is busy from now on.
    pub fn take(&mut self, work: WorkKey) -> Option<Box<Task>> {
        match self.slots.remove(&work)? {
            Slot::Idle { task, .. } => {
                let busy = Slot::Busy { fence: task.fence, woken: false, account: task.account };
                self.slots.insert(work, busy);
                Some(task)
            }
            busy @ Slot::Busy { .. } => {
                self.slots.insert(work, busy);
                None
            }
        }
    }

    /// Marks busy work to be chosen for again; says whether it was busy with this fence.
    pub fn wake_busy(&mut self, work: WorkKey, claimed: Fence) -> bool {
        match self.slots.get_mut(&work) {
            Some(Slot::Busy { fence, woken, .. }) if *fence == claimed => {
                *woken = true;
                true
            }
            _ => false,
        }
    }

    /// Ends busy work; says whether it was woken meanwhile. `None` where it was taken under another fence since.
    pub fn end_busy(&mut self, work: WorkKey, ended: Fence) -> Option<bool> {
        match self.slots.get(&work) {
            Some(Slot::Busy { fence, woken, .. }) if *fence == ended => {
                let woken = *woken;
                if let Some(slot) = self.slots.remove(&work) {
                    self.unload(&slot);
                }
                Some(woken)
            }
            _ => None,
        }
    }

    /// Whether this work is known under this fence.
    pub fn knows(&self, work: WorkKey, claimed: Fence) -> bool {
        match self.slots.get(&work) {
            Some(Slot::Idle { task, .. }) => task.fence == claimed,
            Some(Slot::Busy { fence, .. }) => *fence == claimed,
            None => false,
        }
    }

    /// Idle work, left where it is.
    pub fn idle(&self, work: WorkKey) -> Option<&Task> {
        match self.slots.get(&work)? {
            Slot::Idle { task, .. } => Some(task),
            Slot::Busy { .. } => None,
        }
    }

    /// Everything owned, in order.
    pub fn fences(&self) -> Vec<(WorkKey, Fence)> {
        self.slots.iter().map(|(work, slot)| (*work, slot.fence())).collect()
    }

    /// Everything owned, to be handed back: due when and where `to` says. Of busy work only the key is known.
    pub fn drain(&mut self, to: impl Fn(Option<&Task>) -> (Timestamp, Place)) -> Vec<Release> {
        let rows = std::mem::take(&mut self.slots).into_iter().map(|(work, slot)| {
            let (due_at, place) = match &slot {
                Slot::Idle { task, .. } => to(Some(task)),
                Slot::Busy { .. } => to(None),
            };
            Release { work, fence: slot.fence(), due_at, place }
        });
        rows.collect()
    }
}
