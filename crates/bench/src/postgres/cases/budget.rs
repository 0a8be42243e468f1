//! Gates 2 and 3: what a job that completes writes, what a poll that changes nothing writes, and how many updates of
//! `job` stay on their page. No webhook is asked for; its rows come on top.

use std::path::Path;
use std::time::Duration;

use longtake_testing::sim::Options;

use crate::gateway::account;
use crate::postgres::counters::Written;
use crate::postgres::life::{Life, connect};
use crate::postgres::nodes::Deployment;
use crate::postgres::server::{Server, Sql};
use crate::report::Figure;
use crate::simulator::Simulator;
use crate::{Bench, Outcome};

const ROWS: f64 = 25.0;
const WAL_BYTES: f64 = 8_000.0;
const COMMITS: f64 = 9.0;
const ON_PAGE_PERCENT: f64 = 75.0;
const BATCH: usize = 100;
const BATCHES: usize = 20;
const VIDEOS: u64 = 2_000;
const VIDEOS_QUICK: u64 = 200;
const WORK_MS: u32 = 2_000;
const POLL_MS: u64 = 1_000;
const BOUND: Duration = Duration::from_secs(180);
/// Jobs whose polls change nothing, polled this often.
const WAITING: u64 = 500;
const WAITING_POLL_MS: u64 = 500;
const NEVER_MS: u32 = 86_400_000;
/// Longer than a running backend keeps its counts to itself.
const TOLD: Duration = Duration::from_secs(12);
const WATCH: Duration = Duration::from_secs(10);

pub async fn run(bench: &Bench) -> Outcome<Vec<Figure>> {
    let folder = bench.fresh("postgres-budget")?;
    let server = Server::start(bench)?;
    let mut figures = batches(&server).await?;
    figures.extend(videos(bench, &folder, &server).await?);
    figures.push(unchanged(bench, &folder, &server).await?);
    Ok(figures)
}

/// The life of batches through the store.
async fn batches(server: &Server) -> Outcome<Vec<Figure>> {
    let url = server.database("batches");
    let sql = Sql::connect(&url).await?;
    let life = Life::begin(connect(&url, 4).await?).await?;
    life.whole(BATCH).await?;
    drop(life);
    let life = Life::begin(connect(&url, 4).await?).await?;
    let before = Written::settled(&sql).await?;
    for _ in 0..BATCHES {
        if life.whole(BATCH).await? != BATCH {
            return Err("a batch was not taken whole".to_owned());
        }
    }
    drop(life);
    let written = Written::settled(&sql).await?.since(before);
    Ok(budget(
        &format!("in batches of {BATCH} through the store"),
        (BATCH * BATCHES) as f64,
        BATCHES as f64,
        written,
        true,
    ))
}

/// Videos through an API node and two workers.
async fn videos(bench: &Bench, folder: &Path, server: &Server) -> Outcome<Vec<Figure>> {
    let videos = bench.pick(VIDEOS, VIDEOS_QUICK);
    let url = server.database("videos");
    let own = folder.join("videos");
    std::fs::create_dir_all(&own).map_err(|error| format!("{}: {error}", own.display()))?;
    let simulator = Simulator::start(bench, &own, &Options { duration_ms: WORK_MS, ..Options::default() }).await?;
    let deployment = Deployment::new(bench, &own, url.clone(), account(&simulator.url(), POLL_MS, POLL_MS, ""));
    let api = deployment.start("api", "api").await?;
    let workers = [deployment.start("worker-a", "worker").await?, deployment.start("worker-b", "worker").await?];
    let sql = Sql::connect(&url).await?;
    let before = Written::settled(&sql).await?;
    api.create_many(videos).await?;
    sql.until("select count(*) from work", |left| left == 0, BOUND).await?;
    api.kill();
    workers.into_iter().for_each(crate::gateway::Gateway::kill);
    let written = Written::settled(&sql).await?.since(before);
    let completed = sql.number("select count(*) from job where state = 90").await?;
    if completed != i64::try_from(videos).unwrap_or(i64::MAX) {
        return Err(format!("{completed} of {videos} videos completed"));
    }
    let mut figures = budget("by an API process and two workers", videos as f64, videos as f64, written, false);
    figures.push(Figure::absolute(
        "PostgreSQL: updates of `job` that stay on their page (HOT), while videos are made",
        format!("{:.1} %", written.on_page_percent()),
        written.on_page_percent() > ON_PAGE_PERCENT,
        format!("> {ON_PAGE_PERCENT} %"),
    ));
    Ok(figures)
}

/// The figures of so many jobs, whose writing transactions are counted for each of so many parts.
fn budget(how: &str, jobs: f64, parts: f64, written: Written, whole_batches: bool) -> Vec<Figure> {
    let what = format!("PostgreSQL: a job that completes, no webhook, {how}");
    let (rows, bytes, commits) =
        (written.rows as f64 / jobs, written.wal_bytes as f64 / jobs, written.commits as f64 / parts);
    let mut figures = vec![
        Figure::absolute(format!("{what}: row writes"), format!("{rows:.1}"), rows <= ROWS, format!("<= {ROWS}")),
        Figure {
            peer: format!("{:.2} of them whole pages", written.whole_pages as f64 / jobs),
            ..Figure::absolute(
                format!("{what}: bytes of log"),
                format!("{bytes:.0} B"),
                bytes <= WAL_BYTES,
                format!("<= {WAL_BYTES} B"),
            )
        },
    ];
    figures.push(if whole_batches {
        let bar = format!("<= {COMMITS}");
        Figure::absolute(format!("{what}: commits of a batch"), format!("{commits:.1}"), commits <= COMMITS, bar)
    } else {
        Figure::stated(
            format!("{what}: writing transactions by the number of jobs"),
            format!("{commits:.2}"),
            String::new(),
        )
    });
    figures
}

/// Polls that find nothing new.
async fn unchanged(bench: &Bench, folder: &Path, server: &Server) -> Outcome<Figure> {
    let url = server.database("waiting");
    let own = folder.join("waiting");
    std::fs::create_dir_all(&own).map_err(|error| format!("{}: {error}", own.display()))?;
    let simulator = Simulator::start(bench, &own, &Options { duration_ms: NEVER_MS, ..Options::default() }).await?;
    let config = account(&simulator.url(), WAITING_POLL_MS, WAITING_POLL_MS, "");
    let deployment = Deployment::new(bench, &own, url.clone(), config);
    let (api, worker) = (deployment.start("api", "api").await?, deployment.start("worker", "worker").await?);
    let sql = Sql::connect(&url).await?;
    api.create_many(WAITING).await?;
    let all = i64::try_from(WAITING).unwrap_or(i64::MAX);
    sql.until("select count(*) from job where state = 30", |running| running == all, BOUND).await?;
    simulator.record_polls().await?;
    tokio::time::sleep(TOLD).await;
    let (before, polls_before) = (Written::settled(&sql).await?, simulator.count_polls().await?.0);
    tokio::time::sleep(WATCH).await;
    let polls = simulator.count_polls().await?.0.saturating_sub(polls_before);
    tokio::time::sleep(TOLD).await;
    let written = Written::settled(&sql).await?.since(before);
    api.kill();
    worker.kill();
    if polls == 0 {
        return Err("nothing was polled".to_owned());
    }
    Ok(Figure {
        peer: format!("{polls} polls; transactions that wrote, beats among them: {}", written.commits),
        ..Figure::absolute(
            "PostgreSQL: row writes of polls that find nothing new, beats apart",
            written.rows.to_string(),
            written.rows == 0,
            "0",
        )
    })
}
