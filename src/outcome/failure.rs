//! Why an execution failed.

use std::{fmt, time::Duration};

use crate::protocol::{Exception, RpcError};

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
        /// The text given to `sys.exit`, if any. Of a [script](crate::Script): the line of its stderr, if that is
        /// [piped](crate::Stdio::Piped), with the error that ended it, or else the last one.
        message: Option<String>,
    },
    /// It printed more than [`Request::max_output`](crate::Request::max_output) allows, and was stopped. What it had
    /// printed until then was passed on.
    OutputLimit {
        /// The limit, in bytes.
        limit: u64,
        /// What it had printed when that was seen, in bytes.
        printed: u64,
    },
    /// Its worker used more processor time for it than [`Request::max_cpu`](crate::Request::max_cpu) allows, and it was
    /// stopped.
    CpuLimit {
        /// The limit.
        limit: Duration,
        /// What it had used when that was seen.
        used: Duration,
    },
    /// Its worker held more memory than [`PoolConfig::soft_memory`](crate::PoolConfig::soft_memory) allows, and it was
    /// stopped.
    MemoryLimit {
        /// The limit, in bytes.
        limit: u64,
        /// What the worker held when that was seen, in bytes.
        used: u64,
    },
    /// Its value has more bytes than [`Request::max_result`](crate::Request::max_result) allows. The code ran to its
    /// end.
    ResultLimit {
        /// The limit, in bytes.
        limit: u64,
        /// The bytes of the value, in all its formats.
        size: u64,
    },
    /// The JSON-RPC server answered with an error.
    Rpc(Box<RpcError>),
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
            Self::OutputLimit { limit, printed } => write!(
                f,
                "the code was stopped: it printed {printed} bytes, more than its limit of {limit}; print less, or raise `max_output`"
            ),
            Self::CpuLimit { limit, used } => write!(
                f,
                "the code was stopped: it used {used:?} of processor time, more than its limit of {limit:?}; do less, or raise `max_cpu`"
            ),
            Self::MemoryLimit { limit, used } => write!(
                f,
                "the code was stopped: its worker held {used} bytes of memory, more than its limit of {limit}; hold less, or raise `soft_memory`"
            ),
            Self::ResultLimit { limit, size } => write!(
                f,
                "the code ran to its end, but its value has {size} bytes, more than the limit of {limit}; give back less, or raise `max_result`"
            ),
            Self::Rpc(error) => error.fmt(f),
            Self::Protocol { what } => write!(f, "the worker broke the protocol for this execution: {what}"),
        }
    }
}
