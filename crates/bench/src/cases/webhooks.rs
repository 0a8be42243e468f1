//! How soon after its commit an event is at a receiver: a burst of 200, and with half of the receivers dead.
//!
//! Arrivals are taken from the wall clock of this machine, commits from the rows.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use longtake_testing::sim::Options;
use rusqlite::{Connection as Database, OpenFlags};

use crate::gateway::{Gateway, account};
use crate::receiver::{CONFIG, Receivers};
use crate::report::Figure;
use crate::simulator::Simulator;
use crate::stats::Latencies;
use crate::{Bench, Outcome};

/// Creates of one burst.
const BURST: u64 = 200;
/// What becomes of a create here: it is queued, submitted, accepted.
const EVENTS: usize = 3;
const RECEIVERS: usize = 10;
/// Longest time until everything has arrived.
const BOUND: Duration = Duration::from_secs(60);
const P95_MS: f64 = 100.0;
/// Until the first poll of a job, in milliseconds: none is made here.
const POLL_MS: u64 = 600_000;

/// Who is told of what.
#[derive(Clone, Copy)]
struct Case {
    what: &'static str,
    receivers: usize,
    /// Of them, those that never answer.
    dead: usize,
    /// Types of events that they want; all, if none.
    types: &'static [&'static str],
    /// Whether the bar is meant for this one.
    has_bar: bool,
}

impl Case {
    const fn wanted(&self) -> usize {
        let events = if self.types.is_empty() { EVENTS } else { self.types.len() };
        (self.receivers - self.dead) * events
    }
}

pub async fn run(bench: &Bench) -> Outcome<Vec<Figure>> {
    let folder = bench.fresh("webhooks")?;
    let queued: &[&str] = &["video.queued"];
    let (ten, five) = ("ten receivers", "ten receivers of which five never answer");
    let cases = [
        Case { what: "one receiver", receivers: 1, dead: 0, types: queued, has_bar: true },
        Case { what: "two receivers of which one never answers", receivers: 2, dead: 1, types: queued, has_bar: true },
        Case { what: five, receivers: RECEIVERS, dead: RECEIVERS / 2, types: queued, has_bar: false },
        Case { what: "one receiver", receivers: 1, dead: 0, types: &[], has_bar: false },
        Case { what: ten, receivers: RECEIVERS, dead: 0, types: &[], has_bar: false },
        Case { what: five, receivers: RECEIVERS, dead: RECEIVERS / 2, types: &[], has_bar: false },
    ];
    let mut figures = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let latencies = measure(bench, &folder.join(number.to_string()), case).await?;
        let events = BURST * if case.types.is_empty() { EVENTS as u64 } else { 1 };
        let name = format!(
            "webhooks: commit to arrival, a burst of {events} events of {BURST} creates, {}, {} deliveries",
            case.what,
            latencies.len()
        );
        let told =
            format!("p50 {:.1}, p95 {:.1}, p99 {:.1} ms", latencies.at(50.0), latencies.at(95.0), latencies.at(99.0));
        figures.push(if case.has_bar {
            Figure::absolute(name, told, latencies.at(95.0) <= P95_MS, format!("p95 <= {P95_MS:.0} ms"))
        } else {
            Figure::stated(name, told, String::new())
        });
    }
    Ok(figures)
}

async fn measure(bench: &Bench, folder: &Path, case: &Case) -> Outcome<Latencies> {
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let simulator = Simulator::start(bench, folder, &Options { duration_ms: u32::MAX, ..Options::default() }).await?;
    let config = format!("{CONFIG}{}", account(&simulator.url(), POLL_MS, POLL_MS, ""));
    let data = folder.join("data");
    let gateway = Gateway::start(bench, folder, &data, &config).await?;
    let receivers = Receivers::start(case.dead).await?;
    for receiver in 0..case.receivers {
        receivers.subscribe(&gateway, receiver, case.types).await?;
    }
    gateway.create_many(BURST).await?;
    let wanted = usize::try_from(BURST).unwrap_or(usize::MAX) * case.wanted();
    receivers.wait(wanted, BOUND).await?;
    let commits = commits(&data.join("longtake.db"))?;
    gateway.kill();
    let arrivals = receivers.take();
    let latencies = arrivals.iter().map(|((_, event), at)| {
        let committed = commits.get(event).ok_or_else(|| format!("{event} arrived and is no event"))?;
        Ok(u64::try_from(at - committed).unwrap_or(0))
    });
    Ok(Latencies::of_micros(latencies.collect::<Outcome<Vec<u64>>>()?))
}

/// When each event was committed, in microseconds since the Unix epoch, by its public id.
fn commits(database: &Path) -> Outcome<HashMap<String, i64>> {
    let failed = |error: rusqlite::Error| format!("{}: {error}", database.display());
    let rows = Database::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(failed)?;
    let sql = "select 'evt_video_' || lower(hex(job)) || '_' || ver, at from event";
    let mut statement = rows.prepare(sql).map_err(failed)?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).map_err(failed)?;
    rows.collect::<Result<_, _>>().map_err(failed)
}
