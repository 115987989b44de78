//! Scripts: each has a process of its own, which is started when there is a place for it and is gone when it ends.
//!
//! They wait in a queue of their own, under the same limits as all who wait. Whoever came first is served first; where no
//! place is free, the worker that has been idle for longest makes way.

use std::time::Instant;

use crate::{
    machine::{
        queue::{Head, Waiter},
        slot::Place,
        slots::Is,
        supervisor::{Effect, Life, Pool},
    },
    protocol::ExecutionId,
};

impl Pool {
    /// Serves all who wait: scripts first if theirs is the one that came first. What is done for one may make room for
    /// another, or take it.
    pub(super) fn serve_all(&mut self, now: Instant, jitter: f64, effects: &mut Vec<Effect>) {
        let first = match (self.scripts.oldest(), self.queue.oldest()) {
            (Some(script), Some(code)) => script <= code,
            (_, code) => code.is_none(),
        };
        if !first {
            self.serve(now, effects);
        }
        loop {
            let before = effects.len();
            self.serve_scripts(now, jitter, effects);
            self.serve(now, effects);
            if self.scripts.is_empty() || effects.len() == before {
                return;
            }
        }
    }

    pub(super) fn serve_scripts(&mut self, now: Instant, jitter: f64, effects: &mut Vec<Effect>) {
        while matches!(self.life, Life::Beginning | Life::Serving) {
            let Some(Head { waiter, .. }) = self.scripts.heads().next() else { return };
            if self.place_for_script().is_none() {
                self.make_way(effects);
            }
            // With a surge, a worker that leaves counts no more.
            let (Waiter::Execution(execution), Some(slot)) = (waiter, self.place_for_script()) else {
                return;
            };
            self.scripts.serve(waiter);
            let generation = self.occupy(slot, Place::Script { execution, since: now }, now, jitter);
            self.placed.insert(execution, slot);
            effects.push(Effect::Launch { slot, generation, execution });
        }
    }

    /// Where the process of a script may be started now.
    pub(super) fn place_for_script(&self) -> Option<usize> {
        let empty = self.slots.first(Is::Free)?;
        // Copies of sessions that wait for a place have been promised one.
        (self.slots.count(Is::Alive) + self.forks.len() < self.ceiling()).then_some(empty)
    }

    /// Ends as many idle workers as there are scripts that nothing else makes room for.
    fn make_way(&mut self, effects: &mut Vec<Effect>) {
        for _ in self.slots.count(Is::Ending)..self.scripts.len() {
            let Some(longest) = self.slots.idle().next() else { return };
            self.retire(longest, effects);
        }
    }

    /// The process of a script has ended, in whatever way. That says nothing about workers.
    pub(super) fn script_over(&mut self, slot: usize, execution: ExecutionId, since: Instant, now: Instant) {
        self.displace(execution, slot);
        self.wait_estimate.took(now.saturating_duration_since(since));
    }

    /// Whether one more script may wait. As for code, a queue of 0 still lets it have a place that is free.
    pub(super) fn has_room_for_script(&self) -> bool {
        let serves = matches!(self.life, Life::Beginning | Life::Serving);
        let places = self.slots.count(Is::Free) + self.slots.count(Is::Idle);
        self.waiting() < self.config.queue || serves && self.scripts.len() < places
    }
}
