//! What the crate promises, checked with FFmpeg as the second opinion.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on shall fail here"
)]

mod card;
mod hostile;
mod pictures;
mod probe;
mod tools;
