//! When the state of a leased session is saved without being asked for: behind so many executions, after so much time,
//! when its worker takes too much memory, and before the session ends.

use std::time::Instant;

use crate::{
    config::{OnDeath, PoolConfig},
    machine::{
        slot::Place,
        supervisor::{Effect, Held, Lease, LeaseId, Pool, StateJob},
    },
    outcome::Generation,
};

/// The saves of one session.
#[derive(Debug)]
pub(super) struct Saves {
    /// It has a name: its state is to outlive it.
    named: bool,
    under_way: UnderWay,
    /// When the last one was begun, and how many executions there had been.
    last: (Instant, u64),
    /// Its worker takes too much memory.
    strained: bool,
    /// It ends when it is saved, for this reason.
    ending: Option<String>,
    /// The save before its end failed: it ends without.
    in_vain: bool,
}

/// A save that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum UnderWay {
    No,
    /// Nothing else runs before it.
    Asked,
    /// The worker has been asked, and the rest is not its business.
    Submitted,
}

impl Saves {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            named: false,
            under_way: UnderWay::No,
            last: (now, 0),
            strained: false,
            ending: None,
            in_vain: false,
        }
    }

    /// What there was to save is lost; what there is was just brought back.
    pub(super) fn begin_anew(&mut self, ran: u64, now: Instant) {
        (self.last, self.strained) = ((now, ran), false);
    }

    /// Whether what waits has to wait for a save that is about to come.
    pub(super) fn comes_first(&self) -> bool {
        self.under_way == UnderWay::Asked
    }

    pub(super) fn submitted(&mut self) {
        self.under_way = UnderWay::Submitted;
    }

    /// The holder goes on using it.
    pub(super) fn goes_on(&mut self) {
        self.ending = None;
    }
}

impl Lease {
    /// Whether there is something to save, and somewhere.
    fn may_save(&self, config: &PoolConfig) -> bool {
        let kept = self.saves.named || config.on_death == OnDeath::Restore;
        let free = self.running.is_none() && self.saves.under_way == UnderWay::No;
        kept && free && self.ran > self.covered && matches!(self.place, Held::Slot(_))
    }

    /// When the state is to be saved, if time alone brings that.
    pub(super) fn saves_at(&self, config: &PoolConfig) -> Option<Instant> {
        let at = self.saves.last.0.checked_add(config.save_interval?)?;
        Some(at).filter(|_| self.may_save(config))
    }
}

impl Pool {
    /// The state of a session is kept under a name from now on.
    pub(super) fn name(&mut self, lease: LeaseId) {
        if let Some(held) = self.leases.get_mut(&lease) {
            held.saves.named = true;
        }
    }

    /// Asks for a save, if one is due: the session runs nothing now.
    pub(super) fn save_if_due(&mut self, lease: LeaseId, now: Instant, effects: &mut Vec<Effect>) {
        let Some(held) = self.leases.get(&lease) else { return };
        let since = held.ran - held.saves.last.1.min(held.ran);
        let many = self.config.save_every.is_some_and(|every| since >= u64::from(every));
        let late = held.saves_at(&self.config).is_some_and(|at| at <= now);
        if held.may_save(&self.config) && (many || late || held.saves.strained) {
            self.ask_to_save(lease, now, effects);
        }
    }

    fn ask_to_save(&mut self, lease: LeaseId, now: Instant, effects: &mut Vec<Effect>) {
        if let Some(held) = self.leases.get_mut(&lease) {
            held.saves.under_way = UnderWay::Asked;
            held.saves.begin_anew(held.ran, now);
            effects.extend([Effect::DisarmLease(lease), Effect::Tend(lease, StateJob::Save)]);
        }
    }

    /// Saves those that have waited for it for long enough.
    pub(super) fn keep(&mut self, now: Instant, effects: &mut Vec<Effect>) {
        self.leases.settle(&self.config);
        for lease in self.leases.to_save(now) {
            self.ask_to_save(lease, now, effects);
        }
    }

    /// A session ends; what it has not saved is saved first, if it has a name.
    pub(super) fn conclude_lease(
        &mut self,
        lease: LeaseId,
        slot: usize,
        why: &str,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let Some(held) = self.leases.get_mut(&lease) else { return };
        if held.saves.named && held.ran > held.covered && !held.saves.in_vain {
            held.saves.ending = Some(why.into());
            if held.saves.under_way == UnderWay::No {
                self.ask_to_save(lease, now, effects);
            }
            return;
        }
        self.end_lease(lease, slot, why, effects);
    }

    pub(super) fn saved(
        &mut self,
        lease: LeaseId,
        covers: Option<u64>,
        state_job: bool,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        let Some(held) = self.leases.get_mut(&lease) else { return };
        held.covered = held.covered.max(covers.unwrap_or(0));
        if !state_job {
            return;
        }
        match covers {
            Some(_) => self.saved += 1,
            None => self.not_saved += 1,
        }
        held.saves.under_way = UnderWay::No;
        let ending = held.saves.ending.take();
        match (ending, &held.place) {
            (Some(why), Held::Slot(slot)) if held.running.is_none() && held.waiting() == 0 => {
                let slot = *slot;
                held.saves.in_vain = covers.is_none();
                self.conclude_lease(lease, slot, &why, now, effects);
            }
            _ => self.lease_next(lease, now, effects),
        }
    }

    /// The worker of a session takes too much memory: what it holds is saved as soon as it runs nothing.
    pub(super) fn strained(&mut self, slot: usize, generation: Generation) {
        if !self.is_current(slot, generation) {
            return;
        }
        if let Place::Leased { lease } = self.slots[slot].place
            && let Some(held) = self.leases.get_mut(&lease)
        {
            held.saves.strained = true;
        }
    }
}
