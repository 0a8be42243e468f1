//! What one seed expands to; printed with a failure.

use std::time::Duration;

use longtake_core::provider::{CancelSupport, ChargedOn, Idempotency, Lookup, ProviderProfile};
use longtake_engine::{EngineConfig, OnUnknown};

use super::SimRandom;
use super::clock::secs;
use super::faults::{Fault, FaultSet};

/// What a provider offers for a submission whose answer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Nothing: only a person can tell.
    Nothing,
    /// Our reference can be asked for.
    ByRef,
    /// It lists its jobs.
    Listing,
    /// The same key is the same purchase.
    Key,
    /// It lists its jobs by their shape: which of several equal ones is ours, it does not say.
    Shape,
    /// It calls back, and nothing else tells of a submission whose answer was lost.
    Callback,
}

/// One world.
#[derive(Debug, Clone)]
pub struct Options {
    pub seed: u64,
    pub class: Class,
    pub engines: usize,
    pub jobs: usize,
    pub accounts: usize,
    pub max_in_flight: Option<u32>,
    /// Submissions per minute of each account.
    pub per_minute: Option<u32>,
    /// Clients' jobs belong to so many projects.
    pub projects: usize,
    pub charged_on: ChargedOn,
    pub can_cancel: bool,
    pub on_unknown: OnUnknown,
    pub verify_deadline: Duration,
    pub polls_per_minute: u32,
    pub poll_ceiling: Duration,
    /// Longest rendering.
    pub longest_render: Duration,
    pub watch_limit: Duration,
    /// How long faults last.
    pub phase_1: Duration,
    pub faults: FaultSet,
    /// What a scripted test sets otherwise.
    pub tune: fn(&mut EngineConfig),
    /// Every process sends webhooks.
    pub webhooks: bool,
}

/// How long a job may be missing from the provider's list; declared, and kept to.
pub const LISTING_LAG: Duration = secs(90);
/// A submission is accepted at most this long after it was sent: within the settle time.
pub const LONGEST_ACCEPT: Duration = secs(75);
/// When an accepted job is found by our reference: together with the accept, within the settle time.
pub const LONGEST_REF_LAG: Duration = secs(40);

/// Wait between polls where jobs are called back.
pub const POLL_QUIET: Duration = secs(300);

/// How far a wall clock may be off, either way.
pub const LONGEST_SKEW: Duration = secs(3_600);

impl Options {
    pub fn of_seed(seed: u64, class: Class) -> Self {
        let random = SimRandom::stream(seed, class as u64);
        let mut options = Self {
            seed,
            class,
            engines: random.between(2, 4) as usize,
            jobs: random.between(6, 14) as usize,
            accounts: random.between(1, 2) as usize,
            max_in_flight: random.chance(500).then(|| random.between(1, 4) as u32),
            charged_on: if random.chance(500) { ChargedOn::Submit } else { ChargedOn::Success },
            can_cancel: random.chance(600),
            on_unknown: match random.between(0, 9) {
                0 => OnUnknown::Fail,
                1 => OnUnknown::Resubmit,
                _ => OnUnknown::Hold,
            },
            verify_deadline: secs(random.between(300, 1_500)),
            polls_per_minute: if random.chance(300) { 60 } else { 0 },
            poll_ceiling: secs(20),
            longest_render: secs([120, 600, 1_800][random.between(0, 2) as usize]),
            watch_limit: secs(random.between(900, 3_600)),
            phase_1: secs(random.between(900, 2_700)),
            faults: FaultSet::random(&random),
            per_minute: random.chance(300).then(|| random.between(2, 30) as u32),
            projects: random.between(1, 3) as usize,
            tune: |_| {},
            webhooks: false,
        };
        if options.faults.has(Fault::ClockSkew) {
            options.watch_limit += 2 * LONGEST_SKEW; // a limit of days, which a clock an hour off does not touch
        }
        options
    }

    /// For scripted tests: one process, no faults, nothing left to chance.
    pub fn scripted(class: Class) -> Self {
        Self {
            engines: 1,
            jobs: 1,
            accounts: 1,
            max_in_flight: None,
            per_minute: None,
            projects: 1,
            charged_on: ChargedOn::Submit,
            can_cancel: true,
            on_unknown: OnUnknown::Hold,
            verify_deadline: secs(600),
            polls_per_minute: 0,
            longest_render: secs(60),
            watch_limit: secs(3_600),
            faults: FaultSet::NONE,
            ..Self::of_seed(1, class)
        }
    }

    pub fn profile(&self) -> ProviderProfile {
        ProviderProfile {
            idempotency: match self.class {
                Class::Key => Idempotency::Key { ttl: secs(24 * 3_600) },
                _ => Idempotency::None,
            },
            lookup: match self.class {
                Class::Nothing | Class::Key | Class::Callback => Lookup::None,
                Class::ByRef => Lookup::ByRef,
                Class::Listing => Lookup::List { lag: LISTING_LAG },
                Class::Shape => Lookup::ListByShape { lag: LISTING_LAG },
            },
            cancel: if self.can_cancel { CancelSupport::BestEffort } else { CancelSupport::None },
            charged_on: self.charged_on,
            submit_timeout: secs(60),
            absence_settle: secs(120),
            verify_deadline: self.verify_deadline,
            poll_first: secs(2),
            poll_ceiling: self.poll_ceiling,
            callback: self.class == Class::Callback,
            poll_quiet: (self.class == Class::Callback).then_some(POLL_QUIET),
            polls_per_minute: self.polls_per_minute,
            watch_limit: self.watch_limit,
        }
    }
}
