//! What has a handle: what is there, and what became of what was. Decided without a clock: `now` is an argument.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

/// Who owns a thing: the name of a principal.
pub(crate) type Owner = Arc<str>;

/// Ended things that are remembered, so that whoever asks is told when and why.
pub(crate) const TOMBSTONES_MAX: usize = 10_000;

/// Things with handles, each of one owner.
#[derive(Debug)]
pub(crate) struct Table<T> {
    things: HashMap<Arc<str>, Thing<T>>,
    /// How many each owner has that have not ended.
    running: BTreeMap<Owner, usize>,
    /// Those that have ended and are kept, the oldest first, with what each weighs.
    ended: VecDeque<(Instant, Arc<str>, usize)>,
    ended_weight: usize,
    tombstones: HashMap<Arc<str>, Tombstone>,
    tombstone_order: VecDeque<Arc<str>>,
    retention: Retention,
}

/// How long things are kept.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    /// Most that have not ended, of one owner.
    pub(crate) running_max: usize,
    /// How long one that has ended is kept.
    pub(crate) keep: Duration,
    /// What all of those may weigh, in bytes.
    pub(crate) weight_max: usize,
}

#[derive(Debug)]
struct Thing<T> {
    owner: Owner,
    value: T,
    has_ended: bool,
}

/// What became of a thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tombstone {
    owner: Owner,
    /// When, in RFC 3339.
    pub(crate) at: String,
    pub(crate) why: Arc<str>,
}

/// What is found under a handle.
#[derive(Debug, PartialEq)]
pub(crate) enum Found<T> {
    Here(T),
    Gone(Tombstone),
    /// Or somebody else's, which nobody is told.
    Never,
}

/// What left the table.
pub(crate) struct Left<T> {
    pub(crate) handle: Arc<str>,
    pub(crate) value: T,
}

impl<T: Clone> Table<T> {
    pub(crate) fn new(retention: Retention) -> Self {
        Self {
            things: HashMap::new(),
            running: BTreeMap::new(),
            ended: VecDeque::new(),
            ended_weight: 0,
            tombstones: HashMap::new(),
            tombstone_order: VecDeque::new(),
            retention,
        }
    }

    /// Takes a place for a thing of this owner, unless it has as many as it may: how many that is. [`insert`](Self::insert)
    /// or [`give_back`](Self::give_back) follows.
    pub(crate) fn reserve(&mut self, owner: &Owner, max: Option<usize>) -> Result<(), usize> {
        let max = max.unwrap_or(self.retention.running_max);
        let running = self.running.entry(Arc::clone(owner)).or_default();
        if *running >= max {
            return Err(max);
        }
        *running += 1;
        Ok(())
    }

    /// The place is not used.
    pub(crate) fn give_back(&mut self, owner: &Owner) {
        if let Some(running) = self.running.get_mut(owner) {
            *running -= 1;
            if *running == 0 {
                self.running.remove(owner);
            }
        }
    }

    /// Puts a thing into its place.
    pub(crate) fn insert(&mut self, handle: Arc<str>, owner: Owner, value: T) {
        self.things.insert(handle, Thing { owner, value, has_ended: false });
    }

    /// The thing has ended, and is kept for a while. It weighs so many bytes.
    pub(crate) fn end(&mut self, handle: &str, weight: usize, now: Instant) {
        let Some(thing) = self.things.get_mut(handle).filter(|thing| !thing.has_ended) else { return };
        thing.has_ended = true;
        let owner = Arc::clone(&thing.owner);
        self.ended.push_back((now, handle.into(), weight));
        self.ended_weight += weight;
        self.give_back(&owner);
    }

    /// Takes a thing out that has not ended; it is remembered why.
    pub(crate) fn remove(&mut self, handle: &str, at: String, why: &str) -> Option<T> {
        let thing = self.things.remove(handle)?;
        if !thing.has_ended {
            self.give_back(&thing.owner);
        }
        self.add_tombstone(handle.into(), Tombstone { owner: thing.owner, at, why: why.into() });
        Some(thing.value)
    }

    /// Takes out what has been kept for long enough, or weighs too much.
    pub(crate) fn sweep(&mut self, now: Instant, at: impl Fn() -> String) -> Vec<Left<T>> {
        let mut left = Vec::new();
        while let Some((ended, handle, weight)) = self.ended.front() {
            let old = now.saturating_duration_since(*ended) >= self.retention.keep;
            if !old && self.ended_weight <= self.retention.weight_max {
                break;
            }
            let why = if old {
                "it ended and was kept for its time"
            } else {
                "it ended, and newer ones needed its room"
            };
            let (handle, weight) = (Arc::clone(handle), *weight);
            self.ended_weight -= weight;
            self.ended.pop_front();
            if let Some(value) = self.remove(&handle, at(), why) {
                left.push(Left { handle, value });
            }
        }
        left
    }

