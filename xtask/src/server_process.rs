//! A server of ours as a child process: its address, its readiness, its end.
//!
//! Started on port 0; the address is read from the first line that shows one. Killed when dropped.
//! What it prints goes to a file whose end is shown when something fails.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crate::{Outcome, run};

/// How long a server may take to say where it listens, or to be ready.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Between two questions to a server that is not ready.
const READY_POLL: Duration = Duration::from_millis(50);
const HTTP_TIMEOUT: Duration = Duration::from_secs(5);
/// The most that is read of an answer whose first line is all we want.
const ANSWER_MAX_BYTES: u64 = 4096;
/// How much of a log is shown after a failure.
const LOG_TAIL_LINES: usize = 60;

pub struct ServerProcess {
    name: String,
    child: Child,
    /// Host and port.
    address: String,
    log: PathBuf,
}

impl ServerProcess {
    /// Starts `command`, writes its output to `log`, waits for the line with its address.
    pub fn start(name: &str, command: &mut Command, log: &Path) -> Outcome<Self> {
        let mut file = std::fs::File::create(log).map_err(|error| format!("{}: {error}", log.display()))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("cannot start {name}: {error}"))?;
        let (sender, lines) = channel();
        if let Some(stdout) = child.stdout.take() {
            forward(stdout, sender.clone());
        }
        if let Some(stderr) = child.stderr.take() {
            forward(stderr, sender);
        }
        let mut server = Self { name: name.to_owned(), child, address: String::new(), log: log.to_path_buf() };
        server.address = server.wait_for_address(&lines, &mut file)?;
        // From here on the pipe must still be emptied, or the server would block on a full one.
        std::thread::spawn(move || {
            while let Ok(line) = lines.recv() {
                drop(writeln!(file, "{line}"));
            }
        });
        Ok(server)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until `GET path` answers 200.
    pub fn wait_until_ready(&mut self, path: &str) -> Outcome {
        let started = run::now();
        loop {
            let status = status_line(&self.address, path);
            if status.as_deref().is_some_and(|line| line.contains(" 200")) {
                return Ok(());
            }
            self.still_running()?;
            if started.elapsed() >= START_LIMIT {
                let last = status.unwrap_or_else(|| "no answer".to_owned());
                return Err(self.failure(&format!("was not ready at {path} in time: {last}")));
            }
            std::thread::sleep(READY_POLL);
        }
    }

    /// An error about this server, with the end of its log.
    pub fn failure(&self, message: &str) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        let tail = lines[lines.len().saturating_sub(LOG_TAIL_LINES)..].join("\n  | ");
        format!("{} {message}; the end of {}:\n  | {tail}", self.name, self.log.display())
    }

    fn wait_for_address(&mut self, lines: &Receiver<String>, file: &mut std::fs::File) -> Outcome<String> {
        let started = run::now();
        while started.elapsed() < START_LIMIT {
            if let Ok(line) = lines.recv_timeout(READY_POLL) {
                drop(writeln!(file, "{line}"));
                if let Some(address) = address_in(&line) {
                    return Ok(address);
                }
            } else {
                self.still_running()?;
            }
        }
        Err(self.failure("did not say where it listens"))
    }

    fn still_running(&mut self) -> Outcome {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.failure(&format!("ended with {status}"))),
            Err(error) => Err(self.failure(&format!("cannot be waited for: {error}"))),
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill, only to collect.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn forward(stream: impl Read + Send + 'static, sender: Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
}

/// Host and port of the first loopback URL in a line.
fn address_in(line: &str) -> Option<String> {
    let start = line.find("http://127.0.0.1:")? + "http://".len();
    let rest = &line[start..];
    let digits = rest["127.0.0.1:".len()..].chars().take_while(char::is_ascii_digit).count();
    (digits > 0).then(|| rest["127.0.0.1:".len()..][..digits].to_owned()).map(|port| format!("127.0.0.1:{port}"))
}

fn status_line(address: &str, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(HTTP_TIMEOUT)).ok()?;
    stream.set_write_timeout(Some(HTTP_TIMEOUT)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").ok()?;
    let mut line = String::new();
    BufReader::new(stream.take(ANSWER_MAX_BYTES)).read_line(&mut line).ok()?;
    Some(line.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::address_in;

    #[test]
    fn finds_the_address_in_plain_and_decorated_lines() {
        assert_eq!(address_in("listening on http://127.0.0.1:4711").as_deref(), Some("127.0.0.1:4711"));
        assert_eq!(address_in(r#"{"url":"http://127.0.0.1:80/v1"}"#).as_deref(), Some("127.0.0.1:80"));
        assert_eq!(address_in("http://127.0.0.1:"), None);
        assert_eq!(address_in("listening on port 4711"), None);
    }
}
