//! Drives durable jobs: acquire, submit once, find out, poll, store.
//!
//! Knows `core` only and runs whole in the simulator. One executor per incarnation keeps the work it acquired until it
//! ends, is handed back or the process dies; timers live in memory, and a poll that changes nothing writes nothing.
//! Absent: SQL, HTTP, vendor names, real time. Rules R1-R12 and rows T1-T23: docs/durability.md.

pub mod admission;
pub mod batch;
pub mod callback;
pub mod client_ref;
pub mod config;
mod context;
mod dispatcher;
mod engine;
mod executor;
pub mod hub;
pub mod metrics;
mod owned;
pub mod retention;
mod steps;
mod stop;
mod storing;
mod submit;
mod task;
pub mod turn;
mod verify;
mod watch;

pub use config::{AccountEntry, EngineConfig, OnUnknown, Parts};
pub use dispatcher::WebhookConfig;
pub use engine::{Creates, Engine, Testimony};
pub use hub::{FeedEnd, FeedSubscription, Hub, Subscription, Told};
pub use metrics::EngineMetrics;
