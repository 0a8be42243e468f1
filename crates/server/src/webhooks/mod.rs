//! Outgoing webhooks on the wire: which URLs are taken, how a delivery is signed, rendered and sent.
//!
//! When, and how often, is the engine's dispatcher's business. Absent: rows.

pub mod client;
pub mod sender;
pub mod signature;

pub use client::WebhookClient;
pub use sender::Sender;
