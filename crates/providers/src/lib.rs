//! One folder per provider: what the wire says, in the words of the domain.
//!
//! [`registry`] has one line per provider and builds one adapter per configured account. [`http`] is the client they
//! share: one send per call, no redirects, deadlines, size limits, redaction, and the judgement "was it sent?" (R9).
//! Every provider's folder has its `README.md` (endpoints, limits, date read) and one fixture per documented answer.
//! Absent: retries, timers between polls and any memory of jobs; those are the engine's. Only the sandbox, which is its
//! own vendor, keeps state, and keeps it on disk.

mod account;
pub mod http;

pub mod minimax;
pub mod nearest;
pub mod openai_compatible;
mod options;
pub mod registry;
pub mod sandbox;
