//! Which workers are replaced while they live, and when the pool must look again.

use std::time::{Duration, Instant};

use crate::{
    machine::{
        slot::{Place, Slot},
        supervisor::{Effect, Life, Pool, Wear},
    },
    outcome::Generation,
};

impl Pool {
    /// Ends idle sessions that are worn or not needed. Capacity never falls below what is wanted, but for what must not
    /// serve again, and at the ceiling, where one goes first. Whatever starts or ends is waited for: so worn workers go
    /// one at a time, and stay when their successors do not become ready.
    pub(super) fn renew(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        if !matches!(self.life, Life::Serving) {
            return;
        }
        for slot in 0..self.slots.len() {
            if !self.slots[slot].is_idle() {
                continue;
            }
            match self.wear(&self.slots[slot], now) {
                Some(wear @ Wear::Executions) => self.replace(slot, wear, effects),
                Some(wear) if self.may_go(slot, now, effects) => self.replace(slot, wear, effects),
                Some(_) => {}
                None if self.is_unused(&self.slots[slot], now) => self.replace(slot, Wear::Unused, effects),
                None => {}
            }
        }
    }

    /// Whether an idle session may end before the next step; if a successor has to come first, it is started.
    fn may_go(&mut self, slot: usize, now: Instant, effects: &mut Vec<Effect>) -> bool {
        let idle = self.count(|place| matches!(place, Place::Idle { .. }));
        if idle > self.wanted(now) && self.is_spare(&self.slots[slot], now) {
            return true;
        }
        let unsettled = |place: &Place| {
            matches!(
                place,
                Place::Starting | Place::Retiring | Place::Doomed { .. } | Place::BackingOff { .. }
            )
        };
        if self.count(unsettled) > 0 {
            return false;
        }
        let alive = self.alive();
        let (ceiling, surge) = (self.config.max_sessions, self.config.surge);
        if alive < ceiling || alive == ceiling && surge > 0 {
            self.start(now, 0.0, effects);
            return false;
        }
        true
    }

    /// Code that is about to end leaves something running: nobody else is served beside it. Whoever leases the session
    /// is told, and goes on with it.
    pub(super) fn left(&mut self, slot: usize, generation: Generation) {
        if self.is_current(slot, generation) && matches!(self.slots[slot].place, Place::Busy { .. }) {
            self.slots[slot].worker.left = true;
        }
    }

    pub(super) fn replace(&mut self, slot: usize, wear: Wear, effects: &mut Vec<Effect>) {
        self.recycled += 1;
        effects.push(Effect::Renewed { slot, wear });
        self.retire(slot, effects);
    }

    /// What wears this worker out, if it is.
    fn wear(&self, slot: &Slot, now: Instant) -> Option<Wear> {
        let worker = &slot.worker;
        let policy = &self.config.recycle;
        let worn = |limit: f64, used: f64| used >= limit * (1.0 - policy.jitter * worker.chance);
        if worker.edition != self.edition {
            Some(Wear::Spec)
        } else if policy.max_executions.is_some_and(|limit| worn(limit.into(), worker.served.into())) {
            Some(Wear::Executions)
        } else if self.old_at(slot).is_some_and(|at| at <= now) {
            Some(Wear::Age)
        } else {
            worker.heavy.then_some(Wear::Memory)
        }
    }

    /// Whether this worker is on its way out, or will be when it is free.
    pub(super) fn leaves(&self, slot: &Slot, now: Instant) -> bool {
        match slot.place {
            Place::Idle { .. } | Place::Busy { .. } => self.wear(slot, now).is_some(),
            Place::Retiring | Place::Doomed { .. } => true,
            Place::Empty
            | Place::Starting
            | Place::Branching { .. }
            | Place::Script { .. }
            | Place::Leased { .. }
            | Place::BackingOff { .. } => false,
        }
    }

    /// When this worker will be too old.
    fn old_at(&self, slot: &Slot) -> Option<Instant> {
        let policy = &self.config.recycle;
        let age = policy.max_age?.mul_f64(1.0 - policy.jitter * slot.worker.chance);
        slot.worker.since.checked_add(age)
    }

