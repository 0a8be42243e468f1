//! Gate 4: durable creates over HTTP, against the time of one sync and against raw inserts into the same server.
//!
//! Only a process with the role `api` runs, so nothing consumes what is created.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::gateway::{CLIENTS, account};
use crate::load::{self, Load, Until};
use crate::postgres::nodes::Deployment;
use crate::postgres::server::{Server, Sql, failed, sync_ms};
use crate::report::Figure;
use crate::stats::{Latencies, Samples};
use crate::{Bench, Outcome};

/// Bars of the engine's gates.
const SHARE_OF_SYNCS: f64 = 0.55;
const ACKNOWLEDGED_IN_A_SYNC: f64 = 4.0;
const REPETITIONS: usize = 2;
/// No provider is called: nobody takes the jobs.
const NOBODY: &str = "http://127.0.0.1:9";
const RAW: &str = "insert into raw (request) values ($1)";

#[derive(Default)]
struct Side {
    single: Samples,
    single_p50_ms: Samples,
    many: Samples,
    many_p99_ms: Samples,
}

impl Side {
    fn add(&mut self, single: &Load, many: &Load) {
        self.single.push(single.per_second);
        self.single_p50_ms.push(single.latencies.at(50.0));
        self.many.push(many.per_second);
        self.many_p99_ms.push(many.latencies.at(99.0));
    }

    fn single(&self) -> (String, f64) {
        let shown = format!("{}, p50 {} ms", self.single.show(0, "/s"), self.single_p50_ms.show(2, ""));
        (shown, self.single.median())
    }

    fn many(&self) -> (String, f64) {
        let shown = format!("{}, p99 {:.1} ms", self.many.show(0, "/s"), self.many_p99_ms.median());
        (shown, self.many.median())
    }
}

pub async fn run(bench: &Bench) -> Outcome<Vec<Figure>> {
    let folder = bench.fresh("postgres-creates")?;
    let server = Server::start(bench)?;
    let (mut ours, mut raw) = (Side::default(), Side::default());
    let (mut sync, mut syncs_per_second, mut in_a_sync) = (Samples::default(), Samples::default(), Samples::default());
    for repetition in 0..bench.pick(REPETITIONS, 1) {
        let database = server.database(&format!("creates_{repetition}"));
        let deployment = Deployment::new(bench, &folder, database, account(NOBODY, 1_000, 1_000, ""));
        let before = sync_ms(bench)?;
        let api = deployment.start(&format!("api-{repetition}"), "api").await?;
        let make = api.creates("/v1/videos");
        load::run(api.address, CLIENTS, Until::Time(Duration::from_secs(1)), &make).await?;
        let single = load::run(api.address, 1, seconds(bench), &make).await?;
        let many = load::run(api.address, CLIENTS, seconds(bench), &make).await?;
        api.kill();
        // The disk of a shared machine changes its pace: the syncs around the run are the measure.
        let mean = f64::midpoint(before, sync_ms(bench)?);
        sync.push(mean);
        syncs_per_second.push(1_000.0 / mean);
        in_a_sync.push(many.per_second * mean / 1_000.0);
        ours.add(&single, &many);
        let url = server.database(&format!("raw_{repetition}"));
        Sql::connect(&url).await?.run("create table raw (id bigserial primary key, request text not null)").await?;
        raw.add(&inserts(bench, &url, 1).await?, &inserts(bench, &url, CLIENTS).await?);
    }
    let syncs = format!("{} syncs/s ({} each)", syncs_per_second.show(0, ""), sync.show(2, " ms"));
    let name = |clients| format!("PostgreSQL: durable creates over HTTP, {clients}");
    Ok(vec![
        Figure::at_least(
            format!("{}; peer: one sync of a page after the other", name("one client")),
            ours.single(),
            (syncs, syncs_per_second.median()),
            SHARE_OF_SYNCS,
        ),
        stated(
            format!("{}; peer: a raw single-row insert after the other, no HTTP", name("one client")),
            &ours.single(),
            &raw.single(),
        ),
        Figure {
            peer: format!("one sync takes {}", sync.show(2, " ms")),
            ratio: in_a_sync.show(2, ""),
            ..Figure::absolute(
                format!("{}: acknowledged in the time of one sync", name("64 clients")),
                ours.many().0,
                in_a_sync.median() >= ACKNOWLEDGED_IN_A_SYNC,
                format!(">= {ACKNOWLEDGED_IN_A_SYNC}"),
            )
        },
        stated(
            format!("{}; peer: raw single-row inserts on 64 connections, no HTTP", name("64 clients")),
            &ours.many(),
            &raw.many(),
        ),
    ])
}

fn stated(what: String, ours: &(String, f64), peer: &(String, f64)) -> Figure {
    let ratio = format!("{:.2}", ours.1 / peer.1.max(f64::MIN_POSITIVE));
    Figure { ratio, ..Figure::stated(what, ours.0.clone(), peer.0.clone()) }
}

fn seconds(bench: &Bench) -> Until {
    Until::Time(Duration::from_secs(bench.pick(5, 2)))
}

/// One insert after the other, each committed, on each of some connections.
async fn inserts(bench: &Bench, url: &str, connections: usize) -> Outcome<Load> {
    let mut clients = Vec::new();
    for _ in 0..connections {
        clients.push(Sql::connect(url).await?);
    }
    let bound = Duration::from_secs(bench.pick(4, 2));
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for client in clients {
        tasks.spawn(async move {
            let failed = |error: tokio_postgres::Error| failed(RAW, &error);
            let insert = client.client().prepare(RAW).await.map_err(failed)?;
            let mut times = Vec::new();
            while started.elapsed() < bound {
                let sent = Instant::now();
                client.client().execute(&insert, &[&crate::gateway::create_body(1)]).await.map_err(failed)?;
                times.push(sent.elapsed());
            }
            Ok::<_, String>(times)
        });
    }
    let mut all = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        all.extend(ended.map_err(|error| format!("an insert broke off: {error}"))??);
    }
    let per_second = all.len() as f64 / started.elapsed().as_secs_f64();
    Ok(Load { per_second, latencies: Latencies::of(all) })
}
