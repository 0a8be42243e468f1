//! The artifact store that the config names, and whether it is ours.

use std::sync::Arc;
use std::time::Duration;

use longtake_core::artifact::{ArtifactError, ArtifactStore};
use longtake_store::artifacts::FileArtifacts;
use longtake_store::artifacts::bucket::BucketArtifacts;

use super::{Opened, StartError, fingerprint};
use crate::config::storage::Artifacts;
use crate::config::{Config, Database};

/// How long a start waits for the bucket to say whose it is. A server whose bucket is away starts all the same.
const CLAIM_TIMEOUT: Duration = Duration::from_secs(10);
/// What a bucket's note of its installation is made for, so that it tells nothing of other uses of the key.
const PURPOSE: &[u8] = b"longtake artifact store";

/// Opens the store. A bucket is asked nothing yet. Blocks for a folder.
///
/// # Errors
/// The folder cannot be used, or what the config says of the bucket is not enough.
pub(super) fn open(config: &Config) -> Result<(Arc<dyn ArtifactStore>, Option<BucketArtifacts>), StartError> {
    let folder = match config.artifacts()? {
        Artifacts::Folder(folder) => folder,
        Artifacts::Bucket(place) => {
            let bucket = BucketArtifacts::open(&config.bucket(place)?);
            let bucket = bucket.map_err(|problem| config.error(&["storage"], &format!("is not enough: {problem}")))?;
            return Ok((Arc::new(bucket.clone()), Some(bucket)));
        }
    };
    let opened = match config.database()? {
        Database::Sqlite(_) => FileArtifacts::open(&folder),
        Database::Postgres(_) => FileArtifacts::open_shared(&folder),
    };
    let artifacts = opened.map_err(|error| {
        let problem = format!("{}: {error}; choose another or change its owner", folder.display());
        config.error(&["artifacts"], &problem)
    })?;
    Ok((Arc::new(artifacts), None))
}

/// Sees to it that the bucket is there and is not another installation's, whose videos our sweep would remove. One that
/// does not answer now is asked again before the first sweep.
///
/// # Errors
/// The bucket is another's, is not there, or does not let us in.
pub async fn claim(config: &Config, opened: &Opened, secret_key: &[u8; 32]) -> Result<(), StartError> {
    let Some(bucket) = &opened.bucket else { return Ok(()) };
    let installation = fingerprint(secret_key, PURPOSE);
    let answer = tokio::select! {
        answer = bucket.belongs_to(&installation) => answer,
        () = opened.clock.sleep(CLAIM_TIMEOUT) => Err(ArtifactError::Unavailable("no answer in time".into())),
    };
    let place = bucket.place();
    let problem = match answer {
        Ok(true) => return Ok(()),
        Err(ArtifactError::Unavailable(error)) => {
            tracing::warn!(%place, %error, "the bucket does not answer; videos wait in storing until it does");
            return Ok(());
        }
        Ok(false) => format!(
            "{place} belongs to another installation, or to one with another secret_key; choose another PREFIX, or remove its object {} if that one is gone",
            bucket.owner()
        ),
        Err(error) => format!("{place} cannot be used: {error}; check its name, [storage], and what the key may do"),
    };
    Err(config.error(&["artifacts"], &problem).into())
}
