//! A server of somebody else as a process: on a free port, in a folder of its own, and never left behind.
//!
//! A small shell stands over it and ends it when this process is gone, however it went.
//! Absent: what the server is, and what it is asked.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Bound of a start and of a stop.
pub(crate) const BOUND: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(5);
/// A port that was free may be taken before the server binds it.
const START_TRIES: usize = 5;
/// Runs what it is given until its standard input closes, and ends it with the signal named first. What a shell puts into
/// the background reads nothing, so the input has a second number.
const KEEPER: &str = r#"exec 3<&0; signal="$1"; shift; "$@" 3<&- & child=$!; (cat <&3 >/dev/null; kill -"$signal" "$child" 2>/dev/null) & wait "$child""#;

/// A running server; dropping it stops it and removes what it kept.
#[derive(Debug)]
pub(crate) struct Kept {
    address: SocketAddr,
    folder: PathBuf,
    keeper: Child,
}

impl Kept {
    /// Starts the server that `command` adds to a command, with its arguments, and waits until it accepts connections.
    pub(crate) fn start(
        name: &str,
        signal: &str,
        prepare: impl Fn(&Path),
        command: impl Fn(&mut Command, &Path, SocketAddr),
    ) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let folder = format!("longtake-{name}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let folder = std::env::temp_dir().join(folder);
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        prepare(&folder);
        for _ in 0..START_TRIES {
            let address = free_address();
            let mut keeper = Command::new("sh");
            keeper.args(["-c", KEEPER, "keeper", signal]);
            command(&mut keeper, &folder, address);
            if let Some(keeper) = started(keeper, &folder, address) {
                return Self { address, folder, keeper };
            }
        }
        panic!("no start in {START_TRIES} tries:\n{}", log(&folder))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// What it wrote to its output.
    pub(crate) fn log(&self) -> String {
        log(&self.folder)
    }
}

impl Drop for Kept {
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

/// Waits until the server accepts connections; `None` where it ended instead.
fn started(mut command: Command, folder: &Path, address: SocketAddr) -> Option<Child> {
    let log = File::options().create(true).append(true).open(folder.join("log")).expect("the log can be written");
    command.stdin(Stdio::piped()).stdout(log.try_clone().expect("a file can be cloned")).stderr(log);
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

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the system has a free port");
    listener.local_addr().expect("a bound socket has an address")
}

fn log(folder: &Path) -> String {
    std::fs::read(folder.join("log")).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}
