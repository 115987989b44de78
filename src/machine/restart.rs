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
    /// Workers that were born by the last death that counts.
    counted: u64,
}

/// A worker that died without having answered an execution.
#[derive(Debug)]
pub(crate) struct Victim {
    /// How many were born before it, and it.
    pub(crate) birth: u64,
    /// How many were born by now.
    pub(crate) births: u64,
    pub(crate) lived: Duration,
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
        Self { policy, deaths: VecDeque::new(), in_a_row: 0, counted: 0 }
    }

    /// A worker answered an execution: whatever was wrong with starting is over.
    pub(crate) fn worked(&mut self) {
        self.in_a_row = 0;
        self.deaths.clear();
    }

    /// A worker died that had not answered an execution. Those that were alive together and die together count once:
    /// they had one reason, and a wide pool must not give up where a narrow one would try again. `jitter` is in 0..=1.
    pub(crate) fn died(&mut self, victim: &Victim, now: Instant, jitter: f64) -> Verdict {
        if victim.lived >= self.policy.stable_after {
            self.worked();
            return Verdict::Wait(Duration::ZERO);
        }
        if victim.birth <= self.counted {
            return Verdict::Wait(backoff(self.in_a_row, &self.policy, jitter));
        }
        self.counted = victim.births;
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

/// How many workers may be started within one second.
#[derive(Debug)]
pub(crate) struct Throttle {
    rate: u32,
    starts: VecDeque<Instant>,
    /// Whether somebody was refused since the last one passed.
    refused: bool,
}

impl Throttle {
    const WINDOW: Duration = Duration::from_secs(1);

    pub(crate) fn new(rate: u32) -> Self {
        Self { rate, starts: VecDeque::new(), refused: false }
    }

    /// Whether one more may be started now; if so, it counts.
    pub(crate) fn pass(&mut self, now: Instant) -> bool {
        while self.starts.front().is_some_and(|start| now.duration_since(*start) >= Self::WINDOW) {
            self.starts.pop_front();
        }
        self.refused = self.starts.len() >= self.rate as usize;
        if !self.refused {
            self.starts.push_back(now);
        }
        !self.refused
    }

    /// Until when none may be started, if that is so.
    pub(crate) fn closed_until(&self, now: Instant) -> Option<Instant> {
        let nth = self.starts.len().checked_sub(self.rate as usize)?;
        self.starts.get(nth).map(|start| *start + Self::WINDOW).filter(|opens| *opens > now)
    }

    /// When the next one may be started, if one was refused.
    pub(crate) fn opens(&self) -> Option<Instant> {
        self.starts.front().filter(|_| self.refused).map(|start| *start + Self::WINDOW)
    }
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
            probe_after: Duration::from_secs(60),
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

    /// The deaths of workers that live one after another, for no time or for this long.
    struct Line(Restarts, u64);

    impl Line {
        fn new() -> Self {
            Self(Restarts::new(policy()), 0)
        }

        fn next_dies(&mut self, lived: Duration, now: Instant) -> Verdict {
            self.1 += 1;
            self.0.died(&Victim { birth: self.1, births: self.1, lived }, now, 0.0)
        }
    }

    /// Fault 54.
    #[test]
    fn more_deaths_than_the_intensity_within_the_window_give_up() {
        let mut line = Line::new();
        let now = Instant::now();
        for _ in 0..3 {
            assert!(matches!(line.next_dies(Duration::ZERO, now), Verdict::Wait(_)));
        }
        assert_eq!(line.next_dies(Duration::ZERO, now), Verdict::GiveUp);
    }

    #[test]
    fn a_death_counts_until_the_window_is_over() {
        let (begin, window) = (Instant::now(), policy().window);
        for (later, gives_up) in [(window, true), (window + Duration::from_nanos(1), false)] {
            let mut line = Line::new();
            for _ in 0..3 {
                line.next_dies(Duration::ZERO, begin);
            }
            let verdict = line.next_dies(Duration::ZERO, begin + later);
            assert_eq!(verdict == Verdict::GiveUp, gives_up, "{later:?}: {verdict:?}");
        }
    }

    #[test]
    fn those_that_die_together_count_once() {
        let mut restarts = Restarts::new(policy());
        let now = Instant::now();
        for (round, expected_ms) in [(1, 0), (2, 100), (3, 200)] {
            for birth in 8 * round - 7..=8 * round {
                let victim = Victim { birth, births: 8 * round, lived: Duration::ZERO };
                let verdict = restarts.died(&victim, now, 0.0);
                assert_eq!(verdict, Verdict::Wait(Duration::from_millis(expected_ms)), "{victim:?}");
            }
        }
        let victim = Victim { birth: 25, births: 32, lived: Duration::ZERO };
        assert_eq!(restarts.died(&victim, now, 0.0), Verdict::GiveUp);
    }

    /// Fault 55.
    #[test]
    fn slow_flapping_below_the_intensity_goes_on() {
        let mut line = Line::new();
        let mut now = Instant::now();
        for _ in 0..100 {
            now += Duration::from_secs(21);
            assert!(matches!(line.next_dies(Duration::ZERO, now), Verdict::Wait(_)));
        }
    }

    #[test]
    fn a_worker_that_answered_or_lived_long_clears_the_count() {
        let mut line = Line::new();
        let now = Instant::now();
        for _ in 0..3 {
            line.next_dies(Duration::ZERO, now);
        }
        line.0.worked();
        assert_eq!(line.next_dies(Duration::ZERO, now), Verdict::Wait(Duration::ZERO));
        assert_eq!(line.next_dies(Duration::from_secs(10), now), Verdict::Wait(Duration::ZERO));
        assert_eq!(line.next_dies(Duration::ZERO, now), Verdict::Wait(Duration::ZERO));
    }

    /// F8.
    #[test]
    fn no_more_than_the_rate_start_in_any_second() {
        let mut throttle = Throttle::new(3);
        let begun = Instant::now();
        let at = |ms| begun + Duration::from_millis(ms);
        assert_eq!([0, 0, 400, 400, 999].map(|ms| throttle.pass(at(ms))), [true, true, true, false, false]);
        assert_eq!(throttle.opens(), Some(at(1_000)));
        assert_eq!([1_000, 1_000, 1_001].map(|ms| throttle.pass(at(ms))), [true, true, false]);
        assert_eq!(throttle.opens(), Some(at(1_400)));
    }
}
