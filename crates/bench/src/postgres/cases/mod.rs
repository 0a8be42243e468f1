//! The figures on PostgreSQL, one file each. A case starts its own server and leaves nothing running.

pub mod acquire;
pub mod budget;
pub mod creates;
pub mod feed;
mod feed_writers;
pub mod limits;
pub mod pinned;
pub mod reown;
pub mod scale;
pub mod steps;
pub mod videos;
pub mod webhooks;
