//! Tenants, in a story of a pool: whose code each worker has run, and who waits for what.

use std::collections::BTreeMap;

use proptest::{prelude::*, test_runner::TestCaseResult};

use super::{Does, ExecutionId, Fate, Holds, Input, LeaseId, RecycleReason, Story, Want};
use crate::{
    machine::{queue::Asked, slot::Owner},
    request::Tenant,
    status::PoolStatus,
};

/// Who asked for what, and who has been where.
#[derive(Default)]
pub(super) struct Tenants {
    executions: BTreeMap<ExecutionId, Option<Tenant>>,
    /// Not of copies.
    leases: BTreeMap<LeaseId, Option<Tenant>>,
    owners: BTreeMap<usize, Owner>,
}

fn tenant(number: u8) -> Option<Tenant> {
    [None, Some("a"), Some("b"), Some("c")][usize::from(number) % 4].map(Tenant::from)
}

impl Owner {
    /// Whether code of this tenant may run where this one's has run.
    fn admits(&self, tenant: &Option<Tenant>) -> bool {
        match self {
            Self::Nobody => true,
            Self::Tenant(own) => own == tenant,
        }
    }
}

impl Tenants {
    /// A worker comes into this slot.
    pub(super) fn begins(&mut self, slot: usize) {
        self.owners.insert(slot, Owner::Nobody);
    }

    pub(super) fn asked(&self, id: ExecutionId) -> Asked {
        Asked { tenant: self.executions.get(&id).cloned().flatten(), ..Asked::default() }
    }
}

impl Story {
    pub(super) fn submit(&mut self, number: u8) -> TestCaseResult {
        let (id, tenant) = (ExecutionId(self.next_id()), tenant(number));
        self.fates.insert(id, Fate::Waits(None));
        self.tenants.executions.insert(id, tenant.clone());
        self.play(Input::Submit(id, Want { tenant, ..Want::default() }))
    }

    pub(super) fn lease(&mut self, number: u8) -> TestCaseResult {
        let (lease, tenant) = (LeaseId(self.next_id()), tenant(number));
        self.leases.insert(lease, Holds::Waits);
        self.tenants.leases.insert(lease, tenant.clone());
        self.play(Input::Lease(lease, tenant))
    }

    /// Code that is for no session runs where no other tenant's has run.
    pub(super) fn meets(&mut self, slot: usize, id: ExecutionId) -> TestCaseResult {
        match self.tenants.executions.get(&id).cloned() {
            Some(tenant) => self.enters(slot, tenant),
            None => Ok(()),
        }
    }

    pub(super) fn moves_in(&mut self, slot: usize, lease: LeaseId) -> TestCaseResult {
        match self.tenants.leases.get(&lease).cloned() {
            Some(tenant) => self.enters(slot, tenant),
            None => Ok(()),
        }
    }

    fn enters(&mut self, slot: usize, tenant: Option<Tenant>) -> TestCaseResult {
        let owner = self.tenants.owners.get(&slot).cloned().unwrap_or_default();
        let apart = self.config.share_workers || owner.admits(&tenant);
        prop_assert!(apart, "{tenant:?} meets what is left of {owner:?}");
        self.tenants.owners.insert(slot, Owner::Tenant(tenant));
        Ok(())
    }

    /// A worker makes way only for one who waits, and could not have had it.
    pub(super) fn makes_way(&self, slot: usize, reason: RecycleReason) -> TestCaseResult {
        if reason != RecycleReason::Tenant {
            return Ok(());
        }
        let owner = self.tenants.owners.get(&slot).cloned().unwrap_or_default();
        prop_assert!(!self.config.share_workers && owner != Owner::Nobody, "{owner:?}");
        prop_assert!(self.waiting().any(|tenant| !owner.admits(tenant)), "for nobody");
        Ok(())
    }

    /// The tenants of all who wait for a session that is idle.
    fn waiting(&self) -> impl Iterator<Item = &Option<Tenant>> {
        let waits = |id: &&ExecutionId| self.fates.get(*id) == Some(&Fate::Waits(None));
        let executions = self.tenants.executions.iter().filter(move |(id, _)| waits(id));
        let leases = self.tenants.leases.iter();
        let leases = leases.filter(|(lease, _)| self.leases.get(*lease) == Some(&Holds::Waits));
        executions.map(|(_, tenant)| tenant).chain(leases.map(|(_, tenant)| tenant))
    }

    fn is_served_by(&self, slot: usize, tenant: &Option<Tenant>) -> bool {
        let owner = self.tenants.owners.get(&slot).cloned().unwrap_or_default();
        self.config.share_workers || owner.admits(tenant)
    }

    pub(super) fn idle_for_anybody(&self) -> usize {
        let idle = self.workers.iter().filter(|(_, (_, does))| *does == Does::Idles).map(|(slot, _)| *slot);
        idle.filter(|slot| {
            let owner = self.tenants.owners.get(slot).cloned().unwrap_or_default();
            self.config.share_workers || !matches!(owner, Owner::Tenant(Some(_)))
        })
        .count()
    }

    /// Nobody waits beside an idle session that may serve it; nor beside one of another tenant, without a worker that is
    /// on its way; nor for ever.
    pub(super) fn nobody_waits_beside_what_is_idle(&self, status: &PoolStatus) -> TestCaseResult {
        let idle: Vec<usize> = self.workers_that(|does| *does == Does::Idles);
        for tenant in self.waiting() {
            let idle = idle.iter().find(|slot| self.is_served_by(**slot, tenant));
            prop_assert_eq!(idle, None, "{:?} waits while a session is idle: {:?}", tenant, status);
        }
        if status.failed.is_some() {
            // The pool may not know yet that one is dying.
            let alive = self.workers_that(|does| matches!(does, Does::Idles | Does::Runs(_) | Does::Ends));
            let lost = self.waiting().find(|of| !alive.iter().any(|slot| self.is_served_by(*slot, of)));
            prop_assert_eq!(lost, None, "it waits for ever: {:?}", status);
        }
        let serves = self.started && status.failed.is_none() && !status.shutting_down;
        if serves && !idle.is_empty() {
            let (waiting, on_way) = (self.waiting().count(), self.on_way());
            prop_assert!(waiting <= on_way, "{waiting} wait, {on_way} are on their way: {status:?}");
        }
        Ok(())
    }

    fn workers_that(&self, wanted: impl Fn(&Does) -> bool) -> Vec<usize> {
        self.workers.iter().filter(|(_, (_, does))| wanted(does)).map(|(slot, _)| *slot).collect()
    }

    /// Workers that start for nobody yet, and the room for more of them.
    fn on_way(&self) -> usize {
        let inherited = self.inherited();
        let starting = self.workers_that(|does| *does == Does::Starts);
        let free = starting.iter().filter(|slot| !inherited.contains(slot)).count();
        let stay = self.workers_that(|does| *does != Does::Ends);
        let stay = stay.len() + inherited.iter().filter(|slot| !stay.contains(slot)).count();
        let copies = self.leases.iter().filter(|(lease, holds)| {
            let branches = |does: &Does| *does == Does::Branches(**lease);
            **holds == Holds::Waits
                && !self.tenants.leases.contains_key(*lease)
                && self.workers_that(branches).is_empty()
        });
        free + self.config.max_sessions.saturating_sub(stay + copies.count())
    }
}
