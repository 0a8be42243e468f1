//! L0: exhaustive exploration, breadth first, so that a counterexample is a shortest one.
//!
//! `protocol`: how a submission is paid at most once, as a small model with each rule as a switch.
//! `machine`: rows T1-T22, driving the real transitions and the real store in memory. `cost`: T23 on the same machine.
//! Absent: time that passes by itself.

mod cost;
mod machine;
mod protocol;
mod search;
mod world;
