//! The leases of a pool: who waits in the queue of which, how much that is, and which of them time alone will change. A
//! step asks that without walking over all of them.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    time::Instant,
};

use crate::{
    config::PoolConfig,
    machine::{
        restart::Restarts,
        slot::LeaseId,
        supervisor::{Sort, restore::Revivals, save::Saves},
    },
    outcome::Generation,
    protocol::ExecutionId,
};

/// The table.
#[derive(Debug, Default)]
pub(super) struct Leases {
    held: HashMap<LeaseId, Lease>,
    /// Where each of those waits that wait in the queue of a session.
    queues: HashMap<ExecutionId, LeaseId>,
    /// What they take in memory.
    bytes: usize,
    /// When which is restored or saved, as of the last `settle`.
    dues: HashMap<LeaseId, Due>,
    restores: BTreeSet<(Instant, LeaseId)>,
    saves: BTreeSet<(Instant, LeaseId)>,
    /// Those that may have changed since then.
    changed: Vec<LeaseId>,
}

/// What only time brings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Due {
    restore: Option<Instant>,
    save: Option<Instant>,
}

/// A lease that was granted.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) place: Held,
    /// The holder has gone; what was submitted still runs.
    pub(super) leaving: bool,
    pub(super) running: Option<(ExecutionId, Sort)>,
    queue: VecDeque<Waiting>,
    /// Executions that its workers were given: what its state may owe something to.
    pub(super) ran: u64,
    /// Of those, the ones that the last saved state knows of.
    pub(super) covered: u64,
    /// Of those, the ones before its last restore, of which its holder was told what is lost.
    pub(super) told: u64,
    pub(super) saves: Saves,
    pub(super) revivals: Revivals,
}

/// An execution in the queue of a leased session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) execution: ExecutionId,
    pub(super) sort: Sort,
    /// The generation that it may run in, if not any.
    pub(super) expects: Option<Generation>,
    /// What it takes in memory.
    pub(super) bytes: usize,
}

/// What the holder of a lease has.
#[derive(Debug)]
pub(super) enum Held {
    Slot(usize),
    /// Its worker died of this, and the next one of the slot, which is not started before that moment, is for its state.
    Restoring {
        slot: usize,
        not_before: Instant,
        why: String,
    },
    /// The session has ended, and the holder has not let go yet.
    Ended(String),
}

impl Lease {
    /// One that was just granted.
    pub(super) fn new(slot: usize, restarts: Restarts, now: Instant) -> Self {
        Self {
            place: Held::Slot(slot),
            leaving: false,
            running: None,
            queue: VecDeque::new(),
            ran: 0,
            covered: 0,
            told: 0,
            saves: Saves::new(now),
            revivals: Revivals::new(restarts),
        }
    }

    /// How many wait in its queue.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }
}

impl Leases {
    pub(super) fn get(&self, lease: &LeaseId) -> Option<&Lease> {
        self.held.get(lease)
    }

    pub(super) fn get_mut(&mut self, lease: &LeaseId) -> Option<&mut Lease> {
        let held = self.held.get_mut(lease)?;
        note(&mut self.changed, *lease);
        Some(held)
    }

    pub(super) fn insert(&mut self, lease: LeaseId, held: Lease) {
        note(&mut self.changed, lease);
        self.held.insert(lease, held);
    }

    /// Forgets a lease in whose queue nobody waits.
    pub(super) fn remove(&mut self, lease: &LeaseId) {
        note(&mut self.changed, *lease);
        let held = self.held.remove(lease);
        debug_assert!(held.is_none_or(|held| held.queue.is_empty()));
    }

    pub(super) fn push_back(&mut self, lease: LeaseId, waiting: Waiting) {
        self.push(lease, waiting, VecDeque::push_back);
    }

    pub(super) fn push_front(&mut self, lease: LeaseId, waiting: Waiting) {
        self.push(lease, waiting, VecDeque::push_front);
    }

    fn push(&mut self, lease: LeaseId, waiting: Waiting, push: fn(&mut VecDeque<Waiting>, Waiting)) {
        if let Some(held) = self.held.get_mut(&lease) {
            self.queues.insert(waiting.execution, lease);
            self.bytes += waiting.bytes;
            push(&mut held.queue, waiting);
        }
    }

    pub(super) fn pop_front(&mut self, lease: LeaseId) -> Option<Waiting> {
        let waiting = self.held.get_mut(&lease)?.queue.pop_front()?;
        self.gone(&waiting);
        Some(waiting)
    }

    /// Takes all out who wait in the queue of this session.
    pub(super) fn empty_queue(&mut self, lease: LeaseId) -> VecDeque<Waiting> {
        let queue = self.held.get_mut(&lease).map(|held| std::mem::take(&mut held.queue)).unwrap_or_default();
        queue.iter().for_each(|waiting| self.gone(waiting));
        queue
    }

    /// Takes all out who wait in any of the queues.
    pub(super) fn empty_queues(&mut self) -> impl Iterator<Item = Waiting> + '_ {
        self.queues.clear();
        self.bytes = 0;
        self.held.values_mut().flat_map(|held| std::mem::take(&mut held.queue))
    }

    /// Whether `execution` waited in the queue of a session.
    pub(super) fn leave(&mut self, execution: ExecutionId) -> bool {
        let Some(held) = self.queues.get(&execution).and_then(|lease| self.held.get_mut(lease)) else {
            return false;
        };
        let place = held.queue.iter().position(|waiting| waiting.execution == execution);
        let waiting = place.and_then(|place| held.queue.remove(place));
        waiting.inspect(|waiting| self.gone(waiting)).is_some()
    }

    fn gone(&mut self, waiting: &Waiting) {
        self.queues.remove(&waiting.execution);
        self.bytes -= waiting.bytes;
    }

    /// How many wait in all of the queues.
    pub(super) fn waiting(&self) -> usize {
        self.queues.len()
    }

    /// What they take in memory.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Finds out when those that have changed are restored or saved.
    pub(super) fn settle(&mut self, config: &PoolConfig) {
        while let Some(lease) = self.changed.pop() {
            let held = self.held.get(&lease);
            let due = held.map(|held| Due { restore: held.restores_at(), save: held.saves_at(config) });
            let new = due.unwrap_or_default();
            let old = match new == Due::default() {
                true => self.dues.remove(&lease),
                false => self.dues.insert(lease, new),
            };
            let old = old.unwrap_or_default();
            for (set, old, new) in
                [(&mut self.restores, old.restore, new.restore), (&mut self.saves, old.save, new.save)]
            {
                if old != new {
                    if let Some(old) = old {
                        set.remove(&(old, lease));
                    }
                    set.extend(new.map(|at| (at, lease)));
                }
            }
        }
    }

    /// Those that have waited for a save for long enough, in the order of their leases.
    pub(super) fn to_save(&self, now: Instant) -> Vec<LeaseId> {
        let due = self.saves.iter().take_while(|(at, _)| *at <= now);
        let mut due: Vec<_> = due.map(|(_, lease)| *lease).collect();
        due.sort_unstable();
        due
    }

    /// When the next one is restored or saved, after `now`.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        let next = |set: &BTreeSet<(Instant, LeaseId)>| {
            set.range((now, LeaseId(u64::MAX))..).next().map(|(at, _)| *at)
        };
        [next(&self.restores), next(&self.saves)].into_iter().flatten().min()
    }
}

fn note(changed: &mut Vec<LeaseId>, lease: LeaseId) {
    if changed.last() != Some(&lease) {
        changed.push(lease);
    }
}
