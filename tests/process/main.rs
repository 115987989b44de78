//! Real processes on the real clock: the shipped worker and small bad ones, through the public API.
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]
#![expect(clippy::wildcard_enum_match_arm, reason = "whatever was not expected fails the test")]
#![expect(clippy::print_stdout, reason = "figures, and the log of what failed")]
#![expect(clippy::disallowed_methods, reason = "the clock of real processes is the real one")]

mod cancel;
mod conform;
mod deaths;
mod explain;
mod fork;
mod node;
mod python;
mod rpc;
mod rust_worker;
mod scarce;
mod scripts;
mod strangers;
mod tenants;
mod upkeep;

#[path = "../support/mod.rs"]
mod support;