    /// When this session will have been free for too long.
    fn unused_at(&self, slot: &Slot) -> Option<Instant> {
        slot.idle_since()?.checked_add(self.config.idle_timeout?)
    }

    fn is_unused(&self, slot: &Slot, now: Instant) -> bool {
        self.is_spare(slot, now) && self.unused_at(slot).is_some_and(|at| at <= now)
    }

    /// How much memory an idle worker holds.
    pub(super) fn measured(&mut self, slot: usize, generation: Generation, memory: u64) {
        let Some(limit) = self.config.recycle.max_memory else { return };
        if self.is_current(slot, generation) {
            let worker = &mut self.slots[slot].worker;
            let part = 1.0 - self.config.recycle.jitter * worker.chance;
            worker.heavy = memory as f64 >= limit as f64 * part;
        }
    }

    /// Every worker that lives is of an older spec now.
    pub(super) fn reload(&mut self) {
        self.edition += 1;
        self.untried = true;
        self.reset();
    }

    /// Whatever kept workers from living is mended, says the operator.
    pub(super) fn reset(&mut self) {
        self.restarts.worked();
        for slot in &mut self.slots {
            if matches!(slot.place, Place::BackingOff { .. }) {
                slot.place = Place::Empty;
            }
        }
        if let Life::Failed { why, .. } = &self.life {
            self.life = Life::HalfOpen { why: why.clone() };
        }
    }

    /// Says what became of the first worker of the newest spec.
    pub(super) fn canary(&mut self, slot: usize, fate: Result<(), String>, effects: &mut Vec<Effect>) {
        if self.slots[slot].worker.edition == self.edition && std::mem::take(&mut self.untried) {
            effects.push(Effect::Reloaded(fate));
        }
    }

    /// A wait may be over.
    pub(super) fn tick(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        self.alarm = None;
        self.turn_out(now, effects);
        for slot in &mut self.slots {
            if matches!(slot.place, Place::BackingOff { until } if until <= now) {
                slot.place = Place::Empty;
            }
        }
        if let Life::Failed { why, probe_at } = &self.life
            && *probe_at <= now
        {
            self.life = Life::HalfOpen { why: why.clone() };
        }
    }

    /// Sees to it that the pool is woken for the next thing that only time brings. What is due by now and did not
    /// happen waits for something else.
    pub(super) fn set_alarm(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        let limit = self.config.queue_timeout;
        let overdue = limit.and_then(|limit| {
            let oldest = [self.line.oldest(), self.scripts.oldest()];
            oldest.into_iter().flatten().min()?.checked_add(limit)
        });
        let slots = self.slots.iter().flat_map(|slot| match slot.place {
            Place::BackingOff { until } => [Some(until), None],
            Place::Idle { .. } => [self.old_at(slot), self.unused_at(slot)],
            Place::Empty
            | Place::Starting
            | Place::Branching { .. }
            | Place::Busy { .. }
            | Place::Script { .. }
            | Place::Leased { .. }
            | Place::Retiring
            | Place::Doomed { .. } => [None, None],
        });
        let probe = match self.life {
            Life::Failed { probe_at, .. } => Some(probe_at),
            Life::Stopping { .. } | Life::Stopped => return,
            Life::Beginning | Life::Serving | Life::HalfOpen { .. } => None,
        };
        let leases = self.leases.values().flat_map(|held| [held.restores_at(), self.saves_at(held)]);
        let waits = self.throttle.closed_until(now).filter(|_| !self.line.is_empty());
        let others = [probe, self.throttle.opens(), overdue, waits];
        let due = slots.chain(leases).chain(others).flatten().filter(|at| *at > now).min();
        let Some(due) = due.filter(|due| self.alarm.is_none_or(|alarm| *due < alarm)) else { return };
        self.alarm = Some(due);
        effects.push(Effect::Tick(due.saturating_duration_since(now).max(Duration::from_millis(1))));
    }
}
