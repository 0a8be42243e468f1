//! A real S3 server on a folder of its own: `s3s-fs`, as a process.
//!
//! It checks every signature, also those of links and their age, and the digests of what it is sent; objects are files.
//! Absent: encryption, which it neither does nor mentions; object lock, versions, lifecycle rules.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use crate::kept::Kept;

/// Overrides the search for the program.
const PROGRAM_VARIABLE: &str = "LONGTAKE_TEST_S3S_FS";
/// Where `cargo xtask setup` puts it.
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/tools/bin/s3s-fs");

/// The bucket that is there from the beginning.
pub const BUCKET: &str = "longtake-videos";
/// The only key that is let in.
pub const ACCESS_KEY_ID: &str = "longtake-test-key";
/// Its secret.
pub const SECRET_ACCESS_KEY: &str = "longtake-test-secret";

/// A running server; dropping it stops it and removes what it kept.
#[derive(Debug)]
pub struct TestS3 {
    server: Kept,
}

impl TestS3 {
    /// Starts a server with one empty bucket on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// Where the program is not installed, or does not start.
    #[must_use]
    pub fn start() -> Self {
        let program = program();
        let bucket = |folder: &Path| {
            std::fs::create_dir_all(folder.join("data").join(BUCKET)).expect("a folder can be made");
        };
        let server = Kept::start("s3", "TERM", bucket, |command, folder, address| {
            command.arg(&program).args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()]);
            command.args(["--access-key", ACCESS_KEY_ID, "--secret-key", SECRET_ACCESS_KEY]).arg(folder.join("data"));
            // Errors only: it writes a line for each request, and the bodies of some.
            command.env("RUST_LOG", "error");
        });
        Self { server }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Its endpoint; a bucket is the first segment of a path.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// The keys of all objects of the bucket, sorted.
    #[must_use]
    pub fn objects(&self) -> Vec<String> {
        let bucket = self.server.folder().join("data").join(BUCKET);
        let mut keys = Vec::new();
        let mut folders = vec![bucket.clone()];
        // A folder of a test is finite, and has no links.
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                } else if let Ok(key) = path.strip_prefix(&bucket) {
                    keys.push(key.display().to_string());
                }
            }
        }
        keys.sort_unstable();
        keys
    }

    /// The bytes of an object, past the server.
    ///
    /// # Panics
    /// Where there is no such object.
    #[must_use]
    pub fn bytes(&self, key: &str) -> Vec<u8> {
        let path = self.server.folder().join("data").join(BUCKET).join(key);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Puts a file of somebody else into the bucket.
    ///
    /// # Panics
    /// Where it cannot be written.
    pub fn put(&self, key: &str, bytes: &[u8]) {
        let path = self.server.folder().join("data").join(BUCKET).join(key);
        std::fs::create_dir_all(path.parent().expect("a key has a bucket above it")).expect("a folder can be made");
        std::fs::write(path, bytes).expect("a file can be written");
    }

    /// Parts of uploads that were neither completed nor aborted.
    #[must_use]
    pub fn parts(&self) -> usize {
        let entries = std::fs::read_dir(self.server.folder().join("data")).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().contains(".part-")).count()
    }
}

fn program() -> PathBuf {
    let told = std::env::var_os(PROGRAM_VARIABLE).map(PathBuf::from);
    let program = told.unwrap_or_else(|| PathBuf::from(PROGRAM));
    assert!(program.is_file(), "there is no {}, the S3 server of the tests: run cargo xtask setup", program.display());
    program
}
