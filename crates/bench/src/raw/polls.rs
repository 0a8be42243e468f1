//! The polls of many jobs in a loop: what asking costs when nothing is kept and nothing is decided.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longtake_testing::sim::Ledger;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::calls::Client;
use super::write_result;
use crate::stats::Latencies;
use crate::{Outcome, process};

/// Calls at once, as in the gateway's default config.
const CONCURRENCY: usize = 256;

#[derive(clap::Args)]
pub struct Options {
    /// The simulator
    #[arg(long)]
    url: String,
    /// Its ledger: whose jobs to poll
    #[arg(long)]
    ledger: PathBuf,
    /// The schedule: each job is polled once in this time; 0 is as fast as it goes
    #[arg(long)]
    interval_ms: u64,
    /// Where the result goes
    #[arg(long)]
    result: PathBuf,
}

/// What it found out.
#[derive(Debug, Serialize, Deserialize)]
pub struct PollsResult {
    pub polls: u64,
    pub cpu_ms: u64,
    pub seconds: f64,
    /// How much later than planned a poll began.
    pub lag_p99_ms: f64,
    /// When polls were answered, since the start.
    pub answered_p99_ms: f64,
}

pub async fn run(options: Options) -> Outcome {
    let client = Client::new(&options.url)?;
    let ledger = Ledger::read(&options.ledger).map_err(|error| format!("{}: {error}", options.ledger.display()))?;
    let jobs: Vec<String> = ledger.jobs().iter().map(|entry| entry.provider_job.clone()).collect();
    drop(ledger);
    let permits = Arc::new(Semaphore::new(CONCURRENCY));
    let count = u32::try_from(jobs.len().max(1)).unwrap_or(u32::MAX);
    let step = Duration::from_millis(options.interval_ms) / count;
    let cpu_before = process::cpu_ms(std::process::id())?;
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    let mut times = Vec::with_capacity(jobs.len());
    let mut planned = Duration::ZERO;
    for id in jobs {
        // A timer takes a millisecond at least: none is set for what is due.
        let wait = planned.saturating_sub(started.elapsed());
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        let permit = Arc::clone(&permits).acquire_owned().await.map_err(|error| error.to_string())?;
        let (client, plan) = (client.clone(), planned);
        tasks.spawn(async move {
            let _permit = permit;
            let lag = started.elapsed().saturating_sub(plan);
            let video = client.poll(&id).await?;
            if video.id != id || !matches!(video.status.as_str(), "queued" | "in_progress") {
                return Err(format!("{id} is {}", video.status));
            }
            Ok((lag, started.elapsed()))
        });
        while let Some(ended) = tasks.try_join_next() {
            times.push(ended.map_err(|error| error.to_string())??);
        }
        planned += step;
    }
    while let Some(ended) = tasks.join_next().await {
        times.push(ended.map_err(|error| error.to_string())??);
    }
    let result = PollsResult {
        polls: u64::try_from(times.len()).unwrap_or(u64::MAX),
        cpu_ms: process::cpu_ms(std::process::id())?.saturating_sub(cpu_before),
        seconds: started.elapsed().as_secs_f64(),
        lag_p99_ms: Latencies::of(times.iter().map(|(lag, _)| *lag)).at(99.0),
        answered_p99_ms: Latencies::of(times.iter().map(|(_, answered)| *answered)).at(99.0),
    };
    write_result(&options.result, &result)
}
