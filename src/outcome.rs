//! How an execution is seen while it runs, and the one way in which it ended.

use std::{fmt, time::Duration};

use bytes::Bytes;

use crate::{
    protocol::{Exception, ExecutionId, Mime, Stream, Value},
    request::Label,
};

/// Counts the workers that a slot has had: the first is 1. Every late fact carries it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Something streamed while an execution runs. `Started` comes first; nothing comes after the outcome.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Event {
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
    /// Output was discarded, because nobody took it in time after a cancel or a deadline.
    Dropped {
        /// How many bytes.
        bytes: u64,
    },
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

/// Why an execution failed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Failure {
    /// The code raised, or does not compile. Shown as Python shows it.
    Exception(Box<Exception>),
    /// The code asked to exit with a code other than 0.
    Exit {
        /// The exit code that was asked for.
        code: i32,
        /// The text given to `sys.exit`, if any.
        message: Option<String>,
    },
    /// The worker refused the request, or answered it with a message that breaks the protocol.
    Protocol {
        /// What was wrong, with expected and got.
        what: String,
    },
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exception(exception) => match &exception.text {
                Some(text) => f.write_str(text.trim_end()),
                None if exception.message.is_empty() => f.write_str(&exception.type_name),
                None => write!(f, "{}: {}", exception.type_name, exception.message),
            },
            Self::Exit { code, message: None } => write!(f, "the code asked to exit with code {code}"),
            Self::Exit { code, message: Some(message) } => {
                write!(f, "the code asked to exit with code {code}: {message}")
            }
            Self::Protocol { what } => write!(f, "the worker broke the protocol for this execution: {what}"),
        }
    }
}

/// What it took to stop the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rung {
    /// It had not been given to a worker.
    Queued,
    /// The code obeyed the interrupt. The session goes on with its state.
    Interrupt,
    /// The code swallowed the first interrupt and obeyed a forced one; `finally` blocks may have been cut short.
    Force,
    /// The worker was killed at the end of the grace, and its state is gone.
    Kill,
}

/// A cancelled execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cancelled {
    /// What it took.
    pub rung: Rung,
    /// The reason that was given with the cancel.
    pub reason: Option<String>,
}

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.rung {
            Rung::Queued => "cancelled before it was given to a worker",
            Rung::Interrupt => "cancelled: the code stopped at an interrupt",
            Rung::Force => "cancelled: the code stopped at a forced interrupt",
            Rung::Kill => "cancelled: the code did not stop within the grace, so its worker was killed",
        })?;
        match &self.reason {
            Some(reason) => write!(f, " ({reason})"),
            None => Ok(()),
        }
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

/// An execution whose deadline passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut {
    /// The deadline, counted from the submission.
    pub after: Duration,
    /// Where the execution was then.
    pub phase: Phase,
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let after = self.after;
        match self.phase {
            Phase::Queued => write!(f, "timed out after {after:?} while it waited for a worker"),
            Phase::Assigned => write!(f, "timed out after {after:?}: its worker had not started it"),
            Phase::Running => write!(f, "timed out after {after:?} while its code ran"),
        }
    }
}

/// An execution that was lost, and whether its code may have run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// `false` is proof that the code did not run: submitting it again is safe.
    pub started: bool,
    /// Why.
    pub cause: LostCause,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let when = if self.started { "while its code ran" } else { "before its code started" };
        write!(f, "lost {when}: {}", self.cause)
    }
}

/// Why an execution was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LostCause {
    /// The worker ended.
    Died(Death),
    /// The runtime was shutting down.
    ShuttingDown,
    /// The pool gave up on its workers; its status says why.
    PoolFailed,
    /// The leased session had ended.
    SessionEnded,
    /// An actor of the runtime ended before its time: which one.
    ActorGone(&'static str),
}

impl fmt::Display for LostCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Died(death) => death.fmt(f),
            Self::ShuttingDown => f.write_str("the runtime is shutting down"),
            Self::PoolFailed => {
                f.write_str("the pool has failed: too many workers died or never became ready")
            }
            Self::SessionEnded => f.write_str("its session has ended"),
            Self::ActorGone(actor) => write!(f, "the {actor} actor ended before its time"),
        }
    }
}

