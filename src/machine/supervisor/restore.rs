//! What becomes of a leased session whose worker died: it ends by that, or goes on in the next worker of its slot.
//!
//! ```text
//! Slot ─(its worker dies)─> Restoring ─(a worker is ready: Regrant)─> Restoring ─(Restored)─> Slot
//! ```
//! Nothing that was submitted runs before its state is back, and what ran when the worker died is not run again.

use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::{
    config::OnDeath,
    machine::{
        restart::{Restarts, Verdict, Victim},
        slot::Place,
        slots::Is,
        supervisor::{Effect, Held, Lease, LeaseId, Life, Pool, Sort, StateJob, Waiting, later},
    },
    outcome::{Generation, LostCause},
    protocol::ExecutionId,
};

/// How often the workers of a session die by themselves or of its state, and not of what its holder runs.
#[derive(Debug)]
pub(super) struct Revivals {
    restarts: Restarts,
    deaths: u64,
    /// Whether code was answered since the last restore.
    answered: bool,
}

impl Revivals {
    pub(super) fn new(restarts: Restarts) -> Self {
        Self { restarts, deaths: 0, answered: false }
    }

    pub(super) fn answered(&mut self) {
        self.answered = true;
    }
}

impl Lease {
    /// When its next worker may be started, if it waits for that.
    pub(super) fn restores_at(&self) -> Option<Instant> {
        match self.place {
            Held::Restoring { not_before, .. } => Some(not_before),
            Held::Slot(_) | Held::Ended(_) => None,
        }
    }
}

impl Pool {
    /// The worker of a leased session died. Returns whether something was running in it.
    pub(super) fn lease_lost(
        &mut self,
        lease: LeaseId,
        slot: usize,
        why: &str,
        now: Instant,
        jitter: f64,
        effects: &mut Vec<Effect>,
    ) -> bool {
        let Some(held) = self.leases.get_mut(&lease) else { return false };
        let running = held.running.take();
        if let Some((execution, _)) = running {
            self.placed.remove(&execution);
        }
        let sort = running.map(|(_, sort)| sort);
        match self.successor(lease, slot, sort, why, now, jitter) {
            Ok(not_before) => {
                if let Some(held) = self.leases.get_mut(&lease) {
                    held.place = Held::Restoring { slot, not_before, why: why.into() };
                }
                self.slots.edit(slot).heir = Some(lease);
                effects.push(Effect::DisarmLease(lease));
            }
            Err(why) => self.lease_over(lease, &why, effects),
        }
        running.is_some()
    }

    /// Code that the worker of a session was given, and died before it started: it goes first in the next one, which
    /// has what it had.
    pub(super) fn requeue_leased(
        &mut self,
        execution: ExecutionId,
        lease: LeaseId,
        expects: Option<Generation>,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        self.placed.remove(&execution);
        let goes_on = |held: &&mut Lease| !matches!(held.place, Held::Ended(_));
        let Some(held) = self.leases.get_mut(&lease).filter(goes_on) else {
            return effects.push(Effect::Lose(execution, LostCause::SessionEnded));
        };
        // Its state owes nothing to what never ran. If its death is not known yet, that follows.
        held.ran = held.ran.saturating_sub(1).max(held.told);
        self.leases.push_front(lease, Waiting { execution, sort: Sort::Code, expects, bytes: 0 });
        // It may come when the session is long restored.
        self.lease_next(lease, now, effects);
    }

