//! The places of a pool, and which of them are what: a step asks that without walking over all of them.
//!
//! Each place is in the sets of what holds of it. They follow every change, by the difference to what held before; so does
//! the time, which moves with each step.

use std::{
    collections::{BTreeSet, HashMap},
    ops::{Deref, DerefMut, Index},
    time::Instant,
};

mod facts;
#[cfg(test)]
mod tests;

pub(crate) use self::facts::Is;
use self::facts::{Facts, Rank, Rules};
use crate::{
    config::PoolConfig,
    machine::{
        queue::{Asked, Waiter},
        slot::{Owner, Place, Slot},
        supervisor::RecycleReason,
    },
    request::{Affinity, Tenant},
};

/// The table.
#[derive(Debug)]
pub(crate) struct Slots {
    rules: Rules,
    /// The time of which the sets are.
    now: Instant,
    slots: Vec<Slot>,
    facts: Vec<Facts>,
    sets: [BTreeSet<usize>; Is::COUNT],
    /// Those that are idle, from that which was used least recently.
    idle: BTreeSet<(Instant, usize)>,
    /// Those that take an execution now, of each class from the best.
    offers: BTreeSet<(Owner, Rank, usize)>,
    /// Of those, the ones that are warm for something; the idle ones first.
    warm: BTreeSet<(Owner, Affinity, bool, usize)>,
    crews: HashMap<Owner, Crew>,
    due: BTreeSet<(Instant, usize)>,
    /// How many places were looked at or changed.
    #[cfg(test)]
    touched: std::cell::Cell<usize>,
}

/// The workers of one tenant that serve, or could.
#[derive(Debug, Default, PartialEq, Eq)]
struct Crew {
    workers: usize,
    idle: usize,
}

/// A place that is being changed. The sets follow when this is dropped.
pub(crate) struct Edit<'a> {
    table: &'a mut Slots,
    slot: usize,
}

impl Deref for Edit<'_> {
    type Target = Slot;

    fn deref(&self) -> &Slot {
        &self.table.slots[self.slot]
    }
}

impl DerefMut for Edit<'_> {
    fn deref_mut(&mut self) -> &mut Slot {
        &mut self.table.slots[self.slot]
    }
}

impl Drop for Edit<'_> {
    fn drop(&mut self) {
        self.table.follow(self.slot);
    }
}

impl Index<usize> for Slots {
    type Output = Slot;

    fn index(&self, slot: usize) -> &Slot {
        self.touch(1);
        &self.slots[slot]
    }
}

impl Slots {
    /// Empty places, as many as a pool of this kind may have.
    pub(crate) fn new(config: &PoolConfig, in_flight: usize, now: Instant) -> Self {
        let count = config.max_sessions + config.surge;
        let mut table = Self {
            rules: Rules::new(config, in_flight),
            now,
            slots: (0..count).map(|_| Slot::new(now)).collect(),
            facts: vec![Facts::default(); count],
            sets: [const { BTreeSet::new() }; Is::COUNT],
            idle: BTreeSet::new(),
            offers: BTreeSet::new(),
            warm: BTreeSet::new(),
            crews: HashMap::new(),
            due: BTreeSet::new(),
            #[cfg(test)]
            touched: std::cell::Cell::new(0),
        };
        table.follow_all();
        table
    }

    pub(crate) fn get(&self, slot: usize) -> Option<&Slot> {
        self.touch(1);
        self.slots.get(slot)
    }

    /// All of them, for who wants to see them all.
    pub(crate) fn iter(&self) -> std::slice::Iter<'_, Slot> {
        self.touch(self.slots.len());
        self.slots.iter()
    }

    pub(crate) fn edit(&mut self, slot: usize) -> Edit<'_> {
        Edit { table: self, slot }
    }

    /// Puts this into a place, and returns what was there.
    pub(crate) fn put(&mut self, slot: usize, place: Place) -> Place {
        std::mem::replace(&mut self.edit(slot).place, place)
    }

    /// Which of the pool's specs workers are made from.
    pub(crate) fn edition(&self) -> u32 {
        self.rules.edition
    }

    /// Every worker that lives is of an older spec from now on.
    pub(crate) fn next_edition(&mut self) {
        self.rules.edition += 1;
        self.follow_all();
    }

    /// It is `now`.
    pub(crate) fn advance(&mut self, now: Instant) {
        self.now = now;
        while let Some((_, slot)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.follow(slot);
        }
    }

    /// When something else will hold of a place, if nothing changes but the time.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// What wears this worker out, if it is.
    pub(crate) fn reason(&self, slot: usize) -> Option<RecycleReason> {
        self.rules.reason(&self[slot], self.now)
    }

    fn follow_all(&mut self) {
        (0..self.slots.len()).for_each(|slot| self.follow(slot));
    }

    /// Brings the sets up to date with one place.
    fn follow(&mut self, slot: usize) {
        self.touch(1);
        let new = self.rules.facts(&self.slots[slot], self.now);
        let old = std::mem::replace(&mut self.facts[slot], new.clone());
        if old == new {
            return;
        }
        for (what, set) in self.sets.iter_mut().enumerate() {
            match (old.hold(what), new.hold(what)) {
                (false, true) => drop(set.insert(slot)),
                (true, false) => drop(set.remove(&slot)),
                _ => {}
            }
        }
        let rules = &self.rules;
        let offer = |facts: &Facts| Some((rules.class(facts.crew.as_ref()?), facts.rank?, slot));
        let warm = |facts: &Facts| {
            let (class, rank, _) = offer(facts)?;
            Some((class, facts.warm.clone()?, matches!(rank, Rank::Shared(_)), slot))
        };
        replace(&mut self.idle, old.idle_since.zip(Some(slot)), new.idle_since.zip(Some(slot)));
        replace(&mut self.due, old.due.zip(Some(slot)), new.due.zip(Some(slot)));
        replace(&mut self.offers, offer(&old), offer(&new));
        replace(&mut self.warm, warm(&old), warm(&new));
        self.count_crew(old, new);
    }

    fn count_crew(&mut self, old: Facts, new: Facts) {
        let idle = |facts: &Facts| usize::from(facts.idle_since.is_some());
        if (&old.crew, idle(&old)) == (&new.crew, idle(&new)) {
            return;
        }
        let (was_idle, is_idle) = (idle(&old), idle(&new));
        if let Some(owner) = new.crew {
            let crew = self.crews.entry(owner).or_default();
            (crew.workers, crew.idle) = (crew.workers + 1, crew.idle + is_idle);
        }
        if let Some(owner) = old.crew
            && let Some(crew) = self.crews.get_mut(&owner)
        {
            (crew.workers, crew.idle) = (crew.workers - 1, crew.idle - was_idle);
            if crew.workers == 0 {
                self.crews.remove(&owner);
            }
        }
    }

    fn touch(&self, _places: usize) {
        #[cfg(test)]
        self.touched.set(self.touched.get() + _places);
    }
}

