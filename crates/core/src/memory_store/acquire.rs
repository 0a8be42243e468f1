//! Which rows an executor gets: due ones first, then queued ones as far as accounts and models have room.

use std::collections::BTreeMap;
use std::time::Duration;

use super::content::Content;
use crate::id::{AccountId, ExecutorId, PoolId, ProjectId};
use crate::limits::{Limits, Pace};
use crate::store::{Claim, Wanted, WantedAccount, WorkKey};
use crate::time::Timestamp;

impl Content {
    /// One that was given up acquires nothing: nobody would take it from there.
    pub fn acquire(&mut self, executor: ExecutorId, wanted: &Wanted, now: Timestamp) -> Vec<Claim> {
        if !self.is_alive(executor) {
            return Vec::new();
        }
        let overdue: BTreeMap<PoolId, Duration> = (wanted.accounts.iter())
            .flat_map(|account| account.pools.iter().map(|(pool, _)| (*pool, account.overdue)))
            .chain([(PoolId::NONE, Duration::ZERO)])
            .collect();
        let mut keys = self.due(wanted.due, |row| {
            let since = overdue.get(&row.place.pool);
            row.owner.is_none()
                && row.due_at != Timestamp::NEVER
                && since.is_some_and(|since| row.due_at + *since <= now)
        });
        for key in &keys {
            self.set_row(*key, Some(executor), Timestamp::NEVER);
        }
        let mut left = wanted.queued;
        for account in wanted.accounts.iter().filter(|account| account.takes_queued) {
            let taken = self.take_queued(executor, account, left, now);
            left -= taken.len();
            keys.extend(taken);
        }
        keys.into_iter().filter_map(|key| self.claim(key)).collect()
    }

    /// Queued rows of one account: by priority, then projects in turn, then age.
    fn take_queued(
        &mut self,
        executor: ExecutorId,
        wanted: &WantedAccount,
        most: usize,
        now: Timestamp,
    ) -> Vec<WorkKey> {
        let paced = self.account_pace.get(&wanted.account).copied();
        let mut room = room(&wanted.limits, self.in_flight(wanted.account), paced, now).min(most);
        let mut pools: BTreeMap<PoolId, usize> = BTreeMap::new();
        for (pool, limits) in &wanted.pools {
            let paced = self.pool_pace.get(pool).copied();
            pools.insert(*pool, self::room(limits, self.in_flight_pool(*pool), paced, now));
        }
        let mut taken = Vec::new();
        while room > 0
            && let Some((key, pool, project)) = self.next_queued(wanted.account, &pools)
        {
            self.set_row(key, Some(executor), Timestamp::NEVER);
            self.turns.insert(wanted.account, project);
            if let Some(room) = pools.get_mut(&pool) {
                *room -= 1;
            }
            room -= 1;
            taken.push(key);
        }
        taken
    }

    /// The next row of the pools that have room.
    fn next_queued(&self, account: AccountId, pools: &BTreeMap<PoolId, usize>) -> Option<(WorkKey, PoolId, ProjectId)> {
        let turn = self.turns.get(&account).copied();
        let waiting = self.work.iter().filter(|(_, row)| {
            row.owner.is_none() && row.place.queued && pools.get(&row.place.pool).is_some_and(|room| *room > 0)
        });
        let next = waiting.min_by_key(|(key, row)| {
            let had_its_turn = turn.is_some_and(|turn| row.project <= turn);
            (std::cmp::Reverse(row.priority), had_its_turn, row.project, key.job)
        });
        next.map(|(key, row)| (*key, row.place.pool, row.project))
    }
}

/// Submissions that limits leave room for.
fn room(limits: &Limits, in_flight: u32, paced: Option<Timestamp>, now: Timestamp) -> usize {
    let slots = limits.max_in_flight.map_or(u32::MAX, |limit| limit.saturating_sub(in_flight));
    let permits =
        Pace::of(limits).map_or(u32::MAX, |pace| pace.permits(paced.unwrap_or(Timestamp::from_micros(0)), now));
    usize::try_from(slots.min(permits)).unwrap_or(usize::MAX)
}
