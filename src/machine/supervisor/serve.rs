//! Who is served by which session, and which workers are started for them.

use std::time::Instant;

use smallvec::smallvec;

use crate::{
    config::IN_FLIGHT_BYTES,
    error::SubmitError,
    machine::{
        line::{Asked, Waiter},
        slot::{Place, Record, Slot},
        supervisor::{Effect, Life, Pool},
    },
    outcome::{Generation, LostCause},
    protocol::ExecutionId,
    request::Affinity,
};

impl Pool {
    /// Hands idle sessions to those who wait.
    pub(super) fn serve(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if let Some((error, cause)) = self.closed() {
            return self.turn_away(&error, &cause, effects);
        }
        while !self.line.is_empty() {
            let Some(slot) = self.vacant(now) else { return };
            match self.line.pop() {
                None => return,
                Some((Waiter::Execution(execution), Asked { affinity, bytes, .. })) => {
                    let slot = self.nearest(affinity.as_ref(), slot, now);
                    self.slots[slot].worker.affinity = affinity;
                    self.assign(slot, (execution, now, bytes), effects);
                }
                Some((Waiter::Lease(lease), _)) => match self.slots.iter().position(Slot::is_idle) {
                    Some(idle) => self.grant(self.freshest(idle), lease, now, effects),
                    // It takes a whole worker. Nobody goes ahead of it, so that one becomes idle.
                    None => return self.line.push_front(Waiter::Lease(lease)),
                },
            }
        }
    }

    /// The session that the next execution goes to: an idle one, or else that with the fewest of those with room.
    pub(super) fn vacant(&self, now: Instant) -> Option<usize> {
        let idle = self.slots.iter().position(Slot::is_idle);
        let shared = || {
            let roomy = self.slots.iter().enumerate().filter(|(_, slot)| self.offers_room(slot, now));
            roomy.min_by_key(|(_, slot)| slot.runs().len()).map(|(index, _)| index)
        };
        idle.or_else(shared)
    }

    /// Whether a worker that has something to do takes more. One that is worn takes no more, so that it becomes idle.
    fn offers_room(&self, slot: &Slot, now: Instant) -> bool {
        let runs = slot.runs();
        let has_room = |runs: &[(ExecutionId, Instant, usize)]| {
            runs.iter().map(|(.., bytes)| bytes).sum::<usize>() < IN_FLIGHT_BYTES
        };
        (1..self.in_flight).contains(&runs.len()) && has_room(runs) && !self.leaves(slot, now)
    }

    fn assign(&mut self, slot: usize, run: (ExecutionId, Instant, usize), effects: &mut Vec<Effect>) {
        let execution = run.0;
        if let Place::Busy { runs } = &mut self.slots[slot].place {
            runs.push(run);
        } else {
            self.slots[slot].place = Place::Busy { runs: smallvec![run] };
        }
        self.placed.insert(execution, slot);
        effects.push(Effect::Assign { slot, execution });
    }

    /// An execution gets the worker that served its affinity last, if that is free; or one that is nobody's.
    fn nearest(&self, affinity: Option<&Affinity>, fallback: usize, now: Instant) -> usize {
        let of = |slot: &Slot, wanted: Option<&Affinity>| slot.worker.affinity.as_ref() == wanted;
        let free = |wanted| self.slots.iter().position(|slot| slot.is_idle() && of(slot, wanted));
        let shared = || {
            affinity?;
            self.slots.iter().position(|slot| of(slot, affinity) && self.offers_room(slot, now))
        };
        free(affinity).or_else(shared).or_else(|| free(None)).unwrap_or(fallback)
    }

    /// A lease gets a worker that has served nobody, if there is one.
    fn freshest(&self, fallback: usize) -> usize {
        let fresh = |slot: &Slot| slot.is_idle() && slot.worker.served == 0;
        self.slots.iter().position(fresh).unwrap_or(fallback)
    }

    fn turn_away(&mut self, error: &SubmitError, cause: &LostCause, effects: &mut Vec<Effect>) {
        while let Some((waiter, _)) = self.line.pop() {
            effects.push(match waiter {
                Waiter::Execution(execution) => Effect::Lose(execution, cause.clone()),
                Waiter::Lease(lease) => Effect::Deny(lease, error.clone()),
            });
        }
    }

    /// Starts workers until those who wait and the reserve are provided for.
    pub(super) fn replenish(&mut self, now: Instant, jitter: f64, effects: &mut Vec<Effect>) {
        let starting = self.count(|place| matches!(place, Place::Starting));
        let taken = |slot: &&Slot| matches!(slot.place, Place::Starting) && slot.heir.is_some();
        let taken = self.slots.iter().filter(taken).count();
        let coming = starting - taken + self.count(|place| matches!(place, Place::Idle { .. }));
        let wanted = self.wanted(now);
        let wanted = match self.life {
            Life::Beginning => self.config.min_idle,
            Life::Serving => wanted,
            // One, to see whether it lives.
            Life::HalfOpen { .. } => coming + usize::from(starting == 0),
            Life::Failed { .. } | Life::Stopping { .. } | Life::Stopped => 0,
        };
        // Whatever keeps one worker from starting keeps the others from it too: the whole pool waits.
        if self.count(|place| matches!(place, Place::BackingOff { .. })) > 0 {
            return;
        }
        let mut room = self.config.max_starting.saturating_sub(starting);
        self.start_heirs(&mut room, now, jitter, effects);
        for _ in 0..wanted.saturating_sub(coming).min(room) {
            if !self.start(now, jitter, effects) {
                return;
            }
        }
    }

    /// How many sessions should be free or on their way. A new spec is tried, also where nobody waits.
    pub(super) fn wanted(&self, now: Instant) -> usize {
        let roomy = self.slots.iter().filter(|slot| self.offers_room(slot, now)).count();
        let reserve = self.config.min_idle.saturating_sub(roomy).max(usize::from(self.untried));
        reserve + self.line.len().div_ceil(self.in_flight)
    }

    /// Starts one worker, if there may be one more: beyond `max_sessions` only while others are leaving.
    pub(super) fn start(&mut self, now: Instant, jitter: f64, effects: &mut Vec<Effect>) -> bool {
        let alive = self.alive();
        let leaving = self.slots.iter().filter(|slot| self.leaves(slot, now)).count();
        let limit = self.config.max_sessions + leaving.min(self.config.surge);
        let empty = self.slots.iter().position(Slot::is_free);
        let Some(slot) = empty.filter(|_| alive < limit && self.throttle.pass(now)) else { return false };
        self.start_in(slot, now, jitter, effects);
        true
    }

    /// Workers that are alive, and those that will be in the places of leased ones.
    pub(super) fn alive(&self) -> usize {
        self.slots.iter().filter(|slot| slot.has_worker() || slot.heir.is_some()).count()
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
        let (birth, edition) = (self.spawned, self.edition);
        let worker = Record {
            since: now,
            birth,
            edition,
            served: 0,
            chance,
            heavy: false,
            left: false,
            affinity: None,
        };
        let (last_death, heir) = (self.slots[slot].last_death.take(), self.slots[slot].heir);
        self.slots[slot] = Slot { generation, place, worker, last_death, heir };
        generation
    }
}
