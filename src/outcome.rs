//! How an execution is seen while it runs, and the one way in which it ended.

mod activity;
mod failure;
mod headline;
mod lost;
mod question;
mod restored;

use std::{fmt, time::Duration};

use bytes::Bytes;

use crate::protocol::{HeapSize, Mime, Stream, Value};

pub use activity::{Activity, Call, Child, Load, Stack};
pub use failure::Failure;
pub use lost::{Death, DeathCause, Exit, Lost, LostCause};
pub use question::Question;
pub use restored::{LostName, SessionRestored};

/// Counts the workers that a slot has had: the first is 1. Every late fact carries it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Something streamed while an execution runs. `Started` comes first, but for `SessionRestored`; nothing comes after the
/// outcome.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// The worker of the session had died, and this is the first execution since its state was brought back in a new one.
    SessionRestored(Box<SessionRestored>),
    /// The worker acknowledged the request: from here on it counts as started.
    Started {
        /// The worker's process id, where there is a process.
        pid: Option<u32>,
        /// Which worker of its slot this is.
        generation: Generation,
    },
    /// The code printed. Bytes as they came: a chunk may end inside a character.
    Output {
        /// Where it was written to.
        stream: Stream,
        /// What was written.
        data: Bytes,
    },
    /// The code showed a rich value.
    Display(Box<Display>),
    /// The code waits for a line of input; answer with `Execution::input`.
    Input(InputRequest),
    /// A JSON-RPC server reported something: the progress of this execution, or what it tells its client while it has
    /// no other request.
    Notification {
        /// What it is about.
        method: String,
        /// What it says.
        params: Value,
    },
    /// A JSON-RPC server asks something; see [`Question`].
    Asked(Question),
    /// The code has ended, and left something running: a timer, a thread, a child process. The worker says so, and it comes
    /// last. What a stateless execution leaves ends with its worker, which serves nobody else; in a session it goes on.
    Left {
        /// What, in the words of the worker; at most [`LEFT_MAX`](crate::config::LEFT_MAX) of them.
        what: Vec<String>,
    },
    /// Output was discarded, because nobody took it in time after a cancel or a deadline.
    Dropped {
        /// How many bytes.
        bytes: u64,
    },
}

impl Event {
    /// The bytes that it keeps in memory beyond its own size.
    pub(crate) fn heap_size(&self) -> usize {
        match self {
            // One for each execution.
            Self::Left { what } => what.heap_size(),
            Self::SessionRestored(_) | Self::Started { .. } | Self::Dropped { .. } => 0,
            Self::Output { data, .. } => data.heap_size(),
            Self::Display(display) => size_of::<Display>() + display.heap_size(),
            Self::Input(request) => request.prompt.heap_size(),
            Self::Notification { method, params } => method.heap_size() + params.heap_size(),
            Self::Asked(Question { method, params, .. }) => method.heap_size() + params.heap_size(),
        }
    }

    /// The bytes of output in it, for those who count what nobody took.
    pub(crate) fn output(&self) -> usize {
        match self {
            Self::SessionRestored(_)
            | Self::Started { .. }
            | Self::Input(_)
            | Self::Left { .. }
            | Self::Dropped { .. } => 0,
            Self::Output { data, .. } => data.len(),
            Self::Display(display) => display.mime.weight(),
            Self::Notification { method, params } => method.len() + params.weight(),
            Self::Asked(Question { method, params, .. }) => method.len() + params.weight(),
        }
    }
}

/// A rich value that the code showed: the same thing in one or several formats.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Display {
    /// The value by MIME type.
    pub mime: Mime,
    /// Names the place that a later update replaces.
    pub id: Option<String>,
    /// Whether it replaces an earlier one of the same id.
    pub update: bool,
}

impl Display {
    /// The bytes that it keeps in memory beyond its own size.
    pub(crate) fn heap_size(&self) -> usize {
        self.mime.heap_size() + self.id.heap_size()
    }
}

/// The code called `input()`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputRequest {
    /// Which request this is; the answer names it.
    pub request: u64,
    /// The prompt to show.
    pub prompt: String,
    /// Whether what is typed must not be shown.
    pub password: bool,
}

/// The one way in which an execution ended. Exhaustive on purpose: think of [`Outcome::Lost`].
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The code ran to its end.
    Completed(Box<Completion>),
    /// The code ended in an error of its own, or hit a limit.
    Failed(Failure),
    /// It was cancelled, and the code has stopped or never started.
    Cancelled(Cancelled),
    /// Its deadline passed.
    TimedOut(TimedOut),
    /// Its worker, or the runtime, ended first.
    Lost(Lost),
}

