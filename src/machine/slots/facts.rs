//! What holds of one place: a pure function of the place, the rules of its pool and the time.

use std::time::Instant;

use crate::{
    config::{IN_FLIGHT_BYTES, PoolConfig, RecyclePolicy},
    machine::{
        slot::{Owner, Place, Slot},
        supervisor::RecycleReason,
    },
    request::{Affinity, Tenant},
};

/// What may hold of a place. Of each, the table has the set of places of which it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Is {
    /// A worker may be started in it for anybody.
    Free,
    /// Empty, and kept for the next worker of a leased session.
    Vacated,
    /// Kept for a leased session, whatever is in it.
    Inherited,
    Starting,
    /// Its worker starts and is promised to no session.
    Unclaimed,
    Branching,
    Idle,
    /// Idle, and nobody's code has run in it.
    Fresh,
    /// Idle, and for whoever comes.
    Ready,
    Busy,
    Script,
    /// Busy, and takes more.
    Roomy,
    /// Busy, takes more, and is for whoever comes.
    RoomyForAnybody,
    Leased,
    /// Its worker is on its way out of the process table.
    Ending,
    /// The same, and nobody inherits the place.
    EndingForGood,
    BackingOff,
    /// A worker is alive, or about to be, or not yet reaped.
    Worker,
    /// Counts as a worker: it has one, or will have one for a leased session.
    Alive,
    /// Its worker is on its way out, or will be when it is free.
    Leaving,
    /// Idle, at its last execution.
    Spent,
    /// Idle, worn otherwise, and of one tenant.
    WornOfOne,
    /// Idle, worn otherwise, and for whoever comes.
    WornForAnybody,
    /// Idle for too long, and of one tenant.
    UnusedOfOne,
    /// Idle for too long, and for whoever comes.
    UnusedForAnybody,
}

impl Is {
    pub(super) const COUNT: usize = Self::UnusedForAnybody as usize + 1;
}

/// How good a place is for an execution, from the best: what it would share is worst, with the most at last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// Idle, and warm for nothing.
    Cold,
    /// Idle, and warm for something.
    Warm,
    /// With so many others.
    Shared(usize),
}

/// All that the table knows of a place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// One bit for each [`Is`].
    pub(super) is: u32,
    pub(super) idle_since: Option<Instant>,
    /// Whose worker it is, if it serves or could.
    pub(super) crew: Option<Owner>,
    /// How good it is for an execution, if it takes one now.
    pub(super) rank: Option<Rank>,
    /// What it is warm for, if it takes an execution now.
    pub(super) warm: Option<Affinity>,
    /// When something else will hold, if nothing changes but the time.
    pub(super) due: Option<Instant>,
}

impl Facts {
    pub(super) fn hold(&self, what: usize) -> bool {
        self.is & (1 << what) != 0
    }
}

/// What is the same for all places of a pool.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) recycle: RecyclePolicy,
    pub(super) idle_timeout: Option<std::time::Duration>,
    pub(super) share_workers: bool,
    pub(super) in_flight: usize,
    /// Which of the pool's specs workers are made from.
    pub(super) edition: u32,
}

impl Rules {
    pub(super) fn new(config: &PoolConfig, in_flight: usize) -> Self {
        let (recycle, idle_timeout) = (config.recycle.clone(), config.idle_timeout);
        Self { recycle, idle_timeout, share_workers: config.share_workers, in_flight, edition: 0 }
    }

    /// Under whose name a worker takes executions: one for all, where tenants share.
    pub(super) fn class(&self, owner: &Owner) -> Owner {
        match owner {
            Owner::Tenant(_) if self.share_workers => Owner::Tenant(None),
            Owner::Nobody | Owner::Tenant(_) => owner.clone(),
        }
    }

    /// Under which of these names a tenant is served.
    pub(super) fn class_of(&self, tenant: &Option<Tenant>) -> Owner {
        Owner::Tenant(tenant.clone().filter(|_| !self.share_workers))
    }

    /// Whether the worker is for whoever comes first. One that is only for requests without a tenant counts: a pool that
    /// knows no tenants keeps no worker beside it.
    fn is_for_anybody(&self, owner: &Owner) -> bool {
        match owner {
            Owner::Nobody | Owner::Tenant(None) => true,
            Owner::Tenant(Some(_)) => self.share_workers,
        }
    }

