//! The domain under test: every reachable state of the protocol and of the machine (L0), and random input (L1).

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "what goes wrong in a test ends it")]
#![expect(clippy::print_stdout, reason = "an exploration says how many states it saw")]

mod model;
mod properties;
