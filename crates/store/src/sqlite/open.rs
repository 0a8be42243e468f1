//! Opening: settings of connections, migrations, the check after an unclean stop, and the takeover of what was owned.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longtake_core::id::Random;
use longtake_core::time::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Result, TransactionBehavior};

use super::change::{Change, News};
use super::readers::Readers;
use super::room::Room;
use super::writer::{Shared, Writer};
use super::{SqliteStore, feed, load, sql};
use crate::{OpenError, OpenOptions, Tuning, migrate};

/// How long a connection waits for another program that uses the file.
const BUSY: Duration = Duration::from_secs(5);
/// More than there are query files, so that each is prepared once per connection.
const CACHED_STATEMENTS: usize = 160;
/// Page cache of the connection that writes, in KiB.
const WRITER_CACHE_KIB: i64 = 16 * 1024;
/// Page cache of each connection that reads, in KiB: point reads need little, and there are several.
const READER_CACHE_KIB: i64 = 2 * 1024;

/// A connection with the settings that all of them have.
pub(super) fn connect(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    #[cfg_attr(not(feature = "testing"), expect(unused_mut, reason = "only tests count"))]
    let mut connection = Connection::open_with_flags(path, flags)?;
    #[cfg(feature = "testing")]
    count_statements(&mut connection)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(CACHED_STATEMENTS);
    // Plans must not look at bound values: else clearing a cached statement's bindings makes SQLite prepare it again at
    // each use, which costs more than most of our statements do.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // An I/O error in a memory map is a signal, not an answer.
    connection.pragma_update(None, "mmap_size", 0)?;
    connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

/// Whatever runs on it is counted.
#[cfg(feature = "testing")]
fn count_statements(connection: &mut Connection) -> Result<()> {
    use rusqlite::trace::{TraceEvent, TraceEventCodes};
    let count = |_: TraceEvent<'_>| crate::statements::count();
    connection.trace_v2(TraceEventCodes::SQLITE_TRACE_STMT, Some(count))
}

/// The one that writes: every commit is on the disk before it is answered.
fn connect_writer(path: &Path, tuning: &Tuning) -> Result<Connection> {
    let connection = connect(path)?;
    connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
    connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0))?;
    connection.pragma_update(None, "synchronous", synchronous(tuning))?;
    // macOS: a plain fsync does not reach the disk. Elsewhere without effect.
    connection.pragma_update(None, "fullfsync", true)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true)?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    Ok(connection)
}

#[cfg(feature = "testing")]
const fn synchronous(tuning: &Tuning) -> &'static str {
    if tuning.synchronous_normal { "normal" } else { "full" }
}

#[cfg(not(feature = "testing"))]
const fn synchronous(_tuning: &Tuning) -> &'static str {
    "full"
}

impl SqliteStore {
    /// Opens the file, making it where it is missing. Hold the lock of its directory: what was owned is taken over.
    ///
    /// # Errors
    /// The file cannot be used, is damaged, or was made by a newer version.
    pub fn open(path: &Path, options: OpenOptions, tuning: Tuning) -> Result<Self, OpenError> {
        let OpenOptions { clock, random, fatal } = options;
        let mut connection = connect_writer(path, &tuning)?;
        check_after_unclean_stop(&connection)?;
        migrate::migrate(&mut connection, migrate::SQLITE, clock.now())?;
        let last_dead = take_over(&mut connection, clock.now(), random.as_ref())?;
        let epoch = feed::epoch(&connection, random.as_ref())?;
        let directory = directory_of(path);
        // SQLite syncs the WAL's entry in the directory; the database's own is ours to sync.
        let synced = File::open(&directory).and_then(|directory| directory.sync_all());
        synced.map_err(|source| OpenError::Io { path: directory.clone(), source })?;
        let readers = Readers::open(path)?;
        let listeners = Arc::new(Mutex::new(Vec::new()));
        let shared = Shared {
            clock: Arc::clone(&clock),
            fatal,
            listeners: Arc::clone(&listeners),
            stopped: Arc::new(AtomicBool::new(false)),
        };
        let writer = Writer::start(connection, wal_of(path), shared)
            .map_err(|source| OpenError::Io { path: path.to_owned(), source })?;
        let room = Room::new(&directory, tuning.low_water_bytes, Arc::clone(&clock));
        let last_alive = AtomicI64::new(last_dead);
        let beats = Mutex::new(BTreeMap::new());
        Ok(Self { writer, readers, room, clock, listeners, last_dead, last_alive, beats, epoch })
    }
}

/// The folder of the database is the data directory.
fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn wal_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// Nobody marked the end of the last run: the disk may have been the reason.
fn check_after_unclean_stop(connection: &Connection) -> Result<(), OpenError> {
    if !connection.table_exists(None, "meta")? || load::meta(connection, "clean")?.as_deref() == Some("1") {
        return Ok(());
    }
    tracing::info!("the last stop was unclean: checking the database");
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(OpenError::Damaged(verdict.replace('\n', " "))) }
}

/// Looks through the whole file for damage and changes nothing. Seconds per gigabyte.
///
/// # Errors
/// `Damaged` with the first finding; `Database` where it cannot be read.
pub fn check(path: &Path) -> Result<(), OpenError> {
    let connection = connect(path)?;
    let verdict: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(OpenError::Damaged(verdict.replace('\n', " "))) }
}

/// Takes what earlier processes owned, in one transaction. The newest of their executors.
fn take_over(connection: &mut Connection, now: Timestamp, random: &dyn Random) -> Result<i64> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut news = News::default();
    let change = Change { connection: &transaction, now, news: &mut news };
    let taken = change.take_from_the_dead(random)?;
    change.run(sql::EXECUTORS_DEAD, [now.as_micros()])?;
    change.run(sql::META_SET, ["clean", "0"])?;
    let last = transaction.prepare_cached(sql::EXECUTOR_LAST)?.query_row([], |row| row.get(0))?;
    transaction.commit()?;
    if taken > 0 {
        tracing::info!(taken, "took over {taken} work rows of the last process");
    }
    Ok(last)
}
