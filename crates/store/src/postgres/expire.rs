//! Retention: a walk per project and kind over old jobs, in the order of ids, a bounded piece of it per transaction.
//!
//! The jobs are locked first, as everywhere, then it is looked whether they have work: none can come while the locks are
//! held, and a retry that waits for them finds no job. What somebody else is changing is passed over until the walk begins
//! anew. Everything is found by a key. Whole days of events go in `partitions`.

use std::collections::{BTreeMap, BTreeSet};

use longtake_core::artifact::ArtifactKey;
use longtake_core::id::JobId;
use longtake_core::retention::{Expired, Keep, Kind, Retention};
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::load::{ids, limit_of};
use super::saves::{Save, Value};
use super::session::{Failure, Session};
use super::{PostgresStore, partitions, reads, sql};
use crate::rows::postgres::{get, job_id, uuid_of};
use crate::rows::{Result as Read, Unreadable, micros, unreadable};

/// Statements of a walk.
const WALK: &[&str] = &[
    sql::EXPIRE_LOOK,
    sql::EXPIRE_BEGIN,
    sql::EXPIRE_WALK,
    sql::EXPIRE_LOCK,
    sql::EXPIRE_BUSY,
    sql::EXPIRE_PINNED,
    sql::EXPIRE_ARTIFACTS,
    sql::EXPIRE_EVENTS,
    sql::EXPIRE_JOBS,
    sql::EXPIRE_NOTE,
    sql::REFERENCED,
];
/// Most walks that one call moves.
const MAX_WALKS: i64 = 10_000;
/// No event of a job is older than the job by more than this, whatever the clocks: days before are not looked at.
const SLACK_US: i64 = 86_400_000_000;

/// How far one kind of one project has come.
struct Walk {
    project: i64,
    kind: Kind,
    /// What finished later is kept.
    cutoff: i64,
    mark: Uuid,
    restarted_at: i64,
    /// There is a job to look at.
    found: bool,
}

/// A job that is over, as a walk sees it.
struct Seen {
    job: JobId,
    kind: Kind,
    cutoff: i64,
    finished_at: i64,
}

/// What goes in one call: jobs of each kind.
#[derive(Default)]
struct Going {
    artifacts: BTreeSet<JobId>,
    /// With the times from and until which they go.
    events: Vec<(JobId, i64, i64)>,
    jobs: BTreeSet<JobId>,
}

impl PostgresStore {
    /// Days first: what goes as a whole is not walked over.
    pub(super) async fn try_expire(&self, policy: &Retention, limit: usize) -> Result<Expired, Failure> {
        let session = self.session(&[WALK, partitions::OLD_DAYS, &[sql::ENDPOINTS_FORGET]]).await?;
        let now = self.bound_now();
        let policies = Policies::of(policy)?;
        let (days, walks) = futures::join!(
            partitions::drop_old(&session, policy.longest_events(), now),
            look(&session, &policies, now)
        );
        let more_days = days?;
        let mut expired = if walks?.is_empty() {
            Expired { more: limit == 0, ..Expired::default() }
        } else {
            walk(&session, &policies, limit, now).await?
        };
        if !expired.more {
            expired.endpoints = forget_endpoints(&session, limit).await?;
            expired.more = u64::try_from(limit).is_ok_and(|limit| expired.endpoints == limit);
        }
        expired.more |= more_days;
        Ok(expired)
    }
}

/// Those that clients removed and of which nothing is left to show. How many. On its own, since it concerns no job.
async fn forget_endpoints(session: &Session, limit: usize) -> Result<u64, Failure> {
    let row = session.run_alone(sql::ENDPOINTS_FORGET, &[&limit_of(limit)]).await?.into_iter().next();
    let gone: i64 = row.map_or(Ok(0), |row| get(&row, 0))?;
    Ok(u64::try_from(gone).unwrap_or(0))
}

/// Policies as they are bound.
struct Policies {
    /// By kind.
    usual: Vec<Option<i64>>,
    /// Of projects with their own: an object of arrays.
    own: String,
}

impl Policies {
    fn of(policy: &Retention) -> Read<Self> {
        let kept = |keep: &Keep| Kind::ALL.map(|kind| keep.of(kind).map(micros));
        let own: BTreeMap<String, [Option<i64>; 3]> =
            policy.projects.iter().map(|(project, keep)| (project.to_string(), kept(keep))).collect();
        let own = serde_json::to_string(&own).map_err(unreadable)?;
        Ok(Self { usual: kept(&policy.default).to_vec(), own })
    }
}

