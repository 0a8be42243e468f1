//! What goes wrong while a victim stands at a point, and how it is over again.

use std::collections::VecDeque;
use std::time::Duration;

use longtake_testing::proxy::{Behaviour, Proxy};
use longtake_testing::sim::{CreateFault, Faults};

use super::points::Point;
use super::stage::Stage;
use crate::fleet::hook::Manner;
use crate::fleet::until;
use crate::fleet::vendor::script;

/// Longest time until the others have given up a silent one, or a cut is felt.
const FELT_BOUND: Duration = Duration::from_secs(45);
/// A packet that is delayed so long has vanished.
const VANISHED_MS: u64 = 3_600_000;
/// How long a pinned transaction lasts, in seconds.
const PIN_SECS: u32 = 12;

/// A fault of the crash matrix; some have several forms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// `kill -9`.
    F1,
    /// SIGSTOP for longer than the ttl, then SIGCONT.
    F2,
    /// The connections to the database are cut: what was to be committed is not.
    F3Lost,
    /// They are cut when the next answer comes back: what was to be committed is.
    F3Applied,
    /// `pg_terminate_backend` for every connection.
    F4Backends,
    /// The server of the database is restarted, without saying goodbye.
    F4Restart,
    /// Two connections a node, many videos; the victim is killed.
    F4Pool,
    /// The primary is lost with its newest commits, an asynchronous standby takes over.
    F5,
    /// The disk of the videos is full for a while.
    F6,
    /// The victim's wall clock is an hour ahead, the others' an hour behind; the victim is killed.
    F8,
    /// Between the victim and the database nothing passes.
    F9Database,
    /// Between the victim and the provider nothing passes.
    F9Provider,
    /// Between the victim and the bucket of the videos nothing passes.
    F9Bucket,
    /// The provider accepts, then drops the connection; the victim is killed.
    F10Drop,
    /// The provider accepts, then answers 500; the victim is killed.
    F10Error,
    /// The provider accepts after our time limit.
    F10Late,
    /// The provider refuses one video for good.
    F10Reject,
    /// 429 and overload.
    F10Busy,
    /// What was accepted shows in lists only after a while; the victim is killed.
    F10ListLag,
    /// A status goes backwards and has unknown words.
    F10Status,
    /// Result URLs that are not valid yet, and truncated results.
    F10Result,
    /// The store of the videos fails after it has written.
    F11,
    /// The receiver of webhooks never answers; it does once the victim goes on.
    F12Hang,
    /// It sends the sender elsewhere.
    F12Redirect,
    /// It answers 500.
    F12Error,
    /// Its answer does not end.
    F12Slow,
    /// An open transaction pins the horizon; the victim is killed.
    F13,
    /// Two executors with one configuration and one data directory; one is killed.
    F14,
}

/// Faults that are not here, and why.
pub const ABSENT: [(&str, &str); 2] = [
    (
        "F7",
        "an fsync that fails ends PostgreSQL itself (it panics and recovers, which is F4); for SQLite it is layer L4",
    ),
    ("F15", "a power cut is PostgreSQL's own guarantee; for SQLite it is layer L4"),
];

impl Fault {
    pub const ALL: [Self; 28] = [
        Self::F1,
        Self::F2,
        Self::F3Lost,
        Self::F3Applied,
        Self::F4Backends,
        Self::F4Restart,
        Self::F4Pool,
        Self::F5,
        Self::F6,
        Self::F8,
        Self::F9Database,
        Self::F9Provider,
        Self::F9Bucket,
        Self::F10Drop,
        Self::F10Error,
        Self::F10Late,
        Self::F10Reject,
        Self::F10Busy,
        Self::F10ListLag,
        Self::F10Status,
        Self::F10Result,
        Self::F11,
        Self::F12Hang,
        Self::F12Redirect,
        Self::F12Error,
        Self::F12Slow,
        Self::F13,
        Self::F14,
    ];

    /// Its number in the design.
    pub fn family(self) -> String {
        let name = format!("{self:?}");
        name.chars().take_while(|c| *c == 'F' || c.is_ascii_digit()).collect()
    }

    /// How the receiver of webhooks behaves until the victim goes on.
    pub const fn of_receiver(self) -> Manner {
        match self {
            Self::F12Hang => Manner::Hangs,
            Self::F12Redirect => Manner::Redirects,
            Self::F12Error => Manner::Fails,
            Self::F12Slow => Manner::Drips,
            _ => Manner::Takes,
        }
    }

    /// Strikes the way to a bucket.
    pub const fn is_of_bucket(self) -> bool {
        matches!(self, Self::F9Bucket)
    }

    /// Needs a server of its own.
    pub const fn needs_own_server(self) -> bool {
        matches!(self, Self::F4Restart | Self::F5)
    }

    /// The victim does not survive it.
    pub const fn kills(self) -> bool {
        matches!(
            self,
            Self::F1
                | Self::F4Pool
                | Self::F8
                | Self::F10Drop
                | Self::F10Error
                | Self::F10ListLag
                | Self::F13
                | Self::F14
        )
    }

