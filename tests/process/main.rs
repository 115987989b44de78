//! Real processes on the real clock: the shipped worker and small bad ones, through the public API.
#![expect(clippy::unwrap_used, reason = "the helpers of tests are tests")]

mod cancel;
mod deaths;
mod python;

#[path = "../support/mod.rs"]
mod support;
