//! The server programs on this machine: where they are, and which user of the system may run them.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// Overrides the search: a folder with `postgres` and `initdb`, for tests against another major version.
const FOLDER_VARIABLE: &str = "LONGTAKE_POSTGRES_BIN";
/// What a complete installation has; `/usr/local/bin` may have links to some.
const PROGRAMS: &[&str] = &["postgres", "initdb", "pg_basebackup"];
/// Where packages put versions side by side: Debian, then Homebrew.
const VERSIONED: &[&str] = &["/usr/lib/postgresql", "/opt/homebrew/opt", "/usr/local/opt"];

/// PostgreSQL's server programs, and the user they run as.
#[derive(Debug)]
pub(super) struct Installation {
    programs: PathBuf,
    /// 15, 16, …
    pub major: u32,
    /// User and group to change to: the server refuses to run as root.
    account: Option<(u32, u32)>,
}

/// The newest installation of this machine, looked for once.
///
/// # Panics
/// Where there is none: says how to get one.
pub(super) fn installation() -> &'static Installation {
    static FOUND: OnceLock<Installation> = OnceLock::new();
    FOUND.get_or_init(|| {
        let complete = |folder: &PathBuf| PROGRAMS.iter().all(|name| folder.join(name).is_file());
        let candidates = candidates().into_iter().filter(complete);
        let newest = candidates.filter_map(|folder| Some((major(&folder)?, folder))).max_by_key(|(major, _)| *major);
        let (major, programs) = newest.expect(
            "PostgreSQL's server programs (postgres, initdb, pg_basebackup) are not installed: run cargo xtask setup, or \
             on Debian: apt-get install -y --no-install-recommends postgresql",
        );
        let account = rustix::process::geteuid().is_root().then(|| {
            let users = std::fs::read_to_string("/etc/passwd").expect("/etc/passwd can be read");
            ["postgres", "nobody"].iter().find_map(|name| user(&users, name)).expect("a user beside root exists")
        });
        Installation { programs, major, account }
    })
}

impl Installation {
    /// A program of this installation, to be run as the right user, untouched by the caller's PG variables.
    pub(super) fn command(&self, program: &str) -> Command {
        self.as_server_user(&self.programs.join(program))
    }

    /// Any program, as the user that the server runs as.
    pub(super) fn as_server_user(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("LC_ALL", "C")
            .env("TZ", "UTC");
        command.current_dir("/").stdin(Stdio::null());
        if let Some((user, group)) = self.account {
            command.uid(user).gid(group);
        }
        command
    }

    /// Makes a folder that only the server's user may enter.
    pub(super) fn make_folder(&self, path: &Path) {
        std::fs::create_dir_all(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        self.give(path, 0o700);
    }

    /// Hands a file to the server's user.
    pub(super) fn give(&self, path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        if let Some((user, group)) = self.account {
            chown(path, Some(user), Some(group)).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        }
    }
}

/// Runs to the end; panics with what the program said where it fails.
pub(super) fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
}

fn candidates() -> Vec<PathBuf> {
    if let Some(folder) = std::env::var_os(FOLDER_VARIABLE) {
        return vec![folder.into()];
    }
    let mut found = Vec::new();
    for parent in VERSIONED {
        let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
        found.extend(entries.map(|entry| entry.path().join("bin")));
    }
    let told = Command::new("pg_config").arg("--bindir").stderr(Stdio::null()).output();
    if let Ok(output) = told {
        found.push(String::from_utf8_lossy(&output.stdout).trim().into());
    }
    found.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    found
}

/// From `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`.
fn major(programs: &Path) -> Option<u32> {
    let output = Command::new(programs.join("postgres")).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split_whitespace().find(|word| word.starts_with(|first: char| first.is_ascii_digit()))?;
    version.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
}

/// User and group from a line of /etc/passwd.
fn user(users: &str, name: &str) -> Option<(u32, u32)> {
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}
