//! An empty installation in a folder of its own, from which bucket and accounts are asked where the configured one cannot be
//! opened without making it. It is removed again; nothing of it is shared with anybody.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::PathBuf;

use longtake_core::id::Random;

use crate::clock::OsRandom;
use crate::config::storage::Artifacts;
use crate::config::{Config, DatabaseConfig, StorageConfig};
use crate::wiring::{self, Locked, Opened, StartError};

/// A folder and a config that leads there.
pub(super) struct Trial {
    config: Config,
    folder: TemporaryFolder,
}

/// An opened one. What is first is closed first, the folder goes last.
pub(super) struct OpenedTrial {
    pub(super) opened: Opened,
    pub(super) config: Config,
    _locked: Locked,
    _folder: TemporaryFolder,
}

struct TemporaryFolder(PathBuf);

impl Drop for TemporaryFolder {
    fn drop(&mut self) {
        // Whoever clears the folder of temporary files takes what is left.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

impl Trial {
    pub(super) fn new(config: &Config) -> std::io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("longtake-doctor-{:016x}", OsRandom.u64()));
        DirBuilder::new().mode(0o700).create(&folder)?;
        let mut config = config.clone();
        config.general.data_dir.clone_from(&folder);
        config.database = DatabaseConfig::default();
        if matches!(config.artifacts(), Ok(Artifacts::Folder(_))) {
            config.general.artifacts = None;
        }
        Ok(Self { config, folder: TemporaryFolder(folder) })
    }

    /// Keeps videos in the folder, too: where the configured place is known not to work.
    pub(super) fn without_storage(mut self) -> Self {
        self.config.general.artifacts = None;
        self.config.storage = StorageConfig::default();
        self
    }

    /// Opens it, or gives it back: what a config says of its bucket may be wrong.
    pub(super) async fn open(self) -> Result<OpenedTrial, (StartError, Self)> {
        let locked = match wiring::lock(&self.config) {
            Ok(locked) => locked,
            Err(error) => return Err((error, self)),
        };
        match wiring::open(&self.config, &locked).await {
            Ok(opened) => Ok(OpenedTrial { opened, config: self.config, _locked: locked, _folder: self.folder }),
            Err(error) => Err((error, self)),
        }
    }
}