    /// When the next worker of a session may be started, or why there will be none.
    fn successor(
        &mut self,
        lease: LeaseId,
        slot: usize,
        ran: Option<Sort>,
        why: &str,
        now: Instant,
        jitter: f64,
    ) -> Result<Instant, String> {
        let over = || why.to_owned();
        let held = self.leases.get_mut(&lease).ok_or_else(over)?;
        if self.config.on_death == OnDeath::Fail || held.leaving && held.waiting() == 0 {
            return Err(over());
        }
        if !matches!(self.life, Life::Serving) {
            return Err(format!("{why}; it was not restored, for the pool starts no workers now"));
        }
        // What its holder runs may kill as many workers as it likes.
        if ran == Some(Sort::Code) {
            return Ok(now);
        }
        let revivals = &mut held.revivals;
        if std::mem::take(&mut revivals.answered) {
            revivals.restarts.worked();
        }
        revivals.deaths += 1;
        let idle = matches!(held.place, Held::Slot(_)) && ran.is_none();
        let lived = if idle { now.duration_since(self.slots[slot].worker.since) } else { Duration::ZERO };
        let victim = Victim { birth: revivals.deaths, births: revivals.deaths, lived };
        match revivals.restarts.died(&victim, now, jitter) {
            Verdict::Wait(wait) => Ok(later(now, wait)),
            Verdict::GiveUp => {
                Err(format!("{why}; it is not restored again, for too many of its workers died in a row"))
            }
        }
    }

    /// Starts workers in the places of leased sessions that lost theirs: they come before those who wait for any.
    pub(super) fn start_heirs(
        &mut self,
        room: &mut usize,
        now: Instant,
        jitter: f64,
        effects: &mut Vec<Effect>,
    ) {
        if !matches!(self.life, Life::Serving) {
            return;
        }
        let due = |slot: &usize| {
            let lease = self.slots[*slot].heir.and_then(|lease| self.leases.get(&lease));
            lease.and_then(Lease::restores_at).is_some_and(|due| due <= now)
        };
        let due: SmallVec<[usize; 4]> = self.slots.all(Is::Vacated).filter(due).collect();
        for slot in due {
            if *room == 0 || !self.throttle.pass(now) {
                return;
            }
            *room -= 1;
            self.start_in(slot, now, jitter, effects);
        }
    }

    /// The new worker of a leased session is ready.
    pub(super) fn regrant(&mut self, slot: usize, lease: LeaseId, effects: &mut Vec<Effect>) {
        let Some(held) = self.leases.get(&lease) else { return };
        let Held::Restoring { why, .. } = &held.place else { return };
        let (generation, why) = (self.slots[slot].generation, why.clone());
        self.slots.put(slot, Place::Leased { lease });
        let state_job = StateJob::Restore { generation, why };
        effects.extend([Effect::Regrant { lease, slot }, Effect::Tend(lease, state_job)]);
    }

    /// The state is back, or never will be. What is told of an earlier worker is about nothing any more.
    pub(super) fn restored(
        &mut self,
        lease: LeaseId,
        generation: Generation,
        fate: Result<u64, String>,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let Some(held) = self.leases.get_mut(&lease) else { return };
        let Held::Restoring { slot, .. } = held.place else { return };
        let here = matches!(self.slots[slot].place, Place::Leased { .. });
        if !here || self.slots[slot].generation != generation {
            return;
        }
        match fate {
            Ok(covers) => {
                held.place = Held::Slot(slot);
                // Counted here, where it is told: a restore that a death overtakes has told nothing.
                let unsaved = held.ran.saturating_sub(covers.max(held.told));
                (held.covered, held.told) = (held.ran, held.ran);
                held.saves.begin_anew(held.ran, now);
                self.restored += 1;
                effects.push(Effect::Announce { lease, unsaved });
                self.lease_next(lease, now, effects);
            }
            Err(why) => self.end_lease(lease, slot, &format!("it could not be restored: {why}"), effects),
        }
    }

    /// No more workers are started: whoever waits for one to be restored in waits in vain.
    pub(super) fn disinherit(&mut self, why: &str, effects: &mut Vec<Effect>) {
        let heirs: Vec<LeaseId> =
            self.slots.all(Is::Inherited).filter_map(|slot| self.slots[slot].heir).collect();
        for lease in heirs {
            self.lease_over(lease, why, effects);
        }
    }
}
