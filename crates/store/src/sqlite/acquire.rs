//! Which rows an executor gets: due ones first, then queued ones as far as accounts and models have room.
//!
//! A look on a reader's connection comes before the transaction, since most acquires find nothing. Both probe indexes by
//! pool: what waits elsewhere costs nothing. Absent: a reservation of room, which `open_attempts` makes.

use longtake_core::id::{ExecutorId, PoolId};
use longtake_core::limits::{Limits, Pace};
use longtake_core::store::{Claim, Wanted, WantedAccount, WorkKey};
use longtake_core::time::Timestamp;
use rusqlite::{Connection, Result, Row, params};

use super::change::Change;
use super::load::{self, Paced};
use super::sql;
use crate::rows::{kind_number, work_key};

/// Whether there is anything to be acquired.
pub(super) fn is_any(connection: &Connection, wanted: &Wanted, now: Timestamp) -> Result<bool> {
    if wanted.due > 0 {
        for (pool, until) in due_pools(wanted, now) {
            if !due(connection, pool, until, 1)?.is_empty() {
                return Ok(true);
            }
        }
    }
    if wanted.queued > 0 {
        for account in wanted.accounts.iter().filter(|account| account.takes_queued) {
            let mut queue = Queue::of(connection, account, wanted.queued, now)?;
            if queue.next()?.is_some() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

impl Change<'_> {
    /// Takes unowned rows.
    pub fn acquire(&self, executor: ExecutorId, wanted: &Wanted) -> Result<Vec<Claim>> {
        let mut found = Vec::new();
        for (pool, until) in due_pools(wanted, self.now) {
            found.extend(due(self.connection, pool, until, wanted.due)?);
        }
        found.sort_unstable();
        found.truncate(wanted.due);
        let mut keys: Vec<WorkKey> = found.into_iter().map(|(_, work)| work).collect();
        keys.iter().try_for_each(|work| self.take(executor, *work))?;
        let mut left = wanted.queued;
        for account in wanted.accounts.iter().filter(|account| account.takes_queued) {
            let taken = self.take_queued(executor, account, left)?;
            left -= taken.len();
            keys.extend(taken);
        }
        let claims = keys.into_iter().map(|work| load::claim(self.connection, work, executor));
        claims.filter_map(Result::transpose).collect()
    }

    fn take(&self, executor: ExecutorId, work: WorkKey) -> Result<()> {
        let key = params![work.job.as_bytes(), kind_number(work.kind), work.reference, executor.0];
        self.run(sql::TAKE, key).map(|_| ())
    }

    /// Queued rows of one account: by priority, then projects in turn, then age.
    fn take_queued(&self, executor: ExecutorId, wanted: &WantedAccount, most: usize) -> Result<Vec<WorkKey>> {
        let mut queue = Queue::of(self.connection, wanted, most, self.now)?;
        let mut taken = Vec::new();
        while let Some((place, head)) = queue.next()? {
            self.take(executor, head.work)?;
            queue.took(place, &head);
            taken.push(head.work);
        }
        if !taken.is_empty() {
            self.run(sql::TURN_SET, params![wanted.account.0, queue.turn])?;
        }
        Ok(taken)
    }
}

/// Pools whose due rows are wanted, with the time up to which. In no pool is in all.
fn due_pools(wanted: &Wanted, now: Timestamp) -> impl Iterator<Item = (PoolId, Timestamp)> {
    let listed = wanted.accounts.iter().flat_map(move |account| {
        account
            .pools
            .iter()
            .map(move |(pool, _)| (*pool, now - account.overdue))
            .filter(|(pool, _)| *pool != PoolId::NONE)
    });
    listed.chain([(PoolId::NONE, now)])
}

fn due(connection: &Connection, pool: PoolId, until: Timestamp, limit: usize) -> Result<Vec<(i64, WorkKey)>> {
    let params = params![pool.0, until.as_micros(), load::limit_of(limit)];
    load::all(connection, sql::DUE, params, |row| Ok((row.get(3)?, work_key(row)?)))
}

/// Submissions that limits leave room for. `in_flight` counts up to the number it gets.
fn room(
    connection: &Connection,
    limits: &Limits,
    paced: Paced,
    now: Timestamp,
    in_flight: impl FnOnce(u32) -> Result<u32>,
) -> Result<usize> {
    let slots = match limits.max_in_flight {
        None => u32::MAX,
        Some(limit) => limit.saturating_sub(in_flight(limit)?),
    };
    let permits = match Pace::of(limits) {
        None => u32::MAX,
        Some(pace) => pace.permits(load::tat_at(connection, paced)?, now),
    };
    Ok(usize::try_from(slots.min(permits)).unwrap_or(usize::MAX))
}

/// The first that waits in a pool.
#[derive(Clone)]
struct Head {
    work: WorkKey,
    priority: i64,
    project: i64,
}

impl Head {
    fn from(row: &Row<'_>) -> Result<Self> {
        Ok(Self { work: work_key(row)?, priority: row.get(3)?, project: row.get(4)? })
    }
}

/// A pool with room, and what is known of its first row.
struct Waiting {
    pool: PoolId,
    room: usize,
    /// `None` where it must be looked at.
    head: Option<Head>,
}

/// What waits for one account, as far as there is room.
struct Queue<'a> {
    connection: &'a Connection,
    room: usize,
    pools: Vec<Waiting>,
    /// The project served last.
    turn: i64,
}

impl<'a> Queue<'a> {
    /// Looks at the limits; at those of a pool only where something waits in it.
    fn of(connection: &'a Connection, wanted: &WantedAccount, most: usize, now: Timestamp) -> Result<Self> {
        let account = wanted.account;
        let turn: Option<i64> = load::first(connection, sql::TURN_GET, [account.0], |row| row.get(0))?;
        let mut queue = Self { connection, room: most, pools: Vec::new(), turn: turn.unwrap_or(i64::MIN) };
        for (pool, limits) in &wanted.pools {
            if most == 0 || load::first(connection, sql::QUEUE_FIRST, [pool.0], |_| Ok(()))?.is_none() {
                continue;
            }
            let in_flight = |limit| in_flight_pool(connection, *pool, limit);
            let room = room(connection, limits, Paced::Pool(*pool), now, in_flight)?;
            if room > 0 {
                queue.pools.push(Waiting { pool: *pool, room, head: None });
            }
        }
        if !queue.pools.is_empty() {
            let in_flight = |limit| load::in_flight(connection, account, limit);
            queue.room = most.min(room(connection, &wanted.limits, Paced::Account(account), now, in_flight)?);
        }
        Ok(queue)
    }

    /// The next row, and in which of the pools it waits.
    fn next(&mut self) -> Result<Option<(usize, Head)>> {
        if self.room == 0 {
            return Ok(None);
        }
        let (connection, turn) = (self.connection, self.turn);
        let mut place = 0;
        while let Some(waiting) = self.pools.get_mut(place) {
            if waiting.head.is_none() {
                match head(connection, waiting.pool, turn)? {
                    Some(head) => waiting.head = Some(head),
                    None => {
                        self.pools.swap_remove(place);
                        continue;
                    }
                }
            }
            place += 1;
        }
        let heads = self.pools.iter().enumerate().filter_map(|(place, waiting)| Some((place, waiting.head.as_ref()?)));
        let rank = |head: &Head| (std::cmp::Reverse(head.priority), head.project <= turn, head.project, head.work.job);
        Ok(heads.min_by_key(|(_, head)| rank(head)).map(|(place, head)| (place, head.clone())))
    }

    /// Its room is used. Where the turn moves, the first row of every pool may be another one.
    fn took(&mut self, place: usize, head: &Head) {
        self.room -= 1;
        if head.project != self.turn {
            self.turn = head.project;
            self.pools.iter_mut().for_each(|waiting| waiting.head = None);
        }
        if let Some(waiting) = self.pools.get_mut(place) {
            waiting.head = None;
            waiting.room -= 1;
            if waiting.room == 0 {
                self.pools.swap_remove(place);
            }
        }
    }
}

/// Of the highest priority that waits in a pool: the first row of the projects after the turn, else the first of all.
fn head(connection: &Connection, pool: PoolId, turn: i64) -> Result<Option<Head>> {
    let Some(first) = load::first(connection, sql::QUEUE_FIRST, [pool.0], Head::from)? else { return Ok(None) };
    if first.project > turn {
        return Ok(Some(first));
    }
    let after = load::first(connection, sql::QUEUE_AFTER, params![pool.0, first.priority, turn], Head::from)?;
    Ok(Some(after.unwrap_or(first)))
}

/// Attempts of a pool that may still run; none of one that has no number.
pub(super) fn in_flight_pool(connection: &Connection, pool: PoolId, limit: u32) -> Result<u32> {
    match load::pool_name(connection, pool)? {
        Some((account, model)) => load::in_flight_pool(connection, account, &model, limit),
        None => Ok(0),
    }
}
