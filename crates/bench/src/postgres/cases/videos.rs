//! Videos per second and core, and how soon their end is noticed, beside queues that a team would glue together.
//!
//! Ours are real processes, `--role api` and `--role worker`, and the creates come over HTTP, which the peers spare.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use longtake_testing::sim::{Ledger, Options};

use crate::gateway::{Gateway, account};
use crate::http::Connection;
use crate::postgres::cost::Cost;
use crate::postgres::nodes::{Deployment, cpu};
use crate::postgres::peers::{Database, Measured, PEERS, Work};
use crate::postgres::server::{Server, Sql, failed};
use crate::report::{Figure, Verdict};
use crate::simulator::Simulator;
use crate::stats::{Latencies, Samples};
use crate::{Bench, Outcome};

const TIMES_OF_PEER: f64 = 5.0;
const REPETITIONS: usize = 3;
/// At full load.
const FULL: Work =
    Work { videos: 2_000, render_ms: 2_000, result_bytes: 64 * 1024, poll_interval: Duration::from_secs(1), rate: 0 };
/// At a rate that all of them carry: at full load latency only says how long the queue was.
const CALM: Work = Work { videos: 400, rate: 40, ..FULL };
const BOUND: Duration = Duration::from_secs(300);

/// One side's runs.
#[derive(Default)]
struct Side {
    per_core: Samples,
    shown: Vec<(f64, String)>,
    p50_ms: Samples,
    p99_ms: Samples,
}

impl Side {
    fn add(&mut self, measured: &Measured) {
        self.per_core.push(measured.cost.per_core_second());
        self.shown.push((measured.cost.per_core_second(), measured.cost.show()));
    }

    fn add_calm(&mut self, measured: &Measured) {
        self.p50_ms.push(measured.latency_p50_ms);
        self.p99_ms.push(measured.latency_p99_ms);
    }

    /// What the median run said.
    fn rate(&self) -> (String, f64) {
        let median = self.per_core.median();
        let run = self.shown.iter().find(|(rate, _)| *rate == median);
        (run.map_or_else(String::new, |(_, shown)| shown.clone()), median)
    }

    fn latency(&self) -> String {
        format!("p50 {} ms, p99 {} ms", self.p50_ms.show(0, ""), self.p99_ms.show(0, ""))
    }
}

pub async fn run(bench: &Bench) -> Outcome<Vec<Figure>> {
    let folder = bench.fresh("postgres-videos")?;
    let server = Server::start(bench)?;
    let full = Work { videos: bench.pick(FULL.videos, 200), ..FULL };
    let calm = Work { videos: bench.pick(CALM.videos, 80), ..CALM };
    let mut ours = Side::default();
    let mut peers: Vec<Side> = PEERS.iter().map(|_| Side::default()).collect();
    for repetition in 0..bench.pick(REPETITIONS, 1) {
        ours.add(&our_own(bench, &folder, &server, &format!("full_{repetition}"), full).await?);
        for (number, (peer, side)) in PEERS.iter().zip(&mut peers).enumerate() {
            // One that nothing is held against is measured once.
            if peer.tuned || repetition == 0 {
                let name = format!("peer_{number}_{repetition}");
                let database = Database { url: server.database(&name), postmaster: server.postmaster };
                side.add(&peer.measure(bench, &format!("postgres-videos/{name}"), &database, full).await?);
            }
        }
    }
    ours.add_calm(&our_own(bench, &folder, &server, "calm", calm).await?);
    for (number, (peer, side)) in PEERS.iter().zip(&mut peers).enumerate() {
        let name = format!("peer_{number}_calm");
        let database = Database { url: server.database(&name), postmaster: server.postmaster };
        side.add_calm(&peer.measure(bench, &format!("postgres-videos/{name}"), &database, calm).await?);
    }
    Ok(figures(&ours, &peers, full, calm))
}

