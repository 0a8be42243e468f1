//! The edges of Longtake: HTTP, command line, config and wiring. The one binary is `main`.
//!
//! `wiring` is the only place that names concrete stores and providers; `http` translates requests, `cli` speaks the
//! same API. Absent: rules about jobs (they are in `longtake-core`) and SQL.

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod guard;
pub mod http;
pub mod logging;
pub mod probe;
pub mod webhooks;
pub mod wiring;
