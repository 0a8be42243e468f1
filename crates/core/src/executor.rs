//! Incarnations of processes that own work, as the store knows them.

use std::time::Duration;

use crate::id::{AccountId, ExecutorId};
use crate::time::Timestamp;

/// The process behind an executor, named so that its end can be proved on its own host (rule R7c).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProcessInfo {
    /// Host name.
    pub host: String,
    /// Of the running kernel: another one means that every process of before is gone.
    pub boot_id: String,
    /// Process numbers mean something only within one: containers of one host have their own.
    pub pid_namespace: String,
    /// Process number.
    pub pid: i32,
    /// When it started, in clock ticks since the boot: tells it from a later process with its number.
    pub started_ticks: i64,
}

/// An incarnation to be registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutorInfo {
    /// Its process.
    pub process: ProcessInfo,
    /// Silence after which others may take its work.
    pub ttl: Duration,
}

/// An incarnation as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutorRow {
    /// Which.
    pub executor: ExecutorId,
    /// Its process.
    pub process: ProcessInfo,
    /// When it began.
    pub started_at: Timestamp,
    /// Its last sign of life.
    pub beat_at: Timestamp,
    /// Since when the others have given it up; its work was taken.
    pub dead_at: Option<Timestamp>,
    /// Since when its process provably sends no more.
    pub process_dead_at: Option<Timestamp>,
    /// Attempts whose submission only its end can settle.
    pub in_doubt: u32,
}

/// What one of several executors should own of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Which account.
    pub account: AccountId,
    /// Rows owned by all, divided by their number, rounded up.
    pub rows: u32,
    /// How many executors drive it, this one among them.
    pub executors: u32,
}

/// Whether an executor is still believed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beat {
    /// It is. What is fair of each account it drives, where there are others who do; nothing where it is the only one.
    Alive(Vec<Share>),
    /// It was given up; go on as a new incarnation.
    Dead,
}
