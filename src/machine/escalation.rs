//! The cancel escalation: interrupt, forced interrupt, kill.
//!
//! ```text
//! 0          50 ms       250 ms  …   grace - 80 ms            grace
//! interrupt  force       force again what is it doing?        kill
//! ```
//! Whoever grants a long grace lets code take its time: the first force comes after a twentieth of it.
//!
//! Each is due at a time of its own, counted from the cancel: were one counted from the one before it, every wait that a busy
//! machine ends late would delay the kill.

use std::time::Duration;

use crate::config::{EXAMINE_LIMIT, FORCE_AFTER};

/// How long after the cancel something is due.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Escalation {
    /// The first forced interrupt; others follow every [`FORCE_EVERY`](crate::config::FORCE_EVERY).
    pub(crate) force: Duration,
    /// The look at what the code is doing, for whoever has to explain the kill. It must be over by then.
    pub(crate) examine: Duration,
    /// The kill.
    pub(crate) kill: Duration,
}

impl Escalation {
    /// That of a cancel with this grace. It is a little longer if it would leave no time for the look.
    pub(crate) fn new(grace: Duration) -> Self {
        let kill = grace.max(EXAMINE_LIMIT);
        Self { force: FORCE_AFTER.max(grace / 20), examine: kill - EXAMINE_LIMIT, kill }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kill_comes_at_the_end_of_the_grace_and_the_look_just_before() {
        for (grace_ms, force_ms, examine_ms, kill_ms) in [
            (0, 50, 0, 80),
            (79, 50, 0, 80),
            (81, 50, 1, 81),
            (1_000, 50, 920, 1_000),
            (20_000, 1_000, 19_920, 20_000),
        ] {
            let [force, examine, kill] = [force_ms, examine_ms, kill_ms].map(Duration::from_millis);
            let expected = Escalation { force, examine, kill };
            assert_eq!(Escalation::new(Duration::from_millis(grace_ms)), expected, "grace of {grace_ms} ms");
        }
    }
}
