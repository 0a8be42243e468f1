//! Who owns which work row, and which executors are still believed in.

use std::collections::BTreeSet;
use std::time::Duration;

use super::content::{Content, Incarnation, WorkRow};
use crate::attempt::AttemptState;
use crate::id::{AccountId, ExecutorId, Fence, PoolId};
use crate::store::{Beat, Claim, ExecutorInfo, ExecutorRow, Place, Release, Share, WorkKey};
use crate::time::Timestamp;

/// Unowned work of an account that no executor served for so long is anyone's to look at.
pub(super) const STRAY_AFTER: Duration = Duration::from_secs(600);

impl Content {
    pub fn register_executor(&mut self, info: ExecutorInfo, now: Timestamp) -> ExecutorId {
        let last = self.executors.keys().next_back().map_or(0, |id| id.0);
        let executor = ExecutorId(last + 1);
        let ExecutorInfo { process, ttl } = info;
        let incarnation = Incarnation {
            process,
            ttl,
            started_at: now,
            beat_at: now,
            dead_at: None,
            process_dead_at: None,
            load: std::collections::BTreeMap::new(),
        };
        self.executors.insert(executor, incarnation);
        executor
    }

    pub fn is_alive(&self, executor: ExecutorId) -> bool {
        self.executors.get(&executor).is_some_and(|row| row.dead_at.is_none())
    }

    /// Keys of rows in the order in which they came due.
    pub fn due(&self, limit: usize, wanted: impl Fn(&WorkRow) -> bool) -> Vec<WorkKey> {
        let mut due: Vec<(Timestamp, WorkKey)> =
            self.work.iter().filter(|(_, row)| wanted(row)).map(|(key, row)| (row.due_at, *key)).collect();
        due.sort_unstable();
        due.into_iter().take(limit).map(|(_, key)| key).collect()
    }

    /// A new owner, or none, under a higher fence. It waits for nothing any more.
    pub fn set_row(&mut self, key: WorkKey, owner: Option<ExecutorId>, due_at: Timestamp) {
        let Some(row) = self.work.get_mut(&key) else { return };
        let fence = Fence(row.fence.0.saturating_add(1));
        (row.due_at, row.owner, row.fence, row.place.queued) = (due_at, owner, fence, false);
        let highest = self.highest_fence.entry(key).or_insert(fence);
        *highest = (*highest).max(fence);
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
    pub fn release(&mut self, executor: ExecutorId, release: &Release) {
        if let Some(row) = self.work.get_mut(&release.work)
            && row.owner == Some(executor)
            && row.fence == release.fence
        {
            row.owner = None;
            row.due_at = row.due_at.min(release.due_at);
            row.place = release.place;
            self.news.woken |= release.place.queued;
        }
    }

    pub fn beat(&mut self, executor: ExecutorId, load: Vec<(AccountId, u32)>, now: Timestamp) -> Beat {
        match self.executors.get_mut(&executor) {
            Some(row) if row.dead_at.is_none() => {
                row.beat_at = now;
                row.load = load.into_iter().collect();
            }
            _ => return Beat::Dead,
        }
        let accounts: Vec<AccountId> = self.executors[&executor].load.keys().copied().collect();
        Beat::Alive(accounts.into_iter().filter_map(|account| self.share(account)).collect())
    }

    /// `None` where there is only one who drives it.
    fn share(&self, account: AccountId) -> Option<Share> {
        let alive = self.executors.values().filter(|row| row.dead_at.is_none());
        let loads = alive.filter_map(|row| row.load.get(&account));
        let (sum, executors) = loads.fold((0u32, 0u32), |(sum, count), load| (sum.saturating_add(*load), count + 1));
        (executors > 1).then(|| Share { account, rows: sum.div_ceil(executors), executors })
    }

    /// Gives up the silent, takes the rows of all that were given up, and lets anyone look at what nobody serves.
    pub fn reap(&mut self, limit: usize, now: Timestamp) -> usize {
        for row in self.executors.values_mut() {
            if row.dead_at.is_none() && row.beat_at + row.ttl < now {
                row.dead_at = Some(now);
            }
        }
        let lost = |row: &WorkRow| row.owner.is_some_and(|owner| !self.is_alive(owner));
        let keys = self.due(limit, lost);
        for key in &keys {
            self.set_row(*key, None, now);
        }
        let strays = self.strays(now);
        let waits = |row: &WorkRow| row.place.queued || row.due_at != Timestamp::NEVER;
        let stray = |row: &WorkRow| row.owner.is_none() && waits(row) && strays.contains(&row.place.pool);
        let unserved = self.due(limit, stray);
        for key in &unserved {
            if let Some(row) = self.work.get_mut(key) {
                row.due_at = row.due_at.min(now);
                row.place = Place::default();
            }
        }
        self.news.woken |= !keys.is_empty() || !unserved.is_empty();
        keys.len()
    }

    /// Pools whose account no executor has served lately.
    fn strays(&self, now: Timestamp) -> BTreeSet<PoolId> {
        let served = |account: AccountId| {
            let serves = |row: &&Incarnation| row.load.contains_key(&account);
            self.executors.values().filter(serves).any(|row| now < row.beat_at + STRAY_AFTER)
        };
        let pools = (1..).map(PoolId).zip(&self.pools);
        pools.filter(|(_, (account, _))| !served(*account)).map(|(pool, _)| pool).collect()
    }

    pub fn sender_is_dead(&self, executor: ExecutorId) -> bool {
        let gone = |row: &Incarnation| row.process_dead_at.is_some();
        if executor != ExecutorId::LOST {
            return self.executors.get(&executor).is_some_and(gone);
        }
        let until = self.quarantine.unwrap_or(Timestamp::NEVER);
        let before = self.executors.values().filter(|row| row.started_at < until);
        before.into_iter().all(|row| row.dead_at.is_none() || gone(row))
    }

    pub fn executors(&self, limit: usize) -> Vec<ExecutorRow> {
        let newest = self.executors.iter().rev().take(limit);
        let row = |(executor, row): (&ExecutorId, &Incarnation)| {
            let doubtful = |state| matches!(state, AttemptState::Intent | AttemptState::Unknown);
            let in_doubt =
                self.attempts.values().filter(|attempt| attempt.executor == *executor && doubtful(attempt.state));
            ExecutorRow {
                executor: *executor,
                process: row.process.clone(),
                started_at: row.started_at,
                beat_at: row.beat_at,
                dead_at: row.dead_at,
                process_dead_at: row.process_dead_at,
                in_doubt: u32::try_from(in_doubt.count()).unwrap_or(u32::MAX),
            }
        };
        newest.map(row).collect()
    }

    /// Refused for one that still beats: a person would be wrong.
    pub fn confirm_dead(&mut self, executor: ExecutorId, now: Timestamp) -> bool {
        match self.executors.get_mut(&executor) {
            Some(row) if row.dead_at.is_some() => {
                row.process_dead_at.get_or_insert(now);
                true
            }
            _ => false,
        }
    }
}
