//! One server for all test processes of this machine's user, and a database of its own for each test.
//!
//! Whoever comes first starts it; every process holds a shared lock on `users.lock` for as long as it lives; the janitor
//! ends the server when nobody has held that lock for a while. A killed test thus leaks nothing.
//! Where flock(1) is missing (macOS), each process has a server of its own.

use std::fs::File;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{PostgresCluster, PostgresOptions, admin, files, server};

/// How long the server stays without users: test processes come one after the other.
const LINGER: Duration = Duration::from_secs(20);

/// Bound of waiting for a server that is there and does not answer.
const BOUND: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// What this process holds of the shared server.
struct Shared {
    port: u16,
    /// Locked, shared, until this process ends.
    _user: Option<File>,
    /// Not ended on drop, since statics are not dropped: its janitor sees that this process is gone.
    _own: Option<PostgresCluster>,
    /// Outlives us.
    _processes: Vec<Child>,
}

/// A database on the shared server, for one test. Dropping it drops the database, whoever is connected.
#[derive(Debug)]
pub struct TestDatabase {
    name: String,
    port: u16,
}

impl TestDatabase {
    /// A new, empty database. The server is shared: settings, roles and the life of the server are not a test's to
    /// change here; for that, start a [`PostgresCluster`].
    ///
    /// # Panics
    /// Where PostgreSQL is not installed or does not start.
    #[must_use]
    pub fn create() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("test_{}_{number}", std::process::id());
        let port = shared().port;
        // A database of an earlier process with our pid, which was killed.
        let sql = [format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"), format!("CREATE DATABASE {name}")];
        for statement in sql {
            admin::statements(&url(port, "postgres"), &statement).expect("a database can be made");
        }
        Self { name, port }
    }

    /// Where it is.
    #[must_use]
    pub fn url(&self) -> String {
        url(self.port, &self.name)
    }

    /// Runs statements in a session of their own; panics where one fails.
    #[must_use]
    pub fn query(&self, sql: &str) -> admin::TextRows {
        admin::statements(&self.url(), sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    /// Ends the connections to this database. How many there were.
    #[must_use]
    pub fn terminate_backends(&self) -> usize {
        let others = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
                      WHERE datname = current_database() AND pid <> pg_backend_pid()";
        self.query(others).len()
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name);
        // Where this fails, the janitor removes it with the server.
        let _left_behind = admin::statements(&url(self.port, "postgres"), &sql);
    }
}

pub(super) fn url(port: u16, database: &str) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/{database}")
}

fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let version = Command::new("flock").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        if version.is_ok_and(|status| status.success()) { join() } else { own() }
    })
}

/// A server of this process alone.
fn own() -> Shared {
    let own = PostgresCluster::start_with(options());
    Shared { port: own.port(), _user: None, _own: Some(own), _processes: Vec::new() }
}

fn options() -> PostgresOptions {
    PostgresOptions { max_connections: 300, ..PostgresOptions::default() }
}

/// Joins the running server, or starts it.
fn join() -> Shared {
    let common = files::common_folder();
    let start = files::locked(&common.join("start.lock"));
    let user = files::open_lock(&common.join("users.lock"));
    user.lock_shared().expect("a lock file can be locked");
    let mut processes = Vec::new();
    // Before the server, so that no moment is without one.
    let janitor = files::open_lock(&common.join("janitor.lock"));
    if janitor.try_lock().is_ok() {
        drop(janitor);
        processes.push(server::shared_janitor(&common, LINGER));
    }
    let known = common.join("server");
    let started = Instant::now();
    let port = loop {
        match look(&known) {
            Look::Running(port) => break port,
            Look::Gone => {
                let (port, child) = begin(&known);
                processes.push(child);
                break port;
            }
            // Others are using it: it is not ours to end.
            Look::Silent => assert!(started.elapsed() < BOUND, "the shared server has not answered for {BOUND:?}"),
        }
        std::thread::sleep(PAUSE);
    };
    drop(start);
    Shared { port, _user: Some(user), _own: None, _processes: processes }
}

/// Starts the shared server; its folder is known to the janitor before anything runs in it.
fn begin(known: &Path) -> (u16, Child) {
    if let Ok(text) = std::fs::read_to_string(known)
        && let Some(left) = text.lines().nth(1).filter(|folder| Path::new(folder).is_dir())
    {
        server::clear(Path::new(left));
    }
    let folder = super::prepare(&options());
    let note = |first: &str| {
        let written = std::fs::write(known, format!("{first}\n{}", folder.display()));
        written.unwrap_or_else(|error| panic!("{}: {error}", known.display()));
    };
    note("starting");
    let (port, child) = server::start(&folder, None);
    note(&port.to_string());
    (port, child)
}

/// How the shared server is.
enum Look {
    Running(u16),
    /// Nobody listens, or another server got its port.
    Gone,
    /// It listens, and refuses or fails: all its connections are in use, for example.
    Silent,
}

fn look(known: &Path) -> Look {
    let text = std::fs::read_to_string(known).unwrap_or_default();
    let mut lines = text.lines();
    // Without a port it was killed while it started: whoever looks holds the lock of starting.
    let (Some(port), Some(folder)) = (lines.next().and_then(|line| line.parse().ok()), lines.next()) else {
        return Look::Gone;
    };
    let data = Path::new(folder).join("data");
    match admin::statements(&url(port, "postgres"), "SHOW data_directory") {
        Ok(rows) if rows.iter().flatten().flatten().any(|told| Path::new(told) == data) => Look::Running(port),
        Ok(_) => Look::Gone,
        Err(_) if TcpStream::connect(("127.0.0.1", port)).is_err() => Look::Gone,
        Err(_) => Look::Silent,
    }
}
