//! The engine whole, in a simulated world (L2): seeds, scripted steps, and each rule switched off.
//!
//! Virtual time on one thread; the same seed is the same history. See `sim`.
#![cfg(feature = "ablation")]
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and prints what it takes to repeat it"
)]

mod ablations;
mod callbacks;
mod cost;
mod lost_history;
mod many;
mod retention;
mod runs;
mod sender_done;
mod sim;
mod simulation;
mod stage;
mod steps;
mod webhooks;
