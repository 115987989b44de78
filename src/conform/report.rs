//! What came of it.

use std::fmt;

use crate::{
    config::Transport,
    protocol::{Codec, Ready},
};

/// What a worker does, against what the page says.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// The codec that it was told to speak.
    pub codec: Codec,
    /// The transport that it was told to use.
    pub transport: Transport,
    /// What it said first; `None` if it did not get so far.
    pub worker: Option<Ready>,
    /// Every check, in its order.
    pub checks: Vec<Check>,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Check {
    /// What the worker should do.
    pub name: &'static str,
    /// Where `PROTOCOL.md` says so: the name of a section.
    pub section: &'static str,
    /// Whether it does.
    pub verdict: Verdict,
}

/// What came of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It does what the page says.
    Passed,
    /// It does not.
    Failed {
        /// What the page asks for.
        expected: String,
        /// What was seen.
        got: String,
    },
    /// It could not be checked.
    Skipped {
        /// Why not.
        why: String,
    },
}

impl Report {
    /// Whether nothing failed.
    #[must_use]
    pub fn conforms(&self) -> bool {
        self.failures().next().is_none()
    }

    /// What failed.
    pub fn failures(&self) -> impl Iterator<Item = &Check> {
        self.checks.iter().filter(|check| matches!(check.verdict, Verdict::Failed { .. }))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Socket => "socket",
            Transport::Stdio => "stdio",
        };
        let name = self.worker.as_ref().map_or_else(
            || "a program that did not get through its start".to_owned(),
            |ready| format!("{} {}", ready.language, ready.version.as_deref().unwrap_or("of no version")),
        );
        writeln!(f, "{name}, {} on {transport}", self.codec)?;
        for check in &self.checks {
            write!(f, "{check}")?;
        }
        let count =
            |wanted: fn(&Verdict) -> bool| self.checks.iter().filter(|check| wanted(&check.verdict)).count();
        let passed = count(|verdict| matches!(verdict, Verdict::Passed));
        let skipped = count(|verdict| matches!(verdict, Verdict::Skipped { .. }));
        writeln!(f, "{passed} passed, {} failed, {skipped} skipped", self.failures().count())
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, section, verdict } = self;
        match verdict {
            Verdict::Passed => writeln!(f, "  ok       {name}"),
            Verdict::Skipped { why } => writeln!(f, "  skipped  {name}: {why}"),
            Verdict::Failed { expected, got } => {
                writeln!(f, "  FAILED   {name}")?;
                writeln!(f, "           expected: {expected}")?;
                writeln!(f, "           got:      {}", got.replace('\n', "\n                     "))?;
                writeln!(f, "           see PROTOCOL.md#{section}")
            }
        }
    }
}
