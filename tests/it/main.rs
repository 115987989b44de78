//! Real actors, scripted workers in memory, a paused clock; and the rules of the house.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod channel_faults;
mod death_faults;
mod flow;
mod hello;
mod start_faults;
mod support;
mod tidy;
mod vectors;
mod workers;
