//! Scripts in a story: each is a worker of its own, in a place that was free.

use proptest::{
    prelude::*,
    test_runner::{TestCaseError, TestCaseResult},
};

use super::{Does, ExecutionId, Fate, Generation, Input, Story, Want, dead};
use crate::machine::supervisor::Life;

impl Story {
    pub(super) fn submit_script(&mut self) -> TestCaseResult {
        let id = ExecutionId(self.next_id());
        self.fates.insert(id, Fate::Waits(None));
        self.scripts.insert(id);
        self.play(Input::Submit(id, Want { script: true, ..Want::default() }))
    }

    /// No process but for a script that waits, in a place without another, and never more than there may be.
    pub(super) fn launched(
        &mut self,
        slot: usize,
        generation: Generation,
        id: ExecutionId,
    ) -> TestCaseResult {
        let ceiling = self.config.max_sessions + self.config.surge;
        prop_assert!(self.end.is_none() && self.workers.len() < ceiling, "too many processes");
        prop_assert!(self.scripts.contains(&id), "{id} is no script");
        prop_assert_eq!(self.fates.insert(id, Fate::Placed(slot)), Some(Fate::Waits(None)));
        prop_assert_eq!(self.workers.insert(slot, (generation, Does::IsScript(id))), None);
        Ok(())
    }

    /// Its process ends with it.
    pub(super) fn script_ends(
        &mut self,
        slot: usize,
        generation: Generation,
        execution: ExecutionId,
    ) -> TestCaseResult {
        self.workers.remove(&slot);
        self.fates.insert(execution, Fate::Over);
        let crashed = self.bench.pool.status().crashed;
        self.play(dead(slot, generation.0))?;
        prop_assert_eq!(self.bench.pool.status().crashed, crashed, "the end of a script is no crash");
        self.play(Input::Idle { slot, generation, execution })
    }

    /// No script waits while there is a place for it, or while a worker is idle that does not make way. Returns how many
    /// wait.
    pub(super) fn scripts_are_served(&self) -> Result<usize, TestCaseError> {
        let (pool, status) = (&self.bench.pool, self.bench.pool.status());
        let waiting = pool.scripts.len();
        if waiting > 0 && matches!(pool.life, Life::Beginning | Life::Serving) {
            prop_assert!(pool.place_for_script().is_none(), "a place is free: {status:?}");
            prop_assert!(
                status.idle == 0 || status.retiring >= waiting,
                "{waiting} scripts wait while workers are idle: {status:?}"
            );
        }
        Ok(waiting)
    }
}
