//! What readers ask. Each runs in one short transaction of a reader's connection.

use std::collections::BTreeMap;
use std::time::Duration;

use longtake_core::artifact::ArtifactKey;
use longtake_core::event::JobEvent;
use longtake_core::id::{ExecutorId, Fence, JobId, ProjectId};
use longtake_core::store::{ApiKey, ExecutorRow, Job, ListFilter, Page, ProcessInfo, StoreStats, Timeline, WorkKey};
use longtake_core::time::Timestamp;
use rusqlite::{Connection, Result, params};

use super::{load, sql};
use crate::rows::{corrupt, event_from, exchange_from, job_id, key_from, metadata_text, origin, states_of, work_key};

/// Most keys one call lists.
const MAX_KEYS: i64 = 1_000;
/// Most jobs on one page.
const MAX_PAGE: usize = 100;
/// Jobs looked at in one round of a listing.
const SCAN_ROUND: i64 = 5_000;
/// Rounds of one listing: a filter that fits little looks at a million jobs at most.
const MAX_SCAN_ROUNDS: usize = 200;

/// A page; `None` if `after` names no job of the project. A hidden one still marks a place.
pub(super) fn list(connection: &Connection, project: ProjectId, filter: &ListFilter) -> Result<Option<Page>> {
    let mut from = if filter.ascending { [0; 16] } else { [0xff; 16] };
    if let Some(after) = filter.after {
        let of: Option<i64> = load::first(connection, sql::PROJECT_OF, [after.as_bytes()], |row| row.get(0))?;
        if of != Some(project.0) {
            return Ok(None);
        }
        from = *after.as_bytes();
    }
    let limit = filter.limit.clamp(1, MAX_PAGE);
    let ids = fitting(connection, project, filter, from, limit + 1)?;
    let has_more = ids.len() > limit;
    let mut jobs: Vec<Job> = Vec::with_capacity(limit);
    for id in ids.into_iter().take(limit) {
        jobs.extend(load::visible(connection, project, id)?);
    }
    Ok(Some(Page { jobs, has_more }))
}

/// Up to `wanted` jobs that fit, looking at one bounded stretch of the index after the other.
fn fitting(
    connection: &Connection,
    project: ProjectId,
    filter: &ListFilter,
    mut from: [u8; 16],
    wanted: usize,
) -> Result<Vec<JobId>> {
    let (end, stretch, last) = if filter.ascending {
        (sql::LIST_END_ASC, sql::LIST_ASC, [0xff; 16])
    } else {
        (sql::LIST_END_DESC, sql::LIST_DESC, [0; 16])
    };
    let (lowest, highest) = states_of(filter.status);
    let metadata = metadata_text(&filter.metadata)?;
    let mut ids: Vec<JobId> = Vec::new();
    for _ in 0..MAX_SCAN_ROUNDS {
        let border: Option<[u8; 16]> =
            load::first(connection, end, params![project.0, from, SCAN_ROUND - 1], |row| row.get(0))?;
        let missing = load::limit_of(wanted - ids.len());
        let to = border.unwrap_or(last);
        let params = params![project.0, from, to, lowest, highest, filter.model, metadata, missing];
        ids.extend(load::all(connection, stretch, params, |row| job_id(row, 0))?);
        if border.is_none() || ids.len() >= wanted {
            break;
        }
        from = to;
    }
    Ok(ids)
}

/// Events after a number, in order.
pub(super) fn events_after(connection: &Connection, job: JobId, ver: u32, limit: usize) -> Result<Vec<JobEvent>> {
    let params = params![job.as_bytes(), ver, load::limit_of(limit)];
    load::all(connection, sql::EVENTS_AFTER, params, |row| event_from(row, 0, job))
}

/// The flight recorder.
pub(super) fn timeline(connection: &Connection, project: ProjectId, job: JobId) -> Result<Option<Timeline>> {
    let Some(seen) = load::visible(connection, project, job)? else { return Ok(None) };
    let most = load::limit_of(Timeline::MAX_EVENTS);
    let attempts = load::all(connection, sql::ATTEMPTS, [job.as_bytes()], |row| crate::rows::attempt_from(row, 0))?;
    let mut events =
        load::all(connection, sql::EVENTS_NEWEST, params![job.as_bytes(), most], |row| event_from(row, 0, job))?;
    events.reverse();
    let mut exchanges = load::all(connection, sql::EXCHANGES, params![job.as_bytes(), most], exchange_from)?;
    exchanges.reverse();
    Ok(Some(Timeline { job: seen, attempts, events, exchanges }))
}

