//! Throwaway PostgreSQL servers, for tests, benchmarks and chaos runs.
//!
//! [`TestDatabase`] is the cheap way: a database on one server that all test processes share. [`PostgresCluster`] is a
//! server of one's own, to be stopped, killed, paused, followed and promoted. Both run the system's PostgreSQL, in
//! folders of their own, and end it even where the test was killed; a cluster of the system is never touched.
//! Absent: downloads of PostgreSQL; `cargo xtask setup` installs it.

mod admin;
mod files;
mod install;
mod server;
mod shared;
mod standby;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Child;

use rustix::process::{Pid, Signal};

pub use admin::TextRows;
pub use shared::TestDatabase;

/// The certificate authority that signed the certificate of servers with `tls`.
pub const TEST_CA: &str = include_str!("tls/ca.pem");
/// Another one, which signed nothing.
pub const OTHER_CA: &str = include_str!("tls/other_ca.pem");

/// How to run a server.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Where its folder is made; absent: on a RAM disk where there is one with room. Benchmarks name a real disk.
    pub folder: Option<PathBuf>,
    /// Off: a crash of the machine may lose everything. On a RAM disk it costs nothing, and our store refuses without.
    pub fsync: bool,
    /// Further settings of postgresql.conf, as name and value; later ones win.
    pub settings: Vec<(String, String)>,
    /// Connections it accepts.
    pub max_connections: u32,
    /// Offers TLS on 127.0.0.1, with a certificate for `localhost` and `127.0.0.1` signed by [`TEST_CA`].
    pub tls: bool,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self { folder: None, fsync: true, settings: Vec::new(), max_connections: 100, tls: false }
    }
}

/// How a server is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Connections are ended, then everything is written: the next start has nothing to recover.
    Fast,
    /// At once, without writing: the next start recovers from the log.
    Immediate,
}

/// A running server; dropping it ends it and removes its files.
#[derive(Debug)]
pub struct PostgresCluster {
    folder: PathBuf,
    options: PostgresOptions,
    port: u16,
    /// Absent while it is stopped.
    postmaster: Option<Child>,
    /// Acts where this process does not live to drop us.
    janitor: Child,
}

