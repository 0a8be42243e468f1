//! Numbered migrations: applied in order, each in its own transaction, remembered with a checksum.
//!
//! Forward only. A database made by a newer version, or one whose history differs from ours, is refused as it is.
//! Absent: down migrations; changes of rows that take long.

use aws_lc_rs::digest::{SHA256, digest};
use longtake_core::time::Timestamp;
use rusqlite::{Connection, TransactionBehavior, params};

use crate::OpenError;

/// One file of `migrations/sqlite`.
pub(crate) struct Migration {
    /// From 1, without gaps.
    pub number: i64,
    /// The rest of the file's name.
    pub name: &'static str,
    /// The file.
    pub sql: &'static str,
}

/// All of them.
pub(crate) const SQLITE: &[Migration] = &[
    Migration { number: 1, name: "jobs", sql: include_str!("../migrations/sqlite/0001_jobs.sql") },
    Migration { number: 2, name: "pools", sql: include_str!("../migrations/sqlite/0002_pools.sql") },
    Migration { number: 3, name: "retention", sql: include_str!("../migrations/sqlite/0003_retention.sql") },
    Migration { number: 4, name: "request_ended", sql: include_str!("../migrations/sqlite/0004_request_ended.sql") },
    Migration { number: 5, name: "webhooks", sql: include_str!("../migrations/sqlite/0005_webhooks.sql") },
];

const TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migration (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum BLOB NOT NULL, applied_at INTEGER NOT NULL) STRICT";

/// Brings the schema up to this version. How many migrations were new.
pub(crate) fn migrate(
    connection: &mut Connection,
    migrations: &[Migration],
    now: Timestamp,
) -> Result<usize, OpenError> {
    connection.execute_batch(TABLE)?;
    let applied = applied(connection)?;
    let newest = migrations.last().map_or(0, |migration| migration.number);
    if let Some((found, _)) = applied.iter().find(|(number, _)| *number > newest) {
        return Err(OpenError::NewerSchema { found: *found, known: newest });
    }
    let mut new = 0;
    for migration in migrations {
        let checksum = digest(&SHA256, migration.sql.as_bytes());
        match applied.iter().find(|(number, _)| *number == migration.number) {
            Some((_, known)) if known == checksum.as_ref() => {}
            Some(_) => return Err(OpenError::ChangedMigration { number: migration.number }),
            None => {
                let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                transaction.execute_batch(migration.sql)?;
                transaction.execute(
                    "INSERT INTO schema_migration (number, name, checksum, applied_at) VALUES (?1, ?2, ?3, ?4)",
                    params![migration.number, migration.name, checksum.as_ref(), now.as_micros()],
                )?;
                transaction.commit()?;
                new += 1;
            }
        }
    }
    Ok(new)
}

fn applied(connection: &Connection) -> rusqlite::Result<Vec<(i64, Vec<u8>)>> {
    let mut statement = connection.prepare("SELECT number, checksum FROM schema_migration ORDER BY number")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_micros(1_000_000);

    fn one(sql: &'static str) -> Migration {
        Migration { number: 1, name: "one", sql }
    }

    #[test]
    fn a_migration_is_applied_once() {
        let mut connection = Connection::open_in_memory().unwrap();
        let migrations = [one("CREATE TABLE t (a)")];
        assert_eq!(migrate(&mut connection, &migrations, NOW).unwrap(), 1);
        assert_eq!(migrate(&mut connection, &migrations, NOW).unwrap(), 0);
    }

    #[test]
    fn a_newer_schema_and_a_changed_migration_are_refused() {
        let mut connection = Connection::open_in_memory().unwrap();
        let newer = [one("CREATE TABLE t (a)"), Migration { number: 2, name: "two", sql: "CREATE TABLE u (a)" }];
        migrate(&mut connection, &newer, NOW).unwrap();
        let refused = migrate(&mut connection, &newer[..1], NOW);
        assert!(matches!(refused, Err(OpenError::NewerSchema { found: 2, known: 1 })));
        let changed = [one("CREATE TABLE t (b)"), Migration { number: 2, name: "two", sql: "CREATE TABLE u (a)" }];
        assert!(matches!(migrate(&mut connection, &changed, NOW), Err(OpenError::ChangedMigration { number: 1 })));
    }

    #[test]
    fn a_migration_that_fails_leaves_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        assert!(migrate(&mut connection, &[one("CREATE TABLE t (a); CREATE TABLE t (a);")], NOW).is_err());
        assert_eq!(migrate(&mut connection, &[one("CREATE TABLE t (a)")], NOW).unwrap(), 1);
    }
}