/// Every row of one executor.
pub(super) fn owned(connection: &Connection, executor: ExecutorId) -> Result<Vec<(WorkKey, Fence)>> {
    load::all(connection, sql::OWNED, [executor.0], |row| Ok((work_key(row)?, Fence(row.get(3)?))))
}

/// The newest incarnations. Those of this process are alive, and all before them are gone.
pub(super) fn executors(
    connection: &Connection,
    limit: usize,
    beats: &BTreeMap<i64, Timestamp>,
) -> Result<Vec<ExecutorRow>> {
    load::all(connection, sql::EXECUTORS, [load::limit_of(limit)], |row| {
        let executor: i64 = row.get(0)?;
        let started_at = Timestamp::from_micros(row.get(6)?);
        let dead_at = row.get::<_, Option<i64>>(7)?.map(Timestamp::from_micros);
        Ok(ExecutorRow {
            executor: ExecutorId(executor),
            process: ProcessInfo {
                host: row.get(1)?,
                boot_id: row.get(2)?,
                pid_namespace: row.get(3)?,
                pid: row.get(4)?,
                started_ticks: row.get(5)?,
            },
            started_at,
            beat_at: beats.get(&executor).copied().unwrap_or(started_at),
            dead_at,
            process_dead_at: dead_at,
            in_doubt: row.get(8)?,
        })
    })
}

/// Whether an incarnation is remembered.
pub(super) fn is_known(connection: &Connection, executor: ExecutorId) -> Result<bool> {
    Ok(load::first(connection, sql::EXECUTOR_EXISTS, [executor.0], |_| Ok(()))?.is_some())
}

/// Whether an own row was made due.
pub(super) fn is_woken(connection: &Connection, executor: ExecutorId, now: Timestamp) -> Result<bool> {
    Ok(load::first(connection, sql::WOKEN_ANY, [executor.0, now.as_micros()], |_| Ok(()))?.is_some())
}

/// How long the newest completed jobs of a model ran.
pub(super) fn durations(connection: &Connection, model: &str, limit: usize) -> Result<Vec<Duration>> {
    load::all(connection, sql::DURATIONS, params![model, load::limit_of(limit)], |row| {
        u64::try_from(row.get::<_, i64>(0)?).map(Duration::from_micros).map_err(corrupt)
    })
}

/// Outputs, pictures derived from them, and input images of jobs that are not hidden.
pub(super) fn referenced(connection: &Connection, keys: &[ArtifactKey]) -> Result<Vec<bool>> {
    let mut statement = connection.prepare_cached(sql::REFERENCED)?;
    keys.iter().map(|key| statement.query_row([key.as_str(), origin(key.as_str())], |row| row.get(0))).collect()
}

/// All API keys.
pub(super) fn keys(connection: &Connection) -> Result<Vec<ApiKey>> {
    load::all(connection, sql::KEYS, [MAX_KEYS], key_from)
}

/// The unrevoked key with this hash.
pub(super) fn find_key(connection: &Connection, hash: &[u8; 32]) -> Result<Option<ApiKey>> {
    load::first(connection, sql::KEY_FIND, [hash], key_from)
}

/// Figures for metrics. Walks the live jobs.
pub(super) fn stats(connection: &Connection, now: Timestamp, beats: &BTreeMap<i64, Timestamp>) -> Result<StoreStats> {
    let count =
        |row: &rusqlite::Row<'_>, column| -> Result<u64> { u64::try_from(row.get::<_, i64>(column)?).map_err(corrupt) };
    let live: BTreeMap<i16, u64> =
        load::all(connection, sql::STATS_LIVE, [], |row| Ok((row.get(0)?, count(row, 1)?)))?.into_iter().collect();
    let alive = load::all(connection, sql::EXECUTORS_ALIVE, [], |row| {
        let (executor, ttl, started_at): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        let beat_at = beats.get(&executor).map_or(started_at, |beat_at| beat_at.as_micros());
        Ok(now.as_micros() <= beat_at.saturating_add(ttl))
    })?;
    let executors = u64::try_from(alive.into_iter().filter(|alive| *alive).count()).map_err(corrupt)?;
    connection.prepare_cached(sql::STATS_REST)?.query_row([now.as_micros()], |row| {
        Ok(StoreStats {
            live,
            watched: count(row, 0)?,
            orphans: count(row, 1)?,
            due: count(row, 2)?,
            executors,
            connections: (0, 0),
            horizon_age: Duration::ZERO,
        })
    })
}
