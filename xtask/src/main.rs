//! The commands of this repository: `cargo xtask --help`.
//!
//! `ci` runs every check, in order, and stops at the first that fails; the other commands are single pieces of it.
//! Absent: anything that a user of Longtake needs. Nothing here is part of the product's binary.
#![expect(clippy::print_stdout, reason = "a command line tool talks on standard output")]

mod bench;
mod ci;
mod clients;
mod docs_examples;
mod peers;
mod processes;
mod run;
mod server_process;
mod setup;
mod simulate;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What any command here may end with: a message for the person who ran it.
pub type Outcome<T = ()> = Result<T, String>;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Checks and tools of this repository")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every check in order, stopping at the first that fails. Example: cargo xtask ci --from test
    Ci(ci::Options),
    /// Check for what the other steps need and install what is missing. Example: cargo xtask setup --no-install
    Setup(setup::Options),
    /// Check the rules of this repository that compilers do not: sizes, headers, orphans, links, error pages
    Tidy,
    /// Run the official SDKs and the examples of docs/api.md against the real binaries
    Clients,
    /// Run the engine's simulation over many seeds. Example: cargo xtask simulate --seeds 10000 --from 1
    Simulate(simulate::Options),
    /// Run the whole crash matrix with real processes on PostgreSQL. Example: cargo xtask matrix C5 C7-F2
    Matrix(processes::MatrixOptions),
    /// Kill processes, database and network at random while videos are made. Example: cargo xtask chaos --minutes 10
    Chaos(processes::ChaosOptions),
    /// Measure the release binary against raw peers, in ratios of one run. Example: cargo xtask bench creates --quick
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let root = repository_root();
    let outcome = match Cli::parse().command {
        Command::Ci(options) => ci::run(&root, &options),
        Command::Setup(options) => setup::run(&root, &options),
        Command::Tidy => tidy::run(&root),
        Command::Clients => clients::run(&root),
        Command::Simulate(options) => simulate::run(&root, &options),
        Command::Matrix(options) => processes::matrix(&root, &options),
        Command::Chaos(options) => processes::chaos(&root, &options),
        Command::Bench(options) => bench::run(&root, &options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// The workspace's folder: the parent of this package.
fn repository_root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}
