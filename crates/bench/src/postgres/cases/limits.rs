//! Slots of one account over three workers: kept always, and used nearly always while jobs wait.

use std::time::Duration;

use longtake_testing::sim::{Ledger, Options};

use crate::gateway::{Gateway, account};
use crate::postgres::nodes::Deployment;
use crate::postgres::server::{Server, Sql};
use crate::report::Figure;
use crate::simulator::Simulator;
use crate::{Bench, Outcome};

const SLOTS: u64 = 60;
const USED_PERCENT: f64 = 95.0;
/// The provider's time for a video: within it a slot is used, between two of them it is not.
const WORK_MS: u32 = 10_000;
const WORK_MS_QUICK: u32 = 3_000;
const POLL_MS: u64 = 250;
/// Rounds of all slots that are looked at, and as many jobs more that still wait at the end.
const ROUNDS: u64 = 3;
const BOUND: Duration = Duration::from_secs(60);

pub async fn run(bench: &Bench) -> Outcome<Vec<Figure>> {
    let folder = bench.fresh("postgres-limits")?;
    let server = Server::start(bench)?;
    let url = server.database("limits");
    let work_ms = bench.pick(WORK_MS, WORK_MS_QUICK);
    let options = Options { duration_ms: work_ms, result_bytes: 64 * 1024, ..Options::default() };
    let simulator = Simulator::start(bench, &folder, &options).await?;
    let config = account(&simulator.url(), POLL_MS, POLL_MS, &format!("max_in_flight = {SLOTS}"));
    let deployment = Deployment::new(bench, &folder, url.clone(), config);
    let api = deployment.start("api", "api").await?;
    let mut workers = Vec::new();
    for name in ["worker-a", "worker-b", "worker-c"] {
        workers.push(deployment.start(name, "worker").await?);
    }
    api.create_many(SLOTS * (2 * ROUNDS + 1)).await?;
    let sql = Sql::connect(&url).await?;
    let sent = "select count(*) from attempt";
    let full = i64::try_from(SLOTS).unwrap_or(i64::MAX);
    sql.until(sent, |attempts| attempts >= full, BOUND).await?;
    // The first round fills the slots at one moment; what is looked at begins behind it.
    let work = Duration::from_millis(u64::from(work_ms));
    tokio::time::sleep(work * u32::try_from(ROUNDS + 1).unwrap_or(u32::MAX)).await;
    let waiting = sql.number("select count(*) from work where queued").await?;
    let owners = sql.number("select count(distinct executor) from attempt").await?;
    api.kill();
    workers.into_iter().for_each(Gateway::kill);
    if waiting == 0 {
        return Err("no job waited at the end: what was looked at is no backlog".to_owned());
    }
    let ledger = Ledger::read(&simulator.ledger).map_err(|error| format!("the ledger: {error}"))?;
    let starts: Vec<u64> = ledger.jobs().iter().map(|job| job.accepted_at).collect();
    let used = Used::of(starts, u64::from(work_ms) * 1_000);
    Ok(vec![
        Figure::absolute(
            format!("PostgreSQL: most jobs at the provider at once, {SLOTS} slots, three workers"),
            used.most.to_string(),
            used.most <= SLOTS,
            format!("<= {SLOTS}"),
        ),
        Figure {
            peer: format!("videos of {} s, polls every {POLL_MS} ms, {owners} workers submitted", work_ms / 1_000),
            ..Figure::absolute(
                "PostgreSQL: slots in use at the provider while jobs wait",
                format!("{:.1} %", used.percent),
                used.percent >= USED_PERCENT,
                format!(">= {USED_PERCENT} %"),
            )
        },
    ])
}

/// How the slots were used, by the provider's own times.
#[derive(Debug, PartialEq)]
struct Used {
    most: u64,
    percent: f64,
}

impl Used {
    /// Of jobs that begin at these times, in microseconds, and take this long each. Shares are of the time from the end
    /// of the first round on, for so many rounds as are looked at.
    fn of(mut starts: Vec<u64>, work_us: u64) -> Self {
        starts.sort_unstable();
        let ends = starts.iter().map(|start| (start + work_us, -1_i64));
        let mut changes: Vec<(u64, i64)> = starts.iter().map(|start| (*start, 1)).chain(ends).collect();
        // At the same moment an end comes first.
        changes.sort_unstable();
        let from = starts.first().map_or(0, |first| first + work_us / 2);
        let to = from + work_us * ROUNDS;
        let (mut now, mut most, mut busy_us, mut last) = (0_i64, 0_i64, 0_u64, from);
        for (at, change) in changes {
            let within = at.clamp(from, to);
            busy_us += within.saturating_sub(last) * now.unsigned_abs();
            last = within.max(last);
            now += change;
            most = most.max(now);
        }
        Self { most: most.unsigned_abs(), percent: busy_us as f64 * 100.0 / (SLOTS * work_us * ROUNDS) as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_slots_are_full_and_a_pause_is_seen() {
        let rounds = |pause: u64| {
            let starts = (0..ROUNDS + 2).flat_map(|round| vec![1_000_000 + round * (1_000_000 + pause); 60]);
            Used::of(starts.collect(), 1_000_000)
        };
        assert_eq!(rounds(0), Used { most: 60, percent: 100.0 });
        let paused = rounds(100_000);
        assert_eq!(paused.most, 60);
        assert!((89.0..93.0).contains(&paused.percent), "{paused:?}");
    }
}
