//! What the end of a worker means for its slot and for the pool.

use std::time::{Duration, Instant};

use crate::{
    machine::{
        restart::{Verdict, Victim},
        slot::Place,
        supervisor::{Effect, Life, Pool, later},
    },
    outcome::DeathCause,
};

impl Pool {
    /// The session of `slot` is no more, and its worker is being killed: nobody is served there, and the slot is not
    /// free before the worker is reaped.
    pub(super) fn abandoned(
        &mut self,
        slot: usize,
        why: String,
        now: Instant,
        jitter: f64,
        effects: &mut Vec<Effect>,
    ) {
        let doomed = |ran| Place::Doomed { ran, why: why.clone() };
        let place = match self.slots.put(slot, Place::Empty) {
            Place::Busy { runs } => {
                self.displace_all(&runs, slot);
                doomed(true)
            }
            Place::Script { execution, since } => {
                self.script_over(slot, execution, since, now);
                Place::Retiring
            }
            Place::Leased { lease } => doomed(self.lease_lost(lease, slot, &why, now, jitter, effects)),
            Place::Branching { lease, .. } => {
                self.not_branched(lease, &why, effects);
                Place::Retiring
            }
            Place::Starting | Place::Idle { .. } => doomed(false),
            other @ (Place::Empty | Place::Retiring | Place::Doomed { .. } | Place::BackingOff { .. }) => {
                other
            }
        };
        self.slots.put(slot, place);
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
        let mut starting = false;
        let (ran, why) = match self.slots.put(slot, Place::Empty) {
            Place::Busy { runs } => {
                self.displace_all(&runs, slot);
                (true, why)
            }
            Place::Leased { lease } => (self.lease_lost(lease, slot, &why, now, jitter, effects), why),
            Place::Doomed { ran, why } => (ran, why),
            Place::Retiring => return,
            Place::Script { execution, since } => return self.script_over(slot, execution, since, now),
            // It says nothing about workers that are started.
            Place::Branching { lease, .. } => return self.not_branched(lease, &why, effects),
            Place::Starting => {
                starting = true;
                self.trouble = Some(why.clone());
                self.canary(slot, Err(why.clone()), effects);
                (false, why)
            }
            Place::Empty | Place::Idle { .. } | Place::BackingOff { .. } => (false, why),
        };
        self.crashed += 1;
        self.slots.edit(slot).last_death = Some(why.clone());
        let hopeless =
            matches!(self.life, Life::Beginning) || starting && matches!(self.life, Life::HalfOpen { .. });
        if hopeless || matches!(cause, Some(DeathCause::Version { .. } | DeathCause::McpVersion { .. })) {
            return self.fail(why, now, effects);
        }
        // A worker that dies with code in it says nothing about the next one.
        if ran {
            return;
        }
        let worker = &self.slots[slot].worker;
        if worker.served > 0 {
            self.restarts.worked();
        }
        // One that was never ready never lived, however long that took.
        let lived = if starting { Duration::ZERO } else { now.duration_since(worker.since) };
        let victim = Victim { birth: worker.birth, births: self.spawned, lived };
        match self.restarts.died(&victim, now, jitter) {
            Verdict::Wait(wait) if wait.is_zero() => {}
            Verdict::Wait(wait) => {
                self.slots.put(slot, Place::BackingOff { until: later(now, wait) });
            }
            Verdict::GiveUp => self.fail(why, now, effects),
        }
    }

    fn fail(&mut self, why: String, now: Instant, effects: &mut Vec<Effect>) {
        let begun = matches!(self.life, Life::Beginning | Life::Serving);
        if begun || matches!(self.life, Life::HalfOpen { .. }) {
            let probe_at = later(now, self.config.restart.probe_after);
            self.life = Life::Failed { why: why.clone(), probe_at };
            self.disinherit(&format!("it was not restored, for the pool has failed: {why}"), effects);
        }
        if begun {
            effects.push(Effect::Failed(why));
        }
    }

    pub(super) fn retire(&mut self, slot: usize, effects: &mut Vec<Effect>) {
        self.slots.put(slot, Place::Retiring);
        effects.push(Effect::Stop { slot });
    }
}
