//! `cargo xtask ci`: every check in order, with a title and its time, ending at the first failure.

use std::path::Path;
use std::time::Duration;

use clap::Args;

use crate::run::{self, cargo, find_program};
use crate::{Outcome, clients, processes, setup, tidy};

/// Clippy, tests and the binaries of the client tour share these, so that they share one build.
pub const BUILD_GRAPH: &[&str] = &["--workspace", "--all-features"];
/// The tests that switch one safety rule off each; a step of their own, so that nobody can lose them unseen.
const ABLATIONS: &str = "ablation";

#[derive(Args)]
pub struct Options {
    /// Run this step alone
    #[arg(long, value_name = "STEP", conflicts_with = "from")]
    only: Option<String>,
    /// Begin with this step
    #[arg(long, value_name = "STEP")]
    from: Option<String>,
    /// Print the names of the steps
    #[arg(long)]
    list: bool,
    /// The first step checks, but installs nothing
    #[arg(long)]
    no_install: bool,
}

struct Step {
    name: &'static str,
    title: &'static str,
    run: fn(&Path, &Options) -> Outcome,
}

const STEPS: &[Step] = &[
    Step { name: "setup", title: "programs that the steps need", run: prepare },
    Step { name: "fmt", title: "formatting", run: fmt },
    Step { name: "clippy", title: "lints", run: clippy },
    Step { name: "deny", title: "licences, banned crates, sources", run: deny },
    Step { name: "typos", title: "spelling", run: typos },
    Step { name: "doc", title: "documentation without warnings", run: doc },
    Step { name: "tidy", title: "rules of this repository", run: |root, _| tidy::run(root) },
    Step { name: "test", title: "tests", run: test },
    Step { name: "ablations", title: "safety rules off, one at a time: the suite must notice", run: ablations },
    Step { name: "doctest", title: "examples in the documentation of the code", run: doctest },
    Step {
        name: "clients",
        title: "official SDKs and docs/api.md against the real binaries",
        run: |root, _| clients::run(root),
    },
    Step {
        name: "cluster",
        title: "official SDKs against many nodes behind nginx, each killed once",
        run: |root, _| processes::cluster(root),
    },
];

pub fn run(root: &Path, options: &Options) -> Outcome {
    if options.list {
        for step in STEPS {
            println!("{:10} {}", step.name, step.title);
        }
        return Ok(());
    }
    let steps = chosen(options)?;
    let mut done: Vec<(&str, Duration)> = Vec::new();
    for (index, step) in steps.iter().enumerate() {
        println!("\n=== {}/{} {}: {}", index + 1, steps.len(), step.name, step.title);
        run::flush();
        let started = run::now();
        let outcome = (step.run)(root, options);
        let took = started.elapsed();
        if let Err(message) = outcome {
            eprintln!("\nstep `{}` failed after {:.1} s: {message}", step.name, took.as_secs_f64());
            summary(&done);
            println!("ci: {} passed, 1 failed", done.len());
            return Err(format!("step `{0}` failed; run it alone with: cargo xtask ci --only {0}", step.name));
        }
        println!("--- {} ok in {:.1} s", step.name, took.as_secs_f64());
        done.push((step.name, took));
    }
    summary(&done);
    println!("ci: {} passed, 0 failed", done.len());
    Ok(())
}

fn summary(done: &[(&str, Duration)]) {
    println!("\n=== summary");
    for (name, took) in done {
        println!("{name:10} ok {:8.1} s", took.as_secs_f64());
    }
}

fn chosen(options: &Options) -> Outcome<&'static [Step]> {
    let position = |name: &str| {
        STEPS.iter().position(|step| step.name == name).ok_or_else(|| {
            let names: Vec<_> = STEPS.iter().map(|step| step.name).collect();
            format!("there is no step `{name}`; the steps are {}", names.join(", "))
        })
    };
    match (&options.only, &options.from) {
        (Some(name), _) => position(name).map(|at| &STEPS[at..=at]),
        (None, Some(name)) => position(name).map(|at| &STEPS[at..]),
        (None, None) => Ok(STEPS),
    }
}

fn prepare(root: &Path, options: &Options) -> Outcome {
    setup::run(root, &setup::Options { no_install: options.no_install })
}

fn fmt(root: &Path, _: &Options) -> Outcome {
    run::run(cargo(root).args(["fmt", "--all", "--check"]))
}

fn clippy(root: &Path, _: &Options) -> Outcome {
    run::run(cargo(root).arg("clippy").args(BUILD_GRAPH).args(["--all-targets", "--", "-D", "warnings"]))
}

fn deny(root: &Path, _: &Options) -> Outcome {
    let mut command = setup::tool(root, "cargo-deny")?;
    run::run(command.args(["check", "licenses", "bans", "sources"]))
}

fn typos(root: &Path, _: &Options) -> Outcome {
    let mut command = setup::tool(root, "typos")?;
    run::run(command.args(["--config", "typos.toml"]))
}

fn doc(root: &Path, _: &Options) -> Outcome {
    run::run(cargo(root).env("RUSTDOCFLAGS", "-Dwarnings").args(["doc", "--no-deps"]).args(BUILD_GRAPH))
}

fn test(root: &Path, _: &Options) -> Outcome {
    if has_nextest() {
        let without = format!("not test(/{ABLATIONS}/)");
        return run::run(cargo(root).args(["nextest", "run"]).args(BUILD_GRAPH).args(["-E", &without]));
    }
    run::run(cargo(root).args(["test", "--all-targets"]).args(BUILD_GRAPH).args(["--", "--skip", ABLATIONS]))
}

/// With nextest, no matching test is a failure by itself.
fn ablations(root: &Path, _: &Options) -> Outcome {
    if has_nextest() {
        let only = format!("test(/{ABLATIONS}/)");
        return run::run(cargo(root).args(["nextest", "run"]).args(BUILD_GRAPH).args(["-E", &only]));
    }
    run::run(cargo(root).args(["test", "--all-targets"]).args(BUILD_GRAPH).arg(ABLATIONS))
}

fn doctest(root: &Path, _: &Options) -> Outcome {
    run::run(cargo(root).args(["test", "--doc"]).args(BUILD_GRAPH))
}

/// Whether the better test runner is here; `cargo test` does the same, with less to see.
pub fn has_nextest() -> bool {
    let found = find_program("cargo-nextest").is_some();
    if !found {
        println!("cargo-nextest is not installed (cargo install cargo-nextest --locked); using cargo test");
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(only: Option<&str>, from: Option<&str>) -> Options {
        Options { only: only.map(str::to_owned), from: from.map(str::to_owned), list: false, no_install: true }
    }

    fn names(options: &Options) -> Vec<&'static str> {
        chosen(options).unwrap().iter().map(|step| step.name).collect()
    }

    #[test]
    fn only_takes_one_step_and_from_takes_the_rest() {
        assert_eq!(names(&options(Some("deny"), None)), ["deny"]);
        assert_eq!(names(&options(None, Some("doctest"))), ["doctest", "clients", "cluster"]);
        assert_eq!(names(&options(None, None)).len(), STEPS.len());
    }

    #[test]
    fn an_unknown_step_is_an_error_that_names_the_known_ones() {
        let message = chosen(&options(Some("lints"), None)).err().unwrap();
        assert!(message.contains("lints") && message.contains("clippy"), "{message}");
    }
}
