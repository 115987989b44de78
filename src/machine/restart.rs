//! When a dead worker's place is filled again, and when the pool gives up.
//!
//! Intensity in a sliding window is OTP's rule for supervisors; the doubling wait with jitter keeps a broken
//! environment from being hammered until that rule strikes.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::config::RestartPolicy;

/// What is remembered of deaths.
#[derive(Debug)]
pub(crate) struct Restarts {
    policy: RestartPolicy,
    deaths: VecDeque<Instant>,
    in_a_row: u32,
}

/// What follows a death.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Start again after this wait.
    Wait(Duration),
    /// Too many died: start no more.
    GiveUp,
}

impl Restarts {
    pub(crate) fn new(policy: RestartPolicy) -> Self {
        Self { policy, deaths: VecDeque::new(), in_a_row: 0 }
    }

    /// A worker answered an execution: whatever was wrong with starting is over.
    pub(crate) fn worked(&mut self) {
        self.in_a_row = 0;
        self.deaths.clear();
    }

    /// A worker died that had not answered an execution. `jitter` is in 0..=1.
    pub(crate) fn died(&mut self, lived: Duration, now: Instant, jitter: f64) -> Verdict {
        if lived >= self.policy.stable_after {
            self.worked();
            return Verdict::Wait(Duration::ZERO);
        }
        self.deaths.push_back(now);
        while self.deaths.front().is_some_and(|death| now.duration_since(*death) > self.policy.window) {
            self.deaths.pop_front();
        }
        if self.deaths.len() > self.policy.intensity as usize {
            return Verdict::GiveUp;
        }
        self.in_a_row = self.in_a_row.saturating_add(1);
        Verdict::Wait(backoff(self.in_a_row, &self.policy, jitter))
    }
}

/// Nothing after the first death, then doubling up to the maximum, with up to half taken off by `jitter`.
fn backoff(deaths: u32, policy: &RestartPolicy, jitter: f64) -> Duration {
    let Some(doublings) = deaths.checked_sub(2) else { return Duration::ZERO };
    let doubled = policy.min_backoff.saturating_mul(2_u32.saturating_pow(doublings));
    doubled.min(policy.max_backoff).mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "some instant has to come first")]
mod tests {
    use super::*;

    fn policy() -> RestartPolicy {
        RestartPolicy {
            min_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(1),
            intensity: 3,
            window: Duration::from_secs(60),
            stable_after: Duration::from_secs(10),
        }
    }

    #[test]
    fn backoff_doubles_up_to_its_maximum_and_jitter_takes_up_to_half() {
        for (deaths, jitter, expected_ms) in [
            (0, 0.0, 0),
            (1, 0.0, 0),
            (2, 0.0, 100),
            (3, 0.0, 200),
            (3, 1.0, 100),
            (5, 0.0, 800),
            (6, 0.0, 1_000),
            (u32::MAX, 0.5, 750),
        ] {
            let wait = backoff(deaths, &policy(), jitter);
            assert_eq!(wait, Duration::from_millis(expected_ms), "after {deaths} deaths, jitter {jitter}");
        }
    }

    /// Fault 54.
    #[test]
    fn more_deaths_than_the_intensity_within_the_window_give_up() {
        let mut restarts = Restarts::new(policy());
        let now = Instant::now();
        for _ in 0..3 {
            assert!(matches!(restarts.died(Duration::ZERO, now, 0.0), Verdict::Wait(_)));
        }
        assert_eq!(restarts.died(Duration::ZERO, now, 0.0), Verdict::GiveUp);
    }

    /// Fault 55.
    #[test]
    fn slow_flapping_below_the_intensity_goes_on() {
        let mut restarts = Restarts::new(policy());
        let mut now = Instant::now();
        for _ in 0..100 {
            now += Duration::from_secs(21);
            assert!(matches!(restarts.died(Duration::ZERO, now, 0.0), Verdict::Wait(_)));
        }
    }

    #[test]
    fn a_worker_that_answered_or_lived_long_clears_the_count() {
        let mut restarts = Restarts::new(policy());
        let now = Instant::now();
        for _ in 0..3 {
            restarts.died(Duration::ZERO, now, 0.0);
        }
        restarts.worked();
        assert_eq!(restarts.died(Duration::ZERO, now, 0.0), Verdict::Wait(Duration::ZERO));
        assert_eq!(restarts.died(Duration::from_secs(10), now, 0.0), Verdict::Wait(Duration::ZERO));
        assert_eq!(restarts.died(Duration::ZERO, now, 0.0), Verdict::Wait(Duration::ZERO));
    }
}
