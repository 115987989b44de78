//! The waiting line: bounded, fair among tenants, first in first out within each, and a place given up costs nothing.
//!
//! Tenants take turns, as in weighted round robin: in its turn a tenant of weight 3 is served three times. Requests
//! without a tenant are one tenant more. Who comes back, because its worker died before it started, goes first.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
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

/// The line. Those who left are skipped when their place is reached, so leaving is O(1).
#[derive(Debug, Default)]
pub(crate) struct Line {
    weights: BTreeMap<Tenant, u32>,
    returned: VecDeque<Waiter>,
    lanes: HashMap<Option<Tenant>, Lane>,
    /// The tenants that have a lane; the first one has its turn.
    turns: VecDeque<Option<Tenant>>,
    /// The executions, by the time of their coming.
    arrivals: VecDeque<(Instant, ExecutionId)>,
    present: HashMap<Waiter, Asked>,
    /// What all that wait take in memory.
    bytes: usize,
}

/// What one who waits has asked for.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    pub(crate) tenant: Option<Tenant>,
    pub(crate) affinity: Option<Affinity>,
    /// What it takes in memory.
    pub(crate) bytes: usize,
}

/// Where the requests of one tenant wait.
#[derive(Debug, Default)]
struct Lane {
    places: VecDeque<Waiter>,
    present: usize,
    /// How often it is still served in its turn.
    left: u32,
}

impl Line {
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
        self.lanes.get(tenant).map_or(0, |lane| lane.present)
    }

    /// What all that wait take in memory, in bytes. Who comes back is not counted: it had its place.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn push_back(&mut self, waiter: Waiter, asked: Asked, now: Instant) {
        self.tidy();
        self.bytes += asked.bytes;
        let tenant = asked.tenant.clone();
        let lane = self.lanes.entry(tenant.clone()).or_insert_with(|| {
            self.turns.push_back(tenant.clone());
            Lane { left: weight(&self.weights, &tenant), ..Lane::default() }
        });
        lane.places.push_back(waiter);
        lane.present += 1;
        if let Waiter::Execution(id) = waiter {
            self.arrivals.push_back((now, id));
        }
        self.present.insert(waiter, asked);
    }

    /// For one who had been served and lost its worker: it does not queue again.
    pub(crate) fn push_front(&mut self, waiter: Waiter) {
        self.present.insert(waiter, Asked::default());
        self.lanes.entry(None).or_insert_with(|| {
            self.turns.push_back(None);
            Lane { left: 1, ..Lane::default() }
        });
        if let Some(lane) = self.lanes.get_mut(&None) {
            lane.present += 1;
        }
        self.returned.push_front(waiter);
    }

    /// The next one, and what it has asked for.
    pub(crate) fn pop(&mut self) -> Option<(Waiter, Asked)> {
        while let Some(waiter) = self.returned.pop_front() {
            if let Some(asked) = self.take(waiter) {
                return Some((waiter, asked));
            }
        }
        while let Some(tenant) = self.turns.front().cloned() {
            let Some(waiter) = self.lanes.get_mut(&tenant).and_then(|lane| lane.places.pop_front()) else {
                self.turns.pop_front();
                self.lanes.remove(&tenant);
                continue;
            };
            if let Some(asked) = self.take(waiter) {
                self.served(&tenant);
                return Some((waiter, asked));
            }
        }
        None
    }

    /// One of this tenant was served in its turn; when that is over, the next one has it.
    fn served(&mut self, tenant: &Option<Tenant>) {
        let Some(lane) = self.lanes.get_mut(tenant) else { return };
        lane.left = lane.left.saturating_sub(1);
        if lane.left == 0 {
            lane.left = weight(&self.weights, tenant);
            self.turns.rotate_left(1);
        }
    }

    /// Whether `waiter` was there.
    pub(crate) fn remove(&mut self, waiter: Waiter) -> bool {
        self.take(waiter).is_some()
    }

    fn take(&mut self, waiter: Waiter) -> Option<Asked> {
        let asked = self.present.remove(&waiter)?;
        self.bytes -= asked.bytes;
        if let Some(lane) = self.lanes.get_mut(&asked.tenant) {
            lane.present -= 1;
        }
        Some(asked)
    }

    /// Takes out an execution that has waited for this long.
    pub(crate) fn overdue(&mut self, limit: Duration, now: Instant) -> Option<ExecutionId> {
        let since = self.oldest()?;
        let due = since.checked_add(limit).is_some_and(|due| due <= now);
        let (_, id) = self.arrivals.pop_front_if(|_| due)?;
        self.remove(Waiter::Execution(id)).then_some(id)
    }

    /// Since when the execution has waited that has waited longest.
    pub(crate) fn oldest(&mut self) -> Option<Instant> {
        while let Some((since, id)) = self.arrivals.front() {
            if self.present.contains_key(&Waiter::Execution(*id)) {
                return Some(*since);
            }
            self.arrivals.pop_front();
        }
        None
    }

    /// Keeps abandoned places from outgrowing the line.
    fn tidy(&mut self) {
        let too_many = 2 * self.present.len() + 16;
        if self.arrivals.len() > too_many {
            self.arrivals.retain(|(_, id)| self.present.contains_key(&Waiter::Execution(*id)));
            for lane in self.lanes.values_mut() {
                lane.places.retain(|waiter| self.present.contains_key(waiter));
            }
        }
    }
}

