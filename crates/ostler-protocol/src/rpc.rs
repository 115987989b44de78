//! The other dialect: JSON-RPC 2.0 on standard streams, as MCP servers and language servers speak it.
//!
//! ```text
//! bytes read ──> Cutter ──text──> parse_messages ──> Incoming ──> the session
//! bytes to write <──── encode_call, encode ──── Outgoing <── the session
//! ```
//! Ids are ours: the number of an execution names its call, and a text names what the session itself asks. What a caller
//! calls its progress is replaced by such a name on the way out and put back on the way in, so that the tokens of two
//! callers never meet.

mod cut;
mod encode;
mod number;
mod parse;
mod plain;
mod read;

use std::fmt;

use super::{ExecutionId, HeapSize, Value};

pub use cut::Cutter;
pub use encode::{CallError, encode, encode_call};
pub use parse::parse_messages;
pub use plain::PlainJson;

/// Messages that one batch of a server may have.
pub const BATCH_MAX: usize = 1024;

/// The name for "no such method", which is also our answer to what nobody wants to be asked.
pub const METHOD_NOT_FOUND: i64 = -32601;

/// How messages are told apart on the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// One message a line.
    Lines,
    /// Each behind a header that says its length.
    ContentLength,
}

/// Whose customs a server follows beyond JSON-RPC itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Nobody's.
    Plain,
    /// The Model Context Protocol.
    Mcp,
    /// The Language Server Protocol.
    Lsp,
}

/// The error that a JSON-RPC server answers with.
#[derive(Clone, PartialEq)]
pub struct RpcError {
    /// What kind of error it is, as a number: -32768 to -32000 are those of JSON-RPC itself. [`Self::NO_CODE`] if the
    /// server gave no whole number; what it gave in its place then begins the message.
    pub code: i64,
    /// What went wrong, in words.
    pub message: String,
    /// More about it, if the server said more.
    pub data: Option<Value>,
}

impl RpcError {
    /// The code of an error that has none of its own.
    pub const NO_CODE: i64 = 0;

    /// An error without data.
    pub fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.code != Self::NO_CODE {
            write!(f, " (code {})", self.code)?;
        }
        match self.data.as_ref().map(|data| (data.as_str(), plain::text(data))) {
            None => Ok(()),
            Some((Some(text), _)) => write!(f, ": {text}"),
            Some((None, Ok(json))) => write!(f, ": {json}"),
            Some((None, Err(_unspeakable))) => Ok(()),
        }
    }
}

impl std::error::Error for RpcError {}

/// What an answer is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Id {
    /// The call of an execution.
    Call(ExecutionId),
    /// Something that the session itself asked.
    Own(u64),
    /// Nothing: the server could not read what it answers.
    Null,
    /// Something that was never asked.
    Foreign(String),
}

/// What a server says.
#[derive(Clone, Debug, PartialEq)]
pub enum Incoming {
    /// It answers what it was asked.
    Answer {
        /// What it answers.
        id: Id,
        /// `result` or `error`.
        answer: Result<Value, RpcError>,
    },
    /// It tells something that wants no answer.
    Notification {
        /// The method.
        method: String,
        /// Its parameters; [`Value::None`] if there are none.
        params: Value,
    },
    /// It asks us something.
    Request {
        /// Its own id, as it wrote it in JSON.
        id: Box<str>,
        /// The method.
        method: String,
        /// Its parameters; [`Value::None`] if there are none.
        params: Value,
    },
    /// A message with a wrong or missing member.
    Wrong {
        /// The call that it is about, if that can be told.
        call: Option<ExecutionId>,
        /// What is wrong with it.
        what: String,
    },
    /// A message that is not whole, or no message where one must be.
    Broken(String),
    /// Something that is no message at all, such as a line of a log.
    NotAMessage,
}

impl HeapSize for Incoming {
    fn heap_size(&self) -> usize {
        match self {
            Self::Answer { id, answer } => {
                id.heap_size() + answer.as_ref().map_or_else(RpcError::heap_size, Value::heap_size)
            }
            Self::Notification { method, params } => method.heap_size() + params.heap_size(),
            Self::Request { id, method, params } => id.len() + method.heap_size() + params.heap_size(),
            Self::Wrong { call: _, what } | Self::Broken(what) => what.heap_size(),
            Self::NotAMessage => 0,
        }
    }

    /// JSON has no bytes that could be shared.
    fn detach(&mut self) {}
}

impl HeapSize for Id {
    fn heap_size(&self) -> usize {
        match self {
            Self::Call(_) | Self::Own(_) | Self::Null => 0,
            Self::Foreign(text) => text.heap_size(),
        }
    }

    fn detach(&mut self) {}
}

/// What a session says to a server beside the calls.
#[derive(Clone, Debug, PartialEq)]
pub enum Outgoing {
    /// A request of the session's own.
    Ask {
        /// Its number among those of the session.
        own: u64,
        /// The method.
        method: String,
        /// Its parameters, as JSON.
        params: Option<String>,
    },
    /// A notification of the session's own.
    Note {
        /// The method.
        method: String,
        /// Its parameters, as JSON.
        params: Option<String>,
    },
    /// The caller does not want the answer to this call any more.
    Cancel(ExecutionId),
    /// The answer to what the server asked.
    Reply {
        /// The id of the server's request, as the server wrote it.
        id: Box<str>,
        /// `result` or `error`.
        answer: Result<Value, RpcError>,
    },
}

/// What a caller called the progress of its call, by where it said so.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tokens(Vec<(Place, Value)>);

/// Where a token stands in the parameters of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// `_meta.progressToken`
    Progress,
    /// `workDoneToken`
    Work,
    /// `partialResultToken`
    Partial,
}

impl Place {
    /// What we call the progress of a call instead. Among MCP servers a number is usual.
    fn ours(self, call: ExecutionId) -> Value {
        match self {
            Self::Progress => Value::from(call.get()),
            Self::Work => format!("{call}.work").into(),
            Self::Partial => format!("{call}.partial").into(),
        }
    }
}

/// The parts of a message that reports progress: whose, and where it says so.
fn claim(method: &str, params: &Value) -> Option<(ExecutionId, Place, &'static str)> {
    match method {
        "notifications/progress" => {
            let key = "progressToken";
            let token = params.get(key)?;
            let call = token.as_u64().or_else(|| token.as_str()?.parse().ok())?;
            Some((ExecutionId(call), Place::Progress, key))
        }
        "$/progress" => {
            let key = "token";
            let (call, place) = params.get(key)?.as_str()?.split_once('.')?;
            let place = match place {
                "work" => Place::Work,
                "partial" => Place::Partial,
                _foreign => return None,
            };
            Some((call.parse().ok()?, place, key))
        }
        _other => None,
    }
}

/// Whose progress a notification reports, if it reports progress.
pub fn progress_of(method: &str, params: &Value) -> Option<ExecutionId> {
    claim(method, params).map(|(call, ..)| call)
}

impl Tokens {
    /// Puts back what the caller calls its progress.
    pub fn restore(&self, method: &str, params: &mut Value) {
        let Some((_, place, key)) = claim(method, params) else { return };
        let theirs = self.0.iter().find(|(at, _)| *at == place).map(|(_, token)| token);
        if let (Some(theirs), Value::Map(entries)) = (theirs, params)
            && let Some((_, token)) = entries.iter_mut().find(|(name, _)| name.as_str() == Some(key))
        {
            token.clone_from(theirs);
        }
    }
}

#[cfg(test)]
mod tests;
