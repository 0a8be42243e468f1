//! Memory while one large video passes: from the provider into the store, and out again to a client.

use std::time::Duration;

use longtake_testing::sim::Options;

use crate::gateway::{Gateway, account};
use crate::http::Connection;
use crate::process::{MemoryWatch, resident_kib};
use crate::report::Figure;
use crate::simulator::Simulator;
use crate::{Bench, Outcome};

const VIDEO_BYTES: u64 = 2 << 30;
const VIDEO_BYTES_QUICK: u64 = 256 << 20;
const ABOVE_IDLE_MIB: f64 = 64.0;
const SETTLE: Duration = Duration::from_secs(2);
/// Longest time for either way.
const BOUND: Duration = Duration::from_secs(300);

pub async fn run(bench: &Bench) -> Outcome<Vec<Figure>> {
    let folder = bench.fresh("memory")?;
    let bytes = bench.pick(VIDEO_BYTES, VIDEO_BYTES_QUICK);
    let options = Options { duration_ms: 100, result_bytes: bytes, ..Options::default() };
    let simulator = Simulator::start(bench, &folder, &options).await?;
    let config = account(&simulator.url(), 200, 200, "");
    let gateway = Gateway::start(bench, &folder, &folder.join("data"), &config).await?;
    tokio::time::sleep(SETTLE).await;
    let idle = resident_kib(gateway.pid())?;
    let watch = MemoryWatch::start(gateway.pid());
    let id = gateway.create("a very long take").await?;
    gateway.wait_completed(&id, BOUND).await?;
    let stored = watch.highest_kib();
    let got = Connection::open(gateway.address).await?.drain(&gateway.content(&id), BOUND).await?;
    let highest = watch.highest_kib();
    drop(watch);
    gateway.kill();
    if got < bytes {
        return Err(format!("{got} of {bytes} bytes came back"));
    }
    std::fs::remove_dir_all(folder.join("data")).map_err(|error| format!("the data directory: {error}"))?;
    let above = |kib: u64| kib.saturating_sub(idle) as f64 / 1_024.0;
    Ok(vec![Figure::absolute(
        format!("memory above idle while {} MiB pass, provider to disk to client", bytes >> 20),
        format!("{:.1} MiB ({:.1} while storing; idle {:.1})", above(highest), above(stored), idle as f64 / 1_024.0),
        above(highest) <= ABOVE_IDLE_MIB,
        "<= 64 MiB",
    )])
}
