//! A whole installation as processes: `longtake` nodes of any role, a PostgreSQL database, a vendor with books.
//!
//! `node` is one process that can be killed, frozen and started again at its address; `client` repeats creates under
//! their keys over all nodes; `feed` reads `GET /v1/events` and never forgets; `audit` reads the rows, the vendor's books
//! and the files, and says which invariant is broken. Absent: what goes wrong; that is the matrix's and the chaos run's.

pub mod artifacts;
pub mod audit;
pub mod client;
pub mod db;
pub mod feed;
pub mod hook;
pub mod installation;
pub mod node;
pub mod vendor;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use artifacts::Artifacts;

/// The admin key of every node.
pub const ADMIN_KEY: &str = "a-key-of-the-tests-that-admins-use";
/// What every node signs with.
const SECRET_KEY: &str = "a-secret-of-the-tests-with-more-than-32-bytes";
/// Between two looks at a condition that asks a process or a database.
const LOOK: Duration = Duration::from_millis(60);

/// An empty folder for one run; the last one's leftovers are removed.
pub fn folder(name: &str) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    let _nothing_there = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// Waits for a condition, asked again and again; what was waited for where it does not come true in time.
///
/// A macro, since a future that borrows and goes to another thread cannot come out of a closure.
macro_rules! until {
    ($what:expr, $bound:expr, $holds:expr) => {
        async {
            let mut waiting = $crate::fleet::Waiting::new($bound);
            loop {
                let late = waiting.look().await;
                if $holds {
                    break Ok::<(), String>(());
                }
                if late {
                    break Err(format!("waited {:?} in vain: {}", $bound, $what));
                }
            }
        }
    };
}
pub(crate) use until;

/// A wait under way.
pub struct Waiting {
    started: Instant,
    bound: Duration,
    tick: tokio::time::Interval,
}

impl Waiting {
    pub fn new(bound: Duration) -> Self {
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Self { started: Instant::now(), bound, tick }
    }

    /// Pauses before the next look; whether that is the last one.
    pub async fn look(&mut self) -> bool {
        self.tick.tick().await;
        self.started.elapsed() >= self.bound
    }
}

/// What the nodes of one run have in common.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[accounts.…]` and `[models.…]`.
    pub vendor: String,
    /// Connections of each node to the database.
    pub pool_size: u32,
    /// Where all nodes keep videos.
    pub artifacts: Artifacts,
    /// Silence after which others take over, in seconds.
    pub ttl_secs: u32,
    /// Where the vendor reaches a node that takes its callbacks.
    pub public_url: Option<String>,
}

impl Settings {
    /// A config file for a node that finds the database under this URL.
    pub fn config(&self, database: &str) -> String {
        let Self { vendor, pool_size, artifacts, ttl_secs, public_url } = self;
        let public_url = public_url.as_ref().map_or_else(String::new, |url| format!("public_url = \"{url}\"\n"));
        format!(
            "{public_url}{}admin_key = \"{ADMIN_KEY}\"\nsecret_key = \"{SECRET_KEY}\"\n\
             [database]\nurl = \"{database}\"\npool_size = {pool_size}\n\
             [worker]\nttl_secs = {ttl_secs}\nbeat_secs = 1\nmargin_secs = 1\ndrain_timeout_secs = 10\n\
             [server]\nstop_timeout_secs = 2\n\
             [webhooks]\nallow_networks = [\"127.0.0.0/8\"]\nallow_http = true\nlease_secs = 20\n\
             [sandbox]\nenabled = false\n{}{vendor}\n",
            artifacts.line(),
            artifacts.section(),
        )
    }
}
