//! What became of everything that ran: counts, the exit code, and the summary that a person reads.

use std::{fmt::Write as _, time::Duration};

use ostler::{CancelStage, DeathCause, Failure, Lost, LostCause, Outcome, json::seconds};
use serde::Serialize;

use crate::{exit::Exit, signals::Signals};

/// How one source ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    /// What it is called.
    pub(crate) label: String,
    /// How.
    pub(crate) end: End,
}

/// How a source ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// It was accepted, and ended so.
    Outcome(Outcome),
    /// The pool did not accept it.
    Refused(String),
}

/// The last event of `--json`.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(crate) struct Counts {
    event: &'static str,
    completed: usize,
    failed: usize,
    cancelled: usize,
    timed_out: usize,
    lost: usize,
    refused: usize,
    not_run: usize,
    duration: f64,
    exit_code: u8,
}

/// Counts how the sources ended; those that are missing among all of them were never tried.
pub(crate) fn counts(ended: &[Ended], all: usize, duration: Duration, exit: Exit) -> Counts {
    let (duration, not_run) = (seconds(duration), all.saturating_sub(ended.len()));
    let mut counts =
        Counts { event: "summary", duration, not_run, exit_code: exit.code(), ..Counts::default() };
    for ended in ended {
        *match &ended.end {
            End::Outcome(Outcome::Completed(_)) => &mut counts.completed,
            End::Outcome(Outcome::Failed(_)) => &mut counts.failed,
            End::Outcome(Outcome::Cancelled(_)) => &mut counts.cancelled,
            End::Outcome(Outcome::TimedOut(_)) => &mut counts.timed_out,
            End::Outcome(Outcome::Lost(_)) => &mut counts.lost,
            End::Refused(_) => &mut counts.refused,
        } += 1;
    }
    counts
}

/// The signal that ended a process, as a shell tells it.
fn signal(exit: &ostler::Exit) -> Option<u8> {
    match exit {
        ostler::Exit::Signal(signal) => u8::try_from(*signal).ok(),
        ostler::Exit::OutOfMemory => Some(9),
        ostler::Exit::Code(_) | ostler::Exit::Unknown => None,
    }
}

/// The exit code when nothing stopped the program: the worst of what happened.
pub(crate) fn exit(ended: &[Ended]) -> Exit {
    if let [Ended { end: End::Outcome(Outcome::Failed(Failure::Exit { code, .. })), .. }] = ended {
        // As Python does, and the operating system after it: the lowest eight bits.
        return Exit::Code(code.to_le_bytes()[0]);
    }
    if let [Ended { end: End::Outcome(Outcome::Lost(Lost { cause: LostCause::Died(death), .. })), .. }] =
        ended
        && death.cause == DeathCause::Itself
        && let Some(signal) = signal(&death.exit)
    {
        return Exit::Signal(signal);
    }
    // As a shell has it: Ctrl-C was typed at the terminal that it shares.
    if let [Ended { end: End::Outcome(Outcome::Cancelled(cancelled)), .. }] = ended
        && cancelled.stage == CancelStage::Interrupt
    {
        return Exit::Signal(Signals::INTERRUPT);
    }
    let absent = |ended: &Ended| {
        matches!(&ended.end, End::Outcome(Outcome::Lost(Lost { cause: LostCause::NotLaunched { .. }, .. })))
    };
    if !ended.is_empty() && ended.iter().all(absent) {
        return Exit::NotStarted;
    }
    let worst = ended.iter().map(|ended| match &ended.end {
        End::Outcome(Outcome::Completed(_)) => (0, Exit::Completed),
        // The program cancels only when it is stopped; then that is its exit code.
        End::Outcome(Outcome::Failed(_) | Outcome::Cancelled(_)) => (1, Exit::Failed),
        End::Outcome(Outcome::TimedOut(_)) => (2, Exit::TimedOut),
        End::Outcome(Outcome::Lost(_)) | End::Refused(_) => (3, Exit::Lost),
    });
    worst.max_by_key(|(rank, _)| *rank).map_or(Exit::Completed, |(_, exit)| exit)
}

/// What a person reads after several files, or calls.
pub(crate) fn text(ended: &[Ended], all: usize, of: &str, duration: Duration) -> String {
    let counts = counts(ended, all, duration, Exit::Completed);
    let parts: Vec<String> = [
        (counts.completed, "completed"),
        (counts.failed, "failed"),
        (counts.timed_out, "timed out"),
        (counts.lost, "lost"),
        (counts.cancelled, "cancelled"),
        (counts.refused, "refused"),
        (counts.not_run, "not run"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, word)| format!("{count} {word}"))
    .collect();
    let mut text = format!("{all} {of} in {:.1} s: {}", duration.as_secs_f64(), parts.join(", "));
    let bad: Vec<(&str, String)> = ended.iter().filter_map(trouble).collect();
    let width = bad.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0);
    for (label, why) in bad {
        let first = why.lines().next().unwrap_or_default();
        // Writing to a string does not fail.
        let _ = write!(text, "\n  {label:width$}  {first}");
    }
    text
}

fn trouble(ended: &Ended) -> Option<(&str, String)> {
    match &ended.end {
        End::Outcome(Outcome::Completed(_)) => None,
        End::Outcome(outcome) => Some((&ended.label, outcome.headline())),
        End::Refused(why) => Some((&ended.label, why.clone())),
    }
}

#[cfg(test)]
mod tests {
    use ostler::{Completion, Lost, LostCause, Phase, TimedOut};

    use super::*;

    fn ended(label: &str, outcome: Outcome) -> Ended {
        Ended { label: label.into(), end: End::Outcome(outcome) }
    }

    fn asked_to_exit(code: i32) -> Outcome {
        Outcome::Failed(Failure::Exit { code, message: None })
    }

    fn completed() -> Outcome {
        Outcome::Completed(Box::<Completion>::default())
    }

    fn timed_out() -> Outcome {
        Outcome::TimedOut(TimedOut::new(Duration::from_secs(2), Phase::Running))
    }

    fn lost() -> Outcome {
        Outcome::Lost(Lost { started: true, cause: LostCause::PoolFailed })
    }

    #[test]
    fn the_worst_outcome_is_the_exit_code() {
        for (outcomes, expected) in [
            (vec![completed(), completed()], 0),
            (vec![completed(), asked_to_exit(7)], 1),
            (vec![asked_to_exit(7), timed_out()], 4),
            (vec![timed_out(), lost(), completed()], 3),
            (vec![asked_to_exit(7)], 7),
            (vec![asked_to_exit(-1)], 255),
            (vec![asked_to_exit(256)], 0),
        ] {
            let ended: Vec<Ended> = outcomes.into_iter().map(|outcome| ended("a", outcome)).collect();
            assert_eq!(exit(&ended).code(), expected, "{ended:?}");
        }
    }

    #[test]
    fn the_summary_names_what_did_not_complete() {
        let ended =
            [ended("a.py", completed()), ended("jobs/b.py", asked_to_exit(7)), ended("c.py", timed_out())];
        let expected = "\
4 files in 1.2 s: 1 completed, 1 failed, 1 timed out, 1 not run
  jobs/b.py  the code asked to exit with code 7
  c.py       timed out after 2s while its code ran";
        assert_eq!(text(&ended, 4, "files", Duration::from_millis(1200)), expected);
    }
}
