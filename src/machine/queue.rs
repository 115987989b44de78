//! The queue: bounded, fair among tenants, first in first out within each. Whoever leaves takes its place along,
//! so the queue is never longer than those who wait.
//!
//! Tenants take turns, as in weighted round robin: in its turn a tenant of weight 3 is served three times. Requests
//! without a tenant are one tenant more. Who comes back, because its worker died before it started, goes first.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant},
};

use crate::{
    machine::slot::LeaseId,
    protocol::ExecutionId,
    request::{Affinity, Tenant},
};

/// Someone who waits for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Waiter {
    Execution(ExecutionId),
    Lease(LeaseId),
}

/// What one who waits has asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) tenant: Option<Tenant>,
    pub(crate) affinity: Option<Affinity>,
    /// What it takes in memory.
    pub(crate) bytes: usize,
    /// It is a script, for a process of its own.
    pub(crate) script: bool,
}

/// The queue. Places and turns are numbered in the order in which they were taken.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    weights: BTreeMap<Tenant, u32>,
    last: u64,
    /// Those who came back; the last one goes first.
    returned: BTreeMap<Reverse<u64>, Waiter>,
    /// Where the others wait, by tenant. None is empty.
    lanes: HashMap<Option<Tenant>, Lane>,
    /// The tenants that have a lane; the first one has its turn.
    turns: BTreeMap<u64, Option<Tenant>>,
    /// The executions in the lanes, by their places.
    arrivals: BTreeMap<u64, (Instant, ExecutionId)>,
    present: HashMap<Waiter, Present>,
    /// What all that wait take in memory.
    bytes: usize,
}

/// One who waits.
#[derive(Debug)]
struct Present {
    asked: Asked,
    place: u64,
    returned: bool,
}

/// Where the requests of one tenant wait.
#[derive(Debug)]
struct Lane {
    places: BTreeMap<u64, Waiter>,
    turn: u64,
    /// How often it is still served in its turn.
    left: u32,
}

/// The first of those who can only be served one after another.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    pub(crate) waiter: Waiter,
    pub(crate) asked: &'a Asked,
    /// How many there are of them.
    pub(crate) waiting: usize,
}

impl Queue {
    /// A tenant that is not named in `weights` has weight 1.
    pub(crate) fn new(weights: BTreeMap<Tenant, u32>) -> Self {
        Self { weights, ..Self::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.present.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.present.is_empty()
    }

    /// How many of this tenant wait.
    pub(crate) fn len_of(&self, tenant: &Option<Tenant>) -> usize {
        let its = |waiter: &&Waiter| self.present.get(waiter).is_some_and(|it| it.asked.tenant == *tenant);
        let returned = self.returned.values().filter(its).count();
        returned + self.lanes.get(tenant).map_or(0, |lane| lane.places.len())
    }

    /// What all that wait take in memory, in bytes. Who comes back is not counted: it had its place.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How often this tenant is served in its turn.
    pub(crate) fn weight(&self, tenant: &Option<Tenant>) -> u32 {
        tenant.as_ref().and_then(|tenant| self.weights.get(tenant)).copied().unwrap_or(1).max(1)
    }

    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    pub(crate) fn push_back(&mut self, waiter: Waiter, asked: Asked, now: Instant) {
        let (place, turn, left) = (self.number(), self.number(), self.weight(&asked.tenant));
        let lane = self.lanes.entry(asked.tenant.clone()).or_insert_with(|| {
            self.turns.insert(turn, asked.tenant.clone());
            Lane { places: BTreeMap::new(), turn, left }
        });
        lane.places.insert(place, waiter);
        if let Waiter::Execution(id) = waiter {
            self.arrivals.insert(place, (now, id));
        }
        self.bytes += asked.bytes;
        self.present.insert(waiter, Present { asked, place, returned: false });
    }

    /// For one who had been served and lost its worker: it does not queue again.
    pub(crate) fn push_front(&mut self, waiter: Waiter, asked: Asked) {
        let place = self.number();
        self.returned.insert(Reverse(place), waiter);
        self.present.insert(waiter, Present { asked, place, returned: true });
    }

    /// Those who are next: each who came back, and then the first of each tenant, in the order of their turns.
    pub(crate) fn heads(&self) -> impl Iterator<Item = Head<'_>> {
        let returned = self.returned.values().map(|waiter| (waiter, 1));
        let first = |tenant| {
            let lane = self.lanes.get(tenant)?;
            Some((lane.places.first_key_value()?.1, lane.places.len()))
        };
        let lanes = self.turns.values().filter_map(first);
        returned.chain(lanes).filter_map(|(waiter, waiting)| {
            Some(Head { waiter: *waiter, asked: &self.present.get(waiter)?.asked, waiting })
        })
    }