    fn add_tombstone(&mut self, handle: Arc<str>, tombstone: Tombstone) {
        self.tombstones.insert(Arc::clone(&handle), tombstone);
        self.tombstone_order.push_back(handle);
        if self.tombstone_order.len() > TOMBSTONES_MAX
            && let Some(oldest) = self.tombstone_order.pop_front()
        {
            self.tombstones.remove(&oldest);
        }
    }

    pub(crate) fn find(&self, owner: &str, handle: &str) -> Found<T> {
        if let Some(thing) = self.things.get(handle).filter(|thing| &*thing.owner == owner) {
            return Found::Here(thing.value.clone());
        }
        match self.tombstones.get(handle).filter(|tombstone| &*tombstone.owner == owner) {
            Some(tombstone) => Found::Gone(tombstone.clone()),
            None => Found::Never,
        }
    }

    /// All things of an owner, by their handles.
    pub(crate) fn of(&self, owner: &str) -> Vec<(Arc<str>, T)> {
        let own = self.things.iter().filter(|(_, thing)| &*thing.owner == owner);
        let mut found: Vec<_> =
            own.map(|(handle, thing)| (Arc::clone(handle), thing.value.clone())).collect();
        found.sort_by(|one, other| one.0.cmp(&other.0));
        found
    }

    /// All things.
    pub(crate) fn all(&self) -> Vec<(Arc<str>, T)> {
        self.things.iter().map(|(handle, thing)| (Arc::clone(handle), thing.value.clone())).collect()
    }

    /// How many have not ended, and how many are kept.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.running.values().sum(), self.ended.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETENTION: Retention =
        Retention { running_max: 2, keep: Duration::from_secs(600), weight_max: 100 };

    fn at() -> String {
        "then".into()
    }

    fn table() -> (Table<u32>, Owner, Owner) {
        (Table::new(RETENTION), "a".into(), "b".into())
    }

    fn add(table: &mut Table<u32>, owner: &Owner, handle: &str, value: u32) {
        table.reserve(owner, None).unwrap();
        table.insert(handle.into(), Arc::clone(owner), value);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_somebody_elses_was_never_there() {
        let (mut table, a, b) = table();
        add(&mut table, &a, "x", 1);
        assert_eq!(table.find(&a, "x"), Found::Here(1));
        assert_eq!(table.find(&b, "x"), Found::Never);
        table.remove("x", at(), "it was deleted");
        assert!(matches!(table.find(&a, "x"), Found::Gone(tombstone) if &*tombstone.why == "it was deleted"));
        assert_eq!((table.find(&b, "x"), table.find(&a, "y")), (Found::Never, Found::Never));
    }

    /// G26, where it is decided.
    #[tokio::test(start_paused = true)]
    async fn an_owner_has_as_many_as_it_may_and_no_other_pays_for_it() {
        let (mut table, a, b) = table();
        add(&mut table, &a, "x", 1);
        table.reserve(&a, None).unwrap();
        assert_eq!(table.reserve(&a, None), Err(2));
        add(&mut table, &b, "y", 1);
        table.give_back(&a);
        add(&mut table, &a, "z", 1);
        table.end("x", 1, Instant::now());
        table.end("x", 1, Instant::now());
        assert_eq!(table.reserve(&a, None), Ok(()), "one that has ended takes no place");
        assert_eq!(table.reserve(&a, None), Err(2));
        assert_eq!(table.counts(), (3, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_ended_is_kept_for_its_time_and_within_its_weight() {
        let (mut table, a, _) = table();
        let now = Instant::now();
        for (handle, value) in [("x", 1), ("y", 2), ("z", 3)] {
            add(&mut table, &a, handle, value);
            table.end(handle, 40, now);
        }
        let left: Vec<_> = table.sweep(now, at).into_iter().map(|left| left.value).collect();
        assert_eq!(left, [1], "three weigh 120");
        assert!(matches!(table.find(&a, "x"), Found::Gone(tombstone) if tombstone.why.contains("room")));
        let later = now + RETENTION.keep;
        assert_eq!(table.sweep(later - Duration::from_nanos(1), at).len(), 0);
        assert_eq!(table.sweep(later, at).len(), 2);
        assert!(matches!(table.find(&a, "z"), Found::Gone(tombstone) if tombstone.why.contains("time")));
    }

    #[tokio::test(start_paused = true)]
    async fn as_many_graves_are_remembered_as_there_is_room_for() {
        let (mut table, a, _) = table();
        for number in 0..=TOMBSTONES_MAX {
            add(&mut table, &a, &number.to_string(), 0);
            table.remove(&number.to_string(), at(), "it ended");
        }
        assert_eq!(table.find(&a, "0"), Found::Never);
        assert!(matches!(table.find(&a, "1"), Found::Gone(_)));
    }
}
