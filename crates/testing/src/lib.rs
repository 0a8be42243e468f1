//! Simulators of vendors, for tests, benchmarks and chaos runs of Longtake. Development only.
//!
//! [`sim`] is one server that speaks the wire of every simulated vendor, keeps a billing ledger on disk and
//! misbehaves on request; `longtake-sim` is the same in a process of its own. [`proxy`] cuts TCP connections;
//! [`postgres`] runs throwaway PostgreSQL servers; [`s3`] a real S3 server on a folder,
//! [`azure`] the official emulator of Azure's.
//! [`wait_until`] polls a condition with a bound.
//! Absent: the deterministic in-memory provider of the engine's simulation; it lives with the engine's tests.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a simulator for tests: a broken one should stop the test"
)]
#![expect(clippy::disallowed_methods, reason = "a vendor's clock is the real one, whatever clock the tested code has")]

pub mod azure;
mod background;
mod kept;
pub mod postgres;
pub mod proxy;
pub mod s3;
pub mod sim;
mod wait;

pub use wait::wait_until;
