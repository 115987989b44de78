//! Decisions: what may happen next, without doing it.
//!
//! No channel, no process, no clock, no randomness and no log is touched here. Time and chance are arguments; what is
//! to be done comes back as effects, which `actor/` performs. Every interleaving is therefore a unit test.

pub(crate) mod budget;
pub(crate) mod escalation;
pub(crate) mod execution;
pub(crate) mod health;
pub(crate) mod queue;
pub(crate) mod restart;
pub(crate) mod rpc;
pub(crate) mod script;
pub(crate) mod session;
pub(crate) mod slot;
pub(crate) mod slots;
pub(crate) mod supervisor;
pub(crate) mod unstarted;
pub(crate) mod wait_estimate;
