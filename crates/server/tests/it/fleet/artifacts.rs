//! Where all nodes of a run keep videos, as the test itself sees it: past the nodes.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use longtake_testing::s3::{ACCESS_KEY_ID, BUCKET, SECRET_ACCESS_KEY, TestS3};

/// What the keys of a bucket begin with.
const PREFIX: &str = "fleet/videos";

/// A folder that all nodes share, or a bucket.
#[derive(Debug, Clone)]
pub enum Artifacts {
    Folder(PathBuf),
    /// On a server of this run, which a node reaches at the address.
    Bucket(Arc<TestS3>, SocketAddr),
}

impl Artifacts {
    /// The line of a config, above all sections.
    pub fn line(&self) -> String {
        match self {
            Self::Folder(folder) => format!("artifacts = \"file:{}\"\n", folder.display()),
            Self::Bucket(..) => format!("artifacts = \"s3://{BUCKET}/{PREFIX}\"\n"),
        }
    }

    /// Its section of a config.
    pub fn section(&self) -> String {
        let Self::Bucket(_, address) = self else { return String::new() };
        format!(
            "[storage]\nendpoint = \"http://{address}\"\nallow_http = true\n\
             access_key_id = \"{ACCESS_KEY_ID}\"\nsecret_access_key = \"{SECRET_ACCESS_KEY}\"\n"
        )
    }

    /// The same place, reached at another address.
    pub fn through(&self, address: SocketAddr) -> Self {
        match self {
            Self::Folder(_) => self.clone(),
            Self::Bucket(s3, _) => Self::Bucket(Arc::clone(s3), address),
        }
    }

    /// The bytes of an object, if it is there.
    pub fn read(&self, key: &str) -> Option<Vec<u8>> {
        match self {
            Self::Folder(folder) => std::fs::read(folder.join(key)).ok(),
            Self::Bucket(s3, _) => {
                let key = format!("{PREFIX}/{key}");
                s3.objects().contains(&key).then(|| s3.bytes(&key))
            }
        }
    }
}

/// The keys of the videos in a bucket, and of whatever else a node left there.
pub fn keys(s3: &TestS3) -> Vec<String> {
    let keys = s3.objects().into_iter().filter_map(|key| Some(key.strip_prefix(PREFIX)?.strip_prefix('/')?.to_owned()));
    keys.filter(|key| key != "longtake-installation.txt").collect()
}
