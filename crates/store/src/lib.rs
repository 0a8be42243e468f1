//! Durability: rows in SQLite or PostgreSQL, bytes in files or buckets; what survives a restart.
//!
//! [`open`] and [`connect`] give a [`Store`] by URL; [`artifacts`] keeps the bytes; [`lock::DataDirLock`] is the right to
//! touch either. A store loads, applies longtake-core's rules and saves: no rule is written here.
//! Absent: HTTP of our own, the engine.

pub mod artifacts;
pub mod lock;
mod migrate;
pub mod postgres;
mod rows;
pub mod sqlite;
#[cfg(feature = "testing")]
pub mod statements;
mod tried;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use longtake_core::id::Random;
use longtake_core::store::Store;
use longtake_core::time::Clock;

/// Told once, when the store can no longer say what is durable; the process must end.
pub type Fatal = Arc<dyn Fn(&str) + Send + Sync>;

/// What a store gets from outside.
#[derive(Clone)]
pub struct OpenOptions {
    /// The only source of time.
    pub clock: Arc<dyn Clock>,
    /// The only source of randomness.
    pub random: Arc<dyn Random>,
    /// Called by the writer when a commit, a sync or other I/O failed. Everything after it is refused (fail-stop).
    pub fatal: Fatal,
}

/// Limits of a store.
#[derive(Debug, Clone)]
pub struct Tuning {
    /// Free bytes on the disk of the database below which creates are refused; existing work goes on.
    pub low_water_bytes: u64,
    /// Commits without waiting for the disk: loses acknowledged jobs. Shows that the power-cut test is not blind.
    #[cfg(feature = "testing")]
    pub synchronous_normal: bool,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            low_water_bytes: 256 * 1024 * 1024,
            #[cfg(feature = "testing")]
            synchronous_normal: false,
        }
    }
}

/// How a store on PostgreSQL is used.
#[derive(Debug, Clone)]
pub struct PostgresTuning {
    /// Connections at once, at most; one more where hints are on.
    pub connections: usize,
    /// How long a call waits for a free connection, or for a server that restarts or fails over.
    pub acquire_timeout: Duration,
    /// Tell other processes of new work, and hear of it from them. Without, they look every second.
    pub hints: bool,
    /// The operator's word that a failover keeps what was acknowledged; else old jobs are doubted after one (rule R12).
    pub failover_loses_nothing: bool,
    /// Times are those of [`OpenOptions::clock`] instead of the database's, so that tests can turn them.
    #[cfg(feature = "testing")]
    pub injected_clock: bool,
}

impl Default for PostgresTuning {
    fn default() -> Self {
        Self {
            connections: 10,
            acquire_timeout: Duration::from_secs(5),
            hints: true,
            failover_loses_nothing: false,
            #[cfg(feature = "testing")]
            injected_clock: false,
        }
    }
}

/// The store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names no store.
    #[error("{url} names no store that opens here: write sqlite:PATH or postgres://HOST/DATABASE")]
    Unsupported {
        /// As it was given, without credentials.
        url: String,
    },
    /// Made by a newer version.
    #[error("the database has schema {found}, this version knows {known}: start a newer version")]
    NewerSchema {
        /// In the database.
        found: i64,
        /// In this program.
        known: i64,
    },
    /// Its history is not ours.
    #[error("migration {number} was applied in another form: this database was made by another program")]
    ChangedMigration {
        /// Which.
        number: i64,
    },
    /// SQLite found it damaged after an unclean stop.
    #[error("the database is damaged ({0}); restore a backup")]
    Damaged(String),
    /// SQLite said no.
    #[error("database: {0}")]
    Database(#[from] rusqlite::Error),
    /// The URL of a PostgreSQL database is not understood, or asks for what this machine does not have.
    #[error("the URL of the database: {problem}")]
    DatabaseUrl {
        /// What; never the URL, which may hold a password.
        problem: String,
    },
    /// No connection to PostgreSQL: the network, TLS, user, password, or the name of the database.
    #[error("{url} cannot be reached: {}", reached(source))]
    Unreachable {
        /// Without credentials.
        url: String,
        /// Why.
        source: tokio_postgres::Error,
    },
    /// PostgreSQL accepts connections and then says nothing.
    #[error("{url} does not answer")]
    NoAnswer {
        /// Without credentials.
        url: String,
    },
    /// Older than what is known to work.
    #[error("the server is PostgreSQL {version}; Longtake needs {oldest} or newer")]
    ServerTooOld {
        /// Its major version.
        version: u32,
        /// The oldest that will do.
        oldest: u32,
    },
    /// The server may lose what it acknowledged, which would mean paying twice.
    #[error(
        "the PostgreSQL server runs with {name} = off and may lose what it acknowledged: set {name} = on and restart it"
    )]
    UnsafeSetting {
        /// The setting.
        name: &'static str,
    },
    /// A standby.
    #[error(
        "{url} is a standby and accepts no writes: name the primary, or all hosts, as in postgres://one,two/database"
    )]
    NotPrimary {
        /// Without credentials.
        url: String,
    },
    /// PostgreSQL said no, or nothing.
    #[error("database: {0}")]
    Postgres(String),
    /// The file system said no.
    #[error("{path}: {source}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// Opens a store and brings its schema up to date. Blocks; may take seconds after an unclean stop.
///
/// `sqlite:PATH`: the file is made where it is missing; its folder is the data directory, which must be there. Hold its
/// [`lock::DataDirLock`] before and until after.
///
/// # Errors
/// See [`OpenError`].
pub fn open(url: &str, options: OpenOptions) -> Result<Arc<dyn Store>, OpenError> {
    open_with(url, options, Tuning::default())
}

/// [`open`] with other limits.
///
/// # Errors
/// See [`OpenError`].
pub fn open_with(url: &str, options: OpenOptions, tuning: Tuning) -> Result<Arc<dyn Store>, OpenError> {
    match url.split_once(':') {
        Some(("sqlite", path)) if !path.is_empty() && !path.contains('\0') => {
            Ok(Arc::new(sqlite::SqliteStore::open(path.as_ref(), options, tuning)?))
        }
        // What follows the scheme may hold a password.
        Some((scheme, _)) => Err(OpenError::Unsupported { url: format!("{scheme}:…") }),
        None => Err(OpenError::Unsupported { url: "a URL without a scheme".to_owned() }),
    }
}

/// A URL as it may be shown: what stands between the user's name and the host is left out, and so are parameters.
pub fn without_password(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or_default();
    match plain.split_once("://") {
        Some((scheme, rest)) => match rest.rsplit_once('@') {
            Some((user, host)) => format!("{scheme}://{}@{host}", user.split(':').next().unwrap_or_default()),
            None => plain.to_owned(),
        },
        None => plain.to_owned(),
    }
}

/// Connects to a store on PostgreSQL (`postgres:` or `postgresql:`), or opens one on SQLite with [`open`].
///
/// # Errors
/// See [`OpenError`].
pub async fn connect(url: &str, options: OpenOptions, tuning: PostgresTuning) -> Result<Arc<dyn Store>, OpenError> {
    match url.split_once(':') {
        Some(("postgres" | "postgresql", _)) => {
            Ok(Arc::new(postgres::PostgresStore::connect(url, options, tuning).await?))
        }
        _ => open(url, options),
    }
}

/// What the server said, where it said something; else the whole chain of causes.
fn reached(error: &tokio_postgres::Error) -> String {
    if let Some(told) = error.as_db_error() {
        return told.to_string();
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}
