//! The figures of the product, measured against raw peers in the same run: `cargo xtask bench`.
//!
//! Drives the release binary over loopback as its users do: a child process with a fresh data directory, the simulator
//! of vendors in another, and peers that do the same work without Longtake ([`raw`]) in processes of their own.
//! A missed bar is a line in the report, not an error; an error is a figure that could not be measured.
//! Absent: timed tests; machines differ, so only ratios of one run say anything.
#![expect(clippy::print_stdout, reason = "a command line tool talks on standard output")]
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real time; nothing here is simulated")]

mod cases;
mod gateway;
mod http;
mod live;
mod load;
mod machine;
mod postgres;
mod process;
mod raw;
mod receiver;
mod report;
mod simulator;
mod stats;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};

use crate::report::Report;

/// Where data and the report go.
const DEFAULT_FOLDER: &str = "target/bench";

/// What anything here may end with: a message for the person who ran it.
pub type Outcome<T = ()> = Result<T, String>;

#[derive(Parser)]
#[command(name = "longtake-bench", about = "Figures of Longtake against raw peers, in one run")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure. Example: longtake-bench run creates download --quick
    Run(RunOptions),
    /// Peer: single-row inserts over HTTP with group commit
    RawInserts(raw::inserts::Options),
    /// Peer: the polls of many jobs in a loop
    RawPolls(raw::polls::Options),
    /// Peer: creates, polls and downloads in a loop, files written and synced
    RawJobs(raw::jobs::Options),
    /// The queues of others alone, on a PostgreSQL server that runs already
    PostgresPeers(postgres::peers::Options),
}

#[derive(clap::Args)]
struct RunOptions {
    /// Which figures; `postgres` is all that need PostgreSQL. If none is named: all that need none
    names: Vec<String>,
    /// Small numbers, one repetition: to see whether it works
    #[arg(long)]
    quick: bool,
    /// The whole size where a case has one: 1 million jobs in flight beside 10 million finished ones; takes long
    #[arg(long)]
    full: bool,
    /// Folder for data and the report
    #[arg(long, default_value = DEFAULT_FOLDER)]
    folder: PathBuf,
}

/// What every case is given.
#[derive(Clone)]
pub struct Bench {
    /// Folder of `longtake`, `longtake-sim` and this program.
    binaries: PathBuf,
    /// Folder for everything that is written; on the disk that is measured.
    folder: PathBuf,
    quick: bool,
    /// Rows by the ten million, where a case has such a size.
    full: bool,
}

impl Bench {
    /// Makes the folder; the other binaries stand beside this one.
    fn open(folder: &Path, quick: bool, full: bool) -> Outcome<Self> {
        let here = std::env::current_exe().map_err(|error| format!("own path unknown: {error}"))?;
        let binaries = here.parent().ok_or("own path has no folder")?.to_path_buf();
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let folder = folder.canonicalize().map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(Self { binaries, folder, quick, full })
    }

    /// One of two numbers.
    fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }

    /// Repetitions of a short run.
    fn repetitions(&self) -> usize {
        self.pick(3, 1)
    }

    /// A new empty folder.
    fn fresh(&self, name: &str) -> Outcome<PathBuf> {
        let folder = self.folder.join(name);
        let failed = |error: std::io::Error| format!("{}: {error}", folder.display());
        if folder.exists() {
            std::fs::remove_dir_all(&folder).map_err(failed)?;
        }
        std::fs::create_dir_all(&folder).map_err(failed)?;
        Ok(folder)
    }
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(options) => client_runtime().and_then(|runtime| runtime.block_on(run(&options))),
        Command::RawInserts(options) => {
            server_runtime().and_then(|runtime| runtime.block_on(raw::inserts::run(options)))
        }
        Command::RawPolls(options) => server_runtime().and_then(|runtime| runtime.block_on(raw::polls::run(options))),
        Command::RawJobs(options) => server_runtime().and_then(|runtime| runtime.block_on(raw::jobs::run(options))),
        Command::PostgresPeers(options) => client_runtime().and_then(|runtime| runtime.block_on(run_peers(&options))),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// One thread: the load must not take more of the machine than it has to.
fn client_runtime() -> Outcome<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| format!("no runtime: {error}"))
}

/// As the gateway's: a thread for each core.
fn server_runtime() -> Outcome<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| format!("no runtime: {error}"))
}

async fn run_peers(options: &postgres::peers::Options) -> Outcome {
    let bench = Bench::open(Path::new(DEFAULT_FOLDER), false, false)?;
    for line in postgres::peers::run(&bench, options).await? {
        println!("{line}");
    }
    Ok(())
}

async fn run(options: &RunOptions) -> Outcome {
    let bench = Bench::open(&options.folder, options.quick, options.full)?;
    let chosen = cases::chosen(&options.names)?;
    let mut report = Report::new(machine::describe(&bench)?, bench.quick);
    let mut failed = Vec::new();
    println!("{}", report.machine());
    for case in chosen {
        println!("\n=== {}: {}", case.name, case.title);
        let started = Instant::now();
        match (case.run)(&bench).await {
            Ok(figures) => {
                for figure in figures {
                    println!("{}", figure.line());
                    report.add(figure);
                }
            }
            Err(message) => {
                eprintln!("{} could not be measured: {message}", case.name);
                failed.push(case.name);
            }
        }
        println!("--- {} took {:.1} s", case.name, started.elapsed().as_secs_f64());
        // After each case: what was measured is kept whatever comes.
        report.write(&bench.folder.join("report.md"))?;
    }
    println!("\n{}\nreport: {}", report.markdown(), bench.folder.join("report.md").display());
    if failed.is_empty() { Ok(()) } else { Err(format!("not measured: {}", failed.join(", "))) }
}
