//! How soon a video is completed after its provider was done, and how often it was polled: with callbacks and without.
//!
//! The vendor is MiniMax at a tenth of its times: 12.5 s a job, and without callbacks a poll each second, for two minutes
//! and ten seconds. Ends come evenly, and not just before a poll. When a job was done stands in the vendor's books, when it was completed in ours.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use longtake_testing::sim::{Ledger, Options};
use rusqlite::{Connection as Database, OpenFlags};

use crate::gateway::{Gateway, OWN_ADDRESS};
use crate::http::Connection;
use crate::report::Figure;
use crate::simulator::Simulator;
use crate::stats::Latencies;
use crate::{Bench, Outcome};

const JOBS: u64 = 600;
const JOBS_QUICK: u64 = 60;
/// Creates come this far apart, so ends do.
const BETWEEN: Duration = Duration::from_millis(50);
const RESULT_BYTES: u64 = 64 * 1024;
const WORK_MS: u32 = 12_500;
const POLL_MS: u64 = 1_000;
/// Longest time for all jobs after the last create.
const BOUND: Duration = Duration::from_secs(120);
const DONE_P99_MS: f64 = 100.0;
const SHARE_OF_POLLS: f64 = 0.1;

pub async fn run(bench: &Bench) -> Outcome<Vec<Figure>> {
    let folder = bench.fresh("callbacks")?;
    let jobs = bench.pick(JOBS, JOBS_QUICK);
    let polled = format!("poll_first_ms = {POLL_MS}\npoll_ceiling_ms = {POLL_MS}");
    let without = measure(bench, &folder.join("without"), jobs, "", &polled).await?;
    let public_url = format!("public_url = \"http://{OWN_ADDRESS}\"\n");
    let with = measure(bench, &folder.join("with"), jobs, &public_url, "").await?;
    let work = f64::from(WORK_MS) / 1_000.0;
    let share = |run: &Run| (format!("{:.2}", run.polls), run.polls);
    Ok(vec![
        Figure {
            peer: format!("{} (polls each {} s)", without.latencies.show(), POLL_MS / 1_000),
            ..Figure::absolute(
                format!("provider done to completed with a callback, {jobs} jobs, {} KiB each", RESULT_BYTES / 1024),
                with.latencies.show(),
                with.latencies.at(99.0) <= DONE_P99_MS,
                format!("p99 <= {DONE_P99_MS:.0} ms"),
            )
        },
        Figure::at_most(
            format!("polls of a job of {work} s with callbacks; peer: polls each {} s", POLL_MS / 1_000),
            share(&with),
            share(&without),
            SHARE_OF_POLLS,
        ),
    ])
}

struct Run {
    /// From the end at the provider to the commit here.
    latencies: Latencies,
    /// Of each job, on average.
    polls: f64,
}

async fn measure(bench: &Bench, folder: &Path, jobs: u64, general: &str, account: &str) -> Outcome<Run> {
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let options = Options { duration_ms: WORK_MS, result_bytes: RESULT_BYTES, ..Options::default() };
    let simulator = Simulator::start(bench, folder, &options).await?;
    let config = format!(
        "{general}[accounts.sim]\nprovider = \"minimax\"\napi_key = \"bench\"\nbase_url = \"{}\"\n{account}\n\
         [accounts.sim.options]\npolls_per_minute = 60000\n\
         [models.sim]\nroutes = [{{ account = \"sim\", model = \"MiniMax-H3\" }}]\n",
        simulator.url()
    );
    let data = folder.join("data");
    let mut gateway = Gateway::start(bench, folder, &data, &config).await?;
    let create = gateway.creates("/v1/videos");
    let mut connection = Connection::open(gateway.address).await?;
    let mut pace = tokio::time::interval(BETWEEN);
    for number in 0..jobs {
        pace.tick().await;
        connection.exchange(&create(number)).await?.good("a create")?;
    }
    gateway.wait_metric("longtake_jobs_completed", jobs, BOUND).await?;
    let polls = gateway.metric("longtake_polls").await? / jobs as f64;
    let completed = completed(&data.join("longtake.db"))?;
    gateway.kill();
    let books = Ledger::read(&simulator.ledger).map_err(|error| format!("the vendor's books: {error}"))?;
    let mut latencies = Vec::with_capacity(completed.len());
    for entry in books.jobs() {
        let done_at = entry.accepted_at + u64::from(entry.queue_ms + entry.duration_ms) * 1_000;
        let at = completed.get(&entry.provider_job);
        let at = at.ok_or_else(|| format!("{} is in the vendor's books and not completed", entry.provider_job))?;
        latencies.push(at.saturating_sub(done_at));
    }
    Ok(Run { latencies: Latencies::of_micros(latencies), polls })
}

/// When each provider job's video was completed, in microseconds since the Unix epoch.
fn completed(database: &Path) -> Outcome<HashMap<String, u64>> {
    let failed = |error: rusqlite::Error| format!("{}: {error}", database.display());
    let rows = Database::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
    let sql = "select a.provider_job, j.finished_at from job j join attempt a on a.job = j.id where j.state = 90";
    let mut statement = rows.prepare(sql).map_err(failed)?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?))).map_err(failed)?;
    let mut completed = HashMap::new();
    for row in rows {
        let (job, at) = row.map_err(failed)?;
        completed.insert(job, u64::try_from(at).unwrap_or(0));
    }
    Ok(completed)
}
