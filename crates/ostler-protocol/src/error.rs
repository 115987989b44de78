//! What can be wrong with a payload, sorted by how much it costs the worker.

use std::fmt;

use super::{DEPTH_MAX, ExecutionId};

/// A payload that is no message for us. The variant says what must follow.
#[derive(Clone, PartialEq, Eq)]
pub enum DecodeError {
    /// The bytes are no message at all: nothing after them can be trusted, the worker's generation ends.
    Malformed {
        /// What was expected, what came, and where.
        reason: String,
    },
    /// A whole message of a type that this version does not know: answered with `protocol_error`, and survived.
    UnknownType {
        /// The type as sent, cut to a readable length.
        type_name: String,
        /// The execution that it is about, if it says so.
        id: Option<ExecutionId>,
    },
    /// A whole message of a known type with a required field missing or a field of a wrong type: the one execution
    /// that it is about fails, the worker goes on.
    Field {
        /// The type of the message.
        type_name: String,
        /// The execution that it is about, if it says so.
        id: Option<ExecutionId>,
        /// The path of the field, such as `exception.frames.line`.
        field: String,
        /// What this field holds in a right message.
        expected: &'static str,
        /// What came instead, shortened.
        got: String,
    },
    /// A whole message about an execution that this host cannot have issued.
    ForeignId {
        /// The id as sent, cut to a readable length.
        id: String,
    },
}

/// A message that cannot be put into one frame. Nothing of it was written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum EncodeError {
    /// The payload is longer than a frame may be.
    TooLong {
        /// The length of the encoded payload.
        len: usize,
        /// The longest payload allowed.
        limit: usize,
    },
    /// A value in it is nested too deep.
    TooDeep,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { reason } => write!(f, "malformed payload: {reason}"),
            Self::UnknownType { type_name, id: _ } => write!(f, "unknown message type `{type_name}`"),
            Self::Field { type_name, id: _, field, expected, got } => {
                write!(f, "`{type_name}` message: field `{field}`: expected {expected}, got {got}")
            }
            Self::ForeignId { id } => {
                write!(f, "id `{id}` was never issued: expected a decimal number that an `execute` carried")
            }
        }
    }
}

impl std::error::Error for DecodeError {}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { len, limit } => write!(
                f,
                "message takes {len} bytes, expected at most {limit}: send it in parts, or through a file"
            ),
            Self::TooDeep => write!(f, "message is nested deeper than {DEPTH_MAX} lists and maps"),
        }
    }
}

impl std::error::Error for EncodeError {}

/// Why reading a payload stopped, before it is known which message and execution it is about.
///
/// Small, because every step of reading returns one or passes it on.
#[derive(Debug)]
pub(super) enum Fault {
    /// See [`DecodeError::Malformed`].
    #[expect(clippy::box_collection, reason = "every step returns a fault or passes it on: 16 bytes, not 24")]
    Malformed(Box<String>),
    /// See [`DecodeError::Field`].
    Field(Box<FieldFault>),
    /// See [`DecodeError::ForeignId`].
    #[expect(clippy::box_collection, reason = "as above")]
    Foreign(Box<String>),
}

/// A field that is missing or wrong.
#[derive(Debug)]
pub(super) struct FieldFault {
    /// The names that lead to the field, innermost first.
    pub(super) path: Vec<&'static str>,
    pub(super) expected: &'static str,
    pub(super) got: String,
}

impl Fault {
    /// Bytes that are no message.
    #[cold]
    pub(super) fn malformed(reason: String) -> Self {
        Self::Malformed(Box::new(reason))
    }

    /// An id that this host cannot have issued.
    #[cold]
    pub(super) fn foreign(id: String) -> Self {
        Self::Foreign(Box::new(id))
    }

    /// A value of the wrong kind or form.
    #[cold]
    pub(super) fn mismatch(expected: &'static str, got: impl Into<String>) -> Self {
        Self::Field(Box::new(FieldFault { path: Vec::new(), expected, got: got.into() }))
    }

    /// Adds the name of the field in which it was found.
    #[cold]
    pub(super) fn within(mut self, field: &'static str) -> Self {
        if let Self::Field(fault) = &mut self {
            fault.path.push(field);
        }
        self
    }
}

/// Cuts `text` for an error message: peers choose its length.
pub(super) fn shorten(text: &str) -> String {
    const CHARS: usize = 64;
    match text.char_indices().nth(CHARS) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text.to_owned(),
    }
}

/// Cuts what a worker says for a line of the host's log, or for the story of its death.
pub fn excerpt(mut text: String) -> String {
    const CHARS: usize = 4096;
    if let Some((cut, _)) = text.char_indices().nth(CHARS) {
        text.truncate(cut);
        text.push('…');
        text.shrink_to_fit();
    }
    text
}
