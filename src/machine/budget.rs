//! Processor time that an execution may use: when to look, and when it is used up.

use std::time::Duration;

use crate::config::LOOK_EVERY;

/// The kernel counts in steps of this.
const TICK: Duration = Duration::from_millis(10);

/// What one execution may use, and what its worker had used before it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    limit: Duration,
    before: Option<Duration>,
}

/// What a measurement comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Measure again after this time.
    Within(Duration),
    /// It used this much, which is too much.
    Exceeded(Duration),
}

impl Budget {
    pub(crate) fn new(limit: Duration) -> Self {
        Self { limit, before: None }
    }

    /// The worker has used `cpu_time` in its life. The first measurement is made before the code runs.
    pub(crate) fn measured(&mut self, cpu_time: Duration) -> Finding {
        let used = cpu_time.saturating_sub(*self.before.get_or_insert(cpu_time));
        if used > self.limit {
            return Finding::Exceeded(used);
        }
        // Two threads use it up twice as fast. Never sooner than the figure can have changed.
        Finding::Within(((self.limit - used) / 2).clamp(TICK, LOOK_EVERY))
    }

    pub(crate) fn limit(&self) -> Duration {
        self.limit
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
}