    /// `waiter`, who is there, is served: that counts for the turn of its tenant.
    pub(crate) fn serve(&mut self, waiter: Waiter) -> Option<Asked> {
        let Present { asked, returned, .. } = self.take(waiter)?;
        let (next, weight) = (self.number(), self.weight(&asked.tenant));
        if let Some(lane) = self.lanes.get_mut(&asked.tenant).filter(|_| !returned) {
            lane.left = lane.left.saturating_sub(1);
            if lane.left == 0 {
                lane.left = weight;
                self.turns.remove(&lane.turn);
                self.turns.insert(next, asked.tenant.clone());
                lane.turn = next;
            }
        }
        Some(asked)
    }

    /// Whether `waiter` was there.
    pub(crate) fn remove(&mut self, waiter: Waiter) -> bool {
        self.take(waiter).is_some()
    }

    fn take(&mut self, waiter: Waiter) -> Option<Present> {
        let present = self.present.remove(&waiter)?;
        if present.returned {
            self.returned.remove(&Reverse(present.place));
            return Some(present);
        }
        self.bytes -= present.asked.bytes;
        self.arrivals.remove(&present.place);
        let tenant = &present.asked.tenant;
        if let Some(lane) = self.lanes.get_mut(tenant) {
            lane.places.remove(&present.place);
            if lane.places.is_empty() {
                self.turns.remove(&lane.turn);
                self.lanes.remove(tenant);
            }
        }
        Some(present)
    }

    /// Takes out an execution that has waited for this long.
    pub(crate) fn overdue(&mut self, limit: Duration, now: Instant) -> Option<ExecutionId> {
        let (_, (since, id)) = self.arrivals.first_key_value()?;
        let due = since.checked_add(limit).is_some_and(|due| due <= now);
        let id = Some(*id).filter(|_| due)?;
        self.remove(Waiter::Execution(id)).then_some(id)
    }

    /// Since when the execution has waited that has waited longest.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        self.arrivals.first_key_value().map(|(_, (since, _))| *since)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "some instant has to come first")]
mod tests {
    use super::*;

    fn waiter(number: u64) -> Waiter {
        Waiter::Execution(ExecutionId(number))
    }

    fn of(tenant: &str) -> Asked {
        Asked { tenant: Some(Tenant::from(tenant)), ..Asked::default() }
    }

    fn rest(queue: &mut Queue) -> Vec<Waiter> {
        let pop = || {
            let waiter = queue.heads().next()?.waiter;
            queue.serve(waiter).map(|_| waiter)
        };
        std::iter::from_fn(pop).collect()
    }

    /// Everything that the queue remembers, of whatever kind.
    fn remembered(queue: &Queue) -> usize {
        let Queue { weights: _, last: _, returned, lanes, turns, arrivals, present, bytes } = queue;
        let places: usize = lanes.values().map(|lane| lane.places.len()).sum();
        returned.len() + lanes.len() + turns.len() + arrivals.len() + present.len() + places + bytes
    }

    #[test]
    fn who_leaves_is_skipped_and_who_lost_its_worker_comes_first() {
        let mut queue = Queue::default();
        for number in 1..=3 {
            queue.push_back(waiter(number), Asked::default(), Instant::now());
        }
        assert!(queue.remove(waiter(1)));
        assert!(!queue.remove(waiter(1)));
        queue.push_front(waiter(8), Asked::default());
        queue.push_front(waiter(9), of("a"));
        assert_eq!((queue.len(), queue.len_of(&None), queue.len_of(&of("a").tenant)), (4, 3, 1));
        assert_eq!(rest(&mut queue), [waiter(9), waiter(8), waiter(2), waiter(3)]);
        assert_eq!(remembered(&queue), 0, "{queue:?}");
    }

