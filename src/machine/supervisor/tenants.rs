//! Which worker is for whom. What code leaves behind in its worker (a module that it changed, a thread, a file) meets all
//! that runs there later. So a worker that has run code of one tenant runs no code of another, unless workers are shared;
//! requests without a tenant are one tenant more. An idle worker of another tenant makes way for one who waits.

use std::time::Instant;

use crate::{
    machine::{
        line::{Asked, Head, Waiter},
        slot::{Owner, Place, Slot},
        supervisor::{Life, Pool},
    },
    request::Tenant,
};

/// What follows for those who wait.
pub(super) enum Next {
    /// Nobody is served now.
    Nobody,
    /// This one gets the worker of this slot.
    Serve(Waiter, usize),
    /// The idle worker of this slot makes way.
    Replace(usize),
}

impl Pool {
    /// Whether the worker of `slot` may run what this tenant asks for.
    pub(super) fn may_serve(&self, slot: &Slot, tenant: &Option<Tenant>) -> bool {
        self.config.share_workers || slot.worker.owner.admits(tenant)
    }

    /// Whether the worker of `slot` is for whoever comes first. One that is only for requests without a tenant counts:
    /// a pool that knows no tenants keeps no worker beside it.
    fn is_for_anybody(&self, slot: &Slot) -> bool {
        match slot.worker.owner {
            Owner::Nobody | Owner::Tenant(None) => true,
            Owner::Tenant(Some(_)) => self.config.share_workers,
        }
    }

    /// In the order of turns, whoever can be served is; whoever cannot, because all that is free is of others, is waited
    /// for only if no worker is on its way that it will get.
    pub(super) fn next(&self, now: Instant) -> Next {
        if self.line.is_empty() || !self.has_vacancy(now) {
            return Next::Nobody;
        }
        let (on_way, mut needed) = (self.on_way(), 0);
        for head in self.line.heads() {
            if let Some(slot) = self.place_for(head.waiter, head.asked, now) {
                return Next::Serve(head.waiter, slot);
            }
            let needs = head.waiting.div_ceil(self.in_flight);
            let comes = on_way.saturating_sub(needed).min(needs);
            needed += needs;
            if comes == needs {
                continue;
            }
            if let Some(slot) = self.makes_way(&head, comes, now) {
                return Next::Replace(slot);
            }
            // Nobody goes ahead of it, so that a worker becomes idle.
            let whole = matches!(head.waiter, Waiter::Lease(_)) || self.workers_of(&head.asked.tenant) == 0;
            if whole && comes == 0 && !self.slots.iter().any(Slot::is_idle) {
                return Next::Nobody;
            }
        }
        Next::Nobody
    }

    /// Whether there is a session that is idle, or takes more than it has.
    fn has_vacancy(&self, now: Instant) -> bool {
        self.slots.iter().any(|slot| slot.is_idle() || self.offers_room(slot, now))
    }

    /// Whether this tenant, or who needs a whole worker for it, finds a session that serves it at once.
    pub(super) fn is_vacant_for(&self, tenant: &Option<Tenant>, now: Instant) -> bool {
        let free = |slot: &&Slot| slot.is_idle() || self.offers_room(slot, now);
        self.slots.iter().filter(free).any(|slot| self.may_serve(slot, tenant))
    }

    /// Idle workers of others, which make way when somebody waits for one.
    pub(super) fn idle_for_others(&self, tenant: &Option<Tenant>) -> usize {
        self.slots.iter().filter(|slot| slot.is_idle() && !self.may_serve(slot, tenant)).count()
    }

    /// The session that it gets, if there is one.
    fn place_for(&self, waiter: Waiter, asked: &Asked, now: Instant) -> Option<usize> {
        let places = self.slots.iter().enumerate().filter(|(_, slot)| self.may_serve(slot, &asked.tenant));
        let rank = |slot| match waiter {
            Waiter::Execution(_) => self.nearness(slot, asked, now),
            Waiter::Lease(_) => freshness(slot),
        };
        let ranked = places.filter_map(|(index, slot)| Some((rank(slot)?, index)));
        ranked.min().map(|(_, index)| index)
    }

    /// An execution gets the worker that served its affinity last, or else one that served none: its tenant's own before
    /// one that is nobody's, which others may want. With none idle, it shares that with the fewest.
    fn nearness(&self, slot: &Slot, asked: &Asked, now: Instant) -> Option<usize> {
        let near = asked.affinity.is_some() && slot.worker.affinity == asked.affinity;
        let (cold, own) = (slot.worker.affinity.is_none(), slot.worker.owner != Owner::Nobody);
        match (slot.is_idle(), near) {
            (true, true) => Some(0),
            (false, true) if self.offers_room(slot, now) => Some(1),
            (true, false) if cold && own => Some(2),
            (true, false) if cold => Some(3),
            (true, false) => Some(4),
            (false, _) => self.offers_room(slot, now).then(|| 4 + slot.runs().len()),
        }
    }

