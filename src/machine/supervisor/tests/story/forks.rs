//! Copies of sessions, in a story of a pool.

use proptest::{prelude::*, test_runner::TestCaseResult};

use super::{Does, Generation, Holds, Input, LeaseId, Story, pick};

impl Does {
    pub(super) fn is_coming(&self) -> bool {
        matches!(self, Self::Starts | Self::Branches(_))
    }
}

impl Story {
    /// The holder of a lease, however that stands, wants a copy.
    pub(super) fn fork(&mut self, number: u8) -> TestCaseResult {
        let Some(of) = pick(number, self.leases.keys().copied()) else { return Ok(()) };
        let lease = LeaseId(self.next_id());
        self.leases.insert(lease, Holds::Waits);
        self.play(Input::Fork { of, lease })?;
        let held = matches!(self.leases.get(&of), Some(Holds::Slot(_)));
        prop_assert!(held || !self.leases.contains_key(&lease), "a copy of nothing");
        Ok(())
    }

    pub(super) fn branches(&mut self, slot: usize, generation: Generation, lease: LeaseId) -> TestCaseResult {
        let room = self.workers.len() < self.config.max_sessions;
        prop_assert!(self.end.is_none() && room, "too many workers");
        prop_assert_eq!(self.leases.get(&lease), Some(&Holds::Waits));
        let before = self.workers.insert(slot, (generation, Does::Branches(lease)));
        prop_assert_eq!(before, None, "a slot has one worker");
        Ok(())
    }

    /// Without a shutdown, only a copy that nobody waits for any more.
    pub(super) fn killed(&mut self, slot: usize) -> TestCaseResult {
        match self.workers.get_mut(&slot).map(|(_, does)| does) {
            Some(does @ Does::Branches(_)) => *does = Does::Ends,
            _other => prop_assert!(self.end.is_some(), "killed without a shutdown"),
        }
        Ok(())
    }
}
