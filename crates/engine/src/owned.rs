//! Owned work in memory: what is idle, what is busy, and a timer for each that waits.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::Duration;

use longtake_core::id::Fence;
use longtake_core::store::WorkKey;

use crate::task::Task;

enum Slot {
    /// Waits; `timer` tells the live timer from stale ones.
    Idle { task: Box<Task>, timer: u64 },
    /// A step is under way. `woken`: choose again when it ends.
    Busy { fence: Fence, woken: bool },
}

/// All work of one incarnation.
#[derive(Default)]
pub(crate) struct Owned {
    slots: BTreeMap<WorkKey, Slot>,
    timers: BinaryHeap<Reverse<(Duration, u64, WorkKey)>>,
    last_timer: u64,
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
        self.slots.insert(work, Slot::Idle { task, timer });
        self.timers.push(Reverse((at, timer, work)));
        if self.timers.len() > 1_024 && self.timers.len() > STALE_FACTOR * self.slots.len() {
            self.sweep();
        }
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
                self.slots.insert(work, Slot::Busy { fence: task.fence, woken: false });
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
            Some(Slot::Busy { fence, woken }) if *fence == claimed => {
                *woken = true;
                true
            }
            _ => false,
        }
    }

    /// Ends busy work; says whether it was woken meanwhile. `None` where it was taken under another fence since.
    pub fn end_busy(&mut self, work: WorkKey, ended: Fence) -> Option<bool> {
        match self.slots.get(&work) {
            Some(Slot::Busy { fence, woken }) if *fence == ended => {
                let woken = *woken;
                self.slots.remove(&work);
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

    /// Everything owned, for handing back.
    pub fn fences(&self) -> Vec<(WorkKey, Fence)> {
        let fence = |slot: &Slot| match slot {
            Slot::Idle { task, .. } => task.fence,
            Slot::Busy { fence, .. } => *fence,
        };
        self.slots.iter().map(|(work, slot)| (*work, fence(slot))).collect()
    }
}
