//! The states of leased sessions in a story: what is asked for, what comes of it, and which worker it is for.

use std::collections::BTreeMap;

use proptest::{
    prelude::*,
    test_runner::{TestCaseError, TestCaseResult},
};

use super::{Does, ExecutionId, Fate, Generation, Holds, Input, LeaseId, Story, Want, pick};
use crate::machine::supervisor::{Sort, StateJob};

/// What the keepers of states know.
#[derive(Default)]
pub(super) struct Tending {
    chores: Vec<(LeaseId, StateJob, At)>,
    /// The last worker of each session.
    generations: BTreeMap<LeaseId, Generation>,
    expects: BTreeMap<ExecutionId, Generation>,
}

/// How far a state job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    New,
    Asked(ExecutionId),
    /// The worker died of it.
    Overtaken,
}

impl Tending {
    pub(super) fn asked(&mut self, lease: LeaseId, state_job: StateJob) {
        self.chores.push((lease, state_job, At::New));
    }

    pub(super) fn granted(&mut self, lease: LeaseId, generation: Generation) {
        self.generations.insert(lease, generation);
    }

    pub(super) fn overtaken(&mut self, id: ExecutionId) {
        for (_, _, at) in self.chores.iter_mut().filter(|(_, _, at)| *at == At::Asked(id)) {
            *at = At::Overtaken;
        }
    }

    /// Whether this execution brings a state back.
    pub(super) fn restores(&self, id: ExecutionId) -> bool {
        self.chores
            .iter()
            .any(|(_, state_job, at)| *at == At::Asked(id) && matches!(state_job, StateJob::Restore { .. }))
    }

    /// Whether the supervisor has asked for this one.
    pub(super) fn is_chore(&self, id: ExecutionId) -> bool {
        self.chores.iter().any(|(_, _, at)| *at == At::Asked(id))
    }

    /// Whether the state of this session is to be saved before anything else runs.
    pub(super) fn saves(&self, lease: LeaseId) -> bool {
        self.chores.iter().any(|(of, state_job, _)| *of == lease && *state_job == StateJob::Save)
    }

    pub(super) fn expects(&self, id: ExecutionId) -> Option<Generation> {
        self.expects.get(&id).copied()
    }

    pub(super) fn may_run(&self, id: ExecutionId, generation: Generation) -> bool {
        self.expects.get(&id).is_none_or(|expected| *expected == generation)
    }
}

impl Story {
    pub(super) fn submit_leased(&mut self, lease: LeaseId, expects: Option<bool>) -> TestCaseResult {
        let id = ExecutionId(self.next_id());
        self.fates.insert(id, Fate::Waits(Some(lease)));
        let here = self.tending.generations.get(&lease).copied();
        let expects = expects.zip(here).map(|(now, here)| Generation(here.0 - u64::from(!now)));
        self.tending.expects.extend(expects.map(|expected| (id, expected)));
        self.play(Input::Submit(id, Want { lease: Some(lease), expects, ..Want::default() }))
    }

    /// The next step of a state job.
    pub(super) fn tends(&mut self, number: u8, well: bool) -> TestCaseResult {
        let Some(nth) = pick(number, 0..self.tending.chores.len()) else { return Ok(()) };
        let (lease, state_job, at) = self.tending.chores[nth].clone();
        match at {
            At::New if well => {
                let id = ExecutionId(self.next_id());
                let (sort, expects) = match &state_job {
                    StateJob::Save => (Sort::Save, None),
                    StateJob::Restore { generation, .. } => (Sort::Restore, Some(*generation)),
                };
                self.tending.chores[nth].2 = At::Asked(id);
                self.fates.insert(id, Fate::Waits(Some(lease)));
                self.play(Input::Submit(
                    id,
                    Want { lease: Some(lease), sort, expects, state_job: true, ..Want::default() },
                ))?;
                if !self.fates.contains_key(&id) {
                    self.tending.chores[nth].2 = At::Overtaken;
                }
                Ok(())
            }
            At::Asked(id) if self.fates.get(&id) != Some(&Fate::Over) => Ok(()),
            At::New | At::Asked(_) | At::Overtaken => {
                self.tending.chores.remove(nth);
                match state_job {
                    StateJob::Save => {
                        let covers = Some(u64::MAX).filter(|_| well && at != At::Overtaken);
                        self.play(Input::Saved { lease, covers, state_job: true })
                    }
                    StateJob::Restore { .. } if at == At::Overtaken => Ok(()),
                    StateJob::Restore { generation, .. } => {
                        // There was nothing to bring back, or it is back.
                        let fate = if well || at == At::New { Ok(0) } else { Err("it cannot be".into()) };
                        self.play(Input::Restored { lease, generation, fate })
                    }
                }
            }
        }
    }

    pub(super) fn regranted(&mut self, lease: LeaseId, slot: usize) -> TestCaseResult {
        let held = self.leases.get(&lease);
        prop_assert!(held == Some(&Holds::Slot(slot)) || held == Some(&Holds::Left(slot)), "{held:?}");
        let Some((generation, does)) = self.workers.get_mut(&slot) else {
            return Err(TestCaseError::fail("there is no worker"));
        };
        prop_assert_eq!(*does, Does::Idles, "a new worker is for one session");
        *does = Does::Restores(lease, None);
        let before = self.tending.generations.insert(lease, *generation);
        prop_assert!(before.is_some_and(|before| before < *generation), "{before:?}, then {generation}");
        Ok(())
    }

    pub(super) fn announced(&mut self, lease: LeaseId) -> TestCaseResult {
        let does = self
            .workers
            .values_mut()
            .map(|(_, does)| does)
            .find(|does| **does == Does::Restores(lease, None));
        prop_assert!(does.is_some(), "nothing is restored there");
        if let Some(does) = does {
            *does = Does::IsLeased(lease, None);
        }
        Ok(())
    }

    /// The places of sessions whose worker died and that wait for the next one.
    pub(super) fn inherited(&self) -> Vec<usize> {
        let here = |lease: LeaseId, slot: &usize| {
            let does = self.workers.get(slot).map(|(_, does)| *does);
            matches!(does, Some(Does::IsLeased(its, _) | Does::Restores(its, _)) if its == lease)
        };
        let mut slots = Vec::new();
        for (lease, holds) in &self.leases {
            if let Holds::Slot(slot) | Holds::Left(slot) = holds
                && !here(*lease, slot)
                && self.workers.get(slot).is_none_or(|(_, does)| matches!(does, Does::Starts | Does::Ends))
            {
                slots.push(*slot);
            }
        }
        slots
    }
}
