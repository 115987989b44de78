//! Real actors, scripted workers in memory, a paused clock; and the rules of the house.
#![expect(clippy::unwrap_used, reason = "a test that panics has failed")]
#![expect(clippy::wildcard_enum_match_arm, reason = "a test names what it is about")]

mod book;
mod bounds;
mod channel_faults;
mod death_faults;
mod endings;
mod errors;
mod event_logs;
mod fairness;
mod flow;
mod hello;
mod hosts;
mod input;
mod killed_actors;
mod late;
mod leases;
mod limits;
mod messages;
mod metrics;
mod operations;
mod races;
mod restarts;
mod restores;
mod rpc;
mod saves;
mod shutdown;
mod simulation;
mod sinks;
mod start_faults;
mod state;
mod support;
mod tenants;
mod tidy;
mod traces;
mod unstarted;
mod vectors;
mod workers;
