//! A real S3 server on a folder of its own: `s3s-fs`, as a process.
//!
//! It checks every signature, also those of links and their age, and the digests of what it is sent; objects are files.
//! A small shell stands over it and ends it when this process is gone, however it went.
//! Absent: encryption, which it neither does nor mentions; object lock, versions, lifecycle rules.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Overrides the search for the program.
const PROGRAM_VARIABLE: &str = "LONGTAKE_TEST_S3S_FS";
/// Where `cargo xtask setup` puts it.
const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/tools/bin/s3s-fs");
/// Bound of a start and of a stop.
const BOUND: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(5);
/// A port that was free may be taken before the server binds it.
const START_TRIES: usize = 5;
/// Runs what it is given until its standard input closes. What a shell puts into the background reads nothing, so the
/// input has a second number.
const KEEPER: &str =
    r#"exec 3<&0; "$@" 3<&- & child=$!; (cat <&3 >/dev/null; kill "$child" 2>/dev/null) & wait "$child""#;

/// The bucket that is there from the beginning.
pub const BUCKET: &str = "longtake-videos";
/// The only key that is let in.
pub const ACCESS_KEY_ID: &str = "longtake-test-key";
/// Its secret.
pub const SECRET_ACCESS_KEY: &str = "longtake-test-secret";

/// A running server; dropping it stops it and removes what it kept.
#[derive(Debug)]
pub struct TestS3 {
    address: SocketAddr,
    folder: PathBuf,
    keeper: Child,
}

impl TestS3 {
    /// Starts a server with one empty bucket on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// Where the program is not installed, or does not start.
    #[must_use]
    pub fn start() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("longtake-s3-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(name);
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(folder.join("data").join(BUCKET)).expect("a folder can be made");
        for _ in 0..START_TRIES {
            let address = free_address();
            if let Some(keeper) = started(&folder, address) {
                return Self { address, folder, keeper };
            }
        }
        panic!("no start in {START_TRIES} tries:\n{}", log(&folder))
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its endpoint; a bucket is the first segment of a path.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The keys of all objects of the bucket, sorted.
    #[must_use]
    pub fn objects(&self) -> Vec<String> {
        let bucket = self.folder.join("data").join(BUCKET);
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
        let path = self.folder.join("data").join(BUCKET).join(key);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Puts a file of somebody else into the bucket.
    ///
    /// # Panics
    /// Where it cannot be written.
    pub fn put(&self, key: &str, bytes: &[u8]) {
        let path = self.folder.join("data").join(BUCKET).join(key);
        std::fs::create_dir_all(path.parent().expect("a key has a bucket above it")).expect("a folder can be made");
        std::fs::write(path, bytes).expect("a file can be written");
    }

    /// Parts of uploads that were neither completed nor aborted.
    #[must_use]
    pub fn parts(&self) -> usize {
        let entries = std::fs::read_dir(self.folder.join("data")).into_iter().flatten().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().contains(".part-")).count()
    }
}

impl Drop for TestS3 {
    fn drop(&mut self) {
        // The keeper ends the server, then itself.
        drop(self.keeper.stdin.take());
        let started = Instant::now();
        while matches!(self.keeper.try_wait(), Ok(None)) && started.elapsed() < BOUND {
            std::thread::sleep(PAUSE);
        }
        drop(self.keeper.kill());
        drop(self.keeper.wait());
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// Starts the server and waits until it accepts connections; `None` where it ended instead.
fn started(folder: &Path, address: SocketAddr) -> Option<Child> {
    let log = File::options().create(true).append(true).open(folder.join("log")).expect("the log can be written");
    let mut command = Command::new("sh");
    command.args(["-c", KEEPER, "s3-keeper"]).arg(program());
    command.args(["--host", &address.ip().to_string(), "--port", &address.port().to_string()]);
    command.args(["--access-key", ACCESS_KEY_ID, "--secret-key", SECRET_ACCESS_KEY]).arg(folder.join("data"));
    // Errors only: it writes a line for each request, and the bodies of some.
    command.env("RUST_LOG", "error").stdin(Stdio::piped());
    command.stdout(log.try_clone().expect("a file can be cloned")).stderr(log);
    // Out of reach of a test runner that kills the whole group of a test: the keeper ends it in order.
    command.process_group(0);
    let mut keeper = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let started = Instant::now();
    while keeper.try_wait().expect("our child can be asked").is_none() {
        if TcpStream::connect_timeout(&address, BOUND).is_ok() {
            return Some(keeper);
        }
        assert!(started.elapsed() < BOUND, "not ready after {BOUND:?}:\n{}", self::log(folder));
        std::thread::sleep(PAUSE);
    }
    None
}

fn program() -> PathBuf {
    let told = std::env::var_os(PROGRAM_VARIABLE).map(PathBuf::from);
    let program = told.unwrap_or_else(|| PathBuf::from(PROGRAM));
    assert!(program.is_file(), "there is no {}, the S3 server of the tests: run cargo xtask setup", program.display());
    program
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the system has a free port");
    listener.local_addr().expect("a bound socket has an address")
}

fn log(folder: &Path) -> String {
    std::fs::read(folder.join("log")).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
