//! How long those who wait will probably wait.

use std::time::Duration;

/// How much the newest execution counts for in the mean: as in the smoothed round trip of TCP (RFC 6298).
const NEWEST: f64 = 1.0 / 8.0;

/// Executions before a prediction is made.
const SAMPLES_MIN: u32 = 8;

/// The mean time that an execution holds a session.
#[derive(Debug, Default)]
pub(crate) struct WaitEstimate {
    samples: u32,
    mean: Duration,
}

impl WaitEstimate {
    /// An execution held its session for this long.
    pub(crate) fn took(&mut self, time: Duration) {
        self.samples = self.samples.saturating_add(1);
        let part = NEWEST.max(1.0 / f64::from(self.samples));
        self.mean = self.mean.mul_f64(1.0 - part) + time.mul_f64(part);
    }

    /// How long it takes until the last of `waiting` has a session, where `sessions` serve. `None`: too early to say.
    pub(crate) fn wait(&self, waiting: usize, sessions: usize) -> Option<Duration> {
        (self.samples >= SAMPLES_MIN).then(|| self.mean.mul_f64(waiting as f64 / sessions.max(1) as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn one_that_is_slow_weighs_an_eighth() {
        let mut wait_estimate = WaitEstimate::default();
        for _ in 0..8 {
            wait_estimate.took(SECOND);
        }
        wait_estimate.took(9 * SECOND);
        assert_eq!(wait_estimate.wait(1, 1), Some(2 * SECOND));
    }

    #[test]
    fn the_wait_is_the_mean_times_the_places_in_the_line() {
        let mut wait_estimate = WaitEstimate::default();
        for _ in 0..7 {
            wait_estimate.took(SECOND);
        }
        assert_eq!(wait_estimate.wait(4, 2), None, "too early");
        wait_estimate.took(SECOND);
        assert_eq!(wait_estimate.wait(4, 2), Some(2 * SECOND));
        for _ in 0..100 {
            wait_estimate.took(SECOND / 10);
        }
        assert!(
            wait_estimate.wait(10, 1).is_some_and(|wait| wait < SECOND + SECOND / 10),
            "old times are forgotten"
        );
    }
}