    #[test]
    fn tenants_take_turns_by_their_weights() {
        let mut queue = Queue::new(BTreeMap::from([(Tenant::from("heavy"), 3)]));
        for number in 0..100 {
            queue.push_back(waiter(number), of("noisy"), Instant::now());
        }
        for number in 100..106 {
            queue.push_back(waiter(number), of("heavy"), Instant::now());
        }
        queue.push_back(waiter(200), of("quiet"), Instant::now());
        assert_eq!(queue.len_of(&of("noisy").tenant), 100);
        let order: Vec<_> = rest(&mut queue).into_iter().take(10).collect();
        let expected = [0, 100, 101, 102, 200, 1, 103, 104, 105, 2];
        assert_eq!(order, expected.map(waiter));
    }

    /// Whoever is served out of its turn has had it; those before it keep theirs.
    #[test]
    fn a_turn_that_is_taken_early_is_taken() {
        let mut queue = Queue::default();
        for (number, tenant) in [(1, "a"), (2, "b"), (3, "b"), (4, "c")] {
            queue.push_back(waiter(number), of(tenant), Instant::now());
        }
        let heads: Vec<_> = queue.heads().map(|head| (head.waiter, head.waiting)).collect();
        assert_eq!(heads, [(waiter(1), 1), (waiter(2), 2), (waiter(4), 1)]);
        assert_eq!(queue.serve(waiter(2)), Some(of("b")));
        assert_eq!(rest(&mut queue), [1, 4, 3].map(waiter));
    }

    #[test]
    fn who_waited_too_long_is_found_in_the_order_of_coming() {
        let mut queue = Queue::default();
        let begun = Instant::now();
        for number in 0..4 {
            let now = begun + Duration::from_secs(number);
            queue.push_back(waiter(number), of(&number.to_string()), now);
        }
        queue.remove(waiter(0));
        queue.push_front(waiter(9), Asked::default());
        let (limit, now) = (Duration::from_secs(10), begun + Duration::from_secs(12));
        let overdue: Vec<_> = std::iter::from_fn(|| queue.overdue(limit, now)).collect();
        assert_eq!(overdue, [ExecutionId(1), ExecutionId(2)]);
        assert_eq!(queue.oldest(), Some(begun + Duration::from_secs(3)));
        assert_eq!(rest(&mut queue), [waiter(9), waiter(3)]);
    }

    /// Of executions and of leases, of one tenant and of many, beside one who stays; of those who came back, too.
    #[test]
    fn places_that_are_given_up_do_not_pile_up() {
        let mut queue = Queue::default();
        queue.push_back(waiter(0), of("stays"), Instant::now());
        let stays = remembered(&queue);
        for number in 1..=100_000 {
            let lease = Waiter::Lease(LeaseId(number));
            queue.push_back(lease, Asked::default(), Instant::now());
            queue.push_back(waiter(number), of(&number.to_string()), Instant::now());
            queue.push_front(waiter(1_000_000 + number), of("stays"));
            for waiter in [lease, waiter(number), waiter(1_000_000 + number)] {
                assert!(queue.remove(waiter));
            }
        }
        assert_eq!(remembered(&queue), stays, "places for nobody");
        assert_eq!(rest(&mut queue), [waiter(0)]);
    }

    /// P11: whoever leaves, in whatever way, takes its bytes along.
    #[test]
    fn what_waits_is_known_in_bytes() {
        let mut queue = Queue::default();
        let asked = || Asked { bytes: 10, ..Asked::default() };
        for number in 0..4 {
            queue.push_back(waiter(number), asked(), Instant::now());
        }
        assert_eq!(queue.bytes(), 40);
        queue.remove(waiter(0));
        queue.remove(waiter(0));
        queue.push_front(waiter(9), asked());
        assert_eq!(queue.bytes(), 30, "who comes back had its place");
        assert_eq!(queue.serve(waiter(9)), Some(asked()));
        let long = Instant::now() + Duration::from_secs(60);
        assert_eq!(queue.overdue(Duration::from_secs(1), long), Some(ExecutionId(1)));
        assert_eq!(queue.bytes(), 20);
        rest(&mut queue);
        assert_eq!(queue.bytes(), 0);
    }
}
