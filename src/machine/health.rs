//! Whether a worker that says nothing is alive.
//!
//! A verdict needs two witnesses: the worker, which does not answer, and the operating system, which says that it does
//! nothing either. A long call of C code that holds the interpreter is no death, and neither is a machine that was
//! suspended: time is counted in looks that were really taken.

use std::time::Duration;

use crate::{
    config::{LOOK_EVERY, STOPPED_LOOKS},
    status::Vitals,
};

/// A worker that used less than this part of a processor while it was asked did nothing.
const ASLEEP: f64 = 0.05;

/// What is known of a worker's health.
#[derive(Debug, Default)]
pub(crate) struct Health {
    /// Looks since it said anything.
    quiet: u32,
    /// Looks in a row that found it stopped.
    stopped: u32,
    /// Its processor time when it was asked for a sign of life, if it was seen then.
    cpu_when_asked: Option<Duration>,
}

/// What a look comes to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sign {
    Well,
    /// It has been quiet for long: ask it.
    Quiet,
    /// It is stopped, as by SIGSTOP, and nobody continues it.
    Stopped,
    /// It does not answer, and does nothing, though it has nothing to run.
    Dead {
        after: Duration,
    },
}

impl Health {
    /// The worker said something.
    pub(crate) fn heard(&mut self) {
        (self.quiet, self.cpu_when_asked) = (0, None);
    }

    /// One look. `free`: it runs nothing, so it would answer at once.
    pub(crate) fn look(&mut self, seen: Option<Vitals>, free: bool, limit: Duration) -> Sign {
        self.stopped = if seen.is_some_and(|seen| seen.stopped) { self.stopped + 1 } else { 0 };
        if self.stopped >= STOPPED_LOOKS {
            return Sign::Stopped;
        }
        self.quiet = self.quiet.saturating_add(1);
        let limit_looks = looks(limit);
        if self.quiet == limit_looks.div_ceil(2) {
            self.cpu_when_asked = seen.map(|seen| seen.cpu_time);
            return Sign::Quiet;
        }
        if !free || self.quiet < limit_looks {
            return Sign::Well;
        }
        let (Some(before), Some(seen)) = (self.cpu_when_asked, seen) else { return Sign::Well };
        let asked = LOOK_EVERY * (self.quiet - limit_looks.div_ceil(2));
        let slept = seen.cpu_time.saturating_sub(before) <= asked.mul_f64(ASLEEP);
        if slept { Sign::Dead { after: LOOK_EVERY * self.quiet } } else { Sign::Well }
    }

    /// Whether it was asked and has not answered within the limit. It may still be busy with one long call.
    pub(crate) fn is_unresponsive(&self, limit: Duration) -> bool {
        self.quiet >= looks(limit)
    }
}

/// How many looks a time is, at least two: one that asks, and one that finds no answer.
fn looks(time: Duration) -> u32 {
    u32::try_from(time.as_millis() / LOOK_EVERY.as_millis()).unwrap_or(u32::MAX).max(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);

    /// Looks every second at a worker that uses this much of a processor and says nothing.
    fn looks_at(free: bool, stopped: bool, busy: f64, count: u32) -> (Health, Vec<Sign>) {
        let mut health = Health::default();
        let vitals = |second: u32| Vitals { cpu_time: LOOK_EVERY.mul_f64(busy) * second, stopped, memory: 1 };
        let signs = (1..=count).map(|second| health.look(Some(vitals(second)), free, LIMIT)).collect();
        (health, signs)
    }

    /// F5, faults 19 and 20.
    #[test]
    fn a_stopped_worker_is_found_whether_it_runs_something_or_not() {
        for free in [true, false] {
            let (_, signs) = looks_at(free, true, 0.0, 3);
            assert_eq!(signs, [Sign::Well, Sign::Well, Sign::Stopped]);
        }
    }

    /// Somebody who stops and continues it, as a debugger does, ends nothing.
    #[test]
    fn a_worker_that_is_continued_in_between_is_not_stopped() {
        let mut health = Health::default();
        for look in 0..30 {
            let stopped = look % STOPPED_LOOKS != 0;
            let seen = Vitals { cpu_time: LOOK_EVERY * look, stopped, memory: 1 };
            assert_ne!(health.look(Some(seen), false, LIMIT), Sign::Stopped, "look {look}");
        }
    }

    /// B18.
    #[test]
    fn who_is_free_and_neither_answers_nor_does_anything_is_dead() {
        let (_, signs) = looks_at(true, false, 0.0, 30);
        assert_eq!(signs[14], Sign::Quiet);
        assert_eq!(signs[29], Sign::Dead { after: LIMIT });
        assert!(signs.iter().filter(|sign| **sign == Sign::Well).count() == 28);
    }

    /// F5: one witness is not enough.
    #[test]
    fn a_long_call_is_not_a_death_and_neither_is_silence_that_nobody_can_explain() {
        let (health, signs) = looks_at(true, false, 0.9, 300);
        assert!(signs.iter().all(|sign| matches!(sign, Sign::Well | Sign::Quiet)));
        assert!(health.is_unresponsive(LIMIT));
        let (health, signs) = looks_at(false, false, 0.0, 300);
        assert!(signs.iter().all(|sign| matches!(sign, Sign::Well | Sign::Quiet)), "it runs something");
        assert!(health.is_unresponsive(LIMIT));
        let mut unseen = Health::default();
        assert!((0..300).all(|_| matches!(unseen.look(None, true, LIMIT), Sign::Well | Sign::Quiet)));
    }

    #[test]
    fn a_word_from_it_begins_the_count_anew() {
        let (mut health, _) = looks_at(true, false, 0.0, 29);
        health.heard();
        let vitals = Vitals { cpu_time: Duration::ZERO, stopped: false, memory: 1 };
        assert_eq!(health.look(Some(vitals), true, LIMIT), Sign::Well);
        assert!(!health.is_unresponsive(LIMIT));
    }
}
