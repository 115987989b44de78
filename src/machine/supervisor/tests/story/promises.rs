//! What holds after every beat of a story, and at its end.

use std::time::Duration;

use proptest::{prelude::*, test_runner::TestCaseResult};

use super::{Does, Fate, Holds, Input, LeaseId, Story, dead};

impl Story {
    pub(super) fn holds(&self) -> TestCaseResult {
        let status = self.bench.pool.status();
        let does = |wanted: fn(&Does) -> bool| self.workers.values().filter(|(_, does)| wanted(does)).count();
        let (idle, starting) = (does(|does| *does == Does::Idles), does(|does| *does == Does::Starts));
        let branching = does(|does| matches!(does, Does::Branches(_)));
        prop_assert_eq!((status.idle, status.starting), (idle, starting + branching));
        let in_line = self.fates.values().filter(|fate| **fate == Fate::Waits(None)).count();
        let in_leases = self.fates.values().filter(|fate| matches!(fate, Fate::Waits(Some(_)))).count();
        let leasing = self.leases.values().filter(|holds| **holds == Holds::Waits).count();
        let waiting = in_line + leasing;
        if self.stopped == 0 {
            prop_assert!(status.queued <= waiting + in_leases, "{} queued, {} wait", status.queued, waiting);
        }
        let scripts = self.scripts_are_served()?;
        self.nobody_waits_beside_what_is_idle(&status)?;
        let waits = |lease: LeaseId| self.fates.values().any(|fate| *fate == Fate::Waits(Some(lease)));
        let free = |does: &Does| matches!(does, Does::IsLeased(lease, None) if waits(*lease) && !self.tending.saves(*lease));
        prop_assert!(
            !self.workers.values().any(|(_, does)| free(does)),
            "one waits while its session is idle: {status:?}"
        );
        let woken = self.tick.is_some() || status.shutting_down;
        prop_assert!(status.backing_off == 0 || woken, "nobody wakes the slot that backs off");
        let serves = self.started && status.failed.is_none() && !status.shutting_down;
        let inherited = self.inherited();
        let waits = |slot: &&usize| !self.workers.contains_key(*slot);
        let orphans = inherited.iter().filter(waits).count();
        let for_heirs = |slot: &&usize| matches!(self.workers.get(*slot), Some((_, Does::Starts)));
        let for_heirs = inherited.iter().filter(for_heirs).count();
        let spare = self.config.min_idle.saturating_sub(self.idle_for_anybody());
        let provided = starting - for_heirs >= spare + status.queued.saturating_sub(in_leases + scripts);
        let can_start = status.backing_off == 0
            && self.workers.len() + orphans < self.config.max_sessions
            && starting < self.config.max_starting;
        prop_assert!(!serves || provided || !can_start, "a worker is missing: {status:?}");
        let comes = status.backing_off > 0 || starting >= self.config.max_starting || woken;
        prop_assert!(
            self.stopped > 0 || orphans == 0 || status.failed.is_none() && !status.shutting_down && comes,
            "nobody starts a worker for a session: {status:?}"
        );
        if status.failed.is_some() && self.workers.is_empty() {
            prop_assert_eq!(status.queued, in_leases, "they wait for ever: {:?}", status);
        }
        prop_assert!(self.stopped <= 1 && (self.stopped == 0 || self.workers.is_empty()));
        Ok(())
    }

    /// Whatever was, it ends, and everybody has been told.
    pub(super) fn end(mut self) -> TestCaseResult {
        self.play(Input::Shutdown { grace: Duration::ZERO })?;
        let workers: Vec<_> = self.workers.keys().copied().collect();
        for slot in workers {
            let Some((generation, does)) = self.workers.remove(&slot) else { continue };
            self.loses(does, false);
            self.play(dead(slot, generation.0))?;
        }
        let back = self.fates.iter().filter(|(_, fate)| matches!(fate, Fate::Returns(_)));
        let back: Vec<_> = back.map(|(id, _)| *id).collect();
        for id in back {
            self.requeue(id)?;
        }
        prop_assert_eq!(self.stopped, 1);
        let waits: Vec<_> = self.fates.iter().filter(|(_, fate)| **fate != Fate::Over).collect();
        prop_assert!(waits.is_empty(), "nobody told {waits:?}");
        let waits: Vec<_> = self.leases.iter().filter(|(_, holds)| **holds == Holds::Waits).collect();
        prop_assert!(waits.is_empty(), "nobody told {waits:?}");
        Ok(())
    }
}
