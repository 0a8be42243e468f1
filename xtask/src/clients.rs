//! `cargo xtask clients`: the official SDKs, unmodified, and the examples of docs/api.md against the real binaries.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::run::{self, cargo};
use crate::server_process::ServerProcess;
use crate::{Outcome, ci, docs_examples, setup};

/// One tour makes about ten short videos.
const TOUR_LIMIT: Duration = Duration::from_secs(300);
/// The only key that the simulator lets in.
const SIMULATOR_KEY: &str = "sim-key";

/// Where a client finds its server.
struct Target<'a> {
    name: &'a str,
    base_url: String,
    key: String,
    model: &'a str,
}

pub fn run(root: &Path) -> Outcome {
    build(root)?;
    let folder = fresh_folder(root)?;
    let examples = docs_examples::read(root)?;
    {
        let (mut server, key) = start_longtake(root, &folder)?;
        let base_url = format!("{}/v1", server.url());
        let target = Target { name: "longtake", base_url, key: key.clone(), model: "sandbox" };
        tours(root, &target).map_err(|message| server.failure(&message))?;
        webhooks(root, &target).map_err(|message| server.failure(&message))?;
        docs_examples::run(root, &folder, &examples, &server.url(), &key)
            .map_err(|message| server.failure(&message))?;
        server.wait_until_ready("/readyz")?;
    }
    let mut command = binary(root, "longtake-sim")?;
    let options = serde_json::json!({ "api_key": SIMULATOR_KEY }).to_string();
    command.args(["--listen", "127.0.0.1:0", "--options", &options]).current_dir(&folder);
    let simulator = ServerProcess::start("longtake-sim", &mut command, &folder.join("longtake-sim.log"))?;
    let base_url = format!("{}/v1", simulator.url());
    let target = Target { name: "simulator", base_url, key: SIMULATOR_KEY.to_owned(), model: "sora-2" };
    tours(root, &target).map_err(|message| simulator.failure(&message))
}

/// With tests, so that the features are those of the test step and nothing is built twice.
fn build(root: &Path) -> Outcome {
    run::run(cargo(root).args(["build", "--bins", "--tests"]).args(ci::BUILD_GRAPH))
}

/// An empty folder for data and logs of this run.
fn fresh_folder(root: &Path) -> Outcome<PathBuf> {
    let folder = root.join("target/clients/run");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    }
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    Ok(folder)
}

/// One of our binaries, without settings that the caller's shell may hold.
fn binary(root: &Path, name: &str) -> Outcome<Command> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let program = target.join("debug").join(name);
    if !program.is_file() {
        return Err(format!("there is no {}; the workspace must build a binary `{name}`", program.display()));
    }
    let mut command = Command::new(program);
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("LONGTAKE_") {
            command.env_remove(variable);
        }
    }
    Ok(command)
}

fn start_longtake(root: &Path, folder: &Path) -> Outcome<(ServerProcess, String)> {
    let data = folder.join("data");
    let mut command = binary(root, "longtake")?;
    // Read from the run's own folder: the tours and examples receive webhooks on this machine.
    let config = "[webhooks]\nallow_http = true\nallow_networks = [\"127.0.0.0/8\"]\n";
    std::fs::write(folder.join("longtake.toml"), config).map_err(|error| format!("longtake.toml: {error}"))?;
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&data).current_dir(folder);
    let mut server = ServerProcess::start("longtake", &mut command, &folder.join("longtake.log"))?;
    server.wait_until_ready("/readyz")?;
    let file = data.join("admin.key");
    let key = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    Ok((server, key.trim().to_owned()))
}

fn tours(root: &Path, target: &Target<'_>) -> Outcome {
    println!("-- Python SDK against {}", target.name);
    python(root, target, "tour.py")?;
    println!("-- Node SDK against {}", target.name);
    node(root, target, "tour.mjs")
}

/// What the official libraries make of our webhooks.
fn webhooks(root: &Path, target: &Target<'_>) -> Outcome {
    println!("-- webhooks of {} in Python", target.name);
    python(root, target, "webhooks.py")?;
    println!("-- webhooks of {} in Node", target.name);
    node(root, target, "webhooks.mjs")
}

fn python(root: &Path, target: &Target<'_>, script: &str) -> Outcome {
    let mut python = Command::new(setup::venv(root).join("bin/python"));
    python.current_dir(root).env("PYTHONDONTWRITEBYTECODE", "1").arg(format!("tests/clients/python/{script}"));
    run::run_within(with_environment(&mut python, target), TOUR_LIMIT)
}

fn node(root: &Path, target: &Target<'_>, name: &str) -> Outcome {
    let folder = setup::node_folder(root);
    // Modules are looked for from the script's own folder upwards.
    let script = folder.join(name);
    std::fs::copy(root.join("tests/clients/node").join(name), &script).map_err(|error| format!("{name}: {error}"))?;
    let mut node = Command::new("node");
    node.current_dir(&folder).arg(&script);
    run::run_within(with_environment(&mut node, target), TOUR_LIMIT)
}

fn with_environment<'c>(command: &'c mut Command, target: &Target<'_>) -> &'c mut Command {
    command
        .env("OPENAI_BASE_URL", &target.base_url)
        .env("OPENAI_API_KEY", &target.key)
        .env("MODEL", target.model)
        .env("TARGET", target.name)
        .env_remove("OPENAI_ORG_ID")
        .env_remove("OPENAI_PROJECT_ID")
}
