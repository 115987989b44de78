//! How the program ends. The help of `ostler run` lists the same numbers.

use std::process::ExitCode;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// All completed.
    Completed,
    /// Some code failed, or something essential is missing.
    Failed,
    /// The code of a single file asked for this exit code.
    Code(u8),
    /// The command line, or a file that it names, is wrong; nothing ran.
    Usage,
    /// A worker was lost.
    Lost,
    /// A deadline passed.
    TimedOut,
    /// The pool did not start; nothing ran.
    NotStarted,
    /// Nobody reads the output any more.
    OutputClosed,
    /// This signal stopped it.
    Signal(u8),
}

impl Exit {
    /// The number that the shell sees.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Completed => 0,
            Self::Failed => 1,
            Self::Code(code) => code,
            Self::Usage => 2,
            Self::Lost => 3,
            Self::TimedOut => 4,
            Self::NotStarted => 5,
            Self::OutputClosed => 128 + 13,
            Self::Signal(signal) => 128 + signal,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// An error that ends the program, with the code that it ends with.
#[derive(Debug)]
pub(crate) struct Fatal {
    /// How it ends.
    pub(crate) exit: Exit,
    /// Why.
    pub(crate) why: anyhow::Error,
}

impl Fatal {
    /// The command line, or what it names, is wrong.
    pub(crate) fn usage(why: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::Usage, why: why.into() }
    }

    /// The pool did not start.
    pub(crate) fn not_started(why: impl Into<anyhow::Error>) -> Self {
        Self { exit: Exit::NotStarted, why: why.into() }
    }
}