/// What is known of all places without a look at any.
impl Slots {
    /// Of how many this holds.
    pub(crate) fn count(&self, what: Is) -> usize {
        self.sets[what as usize].len()
    }

    /// The first one of which this holds.
    pub(crate) fn first(&self, what: Is) -> Option<usize> {
        self.sets[what as usize].first().copied()
    }

    /// Those of which this holds, in order.
    pub(crate) fn all(&self, what: Is) -> impl Iterator<Item = usize> + '_ {
        self.sets[what as usize].iter().copied().inspect(|_| self.touch(1))
    }

    /// Those that are idle, from that which was used least recently.
    pub(crate) fn idle(&self) -> impl Iterator<Item = usize> + '_ {
        self.idle.iter().map(|(_, slot)| *slot).inspect(|_| self.touch(1))
    }

    /// Whether one takes what this tenant asks for now.
    pub(crate) fn is_vacant_for(&self, tenant: &Option<Tenant>) -> bool {
        self.best(&Owner::Nobody).is_some() || self.best(&self.rules.class_of(tenant)).is_some()
    }

    /// Idle workers of others, which make way when somebody waits for one.
    pub(crate) fn idle_for_others(&self, tenant: &Option<Tenant>) -> usize {
        let idle = |owner: &Owner| self.crews.get(owner).map_or(0, |crew| crew.idle);
        match self.rules.share_workers {
            true => 0,
            false => self.idle.len() - idle(&Owner::Nobody) - idle(&Owner::Tenant(tenant.clone())),
        }
    }

    /// Workers that serve this tenant only.
    pub(crate) fn workers_of(&self, tenant: &Option<Tenant>) -> usize {
        self.crews.get(&Owner::Tenant(tenant.clone())).map_or(0, |crew| crew.workers)
    }

    /// Whether a worker that lives may serve this tenant, at once or later.
    pub(crate) fn is_served(&self, tenant: &Option<Tenant>) -> bool {
        let lives = |owner: &Owner| self.crews.contains_key(owner);
        match self.rules.share_workers {
            true => !self.crews.is_empty(),
            false => lives(&Owner::Nobody) || lives(&Owner::Tenant(tenant.clone())),
        }
    }

    /// The place that it gets, if there is one.
    ///
    /// An execution gets the worker that served its affinity last, or else one that served none: its tenant's own before
    /// one that is nobody's, which others may want. With none idle, it shares that with the fewest. A lease gets a worker
    /// that has served nobody, if there is one.
    pub(crate) fn place_for(&self, waiter: Waiter, asked: &Asked) -> Option<usize> {
        let own = self.rules.class_of(&asked.tenant);
        match waiter {
            Waiter::Lease(_) => self.first(Is::Fresh).or_else(|| {
                let idle = |class: &Owner, rank| {
                    self.from(class, rank).filter(|(found, _)| *found == rank).map(|(_, slot)| slot)
                };
                let nobodys = idle(&Owner::Nobody, Rank::Cold);
                [nobodys, idle(&own, Rank::Cold), idle(&own, Rank::Warm)].into_iter().flatten().min()
            }),
            Waiter::Execution(_) => {
                let near = asked.affinity.as_ref().and_then(|affinity| self.warm_for(&own, affinity));
                near.or_else(|| match (self.best(&own), self.best(&Owner::Nobody)) {
                    (Some((Rank::Cold, slot)), _) | (_, Some((_, slot))) => Some(slot),
                    (own, None) => own.map(|(_, slot)| slot),
                })
            }
        }
    }

    fn warm_for(&self, class: &Owner, affinity: &Affinity) -> Option<usize> {
        let first = self.warm.range((class.clone(), affinity.clone(), false, 0)..).next();
        first.filter(|(of, to, ..)| of == class && to == affinity).map(|(.., slot)| *slot)
    }

    fn best(&self, class: &Owner) -> Option<(Rank, usize)> {
        self.from(class, Rank::Cold)
    }

    /// The best that takes an execution of this class, from this rank on.
    fn from(&self, class: &Owner, rank: Rank) -> Option<(Rank, usize)> {
        let first = self.offers.range((class.clone(), rank, 0)..).next();
        first.filter(|(of, ..)| of == class).map(|(_, rank, slot)| (*rank, *slot))
    }
}

fn replace<T: Ord>(set: &mut BTreeSet<T>, old: Option<T>, new: Option<T>) {
    if old == new {
        return;
    }
    if let Some(old) = old {
        set.remove(&old);
    }
    set.extend(new);
}
