//! What can go wrong with the state of a session: saving it, bringing it back, reading what was saved.

use std::time::Duration;

use super::{StoreError, SubmitError};
use crate::outcome::Lost;

/// The state of a session was not saved, or not brought back. The session goes on as it was, unless it is lost.
#[derive(Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// Its worker was not asked.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// What would be saved is larger than it may be.
    #[error(
        "the state of the session is larger than {limit} bytes; delete what is not needed, or raise `max_checkpoint_bytes`"
    )]
    TooLarge {
        /// The limit.
        limit: usize,
    },
    /// The worker cannot, or will not.
    #[error("the worker refused: {why}")]
    Refused {
        /// What it said.
        why: String,
    },
    /// The session cannot be forked now.
    #[error("the session cannot be forked: {why}")]
    NotForked {
        /// What is in the way.
        why: String,
    },
    /// It took too long.
    #[error("the session was not done within {after:?}; save less, or raise `checkpoint_timeout`")]
    TimedOut {
        /// The limit, with the wait in the session's queue.
        after: Duration,
    },
    /// Somebody cancelled it by its id.
    #[error("it was cancelled")]
    Cancelled,
    /// The worker ended before it answered; the session with it, unless it is
    /// [restored](crate::OnDeath::Restore).
    #[error("{0}")]
    Lost(Lost),
    /// Its worker died while this state was saved, and the session was restored from an older one meanwhile.
    #[error(
        "its worker died while its state was being saved, and the session goes on with an older state; look at what was lost, and save it again"
    )]
    Overtaken,
    /// It was not kept on disk, or is not there as it should be.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The runtime keeps no states.
    #[error("this runtime keeps no states on disk; give its builder a `state_dir`")]
    NotKept,
    /// The session has no name to be kept under.
    #[error("the session has no name; lease it with `session_named`, or keep the bytes of its `checkpoint`")]
    Nameless,
    /// No state of this name was ever saved.
    #[error("no session `{name}` was saved; `saved_sessions` lists those that were")]
    NotSaved {
        /// The name.
        name: String,
    },
    /// What the worker sent is not what it said that it sent.
    #[error("the checkpoint was damaged on its way: expected {expected}, got {got}; try again")]
    Damaged {
        /// Length and checksum by the worker.
        expected: String,
        /// Length and checksum of what came.
        got: String,
    },
}

/// These bytes are no checkpoint that this version can read. Nothing was changed.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// They begin like something else.
    #[error("these bytes are no checkpoint: expected them to begin with `OSTLERCP`, got {got}")]
    Foreign {
        /// How they begin.
        got: String,
    },
    /// They were written by another version, or the place of the version was damaged.
    #[error(
        "the checkpoint has format version {found}, this host reads version {supported}; use the host that wrote it"
    )]
    Version {
        /// What it says.
        found: u32,
        /// What can be read.
        supported: u32,
    },
    /// The end is missing, or there is more than the end.
    #[error("the checkpoint is incomplete: expected {expected} bytes, got {got}; use an older one")]
    Length {
        /// By its header.
        expected: u64,
        /// What there is.
        got: u64,
    },
    /// Something in it has changed since it was written.
    #[error("the checkpoint is damaged: expected checksum {expected:08x}, got {got:08x}; use an older one")]
    Checksum {
        /// What was written.
        expected: u32,
        /// What it is now.
        got: u32,
    },
    /// A part of it that lies in a file of its own, or of an older generation, is not as it was written.
    #[error(
        "{len} bytes of the checkpoint, at byte {at} of the file `{file}` in its folder, are {problem}; use an older one"
    )]
    Chunk {
        /// The file, in the folder of the checkpoint.
        file: String,
        /// Where the part begins in it.
        at: u64,
        /// How long it is.
        len: u64,
        /// What is wrong with it: `missing` or `damaged`.
        problem: &'static str,
    },
    /// It is whole, and its manifest cannot be read all the same.
    #[error("the manifest of the checkpoint cannot be read: {why}")]
    Manifest {
        /// What is wrong with it.
        why: String,
    },
}
