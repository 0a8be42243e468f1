//! Tests that start and kill real processes, by name: the whole crash matrix, chaos for as long as one has time, and the
//! official SDKs against many nodes behind nginx. They are tests of the package `longtake`; here are their settings.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::run::{self, cargo};
use crate::{Outcome, ci, setup};

/// Where a chaos run leaves its result, below target.
const SCORECARD: &str = "chaos/scorecard.json";

#[derive(Args)]
pub struct MatrixOptions {
    /// Only cells whose names begin so: POINT-FAULT-CLASS, such as C5 or C7-F2-None; all if none is named
    cells: Vec<String>,
    /// Cells at once
    #[arg(long, default_value_t = 4)]
    at_once: usize,
}

#[derive(Args)]
pub struct ChaosOptions {
    /// How long things go wrong
    #[arg(long, default_value_t = 1.0)]
    minutes: f64,
    /// Processes that drive jobs
    #[arg(long, default_value_t = 3)]
    workers: usize,
    /// Processes that serve the API
    #[arg(long, default_value_t = 2)]
    api: usize,
    /// Videos in all, at most; as many as there is time for if not given
    #[arg(long)]
    videos: Option<usize>,
    /// What is done when is drawn from it
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the result goes; a table for people is written beside it [default: target/chaos/scorecard.json]
    #[arg(long, value_name = "FILE")]
    scorecard: Option<PathBuf>,
}

/// Every cell that can be, or the named ones.
pub fn matrix(root: &Path, options: &MatrixOptions) -> Outcome {
    let mut settings = vec![("LONGTAKE_TEST_MATRIX_AT_ONCE", options.at_once.to_string())];
    if !options.cells.is_empty() {
        settings.push(("LONGTAKE_TEST_MATRIX_CELLS", options.cells.join(",")));
    }
    test(root, "matrix::the_whole_crash_matrix_holds", true, &settings)
}

/// Random kills.
pub fn chaos(root: &Path, options: &ChaosOptions) -> Outcome {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let scorecard = options.scorecard.clone().unwrap_or_else(|| target.join(SCORECARD));
    // Tests run in the folder of their package.
    let scorecard = std::path::absolute(&scorecard).map_err(|error| format!("{}: {error}", scorecard.display()))?;
    let mut settings = vec![
        ("LONGTAKE_TEST_CHAOS_SECONDS", format!("{:.0}", options.minutes * 60.0)),
        ("LONGTAKE_TEST_CHAOS_WORKERS", options.workers.to_string()),
        ("LONGTAKE_TEST_CHAOS_API", options.api.to_string()),
        ("LONGTAKE_TEST_CHAOS_SEED", options.seed.to_string()),
        ("LONGTAKE_TEST_CHAOS_SCORECARD", scorecard.display().to_string()),
    ];
    if let Some(videos) = options.videos {
        settings.push(("LONGTAKE_TEST_CHAOS_VIDEOS", videos.to_string()));
    }
    test(root, "chaos::random_kills_of_everything_lose_nothing_and_pay_nothing_twice", false, &settings)
}

/// The official SDKs against two API nodes and three workers behind nginx, each killed once.
pub fn cluster(root: &Path) -> Outcome {
    let folder = setup::node_folder(root);
    // Modules are looked for from the script's own folder upwards.
    let script = folder.join("many.mjs");
    std::fs::copy(root.join("tests/clients/node/many.mjs"), &script).map_err(|error| format!("many.mjs: {error}"))?;
    let shown = |path: PathBuf| path.display().to_string();
    let settings = [
        ("LONGTAKE_TEST_PYTHON", shown(setup::venv(root).join("bin/python"))),
        ("LONGTAKE_TEST_PYTHON_SCRIPT", shown(root.join("tests/clients/python/many.py"))),
        ("LONGTAKE_TEST_NODE", "node".to_owned()),
        ("LONGTAKE_TEST_NODE_SCRIPT", shown(script)),
    ];
    let name = "behind_nginx::every_call_of_the_official_sdks_ends_with_its_video_while_every_process_is_killed_once";
    test(root, name, true, &settings)
}

/// One test by its whole name, with what it prints as it comes.
fn test(root: &Path, name: &str, ignored: bool, settings: &[(&str, String)]) -> Outcome {
    let mut command = cargo(root);
    command.envs(settings.iter().map(|(name, value)| (*name, value.as_str())));
    if ci::has_nextest() {
        let filter = format!("package(longtake) & test(={name})");
        command.args(["nextest", "run"]).args(ci::BUILD_GRAPH).args(["--profile", "processes", "--no-capture"]);
        command.args(["-E", &filter]);
        if ignored {
            command.args(["--run-ignored", "only"]);
        }
    } else {
        command.args([
            "test",
            "-p",
            "longtake",
            "--all-features",
            "--test",
            "it",
            name,
            "--",
            "--exact",
            "--nocapture",
        ]);
        if ignored {
            command.arg("--ignored");
        }
    }
    run::run(&mut command)
}