impl Outcome {
    /// A word for logs and counters: `completed`, `failed`, `cancelled`, `timed_out` or `lost`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Completed(_) => "completed",
            Self::Failed(_) => "failed",
            Self::Cancelled(_) => "cancelled",
            Self::TimedOut(_) => "timed_out",
            Self::Lost(_) => "lost",
        }
    }

    /// Whether the code ran to its end.
    #[must_use]
    pub fn is_completed(&self) -> bool {
        matches!(self, Self::Completed(_))
    }

    /// What the worker was doing at the deadline, or before it was killed for a cancel.
    #[must_use]
    pub fn activity(&self) -> Option<&Activity> {
        match self {
            Self::Cancelled(cancelled) => cancelled.activity.as_deref(),
            Self::TimedOut(timed_out) => timed_out.activity.as_deref(),
            Self::Completed(_) | Self::Failed(_) | Self::Lost(_) => None,
        }
    }

    /// The outcome alone, without [what the worker was doing](Self::activity): to be compared with another.
    #[must_use]
    pub fn without_activity(mut self) -> Self {
        match &mut self {
            Self::Cancelled(cancelled) => cancelled.activity = None,
            Self::TimedOut(timed_out) => timed_out.activity = None,
            Self::Completed(_) | Self::Failed(_) | Self::Lost(_) => {}
        }
        self
    }

    /// The value of the last expression, if the code completed and had one that can be expressed.
    #[must_use]
    pub fn value(&self) -> Option<&Value> {
        match self {
            Self::Completed(completion) => completion.value.as_ref(),
            Self::Failed(_) | Self::Cancelled(_) | Self::TimedOut(_) | Self::Lost(_) => None,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Completed(completion) => match &completion.repr {
                Some(repr) => f.write_str(repr),
                None => f.write_str("completed"),
            },
            Self::Failed(failure) => failure.fmt(f),
            Self::Cancelled(cancelled) => cancelled.fmt(f),
            Self::TimedOut(timed_out) => timed_out.fmt(f),
            Self::Lost(lost) => lost.fmt(f),
        }
    }
}

/// What a completed execution gave back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Completion {
    /// The value of the last expression, when it is plain (numbers, text, bytes, lists and maps of them).
    pub value: Option<Value>,
    /// The value as Python's `repr` shows it; absent when it is `None`.
    pub repr: Option<String>,
    /// The value in rich formats, when the request asked for them.
    pub mime: Option<Mime>,
    /// Whether the code asked to exit with code 0, instead of running to its last line. The session lives on; whoever
    /// types into it may want to leave.
    pub exited: bool,
    /// What it cost.
    pub usage: Usage,
}

impl Completion {
    /// Bytes of the value, in all its formats.
    pub(crate) fn weight(&self) -> u64 {
        let value = self.value.as_ref().map_or(0, Value::weight);
        (value + self.repr.as_ref().map_or(0, String::len) + self.mime.as_ref().map_or(0, Mime::weight))
            as u64
    }
}

/// What an execution cost, as the worker measured it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Time from the start of the code to its end.
    pub execution_time: Duration,
    /// Processor time of the worker in that span.
    pub cpu_time: Option<Duration>,
    /// Resident memory of the worker at the end, in bytes.
    pub memory_usage: Option<u64>,
    /// Names in the session's namespace at the end.
    pub namespace_size: Option<u64>,
    /// A forced cancel may have cut `finally` blocks short in this session.
    pub tainted: bool,
}

/// What it took to stop the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CancelStage {
    /// It had not been given to a worker.
    Queued,
    /// The code obeyed the interrupt. The session goes on with its state.
    Interrupt,
    /// The code swallowed the first interrupt and obeyed a forced one; `finally` blocks may have been cut short.
    Force,
    /// The server was told, and did not answer: not within the grace, or not soon after it had shown that it heard. It goes
    /// on, because it answers others; what it may still say of this request is dropped and counted.
    Abandoned,
    /// The worker was killed at the end of the grace, and its state is gone.
    Kill,
}

/// A cancelled execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancelled {
    /// What it took.
    pub stage: CancelStage,
    /// The reason that was given with the cancel.
    pub reason: Option<String>,
    /// What its worker was doing when it was killed.
    pub activity: Option<Box<Activity>>,
}

impl Cancelled {
    /// A cancel, and what it took.
    #[must_use]
    pub fn new(stage: CancelStage, reason: Option<String>) -> Self {
        Self { stage, reason, activity: None }
    }
}

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.stage {
            CancelStage::Queued => "cancelled before it was given to a worker",
            CancelStage::Interrupt => "cancelled: the code stopped at an interrupt",
            CancelStage::Force => "cancelled: the code stopped at a forced interrupt",
            CancelStage::Abandoned => "cancelled: the server was told, did not answer, and goes on",
            CancelStage::Kill => {
                "cancelled: the code did not stop within the grace, so its worker was killed"
            }
        })?;
        if let Some(reason) = &self.reason {
            write!(f, " ({reason})")?;
        }
        summary(f, self.activity.as_deref())
    }
}

/// Where an execution was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// It waited for a worker.
    Queued,
    /// It was given to a worker that had not acknowledged it.
    Assigned,
    /// Its code was running.
    Running,
}

/// Adds what a worker was doing, if that is known.
fn summary(f: &mut fmt::Formatter<'_>, activity: Option<&Activity>) -> fmt::Result {
    match activity.map(Activity::summary).filter(|summary| !summary.is_empty()) {
        Some(summary) => write!(f, "; {summary}"),
        None => Ok(()),
    }
}

/// An execution whose deadline passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimedOut {
    /// The deadline, counted from the submission.
    pub after: Duration,
    /// Where the execution was then.
    pub phase: Phase,
    /// What its worker was doing then, if it had one.
    pub activity: Option<Box<Activity>>,
}

impl TimedOut {
    /// A deadline, and where it struck.
    #[must_use]
    pub fn new(after: Duration, phase: Phase) -> Self {
        Self { after, phase, activity: None }
    }
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = self.after;
        match self.phase {
            Phase::Queued => write!(f, "timed out after {after:?} while it waited for a worker"),
            Phase::Assigned => write!(f, "timed out after {after:?}: its worker had not started it"),
            Phase::Running => write!(f, "timed out after {after:?} while its code ran"),
        }?;
        summary(f, self.activity.as_deref())
    }
}
