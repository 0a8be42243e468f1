//! `cargo xtask bench`: builds the release binaries and measures them with `crates/bench`.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use crate::run::{self, cargo};
use crate::{Outcome, setup};

const PACKAGES: [&str; 6] = ["-p", "longtake", "-p", "longtake-testing", "-p", "longtake-bench"];

#[derive(Args)]
pub struct Options {
    /// Which figures; all if none is named
    names: Vec<String>,
    /// Small numbers, one repetition: to see whether it works
    #[arg(long)]
    quick: bool,
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
    let mut command = Command::new(target.join("release/longtake-bench"));
    command.current_dir(root).arg("run").args(&options.names).arg("--folder").arg(target.join("bench"));
    if options.quick {
        command.arg("--quick");
    }
    run::run(&mut command)
}
