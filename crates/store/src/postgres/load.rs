//! Loads what calls and readers look at.
//!
//! A call that changes a job locks its row first, then its work rows, each sorted, and reads attempts and outputs in
//! statements of their own behind them: those see what was committed while the locks were waited for. Whoever comes, goes
//! or changes a work row of a job holds the job's lock, but for acquire, reap, woken and release, which hold the rows and
//! wait for nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use longtake_core::attempt::Attempt;
use longtake_core::id::{AttemptNo, ExecutorId, Fence, JobId, PoolId, ProjectId};
use longtake_core::request::VideoRequest;
use longtake_core::store::{Claim, Job, Place, WorkKey};
use longtake_core::time::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use super::picture::{Changing, JobRows, Picture, WorkRow};
use super::session::{Failure, Session};
use super::sql;
use crate::rows::postgres::{
    artifact_from, attempt_from, claim_from, get, job_id, kind_of, record_from, uuid_of, view_from, work_key,
};
use crate::rows::{Result as Read, request_from};

/// What [`lock`] needs prepared.
pub(super) const LOCK: &[&str] = &[
    sql::JOBS_LOCK,
    sql::WORK_LOCK,
    sql::NOW,
    sql::ATTEMPTS_LATEST,
    sql::ATTEMPTS_NAMED,
    sql::OUTPUTS,
    sql::REQUEST_GET,
];

/// Ids as they are bound: sorted, each once.
pub(super) fn ids(jobs: impl IntoIterator<Item = JobId>) -> Vec<Uuid> {
    let mut ids: Vec<Uuid> = jobs.into_iter().map(uuid_of).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Begins a transaction and loads jobs under their locks, in one round trip.
pub(super) async fn lock(
    session: &Session,
    jobs: &[Uuid],
    named: &[(JobId, AttemptNo)],
    now: Option<i64>,
) -> Result<Picture, Failure> {
    let named_jobs: Vec<Uuid> = named.iter().map(|(job, _)| uuid_of(*job)).collect();
    let named_ns: Vec<i32> = named.iter().map(|(_, n)| i32::from(n.0)).collect();
    let (begun, locked, work, now, latest, named, outputs) = futures::join!(
        session.begin(),
        async { session.rows(sql::JOBS_LOCK, &[&jobs]).await },
        async { session.rows(sql::WORK_LOCK, &[&jobs]).await },
        async { session.row(sql::NOW, &[&now]).await },
        async { session.rows(sql::ATTEMPTS_LATEST, &[&jobs]).await },
        async {
            if named_jobs.is_empty() {
                return Ok(Vec::new());
            }
            session.rows(sql::ATTEMPTS_NAMED, &[&named_jobs, &named_ns]).await
        },
        async { session.rows(sql::OUTPUTS, &[&jobs]).await },
    );
    begun?;
    let (locked, work, latest, named, outputs) = (locked?, work?, latest?, named?, outputs?);
    let now = now?.map_or(Ok(0), |row| get::<i64>(&row, 0))?;
    Ok(picture(Timestamp::from_micros(now), &locked, &work, latest.iter().chain(&named), &outputs)?)
}

fn picture<'a>(
    now: Timestamp,
    locked: &[Row],
    work: &[Row],
    attempts: impl Iterator<Item = &'a Row>,
    outputs: &[Row],
) -> Read<Picture> {
    let mut by_job: BTreeMap<JobId, BTreeMap<AttemptNo, Attempt>> = BTreeMap::new();
    for row in attempts {
        let attempt = attempt_from(row, 1)?;
        by_job.entry(job_id(row, 0)?).or_default().insert(attempt.n, attempt);
    }
    let mut picture = Picture::new(now);
    for row in locked {
        let job = job_id(row, 0)?;
        let attempts = by_job.remove(&job).unwrap_or_default();
        let latest = attempts.last_key_value().map(|(_, attempt)| attempt.clone());
        let mut record = record_from(row, latest)?;
        record.attempt = None;
        // The time itself changes nothing: a hidden job is never shown again.
        let hidden_at = get::<bool>(row, 18)?.then_some(now);
        let fence_floor = Fence(get(row, 19)?);
        let rows = JobRows { record, hidden_at, fence_floor, attempts, output: None, work: BTreeMap::new() };
        picture.jobs.insert(job, Changing { was: rows.clone(), now: rows });
    }
    for row in work {
        let key = work_key(row, 0)?;
        let place = Place { pool: PoolId(get(row, 6)?), queued: get(row, 7)? };
        let work = WorkRow {
            owner: get::<Option<i64>>(row, 3)?.map(ExecutorId),
            fence: Fence(get(row, 4)?),
            due_at: Timestamp::from_micros(get(row, 5)?),
            place: Some(place),
        };
        if let Some(changing) = picture.jobs.get_mut(&key.job) {
            changing.was.work.insert(key, work.clone());
            changing.now.work.insert(key, work);
        }
    }
    for row in outputs {
        if let Some(changing) = picture.jobs.get_mut(&job_id(row, 0)?) {
            let output = artifact_from(row, 1)?;
            changing.was.output = Some(output.clone());
            changing.now.output = Some(output);
        }
    }
    Ok(picture)
}

/// The unchanging half.
pub(super) async fn request(session: &Session, job: JobId) -> Result<Option<Arc<VideoRequest>>, Failure> {
    let row = session.row(sql::REQUEST_GET, &[&uuid_of(job)]).await?;
    Ok(row.map(|row| request_from(get(&row, 0)?, get(&row, 1)?, get(&row, 2)?).map(Arc::new)).transpose()?)
}

/// Jobs as readers see them, with whether each is hidden, in the order asked for.
pub(super) async fn views(session: &Session, jobs: &[JobId]) -> Result<Vec<(Job, bool)>, Failure> {
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    let jobs: Vec<Uuid> = jobs.iter().map(|job| uuid_of(*job)).collect();
    let rows = session.rows(sql::VIEWS, &[&jobs]).await?;
    Ok(rows.iter().map(view_from).collect::<Read<_>>()?)
}

/// The job as a client of this project sees it.
pub(super) async fn visible(session: &Session, project: ProjectId, job: JobId) -> Result<Option<Job>, Failure> {
    let view = views(session, &[job]).await?.pop();
    Ok(view.filter(|(job, hidden)| !hidden && job.record.project == project).map(|(job, _)| job))
}

/// What an executor gets for rows that it owns, in the order asked for; the others are left out.
pub(super) async fn claims(session: &Session, executor: ExecutorId, works: &[WorkKey]) -> Result<Vec<Claim>, Failure> {
    let jobs: Vec<Uuid> = works.iter().map(|work| uuid_of(work.job)).collect();
    let kinds: Vec<i16> = works.iter().map(|work| kind_of(work.kind)).collect();
    let references: Vec<i64> = works.iter().map(|work| work.reference).collect();
    let rows = session.rows(sql::CLAIMS, &[&jobs, &kinds, &references, &executor.0]).await?;
    Ok(rows.iter().map(claim_from).filter_map(Read::transpose).collect::<Read<_>>()?)
}

/// A page size as it is bound.
pub(super) fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
