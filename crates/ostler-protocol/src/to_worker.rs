//! What a host says to a worker, message by message. `PROTOCOL.md` tells when each is legal and what follows.

use bytes::Bytes;

use super::record::{record, words};
use super::{ExecutionId, Value};

record! {
    /// Settles the session: sent once, right after `ready` was accepted. There is no answer.
    Init {
        required {
            /// The protocol version that the host speaks.
            protocol: u32,
        }
        optional {
            /// A name for the session, for the worker's logs.
            session: Option<String> = None,
            /// The working folder.
            cwd: Option<String> = None,
            /// Changes to the environment; nil removes the name.
            env: Vec<(String, Option<String>)> = Vec::new(),
            /// Folders to put in front of the module path, in this order.
            sys_path: Vec<String> = Vec::new(),
            /// Limits on what the worker sends.
            limits: Limits = Limits::new(),
            /// Where the numbering of executions goes on, after a restore.
            seq: Option<u64> = None,
        }
    }
}

record! {
    /// Limits on what a worker sends; absent ones are the worker's choice.
    Limits nested "a map of limits" {
        optional {
            /// The longest `repr`, in characters.
            max_repr: Option<u64> = None,
            /// The most frames of one traceback.
            max_frames: Option<u64> = None,
            /// The largest data of one `display`, in bytes.
            max_display: Option<u64> = None,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::new()
    }
}

record! {
    /// Runs code (C1). Answered by `started`, any number of events, and one `result` or `error`.
    Execute {
        required {
            /// A new id.
            id: ExecutionId,
            /// What to run.
            code: String,
        }
        optional {
            /// When the request was made, in seconds since 1970; for logs only.
            timestamp: Option<f64> = None,
            /// Whether to keep the source for tracebacks.
            capture_source: bool = true,
            /// The name of the code in tracebacks.
            filename: Option<String> = None,
            /// Whether to leave out the value of the last expression.
            silent: bool = false,
            /// Whether code may ask for input; if not, asking is an end of file.
            allow_stdin: bool = true,
            /// Whether to run in a namespace of its own, which ends with the execution.
            fresh: bool = false,
            /// Whether to send the value as a rich bundle too.
            mime: bool = false,
            /// Folders to put in front of the module path for this execution.
            sys_path: Vec<String> = Vec::new(),
            /// The working folder for this execution.
            cwd: Option<String> = None,
            /// Names to bind before the code runs.
            args: Vec<(String, Value)> = Vec::new(),
        }
    }
}

record! {
    /// Stops an execution (C9). Answered by `cancel_ack`.
    Cancel {
        required {
            /// The execution to stop.
            id: ExecutionId,
        }
        optional {
            /// Whether code that swallowed a first cancel is to be stopped by stronger means.
            force: bool = false,
            /// Why, for the worker's log.
            reason: Option<String> = None,
        }
    }
}

record! {
    /// Answers an `input_request` (C5). A late one is dropped.
    InputResponse {
        required {
            /// The execution that asked.
            id: ExecutionId,
            /// The number of its request.
            request: u64,
        }
        optional {
            /// The line, without its end.
            value: Option<String> = None,
            /// Whether the input has ended: code sees an end of file.
            eof: bool = false,
        }
    }
}

record! {
    /// Asks for a sign of life (C6). Answered by a `heartbeat` with the same number, also while code runs.
    Ping {
        required {
            /// Repeated in the answer.
            seq: u64,
        }
    }
}

record! {
    /// Empties the namespace. Answered by `reset_result`.
    Reset {
        required {
            /// A new id.
            id: ExecutionId,
        }
        optional {
            /// Names to keep.
            keep: Vec<String> = Vec::new(),
        }
    }
}

record! {
    /// Lists the names of the session. Answered by `vars_result`.
    Vars {
        required {
            /// A new id.
            id: ExecutionId,
        }
        optional {
            /// How many at most.
            max: Option<u64> = None,
        }
    }
}

record! {
    /// Asks what could stand at a place in code. Answered by `complete_result`.
    Complete {
        required {
            /// A new id.
            id: ExecutionId,
            /// The code so far.
            code: String,
            /// The place, counted in Unicode scalar values.
            pos: u64,
        }
    }
}

record! {
    /// Reads names of the session. Answered by `get_result`.
    Get {
        required {
            /// A new id.
            id: ExecutionId,
            /// The names to read.
            names: Vec<String>,
        }
    }
}

record! {
    /// Binds names of the session. Answered by `set_result`.
    Set {
        required {
            /// A new id.
            id: ExecutionId,
            /// The names and what they shall mean.
            values: Vec<(String, Value)>,
        }
    }
}

record! {
    /// Asks what stands at a place in code. Answered by `inspect_result`.
    Inspect {
        required {
            /// A new id.
            id: ExecutionId,
            /// The code.
            code: String,
            /// The place, counted in Unicode scalar values.
            pos: u64,
        }
    }
}

record! {
    /// Saves the namespace (C7). Answered by `checkpoint_data`, in one or more parts.
    Checkpoint {
        required {
            /// A new id.
            id: ExecutionId,
        }
        optional {
            /// The only names to save; all if absent.
            include: Option<Vec<String>> = None,
            /// Names to leave out.
            exclude: Vec<String> = Vec::new(),
            /// Who writes the data.
            mode: CheckpointMode = CheckpointMode::Inline,
            /// The most bytes to save.
            max_bytes: Option<u64> = None,
            /// The abstract name of the socket at which the host waits for the forked child.
            address: Option<String> = None,
            /// What the forked child sends there before anything else.
            secret: Option<String> = None,
        }
    }
}

words! {
    /// Who writes the data of a checkpoint.
    CheckpointMode, "`inline` or `fork`" {
        /// The worker, as parts on the channel.
        Inline = "inline",
        /// A forked child, to a socket of the host, if the worker can be forked and that is worth it.
        Fork = "fork",
    }
}

record! {
    /// Brings a saved namespace back (C7), in one or more parts. The last is answered by `restored`.
    Restore {
        required {
            /// A new id, the same for every part.
            id: ExecutionId,
        }
        optional {
            /// The bytes of this part.
            data: Bytes = Bytes::new(),
            /// The number of this part, from 0.
            part: u64 = 0,
            /// Whether this is the last part.
            last: bool = true,
            /// The only names to bring back; all if absent.
            names: Option<Vec<String>> = None,
        }
    }
}

record! {
    /// Forks the worker: its copy becomes a worker of its own. Answered by `forked`.
    Fork {
        required {
            /// A new id.
            id: ExecutionId,
            /// The abstract name of the socket at which the host waits for the copy.
            address: String,
            /// The tag of the copy.
            tag: String,
            /// The working folder of the copy, if the worker is still in the one that it started in.
            folder: String,
        }
        optional {
            /// What is sent to the socket before anything else.
            secret: Option<String> = None,
        }
    }
}

record! {
    /// Ends the worker: what runs is cancelled first. Answered by `bye` and exit 0.
    Shutdown {
        optional {
            /// Why, for the worker's log.
            reason: Option<String> = None,
            /// The seconds that what runs may still take.
            timeout: Option<f64> = None,
        }
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

record! {
    /// Says that a message was not understood. Never answered, so that two peers cannot complain for ever.
    ProtocolError {
        required {
            /// What was wrong, in a sentence.
            what: String,
        }
        optional {
            /// What would have been right.
            expected: Option<String> = None,
            /// What came.
            got: Option<String> = None,
            /// The execution that the message was about.
            id: Option<ExecutionId> = None,
        }
    }
}
