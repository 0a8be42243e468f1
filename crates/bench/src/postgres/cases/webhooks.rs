//! How soon after its commit an event is at its receiver, where one process takes creates and another sends webhooks.
//!
//! Creates come evenly. `video.queued` is committed by the API process, which tells nobody: the worker looks for it when it
//! commits something itself, and now and then. `video.completed` is committed by the worker. Each has an endpoint of its
//! own: neither waits for the other. Where the worker's limits are full it commits nothing, and only its looks are left.

use std::collections::HashMap;
use std::path::Path;
use std::time::{Duration, Instant};

use longtake_testing::sim::Options;

use crate::gateway::{Gateway, account};
use crate::http::Connection;
use crate::postgres::nodes::Deployment;
use crate::postgres::server::{Server, Sql, failed};
use crate::receiver::{Arrivals, CONFIG, Receivers};
use crate::report::Figure;
use crate::simulator::Simulator;
use crate::stats::Latencies;
use crate::{Bench, Outcome};

const CREATES: u64 = 200;
const CREATES_QUICK: u64 = 60;
/// Creates come this far apart.
const BETWEEN: Duration = Duration::from_millis(50);
const POLL_MS: u64 = 500;
/// For everything to have arrived, after the last create.
const BOUND: Duration = Duration::from_secs(60);
const P95_MS: f64 = 100.0;
/// Longer than is measured.
const NEVER_MS: u32 = 86_400_000;

/// One kind of traffic.
struct Part {
    /// For names of databases and folders.
    name: &'static str,
    /// How long a job takes at the provider.
    work_ms: u32,
    /// More about the account.
    account: &'static str,
    /// Types of events by receiver, and what is to be said of them.
    receivers: &'static [(&'static str, &'static str)],
}

const PARTS: [Part; 2] = [
    Part {
        name: "busy",
        work_ms: 1_000,
        account: "",
        receivers: &[
            ("video.queued", "committed by the API process, while the worker takes and completes the jobs"),
            ("video.completed", "committed by the worker that sends it"),
        ],
    },
    Part {
        name: "full",
        work_ms: NEVER_MS,
        account: "max_in_flight = 1",
        receivers: &[("video.queued", "committed by the API process, while the worker's limits are full")],
    },
];
/// Every delivery that was tried: the public id of its event, when that was decided, when its first try began.
const TRIED: &str = "select 'evt_video_' || replace(d.job::text, '-', '') || '_' || d.ver, d.at, min(t.at)
    from delivery d join delivery_try t on t.delivery = d.id group by d.job, d.ver, d.at";

/// When an event was decided and its first try began, in microseconds since the Unix epoch.
type Tried = HashMap<String, (i64, i64)>;

pub async fn run(bench: &Bench) -> Outcome<Vec<Figure>> {
    let folder = bench.fresh("postgres-webhooks")?;
    let server = Server::start(bench)?;
    let mut figures = Vec::new();
    for part in &PARTS {
        figures.extend(measure(bench, &folder.join(part.name), &server, part).await?);
    }
    Ok(figures)
}

async fn measure(bench: &Bench, folder: &Path, server: &Server, part: &Part) -> Outcome<Vec<Figure>> {
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let url = server.database(&format!("webhooks_{}", part.name));
    let options = Options { duration_ms: part.work_ms, ..Options::default() };
    let simulator = Simulator::start(bench, folder, &options).await?;
    let config = format!("{CONFIG}{}", account(&simulator.url(), POLL_MS, POLL_MS, part.account));
    let deployment = Deployment::new(bench, folder, url.clone(), config);
    let (api, worker) = (deployment.start("api", "api").await?, deployment.start("worker", "worker").await?);
    let receivers = Receivers::start(0).await?;
    for (number, (kind, _)) in part.receivers.iter().enumerate() {
        receivers.subscribe(&api, number, &[kind]).await?;
    }
    let creates = bench.pick(CREATES, CREATES_QUICK);
    create_evenly(&api, creates).await?;
    receivers.wait(usize::try_from(creates).unwrap_or(usize::MAX) * part.receivers.len(), BOUND).await?;
    let sql = Sql::connect(&url).await?;
    sql.until("select count(*) from delivery where due_at is not null", |left| left == 0, BOUND).await?;
    let tried = tried(&sql).await?;
    api.kill();
    worker.kill();
    let arrivals = receivers.take();
    part.receivers.iter().enumerate().map(|(number, what)| figure(number, what, &arrivals, &tried)).collect()
}

async fn create_evenly(api: &Gateway, count: u64) -> Outcome {
    let (mut connection, make) = (Connection::open(api.address).await?, api.creates("/v1/videos"));
    let mut next = tokio::time::Instant::from_std(Instant::now());
    for number in 0..count {
        tokio::time::sleep_until(next).await;
        next += BETWEEN;
        connection.exchange(&make(number)).await?.good("a create")?;
    }
    Ok(())
}

async fn tried(sql: &Sql) -> Outcome<Tried> {
    let rows = sql.client().query(TRIED, &[]).await.map_err(|error| failed(TRIED, &error))?;
    let row = |row: &tokio_postgres::Row| Ok((row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?)));
    rows.iter().map(row).collect::<Result<_, _>>().map_err(|error| failed(TRIED, &error))
}

fn figure(number: usize, (kind, what): &(&str, &str), arrivals: &Arrivals, tried: &Tried) -> Outcome<Figure> {
    let mut times = Vec::new();
    for ((_, event), arrived) in arrivals.iter().filter(|((receiver, _), _)| *receiver == number) {
        let (decided, begun) = tried.get(event).ok_or_else(|| format!("{event} arrived and was never tried"))?;
        times.push((*decided, *begun, *arrived));
    }
    let between = |from: fn(&(i64, i64, i64)) -> i64| {
        Latencies::of_micros(times.iter().map(|time| u64::try_from(from(time)).unwrap_or(0)))
    };
    let (all, found) = (between(|time| time.2 - time.0), between(|time| time.1 - time.0));
    let sent = between(|time| time.2 - time.1);
    let per_second = 1.0 / BETWEEN.as_secs_f64();
    let shown = |times: &Latencies| format!("p50 {:.1}, p95 {:.1} ms", times.at(50.0), times.at(95.0));
    Ok(Figure {
        peer: format!("until its try began: {}; from there: {}", shown(&found), shown(&sent)),
        ..Figure::absolute(
            format!("PostgreSQL: webhooks, commit to arrival, {per_second:.0}/s, {kind} {what}"),
            format!("{}, highest {:.1} ms; {} deliveries", shown(&all), all.at(100.0), all.len()),
            all.at(95.0) <= P95_MS,
            format!("p95 <= {P95_MS:.0} ms"),
        )
    })
}
