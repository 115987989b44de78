//! What the end of a worker means for its slot and for the pool.

use std::time::Instant;

use crate::{
    machine::{
        restart::{Verdict, Victim},
        slot::Place,
        supervisor::{Effect, Life, Pool},
    },
    outcome::DeathCause,
};

impl Pool {
    /// The session of `slot` is no more, and its worker is being killed: nobody is served there, and the slot is not
    /// free before the worker is reaped.
    pub(super) fn abandoned(&mut self, slot: usize, why: String, effects: &mut Vec<Effect>) {
        let Some((since, proven)) = self.slots[slot].history() else { return };
        let doomed = |ran| Place::Doomed { since, proven, ran, why: why.clone() };
        self.slots[slot].place = match std::mem::replace(&mut self.slots[slot].place, Place::Empty) {
            Place::Busy { execution, .. } => {
                self.displace(execution, slot);
                doomed(true)
            }
            Place::Leased { lease, .. } => doomed(self.lease_lost(lease, &why, effects)),
            Place::Starting { .. } | Place::Idle { .. } => doomed(false),
            other @ (Place::Empty | Place::Retiring | Place::Doomed { .. } | Place::BackingOff { .. }) => {
                other
            }
        };
    }

    /// The worker of `slot` is no more. Its place is filled again, unless too many have died.
    pub(super) fn gone(
        &mut self,
        slot: usize,
        cause: Option<&DeathCause>,
        why: String,
        now: Instant,
        jitter: f64,
        effects: &mut Vec<Effect>,
    ) {
        let history = self.slots[slot].history();
        let (ran, why) = match std::mem::replace(&mut self.slots[slot].place, Place::Empty) {
            Place::Busy { execution, .. } => {
                self.displace(execution, slot);
                (true, why)
            }
            Place::Leased { lease, .. } => (self.lease_lost(lease, &why, effects), why),
            Place::Doomed { ran, why, .. } => (ran, why),
            Place::Retiring => return,
            Place::Empty | Place::Starting { .. } | Place::Idle { .. } | Place::BackingOff { .. } => {
                (false, why)
            }
        };
        self.crashed += 1;
        if matches!(self.life, Life::Beginning) || matches!(cause, Some(DeathCause::Version { .. })) {
            return self.fail(why, effects);
        }
        // A worker that dies with code in it says nothing about the next one.
        let Some((since, proven)) = history.filter(|_| !ran) else { return };
        if proven {
            self.restarts.worked();
        }
        let (birth, births) = (self.slots[slot].birth, self.spawned);
        let victim = Victim { birth, births, lived: now.duration_since(since) };
        match self.restarts.died(&victim, now, jitter) {
            Verdict::Wait(wait) if wait.is_zero() => {}
            Verdict::Wait(wait) => {
                self.slots[slot].place = Place::BackingOff { until: now + wait };
                self.arm_tick(now, effects);
            }
            Verdict::GiveUp => self.fail(why, effects),
        }
    }

    fn fail(&mut self, why: String, effects: &mut Vec<Effect>) {
        if matches!(self.life, Life::Beginning | Life::Serving) {
            self.life = Life::Failed(why.clone());
            effects.push(Effect::Failed(why));
        }
    }

    pub(super) fn retire(&mut self, slot: usize, effects: &mut Vec<Effect>) {
        self.slots[slot].place = Place::Retiring;
        effects.push(Effect::Stop { slot });
    }

    /// Wakes up for the slot that has waited longest.
    pub(super) fn arm_tick(&self, now: Instant, effects: &mut Vec<Effect>) {
        let waits = self.slots.iter().filter_map(|slot| match slot.place {
            Place::BackingOff { until } => Some(until.saturating_duration_since(now)),
            Place::Empty
            | Place::Starting { .. }
            | Place::Idle { .. }
            | Place::Busy { .. }
            | Place::Leased { .. }
            | Place::Retiring
            | Place::Doomed { .. } => None,
        });
        effects.extend(waits.min().map(Effect::Tick));
    }
}
