//! What was written between two readings, by the server's own counters.

use std::time::{Duration, Instant};

use super::server::Sql;
use crate::Outcome;

/// Backends tell their counts when they have ended, or up to a minute late.
const SETTLE_BOUND: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(300);

/// Row writes of all tables but that of beats, updates of `job`, those of them that stayed on their page; of the log, bytes and whole
/// pages; transactions that wrote.
const COUNTERS: &str = "select
    coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0),
    coalesce(sum(n_tup_upd) filter (where relname = 'job'), 0),
    coalesce(sum(n_tup_hot_upd) filter (where relname = 'job'), 0),
    (select wal_bytes from pg_stat_wal), (select wal_fpi from pg_stat_wal),
    pg_snapshot_xmax(pg_current_snapshot())::text
    from pg_stat_user_tables where relname <> 'executor'";

/// A reading, or the difference of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    pub rows: i64,
    job_updates: i64,
    job_updates_on_page: i64,
    pub wal_bytes: i64,
    pub whole_pages: i64,
    /// Transactions that wrote something.
    pub commits: i64,
}

impl Written {
    /// Reads when the counters stand still: those that wrote must have disconnected.
    pub async fn settled(sql: &Sql) -> Outcome<Self> {
        let started = Instant::now();
        let mut before = Self::now(sql).await?;
        while started.elapsed() < SETTLE_BOUND {
            tokio::time::sleep(PAUSE).await;
            let now = Self::now(sql).await?;
            if now == before {
                return Ok(now);
            }
            before = now;
        }
        Err(format!("the server's counters did not come to rest within {SETTLE_BOUND:?}"))
    }

    async fn now(sql: &Sql) -> Outcome<Self> {
        let numbers = sql.numbers(COUNTERS).await?;
        let [rows, job_updates, job_updates_on_page, wal_bytes, whole_pages, commits] = numbers.as_slice() else {
            return Err(format!("{} counters", numbers.len()));
        };
        Ok(Self {
            rows: *rows,
            job_updates: *job_updates,
            job_updates_on_page: *job_updates_on_page,
            wal_bytes: *wal_bytes,
            whole_pages: *whole_pages,
            commits: *commits,
        })
    }

    pub fn since(self, earlier: Self) -> Self {
        Self {
            rows: self.rows - earlier.rows,
            job_updates: self.job_updates - earlier.job_updates,
            job_updates_on_page: self.job_updates_on_page - earlier.job_updates_on_page,
            wal_bytes: self.wal_bytes - earlier.wal_bytes,
            whole_pages: self.whole_pages - earlier.whole_pages,
            commits: self.commits - earlier.commits,
        }
    }

    /// Share of the updates of `job` that stayed on their page, in percent.
    pub fn on_page_percent(self) -> f64 {
        self.job_updates_on_page as f64 * 100.0 / self.job_updates.max(1) as f64
    }
}
