//! What is done when: drawn from a seed before anything runs, so that the same seed makes the same plan.

use std::time::Duration;

/// Silence after which others take over, in seconds.
pub const TTL_SECS: u32 = 4;

/// What is done to a process, the database, or the network between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `kill -9` of a worker.
    KillWorker,
    /// `kill -9` of an API node.
    KillApi,
    /// SIGSTOP of a worker, and SIGCONT after a while: sometimes shorter, sometimes longer than the ttl.
    FreezeWorker,
    /// The same for an API node.
    FreezeApi,
    /// SIGTERM of a worker.
    TerminateWorker,
    /// SIGTERM of an API node.
    TerminateApi,
    /// `pg_terminate_backend` for every connection.
    Backends,
    /// The database server is killed with all its processes, and started again.
    Database,
    /// Nothing passes between a worker and the database for a while.
    PartitionDatabase,
    /// Nothing passes between a worker and the provider for a while.
    PartitionProvider,
    /// Every connection of a worker to the database is cut once.
    Cut,
}

impl Kind {
    pub const ALL: [Self; 11] = [
        Self::KillWorker,
        Self::KillApi,
        Self::FreezeWorker,
        Self::FreezeApi,
        Self::TerminateWorker,
        Self::TerminateApi,
        Self::Backends,
        Self::Database,
        Self::PartitionDatabase,
        Self::PartitionProvider,
        Self::Cut,
    ];

    /// How often it is drawn, among all.
    const fn weight(self) -> u64 {
        match self {
            Self::KillWorker => 8,
            Self::FreezeWorker => 4,
            Self::KillApi | Self::TerminateWorker => 3,
            Self::PartitionDatabase | Self::PartitionProvider | Self::Backends | Self::Cut => 2,
            Self::FreezeApi | Self::TerminateApi | Self::Database => 1,
        }
    }

    /// In the scorecard.
    pub const fn word(self) -> &'static str {
        match self {
            Self::KillWorker => "kill -9 worker",
            Self::KillApi => "kill -9 api",
            Self::FreezeWorker => "SIGSTOP worker",
            Self::FreezeApi => "SIGSTOP api",
            Self::TerminateWorker => "SIGTERM worker",
            Self::TerminateApi => "SIGTERM api",
            Self::Backends => "database backends",
            Self::Database => "kill -9 database",
            Self::PartitionDatabase => "partition worker, database",
            Self::PartitionProvider => "partition worker, provider",
            Self::Cut => "cut worker, database",
        }
    }

    /// Whether an API node is meant.
    pub const fn is_of_api(self) -> bool {
        matches!(self, Self::KillApi | Self::FreezeApi | Self::TerminateApi)
    }
}

/// One thing to do.
#[derive(Debug, Clone, Copy)]
pub struct Action {
    /// Since the start of the run.
    pub at: Duration,
    pub kind: Kind,
    /// Which worker or API node.
    pub target: usize,
    /// How long it lasts, or the dead one stays dead.
    pub lasts: Duration,
}

/// The numbers of SplitMix64.
pub struct Draws(u64);

impl Draws {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (value ^ (value >> 31)) % bound.max(1)
    }
}

/// Everything that is done in a run of this length.
pub fn plan(seed: u64, length: Duration, workers: usize, api: usize) -> Vec<Action> {
    let mut draws = Draws::new(seed);
    let mut actions = Vec::new();
    let mut at = Duration::from_secs(2);
    while at < length {
        let mut drawn = draws.below(Kind::ALL.iter().map(|kind| kind.weight()).sum());
        let kind = Kind::ALL.into_iter().find(|kind| {
            let found = drawn < kind.weight();
            drawn = drawn.saturating_sub(kind.weight());
            found
        });
        let kind = kind.unwrap_or(Kind::KillWorker);
        let targets = if kind.is_of_api() { api } else { workers };
        let target = usize::try_from(draws.below(targets as u64)).unwrap_or(0);
        let longest = match kind {
            Kind::FreezeWorker | Kind::PartitionDatabase => u64::from(TTL_SECS) * 2_000,
            _ => 3_000,
        };
        let lasts = Duration::from_millis(300 + draws.below(longest));
        actions.push(Action { at, kind, target, lasts });
        at += Duration::from_millis(700 + draws.below(1_800));
    }
    actions
}

#[test]
fn a_seed_makes_one_plan_and_every_kind_comes() {
    let plans = [7, 7, 8].map(|seed| format!("{:?}", plan(seed, Duration::from_secs(60), 3, 2)));
    assert_eq!(plans[0], plans[1]);
    assert_ne!(plans[0], plans[2]);
    let long = plan(1, Duration::from_secs(600), 3, 2);
    assert!(Kind::ALL.into_iter().all(|kind| long.iter().any(|action| action.kind == kind)));
}