/// The walks that have something to look at, or begin anew, in order.
async fn look(session: &Session, policies: &Policies, now: Option<i64>) -> Result<Vec<Walk>, Failure> {
    let round = micros(Retention::ROUND);
    let rows = session.rows(sql::EXPIRE_LOOK, &[&now, &policies.usual, &policies.own, &round, &MAX_WALKS]).await?;
    Ok(rows.iter().map(walk_from).filter_map(Read::transpose).collect::<Read<_>>()?)
}

/// `None` where there is only the time.
fn walk_from(row: &Row) -> Read<Option<Walk>> {
    let Some(project) = get::<Option<i64>>(row, 1)? else { return Ok(None) };
    let number: i16 = get(row, 2)?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.number() == number);
    Ok(Some(Walk {
        project,
        kind: kind.ok_or_else(|| unreadable("a walk of an unknown kind"))?,
        cutoff: get(row, 3)?,
        mark: get(row, 4)?,
        restarted_at: get(row, 5)?,
        found: get(row, 6)?,
    }))
}

/// One transaction. Somebody else's walk at the same time goes on alone.
async fn walk(session: &Session, policies: &Policies, limit: usize, now: Option<i64>) -> Result<Expired, Failure> {
    let (begun, alone, walks) = futures::join!(
        session.begin(),
        async { session.row(sql::EXPIRE_BEGIN, &[]).await },
        look(session, policies, now)
    );
    begun?;
    let alone: bool = alone?.map_or(Ok(false), |row| get(&row, 0))?;
    if !alone {
        session.rollback().await;
        return Ok(Expired::default());
    }
    let (mut left, mut passed, mut seen) = (limit, Vec::new(), Vec::new());
    for mut walk in walks? {
        if left == 0 {
            break;
        }
        if walk.found {
            let jobs = next(session, &mut walk, left, &mut seen).await?;
            left -= jobs.min(left);
        }
        passed.push(walk);
    }
    let mut expired = remove(session, going(session, seen).await?).await?;
    session.save(if passed.is_empty() { Vec::new() } else { vec![note(&passed)] }).await?;
    expired.more = left == 0;
    Ok(expired)
}

/// Moves a walk on. How many jobs it passed; those that are over, and of which something may go, are `seen`.
async fn next(session: &Session, walk: &mut Walk, most: usize, seen: &mut Vec<Seen>) -> Result<usize, Failure> {
    let (kind, cutoff) = (walk.kind, walk.cutoff);
    let values: [&(dyn ToSql + Sync); 5] = [&walk.project, &walk.mark, &cutoff, &limit_of(most), &kind.number()];
    let rows = session.rows(sql::EXPIRE_WALK, &values).await?;
    for row in &rows {
        let job = job_id(row, 0)?;
        if let Some(finished_at) = get(row, 1)? {
            seen.push(Seen { job, kind, cutoff, finished_at });
        }
        walk.mark = uuid_of(job);
    }
    Ok(rows.len())
}

/// How far the walks have come.
fn note(walks: &[Walk]) -> Save {
    let values: Vec<Value> = vec![
        Box::new(walks.iter().map(|walk| walk.project).collect::<Vec<_>>()),
        Box::new(walks.iter().map(|walk| walk.kind.number()).collect::<Vec<_>>()),
        Box::new(walks.iter().map(|walk| walk.mark).collect::<Vec<_>>()),
        Box::new(walks.iter().map(|walk| walk.restarted_at).collect::<Vec<_>>()),
    ];
    Save { query: sql::EXPIRE_NOTE, values }
}

/// Locks what was seen and tells what of it goes.
async fn going(session: &Session, seen: Vec<Seen>) -> Result<Going, Failure> {
    let pinned = pinned(session, &seen).await?;
    let seen: Vec<Seen> =
        seen.into_iter().filter(|seen| seen.kind != Kind::Jobs || !pinned.contains(&seen.job)).collect();
    let mut going = Going::default();
    if seen.is_empty() {
        return Ok(going);
    }
    let over = over(session, ids(seen.iter().map(|seen| seen.job))).await?;
    for Seen { job, kind, cutoff, .. } in seen {
        let Some((created_at, _)) = over.get(&job).filter(|(_, finished_at)| *finished_at <= cutoff) else { continue };
        let events_from = created_at.saturating_sub(SLACK_US);
        match kind {
            Kind::Artifacts => drop(going.artifacts.insert(job)),
            Kind::Events => going.events.push((job, events_from, cutoff)),
            Kind::Jobs => {
                going.artifacts.insert(job);
                going.events.push((job, events_from, i64::MAX));
                going.jobs.insert(job);
            }
        }
    }
    Ok(going)
}

