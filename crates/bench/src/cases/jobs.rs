//! Jobs per second from create to stored bytes, against a loop that makes the same calls and syncs the same files.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use longtake_testing::sim::Options;

use crate::gateway::{Gateway, account};
use crate::process::{Process, cpu_ms};
use crate::raw::jobs::JobsResult;
use crate::raw::read_result;
use crate::report::Figure;
use crate::simulator::Simulator;
use crate::stats::Samples;
use crate::{Bench, Outcome};

const JOBS: u64 = 2_000;
const JOBS_QUICK: u64 = 200;
const RESULT_BYTES: u64 = 64 * 1024;
/// The provider's time for a video.
const WORK_MS: u32 = 2_000;
const POLL_MS: u64 = 1_000;
const SHARE_OF_RAW: f64 = 0.5;
/// Longest time for all jobs.
const BOUND: Duration = Duration::from_secs(180);

pub async fn run(bench: &Bench) -> Outcome<Vec<Figure>> {
    let folder = bench.fresh("jobs")?;
    let jobs = bench.pick(JOBS, JOBS_QUICK);
    let (mut ours, mut raw) = (Samples::default(), Samples::default());
    let (mut ours_cpu, mut raw_cpu) = (Samples::default(), Samples::default());
    for repetition in 0..bench.repetitions() {
        let (seconds, cpu) = gateway(bench, &folder.join(format!("ours-{repetition}")), jobs).await?;
        ours.push(jobs as f64 / seconds);
        ours_cpu.push(cpu as f64 / jobs as f64);
        let result = raw_loop(bench, &folder.join(format!("raw-{repetition}")), jobs).await?;
        raw.push(jobs as f64 / result.seconds);
        raw_cpu.push(result.cpu_ms as f64 / jobs as f64);
    }
    let what = format!(
        "jobs end to end, N = {jobs}, {} KiB each, provider {} s, polls {} s; peer: raw loop, same calls, same files synced",
        RESULT_BYTES / 1024,
        WORK_MS / 1_000,
        POLL_MS / 1_000
    );
    let shown = |samples: &Samples| (samples.show(0, " jobs/s"), samples.median());
    Ok(vec![
        Figure::at_least(what, shown(&ours), shown(&raw), SHARE_OF_RAW),
        Figure::stated("CPU of a job end to end", ours_cpu.show(2, " ms"), raw_cpu.show(2, " ms")),
    ])
}

async fn simulator(bench: &Bench, folder: &Path) -> Outcome<Simulator> {
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let options = Options { duration_ms: WORK_MS, result_bytes: RESULT_BYTES, ..Options::default() };
    Simulator::start(bench, folder, &options).await
}

async fn gateway(bench: &Bench, folder: &Path, jobs: u64) -> Outcome<(f64, u64)> {
    let simulator = simulator(bench, folder).await?;
    let config = account(&simulator.url(), POLL_MS, POLL_MS, "");
    let mut gateway = Gateway::start(bench, folder, &folder.join("data"), &config).await?;
    let before = cpu_ms(gateway.pid())?;
    let started = Instant::now();
    gateway.create_many(jobs).await?;
    gateway.wait_metric("longtake_jobs_completed", jobs, BOUND).await?;
    let seconds = started.elapsed().as_secs_f64();
    let cpu = cpu_ms(gateway.pid())?.saturating_sub(before);
    gateway.kill();
    Ok((seconds, cpu))
}

async fn raw_loop(bench: &Bench, folder: &Path, jobs: u64) -> Outcome<JobsResult> {
    let simulator = simulator(bench, folder).await?;
    let (files, result) = (folder.join("files"), folder.join("result.json"));
    std::fs::create_dir_all(&files).map_err(|error| format!("{}: {error}", files.display()))?;
    let mut command = Command::new(bench.binaries.join("longtake-bench"));
    command.args(["raw-jobs", "--url", &simulator.url(), "--jobs", &jobs.to_string(), "--folder"]).arg(&files);
    command.arg("--result").arg(&result);
    Process::start("the raw loop", &mut command, &folder.join("raw.log"))?.finish(BOUND).await?;
    read_result(&result)
}
