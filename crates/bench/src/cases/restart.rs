//! `kill -9` with many jobs in flight: how long after the restart each has been polled again.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use longtake_testing::sim::Options;

use crate::gateway::{Gateway, account};
use crate::process::Process;
use crate::raw::polls::PollsResult;
use crate::raw::read_result;
use crate::report::Figure;
use crate::simulator::Simulator;
use crate::stats::{Latencies, Samples};
use crate::{Bench, Outcome};

const JOBS: u64 = 10_000;
const JOBS_QUICK: u64 = 1_000;
/// So long that no second poll mixes in.
const POLL_MS: u64 = 600_000;
const NEVER_MS: u32 = 86_400_000;
const FIRST_POLL_P99_MS: f64 = 2_000.0;
const SUBMIT_BOUND: Duration = Duration::from_secs(180);
/// Longest time until each was polled again.
const POLLED_BOUND: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(200);

pub async fn run(bench: &Bench) -> Outcome<Vec<Figure>> {
    let folder = bench.fresh("restart")?;
    let jobs = bench.pick(JOBS, JOBS_QUICK);
    let options = Options { duration_ms: NEVER_MS, ..Options::default() };
    let simulator = Simulator::start(bench, &folder, &options).await?;
    let config = account(&simulator.url(), POLL_MS, POLL_MS, "");
    let data = folder.join("data");
    let mut gateway = Gateway::start(bench, &folder, &data, &config).await?;
    gateway.create_many(jobs).await?;
    // Not the accepted: the last of them would be in doubt, and be looked up after the restart instead of polled.
    gateway.wait_metric("longtake_jobs{state=\"running\"}", jobs, SUBMIT_BOUND).await?;
    gateway.kill();
    let (mut p99, mut ready) = (Samples::default(), Samples::default());
    for _ in 0..bench.repetitions() {
        simulator.record_polls().await?;
        let gateway = Gateway::start(bench, &folder, &data, &config).await?;
        let ready_at = now_micros();
        ready.push(gateway.ready_after.as_secs_f64() * 1_000.0);
        wait_polled(&simulator, jobs).await?;
        gateway.kill();
        let first_at = simulator.polls().await?.first_at;
        p99.push(Latencies::of_micros(first_at.iter().map(|at| at.saturating_sub(ready_at))).at(99.0));
    }
    let raw = raw_loop(bench, &folder, &simulator).await?;
    Ok(vec![
        Figure {
            peer: format!("{:.0} ms (raw loop: same polls, nothing else)", raw.answered_p99_ms),
            ..Figure::absolute(
                format!("restart with {jobs} jobs in flight, ready to first poll of each, p99"),
                p99.show(0, " ms"),
                p99.median() <= FIRST_POLL_P99_MS,
                "<= 2 s",
            )
        },
        Figure::stated(format!("start to ready with {jobs} jobs in flight"), ready.show(0, " ms"), String::new()),
    ])
}

async fn wait_polled(simulator: &Simulator, jobs: u64) -> Outcome {
    let started = Instant::now();
    let mut polled = 0;
    while started.elapsed() < POLLED_BOUND {
        (_, polled) = simulator.count_polls().await?;
        if polled >= jobs {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
    Err(format!("{polled} of {jobs} jobs were polled within {POLLED_BOUND:?}"))
}

fn now_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// The floor: the same polls as fast as they go, in a fresh process.
async fn raw_loop(bench: &Bench, folder: &Path, simulator: &Simulator) -> Outcome<PollsResult> {
    let result = folder.join("raw.json");
    let mut command = Command::new(bench.binaries.join("longtake-bench"));
    command.args(["raw-polls", "--url", &simulator.url(), "--interval-ms", "0", "--ledger"]).arg(&simulator.ledger);
    command.arg("--result").arg(&result);
    Process::start("the raw loop", &mut command, &folder.join("raw.log"))?.finish(POLLED_BOUND).await?;
    read_result(&result)
}
