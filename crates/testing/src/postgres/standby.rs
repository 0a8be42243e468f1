//! A second server that follows the first, and takes over.

use std::time::Duration;

use super::{PostgresCluster, PostgresOptions, files, install, server};

/// Bound of a promotion, and of a standby becoming synchronous.
const BOUND: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(10);

impl PostgresCluster {
    /// Starts a streaming replica, known to this server by `name`. It follows asynchronously until
    /// [`PostgresCluster::require_standby`] asks for more.
    ///
    /// # Panics
    /// Where it does not come up.
    #[must_use]
    pub fn standby(&self, name: &str) -> Self {
        let options = PostgresOptions { tls: false, ..self.options.clone() };
        let folder = files::new_folder(&options.folder.clone().unwrap_or_else(files::fast_folder));
        // Removes the folder also where the copy fails.
        let janitor = server::own_janitor(&folder);
        let data = folder.join("data");
        let primary = format!("host=127.0.0.1 port={} user=postgres application_name={name}", self.port());
        let copy = ["--wal-method=stream", "--checkpoint=fast", "--no-sync"];
        let mut command = install::installation().command("pg_basebackup");
        install::run(command.args(copy).arg("--dbname").arg(&primary).arg("--pgdata").arg(&data));
        std::fs::write(data.join("standby.signal"), "").expect("the data directory can be written");
        install::installation().give(&data.join("standby.signal"), 0o600);
        // The last value of a setting counts; what the primary demands of its standbys is not this server's to demand.
        let follow = format!("\nprimary_conninfo = '{primary}'\nsynchronous_standby_names = ''\n");
        super::append(&data.join("postgresql.auto.conf"), &follow);
        super::append(&data.join("postgresql.conf"), &super::own_settings(&folder));
        Self::run(folder, options, janitor)
    }

    /// From here on a commit waits for this standby, as `synchronous_commit = on` says. Returns once it is so.
    ///
    /// # Panics
    /// Where the standby does not follow.
    pub fn require_standby(&self, name: &str) {
        let _no_rows = self.query("postgres", &format!("ALTER SYSTEM SET synchronous_standby_names = '{name}'"));
        let _true = self.query("postgres", "SELECT pg_reload_conf()");
        let state = format!(
            "SELECT count(*) FROM pg_stat_replication WHERE application_name = '{name}' AND sync_state = 'sync'"
        );
        self.until(&state, "1");
    }

    /// Makes a standby a primary. Returns once it accepts writes; the old primary must be stopped, or it goes on beside it.
    ///
    /// # Panics
    /// Where it is none, or does not become one.
    pub fn promote(&self) {
        let _true = self.query("postgres", "SELECT pg_promote()");
        self.until("SELECT pg_is_in_recovery()", "f");
    }

    /// Waits until the only value of this query is `wanted`.
    fn until(&self, sql: &str, wanted: &str) {
        let started = std::time::Instant::now();
        while self.query("postgres", sql) != [[Some(wanted.to_owned())]] {
            assert!(started.elapsed() < BOUND, "{sql} is not {wanted} after {BOUND:?}:\n{}", server::log(&self.folder));
            std::thread::sleep(PAUSE);
        }
    }
}
