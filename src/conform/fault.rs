//! Why a check did not pass.

use super::Verdict;

/// Why a check did not pass.
#[derive(Debug)]
pub(super) enum Fault {
    Wrong { expected: String, got: String },
    Skip(String),
}

impl Fault {
    pub(super) fn wrong(expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self::Wrong { expected: expected.into(), got: got.into() }
    }
}

/// Fails unless it is so.
pub(super) fn ensure(
    so: bool,
    expected: impl Into<String>,
    got: impl FnOnce() -> String,
) -> Result<(), Fault> {
    if so { Ok(()) } else { Err(Fault::wrong(expected, got())) }
}

impl From<Result<(), Fault>> for Verdict {
    fn from(done: Result<(), Fault>) -> Self {
        match done {
            Ok(()) => Self::Passed,
            Err(Fault::Wrong { expected, got }) => Self::Failed { expected, got },
            Err(Fault::Skip(why)) => Self::Skipped { why },
        }
    }
}
