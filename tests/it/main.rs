//! Real actors, scripted workers in memory, a paused clock; and the rules of the house.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on ends")]

#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]

mod tidy;
mod vectors;