/// How and why a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Death {
    /// Why, as far as it is known on our side.
    pub cause: DeathCause,
    /// How the process ended.
    pub exit: Exit,
    /// The end of what it wrote to stderr outside executions, decoded lossily.
    pub stderr: String,
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            DeathCause::Itself => write!(f, "the worker ended by itself ({})", self.exit)?,
            cause => write!(f, "{cause} ({})", self.exit)?,
        }
        match self.stderr.trim_end() {
            "" => Ok(()),
            stderr => write!(f, "; its stderr ends with:\n{stderr}"),
        }
    }
}

/// Why a worker ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DeathCause {
    /// It exited, or somebody else killed it.
    Itself,
    /// It was not ready in time.
    NotReady {
        /// The limit.
        after: Duration,
    },
    /// Its first bytes were not a frame: what it printed, decoded lossily, at most 4 KiB.
    Printed(String),
    /// It speaks another version of the protocol. Starting it again cannot help.
    Version {
        /// Ours.
        expected: u64,
        /// Its.
        got: u64,
    },
    /// Its warmup failed.
    Warmup(String),
    /// It broke the protocol.
    Protocol(String),
    /// It closed its channel and lived on.
    ChannelClosed,
    /// It stopped reading what it was sent.
    NotReading,
    /// It was killed because its code did not obey a cancel or a deadline within the grace.
    Disobeyed,
    /// It was asked to end: shutdown, end of a lease, or replacement.
    Retired,
    /// The runtime was shut down, and its grace was over.
    ShuttingDown,
}

impl fmt::Display for DeathCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Itself => f.write_str("the worker ended by itself"),
            Self::NotReady { after } => write!(
                f,
                "the worker was not ready after {after:?}; raise `ready_timeout` if it needs longer"
            ),
            Self::Printed(text) => write!(
                f,
                "the worker printed before the handshake, where its first frame was expected:\n{text}\n"
            ),
            Self::Version { expected, got } => {
                write!(
                    f,
                    "the worker speaks protocol version {got}, this host speaks {expected}; install matching versions"
                )
            }
            Self::Warmup(what) => write!(f, "the warmup failed: {what}"),
            Self::Protocol(what) => write!(f, "the worker broke the protocol: {what}"),
            Self::ChannelClosed => f.write_str("the worker closed its channel and lived on"),
            Self::NotReading => f.write_str("the worker stopped reading"),
            Self::Disobeyed => f.write_str("the worker was killed: its code did not stop within the grace"),
            Self::Retired => f.write_str("the worker was asked to end"),
            Self::ShuttingDown => f.write_str("the runtime was shut down"),
        }
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
    /// It is dead, but somebody else collected its status.
    Unknown,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => match signal_name(*signal) {
                Some(name) => write!(f, "signal {signal}, {name}"),
                None => write!(f, "signal {signal}"),
            },
            Self::Unknown => f.write_str("exit status unknown: another part of this process collected it"),
        }
    }
}

/// The names of the signals that end processes, by their numbers on Linux.
fn signal_name(signal: i32) -> Option<&'static str> {
    Some(match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        31 => "SIGSYS",
        _ => return None,
    })
}

/// Everything that one execution printed and how it ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The execution.
    pub id: ExecutionId,
    /// The label of its request.
    pub label: Option<Label>,
    /// How it ended.
    pub outcome: Outcome,
    /// What it wrote to stdout, up to the pool's `max_report_bytes` (over both streams).
    pub stdout: Bytes,
    /// What it wrote to stderr.
    pub stderr: Bytes,
    /// What it displayed.
    pub displays: Vec<Display>,
    /// Bytes of output that are not in this report: over the limit, or discarded after a cancel.
    pub dropped: u64,
}

impl Report {
    /// The value of the last expression, if the code completed and had one that can be expressed.
    #[must_use]
    pub fn value(&self) -> Option<&Value> {
        self.outcome.value()
    }

    /// What it wrote to stdout, as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn stdout_text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.stdout)
    }

    /// What it wrote to stderr, as text; what is not UTF-8 is replaced.
    #[must_use]
    pub fn stderr_text(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.stderr)
    }
}
