//! Leases: one caller, one session, its own line of executions.

use std::{collections::VecDeque, time::Instant};

use crate::{
    error::SubmitError,
    machine::{
        line::Waiter,
        slot::Place,
        supervisor::{Effect, Held, Lease, LeaseId, Pool},
    },
    outcome::LostCause,
    protocol::ExecutionId,
};

impl Pool {
    pub(super) fn lease(&mut self, lease: LeaseId, now: Instant, effects: &mut Vec<Effect>) {
        match self.closed() {
            Some((error, _)) => effects.push(Effect::Deny(lease, error)),
            None if !self.has_room(now) => {
                effects.push(Effect::Deny(lease, self.queue_full()));
            }
            None => self.line.push_back(Waiter::Lease(lease), None, None, now),
        }
    }

    pub(super) fn grant(&mut self, slot: usize, lease: LeaseId, effects: &mut Vec<Effect>) {
        if self.slots[slot].is_idle() {
            self.slots[slot].place = Place::Leased { lease };
            let held = Lease { place: Held::Slot(slot), running: None, line: VecDeque::new() };
            self.leases.insert(lease, held);
            effects.push(Effect::Grant { lease, slot });
            self.arm(lease, effects);
        }
    }

    /// One execution at a time; others wait in the session's own line, up to its limit.
    pub(super) fn submit_leased(
        &mut self,
        execution: ExecutionId,
        lease: LeaseId,
        effects: &mut Vec<Effect>,
    ) {
        let limit = self.config.line;
        let refused = match self.leases.get(&lease) {
            None => Some(SubmitError::SessionEnded { why: "it was released".into() }),
            Some(Lease { place: Held::Ended(why), .. }) => {
                Some(SubmitError::SessionEnded { why: why.clone() })
            }
            Some(Lease { place: Held::Leaving(_), .. }) => {
                Some(SubmitError::SessionEnded { why: "it was released".into() })
            }
            Some(held) if held.running.is_some() && held.line.len() >= limit => {
                Some(SubmitError::LineFull { limit })
            }
            Some(Lease { place: Held::Slot(_), .. }) => self.stopping().then_some(SubmitError::ShuttingDown),
        };
        if let Some(error) = refused {
            return effects.push(Effect::Refuse(execution, error));
        }
        effects.push(Effect::Accept(execution));
        if let Some(held) = self.leases.get_mut(&lease) {
            held.line.push_back(execution);
        }
        self.lease_next(lease, effects);
    }

    /// The execution that ran in a leased session is over.
    pub(super) fn lease_idle(&mut self, lease: LeaseId, effects: &mut Vec<Effect>) {
        if let Some(held) = self.leases.get_mut(&lease) {
            held.running = None;
        }
        self.lease_next(lease, effects);
    }

    fn lease_next(&mut self, lease: LeaseId, effects: &mut Vec<Effect>) {
        let Some(held) = self.leases.get_mut(&lease) else { return };
        let (Held::Slot(slot) | Held::Leaving(slot)) = held.place else { return };
        if held.running.is_some() {
            return;
        }
        if let Some(execution) = held.line.pop_front() {
            held.running = Some(execution);
            self.placed.insert(execution, slot);
            effects.extend([Effect::DisarmLease(lease), Effect::Assign { slot, execution }]);
        } else if matches!(held.place, Held::Leaving(_)) || self.stopping() {
            self.end_lease(lease, slot, "the runtime is shutting down", effects);
        } else {
            self.arm(lease, effects);
        }
    }

    fn arm(&self, lease: LeaseId, effects: &mut Vec<Effect>) {
        if let Some(after) = self.config.session_timeout {
            effects.push(Effect::ArmLease(lease, after));
        }
    }

    /// A session that served one caller never serves another: its worker is replaced.
    fn end_lease(&mut self, lease: LeaseId, slot: usize, why: &str, effects: &mut Vec<Effect>) {
        let leaving = self.leases.get(&lease).is_some_and(|held| matches!(held.place, Held::Leaving(_)));
        if leaving {
            self.leases.remove(&lease);
        } else if let Some(held) = self.leases.get_mut(&lease) {
            held.place = Held::Ended(why.into());
            effects.push(Effect::LeaseEnded(lease, why.into()));
        }
        effects.push(Effect::DisarmLease(lease));
        self.retire(slot, effects);
    }

    pub(super) fn release(&mut self, lease: LeaseId, effects: &mut Vec<Effect>) {
        if self.line.remove(Waiter::Lease(lease)) {
            return;
        }
        match self.leases.get_mut(&lease).map(|held| &mut held.place) {
            None | Some(Held::Leaving(_)) => {}
            Some(Held::Ended(_)) => {
                self.leases.remove(&lease);
            }
            Some(place @ Held::Slot(_)) => {
                if let Held::Slot(slot) = *place {
                    *place = Held::Leaving(slot);
                }
                self.lease_next(lease, effects);
            }
        }
    }

    pub(super) fn lease_expired(&mut self, lease: LeaseId, effects: &mut Vec<Effect>) {
        let Some(held) = self.leases.get(&lease) else { return };
        if let (Held::Slot(slot), None) = (&held.place, held.running) {
            let slot = *slot;
            self.end_lease(lease, slot, "it ran nothing for `session_timeout`", effects);
        }
    }

    /// The worker of a leased session died. Returns whether code was running in it.
    pub(super) fn lease_lost(&mut self, lease: LeaseId, why: &str, effects: &mut Vec<Effect>) -> bool {
        let Some(held) = self.leases.get_mut(&lease) else { return false };
        let running = held.running.take();
        let waiting = std::mem::take(&mut held.line);
        if matches!(held.place, Held::Leaving(_)) {
            self.leases.remove(&lease);
        } else {
            held.place = Held::Ended(why.into());
            effects.push(Effect::LeaseEnded(lease, why.into()));
        }
        if let Some(execution) = running {
            self.placed.remove(&execution);
        }
        effects.push(Effect::DisarmLease(lease));
        effects.extend(waiting.into_iter().map(|execution| Effect::Lose(execution, LostCause::SessionEnded)));
        running.is_some()
    }

    /// What runs in the session of this lease.
    pub(crate) fn running_in(&self, lease: LeaseId) -> Option<ExecutionId> {
        self.leases.get(&lease).and_then(|held| held.running)
    }

    /// Whether `execution` waited in the line of a leased session.
    pub(super) fn leave_lease_line(&mut self, execution: ExecutionId) -> bool {
        self.leases.values_mut().any(|held| {
            let place = held.line.iter().position(|waiting| *waiting == execution);
            place.and_then(|place| held.line.remove(place)).is_some()
        })
    }
}
