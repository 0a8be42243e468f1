//! Durability: rows in SQLite and bytes in files; what survives a restart.
//!
//! [`open`] gives a [`Store`] by URL; [`artifacts::FileArtifacts`] keeps the bytes; [`lock::DataDirLock`] is the right to
//! touch either. A store loads, applies longtake-core's rules and saves: no rule is written here.
//! Absent: PostgreSQL and object stores (this version has one machine), HTTP, the engine.

pub mod artifacts;
pub mod lock;
mod migrate;
mod rows;
pub mod sqlite;

use std::path::PathBuf;
use std::sync::Arc;

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

/// The store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The URL names no store of this version.
    #[error("{url} names no store: this version has SQLite only; write sqlite:PATH")]
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
