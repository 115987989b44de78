//! What tests of real processes share: guards, waits, and a look at the processes of this machine.

mod log;
pub(crate) mod processes;
pub(crate) mod wait;
