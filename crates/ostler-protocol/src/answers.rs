//! What a worker answers to questions about its session.

use bytes::Bytes;

use super::record::record;
use super::{ExecutionId, Value};

record! {
    /// Answers `reset`.
    ResetResult {
        required {
            /// The id of the question.
            id: ExecutionId,
        }
    }
}

record! {
    /// Answers `vars`.
    VarsResult {
        required {
            /// The id of the question.
            id: ExecutionId,
            /// The names of the session.
            vars: Vec<Variable>,
        }
        optional {
            /// How many there are, if not all are told.
            total: Option<u64> = None,
        }
    }
}

record! {
    /// A name of the session.
    Variable nested "a map with name, type and repr" {
        required {
            /// The name.
            name: String,
            /// The type of its value.
            type_name as "type": String,
            /// Its value as the language prints it, shortened.
            repr: String,
        }
        optional {
            /// The bytes of the value itself, without what it refers to.
            size: Option<u64> = None,
        }
    }
}

record! {
    /// Answers `complete`.
    CompleteResult {
        required {
            /// The id of the question.
            id: ExecutionId,
            /// What could stand there.
            matches: Vec<String>,
            /// Where the text begins that a match replaces, in Unicode scalar values.
            start: u64,
            /// Where it ends.
            end: u64,
        }
    }
}

record! {
    /// Answers `get`.
    GetResult {
        required {
            /// The id of the question.
            id: ExecutionId,
            /// The names that were found, with their values.
            values: Vec<(String, Value)>,
            /// The names that were not found, or whose values cannot be expressed.
            missing: Vec<String>,
        }
    }
}

record! {
    /// Answers `set`.
    SetResult {
        required {
            /// The id of the question.
            id: ExecutionId,
        }
    }
}

record! {
    /// Answers `inspect`.
    InspectResult {
        required {
            /// The id of the question.
            id: ExecutionId,
            /// Whether anything is known about it.
            found: bool,
            /// What is known.
            text: String,
        }
    }
}

record! {
    /// A part of a saved namespace (C7). What describes the whole is in the last part.
    CheckpointData {
        required {
            /// The id of the question.
            id: ExecutionId,
            /// The number of this part, from 0.
            part: u64,
            /// Whether this is the last part.
            last: bool,
        }
        optional {
            /// The bytes of this part.
            data: Bytes = Bytes::new(),
            /// The names that were saved.
            names: Vec<String> = Vec::new(),
            /// The names that could not be saved, and why.
            skipped: Vec<SkippedName> = Vec::new(),
            /// The length of all parts together.
            bytes: Option<u64> = None,
            /// A checksum of all parts together, as `algorithm:hex`.
            checksum: Option<String> = None,
            /// The source of the functions among the names.
            function_sources: Vec<(String, String)> = Vec::new(),
            /// The source of the classes among the names.
            class_sources: Vec<(String, String)> = Vec::new(),
            /// The modules that the names need.
            imports: Vec<String> = Vec::new(),
        }
    }
}

record! {
    /// A name that could not be saved.
    SkippedName nested "a map with name, type and reason" {
        required {
            /// The name.
            name: String,
            /// The type of its value.
            type_name as "type": String,
            /// Why not.
            reason: String,
        }
    }
}

record! {
    /// Answers `restore` (C7).
    Restored {
        required {
            /// The id of the question.
            id: ExecutionId,
            /// The names that are back.
            names: Vec<String>,
        }
        optional {
            /// The names that are not, and why.
            failed: Vec<NameFailure> = Vec::new(),
        }
    }
}

record! {
    /// Answers `fork`: the copy is on its way to the host.
    Forked {
        required {
            /// The id of the question.
            id: ExecutionId,
        }
    }
}

record! {
    /// A name that could not be brought back.
    NameFailure nested "a map with name and reason" {
        required {
            /// The name.
            name: String,
            /// Why not.
            reason: String,
        }
    }
}
