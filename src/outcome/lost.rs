//! How an execution is lost, and how a worker ends.

use std::{fmt, time::Duration};

use super::{Activity, Generation};

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
    /// It waited in the queue for as long as it may.
    Waited {
        /// The limit.
        limit: Duration,
    },
    /// The pool gave up on its workers; its status says why.
    PoolFailed,
    /// The process of a [script](crate::Script) could not be started.
    NotLaunched {
        /// Why.
        why: String,
    },
    /// The leased session had ended.
    SessionEnded,
    /// The session was restored in another worker than the one that the request was made for.
    OtherGeneration {
        /// What [`Request::expect_generation`](crate::Request::expect_generation) said.
        expected: Generation,
        /// The generation of the session.
        found: Generation,
    },
    /// An actor of the runtime ended before its time: which one.
    ActorGone(&'static str),
}

impl fmt::Display for LostCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Died(death) => death.fmt(f),
            Self::ShuttingDown => f.write_str("the runtime is shutting down"),
            Self::Waited { limit } => {
                write!(
                    f,
                    "no session was free within `queue_timeout`, {limit:?}; submit it again, or raise `max_sessions`"
                )
            }
            Self::PoolFailed => {
                f.write_str("the pool has failed: too many workers died or never became ready")
            }
            Self::OtherGeneration { expected, found } => write!(
                f,
                "it expects generation {expected} of its session, which is in generation {found} now; look at what was restored, and submit it for {found}"
            ),
            Self::NotLaunched { why } => write!(f, "its process was not started: {why}"),
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
    /// The end of what it wrote to stderr in its life, also what was streamed while code ran, decoded lossily.
    pub stderr: String,
    /// What it was doing when it was killed, if we looked.
    pub activity: Option<Box<Activity>>,
}

impl Death {
    /// A death of which no more is known.
    #[must_use]
    pub fn new(cause: DeathCause, exit: Exit) -> Self {
        Self { cause, exit, stderr: String::new(), activity: None }
    }
}

impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.cause, self.exit)?;
        super::summary(f, self.activity.as_deref())?;
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
    /// It is an MCP server of a version that this host does not speak. Starting it again cannot help.
    McpVersion {
        /// What we speak.
        expected: String,
        /// What it speaks.
        got: String,
    },
    /// Its warmup failed.
    Warmup(String),
    /// It broke the protocol.
    Protocol(String),
    /// It closed its channel and lived on.
    ChannelClosed,
    /// It stopped reading what it was sent.
    NotReading,
    /// Its process was stopped, as by SIGSTOP, and nobody continued it.
    Stopped,
    /// It ran nothing, answered no question and did nothing for this long.
    Unresponsive {
        /// How long.
        after: Duration,
    },
    /// It held more memory than [`PoolConfig::hard_memory`](crate::PoolConfig::hard_memory) allows.
    MemoryLimit {
        /// The limit, in bytes.
        limit: u64,
        /// What it held, in bytes.
        used: u64,
    },
    /// It was killed because its code did not obey a cancel or a deadline within the grace.
    Disobeyed,
    /// It was asked to end: shutdown, end of a lease, or replacement.
    Retired,
    /// The runtime was shut down, and its grace was over.
    ShuttingDown,
}

impl DeathCause {
    /// A short name, for counters and labels: it never changes.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Itself => "itself",
            Self::NotReady { .. } => "not_ready",
            Self::Printed(_) => "printed",
            Self::Version { .. } => "version",
            Self::McpVersion { .. } => "mcp_version",
            Self::Warmup(_) => "warmup",
            Self::Protocol(_) => "protocol",
            Self::ChannelClosed => "channel_closed",
            Self::NotReading => "not_reading",
            Self::Stopped => "stopped",
            Self::Unresponsive { .. } => "unresponsive",
            Self::MemoryLimit { .. } => "memory_limit",
            Self::Disobeyed => "disobeyed",
            Self::Retired => "retired",
            Self::ShuttingDown => "shutting_down",
        }
    }
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
            Self::McpVersion { expected, got } => write!(
                f,
                "the server speaks version {got} of MCP, this host speaks {expected}; install a server of one of those"
            ),
            Self::Warmup(what) => write!(f, "the warmup failed: {what}"),
            Self::Protocol(what) => write!(f, "the worker broke the protocol: {what}"),
            Self::ChannelClosed => f.write_str("the worker closed its channel and lived on"),
            Self::NotReading => f.write_str("the worker stopped reading"),
            Self::Stopped => {
                f.write_str("the worker was killed: its process was stopped, and nobody continued it")
            }
            Self::Unresponsive { after } => write!(
                f,
                "the worker was killed: it ran nothing, answered nothing and did nothing for {after:?}"
            ),
            Self::MemoryLimit { limit, used } => write!(
                f,
                "the worker was killed: it held {used} bytes of memory, more than its limit of {limit}; raise `hard_memory` if it needs more"
            ),
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
    /// The kernel killed it because memory ran out: SIGKILL, and the count of such kills has grown.
    OutOfMemory,
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
            Self::OutOfMemory => f.write_str("killed by the kernel because memory ran out"),
            Self::Unknown => {
                f.write_str("exit status unknown: another process, or another part of this one, collected it")
            }
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
