//! What can be seen of a pool from outside.

use std::time::Instant;

use crate::{
    machine::{
        slot::{Place, Slot},
        slots::Is,
        supervisor::{Life, Pool},
    },
    outcome::Generation,
    protocol::ExecutionId,
    status::PoolStatus,
};

impl Pool {
    /// What an operator sees. The actor adds the sessions and the totals.
    pub(crate) fn status(&self) -> PoolStatus {
        let count = |what| self.slots.count(what);
        PoolStatus {
            idle: count(Is::Idle),
            busy: count(Is::Busy) + count(Is::Script),
            leased: count(Is::Leased),
            starting: count(Is::Starting) + count(Is::Branching),
            retiring: count(Is::Ending),
            backing_off: count(Is::BackingOff),
            max_sessions: self.config.max_sessions,
            queued: self.waiting() + self.leases.waiting(),
            spawned: self.spawned,
            crashed: self.crashed,
            recycled: self.recycled,
            left_over: self.left_over,
            restored: self.restored,
            saved: self.saved,
            not_saved: self.not_saved,
            trouble: self.trouble.clone(),
            failed: match &self.life {
                Life::Failed { why, .. } | Life::HalfOpen { why } => Some(why.clone()),
                Life::Beginning | Life::Serving | Life::Stopping { .. } | Life::Stopped => None,
            },
            shutting_down: matches!(self.life, Life::Stopping { .. } | Life::Stopped),
            ..PoolStatus::default()
        }
    }

    /// Every place, with its number.
    pub(crate) fn slots(&self) -> impl Iterator<Item = (usize, &Slot)> {
        self.slots.iter().enumerate()
    }

    /// The place of each slot that has a worker.
    pub(crate) fn places(&self) -> impl Iterator<Item = (usize, Generation, &Place)> {
        self.slots
            .iter()
            .enumerate()
            .filter(|(_, slot)| slot.has_worker())
            .map(|(index, slot)| (index, slot.generation, &slot.place))
    }

    /// Where an execution is, if it is in a session.
    pub(crate) fn slot_of(&self, execution: ExecutionId) -> Option<usize> {
        self.placed.get(&execution).copied()
    }

    /// When the worker in this slot was started.
    pub(crate) fn started(&self, slot: usize) -> Instant {
        self.slots[slot].worker.since
    }

    /// The generation of the worker in this slot.
    pub(crate) fn generation(&self, slot: usize) -> Generation {
        self.slots[slot].generation
    }
}
