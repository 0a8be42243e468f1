//! The simulator of vendors in a process of its own, and what it saw of our polls.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use longtake_testing::sim::Options;
use serde::Deserialize;

use crate::http::{Connection, get, send_json};
use crate::process::{Process, free_address};
use crate::{Bench, Outcome};

/// Longest time to start.
const START_BOUND: Duration = Duration::from_secs(10);
const START_POLL: Duration = Duration::from_millis(5);

/// A running `longtake-sim`.
pub struct Simulator {
    _process: Process,
    pub address: SocketAddr,
    pub ledger: PathBuf,
}

/// The polls since the recording began; times in microseconds since the Unix epoch.
#[derive(Debug, Deserialize)]
pub struct Polls {
    /// When each job was first polled.
    pub first_at: Vec<u64>,
    /// Times between two polls of the same job.
    pub intervals_us: Vec<u64>,
}

#[derive(Deserialize)]
struct Count {
    polls: u64,
    jobs: u64,
}

impl Simulator {
    /// Starts it with its ledger in `folder`.
    pub async fn start(bench: &Bench, folder: &Path, options: &Options) -> Outcome<Self> {
        let address = free_address()?;
        let ledger = folder.join("ledger.jsonl");
        let json = serde_json::to_string(options).map_err(|error| format!("options: {error}"))?;
        let mut command = Command::new(bench.binaries.join("longtake-sim"));
        command.args(["--listen", &address.to_string(), "--options", &json]).arg("--ledger").arg(&ledger);
        let mut process = Process::start("longtake-sim", &mut command, &folder.join("simulator.log"))?;
        let started = Instant::now();
        while Connection::open(address).await.is_err() {
            process.still_running()?;
            if started.elapsed() > START_BOUND {
                return Err("longtake-sim did not start in time".to_owned());
            }
            tokio::time::sleep(START_POLL).await;
        }
        Ok(Self { _process: process, address, ledger })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Forgets what it recorded of polls and begins anew.
    pub async fn record_polls(&self) -> Outcome {
        let mut connection = Connection::open(self.address).await?;
        let request = send_json("PUT", self.address, "/_sim/polls", None, "");
        connection.exchange(&request).await?.good("the start of the recording").map(drop)
    }

    /// Polls so far, and jobs polled.
    pub async fn count_polls(&self) -> Outcome<(u64, u64)> {
        let count: Count = self.read("/_sim/polls/count").await?;
        Ok((count.polls, count.jobs))
    }

    /// Everything recorded.
    pub async fn polls(&self) -> Outcome<Polls> {
        self.read("/_sim/polls").await
    }

    async fn read<T: for<'de> Deserialize<'de>>(&self, path: &str) -> Outcome<T> {
        let mut connection = Connection::open(self.address).await?;
        let body = connection.exchange(&get(self.address, path, None)).await?.good(path)?;
        serde_json::from_slice(&body).map_err(|error| format!("{path}: {error}"))
    }
}
