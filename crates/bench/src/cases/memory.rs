//! Memory while one large video passes: from the provider into the store, and out again to a client. Once with files,
//! once with a bucket.

use std::time::Duration;

use longtake_testing::s3::{ACCESS_KEY_ID, BUCKET, SECRET_ACCESS_KEY, TestS3};
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
    let disk = pass(bench, "memory", "disk", "").await?;
    let s3 = TestS3::start();
    let url = s3.url();
    let storage = format!(
        "[storage]\nendpoint = \"{url}\"\nallow_http = true\naccess_key_id = \"{ACCESS_KEY_ID}\"\nsecret_access_key = \"{SECRET_ACCESS_KEY}\"\n"
    );
    let bucket = format!("artifacts = \"s3://{BUCKET}/bench\"\n{storage}");
    Ok(vec![disk, pass(bench, "memory-bucket", "bucket", &bucket).await?])
}

/// One video through one gateway, whose config begins with `settings`.
async fn pass(bench: &Bench, name: &str, place: &str, settings: &str) -> Outcome<Figure> {
    let folder = bench.fresh(name)?;
    let bytes = bench.pick(VIDEO_BYTES, VIDEO_BYTES_QUICK);
    let options = Options { duration_ms: 100, result_bytes: bytes, ..Options::default() };
    let simulator = Simulator::start(bench, &folder, &options).await?;
    let config = format!("{settings}{}", account(&simulator.url(), 200, 200, ""));
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
    Ok(Figure::absolute(
        format!("memory above idle while {} MiB pass, provider to {place} to client", bytes >> 20),
        format!("{:.1} MiB ({:.1} while storing; idle {:.1})", above(highest), above(stored), idle as f64 / 1_024.0),
        above(highest) <= ABOVE_IDLE_MIB,
        "<= 64 MiB",
    ))
}
