//! The processes of one cluster: its postmaster, the children of that, and the janitor that outlives us.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::install::installation;

/// Bound of a start, crash recovery included, and of a stop.
const BOUND: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(5);
/// A port that was free may be taken before the server binds it.
const START_TRIES: usize = 5;
const JANITOR: &str = include_str!("janitor.sh");

/// Starts the server in `folder/data`; on `port`, or on one that the system chooses. The port, and the process.
pub(super) fn start(folder: &Path, port: Option<u16>) -> (u16, Child) {
    for _ in 0..START_TRIES {
        let chosen = port.unwrap_or_else(free_port);
        let child = spawn(folder, chosen);
        match ready(folder, child) {
            Ok(child) => return (chosen, child),
            Err(log) => assert!(log.contains("Address already in use") && port.is_none(), "no start:\n{log}"),
        }
    }
    panic!("no port stayed free for {START_TRIES} starts")
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("the system has a free port");
    listener.local_addr().expect("a bound socket has an address").port()
}

fn spawn(folder: &Path, port: u16) -> Child {
    let log = File::options().create(true).append(true).open(folder.join("log")).expect("the log can be written");
    let mut command = installation().command("postgres");
    command.arg("-D").arg(folder.join("data")).arg("-p").arg(port.to_string());
    command.stdout(log.try_clone().expect("a file can be cloned")).stderr(log);
    // Out of reach of a Ctrl-C, and of a test runner that kills the whole group of a test: the janitor ends it in order.
    command.process_group(0);
    command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Waits until it accepts connections; the log where it ended instead.
fn ready(folder: &Path, mut child: Child) -> Result<Child, String> {
    let started = Instant::now();
    let status = folder.join("data/postmaster.pid");
    let pid = child.id().to_string();
    loop {
        // The first line is the pid, the eighth says `ready` once a connection would be accepted.
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let mut lines = text.lines();
        if lines.next() == Some(&pid) && lines.nth(6).is_some_and(|word| word.trim() == "ready") {
            return Ok(child);
        }
        if child.try_wait().expect("our child can be asked").is_some() {
            return Err(log(folder));
        }
        assert!(started.elapsed() < BOUND, "the server is not ready after {BOUND:?}:\n{}", log(folder));
        std::thread::sleep(PAUSE);
    }
}

/// What the server has written since the folder was made.
pub(super) fn log(folder: &Path) -> String {
    std::fs::read(folder.join("log")).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// Sends a signal; a process that is gone has nothing to be told.
pub(super) fn signal(pid: Pid, signal: Signal) {
    if let Err(error) = kill_process(pid, signal) {
        assert_eq!(error, rustix::io::Errno::SRCH, "{signal:?} to {pid:?}");
    }
}

/// Waits for our child to end; kills it where it does not.
pub(super) fn wait(child: &mut Child) -> ExitStatus {
    let started = Instant::now();
    while started.elapsed() < BOUND {
        if let Some(status) = child.try_wait().expect("our child can be asked") {
            return status;
        }
        std::thread::sleep(PAUSE);
    }
    let _ended_meanwhile = child.kill();
    child.wait().expect("our child can be waited for")
}

/// The postmaster's children. Each is a process group of its own, so no signal reaches all of them at once.
pub(super) fn children(parent: Pid) -> Vec<Pid> {
    let parent = parent.as_raw_nonzero().to_string();
    // `pid (name) state ppid …`; the name of a server process has no parenthesis.
    let is_child =
        |stat: &str| stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1)) == Some(&parent);
    let entries = std::fs::read_dir("/proc").expect("signals to a whole cluster need Linux").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| is_child(&stat)))
        .filter_map(Pid::from_raw)
        .collect()
}

/// Waits until none of these processes runs.
pub(super) fn gone(pids: &[Pid]) {
    let started = Instant::now();
    for pid in pids {
        let stat = format!("/proc/{}/stat", pid.as_raw_nonzero());
        // A zombie that nobody has waited for yet holds nothing any more.
        while std::fs::read_to_string(&stat).is_ok_and(|text| !text.contains(") Z ")) {
            assert!(started.elapsed() < BOUND, "process {pid:?} does not end");
            std::thread::sleep(PAUSE);
        }
    }
}

/// Starts the janitor of one cluster; it acts when its standard input closes.
pub(super) fn own_janitor(folder: &Path) -> Child {
    let mut command = janitor();
    command.arg("own").arg(folder).stdin(Stdio::piped());
    command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// Ends what runs in a folder that has no owner any more, and removes it.
pub(super) fn clear(folder: &Path) {
    let mut janitor = own_janitor(folder);
    drop(janitor.stdin.take());
    let _either_way = wait(&mut janitor);
}

/// Starts the janitor of the shared cluster, which outlives this process.
pub(super) fn shared_janitor(locks: &Path, linger: Duration) -> Child {
    let mut command = janitor();
    command.arg("shared").arg(locks).arg(linger.as_secs().to_string()).stdin(Stdio::null());
    command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

fn janitor() -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(JANITOR).arg("janitor").current_dir("/").process_group(0);
    // A test runner waits for whoever holds the output of a test.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}
