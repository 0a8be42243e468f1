//! `cargo xtask simulate`: the engine's simulation over as many seeds as one has time for.

use std::path::Path;

use clap::Args;

use crate::run::{self, cargo};
use crate::{Outcome, ci};

#[derive(Args)]
pub struct Options {
    /// How many seeds
    #[arg(long, default_value_t = 1000)]
    seeds: u64,
    /// The first seed
    #[arg(long, default_value_t = 1)]
    from: u64,
}

pub fn run(root: &Path, options: &Options) -> Outcome {
    let mut command = cargo(root);
    command.env("LONGTAKE_SIM_SEEDS", options.seeds.to_string()).env("LONGTAKE_SIM_FROM", options.from.to_string());
    // The workspace's graph and not the package's own: its build is there already after a test run.
    let filter = "package(longtake-engine) & test(/simulation/)";
    if ci::has_nextest() {
        command.args(["nextest", "run"]).args(ci::BUILD_GRAPH).args(["--profile", "simulate", "-E", filter]);
    } else {
        command.args(["test", "-p", "longtake-engine", "--all-features", "simulation"]);
    }
    run::run(&mut command)
}