    /// Leaves a submission in doubt although its sender lives.
    pub const fn leaves_doubt(self) -> bool {
        matches!(self, Self::F5 | Self::F9Provider | Self::F10Drop | Self::F10Error | Self::F10Late | Self::F10Busy)
    }

    /// Faults of the vendor from the start on.
    pub fn of_vendor(self) -> Faults {
        match self {
            Self::F10Drop => script([CreateFault::DropAfterAccept]),
            Self::F10Error => script([CreateFault::ErrorAfterAccept]),
            Self::F10Late => Faults { accept_delay_ms: 1_500, ..Faults::default() },
            Self::F10Reject => script([CreateFault::Pass, CreateFault::Reject]),
            Self::F10Busy => {
                script([CreateFault::RateLimited, CreateFault::Overloaded, CreateFault::ErrorBeforeAccept])
            }
            Self::F10ListLag => Faults { list_lag_ms: 2_500, ..Faults::default() },
            Self::F10Status => {
                Faults { status_backwards: 0.3, unknown_status: 0.1, poll_error: 0.1, ..Faults::default() }
            }
            Self::F10Result => Faults { result_stale_fetches: 1, result_truncated: 0.4, ..Faults::default() },
            _ => Faults::default(),
        }
    }

    /// Faults of the vendor that stay while everything comes to rest: what strikes one create has struck, and what makes
    /// every answer late is over.
    pub fn left_of_vendor(self) -> Faults {
        Faults { next_creates: VecDeque::new(), accept_delay_ms: 0, ..self.of_vendor() }
    }

    /// How long "not found" proves nothing at this vendor: longer where it is slow to accept, or to show.
    pub const fn settle_ms(self) -> u64 {
        match self {
            Self::F10Late | Self::F10ListLag => 2_000,
            _ => 400,
        }
    }

    /// Lines of the account that this fault needs.
    pub const fn account_lines(self) -> &'static str {
        match self {
            Self::F10Late => "[accounts.sim.options]\nsubmit_timeout_ms = 1000",
            _ => "",
        }
    }

    /// Makes it happen at the victim, and lets it be over.
    pub async fn strike(self, stage: &mut Stage) -> Result<(), String> {
        stage.hook.behave(Manner::Takes);
        match self {
            Self::F2 => stage.until_given_up(FELT_BOUND).await?,
            Self::F3Lost => stage.victim_db.cut_all(),
            Self::F3Applied => return applied_unanswered(stage).await,
            Self::F4Backends => stage.db.terminate_backends().await?,
            Self::F4Restart => {
                stage.db.on_server(|cluster| (cluster.kill9(), cluster.restart())).await;
            }
            Self::F5 => super::failover::strike(stage).await?,
            Self::F6 => stage.order("disk_full", 3),
            Self::F11 => stage.order("error_after_write", 3),
            Self::F9Database | Self::F9Provider | Self::F9Bucket => return partition(self, stage).await,
            Self::F13 => stage.pin_horizon(PIN_SECS),
            _ => {}
        }
        if self.kills() {
            stage.victim.kill();
        } else {
            stage.victim.thaw();
        }
        Ok(())
    }
}

/// The next answers of the database never arrive; what they answer is done.
async fn applied_unanswered(stage: &mut Stage) -> Result<(), String> {
    stage.victim_db.set(Behaviour { cut_after_received: Some(0), ..Behaviour::default() });
    let before = stage.victim_db.open();
    stage.victim.thaw();
    if before > 0 {
        let proxy = &stage.victim_db;
        until!("an answer of the database was cut", FELT_BOUND, proxy.open() < before).await?;
    }
    stage.victim_db.set(Behaviour::default());
    stage.victim_db.cut_all();
    Ok(())
}

/// Nothing passes in either direction until the others gave the victim up, or its calls must have failed.
async fn partition(fault: Fault, stage: &mut Stage) -> Result<(), String> {
    way_of(fault, stage)?.set(Behaviour { delay_ms: VANISHED_MS, black_hole: true, ..Behaviour::default() });
    stage.victim.thaw();
    if fault == Fault::F9Database {
        stage.until_given_up(FELT_BOUND).await?;
    } else {
        // The victim goes on beating; what it feels is that its calls go nowhere.
        stage.start_others().await?;
        if stage.cell.point == Point::C19 {
            // One that drains beats no more; it gives up its sends, and ends.
            stage.victim.ended().await?;
        }
        let beats = stage.beats().await?;
        until!(
            "the victim beats on",
            FELT_BOUND,
            !stage.victim.runs() || stage.beats().await.is_ok_and(|now| now >= beats + 3)
        )
        .await?;
    }
    let proxy = way_of(fault, stage)?;
    proxy.set(Behaviour::default());
    proxy.cut_all();
    Ok(())
}

/// The way of the victim that a partition is on.
fn way_of(fault: Fault, stage: &Stage) -> Result<&Proxy, String> {
    match fault {
        Fault::F9Database => Ok(&stage.victim_db),
        Fault::F9Bucket => stage.victim_bucket.as_ref().ok_or_else(|| "there is no bucket".to_owned()),
        _ => Ok(&stage.victim_provider),
    }
}
