//! Gate 4: decisions with an event each, in batches, against the raw statement that writes the same rows.

use std::sync::Arc;
use std::time::{Duration, Instant};

use longtake_core::apply::Input;
use longtake_core::store::Claim;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::postgres::life::{Life, connect};
use crate::postgres::server::{Server, Sql, failed};
use crate::report::Figure;
use crate::stats::Samples;
use crate::{Bench, Outcome};

const BATCH: usize = 250;
const SHARE_OF_RAW: f64 = 0.5;
/// Callers at once, and the jobs of each.
const CALLERS: usize = 4;
const JOBS_EACH: usize = 2_500;
const JOBS_EACH_QUICK: usize = 500;
const REPETITIONS: usize = 2;
/// A progress is told once; with it a job can be decided about a hundred times.
const MOST_PERCENT: u8 = 100;

/// Locks the work rows, checks owner and fence, updates the jobs, inserts the events: what any implementation must do.
const RAW: &str = "
with i as materialized (select * from unnest($1::uuid[], $2::bigint[]) as t(job, fence)),
w as materialized (
    select i.job from i join work k on k.job = i.job and k.kind = 0 and k.ref = 0
    where k.owner = $3 and k.fence = i.fence order by k.job for update of k
), j as (
    update job set progress = $4, ver = job.ver + 1 from w where job.id = w.job and job.state = 30
    returning job.id, job.ver, job.project
)
insert into event (job, ver, project, type, at, body) select id, ver, project, 7, now_us(), $5 from j";

/// The jobs of one caller.
struct Group {
    claims: Vec<Claim>,
    percent: u8,
}

pub async fn run(bench: Bench) -> Outcome<Vec<Figure>> {
    let server = Server::start(&bench)?;
    let url = server.database("steps");
    let life = Arc::new(Life::begin(connect(&url, 10).await?).await?);
    let mut groups = Vec::new();
    for _ in 0..CALLERS {
        let mut claims = Vec::new();
        while claims.len() < bench.pick(JOBS_EACH, JOBS_EACH_QUICK) {
            life.create(BATCH).await?;
            claims.extend(life.submit(BATCH).await?);
        }
        groups.push(Group { claims, percent: 0 });
    }
    let body: String = {
        let sql = Sql::connect(&url).await?;
        // Both sides' plans shall know how many rows there are, as those of a database that lives longer do.
        sql.run("analyze").await?;
        let row = sql.client().query_one("select body from event where type = 6 limit 1", &[]).await;
        row.map_err(|error| failed("a body", &error))?.get(0)
    };
    let bound = Duration::from_secs(bench.pick(6, 2));
    let (mut ours, mut raw) = (Samples::default(), Samples::default());
    for _ in 0..bench.pick(REPETITIONS, 1) {
        let (rate, back) = all(groups, bound, &life, &url, None).await?;
        ours.push(rate);
        let (rate, back) = all(back, bound, &life, &url, Some(&body)).await?;
        raw.push(rate);
        groups = back;
    }
    let shown = |samples: &Samples| (samples.show(0, "/s"), samples.median());
    let what = format!(
        "PostgreSQL: decisions with an event each, batches of {BATCH}, {CALLERS} callers; peer: the raw statement, same rows"
    );
    Ok(vec![Figure::at_least(what, shown(&ours), shown(&raw), SHARE_OF_RAW)])
}

/// All callers at once; decisions per second, and the groups back. With a body: the raw statement.
async fn all(
    groups: Vec<Group>,
    bound: Duration,
    life: &Arc<Life>,
    url: &str,
    body: Option<&String>,
) -> Outcome<(f64, Vec<Group>)> {
    let mut tasks = JoinSet::new();
    let mut connections = Vec::new();
    for _ in &groups {
        connections.push(Sql::connect(url).await?);
    }
    let started = Instant::now();
    for (mut group, sql) in groups.into_iter().zip(connections) {
        let (life, body) = (Arc::clone(life), body.cloned());
        tasks.spawn(async move {
            let decided = match body {
                None => through_the_store(&mut group, &life, started, bound).await?,
                Some(body) => raw(&mut group, &life, &sql, &body, started, bound).await?,
            };
            Ok::<_, String>((decided, group))
        });
    }
    let (mut decided, mut back) = (0, Vec::new());
    while let Some(ended) = tasks.join_next().await {
        let (count, group) = ended.map_err(|error| format!("a caller broke off: {error}"))??;
        decided += count;
        back.push(group);
    }
    Ok((decided as f64 / started.elapsed().as_secs_f64(), back))
}

async fn through_the_store(group: &mut Group, life: &Life, started: Instant, bound: Duration) -> Outcome<usize> {
    let mut decided = 0;
    while group.percent < MOST_PERCENT && started.elapsed() < bound {
        group.percent += 1;
        let percent = group.percent;
        for batch in group.claims.chunks_mut(BATCH) {
            life.step(batch, |_| Input::Progress(percent)).await?;
            decided += batch.len();
        }
    }
    Ok(decided)
}

async fn raw(
    group: &mut Group,
    life: &Life,
    sql: &Sql,
    body: &str,
    started: Instant,
    bound: Duration,
) -> Outcome<usize> {
    let failed = |error: tokio_postgres::Error| failed(RAW, &error);
    let statement = sql.client().prepare(RAW).await.map_err(failed)?;
    let mut decided = 0;
    while group.percent < MOST_PERCENT && started.elapsed() < bound {
        group.percent += 1;
        let percent = i16::from(group.percent);
        for batch in group.claims.chunks(BATCH) {
            let jobs: Vec<Uuid> = batch.iter().map(|claim| Uuid::from_bytes(*claim.work.job.as_bytes())).collect();
            let fences: Vec<i64> = batch.iter().map(|claim| claim.fence.0).collect();
            let written = sql.client().execute(&statement, &[&jobs, &fences, &life.executor.0, &percent, &body]).await;
            if written.map_err(failed)? != batch.len() as u64 {
                return Err("the raw statement did not find its rows".to_owned());
            }
            decided += batch.len();
        }
    }
    Ok(decided)
}
