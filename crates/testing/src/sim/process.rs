//! The simulator in a process of its own, for tests that kill the gateway, or the vendor.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::{Ledger, Options};

/// A running `longtake-sim`; dropping it kills it. The ledger file stays.
#[derive(Debug)]
pub struct SimulatorProcess {
    child: Child,
    options: Options,
    ledger: PathBuf,
    url: String,
}

impl SimulatorProcess {
    /// Starts the binary and waits until it listens.
    ///
    /// # Panics
    /// When it cannot be built or started, or ends before it listens.
    #[must_use]
    pub fn start(options: Options, ledger: &Path) -> Self {
        let (child, url) = launch(&options, ledger);
        Self { child, options, ledger: ledger.to_owned(), url }
    }

    /// Base URL, without a slash at the end; the same after [`Self::restart`].
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What stands in the ledger file now.
    ///
    /// # Panics
    /// When the file cannot be read.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        Ledger::read(&self.ledger).expect("the ledger can be read")
    }

    /// Kills it (SIGKILL) and waits for its end.
    pub fn kill(&mut self) {
        // It may have ended already; waiting again then gives the same status.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }

    /// Kills it and starts it again on the same address and ledger.
    pub fn restart(&mut self) {
        self.kill();
        let address = self.url.trim_start_matches("http://").parse().expect("the URL holds an address");
        self.options.listen = address;
        (self.child, self.url) = launch(&self.options, &self.ledger);
    }
}

impl Drop for SimulatorProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

fn launch(options: &Options, ledger: &Path) -> (Child, String) {
    let json = serde_json::to_string(options).expect("options can be written as JSON");
    let mut child = Command::new(simulator_binary())
        .args(["--listen", &options.listen.to_string(), "--options", &json])
        .arg("--ledger")
        .arg(ledger)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("longtake-sim can be started");
    let mut first = String::new();
    let out = child.stdout.take().expect("its output is piped");
    BufReader::new(out).read_line(&mut first).expect("its output can be read");
    let url = first.trim().strip_prefix("listening on ");
    (child, url.unwrap_or_else(|| panic!("longtake-sim did not start: {first:?}")).to_owned())
}

/// The path of `longtake-sim`, which stands beside the test binaries; it is built when it is not there.
///
/// # Panics
/// When it cannot be built.
#[must_use]
pub fn simulator_binary() -> PathBuf {
    let test = std::env::current_exe().expect("a test knows its own path");
    let target = test.ancestors().skip(1).find(|folder| !folder.ends_with("deps")).expect("a target folder");
    let binary = target.join(format!("longtake-sim{}", std::env::consts::EXE_SUFFIX));
    if !binary.exists() {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut build = Command::new(cargo);
        build.args(["build", "--quiet", "--package", "longtake-testing", "--bin", "longtake-sim"]);
        if target.ends_with("release") {
            build.arg("--release");
        }
        let built = build.status().expect("cargo can be run");
        assert!(built.success() && binary.exists(), "longtake-sim was not built at {}", binary.display());
    }
    binary
}
