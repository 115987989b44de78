//! The cancel ladder: interrupt, forced interrupt, kill.
//!
//! ```text
//! 0          50 ms       250 ms  …           grace
//! interrupt  force       force again         kill
//! ```
//! Whoever grants a long grace lets code take its time: the first force comes after a twentieth of it.

use std::time::Duration;

use crate::{
    config::{FORCE_AFTER, FORCE_EVERY},
    outcome::Rung,
};

/// How far one cancel has gone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ladder {
    rung: Rung,
    left: Duration,
}

/// What to do next, and how long to wait before asking again.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Interrupt { force: bool, again_after: Duration },
    Kill,
}

impl Ladder {
    /// A ladder that ends in a kill after `grace`.
    pub(crate) fn new(grace: Duration) -> (Self, Step) {
        let wait = FORCE_AFTER.max(grace / 20).min(grace);
        let step = Step::Interrupt { force: false, again_after: wait };
        (Self { rung: Rung::Interrupt, left: grace - wait }, step)
    }

    /// The next rung, once the wait of the last step is over.
    pub(crate) fn climb(&mut self) -> Step {
        if self.left.is_zero() {
            self.rung = Rung::Kill;
            return Step::Kill;
        }
        let wait = FORCE_EVERY.min(self.left);
        self.left -= wait;
        self.rung = Rung::Force;
        Step::Interrupt { force: true, again_after: wait }
    }

    /// The highest rung that was used.
    pub(crate) fn rung(&self) -> Rung {
        self.rung
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kill_comes_exactly_at_the_end_of_the_grace() {
        for grace_ms in [0, 1, 49, 50, 51, 250, 251, 1_000, 3_333] {
            let grace = Duration::from_millis(grace_ms);
            let (mut ladder, mut step) = Ladder::new(grace);
            let mut waited = Duration::ZERO;
            while let Step::Interrupt { again_after, .. } = step {
                waited += again_after;
                step = ladder.climb();
            }
            assert_eq!(waited, grace, "grace of {grace_ms} ms");
            assert_eq!(ladder.rung(), Rung::Kill);
        }
    }

    #[test]
    fn a_long_grace_is_a_long_time_to_obey() {
        let first = |grace| match Ladder::new(Duration::from_secs(grace)).1 {
            Step::Interrupt { again_after, .. } => again_after,
            Step::Kill => unreachable!("a kill is never the first step"),
        };
        assert_eq!((first(1), first(20)), (FORCE_AFTER, Duration::from_secs(1)));
    }

    #[test]
    fn the_first_rung_is_polite_and_the_next_ones_force() {
        let (mut ladder, first) = Ladder::new(Duration::from_secs(1));
        assert_eq!(first, Step::Interrupt { force: false, again_after: FORCE_AFTER });
        assert_eq!(ladder.rung(), Rung::Interrupt);
        assert_eq!(ladder.climb(), Step::Interrupt { force: true, again_after: FORCE_EVERY });
        assert_eq!(ladder.rung(), Rung::Force);
    }
}
