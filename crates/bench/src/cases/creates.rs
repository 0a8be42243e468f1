//! Durable creates per second, against raw inserts on the same disk and against ourselves without durability.
//!
//! The engine is kept from consuming: it owns one job, which never ends. "Durability off" is the same binary with its
//! data directory in memory (tmpfs), where a sync costs nothing: a release has no such switch.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use longtake_testing::sim::Options;

use crate::gateway::{CLIENTS, Gateway, account, create_body};
use crate::http::{Connection, get, send_json};
use crate::load::{self, Load, Make, Until};
use crate::machine::{self, Place};
use crate::process::{Process, free_address};
use crate::report::{Figure, Verdict};
use crate::simulator::Simulator;
use crate::stats::Samples;
use crate::{Bench, Outcome};

/// Longer than any run: the one job that is owned stays so.
const NEVER_MS: u32 = 86_400_000;
/// Bars: product and gates of the engine.
const SHARE_OF_RAW: f64 = 0.5;
const SHARE_OF_MEMORY: f64 = 0.4;
const ABOVE_SYNC_MS: f64 = 0.3;
/// A folder in memory.
const MEMORY_FOLDER: &str = "/dev/shm";
const START_BOUND: Duration = Duration::from_secs(10);
const START_POLL: Duration = Duration::from_millis(5);

/// One side, over all repetitions.
#[derive(Default)]
struct Side {
    many: Samples,
    many_p99_ms: Samples,
    single_p50_ms: Samples,
}

impl Side {
    fn add(&mut self, (many, single): (Load, Load)) {
        self.many.push(many.per_second);
        self.many_p99_ms.push(many.latencies.at(99.0));
        self.single_p50_ms.push(single.latencies.at(50.0));
    }

    fn rate(&self) -> (String, f64) {
        let shown = format!("{}, p99 {:.1} ms", self.many.show(0, "/s"), self.many_p99_ms.median());
        (shown, self.many.median())
    }
}

pub async fn run(bench: &Bench) -> Outcome<Vec<Figure>> {
    let folder = bench.fresh("creates")?;
    let options = Options { duration_ms: NEVER_MS, ..Options::default() };
    let simulator = Simulator::start(bench, &folder, &options).await?;
    let memory = Path::new(MEMORY_FOLDER).join(format!("longtake-bench-{}", std::process::id()));
    let outcome = measure(bench, &folder, &memory, &simulator).await;
    if memory.exists() {
        std::fs::remove_dir_all(&memory).map_err(|error| format!("{}: {error}", memory.display()))?;
    }
    outcome
}

async fn measure(bench: &Bench, folder: &Path, memory: &Path, simulator: &Simulator) -> Outcome<Vec<Figure>> {
    let (mut ours, mut in_memory, mut raw, mut raw_off) =
        (Side::default(), Side::default(), Side::default(), Side::default());
    let (mut sync, mut above) = (Samples::default(), Samples::default());
    let has_memory = Path::new(MEMORY_FOLDER).is_dir();
    for repetition in 0..bench.repetitions() {
        let before = machine::sync_times(bench, Place::Rewrite)?.at(50.0);
        let loads = gateway(bench, folder, &folder.join(format!("data-{repetition}")), simulator).await?;
        let after = machine::sync_times(bench, Place::Rewrite)?.at(50.0);
        // The disk of a shared machine changes its pace: the syncs around the run are the measure.
        sync.push(f64::midpoint(before, after));
        above.push(loads.1.latencies.at(50.0) - f64::midpoint(before, after));
        ours.add(loads);
        raw.add(inserts(bench, folder, repetition, false).await?);
        raw_off.add(inserts(bench, folder, repetition, true).await?);
        if has_memory {
            in_memory.add(gateway(bench, folder, &memory.join(format!("data-{repetition}")), simulator).await?);
        }
    }
    let name = format!("durable creates, {CLIENTS} clients");
    let mut figures = vec![Figure::at_least(
        format!("{name}; peer: raw group-committed single-row inserts (axum, SQLite WAL, synchronous=FULL)"),
        ours.rate(),
        raw.rate(),
        SHARE_OF_RAW,
    )];
    if has_memory {
        let what = format!("{name}; peer: the same binary with durability off (data directory in memory)");
        figures.push(Figure::at_least(what, ours.rate(), in_memory.rate(), SHARE_OF_MEMORY));
    }
    let what = format!("{name}; peer: the raw server with synchronous=OFF");
    figures.push(Figure::stated(what, ours.rate().0, raw_off.rate().0));
    figures.push(Figure {
        peer: format!("4 KiB over old bytes + fsync: p50 {}", sync.show(2, " ms")),
        ratio: format!("+ {}", above.show(2, " ms")),
        ..Figure::absolute(
            "durable create, one client, p50",
            ours.single_p50_ms.show(2, " ms"),
            above.median() <= ABOVE_SYNC_MS,
            format!("<= 1 fsync + {ABOVE_SYNC_MS} ms"),
        )
    });
    figures.push(Figure {
        ratio: format!("{:.2}", ours.single_p50_ms.median() / raw.single_p50_ms.median()),
        verdict: Verdict::Stated,
        ..Figure::stated(
            "durable create, one client, p50; peer: raw insert",
            ours.single_p50_ms.show(2, " ms"),
            raw.single_p50_ms.show(2, " ms"),
        )
    });
    Ok(figures)
}

async fn gateway(bench: &Bench, folder: &Path, data: &Path, simulator: &Simulator) -> Outcome<(Load, Load)> {
    let account = account(&simulator.url(), u64::from(NEVER_MS), u64::from(NEVER_MS), "max_in_flight = 1");
    let config = format!("[worker]\nmax_owned = 1\n{account}");
    let gateway = Gateway::start(bench, folder, data, &config).await?;
    let loads = loads(bench, gateway.address, &gateway.creates("/v1/videos")).await;
    gateway.kill();
    loads
}

async fn inserts(bench: &Bench, folder: &Path, repetition: usize, off: bool) -> Outcome<(Load, Load)> {
    let address = free_address()?;
    let word = if off { "off" } else { "full" };
    let mut command = Command::new(bench.binaries.join("longtake-bench"));
    command.args(["raw-inserts", "--listen", &address.to_string(), "--database"]);
    command.arg(folder.join(format!("raw-{word}-{repetition}.db")));
    if off {
        command.arg("--off");
    }
    let mut process = Process::start("the raw server", &mut command, &folder.join("raw.log"))?;
    wait_for(&mut process, address).await?;
    let make: Make = Arc::new(move |number| send_json("POST", address, "/rows", None, &create_body(number)));
    loads(bench, address, &make).await
}

async fn wait_for(process: &mut Process, address: SocketAddr) -> Outcome {
    let started = Instant::now();
    while started.elapsed() < START_BOUND {
        if let Ok(mut connection) = Connection::open(address).await {
            return connection.exchange(&get(address, "/readyz", None)).await?.good("/readyz").map(drop);
        }
        process.still_running()?;
        tokio::time::sleep(START_POLL).await;
    }
    Err("the raw server did not start in time".to_owned())
}

/// Warms up, then measures many clients, then one.
async fn loads(bench: &Bench, address: SocketAddr, make: &Make) -> Outcome<(Load, Load)> {
    let seconds = |full, quick| Until::Time(Duration::from_secs(bench.pick(full, quick)));
    load::run(address, CLIENTS, seconds(1, 1), make).await?;
    let many = load::run(address, CLIENTS, seconds(6, 2), make).await?;
    let single = load::run(address, 1, seconds(3, 1), make).await?;
    Ok((many, single))
}
