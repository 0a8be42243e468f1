//! Two API nodes and three workers behind nginx, which is configured as docs/operations.md says.
//!
//! `rolling` replaces every process in order, while clients that repeat nothing look on. Here the official SDKs are the
//! clients, and every process is killed once; that needs the SDKs, so it is run by name: `cargo xtask ci --only cluster`,
//! which says where they are.

mod rolling;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use longtake_testing::wait_until;

use crate::fleet::audit::{self, Acknowledged, Audit, Observer};
use crate::fleet::installation::Installation;
use crate::fleet::{ADMIN_KEY, until};

/// Videos of each of the two clients, and how many of them begin in a second.
const VIDEOS: usize = 100;
const PER_SECOND: usize = 5;
/// Provider jobs at once.
const MAX_IN_FLIGHT: u32 = 30;
/// Purchases between two kills.
const BETWEEN: usize = 12;
const BOUND: Duration = Duration::from_secs(60);
/// Longest time until both clients are done.
const CLIENTS_BOUND: Duration = Duration::from_secs(200);

/// Where operators have their config from.
const OPERATIONS: &str = include_str!("../../../../../docs/operations.md");

/// A running nginx, in a folder of its own.
struct Nginx {
    process: Child,
    stop: Command,
    address: SocketAddr,
}

/// The site that docs/operations.md recommends, with these nodes, at this address.
fn site(nodes: &[SocketAddr], address: SocketAddr) -> String {
    let (_, rest) = OPERATIONS.split_once("```nginx\n").unwrap();
    let (mut site, _) = rest.split_once("```").map(|(site, rest)| (site.to_owned(), rest)).unwrap();
    let mut fill_in = |place: &str, value: String| {
        assert_eq!(site.matches(place).count(), 1, "{place}");
        site = site.replace(place, &value);
    };
    for (n, node) in (1..).zip(nodes) {
        fill_in(&format!("api-{n}:7373"), node.to_string());
    }
    fill_in("listen 80;", format!("listen {address};"));
    assert!(!site.contains(":7373"), "a node for each");
    site
}

impl Nginx {
    async fn start(folder: &Path, nodes: &[SocketAddr]) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let address = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap();
        // Temporary files belong to the user of the workers.
        let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
        let config = include_str!("nginx.conf")
            .replace("<HERE>", &folder.display().to_string())
            .replace("<USER>", user)
            .replace("<SITE>", &site(nodes, address));
        let file = folder.join("nginx.conf");
        std::fs::write(&file, config).unwrap();
        let command = || {
            let mut command = Command::new(program("nginx"));
            command.arg("-p").arg(folder).arg("-c").arg(&file).arg("-e").arg(folder.join("error.log"));
            command.stdin(Stdio::null());
            command
        };
        let process = command().spawn().unwrap();
        let mut stop = command();
        stop.args(["-s", "stop"]);
        let nginx = Self { process, stop, address };
        wait_until("nginx listens", BOUND, async || tokio::net::TcpStream::connect(address).await.is_ok()).await;
        nginx
    }
}

/// Its workers outlive a killed master, so it is asked to stop first.
impl Drop for Nginx {
    fn drop(&mut self) {
        let _asked = self.stop.output();
        let _status = self.process.wait();
    }
}

/// Debian keeps servers in folders that are not on everybody's PATH.
fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let more = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut files = std::env::split_paths(&path).chain(more).map(|folder| folder.join(name));
    files.find(|file| file.is_file()).expect("nginx is installed: cargo xtask setup")
}

/// A client of the official SDK as a process; its output is the test's.
fn client(program: &str, script: &str, base_url: &str) -> Child {
    let of =
        |name: &str| std::env::var_os(name).unwrap_or_else(|| panic!("{name} is set: cargo xtask ci --only cluster"));
    let script = PathBuf::from(of(script));
    let mut command = Command::new(of(program));
    command.current_dir(script.parent().unwrap()).arg(&script).stdin(Stdio::null());
    command.env("OPENAI_BASE_URL", base_url).env("OPENAI_API_KEY", ADMIN_KEY).env("MODEL", "sim");
    command.env("VIDEOS", VIDEOS.to_string()).env("PER_SECOND", PER_SECOND.to_string());
    command.env("PYTHONDONTWRITEBYTECODE", "1").env_remove("OPENAI_ORG_ID").env_remove("OPENAI_PROJECT_ID");
    command.spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs nginx and the official SDKs: cargo xtask ci --only cluster"]
async fn every_call_of_the_official_sdks_ends_with_its_video_while_every_process_is_killed_once() {
    let mut installation = Installation::start("nginx", 3, 2, MAX_IN_FLIGHT, 0.0).await.unwrap();
    let observer = Observer::start(&installation.db);
    let nginx = Nginx::start(&installation.dir.join("nginx"), &installation.api_addresses()).await;
    let base_url = format!("http://{}/v1", nginx.address);
    let mut clients = [
        client("LONGTAKE_TEST_PYTHON", "LONGTAKE_TEST_PYTHON_SCRIPT", &base_url),
        client("LONGTAKE_TEST_NODE", "LONGTAKE_TEST_NODE_SCRIPT", &base_url),
    ];
    for (kills, node) in (1..).zip(0..5) {
        // In the middle of things: each kill comes when so much more was bought.
        let vendor = &installation.vendor;
        let what = format!("{} purchases before kill {kills}", kills * BETWEEN);
        until!(&what, BOUND, vendor.ledger().accepted() >= kills * BETWEEN).await.unwrap();
        installation.kill_and_restart(node).await.unwrap();
    }
    for child in &mut clients {
        wait_until("the client ends", CLIENTS_BOUND, async || child.try_wait().unwrap().is_some()).await;
        assert!(child.wait().unwrap().success(), "a call ended without its video; see above");
    }
    audit::rest(&installation.db, false, true, BOUND).await.unwrap();
    let ledger = installation.vendor.ledger();
    println!("{} videos, {} purchases, {} process starts", 2 * VIDEOS, ledger.accepted(), installation.starts());
    let jobs = installation.db.rows("select id from job").await.unwrap();
    assert_eq!(jobs.len(), 2 * VIDEOS, "a repeated create is one video");
    assert_eq!(installation.starts(), 10, "each of five processes was started twice");
    // The clients keep their keys to themselves: what they were given is what there is.
    let ids = jobs.iter().filter_map(|row| row[0].as_deref()).map(|id| (id.to_owned(), audit::public_id(id))).collect();
    let acknowledged = Acknowledged { ids, ..Acknowledged::default() };
    let audit = Audit {
        db: &installation.db,
        ledger,
        artifacts: &installation.settings.artifacts,
        acknowledged: &acknowledged,
        feed: None,
        observer: &observer,
        finds_out: true,
    };
    let findings = audit.run().await.unwrap();
    assert!(findings.violations.is_empty(), "{:#?}", findings.violations);
}