    /// The idle worker that makes way for `head`, for whose tenant so many are on their way: that which was used least
    /// recently, and first one that its own tenant does not wait for. Of tenants that wait, each keeps its share of the
    /// workers, by weight, so that they do not take them from each other in turns; but one who has none gets one.
    fn makes_way(&self, head: &Head<'_>, comes: usize, now: Instant) -> Option<usize> {
        let tenant = &head.asked.tenant;
        if !matches!(self.life, Life::Serving) || self.throttle.closed_until(now).is_some() {
            return None;
        }
        let has = self.workers_of(tenant) + comes;
        let share = |workers: usize, of| workers as u64 * u64::from(self.line.weight(of));
        let candidates = self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let Owner::Tenant(other) = &slot.worker.owner else { return None };
            let since = slot.idle_since()?;
            let waits = self.line.len_of(other) > 0;
            let richer = || share(has + 1, other) <= share(self.workers_of(other).saturating_sub(1), tenant);
            (other != tenant && (!waits || has == 0 || richer())).then_some((waits, since, index))
        });
        candidates.min().map(|(.., index)| index)
    }

    /// Workers that serve this tenant only.
    fn workers_of(&self, tenant: &Option<Tenant>) -> usize {
        let serves = |slot: &&Slot| matches!(slot.place, Place::Idle { .. } | Place::Busy { .. });
        let its = |slot: &&Slot| matches!(&slot.worker.owner, Owner::Tenant(own) if own == tenant);
        self.slots.iter().filter(serves).filter(its).count()
    }

    /// Workers that start and are promised to no session.
    pub(super) fn unclaimed(&self) -> usize {
        let unclaimed = |slot: &&Slot| matches!(slot.place, Place::Starting) && slot.heir.is_none();
        self.slots.iter().filter(unclaimed).count()
    }

    /// Workers that will be nobody's: those that start, and those for which there is room now or when others have ended.
    pub(super) fn on_way(&self) -> usize {
        let ends = |slot: &&Slot| {
            matches!(slot.place, Place::Retiring | Place::Doomed { .. }) && slot.heir.is_none()
        };
        let stay = self.alive() - self.slots.iter().filter(ends).count();
        self.unclaimed() + self.config.max_sessions.saturating_sub(stay + self.forks.len())
    }

    /// Workers that those who wait need: those of one tenant may share one, if it takes several.
    fn needed(&self) -> usize {
        match self.config.share_workers || self.in_flight == 1 {
            true => self.line.len().div_ceil(self.in_flight),
            false => self.line.heads().map(|head| head.waiting.div_ceil(self.in_flight)).sum(),
        }
    }

    /// Sessions that should be free for whoever comes. A new spec is tried, also where nobody waits.
    fn reserve(&self, now: Instant) -> usize {
        let roomy = |slot: &&Slot| self.is_for_anybody(slot) && self.offers_room(slot, now);
        let roomy = self.slots.iter().filter(roomy).count();
        self.config.min_idle.saturating_sub(roomy).max(usize::from(self.untried))
    }

    /// How many sessions should be free or on their way.
    pub(super) fn wanted(&self, now: Instant) -> usize {
        self.reserve(now) + self.needed()
    }

    /// How many are to be started for that. While somebody waits, what is idle is not for him.
    pub(super) fn missing(&self, now: Instant) -> usize {
        let wanted = self.needed() + self.reserve(now).saturating_sub(self.ready_for_anybody());
        wanted.saturating_sub(self.unclaimed())
    }

    /// Idle sessions for whoever comes.
    fn ready_for_anybody(&self) -> usize {
        self.slots.iter().filter(|slot| slot.is_idle() && self.is_for_anybody(slot)).count()
    }

    /// Whether what should be free is there without this idle session.
    pub(super) fn is_spare(&self, slot: &Slot, now: Instant) -> bool {
        !self.is_for_anybody(slot) || self.ready_for_anybody() > self.wanted(now)
    }
}

/// A lease gets a worker that has served nobody, if there is one.
fn freshness(slot: &Slot) -> Option<usize> {
    slot.is_idle().then(|| usize::from(slot.worker.served > 0 || slot.worker.owner != Owner::Nobody))
}
