//! How an execution ends if not well: the message and the tree of exceptions in it.

use super::ExecutionId;
use super::error::Fault;
use super::reader::Reader;
use super::record::record;
use super::token::Token;
use super::wire::Wire;
use super::writer::Writer;

record! {
    /// The execution ended otherwise (C4).
    ExecutionError {
        required {
            /// The execution.
            id: ExecutionId,
            /// How long it ran, in seconds, by the worker's clock.
            execution_time: f64,
            /// How it ended.
            kind: ErrorKind,
        }
        optional {
            /// What was raised.
            exception: Option<Box<Exception>> = None,
            /// The status with which code asked to exit.
            exit_code: Option<i64> = None,
            /// The processor time that it took, in seconds.
            cpu_time: Option<f64> = None,
            /// The resident memory of the worker, in bytes.
            memory_usage: Option<u64> = None,
            /// How many names the session has.
            namespace_size: Option<u64> = None,
            /// Whether a forced cancel may have cut `finally` blocks short in this session.
            tainted: bool = false,
            /// What the execution began and has not ended, such as `timer` or `thread pump`: its code may still run.
            left: Vec<String> = Vec::new(),
        }
    }
}

/// How an execution ended, if not well.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Code raised an exception and did not catch it.
    Exception,
    /// The code could not be compiled.
    Syntax,
    /// It was cancelled.
    Cancelled,
    /// Code asked to exit.
    Exit,
    /// The request itself was wrong; nothing ran.
    Request,
    /// A kind that this version does not know: treated as [`ErrorKind::Exception`].
    Other(String),
}

impl ErrorKind {
    const KNOWN: [Self; 5] = [Self::Exception, Self::Syntax, Self::Cancelled, Self::Exit, Self::Request];

    /// Returns the word that stands for it on the wire.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Exception => "exception",
            Self::Syntax => "syntax",
            Self::Cancelled => "cancelled",
            Self::Exit => "exit",
            Self::Request => "request",
            Self::Other(word) => word,
        }
    }
}

impl From<&str> for ErrorKind {
    fn from(word: &str) -> Self {
        let known = Self::KNOWN.into_iter().find(|kind| kind.as_str() == word);
        known.unwrap_or_else(|| Self::Other(word.to_owned()))
    }
}

impl Wire for ErrorKind {
    const EXPECTED: &'static str = "a string";

    fn write(&self, to: &mut Writer<'_>) {
        to.str(self.as_str());
    }

    fn read(_from: &mut Reader<'_>, token: Token<'_>) -> Result<Self, Fault> {
        let Token::Str(word) = token else { return Err(Self::mismatch(token)) };
        Ok(word.as_str()?.into())
    }
}

record! {
    /// What was raised, with what it was raised from (C4).
    Exception nested "an exception: a map with type and message" {
        required {
            /// Its type, such as `ValueError`.
            type_name as "type": String,
            /// What it says.
            message: String,
        }
        optional {
            /// Where its type is defined.
            module: Option<String> = None,
            /// The calls that led to it, outermost first.
            frames: Vec<TraceFrame> = Vec::new(),
            /// Notes that were added to it.
            notes: Vec<String> = Vec::new(),
            /// What it was raised from.
            cause: Option<Box<Exception>> = None,
            /// What was being handled when it was raised.
            context: Option<Box<Exception>> = None,
            /// The members of a group of exceptions.
            exceptions: Vec<Exception> = Vec::new(),
            /// The whole traceback, as the language prints it.
            text: Option<String> = None,
        }
    }
}

record! {
    /// One call of a traceback. Lines count from 1, columns from 0.
    TraceFrame nested "a map with file, line and name" {
        required {
            /// The name of the code.
            file: String,
            /// The line.
            line: u64,
            /// The function.
            name: String,
        }
        optional {
            /// The last line of the statement.
            end_line: Option<u64> = None,
            /// The column where the failing part begins.
            col: Option<u64> = None,
            /// The column where it ends.
            end_col: Option<u64> = None,
            /// The text of the line.
            text: Option<String> = None,
        }
    }
}
