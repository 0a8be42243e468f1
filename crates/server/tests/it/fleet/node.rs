//! One `longtake serve` as a child process that can be killed, frozen, ended in order, and started again where it was.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::fleet::until;

/// Longest time to start, or to end when told to.
const BOUND: Duration = Duration::from_secs(60);

/// How long its first line is listened for at a time.
const LISTEN: Duration = Duration::from_millis(50);

/// One node: its place and, while it runs, its process.
pub struct Node {
    pub name: String,
    /// `api`, `worker` or `all`.
    pub role: &'static str,
    config: PathBuf,
    data: PathBuf,
    log: PathBuf,
    /// Port 0 until it was started once.
    address: SocketAddr,
    child: Option<Child>,
    /// How often it was started.
    pub starts: u32,
}

impl Node {
    /// A node that does not run yet, with this config.
    pub fn new(dir: &Path, name: &str, role: &'static str, config: &str) -> Self {
        let file = dir.join(format!("{name}.toml"));
        std::fs::write(&file, config).unwrap();
        Self {
            name: name.to_owned(),
            role,
            config: file,
            data: dir.join(format!("{name}.data")),
            log: dir.join(format!("{name}.log")),
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            child: None,
            starts: 0,
        }
    }

    /// Works on the data directory of another.
    pub fn with_data_of(mut self, other: &Self) -> Self {
        self.data.clone_from(&other.data);
        self
    }

    /// Starts it and waits until it says where it listens, or stands frozen at a failpoint.
    pub async fn start(&mut self, environment: &[(&str, &str)]) -> Result<(), String> {
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_longtake"));
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("LONGTAKE_") {
                command.env_remove(variable);
            }
        }
        command.args(["serve", "--role", self.role, "--listen", &self.address.to_string(), "--config"]);
        command.arg(&self.config).arg("--data-dir").arg(&self.data).envs(environment.iter().copied());
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let (tell, told) = tokio::sync::oneshot::channel();
        std::thread::spawn(move || {
            let mut first = String::new();
            let _ended = lines.read_line(&mut first);
            let _nobody_waits = tell.send(first);
            let _ended = lines.read_to_end(&mut Vec::new());
        });
        self.child = Some(child);
        self.starts += 1;
        let mut first = None;
        let mut told = Box::pin(told);
        // One that freezes itself at a failpoint may do so before it has said anything.
        until!("it says where it listens, or is frozen", BOUND, {
            first = tokio::time::timeout(LISTEN, &mut told).await.ok();
            first.is_some() || self.is_frozen()
        })
        .await?;
        let Some(first) = first else { return Ok(()) };
        let first = first.unwrap_or_default();
        let url = first.split_whitespace().find_map(|word| word.strip_prefix("http://"));
        let Some(address) = url.and_then(|address| address.parse().ok()) else {
            self.kill();
            return Err(format!("{} did not start: {:?}", self.name, self.last_words()));
        };
        self.address = address;
        Ok(())
    }

    /// The end of its log.
    pub fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(6)..].join("\n")
    }

    /// `http://` and its address; the same over restarts.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its address.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process number, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Whether it is stopped by SIGSTOP.
    pub fn is_frozen(&self) -> bool {
        let stat = self.pid().and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).ok());
        stat.is_some_and(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T')))
    }

    /// Whether its process runs, frozen or not.
    pub fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            // One that has just ended has nothing to be told.
            let _gone = kill_process(Pid::from_child(child), signal);
        }
    }

    /// SIGSTOP, in effect when it returns.
    pub async fn freeze(&self) -> Result<(), String> {
        self.signal(Signal::STOP);
        until!(&format!("{} is frozen", self.name), BOUND, self.is_frozen()).await
    }

    /// SIGCONT.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// SIGTERM.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// `kill -9`, also of a frozen one.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ended_already = child.kill();
            let _status = child.wait();
        }
    }

    /// SIGTERM, and its exit code once it has ended.
    pub async fn end(&mut self) -> Result<Option<i32>, String> {
        self.terminate();
        let name = self.name.clone();
        until!(&format!("{name} ends"), BOUND, !self.runs()).await?;
        let mut child = self.child.take().ok_or("it was not started")?;
        child.wait().map(|status| status.code()).map_err(|error| error.to_string())
    }

    /// Waits until it has ended by itself.
    pub async fn ended(&mut self) -> Result<(), String> {
        let name = self.name.clone();
        until!(&format!("{name} ends"), BOUND, !self.runs()).await?;
        self.kill();
        Ok(())
    }
}

/// A test that breaks off leaves no process behind.
impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}
