//! Jobs end to end in a loop: create, poll each second, download, write and sync the file. Nothing survives a crash.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::calls::Client;
use super::write_result;
use crate::{Outcome, process};

/// Calls at once, and creates at once, as in the gateway's default config.
const CONCURRENCY: usize = 256;
const CREATES: usize = 64;
/// The schedule of polls, as the gateway is told.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// Most polls of one job.
const MAX_POLLS: usize = 120;

#[derive(clap::Args)]
pub struct Options {
    /// The simulator
    #[arg(long)]
    url: String,
    #[arg(long)]
    jobs: u64,
    /// Where the files go
    #[arg(long)]
    folder: PathBuf,
    /// Where the result goes
    #[arg(long)]
    result: PathBuf,
}

/// What it found out.
#[derive(Debug, Serialize, Deserialize)]
pub struct JobsResult {
    pub seconds: f64,
    pub cpu_ms: u64,
    pub polls: u64,
}

struct Shared {
    client: Client,
    calls: Semaphore,
    creates: Semaphore,
    folder: PathBuf,
}

pub async fn run(options: Options) -> Outcome {
    let shared = Arc::new(Shared {
        client: Client::new(&options.url)?,
        calls: Semaphore::new(CONCURRENCY),
        creates: Semaphore::new(CREATES),
        folder: options.folder,
    });
    let cpu_before = process::cpu_ms(std::process::id())?;
    let started = Instant::now();
    let mut tasks = JoinSet::new();
    for number in 0..options.jobs {
        let shared = Arc::clone(&shared);
        tasks.spawn(async move { one(&shared, number).await });
    }
    let mut polls = 0;
    while let Some(ended) = tasks.join_next().await {
        polls += ended.map_err(|error| error.to_string())??;
    }
    let seconds = started.elapsed().as_secs_f64();
    let cpu_ms = process::cpu_ms(std::process::id())?.saturating_sub(cpu_before);
    write_result(&options.result, &JobsResult { seconds, cpu_ms, polls })
}

/// One job; how many polls it took.
async fn one(shared: &Shared, number: u64) -> Outcome<u64> {
    let closed = |error: tokio::sync::AcquireError| error.to_string();
    let id = {
        let _permit = shared.creates.acquire().await.map_err(closed)?;
        shared.client.create(format!("a boat on a lake at dawn, number {number}")).await?.id
    };
    for polls in 1..=MAX_POLLS {
        tokio::time::sleep(POLL_INTERVAL).await;
        let _permit = shared.calls.acquire().await.map_err(closed)?;
        match shared.client.poll(&id).await?.status.as_str() {
            "queued" | "in_progress" => {}
            "completed" => {
                keep(shared, &id).await?;
                return Ok(polls as u64);
            }
            other => return Err(format!("{id} is {other}")),
        }
    }
    Err(format!("{id} was not completed after {MAX_POLLS} polls"))
}

/// Downloads into a file under another name, syncs it, gives it its name and syncs the folder.
async fn keep(shared: &Shared, id: &str) -> Outcome {
    let path = shared.folder.join(format!("{id}.mp4"));
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let part = path.with_extension("part");
    let mut answer = shared.client.content(id).await?;
    let mut file = tokio::fs::File::create(&part).await.map_err(failed)?;
    while let Some(piece) = answer.chunk().await.map_err(|error| error.to_string())? {
        file.write_all(&piece).await.map_err(failed)?;
    }
    file.flush().await.map_err(failed)?;
    file.sync_all().await.map_err(failed)?;
    let folder = shared.folder.clone();
    let named = tokio::task::spawn_blocking(move || name_and_sync(&part, &path, &folder)).await;
    named.map_err(|error| error.to_string())?
}

fn name_and_sync(part: &Path, path: &Path, folder: &Path) -> Outcome {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    std::fs::rename(part, path).map_err(failed)?;
    std::fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}
