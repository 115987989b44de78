//! Who is served by which session, and which workers are started for them.

use std::time::Instant;

use crate::{
    machine::{
        queue::{Head, Waiter},
        slot::{Owner, Place, Record, Slot},
        slots::Is,
        supervisor::{Effect, Life, Pool, RecycleReason, tenants::Next},
    },
    outcome::Generation,
};

impl Pool {
    /// Hands idle sessions to those who wait. A lease may take the last one that a failed pool has: who waits on is told.
    pub(super) fn serve(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        loop {
            match self.next(now) {
                Next::Nobody => return self.turn_away(effects),
                Next::Replace(slot) => self.replace(slot, RecycleReason::Tenant, effects),
                Next::Serve(waiter, slot) => {
                    let Some(asked) = self.queue.serve(waiter) else { return };
                    // In one change: the sets follow each.
                    let mut place = self.slots.edit(slot);
                    place.worker.affinity = asked.affinity;
                    place.worker.owner = Owner::Tenant(asked.tenant);
                    match waiter {
                        Waiter::Execution(execution) => {
                            place.runs_also((execution, now, asked.bytes));
                            drop(place);
                            self.placed.insert(execution, slot);
                            effects.push(Effect::Assign { slot, execution });
                        }
                        Waiter::Lease(lease) => {
                            drop(place);
                            self.grant(slot, lease, now, effects);
                        }
                    }
                }
            }
        }
    }

    /// Tells those whom no worker serves, now or later.
    fn turn_away(&mut self, effects: &mut Vec<Effect>) {
        let hopeless = |pool: &Self| {
            let closed = |head: Head<'_>| Some((head.waiter, pool.closed(&head.asked.tenant)?));
            pool.queue.heads().chain(pool.scripts.heads()).find_map(closed)
        };
        if matches!(self.life, Life::Beginning | Life::Serving) {
            return;
        }
        while let Some((waiter, (error, cause))) = hopeless(self) {
            let _ = self.queue.remove(waiter) || self.scripts.remove(waiter);
            effects.push(match waiter {
                Waiter::Execution(execution) => Effect::Lose(execution, cause),
                Waiter::Lease(lease) => Effect::Deny(lease, error),
            });
        }
    }

    /// Starts workers until those who wait and the reserve are provided for.
    pub(super) fn replenish(&mut self, now: Instant, jitter: f64, effects: &mut Vec<Effect>) {
        let starting = self.slots.count(Is::Starting);
        let missing = match self.life {
            Life::Beginning => self.config.min_idle.saturating_sub(self.slots.count(Is::Unclaimed)),
            Life::Serving => self.missing(),
            // One, to see whether it lives.
            Life::HalfOpen { .. } => usize::from(starting == 0),
            Life::Failed { .. } | Life::Stopping { .. } | Life::Stopped => 0,
        };
        // Whatever keeps one worker from starting keeps the others from it too: the whole pool waits.
        if self.slots.count(Is::BackingOff) > 0 {
            return;
        }
        let mut room = self.config.max_starting.saturating_sub(starting);
        self.start_heirs(&mut room, now, jitter, effects);
        for _ in 0..missing.min(room) {
            if !self.start(now, jitter, effects) {
                return;
            }
        }
    }

    /// Starts one worker, if there may be one more: beyond `max_sessions` only while others are leaving.
    pub(super) fn start(&mut self, now: Instant, jitter: f64, effects: &mut Vec<Effect>) -> bool {
        let room = self.slots.count(Is::Alive) < self.ceiling();
        let empty = self.slots.first(Is::Free);
        let Some(slot) = empty.filter(|_| room && self.throttle.pass(now)) else { return false };
        self.start_in(slot, now, jitter, effects);
        true
    }

    /// How many workers there may be.
    pub(super) fn ceiling(&self) -> usize {
        self.config.max_sessions + self.slots.count(Is::Leaving).min(self.config.surge)
    }

    pub(super) fn start_in(&mut self, slot: usize, now: Instant, jitter: f64, effects: &mut Vec<Effect>) {
        let generation = self.occupy(slot, Place::Starting, now, jitter);
        effects.push(Effect::Start { slot, generation });
    }

    /// Puts a worker that is to come into this slot.
    pub(super) fn occupy(&mut self, slot: usize, place: Place, now: Instant, jitter: f64) -> Generation {
        let generation = Generation(self.slots[slot].generation.0 + 1);
        self.spawned += 1;
        // One draw serves all that start now: their births spread it (by the golden ratio, which spreads best).
        let chance = (jitter + self.spawned as f64 * 0.618_033_988_749_895).fract();
        let (birth, edition) = (self.spawned, self.slots.edition());
        let worker = Record {
            since: now,
            birth,
            edition,
            served: 0,
            chance,
            heavy: false,
            left: false,
            affinity: None,
            owner: Owner::Nobody,
        };
        let mut it = self.slots.edit(slot);
        let (last_death, heir) = (it.last_death.take(), it.heir);
        *it = Slot { generation, place, worker, last_death, heir };
        generation
    }
}
