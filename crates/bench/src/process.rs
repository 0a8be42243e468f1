//! Child processes: killed with their handle, read through `/proc`.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::Outcome;

/// Ticks of a second in `/proc/PID/stat`: a constant of the kernel's interface on all its platforms.
const TICKS_PER_SEC: u64 = 100;
/// Between two looks at a child's memory.
const SAMPLE_PAUSE: Duration = Duration::from_millis(10);
/// Between two looks at a child that should end.
const END_POLL: Duration = Duration::from_millis(20);

/// A child that dies with its handle.
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts it; what it prints goes to `log`.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Outcome<Self> {
        let failed = |error: std::io::Error| format!("{name} cannot be started: {error}");
        let out = File::options().create(true).append(true).open(log).map_err(failed)?;
        let errors = out.try_clone().map_err(failed)?;
        let child = command.stdin(Stdio::null()).stdout(out).stderr(errors).spawn().map_err(failed)?;
        Ok(Self { name: name.to_owned(), child })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// An error if it has ended.
    pub fn still_running(&mut self) -> Outcome {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(format!("{} ended with {status}", self.name)),
            Err(error) => Err(format!("{} cannot be waited for: {error}", self.name)),
        }
    }

    /// Waits for its end, within a bound.
    pub async fn finish(mut self, bound: Duration) -> Outcome {
        let started = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) if status.success() => return Ok(()),
                Ok(Some(status)) => return Err(format!("{} ended with {status}", self.name)),
                Ok(None) if started.elapsed() < bound => tokio::time::sleep(END_POLL).await,
                Ok(None) => return Err(format!("{} was still running after {bound:?}", self.name)),
                Err(error) => return Err(format!("{} cannot be waited for: {error}", self.name)),
            }
        }
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        // It may have ended by itself; then there is nothing to kill, only to collect.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An address that nobody uses.
pub fn free_address() -> Outcome<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| format!("no free port: {error}"))?;
    listener.local_addr().map_err(|error| format!("no free port: {error}"))
}

/// A line of `/proc/PID/status`, in its own unit.
fn status_of(pid: u32, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Resident memory in KiB.
pub fn resident_kib(pid: u32) -> Outcome<u64> {
    status_of(pid, "VmRSS").ok_or_else(|| format!("the memory of process {pid} cannot be read"))
}

/// CPU time of all its threads, in milliseconds.
pub fn cpu_ms(pid: u32) -> Outcome<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    let ticks = text.ok().and_then(|text| {
        // The name, in parentheses, may hold spaces.
        let rest = text.rsplit_once(") ")?.1;
        let mut fields = rest.split(' ').skip(11);
        Some(fields.next()?.parse::<u64>().ok()? + fields.next()?.parse::<u64>().ok()?)
    });
    let ticks = ticks.ok_or_else(|| format!("the CPU time of process {pid} cannot be read"))?;
    Ok(ticks * 1_000 / TICKS_PER_SEC)
}

/// How often its threads went to sleep so far, together: each is a wake-up.
pub fn sleeps(pid: u32) -> Outcome<u64> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_err(|error| format!("process {pid}: {error}"))?;
    let threads = threads.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    Ok(threads.filter_map(|thread| status_of(thread, "voluntary_ctxt_switches")).sum())
}

/// Watches the memory of a process from a thread of its own.
pub struct MemoryWatch {
    stop: Arc<AtomicBool>,
    highest_kib: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl MemoryWatch {
    pub fn start(pid: u32) -> Self {
        let (stop, highest_kib) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, highest) = (Arc::clone(&stop), Arc::clone(&highest_kib));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let Some(now) = status_of(pid, "VmRSS") else { return };
                highest.fetch_max(now, Ordering::Relaxed);
                std::thread::sleep(SAMPLE_PAUSE);
            }
        });
        Self { stop, highest_kib, thread: Some(thread) }
    }

    /// The highest seen, in KiB.
    pub fn highest_kib(&self) -> u64 {
        self.highest_kib.load(Ordering::Relaxed)
    }
}

impl Drop for MemoryWatch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It only reads; a panic in it would have shown as a highest of 0.
            drop(thread.join());
        }
    }
}