fn figures(ours: &Side, peers: &[Side], full: Work, calm: Work) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (peer, side) in PEERS.iter().zip(peers) {
        let what = format!(
            "PostgreSQL: {} videos of {} KiB, provider {} s, polls {} s; peer: {}",
            full.videos,
            full.result_bytes / 1024,
            full.render_ms / 1_000,
            full.poll_interval.as_secs(),
            peer.title
        );
        let figure = Figure::at_least(what, ours.rate(), side.rate(), TIMES_OF_PEER);
        figures.push(if peer.tuned {
            figure
        } else {
            Figure { bar: String::new(), verdict: Verdict::Stated, ..figure }
        });
    }
    for (peer, side) in PEERS.iter().zip(peers) {
        let lower = ours.p50_ms.median() < side.p50_ms.median() && ours.p99_ms.median() < side.p99_ms.median();
        figures.push(Figure {
            peer: side.latency(),
            verdict: if peer.tuned { Verdict::of(lower) } else { Verdict::Stated },
            ..Figure::absolute(
                format!(
                    "PostgreSQL: provider done to `completed`, {} videos/s, polls {} s; peer: {}",
                    calm.rate,
                    calm.poll_interval.as_secs(),
                    peer.title
                ),
                ours.latency(),
                lower,
                if peer.tuned { "lower" } else { "" },
            )
        });
    }
    figures
}

/// The same work through an API process and a worker.
async fn our_own(bench: &Bench, folder: &Path, server: &Server, name: &str, work: Work) -> Outcome<Measured> {
    let own = folder.join(name);
    std::fs::create_dir_all(&own).map_err(|error| format!("{}: {error}", own.display()))?;
    let options = Options { duration_ms: work.render_ms, result_bytes: work.result_bytes, ..Options::default() };
    let simulator = Simulator::start(bench, &own, &options).await?;
    let poll_ms = u64::try_from(work.poll_interval.as_millis()).unwrap_or(u64::MAX);
    let url = server.database(name);
    let deployment = Deployment::new(bench, &own, url.clone(), account(&simulator.url(), poll_ms, poll_ms, ""));
    let (api, worker) = (deployment.start("api", "api").await?, deployment.start("worker", "worker").await?);
    let sql = Sql::connect(&url).await?;
    let before = cpu(&[&api, &worker], server.postmaster)?;
    let started = Instant::now();
    if work.rate == 0 {
        api.create_many(work.videos).await?;
    } else {
        create_evenly(&api, work).await?;
    }
    sql.until("select count(*) from work", |left| left == 0, BOUND).await?;
    let wall = started.elapsed();
    let after = cpu(&[&api, &worker], server.postmaster)?;
    api.kill();
    worker.kill();
    let between = |before: u64, after: u64| Duration::from_millis(after.saturating_sub(before));
    let cost =
        Cost { videos: work.videos, wall, workers: between(before.0, after.0), database: between(before.1, after.1) };
    let late = latencies(&sql, &simulator, work).await?;
    Ok(Measured { cost, latency_p50_ms: late.at(50.0), latency_p99_ms: late.at(99.0) })
}

async fn create_evenly(api: &Gateway, work: Work) -> Outcome {
    let make = api.creates("/v1/videos");
    let mut connection = Connection::open(api.address).await?;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / work.rate);
    for number in 0..work.videos {
        ticks.tick().await;
        connection.exchange(&make(number)).await?.good("a create")?;
    }
    Ok(())
}

/// From the end of the provider's work, by its ledger, to the job's end, by the database. Checks that each was bought once.
async fn latencies(sql: &Sql, simulator: &Simulator, work: Work) -> Outcome<Latencies> {
    const ENDS: &str =
        "select a.provider_job, j.finished_at from job j join attempt a on a.job = j.id where j.state = 90";
    let rows = sql.client().query(ENDS, &[]).await.map_err(|error| failed(ENDS, &error))?;
    let ledger = Ledger::read(&simulator.ledger).map_err(|error| format!("the ledger: {error}"))?;
    let jobs = ledger.jobs();
    let done_at: HashMap<&str, u64> = jobs
        .iter()
        .map(|job| (&*job.provider_job, job.accepted_at + u64::from(job.queue_ms + job.duration_ms) * 1_000))
        .collect();
    if rows.len() as u64 != work.videos || jobs.len() as u64 != work.videos {
        return Err(format!("{} of {} videos completed, {} were bought", rows.len(), work.videos, jobs.len()));
    }
    let mut late = Vec::with_capacity(rows.len());
    for row in &rows {
        let (name, finished_at): (String, i64) = (row.get(0), row.get(1));
        let done_at = done_at.get(&*name).ok_or_else(|| format!("the provider does not know {name}"))?;
        late.push(u64::try_from(finished_at).unwrap_or(0).saturating_sub(*done_at));
    }
    Ok(Latencies::of_micros(late))
}
