//! The domain of Longtake: what a job is, how it may change, and the seams its rooms meet in.
//!
//! Every state is made by [`apply`](apply::apply) and nowhere else; stores load, apply and save. The traits
//! [`Store`](store::Store), [`Provider`](provider::Provider), [`ArtifactStore`](artifact::ArtifactStore),
//! [`Clock`](time::Clock) and [`Random`](id::Random) are the only ways out.
//! Absent: I/O, a runtime, SQL, HTTP, serde. Rules and their numbers (T1-T23, R1-R12, I1-I12): docs/durability.md.

pub mod ablation;
pub mod apply;
pub mod artifact;
pub mod attempt;
pub mod cost;
pub mod event;
pub mod executor;
pub mod failpoint;
pub mod failure;
pub mod feed;
pub mod id;
pub mod limits;
#[cfg(feature = "testing")]
pub mod memory_store;
pub mod pacing;
pub mod provider;
pub mod record;
pub mod request;
pub mod retention;
pub mod route;
pub mod state;
pub mod step;
pub mod store;
pub mod time;
pub mod webhook;
pub mod webhook_store;
pub mod work;

/// A boxed error that passes by as a source.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
