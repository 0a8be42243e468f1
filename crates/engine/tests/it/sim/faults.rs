//! Faults by name, each with its own stream of chance: leaving one out does not move the others.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use longtake_core::id::Random;

use super::SimRandom;

macro_rules! faults {
    ($($name:ident $permille:literal),+ $(,)?) => {
        /// What goes wrong. The number beside each is how often, in 1,000 occasions.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Fault { $($name),+ }

        impl Fault {
            pub const ALL: &[Self] = &[$(Self::$name),+];

            const fn permille(self) -> u64 {
                match self { $(Self::$name => $permille),+ }
            }
        }
    };
}

faults! {
    // Processes (F1, F2, F8); occasions of the first five are their plans, not calls.
    Crash 1000, Freeze 1000, Drain 1000, HostLost 400, ClockSkew 600, FreezeAtSend 60,
    // Store (F3, F4, F9).
    CommitUnknown 40, StoreFailed 20, StoreOutage 1000, LostHints 300, SlowStore 15,
    // Provider (F10): submissions.
    DropAnswer 80, ServerError 50, LateAccept 50, LostRequest 60, NotSent 60, Reject 20, AccountRefusal 20, RateLimit 60,
    // Provider: look-ups and polls.
    ListingLag 500, ListingGap 100, PollErrors 60, NotFoundSpell 100, Backwards 150, ProviderFails 150,
    // Provider: cancels and results.
    CancelRefused 300, CancelErrors 150, StaleLinks 150, Truncated 100, Unplayable 80, SlowSource 30,
    // Artifact store (F11).
    ArtifactErrors 50,
    // Provider: its calls to us. An early one comes before the answer, a late one after the next, and after any timeout.
    CallbackLost 150, CallbackEarly 300, CallbackLate 300, CallbackRepeated 200,
}

/// A set of faults.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FaultSet(u64);

impl FaultSet {
    pub const NONE: Self = Self(0);

    /// Each fault with a chance of 7 in 10.
    pub fn random(random: &SimRandom) -> Self {
        Fault::ALL.iter().filter(|_| random.chance(700)).fold(Self::NONE, |set, fault| set.with(*fault))
    }

    pub const fn with(self, fault: Fault) -> Self {
        Self(self.0 | 1 << fault as u32)
    }

    pub const fn without(self, fault: Fault) -> Self {
        Self(self.0 & !(1 << fault as u32))
    }

    pub const fn has(self, fault: Fault) -> bool {
        self.0 & 1 << fault as u32 != 0
    }

    pub fn list(self) -> Vec<Fault> {
        Fault::ALL.iter().copied().filter(|fault| self.has(*fault)).collect()
    }
}

impl fmt::Debug for FaultSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.list()).finish()
    }
}

/// The dice.
pub struct Faults {
    set: FaultSet,
    on: AtomicBool,
    dice: Vec<SimRandom>,
}

impl Faults {
    pub fn new(seed: u64, set: FaultSet) -> Self {
        let dice = Fault::ALL.iter().map(|fault| SimRandom::stream(seed, 1_000 + *fault as u64)).collect();
        Self { set, on: AtomicBool::new(true), dice }
    }

    /// Phase 2.
    pub fn stop(&self) {
        self.on.store(false, Ordering::Relaxed);
    }

    pub fn are_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Whether this fault is in the set and faults are on.
    pub fn may(&self, fault: Fault) -> bool {
        self.are_on() && self.set.has(fault)
    }

    /// Whether it strikes now.
    pub fn strikes(&self, fault: Fault) -> bool {
        self.may(fault) && self.dice(fault).chance(fault.permille())
    }

    /// The chance of this fault's details.
    pub fn dice(&self, fault: Fault) -> &SimRandom {
        &self.dice[fault as usize]
    }

    /// A number below `bound` from the fault's own chance.
    pub fn below(&self, fault: Fault, bound: u64) -> u64 {
        self.dice(fault).below(bound)
    }
}