    /// What wears this worker out, if it is.
    pub(super) fn reason(&self, slot: &Slot, now: Instant) -> Option<RecycleReason> {
        let (worker, policy) = (&slot.worker, &self.recycle);
        let worn = |limit: f64, used: f64| used >= limit * (1.0 - policy.jitter * worker.chance);
        if worker.edition != self.edition {
            Some(RecycleReason::Spec)
        } else if policy.max_executions.is_some_and(|limit| worn(limit.into(), worker.served.into())) {
            Some(RecycleReason::Executions)
        } else if self.old_at(slot).is_some_and(|at| at <= now) {
            Some(RecycleReason::Age)
        } else {
            worker.heavy.then_some(RecycleReason::Memory)
        }
    }

    /// When this worker will be too old.
    fn old_at(&self, slot: &Slot) -> Option<Instant> {
        let age = self.recycle.max_age?.mul_f64(1.0 - self.recycle.jitter * slot.worker.chance);
        slot.worker.since.checked_add(age)
    }

    /// When this session will have been free for too long.
    fn unused_at(&self, slot: &Slot) -> Option<Instant> {
        slot.idle_since()?.checked_add(self.idle_timeout?)
    }

    /// What holds of this place.
    pub(super) fn facts(&self, slot: &Slot, now: Instant) -> Facts {
        let mut facts = Facts::default();
        let mut hold = |what: Is, holds: bool| facts.is |= u32::from(holds) << what as usize;
        let heir = slot.heir.is_some();
        hold(Is::Inherited, heir);
        hold(Is::Worker, slot.has_worker());
        hold(Is::Alive, slot.has_worker() || heir);
        hold(Is::Leased, slot.is_leased());
        match &slot.place {
            Place::Empty => hold(if heir { Is::Vacated } else { Is::Free }, true),
            Place::Starting => {
                hold(Is::Starting, true);
                hold(Is::Unclaimed, !heir);
            }
            Place::Branching { .. } => hold(Is::Branching, true),
            Place::Idle { since } => self.idle(slot, *since, now, &mut facts),
            Place::Busy { .. } => self.busy(slot, now, &mut facts),
            Place::Script { .. } => hold(Is::Script, true),
            Place::Leased { .. } => {}
            Place::Retiring | Place::Doomed { .. } => {
                hold(Is::Ending, true);
                hold(Is::EndingForGood, !heir);
                hold(Is::Leaving, true);
            }
            Place::BackingOff { until } => {
                hold(Is::BackingOff, true);
                facts.due = Some(*until).filter(|at| *at > now);
            }
        }
        facts
    }

    fn idle(&self, slot: &Slot, since: Instant, now: Instant, facts: &mut Facts) {
        let owner = &slot.worker.owner;
        let (anybody, reason) = (self.is_for_anybody(owner), self.reason(slot, now));
        let (old_at, unused_at) = (self.old_at(slot), self.unused_at(slot));
        let unused = reason.is_none() && unused_at.is_some_and(|at| at <= now);
        let spent = reason == Some(RecycleReason::Executions);
        let worn = reason.is_some() && !spent;
        let mut hold = |what: Is, holds: bool| facts.is |= u32::from(holds) << what as usize;
        hold(Is::Idle, true);
        hold(Is::Fresh, *owner == Owner::Nobody);
        hold(Is::Ready, anybody);
        hold(Is::Leaving, reason.is_some());
        hold(Is::Spent, spent);
        hold(if anybody { Is::WornForAnybody } else { Is::WornOfOne }, worn);
        hold(if anybody { Is::UnusedForAnybody } else { Is::UnusedOfOne }, unused);
        facts.idle_since = Some(since);
        facts.rank = Some(if slot.worker.affinity.is_none() { Rank::Cold } else { Rank::Warm });
        facts.warm.clone_from(&slot.worker.affinity);
        facts.crew = Some(owner.clone());
        facts.due = [old_at, unused_at].into_iter().flatten().filter(|at| *at > now).min();
    }

    fn busy(&self, slot: &Slot, now: Instant, facts: &mut Facts) {
        let (owner, runs) = (&slot.worker.owner, slot.runs());
        let worn = self.reason(slot, now).is_some();
        let has_room = || runs.iter().map(|(.., bytes)| bytes).sum::<usize>() < IN_FLIGHT_BYTES;
        let roomy = !worn && (1..self.in_flight).contains(&runs.len()) && has_room();
        let mut hold = |what: Is, holds: bool| facts.is |= u32::from(holds) << what as usize;
        hold(Is::Busy, true);
        hold(Is::Leaving, worn);
        hold(Is::Roomy, roomy);
        hold(Is::RoomyForAnybody, roomy && self.is_for_anybody(owner));
        facts.crew = Some(owner.clone());
        if roomy {
            facts.rank = Some(Rank::Shared(runs.len()));
            facts.warm.clone_from(&slot.worker.affinity);
        }
        // Its end by age makes room for another, if there may be more for a while.
        facts.due = self.old_at(slot).filter(|at| *at > now);
    }
}
