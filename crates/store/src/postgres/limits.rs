//! Slots and pace over all machines: the rows that are locked for them, and what is counted under the locks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use longtake_core::id::{AccountId, PoolId};
use longtake_core::limits::{AttemptLimits, Limits, Pace};
use longtake_core::store::{OpenAttempt, WantedAccount};
use longtake_core::time::Timestamp;

use super::saves::Save;
use super::session::{Failure, Session};
use super::sql;
use crate::rows::Result as Read;
use crate::rows::postgres::get;

/// What [`lock`] and [`look`] need prepared.
pub(super) const LOCK: &[&str] =
    &[sql::PACE_INSERT, sql::PACE_LOCK, sql::PACE_LOOK, sql::IN_FLIGHT_ACCOUNTS, sql::IN_FLIGHT_POOLS];

/// Names a row of pace: an account, or a pool.
type PaceKey = (i32, i32);

const fn of_account(account: AccountId) -> PaceKey {
    (account.0, 0)
}

const fn of_pool(pool: PoolId) -> PaceKey {
    (0, pool.0)
}

/// The limits that a call has to keep.
#[derive(Default)]
pub(super) struct Kept {
    rows: BTreeSet<PaceKey>,
    accounts: BTreeMap<AccountId, u32>,
    pools: BTreeMap<PoolId, u32>,
}

impl Kept {
    /// Of intents.
    pub fn of(intents: &[OpenAttempt]) -> Self {
        let mut kept = Self::default();
        for intent in intents {
            kept.account(intent.attempt.account, &intent.limits.account);
            kept.pool(intent.limits.pool, &intent.limits.model);
        }
        kept
    }

    /// Of what an executor wants queued rows for, among pools in which some wait.
    pub fn wanted(accounts: &[WantedAccount], waiting: &BTreeSet<PoolId>) -> Self {
        let mut kept = Self::default();
        for wanted in accounts.iter().filter(|wanted| wanted.takes_queued) {
            let pools = wanted.pools.iter().filter(|(pool, _)| waiting.contains(pool));
            let mut some = false;
            for (pool, limits) in pools {
                some = true;
                kept.pool(*pool, limits);
            }
            if some {
                kept.account(wanted.account, &wanted.limits);
            }
        }
        kept
    }

    fn account(&mut self, account: AccountId, limits: &Limits) {
        if limits.any() {
            self.rows.insert(of_account(account));
        }
        if let Some(most) = limits.max_in_flight {
            let known = self.accounts.entry(account).or_default();
            *known = (*known).max(most);
        }
    }

    fn pool(&mut self, pool: PoolId, limits: &Limits) {
        if limits.any() {
            self.rows.insert(of_pool(pool));
        }
        if let Some(most) = limits.max_in_flight {
            let known = self.pools.entry(pool).or_default();
            *known = (*known).max(most);
        }
    }

    fn keys(&self) -> (Vec<i32>, Vec<i32>) {
        self.rows.iter().copied().unzip()
    }
}

/// What was counted.
#[derive(Default)]
pub(super) struct InFlight {
    accounts: BTreeMap<AccountId, u32>,
    pools: BTreeMap<PoolId, (AccountId, Arc<str>, u32)>,
    paces: BTreeMap<PaceKey, Timestamp>,
    paced: BTreeSet<PaceKey>,
}

/// Locks the rows of limits, in order, and counts in statements behind. Nothing where there is no limit.
pub(super) async fn lock(session: &Session, kept: &Kept) -> Result<InFlight, Failure> {
    if kept.rows.is_empty() {
        return Ok(InFlight::default());
    }
    let (accounts, pools) = kept.keys();
    let (made, paces, counted) = futures::join!(
        async { session.run(sql::PACE_INSERT, &[&accounts, &pools]).await },
        async { session.rows(sql::PACE_LOCK, &[&accounts, &pools]).await },
        count(session, kept)
    );
    made?;
    with_paces(counted?, &paces?)
}

/// The same without locks, to know how much is worth taking.
pub(super) async fn look(session: &Session, kept: &Kept) -> Result<InFlight, Failure> {
    if kept.rows.is_empty() {
        return Ok(InFlight::default());
    }
    let (accounts, pools) = kept.keys();
    let (paces, counted) =
        futures::join!(async { session.rows(sql::PACE_LOOK, &[&accounts, &pools]).await }, count(session, kept));
    with_paces(counted?, &paces?)
}

fn with_paces(mut counted: InFlight, paces: &[tokio_postgres::Row]) -> Result<InFlight, Failure> {
    for row in paces {
        counted.paces.insert((get(row, 0)?, get(row, 1)?), Timestamp::from_micros(get(row, 2)?));
    }
    Ok(counted)
}

