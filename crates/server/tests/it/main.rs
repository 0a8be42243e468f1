//! The whole server over HTTP: one binary for all tests, one server and one data directory for each.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a broken test should stop, and a long one say what it saw"
)]

mod app;
mod auth;
mod behind_nginx;
mod browser;
mod buckets;
mod callbacks;
mod chaos;
mod cli;
mod conduit;
mod config;
mod content;
mod crash;
mod create;
mod events;
mod failover;
mod feed;
mod feed_machines;
mod files;
mod fleet;
mod hostile;
mod inputs;
mod machines;
mod matrix;
mod mutations;
mod openapi;
mod process;
mod quote;
mod remix;
mod retention;
mod socket;
mod spreading;
mod standstill;
mod videos;
mod webhook_endpoints;
mod webhook_targets;
