//! Leases: one caller, one session, its own queue of executions.

use std::time::Instant;

use crate::{
    error::SubmitError,
    machine::{
        queue::{Asked, Waiter},
        restart::Restarts,
        slot::Place,
        slots::Is,
        supervisor::{Effect, Held, Lease, LeaseId, Moment, Pool, Sort, Waiting, Want, stop::SHUTTING_DOWN},
    },
    outcome::{Generation, LostCause},
    protocol::ExecutionId,
    request::Tenant,
};

/// Why a session ends whose holder has gone.
pub(super) const RELEASED: &str = "it was released";

impl Pool {
    pub(super) fn lease(
        &mut self,
        lease: LeaseId,
        tenant: Option<Tenant>,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        match self.closed(&tenant) {
            Some((error, _)) => effects.push(Effect::Deny(lease, error)),
            None if !self.has_room(&tenant) => {
                effects.push(Effect::Deny(lease, self.queue_full()));
            }
            None => {
                let asked = Asked { tenant, ..Asked::default() };
                self.queue.push_back(Waiter::Lease(lease), asked, now);
            }
        }
    }

    pub(super) fn grant(&mut self, slot: usize, lease: LeaseId, now: Instant, effects: &mut Vec<Effect>) {
        if self.slots[slot].is_idle() {
            self.slots.put(slot, Place::Leased { lease });
            self.leases.insert(lease, Lease::new(slot, Restarts::new(self.config.restart.clone()), now));
            effects.push(Effect::Grant { lease, slot });
            self.arm(lease, effects);
        }
    }

    /// One execution at a time; others wait in the session's own queue, up to its limit.
    pub(super) fn submit_leased(
        &mut self,
        execution: ExecutionId,
        lease: LeaseId,
        want: &Want,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let refused = if want.state_job { self.untimely(lease, want) } else { self.unwelcome(lease, want) };
        if let Some(error) = refused {
            return effects.push(Effect::Refuse(execution, error));
        }
        effects.push(Effect::Accept(execution));
        let Some(held) = self.leases.get_mut(&lease) else { return };
        if want.state_job {
            if want.sort == Sort::Save {
                held.saves.submitted();
            }
            return self.place_leased(lease, execution, want.sort, effects);
        }
        held.saves.goes_on();
        let Want { sort, expects, bytes, .. } = *want;
        self.leases.push_back(lease, Waiting { execution, sort, expects, bytes });
        self.lease_next(lease, now, effects);
    }

    /// Why a session does not take what its holder submits.
    fn unwelcome(&self, lease: LeaseId, want: &Want) -> Option<SubmitError> {
        let ended = |why: &str| Some(SubmitError::SessionEnded { why: why.into() });
        let limit = self.config.session_queue;
        let Some(held) = self.leases.get(&lease) else { return ended(RELEASED) };
        let here = match &held.place {
            Held::Ended(why) => return ended(why),
            Held::Slot(_) | Held::Restoring { .. } if held.leaving => return ended(RELEASED),
            Held::Restoring { .. } => None,
            Held::Slot(slot) => Some(self.slots[*slot].generation),
        };
        let waits = held.running.is_some() || here.is_none() || held.saves.comes_first();
        match (want.expects, here) {
            _ if self.stopping() => Some(SubmitError::ShuttingDown),
            _ if waits && held.waiting() >= limit => Some(SubmitError::SessionQueueFull { limit }),
            (Some(expected), Some(found)) if expected != found => {
                Some(SubmitError::OtherGeneration { expected, found })
            }
            _ if waits => self.too_much(want.bytes),
            _ => None,
        }
    }

    /// Why a state job comes at the wrong moment: the worker that it was for is gone.
    fn untimely(&self, lease: LeaseId, want: &Want) -> Option<SubmitError> {
        let timely = self.leases.get(&lease).is_some_and(|held| {
            let (slot, sort) = match held.place {
                Held::Slot(slot) => (slot, Sort::Save),
                Held::Restoring { slot, .. } => (slot, Sort::Restore),
                Held::Ended(_) => return false,
            };
            let slot = &self.slots[slot];
            let here = matches!(slot.place, Place::Leased { .. });
            let meant = want.expects.is_none_or(|expected| expected == slot.generation);
            here && meant && sort == want.sort && held.running.is_none()
        });
        let why = || SubmitError::SessionEnded { why: "its worker was replaced meanwhile".into() };
        (!timely).then(why)
    }

    /// What ran in a leased session is over.
    pub(super) fn lease_idle(&mut self, lease: LeaseId, now: Instant, effects: &mut Vec<Effect>) {
        let stopping = self.stopping();
        let Some(held) = self.leases.get_mut(&lease) else { return };
        let sort = held.running.take().map(|(_, sort)| sort);
        if sort == Some(Sort::Code) {
            held.revivals.answered();
        }
        match held.place {
            Held::Restoring { slot, .. } if stopping => {
                self.end_lease(lease, slot, SHUTTING_DOWN, effects);
            }
            Held::Slot(_) | Held::Restoring { .. } | Held::Ended(_) => {
                self.save_if_due(lease, now, effects);
                self.lease_next(lease, now, effects);
            }
        }
    }