async fn count(session: &Session, kept: &Kept) -> Result<InFlight, Failure> {
    let (accounts, most_accounts): (Vec<i32>, Vec<i64>) =
        kept.accounts.iter().map(|(account, most)| (account.0, i64::from(*most))).unzip();
    let (pools, most_pools): (Vec<i32>, Vec<i64>) =
        kept.pools.iter().map(|(pool, most)| (pool.0, i64::from(*most))).unzip();
    let of_accounts = async {
        if accounts.is_empty() {
            return Ok(Vec::new());
        }
        session.rows(sql::IN_FLIGHT_ACCOUNTS, &[&accounts, &most_accounts]).await
    };
    let of_pools = async {
        if pools.is_empty() {
            return Ok(Vec::new());
        }
        session.rows(sql::IN_FLIGHT_POOLS, &[&pools, &most_pools]).await
    };
    let (accounts, pools) = futures::join!(of_accounts, of_pools);
    let mut counted = InFlight::default();
    for row in &accounts? {
        counted.accounts.insert(AccountId(get(row, 0)?), counted_to(get(row, 1)?));
    }
    for row in &pools? {
        let pool: Read<_> =
            (|| Ok((AccountId(get(row, 1)?), Arc::from(get::<&str>(row, 2)?), counted_to(get(row, 3)?))))();
        counted.pools.insert(PoolId(get(row, 0)?), pool?);
    }
    Ok(counted)
}

fn counted_to(rows: i64) -> u32 {
    u32::try_from(rows).unwrap_or(u32::MAX)
}

impl InFlight {
    fn in_account(&self, account: AccountId) -> u32 {
        self.accounts.get(&account).copied().unwrap_or_default()
    }

    fn in_pool(&self, pool: PoolId) -> u32 {
        self.pools.get(&pool).map_or(0, |(.., count)| *count)
    }

    fn pace_of(&self, key: PaceKey) -> Timestamp {
        self.paces.get(&key).copied().unwrap_or(Timestamp::from_micros(0))
    }

    /// The account or the model has as many jobs at the provider as it may.
    pub fn is_full(&self, account: AccountId, limits: &AttemptLimits) -> bool {
        limits.account.max_in_flight.is_some_and(|limit| self.in_account(account) >= limit)
            || limits.model.max_in_flight.is_some_and(|limit| self.in_pool(limits.pool) >= limit)
    }

    /// One permit of the account's pace and one of the model's, or neither and when to ask again.
    pub fn take_permits(
        &mut self,
        account: AccountId,
        limits: &AttemptLimits,
        now: Timestamp,
    ) -> Result<(), Timestamp> {
        let (account, pool) = (of_account(account), of_pool(limits.pool));
        let take = |limits: &Limits, key| Pace::of(limits).map(|pace| pace.take(self.pace_of(key), now)).transpose();
        match (take(&limits.account, account), take(&limits.model, pool)) {
            (Ok(of_account), Ok(of_pool)) => {
                for (key, at) in [(account, of_account), (pool, of_pool)] {
                    if let Some(at) = at {
                        self.paces.insert(key, at);
                        self.paced.insert(key);
                    }
                }
                Ok(())
            }
            (Err(one), Err(other)) => Err(one.max(other)),
            (Err(again), Ok(_)) | (Ok(_), Err(again)) => Err(again),
        }
    }

    /// One more of the account and of its model.
    pub fn opened(&mut self, account: AccountId, model: &str) {
        if let Some(count) = self.accounts.get_mut(&account) {
            *count += 1;
        }
        let of_model = self.pools.values_mut().filter(|(of, name, _)| *of == account && **name == *model);
        of_model.for_each(|(.., count)| *count += 1);
    }

    /// The permits taken.
    pub fn save(&self) -> Option<Save> {
        if self.paced.is_empty() {
            return None;
        }
        let (accounts, pools): (Vec<i32>, Vec<i32>) = self.paced.iter().copied().unzip();
        let at: Vec<i64> = self.paced.iter().map(|key| self.pace_of(*key).as_micros()).collect();
        Some(Save { query: sql::PACE_UPDATE, values: vec![Box::new(accounts), Box::new(pools), Box::new(at)] })
    }

    /// Submissions that an account leaves room for.
    pub fn room_of_account(&self, account: AccountId, limits: &Limits, now: Timestamp) -> i32 {
        room(limits, self.in_account(account), self.pace_of(of_account(account)), now)
    }

    /// Submissions that a pool leaves room for.
    pub fn room_of_pool(&self, pool: PoolId, limits: &Limits, now: Timestamp) -> i32 {
        room(limits, self.in_pool(pool), self.pace_of(of_pool(pool)), now)
    }
}

fn room(limits: &Limits, in_flight: u32, paced: Timestamp, now: Timestamp) -> i32 {
    let slots = limits.max_in_flight.map_or(u32::MAX, |limit| limit.saturating_sub(in_flight));
    let permits = Pace::of(limits).map_or(u32::MAX, |pace| pace.permits(paced, now));
    i32::try_from(slots.min(permits)).unwrap_or(i32::MAX)
}
