//! What the figures were measured on; above all, how long its disk takes for one durable write.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;
use std::time::Instant;

use crate::stats::Latencies;
use crate::{Bench, Outcome};

/// One write of the probe: a page of the database.
const PAGE_BYTES: usize = 4_096;
/// Writes of the probe.
const SYNCS: usize = 500;
const SYNCS_QUICK: usize = 100;

/// Cores, processor, kernel, disk and load in one line.
pub fn describe(bench: &Bench) -> Outcome<String> {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown processor", |(_, name)| name);
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').take(3).collect::<Vec<_>>().join(" ");
    let appended = sync_times(bench, Place::Append)?;
    let rewritten = sync_times(bench, Place::Rewrite)?;
    Ok(format!(
        "{cores} cores, {model}, Linux {}; 4 KiB append + fsync: {} ({} of them); 4 KiB over old bytes + fsync: {}; \
         load average before: {load}",
        kernel.trim(),
        appended.show(),
        appended.len(),
        rewritten.show()
    ))
}

/// Where the probe writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// The file grows: its length and its blocks must be durable too.
    Append,
    /// Over bytes that are there, as a database does with its log most of the time: the least a durable write costs.
    Rewrite,
}

/// How long a page takes to be durable, on the disk that is measured.
pub fn sync_times(bench: &Bench, place: Place) -> Outcome<Latencies> {
    let path = bench.folder.join("sync-probe");
    let count = bench.pick(SYNCS, SYNCS_QUICK);
    let times = probe(&path, count, place).map_err(|error| format!("{}: {error}", path.display()))?;
    std::fs::remove_file(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(times)
}

fn probe(path: &Path, count: usize, place: Place) -> std::io::Result<Latencies> {
    let mut file = File::create(path)?;
    let page = [7_u8; PAGE_BYTES];
    if place == Place::Rewrite {
        file.write_all(&page.repeat(count))?;
        file.sync_all()?;
        file.rewind()?;
    }
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        file.write_all(&page)?;
        file.sync_all()?;
        times.push(started.elapsed());
    }
    Ok(Latencies::of(times))
}
