//! Measurements on PostgreSQL: the engine's gates, and the queues that a team would use otherwise.
//!
//! Each case has a [`server`] of its own on the measured disk, with durability on. Cases drive the store in this process
//! ([`life`]) or real `longtake` processes over HTTP; [`fill`] makes many rows that no run of minutes could make.
//! A figure of throughput beside peers is videos per second and core: videos by the CPU seconds of workers and database.
//! Absent: a PostgreSQL that runs already; only `postgres-peers` takes one.

pub mod cases;
pub mod cost;
pub mod counters;
pub mod cpu;
pub mod fill;
pub mod life;
pub mod nodes;
pub mod peers;
pub mod server;
pub mod threads;
