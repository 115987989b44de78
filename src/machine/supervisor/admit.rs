//! Who may wait, for how long, and who leaves the queue.

use std::time::{Duration, Instant};

use crate::{
    error::SubmitError,
    machine::{
        queue::{Asked, Waiter},
        slot::Runs,
        slots::Is,
        supervisor::{Effect, Life, Pool, Want},
    },
    outcome::LostCause,
    protocol::ExecutionId,
    request::Tenant,
};

impl Pool {
    /// Why no request of this tenant is taken, if none is: for one that comes, and for those that wait.
    pub(super) fn closed(&self, tenant: &Option<Tenant>) -> Option<(SubmitError, LostCause)> {
        match &self.life {
            Life::Beginning | Life::Serving => None,
            Life::Failed { why, .. } | Life::HalfOpen { why } => {
                let failed = || (SubmitError::PoolFailed { why: why.clone() }, LostCause::PoolFailed);
                (!self.slots.is_served(tenant)).then(failed)
            }
            Life::Stopping { .. } | Life::Stopped => {
                Some((SubmitError::ShuttingDown, LostCause::ShuttingDown))
            }
        }
    }

    pub(super) fn submit(
        &mut self,
        execution: ExecutionId,
        want: Want,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        match self.refusal(&want) {
            Some(error) => effects.push(Effect::Refuse(execution, error)),
            None => {
                effects.push(Effect::Accept(execution));
                let Want { tenant, affinity, bytes, script, .. } = want;
                let asked = Asked { tenant, affinity, bytes, script };
                let queue = if script { &mut self.scripts } else { &mut self.queue };
                queue.push_back(Waiter::Execution(execution), asked, now);
            }
        }
    }

    pub(super) fn refusal(&self, want: &Want) -> Option<SubmitError> {
        if let Some((error, _)) = self.closed(&want.tenant) {
            return Some(error);
        }
        let (room, at_once, comes) = match want.script {
            true => (self.has_room_for_script(), self.place_for_script().is_some(), false),
            false => {
                let tenant = &want.tenant;
                (self.has_room(tenant), self.slots.is_vacant_for(tenant), self.comes_a_worker(tenant))
            }
        };
        if !room {
            return Some(self.queue_full());
        }
        if at_once {
            return None;
        }
        if !comes && let Some(error) = self.too_much(want.bytes) {
            return Some(error);
        }
        if let Some(tenant) = &want.tenant {
            let (len, limit) = (self.len_of(&want.tenant), self.config.tenant_queue);
            if len >= limit {
                let (tenant, retry_after) = (tenant.clone(), self.wait(1));
                return Some(SubmitError::TenantFull { tenant, len, limit, retry_after });
            }
        }
        // What runs may end at any moment: only those ahead of it count, so that nobody is refused in error.
        let (len, deadline) = (self.waiting(), want.deadline?);
        let predicted = self.wait(len).filter(|predicted| *predicted > deadline)?;
        Some(SubmitError::TooLate { predicted, deadline, len })
    }

    /// Who waits for a session or a place, leased sessions aside.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len() + self.scripts.len()
    }

    fn len_of(&self, tenant: &Option<Tenant>) -> usize {
        self.queue.len_of(tenant) + self.scripts.len_of(tenant)
    }

    fn leave_line(&mut self, execution: ExecutionId) -> bool {
        let waiter = Waiter::Execution(execution);
        self.queue.remove(waiter) || self.scripts.remove(waiter)
    }

    pub(super) fn queue_full(&self) -> SubmitError {
        SubmitError::QueueFull { len: self.waiting(), limit: self.config.queue, retry_after: self.wait(1) }
    }

    /// Why one with so many bytes may not wait, if that is why.
    pub(super) fn too_much(&self, len: usize) -> Option<SubmitError> {
        let waiting = self.queue.bytes() + self.scripts.bytes() + self.leases.bytes();
        let limit = self.config.queue_bytes;
        let retry_after = self.wait(1);
        (waiting.saturating_add(len) > limit).then_some(SubmitError::QueueBytes {
            waiting,
            len,
            limit,
            retry_after,
        })
    }

    /// How long it probably takes until this many of those who wait have been served.
    fn wait(&self, waiting: usize) -> Option<Duration> {
        let shared = self.config.max_sessions.saturating_sub(self.slots.count(Is::Leased));
        self.wait_estimate.wait(waiting, shared.saturating_mul(self.in_flight))
    }

    /// Tells those who have waited for too long.
    pub(super) fn turn_out(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let Some(limit) = self.config.queue_timeout else { return };
        while let Some(id) = self.queue.overdue(limit, now).or_else(|| self.scripts.overdue(limit, now)) {
            effects.push(Effect::Lose(id, LostCause::Waited { limit }));
        }
    }

    /// Whether one more may wait. A queue of 0 still lets a request have an idle session, or wait for a worker that
    /// can be started for it.
    pub(super) fn has_room(&self, tenant: &Option<Tenant>) -> bool {
        self.slots.is_vacant_for(tenant) || self.waiting() < self.config.queue || self.comes_a_worker(tenant)
    }

    /// Whether there will be a worker for one more that waits, once it is started, or another one has made way.
    fn comes_a_worker(&self, tenant: &Option<Tenant>) -> bool {
        let waits = self.slots.count(Is::BackingOff);
        let coming = self.on_way().saturating_sub(waits) + self.slots.idle_for_others(tenant);
        matches!(self.life, Life::Beginning | Life::Serving) && self.queue.len() < coming
    }

    pub(super) fn withdraw(&mut self, execution: ExecutionId, effects: &mut Vec<Effect>) {
        if self.leave_line(execution) || self.leases.leave(execution) {
            effects.push(Effect::Withdrawn(execution));
        } else if let Some(&slot) = self.placed.get(&execution) {
            effects.push(Effect::AlreadyAssigned { slot, execution });
        }
    }

    /// It has its outcome. If a session still works on it, it does so in vain.
    pub(super) fn forget(&mut self, execution: ExecutionId, effects: &mut Vec<Effect>) {
        if self.leave_line(execution) || self.leases.leave(execution) {
            return;
        }
        if let Some(&slot) = self.placed.get(&execution) {
            effects.push(Effect::Cancel { slot, execution });
        }
    }

    /// `slot` has nothing to do with `execution` any more, which may be in another one by now.
    pub(super) fn displace(&mut self, execution: ExecutionId, slot: usize) {
        if self.placed.get(&execution) == Some(&slot) {
            self.placed.remove(&execution);
        }
    }

    pub(super) fn displace_all(&mut self, runs: &Runs, slot: usize) {
        for (execution, ..) in runs {
            self.displace(*execution, slot);
        }
    }

    pub(super) fn requeue(&mut self, execution: ExecutionId, asked: Asked, effects: &mut Vec<Effect>) {
        self.placed.remove(&execution);
        match self.closed(&asked.tenant) {
            None if asked.script => self.scripts.push_front(Waiter::Execution(execution), asked),
            None => self.queue.push_front(Waiter::Execution(execution), asked),
            Some((_, cause)) => effects.push(Effect::Lose(execution, cause)),
        }
    }
}
