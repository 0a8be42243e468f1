//! Peers: the same work without Longtake, each in a process of its own.
//!
//! They are as fast as plain code with the same libraries is; nothing in them survives a crash but what they sync.

pub mod calls;
pub mod inserts;
pub mod jobs;
pub mod polls;

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::Outcome;

/// Writes what a peer found out to where its parent reads it.
fn write_result(path: &Path, result: &impl Serialize) -> Outcome {
    let text = serde_json::to_vec(result).map_err(|error| format!("the result: {error}"))?;
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Reads what a peer found out.
pub fn read_result<T: DeserializeOwned>(path: &Path) -> Outcome<T> {
    let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))
}
