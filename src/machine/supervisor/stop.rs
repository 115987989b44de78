//! How a pool ends: what waits is told, what runs is served for the grace, and then nothing is left.

use std::time::Duration;

use crate::{
    machine::{
        slot::Place,
        supervisor::{Effect, Held, LeaseId, Life, Pool},
    },
    outcome::{DeathCause, LostCause},
};

impl Pool {
    pub(super) fn stopping(&self) -> bool {
        matches!(self.life, Life::Stopping | Life::Stopped)
    }

    /// May be called again: a shorter grace then counts.
    pub(super) fn shutdown(&mut self, grace: Duration, effects: &mut Vec<Effect>) {
        if matches!(self.life, Life::Stopped) {
            return;
        }
        effects.push(Effect::ArmShutdown(grace));
        if self.stopping() {
            return;
        }
        self.life = Life::Stopping;
        self.empty_lease_lines(effects);
        for slot in 0..self.slots.len() {
            match self.slots[slot].place {
                Place::Idle { .. } | Place::Starting { .. } => self.retire(slot, effects),
                Place::Leased { lease, .. } => self.stop_lease(lease, effects),
                Place::BackingOff { .. } => self.slots[slot].place = Place::Empty,
                Place::Empty | Place::Busy { .. } | Place::Retiring | Place::Doomed { .. } => {}
            }
        }
    }

    fn empty_lease_lines(&mut self, effects: &mut Vec<Effect>) {
        for held in self.leases.values_mut() {
            let waiting = std::mem::take(&mut held.line);
            effects.extend(
                waiting.into_iter().map(|execution| Effect::Lose(execution, LostCause::ShuttingDown)),
            );
        }
    }

    fn stop_lease(&mut self, lease: LeaseId, effects: &mut Vec<Effect>) {
        let Some(held) = self.leases.get(&lease) else { return };
        if held.running.is_none() && matches!(held.place, Held::Slot(_) | Held::Leaving(_)) {
            self.lease_idle(lease, effects);
        }
    }

    /// What has not ended by now is killed.
    pub(super) fn shutdown_elapsed(&mut self, effects: &mut Vec<Effect>) {
        if !matches!(self.life, Life::Stopping) {
            return;
        }
        for slot in 0..self.slots.len() {
            if self.slots[slot].has_worker() {
                effects.push(Effect::Kill { slot, cause: DeathCause::ShuttingDown });
            }
        }
    }

    pub(super) fn finish(&mut self, effects: &mut Vec<Effect>) {
        if matches!(self.life, Life::Stopping) && self.slots.iter().all(|slot| !slot.has_worker()) {
            self.life = Life::Stopped;
            effects.push(Effect::Stopped);
        }
    }
}
