//! Several `longtake serve` processes on one database: roles of their own, one data directory for secrets and bytes.

use std::path::{Path, PathBuf};

use super::cpu::server_cpu;
use crate::gateway::Gateway;
use crate::process::cpu_ms;
use crate::{Bench, Outcome};

/// What all nodes of one deployment share.
pub struct Deployment<'a> {
    bench: &'a Bench,
    folder: PathBuf,
    pub database: String,
    config: String,
}

impl<'a> Deployment<'a> {
    pub fn new(bench: &'a Bench, folder: &Path, database: String, config: String) -> Self {
        Self { bench, folder: folder.to_path_buf(), database, config }
    }

    /// Starts one more process. Its name is that of its folder, and tells its log.
    pub async fn start(&self, name: &str, role: &str) -> Outcome<Gateway> {
        let own = self.folder.join(name);
        std::fs::create_dir_all(&own).map_err(|error| format!("{}: {error}", own.display()))?;
        let arguments = ["--role", role, "--database", &self.database];
        Gateway::start_with(self.bench, &own, &self.folder.join("data"), &self.config, &arguments).await
    }
}

/// CPU time of processes and of the database server, in milliseconds.
pub fn cpu(nodes: &[&Gateway], postmaster: u32) -> Outcome<(u64, u64)> {
    let workers = nodes.iter().map(|node| cpu_ms(node.pid())).sum::<Outcome<u64>>()?;
    let database = server_cpu(postmaster)?.as_millis();
    Ok((workers, u64::try_from(database).unwrap_or(u64::MAX)))
}
