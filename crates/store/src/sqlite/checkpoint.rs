//! When the writer moves the WAL into the database: at a size, when idle, and before it grows without bound.
//!
//! SQLite's own checkpoint after 1,000 pages costs a fifth of the throughput, so it is off.

use std::path::PathBuf;

use rusqlite::{Connection, Error, ErrorCode, Result};

/// Pages in the WAL at which they are moved.
const PASSIVE_AT_PAGES: i64 = 10_000;
/// Rows changed between two looks at the WAL: each changes few pages.
const LOOK_EVERY_CHANGES: u64 = 1_000;
/// Length of the WAL file from which it is cut, waiting for readers.
const TRUNCATE_AT_BYTES: u64 = 256 * 1024 * 1024;

/// What is known since the last look.
pub(super) struct Checkpoints {
    wal: PathBuf,
    /// Rows changed at the last look.
    looked_at: u64,
    /// Rows changed at the last checkpoint that moved everything.
    moved_at: u64,
}

impl Checkpoints {
    /// Nothing is known of a WAL that is there already.
    pub fn new(wal: PathBuf, changes: u64) -> Self {
        Self { wal, looked_at: changes, moved_at: changes }
    }

    /// Checkpoints where it is time.
    pub fn after_commit(&mut self, connection: &Connection, idle: bool) -> Result<()> {
        let changes = connection.total_changes();
        let looks = if idle { changes != self.moved_at } else { changes - self.looked_at >= LOOK_EVERY_CHANGES };
        if !looks {
            return Ok(());
        }
        self.looked_at = changes;
        if !idle && pages(connection)? < PASSIVE_AT_PAGES {
            return Ok(());
        }
        let (in_wal, moved) = pragma(connection, "PRAGMA wal_checkpoint(PASSIVE)")?;
        if in_wal == moved {
            self.moved_at = changes;
        }
        let length = std::fs::metadata(&self.wal).map_or(0, |file| file.len());
        if length > TRUNCATE_AT_BYTES { Self::truncate(connection) } else { Ok(()) }
    }

    /// Moves everything and cuts the file; readers that are in the way for long are left alone.
    pub fn truncate(connection: &Connection) -> Result<()> {
        pragma(connection, "PRAGMA wal_checkpoint(TRUNCATE)").map(|_| ())
    }
}

/// Pages in the WAL that are not yet in the database.
fn pages(connection: &Connection) -> Result<i64> {
    pragma(connection, "PRAGMA wal_checkpoint(NOOP)").map(|(in_wal, moved)| in_wal - moved)
}

/// Pages in the WAL, and how many of them were moved. Being in somebody's way is no error.
fn pragma(connection: &Connection, text: &str) -> Result<(i64, i64)> {
    let answer = connection.query_row(text, [], |row| Ok((row.get(1)?, row.get(2)?)));
    match answer.as_ref().map_err(Error::sqlite_error_code) {
        Err(Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)) => Ok((-1, 0)),
        _ => answer,
    }
}
