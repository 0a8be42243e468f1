//! The store contract on every store, the two stores against each other, and what a power cut leaves of SQLite.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a broken case should stop its test")]

mod artifact_azure;
mod artifact_buckets;
mod artifact_files;
mod artifact_suite;
mod artifacts;
mod attempts;
mod commands;
mod create;
mod differential;
mod events;
mod fail_stop;
mod feed;
mod feed_order;
mod given;
mod limits;
mod locks;
mod machines;
mod opening;
mod ownership;
mod plans;
mod power_cut;
mod prepare;
mod processes;
mod queue;
mod retention;
mod retention_days;
mod statements;
mod suite;
mod webhooks;
mod webhooks_machines;
mod webhooks_of_jobs;
