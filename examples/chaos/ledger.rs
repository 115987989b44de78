//! A ledger that the code writes itself: a file for each request, and a byte in it for each time that its code ran.

use std::{
    fmt, fs, io,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use ostler::{CancelStage, Cancelled, Lost, Outcome, Phase, TimedOut};
use tempfile::TempDir;

/// The first act of all code, which finds the name of its file in `ledger`. Unbuffered, and the descriptor is gone at once:
/// code that writes to every descriptor it finds would write to it.
pub(crate) const FIRST_ACT: &str = "open(ledger, 'ab', 0).write(b'x')\n";

pub(crate) struct Ledger {
    folder: TempDir,
    told: Mutex<Vec<(u64, String, Told)>>,
}

/// What an outcome says of how often the code ran.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    Once,
    Never,
    /// It was stopped, or lost, and may have begun.
    AtMostOnce,
}

impl From<&Outcome> for Told {
    fn from(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Completed(_) => Self::Once,
            Outcome::Lost(Lost { started: false, .. })
            | Outcome::Cancelled(Cancelled { stage: CancelStage::Queued, .. })
            | Outcome::TimedOut(TimedOut { phase: Phase::Queued, .. }) => Self::Never,
            Outcome::Failed(_) | Outcome::Cancelled(_) | Outcome::TimedOut(_) | Outcome::Lost(_) => {
                Self::AtMostOnce
            }
        }
    }
}

/// What was told, against what ran.
#[derive(Default)]
pub(crate) struct Audit {
    completed: u64,
    unstarted: u64,
    begun: u64,
    not_begun: u64,
    pub(crate) wrong: Vec<String>,
}

impl Ledger {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { folder: tempfile::tempdir()?, told: Mutex::default() })
    }

    /// The file of a request.
    pub(crate) fn file(&self, n: u64) -> PathBuf {
        self.folder.path().join(n.to_string())
    }

    /// What its caller was told.
    pub(crate) fn told(&self, n: u64, name: &str, outcome: &Outcome) {
        let entry = (n, format!("{name}-{n}: {outcome}"), outcome.into());
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    /// It was not accepted.
    pub(crate) fn refused(&self, n: u64, name: &str) {
        let entry = (n, format!("{name}-{n}: refused"), Told::Never);
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
    }

    /// Compares, when nothing runs any more.
    pub(crate) fn audit(&self) -> Audit {
        let mut audit = Audit::default();
        for (n, what, told) in self.told.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let runs = fs::metadata(self.file(*n)).map_or(0, |file| file.len());
            let (count, holds) = match (told, runs) {
                (Told::Once, _) => (&mut audit.completed, runs == 1),
                (Told::Never, _) => (&mut audit.unstarted, runs == 0),
                (Told::AtMostOnce, 0) => (&mut audit.not_begun, true),
                (Told::AtMostOnce, _) => (&mut audit.begun, runs == 1),
            };
            *count += 1;
            if !holds {
                audit.wrong.push(format!("the code ran {runs} times of {what}"));
            }
        }
        audit
    }
}

impl fmt::Display for Audit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { completed, unstarted, begun, not_begun, wrong } = self;
        write!(
            f,
            "{completed} completed, {unstarted} told unstarted, of the others {begun} had begun and {not_begun} had not; {} wrong",
            wrong.len()
        )
    }
}
