//! Who owns which work row.

use longtake_core::id::{ExecutorId, Random};
use longtake_core::store::{Claim, ExecutorInfo, WorkKey};
use longtake_core::time::Timestamp;
use rusqlite::{Result, params};

use super::change::Change;
use super::{load, sql};
use crate::rows::{kind_number, micros, work_key};

/// Incarnations that are remembered by row; the number of the last is never forgotten.
const MAX_EXECUTORS: i64 = 1_000;
/// Rows given back in one round at a restart.
const RELEASE_ROUND: i64 = 10_000;
/// Over how long the rows of a dead process come due after a restart, in microseconds.
const RESTART_SPREAD_US: u64 = 200_000;

impl Change<'_> {
    /// Begins a new incarnation.
    pub fn register_executor(&self, info: &ExecutorInfo) -> Result<ExecutorId> {
        let ExecutorInfo { process, ttl } = info;
        let params = params![
            process.host,
            process.boot_id,
            process.pid_namespace,
            process.pid,
            process.started_ticks,
            micros(*ttl),
            self.now.as_micros(),
        ];
        let id: i64 = self.connection.prepare_cached(sql::EXECUTOR_INSERT)?.query_row(params, |row| row.get(0))?;
        self.run(sql::EXECUTORS_FORGET, [id - MAX_EXECUTORS])?;
        Ok(ExecutorId(id))
    }

    /// Own rows that news made due; each is told once.
    pub fn woken(&self, executor: ExecutorId, limit: usize) -> Result<Vec<Claim>> {
        let due = params![executor.0, self.now.as_micros(), load::limit_of(limit)];
        let keys = load::all(self.connection, sql::WOKEN, due, work_key)?;
        let mut claims = Vec::with_capacity(keys.len());
        for work in keys {
            self.run(sql::WOKEN_TOLD, params![work.job.as_bytes(), kind_number(work.kind), work.reference])?;
            claims.extend(load::claim(self.connection, work, executor)?);
        }
        Ok(claims)
    }

    /// At a restart: the process that owned these rows is gone, since we hold its lock.
    pub fn take_from_the_dead(&self, random: &dyn Random) -> Result<u64> {
        let mut taken = 0;
        // Each round takes rows away from the query, so it ends.
        loop {
            let keys: Vec<WorkKey> = load::all(self.connection, sql::OWNED_BY_THE_DEAD, [RELEASE_ROUND], work_key)?;
            if keys.is_empty() {
                return Ok(taken);
            }
            for work in keys {
                let jitter = std::time::Duration::from_micros(random.below(RESTART_SPREAD_US));
                let due_at: Timestamp = self.now + jitter;
                let key = params![work.job.as_bytes(), kind_number(work.kind), work.reference, due_at.as_micros()];
                self.run(sql::TAKE_FROM_THE_DEAD, key)?;
                taken += 1;
            }
        }
    }
}
