//! Forks: the copy of a leased session gets a slot and a lease of its own. It counts as every session; where there is no
//! room for it, one that is idle gives way, or it waits for one that ends.

use std::time::Instant;

use crate::{
    error::SubmitError,
    machine::{
        slot::Place,
        slots::Is,
        supervisor::{Effect, Held, Lease, LeaseId, Pool, lease::RELEASED},
    },
    outcome::DeathCause,
};

impl Pool {
    /// `lease` shall be a copy of `of`.
    pub(super) fn fork(&mut self, of: LeaseId, lease: LeaseId, effects: &mut Vec<Effect>) {
        let ended = |why: &str| Some(SubmitError::SessionEnded { why: why.into() });
        let refused = match self.leases.get(&of) {
            _ if self.stopping() => Some(SubmitError::ShuttingDown),
            None | Some(Lease { leaving: true, .. }) => ended(RELEASED),
            Some(Lease { place: Held::Ended(why), .. }) => ended(why),
            Some(Lease { place: Held::Restoring { .. }, .. }) => {
                ended("its worker died, and it is being restored")
            }
            Some(Lease { place: Held::Slot(_), .. }) => None,
        };
        match refused {
            Some(error) => effects.push(Effect::Deny(lease, error)),
            None => {
                // What the copy holds was made by as many executions as what it is a copy of.
                let ran = self.ran_in(of);
                self.forks.push_back((lease, ran));
            }
        }
    }

    /// Gives those that fork a slot each, or says that there is none.
    pub(super) fn branch(&mut self, now: Instant, jitter: f64, effects: &mut Vec<Effect>) {
        while let Some(&(lease, ran)) = self.forks.front() {
            let (alive, empty) = (self.slots.count(Is::Alive), self.slots.first(Is::Free));
            if self.stopping() {
                self.forks.pop_front();
                effects.push(Effect::Deny(lease, SubmitError::ShuttingDown));
            } else if let Some(slot) = empty.filter(|_| alive < self.config.max_sessions) {
                self.forks.pop_front();
                let generation = self.occupy(slot, Place::Branching { lease, ran }, now, jitter);
                effects.push(Effect::Branch { slot, generation, lease });
            } else {
                return self.make_room(effects);
            }
        }
    }

    /// Has idle sessions give way to those that fork, the one first that was used least recently. Whoever that is not enough
    /// for waits as others do in the queue: for at most as long as its caller does, and no more of them than `queue`.
    fn make_room(&mut self, effects: &mut Vec<Effect>) {
        while self.slots.count(Is::Ending) < self.forks.len() {
            let Some(slot) = self.slots.idle().next() else { break };
            self.retire(slot, effects);
        }
        // One that is coming will be idle.
        let soon = self.slots.count(Is::Ending) + self.slots.count(Is::Starting);
        while self.forks.len() > soon + self.config.queue
            && let Some((lease, _)) = self.forks.pop_back()
        {
            let (len, limit) = (self.forks.len(), self.config.queue);
            effects.push(Effect::Deny(lease, SubmitError::QueueFull { len, limit, retry_after: None }));
        }
    }

    /// The one who wanted this copy, if it is one, does not want it any more.
    pub(super) fn forget_fork(&mut self, lease: LeaseId, effects: &mut Vec<Effect>) {
        self.forks.retain(|(fork, _)| *fork != lease);
        let its = |slot: &usize| matches!(self.slots[*slot].place, Place::Branching { lease: of, .. } if of == lease);
        let place = self.slots.all(Is::Branching).find(its);
        if let Some(slot) = place {
            self.slots.put(slot, Place::Retiring);
            effects.push(Effect::Kill { slot, cause: DeathCause::Retired });
        }
    }

    /// The copy is ready.
    pub(super) fn branched(&mut self, slot: usize, now: Instant, effects: &mut Vec<Effect>) {
        let Place::Branching { lease, ran } = self.slots[slot].place else { return };
        self.slots.put(slot, Place::Idle { since: now });
        self.grant(slot, lease, now, effects);
        if let Some(held) = self.leases.get_mut(&lease) {
            held.ran = ran;
        }
    }

    /// The copy in this slot will not be one.
    pub(super) fn not_branched(&mut self, lease: LeaseId, why: &str, effects: &mut Vec<Effect>) {
        let why = format!("its copy was lost before it was ready: {why}");
        effects.push(Effect::Deny(lease, SubmitError::SessionEnded { why }));
    }

    /// The pool ends: no copy is waited for.
    pub(super) fn stop_branching(&mut self, slot: usize, lease: LeaseId, effects: &mut Vec<Effect>) {
        self.forget_fork(lease, effects);
        debug_assert!(matches!(self.slots[slot].place, Place::Retiring));
        effects.push(Effect::Deny(lease, SubmitError::ShuttingDown));
    }
}
