//! One world in one thread: real engines over a store, a provider and an artifact store that fail as told.
//!
//! Time is virtual, randomness comes from the seed, and everything that is committed or sent is traced, so that a seed is
//! one history. Phase 1 runs with faults, phase 2 without; then everything must come to rest and the books must balance.
//! Absent: threads, sockets, files, real time.

pub mod artifacts;
pub mod callbacks;
pub mod chaos;
pub mod clients;
pub mod clock;
pub mod faults;
pub mod invariants;
pub mod options;
pub mod provider;
pub mod store;
pub mod trace;
pub mod vendor;
pub mod webhooks;
pub mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use longtake_core::id::Random;

/// Randomness of a seed (splitmix64): small, and good enough to choose faults by.
#[derive(Debug)]
pub struct SimRandom(AtomicU64);

impl SimRandom {
    pub const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// A stream of its own: what one thing draws does not move what another draws.
    pub const fn stream(seed: u64, stream: u64) -> Self {
        Self::new(mix(seed ^ mix(stream.wrapping_add(0x51_7c_c1_b7))))
    }

    /// From `low` to `high`, both included.
    pub fn between(&self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True in so many of 1,000 cases.
    pub fn chance(&self, permille: u64) -> bool {
        self.below(1_000) < permille
    }
}

impl Random for SimRandom {
    fn fill(&self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = mix(self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)).to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

const fn mix(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
