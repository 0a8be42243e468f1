//! Content downloads against nginx, on the very file that the gateway stores, with wrk on both.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use longtake_testing::sim::Options;

use crate::gateway::{Gateway, account};
use crate::http::{Connection, get};
use crate::process::{Process, free_address};
use crate::report::Figure;
use crate::simulator::Simulator;
use crate::stats::Samples;
use crate::{Bench, Outcome};

const VIDEO_BYTES: u64 = 32 << 20;
const SHARE_WITHOUT_SENDFILE: f64 = 0.7;
const SHARE_WITH_SENDFILE: f64 = 0.4;
const COMPLETE_BOUND: Duration = Duration::from_secs(60);
const START_BOUND: Duration = Duration::from_secs(10);
const STOP_BOUND: Duration = Duration::from_secs(5);
const START_POLL: Duration = Duration::from_millis(10);
/// Folders and files looked at in search of the stored video.
const MAX_ENTRIES: usize = 10_000;

pub async fn run(bench: &Bench) -> Outcome<Vec<Figure>> {
    let folder = bench.fresh("download")?;
    let options = Options { duration_ms: 100, result_bytes: VIDEO_BYTES, ..Options::default() };
    let simulator = Simulator::start(bench, &folder, &options).await?;
    let config = account(&simulator.url(), 200, 200, "");
    let gateway = Gateway::start(bench, &folder, &folder.join("data"), &config).await?;
    let id = gateway.create("a take to look at often").await?;
    gateway.wait_completed(&id, COMPLETE_BOUND).await?;
    drop(simulator);
    let file = stored_file(&gateway.data)?;
    let plain = Nginx::start(&folder, "off", &file).await?;
    let sendfile = Nginx::start(&folder, "on", &file).await?;
    let url = format!("http://{}/v1/videos/{id}/content", gateway.address);
    let authorization = format!("Authorization: Bearer {}", gateway.key());
    let (mut ours, mut off, mut on) = (Samples::default(), Samples::default(), Samples::default());
    for _ in 0..bench.repetitions() {
        ours.push(wrk(bench, &url, &["-H", &authorization])?);
        off.push(wrk(bench, &plain.url, &[])?);
        on.push(wrk(bench, &sendfile.url, &[])?);
    }
    gateway.kill();
    let what =
        format!("download of a {} MiB video, 4 connections; peer: nginx on the same file, sendfile", VIDEO_BYTES >> 20);
    let shown = |samples: &Samples| (samples.show(0, " MiB/s"), samples.median());
    Ok(vec![
        Figure::at_least(format!("{what} off"), shown(&ours), shown(&off), SHARE_WITHOUT_SENDFILE),
        Figure::at_least(format!("{what} on"), shown(&ours), shown(&on), SHARE_WITH_SENDFILE),
    ])
}

/// The stored video below a data directory: the only file of its length.
fn stored_file(data: &Path) -> Outcome<PathBuf> {
    let mut folders = vec![data.to_path_buf()];
    let mut seen = 0;
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for entry in entries.filter_map(Result::ok) {
            seen += 1;
            let Ok(about) = entry.metadata() else { continue };
            if about.is_dir() {
                folders.push(entry.path());
            } else if about.len() >= VIDEO_BYTES {
                return Ok(entry.path());
            }
        }
        if seen > MAX_ENTRIES {
            break;
        }
    }
    Err(format!("no stored video below {}", data.display()))
}

/// A running nginx. Its workers outlive a killed master, so it is asked to stop before its handle kills it.
struct Nginx {
    process: Process,
    stop: Command,
    url: String,
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It ends within this call or soon after; if it cannot be asked, the kill that follows ends the master at least.
        drop(self.stop.stdin(Stdio::null()).output());
        let started = Instant::now();
        while self.process.still_running().is_ok() && started.elapsed() < STOP_BOUND {
            std::thread::sleep(START_POLL);
        }
    }
}

