//! What of the configured installation is there, found out without making any of it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::Finding;
use super::folder::can_make;
use crate::config::storage::Artifacts;
use crate::config::{Config, Database};
use crate::wiring;

/// The state of the data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// There is no such folder.
    Missing,
    /// Nobody put anything into it.
    Empty,
    /// There is something in it, or it cannot be looked into.
    There,
}

/// What is there, and what is not.
pub(super) struct Place {
    pub(super) folder: State,
    /// The database's file, where it is not there.
    no_database: Option<PathBuf>,
    /// The folder for videos, where it is not there.
    pub(super) videos: Option<PathBuf>,
}

impl Place {
    pub(super) fn of(config: &Config) -> Self {
        let no_database = match config.database() {
            Ok(Database::Sqlite(path)) => Some(path).filter(|path| is_missing(path)),
            Ok(Database::Postgres(_)) | Err(_) => None,
        };
        let videos = match config.artifacts() {
            Ok(Artifacts::Folder(path)) => Some(path).filter(|path| is_missing(path)),
            Ok(Artifacts::Bucket(_)) | Err(_) => None,
        };
        Self { folder: state(&config.general.data_dir), no_database, videos }
    }

    /// Whether the data directory can be locked without making anything else.
    pub(super) fn is_there(&self) -> bool {
        self.folder == State::There && self.no_database.is_none()
    }

    /// Whether nothing was ever started here.
    pub(super) fn is_first_start(&self) -> bool {
        self.no_database.is_some()
    }

    /// The database, unopened.
    pub(super) async fn database(&self, config: &Config) -> Finding {
        let Some(path) = &self.no_database else {
            return match (config.database(), wiring::check_database(config).await) {
                (Ok(Database::Postgres(_)), _) => Finding::Doubtful(
                    "not opened before the data directory and the artifact store are in order".to_owned(),
                ),
                (_, Ok(())) => Finding::Good("whole".to_owned()),
                (_, Err(error)) => Finding::Bad(error.to_string()),
            };
        };
        let missing = format!("{} is not there; the first `longtake serve` makes it", path.display());
        if config.database.url.is_some() || self.folder == State::There {
            return Finding::Bad(format!("{missing}; correct --database or --data-dir if there is one already"));
        }
        Finding::Doubtful(missing)
    }

    /// The folder for videos; `None` where they go into a bucket, or a folder that comes with the data directory.
    pub(super) fn videos(&self, config: &Config) -> Option<Finding> {
        let Ok(Artifacts::Folder(folder)) = config.artifacts() else { return None };
        let is_named = config.general.artifacts.is_some();
        if !is_named && self.is_first_start() {
            return None;
        }
        let shown = folder.display();
        let problem = match (can_make(&folder), self.videos.is_some()) {
            (Ok(()), false) => return Some(Finding::Good(format!("{shown} can be written"))),
            (Ok(()), true) => format!(
                "{shown} is not there; the next `longtake serve` makes it, empty; correct it, or bring it back, if there is one already"
            ),
            (Err(error), true) => {
                format!("{shown} is not there and cannot be made: {error}; choose another folder")
            }
            (Err(error), false) => format!("{shown} cannot be written: {error}; choose another or change its owner"),
        };
        Some(Finding::Bad(config.error(&["artifacts"], &problem).to_string()))
    }
}

fn state(folder: &Path) -> State {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => State::Missing,
        Err(_) => State::There,
        // A new file system has this of its own.
        Ok(entries) => match entries.flatten().any(|entry| entry.file_name() != "lost+found") {
            true => State::There,
            false => State::Empty,
        },
    }
}

/// Whether a path leads nowhere. What cannot be looked at is there.
pub(super) fn is_missing(path: &Path) -> bool {
    fs::metadata(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}