    pub(super) fn lease_next(&mut self, lease: LeaseId, now: Instant, effects: &mut Vec<Effect>) {
        loop {
            let stopping = self.stopping();
            let Some(held) = self.leases.get_mut(&lease) else { return };
            let Held::Slot(slot) = held.place else { return };
            if held.running.is_some() || held.saves.comes_first() {
                return;
            }
            let leaving = held.leaving;
            let Some(next) = self.leases.pop_front(lease) else {
                if leaving || stopping {
                    let why = if leaving { RELEASED } else { SHUTTING_DOWN };
                    return self.conclude_lease(lease, slot, why, now, effects);
                }
                return self.arm(lease, effects);
            };
            let found = self.slots[slot].generation;
            match next.expects.filter(|expected| *expected != found) {
                None => return self.place_leased(lease, next.execution, next.sort, effects),
                Some(expected) => {
                    let cause = LostCause::OtherGeneration { expected, found };
                    effects.push(Effect::Lose(next.execution, cause));
                }
            }
        }
    }

    fn place_leased(
        &mut self,
        lease: LeaseId,
        execution: ExecutionId,
        sort: Sort,
        effects: &mut Vec<Effect>,
    ) {
        let Some(held) = self.leases.get_mut(&lease) else { return };
        let (Held::Slot(slot) | Held::Restoring { slot, .. }) = held.place else { return };
        held.running = Some((execution, sort));
        // What was lost with a worker is told when it is restored, so that bringing it back counts for nothing.
        let restoring = matches!(held.place, Held::Restoring { .. });
        held.ran += u64::from(sort != Sort::Save && !restoring);
        self.placed.insert(execution, slot);
        effects.extend([Effect::DisarmLease(lease), Effect::Assign { slot, execution }]);
    }

    fn arm(&self, lease: LeaseId, effects: &mut Vec<Effect>) {
        if let Some(after) = self.config.session_timeout {
            effects.push(Effect::ArmLease(lease, after));
        }
    }

    /// A session that served one caller never serves another: its worker is replaced.
    pub(super) fn end_lease(&mut self, lease: LeaseId, slot: usize, why: &str, effects: &mut Vec<Effect>) {
        self.lease_over(lease, why, effects);
        self.retire(slot, effects);
    }

    /// The session is no more, and nobody has to wait for it any longer.
    pub(super) fn lease_over(&mut self, lease: LeaseId, why: &str, effects: &mut Vec<Effect>) {
        let waiting = self.leases.empty_queue(lease);
        let Some(held) = self.leases.get_mut(&lease) else { return };
        match held.leaving {
            true => self.leases.remove(&lease),
            false => held.place = Held::Ended(why.into()),
        }
        effects.push(Effect::LeaseEnded(lease, why.into()));
        let inherits = self.slots.all(Is::Inherited).find(|slot| self.slots[*slot].heir == Some(lease));
        if let Some(slot) = inherits {
            self.slots.edit(slot).heir = None;
        }
        effects.push(Effect::DisarmLease(lease));
        let lost = |it: Waiting| Effect::Lose(it.execution, LostCause::SessionEnded);
        effects.extend(waiting.into_iter().map(lost));
    }

    pub(super) fn release(&mut self, lease: LeaseId, now: Instant, effects: &mut Vec<Effect>) {
        self.queue.remove(Waiter::Lease(lease));
        self.forget_fork(lease, effects);
        // Neither of them is held yet.
        let Some(held) = self.leases.get_mut(&lease) else { return };
        match held.place {
            _ if held.leaving => {}
            Held::Ended(_) => self.leases.remove(&lease),
            Held::Slot(_) => {
                held.leaving = true;
                self.lease_next(lease, now, effects);
            }
            Held::Restoring { slot, .. } => {
                held.leaving = true;
                let waits = held.waiting() == 0 && !matches!(self.slots[slot].place, Place::Leased { .. });
                if waits {
                    self.lease_over(lease, RELEASED, effects);
                }
            }
        }
    }

    pub(super) fn lease_expired(&mut self, lease: LeaseId, now: Instant, effects: &mut Vec<Effect>) {
        let Some(held) = self.leases.get(&lease) else { return };
        if let (Held::Slot(slot), None) = (&held.place, held.running) {
            let slot = *slot;
            self.conclude_lease(lease, slot, "it ran nothing for `session_timeout`", now, effects);
        }
    }

    /// What runs in the session of this lease.
    pub(crate) fn running_in(&self, lease: LeaseId) -> Option<ExecutionId> {
        self.leases.get(&lease).and_then(|held| held.running).map(|(execution, _)| execution)
    }

    /// How many executions the workers of this session were given.
    pub(super) fn ran_in(&self, lease: LeaseId) -> u64 {
        self.leases.get(&lease).map_or(0, |held| held.ran)
    }

    /// Which state this session is in.
    pub(crate) fn moment(&self, lease: LeaseId) -> Moment {
        let Some(held) = self.leases.get(&lease) else { return Moment::default() };
        let generation = match held.place {
            Held::Slot(slot) | Held::Restoring { slot, .. } => self.slots[slot].generation,
            Held::Ended(_) => Generation::default(),
        };
        Moment { generation, ran: held.ran }
    }
}