/// When they were created and finished: of the jobs that are locked now, are over, and have no work.
async fn over(session: &Session, jobs: Vec<Uuid>) -> Result<BTreeMap<JobId, (i64, i64)>, Failure> {
    // The second statement sees what was committed before the locks were given.
    let jobs: [&(dyn ToSql + Sync); 1] = [&jobs];
    let (locked, busy) = futures::join!(session.rows(sql::EXPIRE_LOCK, &jobs), session.rows(sql::EXPIRE_BUSY, &jobs));
    let busy: BTreeSet<JobId> = busy?.iter().map(|row| job_id(row, 0)).collect::<Read<_>>()?;
    let mut over = BTreeMap::new();
    for row in locked? {
        let job = job_id(&row, 0)?;
        if let Some(finished_at) = get::<Option<i64>>(&row, 2)?
            && !busy.contains(&job)
        {
            over.insert(job, (get(&row, 1)?, finished_at));
        }
    }
    Ok(over)
}

/// Whole jobs that an older doubt may still be compared with. Doubts only go: none comes that is older than what is over.
async fn pinned(session: &Session, seen: &[Seen]) -> Result<BTreeSet<JobId>, Failure> {
    let whole: Vec<&Seen> = seen.iter().filter(|seen| seen.kind == Kind::Jobs).collect();
    if whole.is_empty() {
        return Ok(BTreeSet::new());
    }
    let jobs: Vec<Uuid> = whole.iter().map(|seen| uuid_of(seen.job)).collect();
    let finished: Vec<i64> = whole.iter().map(|seen| seen.finished_at).collect();
    let rows = session.rows(sql::EXPIRE_PINNED, &[&jobs, &finished, &micros(Keep::PIN_MARGIN)]).await?;
    Ok(rows.iter().map(|row| job_id(row, 0)).collect::<Read<_>>()?)
}

/// Removes it, in one round trip, and asks in a second one whose objects nobody refers to any more.
async fn remove(session: &Session, going: Going) -> Result<Expired, Failure> {
    let (outputs, jobs) = (ids(going.artifacts.iter().copied()), ids(going.jobs.iter().copied()));
    let of: Vec<Uuid> = going.events.iter().map(|(job, ..)| uuid_of(*job)).collect();
    let from: Vec<i64> = going.events.iter().map(|(_, from, _)| *from).collect();
    let until: Vec<i64> = going.events.iter().map(|(.., until)| *until).collect();
    let (keys, events, removed) = futures::join!(
        async {
            if outputs.is_empty() {
                return Ok(Vec::new());
            }
            session.rows(sql::EXPIRE_ARTIFACTS, &[&outputs]).await
        },
        async {
            if of.is_empty() {
                return Ok(None);
            }
            session.row(sql::EXPIRE_EVENTS, &[&of, &from, &until]).await
        },
        async {
            if jobs.is_empty() {
                return Ok(None);
            }
            session.row(sql::EXPIRE_JOBS, &[&jobs]).await
        }
    );
    let events: i64 = events?.map_or(Ok(0), |row| get(&row, 0))?;
    let (jobs, inputs): (i64, Vec<String>) =
        removed?.map_or(Ok((0, Vec::new())), |row| Ok::<_, Unreadable>((get(&row, 0)?, get(&row, 1)?)))?;
    let key = |row: &Row| get(row, 0).map(ArtifactKey::from_stored);
    let mut keys: BTreeSet<ArtifactKey> = keys?.iter().map(key).collect::<Read<_>>()?;
    keys.extend(inputs.iter().map(|key| ArtifactKey::from_stored(key)));
    Ok(Expired {
        jobs: u64::try_from(jobs).unwrap_or(0),
        events: u64::try_from(events).unwrap_or(0),
        artifacts: unreferenced(session, keys.into_iter().collect()).await?,
        endpoints: 0,
        more: false,
    })
}

async fn unreferenced(session: &Session, keys: Vec<ArtifactKey>) -> Result<Vec<ArtifactKey>, Failure> {
    if keys.is_empty() {
        return Ok(keys);
    }
    let referenced = reads::referenced(session, &keys).await?;
    Ok(keys.into_iter().zip(referenced).filter(|(_, named)| !named).map(|(key, _)| key).collect())
}
