//! `cargo xtask bench`: builds the release binaries and measures them with `crates/bench`.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use crate::run::{self, cargo};
use crate::{Outcome, peers, setup};

const PACKAGES: [&str; 6] = ["-p", "longtake", "-p", "longtake-testing", "-p", "longtake-bench"];

#[derive(Args)]
pub struct Options {
    /// Which figures; `postgres` is all that need PostgreSQL. If none is named: all that need none
    names: Vec<String>,
    /// Small numbers, one repetition: to see whether it works
    #[arg(long)]
    quick: bool,
    /// The whole size where a figure has one (1 million jobs in flight, 10 million finished); takes long
    #[arg(long)]
    full: bool,
}

pub fn run(root: &Path, options: &Options) -> Outcome {
    for program in ["nginx", "wrk"] {
        if run::find_program(program).is_none() {
            setup::run(root, &setup::Options { no_install: false })?;
            break;
        }
    }
    run::run(cargo(root).args(["build", "--release", "--bins"]).args(PACKAGES))?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    if options.names.iter().any(|name| name == "postgres" || name == "postgres-videos") {
        peers::install(root, &target)?;
    }
    let mut command = Command::new(target.join("release/longtake-bench"));
    command.current_dir(root).arg("run").args(&options.names).arg("--folder").arg(target.join("bench"));
    if options.quick {
        command.arg("--quick");
    }
    if options.full {
        command.arg("--full");
    }
    run::run(&mut command)
}
