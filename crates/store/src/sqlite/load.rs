//! Loads what operations and readers look at. Everything here takes a connection, the writer's or a reader's.

use std::sync::Arc;

use longtake_core::artifact::Artifact;
use longtake_core::attempt::{Attempt, AttemptState};
use longtake_core::id::{AccountId, AttemptNo, ExecutorId, Fence, JobId, PoolId, ProjectId, ProviderJobId};
use longtake_core::record::Record;
use longtake_core::request::VideoRequest;
use longtake_core::store::{Claim, Job, WorkKey, WorkKind};
use longtake_core::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Params, Result, Row, params};

use super::sql;
use crate::rows::{
    artifact_from, attempt_from, corrupt, is_hidden, kind_number, ownership, record_from, request_from, signed,
};

/// The first row of a query, if there is one.
pub(super) fn first<T>(
    connection: &Connection,
    query: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> Result<T>,
) -> Result<Option<T>> {
    connection.prepare_cached(query)?.query_row(params, read).optional()
}

/// All rows of a query. Its LIMIT, or the key it asks for, bounds them.
pub(super) fn all<T>(
    connection: &Connection,
    query: &str,
    params: impl Params,
    read: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    connection.prepare_cached(query)?.query_map(params, read)?.collect()
}

/// A job with its latest attempt, and whether it is hidden.
pub(super) fn record(connection: &Connection, job: JobId) -> Result<Option<(Record, bool)>> {
    first(connection, sql::RECORD, [job.as_bytes()], |row| Ok((record_from(row)?, is_hidden(row)?)))
}

/// A work row as it stands: who owns it, under which number, and its job.
pub(super) struct Held {
    /// Whose it is.
    pub owner: Option<ExecutorId>,
    /// Its number.
    pub fence: Fence,
    /// The job.
    pub record: Record,
}

/// A work row with its job.
pub(super) fn held(connection: &Connection, work: WorkKey) -> Result<Option<Held>> {
    let key = params![work.job.as_bytes(), kind_number(work.kind), work.reference];
    first(connection, sql::CLAIM, key, |row| {
        let (owner, fence) = ownership(row)?;
        Ok(Held { owner, fence, record: record_from(row)? })
    })
}

/// What the owner of a row gets; `None` if `owner` is not it.
pub(super) fn claim(connection: &Connection, work: WorkKey, owner: ExecutorId) -> Result<Option<Claim>> {
    let Some(held) = held(connection, work)?.filter(|held| held.owner == Some(owner)) else { return Ok(None) };
    let late = match work.kind {
        WorkKind::Drive => None,
        WorkKind::Watch => match watched(connection, work)? {
            Some(late) => Some(late),
            None => return Ok(None),
        },
    };
    Ok(Some(Claim { work, fence: held.fence, record: held.record, late }))
}

/// The attempt a watch row refers to.
pub(super) fn watched(connection: &Connection, work: WorkKey) -> Result<Option<Attempt>> {
    match u16::try_from(work.reference) {
        Ok(n) => attempt(connection, work.job, AttemptNo(n)),
        Err(_) => Ok(None),
    }
}

/// One attempt.
pub(super) fn attempt(connection: &Connection, job: JobId, n: AttemptNo) -> Result<Option<Attempt>> {
    first(connection, sql::ATTEMPT_GET, params![job.as_bytes(), n.0], |row| attempt_from(row, 0))
}

/// The video of the newest attempt that yielded one.
pub(super) fn output(connection: &Connection, job: JobId) -> Result<Option<Artifact>> {
    first(connection, sql::OUTPUT, [job.as_bytes()], artifact_from)
}

/// The unchanging half.
pub(super) fn request(connection: &Connection, job: JobId) -> Result<Option<Arc<VideoRequest>>> {
    first(connection, sql::REQUEST_GET, [job.as_bytes()], |row| {
        let request =
            request_from(row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str_or_null()?, row.get_ref(2)?.as_blob()?)?;
        Ok(Arc::new(request))
    })
}

/// The job as readers see it, hidden or not.
pub(super) fn view(connection: &Connection, job: JobId) -> Result<Option<Job>> {
    match record(connection, job)? {
        Some((record, _)) => complete(connection, record).map(Some),
        None => Ok(None),
    }
}

