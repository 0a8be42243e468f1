//! Very many jobs in flight in one process: memory of each, how late polls begin, what a poll costs.
//!
//! The simulator records the time between two polls of the same job; what it is above the schedule is lag, with one
//! round trip in it, so the figure is an upper bound.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use longtake_testing::sim::Options;

use crate::gateway::{Gateway, account};
use crate::load::Load;
use crate::process::{Process, cpu_ms, resident_kib};
use crate::raw::polls::PollsResult;
use crate::raw::read_result;
use crate::report::Figure;
use crate::simulator::Simulator;
use crate::stats::Latencies;
use crate::{Bench, Outcome};

const JOBS: u64 = 100_000;
const JOBS_QUICK: u64 = 2_000;
/// The schedule.
const POLL_MS: u64 = 60_000;
const POLL_MS_QUICK: u64 = 5_000;
/// Longer than any run.
const NEVER_MS: u32 = 86_400_000;
const BYTES_PER_JOB: f64 = 2_048.0;
const LAG_P99_MS: f64 = 1_000.0;
const CPU_OF_RAW: f64 = 2.0;
/// Before the base is read.
const SETTLE: Duration = Duration::from_secs(3);
/// Longest time for all submissions.
const SUBMIT_BOUND: Duration = Duration::from_secs(600);
/// Longest time for the raw loop beyond its schedule.
const RAW_BOUND: Duration = Duration::from_secs(120);

/// What one run of ours showed.
struct Seen {
    base_kib: u64,
    submitted_kib: u64,
    polling_kib: u64,
    created: Load,
    /// Beyond the schedule.
    lags: Latencies,
    own_mean_lag_ms: f64,
    polls: u64,
    cpu_ms: u64,
}

pub async fn run(bench: &Bench) -> Outcome<Vec<Figure>> {
    let folder = bench.fresh("in-flight")?;
    let (jobs, schedule) = (bench.pick(JOBS, JOBS_QUICK), Duration::from_millis(bench.pick(POLL_MS, POLL_MS_QUICK)));
    let options = Options { duration_ms: NEVER_MS, ..Options::default() };
    let simulator = Simulator::start(bench, &folder, &options).await?;
    let seen = ours(bench, &folder, &simulator, jobs, schedule).await?;
    let raw = raw_loop(bench, &folder, &simulator, schedule).await?;
    let mut figures = figures(&seen, jobs, schedule);
    let each = |cpu_ms: u64, polls: u64| cpu_ms as f64 / polls.max(1) as f64;
    let (own, peer) = (each(seen.cpu_ms, seen.polls), each(raw.cpu_ms, raw.polls));
    let rate = jobs as f64 / schedule.as_secs_f64();
    figures.push(Figure::at_most(
        format!("CPU of a poll at {rate:.0} polls/s; peer: raw loop, same library, same polls"),
        (format!("{own:.3} ms"), own),
        (format!("{peer:.3} ms, lag p99 {:.0} ms", raw.lag_p99_ms), peer),
        CPU_OF_RAW,
    ));
    Ok(figures)
}

async fn ours(bench: &Bench, folder: &Path, simulator: &Simulator, jobs: u64, schedule: Duration) -> Outcome<Seen> {
    let schedule_ms = u64::try_from(schedule.as_millis()).unwrap_or(u64::MAX);
    let account = account(&simulator.url(), schedule_ms, schedule_ms, "");
    let config = format!("[worker]\nmax_owned = {}\n{account}", jobs + 1_000);
    let mut gateway = Gateway::start(bench, folder, &folder.join("data"), &config).await?;
    tokio::time::sleep(SETTLE).await;
    let base_kib = resident_kib(gateway.pid())?;
    let created = gateway.create_many(jobs).await?;
    gateway.wait_metric("longtake_submits_accepted", jobs, SUBMIT_BOUND).await?;
    let submitted_kib = resident_kib(gateway.pid())?;
    simulator.record_polls().await?;
    // One schedule for the first poll of each; a second one, whose polls give the intervals, is measured.
    tokio::time::sleep(schedule).await;
    let (polls_before, _) = simulator.count_polls().await?;
    let cpu_before = cpu_ms(gateway.pid())?;
    tokio::time::sleep(schedule).await;
    let (polls_after, polled) = simulator.count_polls().await?;
    let cpu_ms = cpu_ms(gateway.pid())?.saturating_sub(cpu_before);
    let polling_kib = resident_kib(gateway.pid())?;
    let intervals = simulator.polls().await?.intervals_us;
    let lags = Latencies::of_micros(intervals.into_iter().map(|us| us.saturating_sub(schedule_ms * 1_000)));
    let owned = gateway.metric("longtake_owned").await?;
    let lag_secs = gateway.metric("longtake_poll_lag_seconds").await?;
    let own_mean_lag_ms = lag_secs * 1_000.0 / gateway.metric("longtake_polls").await?.max(1.0);
    gateway.kill();
    if owned < jobs as f64 || polled < jobs {
        return Err(format!("{owned} of {jobs} jobs were owned, {polled} were polled"));
    }
    let polls = polls_after.saturating_sub(polls_before);
    Ok(Seen { base_kib, submitted_kib, polling_kib, created, lags, own_mean_lag_ms, polls, cpu_ms })
}

fn figures(seen: &Seen, jobs: u64, schedule: Duration) -> Vec<Figure> {
    let mib = |kib: u64| kib as f64 / 1_024.0;
    let each = seen.polling_kib.saturating_sub(seen.base_kib) as f64 * 1_024.0 / jobs as f64;
    let memory = format!(
        "{each:.0} B each ({:.0} MiB idle, {:.0} MiB after all submissions, {:.0} MiB while polling)",
        mib(seen.base_kib),
        mib(seen.submitted_kib),
        mib(seen.polling_kib)
    );
    let lags = &seen.lags;
    let lag = format!(
        "p99 {:.0} ms, p50 {:.0} ms, highest {:.0} ms ({} intervals; own mean {:.1} ms)",
        lags.at(99.0),
        lags.at(50.0),
        lags.at(100.0),
        lags.len(),
        seen.own_mean_lag_ms
    );
    let created = format!("{:.0}/s, p99 {:.1} ms", seen.created.per_second, seen.created.latencies.at(99.0));
    let schedule = schedule.as_secs();
    vec![
        Figure::absolute(
            format!("memory of each of {jobs} jobs in flight above the base"),
            memory,
            each <= BYTES_PER_JOB,
            "<= 2 KiB",
        ),
        Figure::absolute(
            format!("lag of polls, {jobs} jobs, a poll of each every {schedule} s"),
            lag,
            lags.at(99.0) <= LAG_P99_MS,
            "p99 <= 1 s",
        ),
        Figure::stated(format!("creating {jobs} videos while they are submitted"), created, String::new()),
    ]
}

async fn raw_loop(bench: &Bench, folder: &Path, simulator: &Simulator, schedule: Duration) -> Outcome<PollsResult> {
    let result = folder.join("raw.json");
    let mut command = Command::new(bench.binaries.join("longtake-bench"));
    command.args(["raw-polls", "--url", &simulator.url(), "--interval-ms", &schedule.as_millis().to_string()]);
    command.arg("--ledger").arg(&simulator.ledger).arg("--result").arg(&result);
    Process::start("the raw loop", &mut command, &folder.join("raw.log"))?.finish(schedule + RAW_BOUND).await?;
    read_result(&result)
}
