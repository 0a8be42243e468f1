//! What every provider must do ([`contract`]), what each vendor's answers mean, and what hostile answers must not do.
#![expect(clippy::unwrap_used, clippy::panic, reason = "in a test, a broken assumption is a failure")]
#![expect(clippy::disallowed_methods, reason = "the simulators' clock is the real one, so these tests' is too")]

mod canned;
mod contract;
mod downloads;
mod hostile;
mod minimax;
mod openai_compatible;
mod prices;
mod registry;
mod sandbox;
mod support;
