//! Gate 5: a worker that owns many jobs is killed, and another one takes them all.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use longtake_core::time::Clock;
use longtake_testing::sim::Options;

use crate::gateway::account;
use crate::postgres::fill::{Filler, Owner};
use crate::postgres::life::{Life, WallClock, connect};
use crate::postgres::nodes::Deployment;
use crate::postgres::server::{Server, Sql};
use crate::report::Figure;
use crate::simulator::Simulator;
use crate::{Bench, Outcome};

const JOBS: u64 = 100_000;
const JOBS_QUICK: u64 = 5_000;
/// So long that only the first look at each job mixes in.
const POLL_MS: u64 = 600_000;
const NEVER_MS: u32 = 86_400_000;
/// The default of `[worker] ttl_secs`.
const TTL: Duration = Duration::from_secs(15);
const AFTER_TTL: Duration = Duration::from_secs(5);
const BOUND: Duration = Duration::from_secs(120);

pub async fn run(bench: &Bench) -> Outcome<Vec<Figure>> {
    let folder = bench.fresh("postgres-reown")?;
    let jobs = bench.pick(JOBS, JOBS_QUICK);
    let server = Server::start(bench)?;
    let url = server.database("reown");
    let sql = Sql::connect(&url).await?;
    {
        let life = Life::begin(connect(&url, 2).await?).await?;
        let filler = Filler::new(&sql, &life).await?;
        filler.running(jobs, Owner::Due).await?;
        filler.settle().await?;
    }
    write_ledger(&folder.join("ledger.jsonl"), jobs)?;
    let simulator = Simulator::start(bench, &folder, &Options { duration_ms: NEVER_MS, ..Options::default() }).await?;
    let config = format!("[worker]\nmax_owned = {}\n{}", 2 * jobs, account(&simulator.url(), POLL_MS, POLL_MS, ""));
    let deployment = Deployment::new(bench, &folder, url.clone(), config);
    let mut first = deployment.start("worker-a", "worker").await?;
    let taken = sql.until("select count(*) from work where owner is null", |left| left == 0, BOUND).await?;
    first.wait_metric("longtake_polls", jobs, BOUND).await?;
    let owner = sql.number("select max(owner) from work").await?;
    let second = deployment.start("worker-b", "worker").await?;
    let owned = sql.number(&format!("select count(*) from work where owner = {owner}")).await?;
    first.kill();
    let left = format!("select count(*) from work where owner is null or owner = {owner}");
    let first_at = sql.until(&left, |left| left < owned, BOUND).await?;
    let all_after = first_at + sql.until(&left, |left| left == 0, BOUND).await?;
    second.kill();
    let kept = sql.number("select count(*) from work").await?;
    if kept != i64::try_from(jobs).unwrap_or(i64::MAX) {
        return Err(format!("{kept} of {jobs} jobs are left: some ended that cannot have"));
    }
    Ok(vec![
        Figure {
            peer: format!("the first of them after {:.1} s; ttl {} s", first_at.as_secs_f64(), TTL.as_secs()),
            ..Figure::absolute(
                format!("PostgreSQL: a worker that owns {owned} jobs killed, all owned by another"),
                format!("{:.1} s", all_after.as_secs_f64()),
                all_after <= TTL + AFTER_TTL,
                "<= ttl + 5 s",
            )
        },
        Figure::stated(
            format!("PostgreSQL: a worker's first taking of {jobs} due jobs, from its readiness"),
            format!("{:.1} s", taken.as_secs_f64()),
            String::new(),
        ),
    ])
}

/// The provider knows the jobs that were filled in as running.
fn write_ledger(path: &Path, jobs: u64) -> Outcome {
    let now = WallClock.monotonic().as_micros();
    let mut text = String::new();
    for number in 0..jobs {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            r#"{{"line":"accepted","provider_job":"filled_{number}","vendor":"openai_compatible","model":"wan","prompt":"filled {number}","seconds":4,"size":"1280x720","request_hash":0,"accepted_at":{now},"queue_ms":0,"duration_ms":{NEVER_MS},"billed_usd":0.4}}"#
        );
    }
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}
