//! Taking work: a read that mostly finds nothing; then, in one transaction, due rows, queued rows, and their claims.

use std::collections::BTreeSet;

use longtake_core::id::{ExecutorId, JobId, PoolId};
use longtake_core::store::{Claim, Wanted, WorkKey};
use longtake_core::time::Timestamp;
use tokio_postgres::Row;

use super::limits::{self, Kept};
use super::load::{self, limit_of};
use super::session::{Failure, Session};
use super::{PostgresStore, sql};
use crate::rows::postgres::{get, job_id, work_key};
use crate::rows::{Result as Read, micros};

/// What the look found.
struct Seen {
    now: i64,
    alive: bool,
    due: bool,
    waiting: BTreeSet<PoolId>,
}

/// Columns of what has room for queued rows.
#[derive(Default)]
struct Rooms {
    accounts: Vec<i32>,
    account_rooms: Vec<i32>,
    pools: Vec<i32>,
    pool_accounts: Vec<i32>,
    pool_rooms: Vec<i32>,
}

impl PostgresStore {
    /// Due rows, then queued ones as far as there is room.
    pub(super) async fn try_acquire(&self, executor: ExecutorId, wanted: &Wanted) -> Result<Vec<Claim>, Failure> {
        let session =
            self.session(&[&[sql::ACQUIRE_LOOK, sql::TAKE_DUE, sql::TAKE_QUEUED, sql::CLAIMS], limits::LOCK]).await?;
        let (pools, overdue) = due_pools(wanted);
        let seen = look(&session, self.bound_now(), executor, wanted, &pools, &overdue).await?;
        if !seen.alive {
            return Ok(Vec::new());
        }
        let rooms = match seen.waiting.is_empty() {
            true => Rooms::default(),
            false => rooms(&session, wanted, &seen).await?,
        };
        let takes_due = seen.due && wanted.due > 0;
        if !takes_due && rooms.pools.is_empty() {
            return Ok(Vec::new());
        }
        let (begun, due, queued) = futures::join!(
            session.begin(),
            async {
                if !takes_due {
                    return Ok(Vec::new());
                }
                let limit = limit_of(wanted.due);
                session.rows(sql::TAKE_DUE, &[&seen.now, &pools, &overdue, &limit, &executor.0]).await
            },
            async {
                if rooms.pools.is_empty() {
                    return Ok(Vec::new());
                }
                let most = i32::try_from(wanted.queued).unwrap_or(i32::MAX);
                let Rooms { accounts, account_rooms, pools, pool_accounts, pool_rooms } = &rooms;
                let values: [&(dyn tokio_postgres::types::ToSql + Sync); 7] =
                    [&executor.0, &most, accounts, account_rooms, pools, pool_accounts, pool_rooms];
                session.rows(sql::TAKE_QUEUED, &values).await
            }
        );
        begun?;
        let mut works = in_order(&due?)?;
        let queued: Vec<JobId> = queued?.iter().map(|row| job_id(row, 0)).collect::<Read<_>>()?;
        works.extend(queued.into_iter().map(WorkKey::drive));
        if works.is_empty() {
            session.rollback().await;
            return Ok(Vec::new());
        }
        session.commit_with(load::claims(&session, executor, &works)).await
    }

    /// Own rows that news made due; each is told once. A crash may forget that it was told: then it is told again.
    pub(super) async fn try_woken(&self, executor: ExecutorId, limit: usize) -> Result<Vec<Claim>, Failure> {
        let session = self.session(&[&[sql::WOKEN_ANY, sql::WOKEN_TOLD, sql::CLAIMS]]).await?;
        let now = self.bound_now();
        if limit == 0 || session.row(sql::WOKEN_ANY, &[&executor.0, &now]).await?.is_none() {
            return Ok(Vec::new());
        }
        let limit = limit_of(limit);
        let (begun, eased, told) =
            futures::join!(session.begin(), session.command("set local synchronous_commit = off"), async {
                session.rows(sql::WOKEN_TOLD, &[&executor.0, &now, &limit]).await
            });
        begun?;
        eased?;
        let works = in_order(&told?)?;
        session.commit_with(load::claims(&session, executor, &works)).await
    }
}

/// Pools whose due rows are wanted, and since when each must be due, in microseconds.
fn due_pools(wanted: &Wanted) -> (Vec<i32>, Vec<i64>) {
    let pools = wanted
        .accounts
        .iter()
        .flat_map(|account| account.pools.iter().map(|(pool, _)| (pool.0, micros(account.overdue))));
    let mut overdue: std::collections::BTreeMap<i32, i64> = pools.collect();
    overdue.insert(PoolId::NONE.0, 0);
    overdue.into_iter().unzip()
}

async fn look(
    session: &Session,
    now: Option<i64>,
    executor: ExecutorId,
    wanted: &Wanted,
    pools: &[i32],
    overdue: &[i64],
) -> Result<Seen, Failure> {
    let takers = wanted.accounts.iter().filter(|account| account.takes_queued && wanted.queued > 0);
    let queued: Vec<i32> = takers.flat_map(|account| account.pools.iter().map(|(pool, _)| pool.0)).collect();
    let row = session.row(sql::ACQUIRE_LOOK, &[&now, &executor.0, &pools, &overdue, &queued]).await?;
    let row = row.ok_or_else(|| crate::rows::unreadable("a look without an answer"))?;
    let waiting: Vec<i32> = get(&row, 3)?;
    Ok(Seen {
        now: get(&row, 0)?,
        alive: get(&row, 1)?,
        due: get(&row, 2)?,
        waiting: waiting.into_iter().map(PoolId).collect(),
    })
}

/// Room of accounts and pools in which rows wait.
async fn rooms(session: &Session, wanted: &Wanted, seen: &Seen) -> Result<Rooms, Failure> {
    let in_flight = limits::look(session, &Kept::wanted(&wanted.accounts, &seen.waiting)).await?;
    let now = Timestamp::from_micros(seen.now);
    let mut rooms = Rooms::default();
    for account in wanted.accounts.iter().filter(|account| account.takes_queued) {
        let room = in_flight.room_of_account(account.account, &account.limits, now);
        let pools = account.pools.iter().filter(|(pool, _)| seen.waiting.contains(pool));
        let pools = pools.map(|(pool, limits)| (pool.0, in_flight.room_of_pool(*pool, limits, now)));
        let pools: Vec<(i32, i32)> = pools.filter(|(_, room)| *room > 0).collect();
        if room <= 0 || pools.is_empty() {
            continue;
        }
        rooms.accounts.push(account.account.0);
        rooms.account_rooms.push(room);
        for (pool, room) in pools {
            rooms.pools.push(pool);
            rooms.pool_accounts.push(account.account.0);
            rooms.pool_rooms.push(room);
        }
    }
    Ok(rooms)
}

/// Keys of rows in the order in which they were due, which is in the fourth column.
fn in_order(rows: &[Row]) -> Read<Vec<WorkKey>> {
    let mut due: Vec<(i64, WorkKey)> =
        rows.iter().map(|row| Ok((get(row, 3)?, work_key(row, 0)?))).collect::<Read<_>>()?;
    due.sort_unstable();
    Ok(due.into_iter().map(|(_, key)| key).collect())
}
