//! Who is served by which session, and which workers are started for them.

use std::time::Instant;

use crate::{
    error::SubmitError,
    machine::{
        line::Waiter,
        slot::{Place, Slot},
        supervisor::{Effect, Life, Pool},
    },
    outcome::{Generation, LostCause},
    protocol::ExecutionId,
};

impl Pool {
    /// Hands idle sessions to those who wait.
    pub(super) fn serve(&mut self, effects: &mut Vec<Effect>) {
        if let Some((error, cause)) = self.closed() {
            return self.turn_away(&error, &cause, effects);
        }
        while !self.line.is_empty() {
            let idle = |slot: &Slot| matches!(slot.place, Place::Idle { .. });
            let Some(slot) = self.slots.iter().position(idle) else { return };
            match self.line.pop() {
                None => return,
                Some(Waiter::Execution(execution)) => self.assign(slot, execution, effects),
                Some(Waiter::Lease(lease)) => self.grant(self.freshest(slot), lease, effects),
            }
        }
    }

    fn assign(&mut self, slot: usize, execution: ExecutionId, effects: &mut Vec<Effect>) {
        if let Place::Idle { since, proven } = self.slots[slot].place {
            self.slots[slot].place = Place::Busy { since, proven, execution };
            self.placed.insert(execution, slot);
            effects.push(Effect::Assign { slot, execution });
        }
    }

    /// A lease gets a worker that has served nobody, if there is one.
    fn freshest(&self, fallback: usize) -> usize {
        let fresh = |slot: &Slot| matches!(slot.place, Place::Idle { proven: false, .. });
        self.slots.iter().position(fresh).unwrap_or(fallback)
    }

    fn turn_away(&mut self, error: &SubmitError, cause: &LostCause, effects: &mut Vec<Effect>) {
        while let Some(waiter) = self.line.pop() {
            effects.push(match waiter {
                Waiter::Execution(execution) => Effect::Lose(execution, cause.clone()),
                Waiter::Lease(lease) => Effect::Deny(lease, error.clone()),
            });
        }
    }

    /// A wait may be over.
    pub(super) fn tick(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        for slot in &mut self.slots {
            if matches!(slot.place, Place::BackingOff { until } if until <= now) {
                slot.place = Place::Empty;
            }
        }
        self.arm_tick(now, effects);
    }

    /// Starts workers until those who wait and the reserve are provided for.
    pub(super) fn replenish(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let count = |test: fn(&Place) -> bool| self.slots.iter().filter(|slot| test(&slot.place)).count();
        let coming = count(|place| matches!(place, Place::Starting { .. } | Place::Idle { .. }));
        let wanted = match self.life {
            Life::Beginning => self.config.min_idle,
            Life::Serving => self.config.min_idle + self.line.len(),
            Life::Failed(_) | Life::Stopping { .. } | Life::Stopped => 0,
        };
        // Whatever keeps one worker from starting keeps the others from it too: the whole pool waits.
        if count(|place| matches!(place, Place::BackingOff { .. })) > 0 {
            return;
        }
        for _ in coming..wanted {
            let Some(slot) = self.slots.iter().position(|slot| matches!(slot.place, Place::Empty)) else {
                return;
            };
            let generation = Generation(self.slots[slot].generation.0 + 1);
            self.spawned += 1;
            self.slots[slot] =
                Slot { generation, birth: self.spawned, place: Place::Starting { since: now } };
            effects.push(Effect::Start { slot, generation });
        }
    }
}
