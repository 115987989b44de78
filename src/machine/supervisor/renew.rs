//! Which workers are replaced while they live, and when the pool must look again.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::{
    machine::{
        slot::Place,
        slots::Is,
        supervisor::{Effect, Life, Pool, RecycleReason},
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
        while let Some(slot) = self.slots.first(Is::Spent) {
            self.replace(slot, RecycleReason::Executions, effects);
        }
        for worn in [Is::WornOfOne, Is::WornForAnybody] {
            // Whatever keeps one from ending keeps the others from it.
            while let Some(slot) = self.slots.first(worn)
                && let Some(reason) = self.slots.reason(slot)
                && self.may_go(worn == Is::WornOfOne, now, effects)
            {
                self.replace(slot, reason, effects);
            }
        }
        while let Some(slot) = self.slots.first(Is::UnusedOfOne) {
            self.replace(slot, RecycleReason::Unused, effects);
        }
        while let Some(slot) = self.slots.first(Is::UnusedForAnybody)
            && self.slots.count(Is::Ready) > self.wanted()
        {
            self.replace(slot, RecycleReason::Unused, effects);
        }
    }

    /// Whether an idle session may end before the next step; if a successor has to come first, it is started. One `of_one`
    /// tenant is no part of the reserve.
    fn may_go(&mut self, of_one: bool, now: Instant, effects: &mut Vec<Effect>) -> bool {
        let (idle, ready, wanted) = (self.slots.count(Is::Idle), self.slots.count(Is::Ready), self.wanted());
        if idle > wanted && (of_one || ready > wanted) {
            return true;
        }
        let unsettled = [Is::Starting, Is::Ending, Is::BackingOff];
        if unsettled.into_iter().any(|what| self.slots.count(what) > 0) {
            return false;
        }
        let alive = self.slots.count(Is::Alive);
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
            self.slots.edit(slot).worker.left = true;
        }
    }

    pub(super) fn replace(&mut self, slot: usize, reason: RecycleReason, effects: &mut Vec<Effect>) {
        self.recycled += 1;
        effects.push(Effect::Renewed { slot, reason });
        self.retire(slot, effects);
    }

    /// How much memory an idle worker holds.
    pub(super) fn measured(&mut self, slot: usize, generation: Generation, memory: u64) {
        let Some(limit) = self.config.recycle.max_memory else { return };
        if self.is_current(slot, generation) {
            let part = 1.0 - self.config.recycle.jitter * self.slots[slot].worker.chance;
            self.slots.edit(slot).worker.heavy = memory as f64 >= limit as f64 * part;
        }
    }

    /// Every worker that lives is of an older spec now.
    pub(super) fn reload(&mut self) {
        self.slots.next_edition();
        self.untried = true;
        self.reset();
    }

    /// Whatever kept workers from living is mended, says the operator.
    pub(super) fn reset(&mut self) {
        self.restarts.worked();
        while let Some(slot) = self.slots.first(Is::BackingOff) {
            self.slots.put(slot, Place::Empty);
        }
        if let Life::Failed { why, .. } = &self.life {
            self.life = Life::HalfOpen { why: why.clone() };
        }
    }

    /// Says what became of the first worker of the newest spec.
    pub(super) fn canary(&mut self, slot: usize, fate: Result<(), String>, effects: &mut Vec<Effect>) {
        if self.slots[slot].worker.edition == self.slots.edition() && std::mem::take(&mut self.untried) {
            effects.push(Effect::Reloaded(fate));
        }
    }

    /// A wait may be over.
    pub(super) fn tick(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        self.alarm = None;
        self.turn_out(now, effects);
        let over =
            |slot: &usize| matches!(self.slots[*slot].place, Place::BackingOff { until } if until <= now);
        let over: SmallVec<[usize; 4]> = self.slots.all(Is::BackingOff).filter(over).collect();
        for slot in over {
            self.slots.put(slot, Place::Empty);
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
            let oldest = [self.queue.oldest(), self.scripts.oldest()];
            oldest.into_iter().flatten().min()?.checked_add(limit)
        });
        let probe = match self.life {
            Life::Failed { probe_at, .. } => Some(probe_at),
            Life::Stopping { .. } | Life::Stopped => return,
            Life::Beginning | Life::Serving | Life::HalfOpen { .. } => None,
        };
        self.leases.settle(&self.config);
        let waits = self.throttle.closed_until(now).filter(|_| !self.queue.is_empty());
        let leases = self.leases.due(now);
        let all = [self.slots.due(), leases, probe, self.throttle.opens(), overdue, waits];
        let due = all.into_iter().flatten().filter(|at| *at > now).min();
        let Some(due) = due.filter(|due| self.alarm.is_none_or(|alarm| *due < alarm)) else { return };
        self.alarm = Some(due);
        effects.push(Effect::Tick(due.saturating_duration_since(now).max(Duration::from_millis(1))));
    }
}
