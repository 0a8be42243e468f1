//! Numbered migrations of PostgreSQL, while other processes, also older ones, are at work.
//!
//! Many processes may start at once: an advisory lock lets one migrate, the others wait for it. Each migration is one
//! transaction, remembered with a checksum. During a rolling upgrade older programs run on the newer schema: a migration
//! says in `oldest` which programs may, and only older ones are refused. So a change that takes something away is made in
//! two releases: first nobody uses it, then it goes, with `oldest` set to the release that stopped using it.
//! What takes long and locks nothing is [`Later`], run by one process after all are ready. Absent: down migrations.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use super::connect::Target;
use crate::OpenError;

/// One file of `migrations/postgres`.
pub(super) struct Migration {
    /// From 1, without gaps.
    pub number: i64,
    /// The rest of the file's name.
    pub name: &'static str,
    /// The file.
    pub sql: &'static str,
    /// The newest migration that a program must at least know to run on this schema. A migration that only adds keeps
    /// that of the one before.
    pub oldest: i64,
}

/// One file of `migrations/postgres/later`: a single statement outside of a transaction, as `CREATE INDEX CONCURRENTLY`.
pub(super) struct Later {
    /// From 1, without gaps; counted apart from migrations.
    pub number: i64,
    /// The rest of the file's name.
    pub name: &'static str,
    /// Removes what an interrupted run left, for example `DROP INDEX CONCURRENTLY IF EXISTS`.
    pub undo: &'static str,
    /// The file.
    pub sql: &'static str,
}

/// All of them.
pub(super) const MIGRATIONS: &[Migration] = &[
    Migration { number: 1, name: "jobs", sql: include_str!("../../migrations/postgres/0001_jobs.sql"), oldest: 1 },
    Migration {
        number: 2,
        name: "retention",
        sql: include_str!("../../migrations/postgres/0002_retention.sql"),
        oldest: 1,
    },
    Migration {
        number: 3,
        name: "request_ended",
        sql: include_str!("../../migrations/postgres/0003_request_ended.sql"),
        oldest: 1,
    },
    Migration {
        number: 4,
        name: "take_queued",
        sql: include_str!("../../migrations/postgres/0004_take_queued.sql"),
        oldest: 1,
    },
    Migration {
        number: 5,
        name: "webhooks",
        sql: include_str!("../../migrations/postgres/0005_webhooks.sql"),
        oldest: 1,
    },
];
/// All of the slow ones.
pub(super) const LATER: &[Later] = &[Later {
    number: 1,
    name: "idem_job",
    // The one of a small database was made by its migration, and stays.
    undo: "do $$ begin
               if exists (select from pg_index where indexrelid = to_regclass('idem_job') and not indisvalid) then
                   drop index idem_job;
               end if;
           end $$",
    sql: include_str!("../../migrations/postgres/later/0001_idem_job.sql"),
}];

/// Names of the advisory locks; no other program's, with some luck.
const LOCK: i64 = 0x6c6f_6e67_7461_6b65;
const LATER_LOCK: i64 = LOCK + 1;
/// Longest wait for another process that migrates.
const OTHERS: &str = "set lock_timeout = '10min'";
/// A migration that waits for a lock makes everyone behind it wait: it gives up soon and tries again, this often.
const LOCK_TRIES: u32 = 30;
const PAUSE: Duration = Duration::from_millis(500);
/// Settings for the migrations themselves.
const AT_WORK: &str = "set lock_timeout = '2s'; set statement_timeout = 0; set idle_in_transaction_session_timeout = 0";

const TABLES: &str = "
create table if not exists schema_migration (
    number bigint primary key, name text not null, checksum bytea not null, oldest bigint not null, applied_at bigint not null);
create table if not exists schema_later (number bigint primary key, name text not null, finished_at bigint not null)";

/// One row of `schema_migration`.
struct Applied {
    number: i64,
    checksum: Vec<u8>,
    oldest: i64,
}

/// Brings the schema up to this version. How many migrations were new.
///
/// # Errors
/// `NewerSchema` where the schema says that this program is too old for it, `ChangedMigration`, `Postgres`.
pub(super) async fn migrate(target: &Target, migrations: &[Migration]) -> Result<usize, OpenError> {
    let (client, _task) = target.dial().await?;
    // Nothing to do is the usual case, and needs neither the lock nor the right to make tables.
    if missing(&applied(&client).await?, migrations)?.is_empty() {
        return Ok(0);
    }
    client.batch_execute(&format!("{OTHERS}; set statement_timeout = 0")).await.map_err(said)?;
    client.execute("select pg_advisory_lock($1)", &[&LOCK]).await.map_err(said)?;
    client.batch_execute(&format!("{AT_WORK}; {TABLES}")).await.map_err(said)?;
    let missing = missing(&applied(&client).await?, migrations)?;
    for migration in &missing {
        apply(&client, migration).await.map_err(said)?;
    }
    // Whatever happens before, the end of the connection gives the lock back.
    client.execute("select pg_advisory_unlock($1)", &[&LOCK]).await.map_err(said)?;
    Ok(missing.len())
}

