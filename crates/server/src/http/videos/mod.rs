//! `/v1/videos`: the OpenAI Videos shape, one file per operation.
//!
//! `fields` decodes a create from JSON or multipart into the same members, `accept` checks them against the model, `wire`
//! shows a job as a video. Absent: state changes; each command is one call to the store.

pub mod accept;
pub mod cancel;
pub mod content;
pub mod cost;
pub mod create;
pub mod delete;
pub mod deliveries;
pub mod fields;
pub mod get;
pub mod link;
pub mod list;
pub mod path;
pub mod pictures;
pub mod quote;
pub mod range;
pub mod remix;
pub mod repeats;
pub mod resolve;
pub mod retry;
pub mod source;
pub mod timeline;
pub mod webhook;
pub mod wire;
