//! What a chaos run came to, as JSON and as a table.

use std::collections::BTreeMap;
use std::path::Path;

use longtake_testing::sim::Ledger;
use serde_json::{Value, json};

use crate::fleet::installation::Owned;

/// The result of one run.
#[derive(Debug, Default)]
pub struct Scorecard {
    pub seed: u64,
    pub seconds: f64,
    pub workers: usize,
    pub api: usize,
    pub jobs: usize,
    /// By kind.
    pub kills: BTreeMap<&'static str, usize>,
    pub process_starts: u32,
    pub lost: usize,
    pub billed_twice: usize,
    pub forgotten: usize,
    /// For a person, at the end.
    pub held: usize,
    pub purchases: usize,
    pub events: i64,
    /// For each job that a victim owned: until its next event, in milliseconds.
    pub recovery_ms: Vec<f64>,
    pub max_in_flight_limit: u32,
    pub max_in_flight_seen: usize,
    pub violations: Vec<String>,
}

impl Scorecard {
    fn percentile(&self, share: f64) -> Option<f64> {
        let mut sorted = self.recovery_ms.clone();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a small length")]
        let place = (share * last as f64).round() as usize;
        sorted.get(place).copied()
    }

    fn json(&self) -> Value {
        json!({
            "seed": self.seed,
            "seconds": self.seconds,
            "workers": self.workers,
            "api_nodes": self.api,
            "jobs": self.jobs,
            "purchases": self.purchases,
            "events": self.events,
            "kills": self.kills,
            "kills_total": self.kills.values().sum::<usize>(),
            "process_starts": self.process_starts,
            "lost": self.lost,
            "billed_twice": self.billed_twice,
            "forgotten": self.forgotten,
            "held": self.held,
            "recovery": {
                "jobs": self.recovery_ms.len(),
                "p50_ms": self.percentile(0.5),
                "p99_ms": self.percentile(0.99),
                "max_ms": self.percentile(1.0),
            },
            "max_in_flight": { "limit": self.max_in_flight_limit, "seen": self.max_in_flight_seen },
            "violations": self.violations,
        })
    }

    /// Writes it, and the table beside it.
    pub fn write(&self, file: &Path) -> std::io::Result<()> {
        if let Some(folder) = file.parent() {
            std::fs::create_dir_all(folder)?;
        }
        std::fs::write(file, serde_json::to_string_pretty(&self.json()).unwrap_or_default() + "\n")?;
        std::fs::write(file.with_extension("txt"), self.table())
    }

    /// For people.
    pub fn table(&self) -> String {
        let figure = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.0}"));
        let mut lines = vec![
            format!("seed                 {}", self.seed),
            format!("seconds              {:.0}", self.seconds),
            format!("nodes                {} workers, {} api", self.workers, self.api),
            format!("jobs                 {}", self.jobs),
            format!("purchases            {}", self.purchases),
            format!("events               {}", self.events),
            format!("kills                {}", self.kills.values().sum::<usize>()),
        ];
        lines.extend(self.kills.iter().map(|(kind, count)| format!("  {kind:27} {count}")));
        lines.extend([
            format!("process starts       {}", self.process_starts),
            format!("lost                 {}", self.lost),
            format!("billed twice         {}", self.billed_twice),
            format!("forgotten            {}", self.forgotten),
            format!("held                 {}", self.held),
            format!(
                "recovery             {} jobs, p50 {} ms, p99 {} ms, longest {} ms",
                self.recovery_ms.len(),
                figure(self.percentile(0.5)),
                figure(self.percentile(0.99)),
                figure(self.percentile(1.0))
            ),
            format!("in flight            {} of {} allowed", self.max_in_flight_seen, self.max_in_flight_limit),
            format!("violations           {}", self.violations.len()),
        ]);
        lines.extend(self.violations.iter().map(|violation| format!("  {violation}")));
        lines.join("\n") + "\n"
    }
}

/// The most jobs that were under way at the vendor at one moment.
pub fn most_in_flight(ledger: &Ledger) -> usize {
    let mut changes: Vec<(u64, i64)> = Vec::new();
    for entry in ledger.jobs() {
        let end = entry.accepted_at + 1_000 * u64::from(entry.queue_ms + entry.duration_ms);
        changes.extend([(entry.accepted_at, 1), (end, -1)]);
    }
    // What ends at the moment at which another begins has ended.
    changes.sort_unstable();
    let mut now = 0;
    let most = changes.iter().map(|(_, change)| {
        now += change;
        now
    });
    usize::try_from(most.max().unwrap_or(0)).unwrap_or(0)
}

/// How long each job of a victim waited for its next event; `events` are the times by job and number.
pub fn recoveries(owned: &[Owned], events: &BTreeMap<(String, i64), i64>) -> Vec<f64> {
    let of = |owned: &Owned| {
        let waits = owned.jobs.iter().filter_map(|(job, ver)| {
            let at = events.get(&(job.clone(), ver + 1))?;
            Some((at - owned.at_us) as f64 / 1_000.0)
        });
        waits.collect::<Vec<_>>()
    };
    // What had its next event before the victim was really hit did not wait.
    owned.iter().flat_map(of).map(|wait| wait.max(0.0)).collect()
}
