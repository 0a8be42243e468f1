//! Who owns which work row, and which executors are still believed in.

use super::content::{Content, ExecutorRow, WorkRow};
use crate::id::{ExecutorId, Fence};
use crate::store::{Beat, Claim, ExecutorInfo, WorkKey};
use crate::time::Timestamp;

impl Content {
    pub fn register_executor(&mut self, info: &ExecutorInfo, now: Timestamp) -> ExecutorId {
        let last = self.executors.keys().next_back().map_or(0, |id| id.0);
        let executor = ExecutorId(last + 1);
        self.executors.insert(executor, ExecutorRow { ttl: info.ttl, beat_at: now, dead: false });
        executor
    }

    fn is_alive(&self, executor: ExecutorId) -> bool {
        self.executors.get(&executor).is_some_and(|row| !row.dead)
    }

    /// Keys of rows in the order in which they came due.
    fn due(&self, limit: usize, wanted: impl Fn(&WorkRow) -> bool) -> Vec<WorkKey> {
        let mut due: Vec<(Timestamp, WorkKey)> =
            self.work.iter().filter(|(_, row)| wanted(row)).map(|(key, row)| (row.due_at, *key)).collect();
        due.sort_unstable();
        due.into_iter().take(limit).map(|(_, key)| key).collect()
    }

    /// One that was given up acquires nothing: nobody would take it from there.
    pub fn acquire(&mut self, executor: ExecutorId, limit: usize, now: Timestamp) -> Vec<Claim> {
        if !self.is_alive(executor) {
            return Vec::new();
        }
        let keys = self.due(limit, |row| row.owner.is_none() && row.due_at <= now);
        for key in &keys {
            self.set_row(*key, Some(executor), Timestamp::NEVER);
        }
        keys.into_iter().filter_map(|key| self.claim(key)).collect()
    }

    /// A new owner, or none, under a higher fence.
    fn set_row(&mut self, key: WorkKey, owner: Option<ExecutorId>, due_at: Timestamp) {
        let Some(row) = self.work.get_mut(&key) else { return };
        let fence = Fence(row.fence.0.saturating_add(1));
        *row = WorkRow { due_at, owner, fence };
        let highest = self.highest_fence.entry(key).or_insert(fence);
        *highest = (*highest).max(fence);
    }

    pub fn next_due(&self) -> Option<Timestamp> {
        let unowned = self.work.values().filter(|row| row.owner.is_none());
        unowned.map(|row| row.due_at).min().filter(|due_at| *due_at != Timestamp::NEVER)
    }

    pub fn owned(&self, executor: ExecutorId) -> Vec<(WorkKey, Fence)> {
        let owned = self.work.iter().filter(|(_, row)| row.owner == Some(executor));
        owned.map(|(key, row)| (*key, row.fence)).collect()
    }

    pub fn claims(&self, executor: ExecutorId, works: &[WorkKey]) -> Vec<Claim> {
        let owns = |key: &&WorkKey| self.work.get(*key).is_some_and(|row| row.owner == Some(executor));
        works.iter().filter(owns).filter_map(|key| self.claim(*key)).collect()
    }

    /// Each is told once: due never again by itself.
    pub fn woken(&mut self, executor: ExecutorId, limit: usize, now: Timestamp) -> Vec<Claim> {
        let keys = self.due(limit, |row| row.owner == Some(executor) && row.due_at <= now);
        for key in &keys {
            if let Some(row) = self.work.get_mut(key) {
                row.due_at = Timestamp::NEVER;
            }
        }
        keys.into_iter().filter_map(|key| self.claim(key)).collect()
    }

    /// News that came meanwhile keeps the row due.
    pub fn release(&mut self, executor: ExecutorId, work: WorkKey, fence: Fence, due_at: Timestamp) {
        if let Some(row) = self.work.get_mut(&work)
            && row.owner == Some(executor)
            && row.fence == fence
        {
            row.owner = None;
            row.due_at = row.due_at.min(due_at);
        }
    }

    pub fn beat(&mut self, executor: ExecutorId, now: Timestamp) -> Beat {
        match self.executors.get_mut(&executor) {
            Some(row) if !row.dead => {
                row.beat_at = now;
                Beat::Alive
            }
            _ => Beat::Dead,
        }
    }

    /// Gives up the silent, and takes the rows of all that were given up.
    pub fn reap(&mut self, limit: usize, now: Timestamp) -> usize {
        for row in self.executors.values_mut() {
            row.dead |= row.beat_at + row.ttl < now;
        }
        let lost = |row: &WorkRow| row.owner.is_some_and(|owner| !self.is_alive(owner));
        let keys = self.due(limit, lost);
        for key in &keys {
            self.set_row(*key, None, now);
        }
        self.news.woken |= !keys.is_empty();
        keys.len()
    }
}