/// Runs what takes long, unless another process does. How many were new.
///
/// # Errors
/// `Postgres`; the next start tries again.
pub(super) async fn later(target: &Target, list: &[Later]) -> Result<usize, OpenError> {
    if list.is_empty() {
        return Ok(0);
    }
    let (client, _task) = target.dial().await?;
    client.batch_execute("set lock_timeout = 0; set statement_timeout = 0").await.map_err(said)?;
    let ours = client.query_one("select pg_try_advisory_lock($1)", &[&LATER_LOCK]).await.map_err(said)?;
    if !ours.get::<_, bool>(0) {
        return Ok(0);
    }
    let rows = client.query("select number from schema_later", &[]).await.map_err(said)?;
    let finished: Vec<i64> = rows.iter().map(|row| row.get(0)).collect();
    let mut new = 0;
    for item in list.iter().filter(|item| !finished.contains(&item.number)) {
        tracing::info!(number = item.number, "a change of the database that takes long begins: {}", item.name);
        client.batch_execute(item.undo).await.map_err(said)?;
        client.batch_execute(item.sql).await.map_err(said)?;
        let note = "insert into schema_later (number, name, finished_at)
                    values ($1, $2, (extract(epoch from clock_timestamp()) * 1000000)::bigint)";
        client.execute(note, &[&item.number, &item.name]).await.map_err(said)?;
        new += 1;
    }
    Ok(new)
}

/// What was applied; nothing where the table is missing.
async fn applied(client: &Client) -> Result<Vec<Applied>, OpenError> {
    let sql = "select number, checksum, oldest from schema_migration order by number";
    match client.query(sql, &[]).await {
        Ok(rows) => {
            let read =
                |row: &tokio_postgres::Row| Applied { number: row.get(0), checksum: row.get(1), oldest: row.get(2) };
            Ok(rows.iter().map(read).collect())
        }
        Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => Ok(Vec::new()),
        Err(error) => Err(said(error)),
    }
}

/// Which are still to be applied, where this program may run on this schema at all.
fn missing<'a>(applied: &[Applied], migrations: &'a [Migration]) -> Result<Vec<&'a Migration>, OpenError> {
    let newest = migrations.last().map_or(0, |migration| migration.number);
    let newer = applied.iter().filter(|row| row.number > newest && row.oldest > newest);
    if let Some(row) = newer.max_by_key(|row| row.number) {
        return Err(OpenError::NewerSchema { found: row.number, known: newest });
    }
    let mut missing = Vec::new();
    for migration in migrations {
        match applied.iter().find(|row| row.number == migration.number) {
            Some(row) if row.checksum == checksum(migration) => {}
            Some(_) => return Err(OpenError::ChangedMigration { number: migration.number }),
            None => missing.push(migration),
        }
    }
    Ok(missing)
}

fn checksum(migration: &Migration) -> Vec<u8> {
    digest(&SHA256, migration.sql.as_bytes()).as_ref().to_vec()
}

/// Applies one, again where others held a lock for too long.
async fn apply(client: &Client, migration: &Migration) -> Result<(), Error> {
    let mut tries = 1;
    loop {
        let Err(error) = apply_once(client, migration).await else { return Ok(()) };
        if error.code() != Some(&SqlState::LOCK_NOT_AVAILABLE) || tries == LOCK_TRIES {
            return Err(error);
        }
        tries += 1;
        client.batch_execute("rollback").await?;
        #[expect(clippy::disallowed_methods, reason = "what is waited for is a database in the real world")]
        tokio::time::sleep(PAUSE).await;
    }
}

async fn apply_once(client: &Client, migration: &Migration) -> Result<(), Error> {
    client.batch_execute("begin").await?;
    client.batch_execute(migration.sql).await?;
    let note = "insert into schema_migration (number, name, checksum, oldest, applied_at)
                values ($1, $2, $3, $4, (extract(epoch from clock_timestamp()) * 1000000)::bigint)";
    client.execute(note, &[&migration.number, &migration.name, &checksum(migration), &migration.oldest]).await?;
    client.batch_execute("commit").await
}

fn said(error: Error) -> OpenError {
    OpenError::Postgres(with_cause(&error))
}

/// The error of tokio-postgres and what the server said, which it keeps behind it.
fn with_cause(error: &Error) -> String {
    error.as_db_error().map_or_else(|| error.to_string(), |told| told.to_string())
}

#[cfg(test)]
mod tests;
