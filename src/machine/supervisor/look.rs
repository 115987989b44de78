//! What can be seen of a pool from outside.

use std::time::Instant;

use crate::{
    machine::{
        slot::{Place, Slot},
        supervisor::{Life, Pool},
    },
    outcome::Generation,
    protocol::ExecutionId,
    status::PoolStatus,
};

impl Pool {
    /// What an operator sees. The actor adds the sessions and the totals.
    pub(crate) fn status(&self) -> PoolStatus {
        let count = |test: fn(&Place) -> bool| self.count(test);
        PoolStatus {
            idle: count(|place| matches!(place, Place::Idle { .. })),
            busy: count(|place| matches!(place, Place::Busy { .. } | Place::Script { .. })),
            leased: self.slots.iter().filter(|slot| slot.is_leased()).count(),
            starting: count(|place| matches!(place, Place::Starting | Place::Branching { .. })),
            retiring: count(|place| matches!(place, Place::Retiring | Place::Doomed { .. })),
            backing_off: count(|place| matches!(place, Place::BackingOff { .. })),
            max_sessions: self.config.max_sessions,
            queued: self.waiting() + self.leases.values().map(|lease| lease.line.len()).sum::<usize>(),
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
