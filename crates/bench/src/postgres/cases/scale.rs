//! The same work in an empty database and beside many jobs in flight and finished: nothing may depend on how many there are.

use std::sync::Arc;
use std::time::{Duration, Instant};

use longtake_core::id::ProjectId;
use longtake_core::store::{ListFilter, Store};

use super::pinned::Load;
use crate::postgres::fill::{Filler, Owner};
use crate::postgres::life::{Life, connect, of_store, register};
use crate::postgres::server::{Server, Sql};
use crate::report::Figure;
use crate::stats::{Latencies, Samples};
use crate::{Bench, Outcome};

/// In flight and finished.
const FULL: (u64, u64) = (1_000_000, 10_000_000);
const USUAL: (u64, u64) = (100_000, 1_000_000);
const QUICK: (u64, u64) = (5_000, 20_000);
const SHARE_OF_EMPTY: f64 = 0.5;
const TAKE_MS: f64 = 20.0;
const LOOK_MS: f64 = 5.0;
const BATCH: usize = 500;
const CALLS: usize = 50;
/// An owner of the jobs in flight that is never given up.
const TTL: Duration = Duration::from_secs(86_400);
/// A window of the load; what comes before warms up.
const WARM_UP_SECS: usize = 2;
const LOAD_SECS: usize = 8;

pub async fn run(bench: Bench) -> Outcome<Vec<Figure>> {
    let server = Server::start(&bench)?;
    let (running, finished) = if bench.full { FULL } else { bench.pick(USUAL, QUICK) };
    let empty = lives(&server.database("no_rows"), &bench).await?;
    let url = server.database("many_rows");
    let sql = Sql::connect(&url).await?;
    let life = Life::begin(connect(&url, 4).await?).await?;
    let started = Instant::now();
    fill(&sql, &life, running, finished).await?;
    let filled = started.elapsed().as_secs_f64();
    let full = lives(&url, &bench).await?;
    let beside = format!("{running} jobs in flight and {finished} finished ones");
    let mut figures = vec![Figure::at_least(
        format!("PostgreSQL: whole lives of jobs beside {beside}; peer: in an empty database"),
        (full.show(0, " jobs/s"), full.median()),
        (empty.show(0, " jobs/s"), empty.median()),
        SHARE_OF_EMPTY,
    )];
    figures.extend(calls(&life, &beside).await?);
    let bytes = sql.number("select pg_database_size(current_database())").await?;
    let what = format!("PostgreSQL: size of the database with {beside}, one event each");
    let size = format!("{:.0} MiB, filled in {filled:.0} s", bytes as f64 / f64::from(1 << 20));
    figures.push(Figure::stated(what, size, String::new()));
    Ok(figures)
}

async fn fill(sql: &Sql, life: &Life, running: u64, finished: u64) -> Outcome {
    let filler = Filler::new(sql, life).await?;
    filler.finished(finished).await?;
    let due = u64::try_from(BATCH * CALLS).unwrap_or(u64::MAX).min(running / 2);
    let owner = register(&*life.store, TTL).await?;
    filler.running(running, Owner::Executor(owner.0)).await?;
    // Some of them are due, for whoever comes.
    sql.run(&format!(
        "update work set owner = null, due_at = now_us() where job in (select job from work where owner = {owner} limit {due})"
    ))
    .await?;
    filler.settle().await
}

async fn lives(url: &str, bench: &Bench) -> Outcome<Samples> {
    let load = Load::start(url).await?;
    load.seconds(WARM_UP_SECS).await;
    let mut samples = Samples::default();
    for rate in load.seconds(bench.pick(LOAD_SECS, 2)).await {
        samples.push(rate);
    }
    load.end().await?;
    Ok(samples)
}

/// Single calls beside all those rows.
async fn calls(life: &Life, beside: &str) -> Outcome<Vec<Figure>> {
    let (mut take, mut look) = (Samples::default(), Samples::default());
    for turn in 0..CALLS / 5 {
        let started = Instant::now();
        let taken = life.acquire(BATCH, 0).await?.len();
        // The first ones find nothing in memory.
        if taken == BATCH && turn > 1 {
            take.push(started.elapsed().as_secs_f64() * 1_000.0);
        }
    }
    for _ in 0..CALLS {
        let started = Instant::now();
        life.acquire(0, BATCH).await?;
        look.push(started.elapsed().as_secs_f64() * 1_000.0);
    }
    let what = |call: &str| format!("PostgreSQL: {call}, beside {beside}");
    let mut figures = vec![
        Figure::absolute(
            what(&format!("acquire of {BATCH} due rows")),
            take.show(1, " ms"),
            take.median() > 0.0 && take.median() <= TAKE_MS,
            format!("<= {TAKE_MS} ms"),
        ),
        Figure::absolute(
            what("acquire in vain"),
            look.show(2, " ms"),
            look.median() <= LOOK_MS,
            format!("<= {LOOK_MS} ms"),
        ),
    ];
    let store = Arc::clone(&life.store);
    let page = timed(CALLS, async || list(&*store).await).await?;
    figures.push(Figure::stated(what("a page of 20 jobs"), page.show(), String::new()));
    let create = timed(CALLS, async || life.create(1).await).await?;
    figures.push(Figure::stated(what("a create of one job"), create.show(), String::new()));
    let stats = timed(3, async || store.stats().await.map(drop).map_err(of_store)).await?;
    figures.push(Figure::stated(what("the counts of /metrics"), stats.show(), String::new()));
    Ok(figures)
}

async fn list(store: &dyn Store) -> Outcome {
    let filter = ListFilter { limit: 20, ..ListFilter::default() };
    store.list(ProjectId(1), filter).await.map(drop).map_err(of_store)
}

async fn timed(count: usize, call: impl AsyncFn() -> Outcome) -> Outcome<Latencies> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        call().await?;
        times.push(started.elapsed());
    }
    Ok(Latencies::of(times))
}