/// The job as a client of this project sees it.
pub(super) fn visible(connection: &Connection, project: ProjectId, job: JobId) -> Result<Option<Job>> {
    match record(connection, job)? {
        Some((record, false)) if record.project == project => complete(connection, record).map(Some),
        _ => Ok(None),
    }
}

fn complete(connection: &Connection, record: Record) -> Result<Job> {
    let request = request(connection, record.job)?.ok_or_else(|| corrupt("a job without its request"))?;
    let output = output(connection, record.job)?;
    Ok(Job { record, request, output })
}

/// Whether an attempt of the account, but for `except`, or an orphan of it has this provider job.
pub(super) fn is_claimed(
    connection: &Connection,
    account: AccountId,
    provider_job: &ProviderJobId,
    except: Option<(JobId, AttemptNo)>,
) -> Result<bool> {
    let job = except.as_ref().map(|(job, _)| job.as_bytes());
    let n = except.map(|(_, n)| n.0);
    let params = params![account.0, provider_job.as_str(), job, n];
    connection.prepare_cached(sql::CLAIMED)?.query_row(params, |row| row.get(0))
}

/// Attempts of the account that may still run at the provider, counted up to `limit`.
pub(super) fn in_flight(connection: &Connection, account: AccountId, limit: u32) -> Result<u32> {
    connection.prepare_cached(sql::IN_FLIGHT)?.query_row(params![account.0, limit], |row| row.get(0))
}

/// As [`in_flight`], for one model of an account.
pub(super) fn in_flight_pool(connection: &Connection, account: AccountId, model: &str, limit: u32) -> Result<u32> {
    connection.prepare_cached(sql::IN_FLIGHT_POOL)?.query_row(params![account.0, limit, model], |row| row.get(0))
}

/// Which model of which account a pool is.
pub(super) fn pool_name(connection: &Connection, pool: PoolId) -> Result<Option<(AccountId, Box<str>)>> {
    first(connection, sql::POOL_NAME, [pool.0], |row| Ok((AccountId(row.get(0)?), row.get(1)?)))
}

/// What a pace belongs to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Paced {
    /// An account.
    Account(AccountId),
    /// A model of an account.
    Pool(PoolId),
}

impl Paced {
    /// The key of its row.
    pub const fn key(self) -> (i32, i32) {
        match self {
            Self::Account(account) => (account.0, PoolId::NONE.0),
            Self::Pool(pool) => (0, pool.0),
        }
    }
}

/// When the next submission is due, if they came evenly.
pub(super) fn tat_at(connection: &Connection, paced: Paced) -> Result<Timestamp> {
    let stored: Option<i64> = first(connection, sql::PACE_GET, paced.key(), |row| row.get(0))?;
    Ok(Timestamp::from_micros(stored.unwrap_or(0)))
}

/// Attempts of the account of which nobody knows whether the provider has them.
pub(super) fn in_doubt(connection: &Connection, account: AccountId, since: Timestamp) -> Result<u32> {
    connection.prepare_cached(sql::IN_DOUBT)?.query_row(params![account.0, since.as_micros()], |row| row.get(0))
}

/// A fact about the database itself.
pub(super) fn meta(connection: &Connection, key: &str) -> Result<Option<String>> {
    first(connection, sql::META_GET, [key], |row| row.get(0))
}

/// The key of the quarantine in `meta`.
pub(super) const QUARANTINE: &str = "quarantine";

/// Until when history may be missing.
pub(super) fn quarantine(connection: &Connection) -> Result<Option<Timestamp>> {
    let text = meta(connection, QUARANTINE)?;
    text.map(|text| text.parse().map(Timestamp::from_micros).map_err(corrupt)).transpose()
}

/// The number of an attempt's state, as in the database.
pub(super) const fn state_number(state: AttemptState) -> i64 {
    state.number() as i64
}

/// A page size as SQLite takes it.
pub(super) fn limit_of(limit: usize) -> i64 {
    signed(u64::try_from(limit).unwrap_or(u64::MAX))
}
