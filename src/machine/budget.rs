//! What an execution may use: when to look, and when it is used up.

use std::time::Duration;

use crate::{
    config::{LOOK_EVERY, MEMORY_LOOK_EVERY},
    outcome::{DeathCause, Failure},
    status::Vitals,
};

/// Code that begins beyond the soft limit may take this part of what its worker holds: a sixteenth.
const GROWTH: u64 = 16;
/// The kernel counts in steps of this.
const TICK: Duration = Duration::from_millis(10);

/// How much memory a worker may hold, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct MemoryLimits {
    /// Beyond this, what runs is stopped.
    pub(crate) soft: Option<u64>,
    /// Beyond this, the worker is killed.
    pub(crate) hard: Option<u64>,
}

impl MemoryLimits {
    /// Why the worker dies, if it holds more than it may.
    pub(crate) fn broken(&self, vitals: &Vitals) -> Option<DeathCause> {
        let limit = self.hard.filter(|limit| vitals.memory > *limit)?;
        Some(DeathCause::MemoryLimit { limit, used: vitals.memory })
    }
}

/// All that one execution may use. What it used too much of is told once.
#[derive(Debug)]
pub(crate) struct Meter {
    cpu: Option<Budget>,
    memory: MemoryLimits,
    begun: bool,
}

/// What one look at a meter comes to.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Reading {
    /// How the execution has failed by what it used.
    pub(crate) excess: Option<Failure>,
    /// Why its worker is to be killed.
    pub(crate) fatal: Option<DeathCause>,
    /// When to look again.
    pub(crate) again: Option<Duration>,
}

impl Meter {
    /// `None`: there is nothing to measure.
    pub(crate) fn new(memory: MemoryLimits) -> Option<Self> {
        (memory.soft.is_some() || memory.hard.is_some()).then_some(Self { cpu: None, memory, begun: false })
    }

    /// One that also measures processor time.
    pub(crate) fn with_cpu(meter: Option<Self>, limit: Duration) -> Self {
        let memory = meter.map(|meter| meter.memory).unwrap_or_default();
        Self { cpu: Some(Budget::new(limit)), memory, begun: false }
    }

    pub(crate) fn measured(&mut self, vitals: &Vitals) -> Reading {
        if !std::mem::replace(&mut self.begun, true) {
            // Code that finds the memory taken must be able to free it: it may not take more.
            let already = vitals.memory.saturating_add(vitals.memory / GROWTH);
            self.memory.soft = self.memory.soft.map(|soft| if vitals.memory > soft { already } else { soft });
        }
        let mut reading = Reading { fatal: self.memory.broken(vitals), ..Reading::default() };
        if let Some(budget) = &mut self.cpu {
            match budget.measured(vitals.cpu_time) {
                Finding::Within(wait) => reading.again = Some(wait),
                Finding::Exceeded(used) => {
                    reading.excess = Some(Failure::CpuLimit { limit: budget.limit, used });
                    self.cpu = None;
                }
            }
        }
        if let Some(limit) = self.memory.soft.take_if(|limit| vitals.memory > *limit) {
            reading.excess = Some(Failure::MemoryLimit { limit, used: vitals.memory });
        }
        if self.memory.soft.is_some() || self.memory.hard.is_some() {
            reading.again = Some(reading.again.map_or(MEMORY_LOOK_EVERY, |wait| wait.min(MEMORY_LOOK_EVERY)));
        }
        reading
    }
}

/// Processor time that one execution may use, and what its worker had used before it.
#[derive(Debug, PartialEq, Eq)]
struct Budget {
    limit: Duration,
    before: Option<Duration>,
}

/// What a measurement comes to.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    /// Measure again after this time.
    Within(Duration),
    /// It used this much, which is too much.
    Exceeded(Duration),
}

impl Budget {
    fn new(limit: Duration) -> Self {
        Self { limit, before: None }
    }

