//! Installs the peers of the PostgreSQL benchmark under target/bench-peers; their sources stand in crates/bench/peers.
//!
//! Versions are pinned there; nothing is installed again while the pins stay the same.

use std::path::Path;
use std::process::Command;

use crate::Outcome;
use crate::run::{self, find_program};

/// Written last: the pins of what is installed.
const INSTALLED: &str = "installed-pins";
const PG_BOSS: &[&str] = &["package.json", "package-lock.json", "peer.mjs"];
const PROCRASTINATE: &[&str] = &["requirements.txt", "peer.py", "videos.py"];

/// Puts both below the target folder, ready to run.
pub fn install(root: &Path, target: &Path) -> Outcome {
    for (program, needed_for) in [("npm", "pg-boss"), ("python3", "procrastinate")] {
        if find_program(program).is_none() {
            return Err(format!("{program} is missing: needed for {needed_for}, a peer; run: cargo xtask setup"));
        }
    }
    let (sources, folder) = (root.join("crates/bench/peers"), target.join("bench-peers"));
    one(&sources.join("pg_boss"), &folder.join("pg_boss"), PG_BOSS, "package-lock.json", &npm)?;
    one(&sources.join("procrastinate"), &folder.join("procrastinate"), PROCRASTINATE, "requirements.txt", &pip)
}

fn one(sources: &Path, folder: &Path, files: &[&str], pins: &str, install: &dyn Fn(&Path) -> Outcome) -> Outcome {
    std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    for file in files {
        std::fs::copy(sources.join(file), folder.join(file)).map_err(|error| format!("{file}: {error}"))?;
    }
    let read = |file: &Path| std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()));
    let (wanted, installed) = (read(&folder.join(pins))?, folder.join(INSTALLED));
    if std::fs::read(&installed).ok().as_ref() == Some(&wanted) {
        return Ok(());
    }
    install(folder)?;
    std::fs::write(&installed, wanted).map_err(|error| format!("{}: {error}", installed.display()))
}

/// With Node itself among the packages: pg-boss needs a newer one than many systems have.
fn npm(folder: &Path) -> Outcome {
    let quiet = ["ci", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel", "error"];
    run::run(Command::new("npm").current_dir(folder).args(quiet))
}

fn pip(folder: &Path) -> Outcome {
    run::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder.join("venv")))?;
    let mut pip = Command::new(folder.join("venv/bin/python"));
    pip.current_dir(folder).args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]);
    // Ready-made binaries only: the fast parts of both drivers are compiled.
    run::run(pip.args(["--only-binary", ":all:", "--requirement", "requirements.txt"]))
}
