//! `/v1/webhook_endpoints`: whom a project's events are sent to, and what became of each.
//!
//! `fields` decodes what a client says, `wire` shows endpoints and deliveries, `path` finds the ids in a path; each other
//! file is an operation or two. Secrets are made from random salts and the installation's key, so no row holds one: they
//! are shown where they are made and nowhere else. Absent: sending (module `webhooks`), choosing what is due (engine).

pub mod change;
pub mod create;
pub mod deliveries;
mod fields;
pub mod list;
pub mod path;
pub mod replay;
pub mod secrets;
pub mod test;
pub mod wire;

pub use fields::check_url;