    /// The worker has used `cpu_time` in its life. The first measurement is made before the code runs.
    fn measured(&mut self, cpu_time: Duration) -> Finding {
        let used = cpu_time.saturating_sub(*self.before.get_or_insert(cpu_time));
        if used > self.limit {
            return Finding::Exceeded(used);
        }
        // Two threads use it up twice as fast. Never sooner than the figure can have changed.
        Finding::Within(((self.limit - used) / 2).clamp(TICK, LOOK_EVERY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// When a worker with so many busy threads is found out, and how often it was measured.
    fn found(limit: Duration, threads: u32) -> (Duration, u32) {
        let mut budget = Budget::new(limit);
        let (born, mut elapsed) = (Duration::from_secs(7), Duration::ZERO);
        for looks in 0.. {
            match budget.measured(born + elapsed * threads) {
                Finding::Within(wait) => elapsed += wait,
                Finding::Exceeded(used) => {
                    assert_eq!(used, elapsed * threads, "what it used before does not count");
                    return (elapsed, looks);
                }
            }
        }
        unreachable!("it was never found out")
    }

    #[test]
    fn one_thread_is_found_soon_and_with_few_looks() {
        for millis in [0, 5, 10, 100, 1_000, 60_000] {
            let limit = Duration::from_millis(millis);
            let (after, looks) = found(limit, 1);
            assert!(after > limit && after <= limit + TICK * 2, "{limit:?}: {after:?}");
            assert!(looks < 80, "{limit:?}: {looks} looks");
        }
    }

    #[test]
    fn many_threads_use_at_most_a_look_more() {
        for threads in [2, 3, 64] {
            let limit = Duration::from_secs(10);
            let (after, _) = found(limit, threads);
            assert!(after <= limit / threads + LOOK_EVERY, "{threads}: {after:?}");
        }
    }

    #[test]
    fn who_waits_is_measured_once_a_second_at_most() {
        let mut budget = Budget::new(Duration::from_secs(60));
        assert!((0..100).all(|_| budget.measured(Duration::from_secs(1)) == Finding::Within(LOOK_EVERY)));
    }

    fn holds(memory: u64) -> Vitals {
        Vitals { memory, cpu_time: Duration::ZERO, stopped: false }
    }

    /// What runs is stopped at the soft limit, which is told once; the worker dies at the hard one.
    #[test]
    fn memory_is_watched_until_the_worker_dies_of_it() {
        let mut meter = Meter::new(MemoryLimits { soft: Some(100), hard: Some(200) }).unwrap();
        let well = Reading { again: Some(MEMORY_LOOK_EVERY), ..Reading::default() };
        assert_eq!(meter.measured(&holds(100)), well);
        let excess = Some(Failure::MemoryLimit { limit: 100, used: 101 });
        assert_eq!(meter.measured(&holds(101)), Reading { excess, again: well.again, ..Reading::default() });
        assert_eq!(meter.measured(&holds(200)), well);
        let fatal = Some(DeathCause::MemoryLimit { limit: 200, used: 201 });
        assert_eq!(meter.measured(&holds(201)).fatal, fatal);
    }

    /// A session that is beyond the limit can still be used, to free what it holds.
    #[test]
    fn code_that_begins_beyond_the_limit_may_run_but_not_take_more() {
        let mut meter = Meter::new(MemoryLimits { soft: Some(100), hard: None }).unwrap();
        assert_eq!(meter.measured(&holds(160)).excess, None);
        assert_eq!(meter.measured(&holds(170)).excess, None);
        assert_eq!(meter.measured(&holds(171)).excess, Some(Failure::MemoryLimit { limit: 170, used: 171 }));
    }

    #[test]
    fn who_has_no_limit_is_not_measured() {
        assert!(Meter::new(MemoryLimits::default()).is_none());
        let mut meter = Meter::with_cpu(None, Duration::from_secs(1));
        assert_eq!(meter.measured(&holds(u64::MAX)).again, Some(Duration::from_millis(500)));
        let used = Vitals { cpu_time: Duration::from_secs(2), ..holds(0) };
        assert!(matches!(meter.measured(&used).excess, Some(Failure::CpuLimit { .. })));
        assert_eq!(meter.measured(&used), Reading::default(), "told once, and looked at no more");
    }
}