fn weight(weights: &BTreeMap<Tenant, u32>, tenant: &Option<Tenant>) -> u32 {
    tenant.as_ref().and_then(|tenant| weights.get(tenant)).copied().unwrap_or(1).max(1)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "some instant has to come first")]
mod tests {
    use super::*;

    fn waiter(number: u64) -> Waiter {
        Waiter::Execution(ExecutionId(number))
    }

    fn of(tenant: Tenant) -> Asked {
        Asked { tenant: Some(tenant), ..Asked::default() }
    }

    fn rest(line: &mut Line) -> Vec<Waiter> {
        std::iter::from_fn(|| line.pop()).map(|(waiter, _)| waiter).collect()
    }

    #[test]
    fn who_leaves_is_skipped_and_who_lost_its_worker_comes_first() {
        let mut line = Line::default();
        for number in 1..=3 {
            line.push_back(waiter(number), Asked::default(), Instant::now());
        }
        assert!(line.remove(waiter(1)));
        assert!(!line.remove(waiter(1)));
        line.push_front(waiter(9));
        assert_eq!((line.len(), line.len_of(&None)), (3, 3));
        assert_eq!(rest(&mut line), [waiter(9), waiter(2), waiter(3)]);
        assert!(line.is_empty() && line.turns.is_empty() && line.lanes.is_empty());
    }

    #[test]
    fn tenants_take_turns_by_their_weights() {
        let (noisy, quiet, heavy) = (Tenant::from("noisy"), Tenant::from("quiet"), Tenant::from("heavy"));
        let mut line = Line::new(BTreeMap::from([(heavy.clone(), 3)]));
        for number in 0..100 {
            line.push_back(waiter(number), of(noisy.clone()), Instant::now());
        }
        for number in 100..106 {
            line.push_back(waiter(number), of(heavy.clone()), Instant::now());
        }
        line.push_back(waiter(200), of(quiet.clone()), Instant::now());
        assert_eq!(line.len_of(&Some(noisy)), 100);
        let order: Vec<_> = rest(&mut line).into_iter().take(10).collect();
        let expected = [0, 100, 101, 102, 200, 1, 103, 104, 105, 2];
        assert_eq!(order, expected.map(waiter));
    }

    #[test]
    fn who_waited_too_long_is_found_in_the_order_of_coming() {
        let mut line = Line::default();
        let begun = Instant::now();
        for number in 0..4 {
            let now = begun + Duration::from_secs(number);
            line.push_back(waiter(number), of(Tenant::from(number.to_string())), now);
        }
        line.remove(waiter(0));
        line.push_front(waiter(9));
        let (limit, now) = (Duration::from_secs(10), begun + Duration::from_secs(12));
        let overdue: Vec<_> = std::iter::from_fn(|| line.overdue(limit, now)).collect();
        assert_eq!(overdue, [ExecutionId(1), ExecutionId(2)]);
        assert_eq!(line.oldest(), Some(begun + Duration::from_secs(3)));
        assert_eq!(rest(&mut line), [waiter(9), waiter(3)]);
    }

    #[test]
    fn abandoned_places_do_not_pile_up() {
        let mut line = Line::default();
        for number in 0..10_000 {
            line.push_back(waiter(number), Asked::default(), Instant::now());
            line.remove(waiter(number));
        }
        let places = line.arrivals.len() + line.lanes.values().map(|lane| lane.places.len()).sum::<usize>();
        assert!(places < 100, "{places} places for nobody");
    }

    /// P11: whoever leaves, in whatever way, takes its bytes along.
    #[test]
    fn what_waits_is_known_in_bytes() {
        let mut line = Line::default();
        for number in 0..4 {
            line.push_back(waiter(number), Asked { bytes: 10, ..Asked::default() }, Instant::now());
        }
        assert_eq!(line.bytes(), 40);
        line.remove(waiter(0));
        line.remove(waiter(0));
        line.push_front(waiter(9));
        assert_eq!(line.bytes(), 30);
        assert_eq!(line.pop().map(|(waiter, asked)| (waiter, asked.bytes)), Some((waiter(9), 0)));
        let long = Instant::now() + Duration::from_secs(60);
        assert_eq!(line.overdue(Duration::from_secs(1), long), Some(ExecutionId(1)));
        rest(&mut line);
        assert_eq!(line.bytes(), 0);
    }
}
