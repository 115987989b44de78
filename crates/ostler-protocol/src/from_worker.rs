//! What a worker says to its host, message by message. `PROTOCOL.md` tells when each is legal and what follows.

use bytes::Bytes;

use super::error::Fault;
use super::reader::Reader;
use super::record::{record, words};
use super::token::Token;
use super::wire::Wire;
use super::writer::Writer;
use super::{Codec, ExecutionId, Mime, Value};

record! {
    /// Ends the start (C8).
    Ready {
        required {
            /// The protocol version that the worker speaks.
            protocol: u32,
            /// Its process id.
            pid: u32,
            /// The codec that it was told to use, repeated.
            codec: Codec,
            /// What it runs, such as `python`.
            language: String,
        }
        optional {
            /// The version of what it runs.
            version: Option<String> = None,
            /// The program.
            executable: Option<String> = None,
            /// What it offers beyond the required; unknown ones mean nothing.
            capabilities: Vec<String> = Vec::new(),
            /// How many executions it takes at once.
            concurrency: u32 = 1,
            /// How long it took to start, in milliseconds, by its own clock.
            boot_ms: Option<f64> = None,
        }
    }
}

record! {
    /// Says that an execution begins, before any of its code: from here on it counts as started.
    Started {
        required {
            /// The execution.
            id: ExecutionId,
        }
    }
}

record! {
    /// A piece of output (A1, C2).
    Output {
        required {
            /// The execution that wrote it.
            id: ExecutionId,
            /// Where it was written.
            stream: Stream,
            /// Counts the pieces of one execution from 0, over both streams.
            seq: u64,
            /// The bytes as written: not necessarily whole lines, nor whole characters.
            data: Bytes,
        }
    }
}

words! {
    /// Where output was written.
    Stream, "`stdout` or `stderr`" {
        /// Standard output.
        Stdout = "stdout",
        /// Standard error.
        Stderr = "stderr",
    }
}

record! {
    /// A rich result that code chose to show.
    Display {
        required {
            /// The execution that shows it.
            id: ExecutionId,
            /// The same thing in one or more formats, by MIME type.
            data: Mime,
        }
        optional {
            /// Remarks for whoever shows it.
            metadata: Vec<(String, Value)> = Vec::new(),
            /// A name by which a later one can replace it.
            display_id: Option<String> = None,
            /// Whether it replaces the one of the same name.
            update: bool = false,
        }
    }
}

record! {
    /// Asks for a line of input (C5).
    InputRequest {
        required {
            /// The execution that asks.
            id: ExecutionId,
            /// A number that the worker never used before.
            request: u64,
            /// What to show to the user.
            prompt: String,
        }
        optional {
            /// Whether what is typed must not be shown.
            password: bool = false,
        }
    }
}

record! {
    /// The execution ended well (C3).
    ExecutionResult {
        required {
            /// The execution.
            id: ExecutionId,
            /// How long it ran, in seconds, by the worker's clock.
            execution_time: f64,
        }
        optional {
            /// The value of the last expression, if it can be expressed.
            value: Option<Value> = None,
            /// That value as the language prints it.
            repr: Option<String> = None,
            /// That value in rich formats, by MIME type.
            mime: Option<Box<Mime>> = None,
            /// The processor time that it took, in seconds.
            cpu_time: Option<f64> = None,
            /// The resident memory of the worker, in bytes.
            memory_usage: Option<u64> = None,
            /// How many names the session has.
            namespace_size: Option<u64> = None,
            /// The names that it added.
            new_names: Vec<String> = Vec::new(),
            /// Whether a forced cancel may have cut `finally` blocks short in this session.
            tainted: bool = false,
            /// What the execution began and has not ended, such as `timer` or `thread pump`: its code may still run.
            left: Vec<String> = Vec::new(),
        }
    }
}

record! {
    /// A sign of life, with figures (C6): the answer to `ping`, or sent by itself.
    Heartbeat {
        required {
            /// The resident memory of the worker, in bytes.
            memory_usage: u64,
            /// The share of one processor since the last heartbeat, in percent.
            cpu_percent: f64,
            /// How many names the session has.
            namespace_size: u64,
        }
        optional {
            /// The number of the `ping` that it answers.
            seq: Option<u64> = None,
            /// The execution that runs.
            running: Option<ExecutionId> = None,
            /// For how long that has run, in seconds.
            elapsed: Option<f64> = None,
            /// Where that is.
            place as "where": Option<Place> = None,
        }
    }
}

/// A place in running code: on the wire a list of three.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The name of the code.
    pub file: String,
    /// The line, from 1.
    pub line: u64,
    /// The function.
    pub function: String,
}

impl Wire for Place {
    const EXPECTED: &'static str = "a list of file, line and function";

    fn write(&self, to: &mut Writer<'_>) {
        to.list(3, |to| {
            to.str(&self.file);
            to.uint(self.line);
            to.str(&self.function);
        });
    }

    fn read(from: &mut Reader<'_>, token: Token<'_>) -> Result<Self, Fault> {
        let Token::List(3) = token else { return Err(Self::mismatch(token)) };
        from.nested(|from| {
            let token = from.token()?;
            let file = String::read(from, token)?;
            let token = from.token()?;
            let line = u64::read(from, token)?;
            let token = from.token()?;
            let function = String::read(from, token)?;
            Ok(Self { file, line, function })
        })
    }
}

record! {
    /// Answers `cancel` (C9).
    CancelAck {
        required {
            /// The execution that was named.
            id: ExecutionId,
            /// Whether it was running.
            hit: bool,
        }
    }
}

record! {
    /// A line for the worker's log.
    Log {
        required {
            /// How much it matters.
            level: Level,
            /// What it says.
            message: String,
        }
    }
}

words! {
    /// How much a line of the log matters.
    Level, "`debug`, `info`, `warn` or `error`" {
        /// For whoever works on the worker.
        Debug = "debug",
        /// Worth knowing.
        Info = "info",
        /// May be wrong.
        Warn = "warn",
        /// Is wrong.
        Error = "error",
    }
}
