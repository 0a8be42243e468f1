//! `longtake-sim`: the simulator of vendors in a process of its own, so that it outlives a killed gateway.
//!
//! The first line of its output is `listening on http://…`. Its ledger file is read back at the next start.
#![expect(clippy::expect_used, reason = "a simulator for tests: a broken one should stop the test")]

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use longtake_testing::sim::{Options, Simulator};

/// Simulates video vendors with a billing ledger on disk and faults on request.
#[derive(Debug, Parser)]
#[command(name = "longtake-sim", version)]
struct Arguments {
    /// Address to listen on; port 0 lets the system choose.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// Ledger file; made if it is not there, read back if it is.
    #[arg(long)]
    ledger: Option<PathBuf>,
    /// Options as a JSON object; only the differences from the defaults.
    #[arg(long, default_value = "{}")]
    options: String,
    /// A file that gets the URL, once it listens.
    #[arg(long)]
    port_file: Option<PathBuf>,
}

fn main() {
    let arguments = Arguments::parse();
    let mut options: Options = serde_json::from_str(&arguments.options).expect("--options is valid");
    options.listen = arguments.listen.unwrap_or(options.listen);
    options.ledger = arguments.ledger.or(options.ledger);
    let simulator = Simulator::start(options);
    let url = simulator.url();
    let mut out = std::io::stdout();
    writeln!(out, "listening on {url}").and_then(|()| out.flush()).expect("the first line can be written");
    if let Some(path) = arguments.port_file {
        // Renamed into place: whoever waits for the file never reads half of it.
        let part = path.with_extension("part");
        std::fs::write(&part, &url).and_then(|()| std::fs::rename(&part, &path)).expect("--port-file can be written");
    }
    simulator.serve_forever();
}
