//! Starts other programs: no shell, no strings to quote, every failure says which command it was.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Outcome;

/// Between two looks at a child that may end.
const CHILD_POLL: Duration = Duration::from_millis(50);

/// Now, for measuring how long a step took.
#[expect(clippy::disallowed_methods, reason = "a developer tool times its own steps; nothing here is simulated")]
pub fn now() -> Instant {
    Instant::now()
}

/// The cargo that runs us, so that the toolchain stays the same.
///
/// What `cargo run` says about this package is taken away: build scripts that look would run again for nothing.
pub fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy();
        if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
            command.env_remove(&variable);
        }
    }
    command.current_dir(root);
    command
}

/// Runs a command to its end with our own output; an error names it.
pub fn run(command: &mut Command) -> Outcome {
    let line = printable(command);
    println!("$ {line}");
    flush();
    let status = command.stdin(Stdio::null()).status().map_err(|error| format!("cannot start `{line}`: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("`{line}` ended with {status}")) }
}

/// Runs a command that must end within `limit`, else it is killed and that is the error.
pub fn run_within(command: &mut Command, limit: Duration) -> Outcome {
    let line = printable(command);
    println!("$ {line}");
    flush();
    let mut child = command.stdin(Stdio::null()).spawn().map_err(|error| format!("cannot start `{line}`: {error}"))?;
    let started = now();
    loop {
        match child.try_wait().map_err(|error| format!("cannot wait for `{line}`: {error}"))? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(format!("`{line}` ended with {status}")),
            None if started.elapsed() >= limit => {
                child.kill().map_err(|error| format!("cannot end `{line}`: {error}"))?;
                child.wait().map_err(|error| format!("cannot wait for `{line}`: {error}"))?;
                return Err(format!("`{line}` was still running after {} s and was ended", limit.as_secs()));
            }
            None => std::thread::sleep(CHILD_POLL),
        }
    }
}

/// The standard output of a command, trimmed; `None` where it cannot be started or fails.
pub fn output(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Where a program is on the PATH.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    // Debian keeps servers in folders that are not on everybody's PATH.
    let more = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    // And those of PostgreSQL on nobody's, one folder for each version.
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let versions = versions.map(|version| version.path().join("bin"));
    let folders = std::env::split_paths(&path).chain(more).chain(versions);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// Lines already printed must be above those of the child that starts next.
pub fn flush() {
    // A closed standard output has nobody left to tell.
    drop(std::io::stdout().flush());
}

fn printable(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    let words = std::iter::once(program).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
