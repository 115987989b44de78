//! Which worker is for whom. What code leaves behind in its worker (a module that it changed, a thread, a file) meets all
//! that runs there later. So a worker that has run code of one tenant runs no code of another, unless workers are shared;
//! requests without a tenant are one tenant more. An idle worker of another tenant makes way for one who waits.

use std::time::Instant;

use crate::machine::{
    queue::{Head, Waiter},
    slot::Owner,
    slots::Is,
    supervisor::{Life, Pool},
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
    /// In the order of turns, whoever can be served is; whoever cannot, because all that is free is of others, is waited
    /// for only if no worker is on its way that it will get.
    pub(super) fn next(&self, now: Instant) -> Next {
        let idle = self.slots.count(Is::Idle) > 0;
        if self.queue.is_empty() || !idle && self.slots.count(Is::Roomy) == 0 {
            return Next::Nobody;
        }
        let (on_way, mut needed) = (self.on_way(), 0);
        for head in self.queue.heads() {
            if let Some(slot) = self.slots.place_for(head.waiter, head.asked) {
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
            let whole =
                matches!(head.waiter, Waiter::Lease(_)) || self.slots.workers_of(&head.asked.tenant) == 0;
            if whole && comes == 0 && !idle {
                return Next::Nobody;
            }
        }
        Next::Nobody
    }

    /// The idle worker that makes way for `head`, for whose tenant so many are on their way: that which was used least
    /// recently, and first one that its own tenant does not wait for. Of tenants that wait, each keeps its share of the
    /// workers, by weight, so that they do not take them from each other in turns; but one who has none gets one.
    fn makes_way(&self, head: &Head<'_>, comes: usize, now: Instant) -> Option<usize> {
        let tenant = &head.asked.tenant;
        if !matches!(self.life, Life::Serving) || self.throttle.closed_until(now).is_some() {
            return None;
        }
        let has = self.slots.workers_of(tenant) + comes;
        let share = |workers: usize, of| workers as u64 * u64::from(self.queue.weight(of));
        let mut of_one_who_waits = None;
        for slot in self.slots.idle() {
            let Owner::Tenant(other) = &self.slots[slot].worker.owner else { continue };
            let others = || self.slots.workers_of(other).saturating_sub(1);
            match self.queue.len_of(other) > 0 {
                _ if other == tenant => {}
                false => return Some(slot),
                true if has == 0 || share(has + 1, other) <= share(others(), tenant) => {
                    of_one_who_waits = of_one_who_waits.or(Some(slot));
                }
                true => {}
            }
        }
        of_one_who_waits
    }

    /// Workers that will be nobody's: those that start, and those for which there is room now or when others have ended.
    pub(super) fn on_way(&self) -> usize {
        let count = |what| self.slots.count(what);
        let stay = count(Is::Alive) - count(Is::EndingForGood);
        count(Is::Unclaimed) + self.config.max_sessions.saturating_sub(stay + self.forks.len())
    }

    /// Workers that those who wait need: those of one tenant may share one, if it takes several.
    fn needed(&self) -> usize {
        match self.config.share_workers || self.in_flight == 1 {
            true => self.queue.len().div_ceil(self.in_flight),
            false => self.queue.heads().map(|head| head.waiting.div_ceil(self.in_flight)).sum(),
        }
    }

    /// Sessions that should be free for whoever comes. A new spec is tried, also where nobody waits.
    fn reserve(&self) -> usize {
        let roomy = self.slots.count(Is::RoomyForAnybody);
        self.config.min_idle.saturating_sub(roomy).max(usize::from(self.untried))
    }

    /// How many sessions should be free or on their way.
    pub(super) fn wanted(&self) -> usize {
        self.reserve() + self.needed()
    }

    /// How many are to be started for that. While somebody waits, what is idle is not for him.
    pub(super) fn missing(&self) -> usize {
        let wanted = self.needed() + self.reserve().saturating_sub(self.slots.count(Is::Ready));
        wanted.saturating_sub(self.slots.count(Is::Unclaimed))
    }
}