impl Nginx {
    async fn start(folder: &Path, sendfile: &str, file: &Path) -> Outcome<Self> {
        let address = free_address()?;
        let folder = folder.join(format!("nginx-{sendfile}"));
        std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let here = folder.display();
        let (root, name) = match (file.parent(), file.file_name()) {
            (Some(root), Some(name)) => (root.display(), name.to_string_lossy()),
            _ => return Err(format!("{} is no path of a file", file.display())),
        };
        // The data directory is its owner's alone: workers must be the same user.
        let user = if we_are_root() { "user root;" } else { "" };
        let config = format!(
            "{user} daemon off; worker_processes auto; pid {here}/nginx.pid; error_log {here}/error.log;\n\
             events {{ worker_connections 256; }}\n\
             http {{ access_log off; sendfile {sendfile}; default_type video/mp4; keepalive_requests 1000000;\n\
             client_body_temp_path {here}/body; proxy_temp_path {here}/proxy; fastcgi_temp_path {here}/fastcgi;\n\
             uwsgi_temp_path {here}/uwsgi; scgi_temp_path {here}/scgi;\n\
             server {{ listen {address}; root {root}; }} }}\n"
        );
        let path = folder.join("nginx.conf");
        std::fs::write(&path, config).map_err(|error| format!("{}: {error}", path.display()))?;
        let nginx = program("nginx")?;
        let command = || {
            let mut command = Command::new(&nginx);
            command.arg("-p").arg(&folder).arg("-c").arg(&path).arg("-e").arg(folder.join("error.log"));
            command
        };
        let process = Process::start("nginx", &mut command(), &folder.join("out.log"))?;
        let mut stop = command();
        stop.args(["-s", "stop"]);
        let mut nginx = Self { process, stop, url: format!("http://{address}/{name}") };
        let request = get(address, &format!("/{name}"), None);
        let started = Instant::now();
        loop {
            if let Ok(mut connection) = Connection::open(address).await {
                connection.drain(&request, START_BOUND).await?;
                return Ok(nginx);
            }
            nginx.process.still_running()?;
            if started.elapsed() > START_BOUND {
                return Err(format!("nginx did not start in time; see {here}"));
            }
            tokio::time::sleep(START_POLL).await;
        }
    }
}

/// Whether we are root, by the owner of our own process folder.
fn we_are_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|about| about.uid() == 0)
}

fn program(name: &str) -> Outcome<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers in folders that are not on everybody's PATH.
    let more = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut files = std::env::split_paths(&path).chain(more).map(|folder| folder.join(name));
    files.find(|file| file.is_file()).ok_or_else(|| format!("{name} is not installed; run: cargo xtask setup"))
}

/// MiB per second that wrk gets.
fn wrk(bench: &Bench, url: &str, more: &[&str]) -> Outcome<f64> {
    let duration = bench.pick("-d5s", "-d2s");
    let mut command = Command::new(program("wrk")?);
    command.args(["-t1", "-c4", duration]).args(more).arg(url).stdin(Stdio::null());
    let output = command.output().map_err(|error| format!("wrk cannot be started: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() || text.contains("Non-2xx") || text.contains("Socket errors") {
        return Err(format!("wrk failed: {text}"));
    }
    transfer(&text).ok_or_else(|| format!("wrk told no transfer rate: {text}"))
}

/// The rate in wrk's output; its units are binary.
fn transfer(text: &str) -> Option<f64> {
    let value = text.lines().find_map(|line| line.trim().strip_prefix("Transfer/sec:"))?.trim();
    for (unit, mib) in [("TB", 1_048_576.0), ("GB", 1_024.0), ("MB", 1.0), ("KB", 1.0 / 1_024.0)] {
        if let Some(number) = value.strip_suffix(unit) {
            return Some(number.parse::<f64>().ok()? * mib);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::transfer;

    #[test]
    fn the_rate_is_read_in_all_units() {
        assert_eq!(transfer("Requests/sec: 3\nTransfer/sec:      1.50GB\n"), Some(1_536.0));
        assert_eq!(transfer("Transfer/sec:    12.00MB"), Some(12.0));
        assert_eq!(transfer("nothing"), None);
    }
}
