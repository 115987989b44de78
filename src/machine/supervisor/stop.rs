//! How a pool ends: what waits is told, what runs is served for the grace, and then nothing is left.

use std::time::{Duration, Instant};

use crate::{
    machine::{
        slot::Place,
        slots::Is,
        supervisor::{Effect, Held, LeaseId, Life, Pool, Waiting, later},
    },
    outcome::{DeathCause, LostCause},
};

/// Why a session ends that was leased when its pool ended.
pub(super) const SHUTTING_DOWN: &str = "the runtime is shutting down";
/// For a killed worker to be reaped, before the pool ends without it.
const LAST_WAIT: Duration = Duration::from_millis(900);

impl Pool {
    pub(super) fn stopping(&self) -> bool {
        matches!(self.life, Life::Stopping { .. } | Life::Stopped)
    }

    /// May be called again: a shorter grace then counts.
    pub(super) fn shutdown(&mut self, grace: Duration, now: Instant, effects: &mut Vec<Effect>) {
        let ends = later(now, grace);
        match &mut self.life {
            Life::Stopped | Life::Stopping { killed: true, .. } => return,
            Life::Stopping { until, .. } if *until <= ends => return,
            Life::Stopping { until, .. } => {
                *until = ends;
                return effects.push(Effect::ArmShutdown(grace));
            }
            Life::Beginning | Life::Serving | Life::Failed { .. } | Life::HalfOpen { .. } => {}
        }
        self.life = Life::Stopping { until: ends, killed: false };
        effects.push(Effect::ArmShutdown(grace));
        self.empty_lease_lines(effects);
        self.disinherit(SHUTTING_DOWN, effects);
        let all: Vec<usize> =
            [Is::Worker, Is::BackingOff].iter().flat_map(|what| self.slots.all(*what)).collect();
        for slot in all {
            match self.slots[slot].place {
                Place::Idle { .. } | Place::Starting => self.retire(slot, effects),
                Place::Leased { lease } => self.stop_lease(lease, slot, now, effects),
                Place::Branching { lease, .. } => self.stop_branching(slot, lease, effects),
                Place::BackingOff { .. } => drop(self.slots.put(slot, Place::Empty)),
                Place::Empty
                | Place::Busy { .. }
                | Place::Script { .. }
                | Place::Retiring
                | Place::Doomed { .. } => {}
            }
        }
    }

    fn empty_lease_lines(&mut self, effects: &mut Vec<Effect>) {
        let lost = |it: Waiting| Effect::Lose(it.execution, LostCause::ShuttingDown);
        effects.extend(self.leases.empty_queues().map(lost));
    }

    fn stop_lease(&mut self, lease: LeaseId, slot: usize, now: Instant, effects: &mut Vec<Effect>) {
        let Some(held) = self.leases.get(&lease) else { return };
        match held.place {
            _ if held.running.is_some() => {}
            Held::Slot(_) => self.lease_next(lease, now, effects),
            Held::Restoring { .. } => self.end_lease(lease, slot, SHUTTING_DOWN, effects),
            Held::Ended(_) => {}
        }
    }

    /// What has not ended by now is killed; what cannot be killed is not waited for.
    pub(super) fn shutdown_elapsed(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        match &mut self.life {
            Life::Stopping { until, .. } if *until > now => {}
            Life::Stopping { until, killed: killed @ false } => {
                (*until, *killed) = (now + LAST_WAIT, true);
                effects.push(Effect::ArmShutdown(LAST_WAIT));
                let alive = self.slots.all(Is::Worker);
                effects.extend(alive.map(|slot| Effect::Kill { slot, cause: DeathCause::ShuttingDown }));
            }
            Life::Stopping { killed: true, .. } => {
                self.life = Life::Stopped;
                let alive = self.slots.all(Is::Worker);
                effects.extend(alive.map(|slot| Effect::Desert { slot }));
                effects.push(Effect::Stopped);
            }
            Life::Beginning | Life::Serving | Life::Failed { .. } | Life::HalfOpen { .. } | Life::Stopped => {
            }
        }
    }

    pub(super) fn finish(&mut self, effects: &mut Vec<Effect>) {
        if matches!(self.life, Life::Stopping { .. }) && self.slots.count(Is::Worker) == 0 {
            self.life = Life::Stopped;
            effects.push(Effect::Stopped);
        }
    }
}
