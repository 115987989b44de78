//! The waiting line: first in, first out, bounded, and a place given up costs nothing.

use std::collections::{HashSet, VecDeque};

use crate::{machine::supervisor::LeaseId, protocol::ExecutionId};

/// Someone who waits for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Waiter {
    Execution(ExecutionId),
    Lease(LeaseId),
}

/// A line of waiters. Those who left are skipped when their place is reached, so leaving is O(1).
#[derive(Debug, Default)]
pub(crate) struct Line {
    places: VecDeque<Waiter>,
    present: HashSet<Waiter>,
}

impl Line {
    pub(crate) fn len(&self) -> usize {
        self.present.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.present.is_empty()
    }

    pub(crate) fn push_back(&mut self, waiter: Waiter) {
        self.tidy();
        self.present.insert(waiter);
        self.places.push_back(waiter);
    }

    /// For one who had been served and lost its worker: it does not queue again.
    pub(crate) fn push_front(&mut self, waiter: Waiter) {
        self.present.insert(waiter);
        self.places.push_front(waiter);
    }

    pub(crate) fn pop(&mut self) -> Option<Waiter> {
        loop {
            let waiter = self.places.pop_front()?;
            if self.present.remove(&waiter) {
                return Some(waiter);
            }
        }
    }

    /// Whether `waiter` was there.
    pub(crate) fn remove(&mut self, waiter: Waiter) -> bool {
        self.present.remove(&waiter)
    }

    /// Keeps abandoned places from outgrowing the line.
    fn tidy(&mut self) {
        if self.places.len() > 2 * self.present.len() + 16 {
            self.places.retain(|waiter| self.present.contains(waiter));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiter(number: u64) -> Waiter {
        Waiter::Execution(ExecutionId(number))
    }

    #[test]
    fn who_leaves_is_skipped_and_who_lost_its_worker_comes_first() {
        let mut line = Line::default();
        for number in 1..=3 {
            line.push_back(waiter(number));
        }
        assert!(line.remove(waiter(1)));
        assert!(!line.remove(waiter(1)));
        line.push_front(waiter(9));
        assert_eq!(line.len(), 3);
        let order: Vec<_> = std::iter::from_fn(|| line.pop()).collect();
        assert_eq!(order, [waiter(9), waiter(2), waiter(3)]);
    }

    #[test]
    fn abandoned_places_do_not_pile_up() {
        let mut line = Line::default();
        for number in 0..10_000 {
            line.push_back(waiter(number));
            line.remove(waiter(number));
        }
        assert!(line.places.len() < 100, "{} places for nobody", line.places.len());
    }
}