impl PostgresCluster {
    /// A server of one's own, ready to be connected to: about 0.2 s.
    ///
    /// # Panics
    /// Where PostgreSQL is not installed or does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(PostgresOptions::default())
    }

    /// [`PostgresCluster::start`] with options.
    ///
    /// # Panics
    /// As there.
    #[must_use]
    pub fn start_with(options: PostgresOptions) -> Self {
        let folder = prepare(&options);
        let janitor = server::own_janitor(&folder);
        Self::run(folder, options, janitor)
    }

    fn run(folder: PathBuf, options: PostgresOptions, janitor: Child) -> Self {
        let (port, postmaster) = server::start(&folder, None);
        Self { folder, options, port, postmaster: Some(postmaster), janitor }
    }

    /// The URL of a database, as the superuser `postgres`, who needs no password. It stays the same over restarts.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        shared::url(self.port, database)
    }

    /// The same through the server's Unix socket.
    #[must_use]
    pub fn socket_url(&self, database: &str) -> String {
        let folder = self.folder.display().to_string().replace('/', "%2F");
        format!("postgres://postgres@{folder}:{}/{database}", self.port)
    }

    /// A URL that names several servers, as clients use it to find the primary.
    #[must_use]
    pub fn url_of_all(clusters: &[&Self], database: &str) -> String {
        let hosts: Vec<String> = clusters.iter().map(|cluster| format!("127.0.0.1:{}", cluster.port)).collect();
        format!("postgres://postgres@{}/{database}", hosts.join(","))
    }

    /// Its TCP port on 127.0.0.1; the same over restarts.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Its folder: `data`, `log`, the socket.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What the server has logged.
    #[must_use]
    pub fn log(&self) -> String {
        server::log(&self.folder)
    }

    /// Makes a database and gives its URL.
    ///
    /// # Panics
    /// Where it exists already.
    #[must_use]
    pub fn create_database(&self, name: &str) -> String {
        let _no_rows = self.query("postgres", &format!("CREATE DATABASE {name}"));
        self.url(name)
    }

    /// Runs statements in a session of their own.
    ///
    /// # Panics
    /// Where one fails.
    #[must_use]
    pub fn query(&self, database: &str, sql: &str) -> TextRows {
        admin::statements(&self.url(database), sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"))
    }

    /// Ends every client's connection. How many there were.
    #[must_use]
    pub fn terminate_backends(&self) -> usize {
        let clients = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
                       WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()";
        self.query("postgres", clients).len()
    }

    /// Stops the server; a stopped one stays stopped.
    pub fn stop(&mut self, how: Stop) {
        if let Some(mut postmaster) = self.postmaster.take() {
            let signal = if how == Stop::Fast { Signal::INT } else { Signal::QUIT };
            server::signal(Pid::from_child(&postmaster), signal);
            let _either_way = server::wait(&mut postmaster);
        }
    }

    /// Kills all its processes: what only memory held is gone. What the system's cache holds is not (that is a power cut).
    pub fn kill9(&mut self) {
        let Some(mut postmaster) = self.postmaster.take() else { return };
        let pid = Pid::from_child(&postmaster);
        // Stopped first, so that it makes no further children while we look.
        server::signal(pid, Signal::STOP);
        let children = server::children(pid);
        server::signal(pid, Signal::KILL);
        let _killed = server::wait(&mut postmaster);
        for child in &children {
            server::signal(*child, Signal::KILL);
        }
        server::gone(&children);
    }

    /// Starts a stopped or killed server again; a running one is stopped first, fast.
    ///
    /// # Panics
    /// Where it does not start, or its port was taken meanwhile.
    pub fn restart(&mut self) {
        self.stop(Stop::Fast);
        self.postmaster = Some(server::start(&self.folder, Some(self.port)).1);
    }

    /// Freezes all its processes: connections stay open and nothing answers, until [`PostgresCluster::resume`].
    pub fn pause(&self) {
        let Some(postmaster) = &self.postmaster else { return };
        let pid = Pid::from_child(postmaster);
        server::signal(pid, Signal::STOP);
        for child in server::children(pid) {
            server::signal(child, Signal::STOP);
        }
    }

    /// Ends a pause.
    pub fn resume(&self) {
        let Some(postmaster) = &self.postmaster else { return };
        let pid = Pid::from_child(postmaster);
        for child in server::children(pid) {
            server::signal(child, Signal::CONT);
        }
        server::signal(pid, Signal::CONT);
    }
}

impl Drop for PostgresCluster {
    fn drop(&mut self) {
        self.resume();
        self.stop(Stop::Immediate);
        // Closing its input tells it to remove the files.
        drop(self.janitor.stdin.take());
        let _either_way = server::wait(&mut self.janitor);
    }
}

/// Makes the folder of a cluster, with its settings.
fn prepare(options: &PostgresOptions) -> PathBuf {
    let parent = options.folder.clone().unwrap_or_else(files::fast_folder);
    let folder = files::new_cluster(&parent);
    let data = folder.join("data");
    let mut text = String::from("\n");
    let fsync = if options.fsync { "on" } else { "off" };
    let connections = options.max_connections.to_string();
    let fixed = [
        ("fsync", fsync),
        ("full_page_writes", fsync),
        ("max_connections", &connections),
        ("shared_buffers", "32MB"),
        ("min_wal_size", "32MB"),
        ("max_wal_size", "256MB"),
        ("listen_addresses", "127.0.0.1"),
        // In the data directory, so that a killed server leaves nothing elsewhere.
        ("dynamic_shared_memory_type", "mmap"),
    ];
    for (name, value) in fixed {
        text.push_str(&setting(name, value));
    }
    if options.tls {
        for (name, content) in
            [("server.crt", include_str!("tls/server.pem")), ("server.key", include_str!("tls/server.key"))]
        {
            std::fs::write(data.join(name), content).expect("the data directory can be written");
            install::installation().give(&data.join(name), 0o600);
        }
        text.push_str(&setting("ssl", "on"));
    }
    for (name, value) in &options.settings {
        text.push_str(&setting(name, value));
    }
    text.push_str(&own_settings(&folder));
    append(&data.join("postgresql.conf"), &text);
    folder
}

/// What differs between a server and its copy.
fn own_settings(folder: &Path) -> String {
    setting("unix_socket_directories", &folder.display().to_string())
}

fn setting(name: &str, value: &str) -> String {
    format!("{name} = '{}'\n", value.replace('\'', "''"))
}

fn append(path: &Path, text: &str) {
    let file = std::fs::File::options().append(true).open(path);
    let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
    written.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}
