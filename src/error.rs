//! What can go wrong before there is an execution. How an execution ends is an [`Outcome`](crate::Outcome).

use std::{io, path::PathBuf, time::Duration};

use crate::{
    outcome::{Death, Generation},
    request::Tenant,
};

mod call;
mod state;
mod store;

pub use call::CallError;
pub use state::{CheckpointError, StateError};
pub use store::StoreError;

/// A worker process could not be started.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// No such program.
    #[error("worker program `{}` was not found{}; give its full path, or install it", .program.display(), searched(.path_searched))]
    NotFound {
        /// What was asked for.
        program: PathBuf,
        /// The `PATH` that was searched, if it was.
        path_searched: Option<String>,
    },
    /// It is there, but is not a program.
    #[error("worker program `{}` cannot be executed: {why}", .program.display())]
    NotExecutable {
        /// The file.
        program: PathBuf,
        /// What it is instead.
        why: &'static str,
    },
    /// The interpreter was found, but cannot run the shipped worker.
    #[error("interpreter `{}` cannot run the worker: {why}", .program.display())]
    Interpreter {
        /// The interpreter.
        program: PathBuf,
        /// What it did, with the end of its stderr.
        why: String,
    },
    /// A module that every worker was to have could not be imported. See
    /// [`WorkerSpec::preload`](crate::WorkerSpec::preload).
    #[error(
        "failed to preload module `{module}` with interpreter `{}`: {why}; install it there, or take it out of `preload`",
        .program.display()
    )]
    Preload {
        /// The module.
        module: String,
        /// The interpreter.
        program: PathBuf,
        /// The exception, or how the interpreter ended.
        why: String,
    },
    /// The operating system refused.
    #[error("failed to {action} for worker program `{}`", .program.display())]
    System {
        /// What was tried.
        action: &'static str,
        /// The program.
        program: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

fn searched(path: &Option<String>) -> String {
    path.as_ref().map(|path| format!(" in PATH `{path}`")).unwrap_or_default()
}

fn when(retry_after: &Option<Duration>) -> String {
    match retry_after {
        Some(after) => format!("in about {after:.0?}"),
        None => "when some have ended".into(),
    }
}

/// A setting that cannot work.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid setting `{key}`: {why}")]
pub struct ConfigError {
    /// The setting.
    pub key: &'static str,
    /// What is wrong with it, and what would be right.
    pub why: String,
}

/// The runtime did not start. Nothing of it runs.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A setting cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The first worker could not be started.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// The first worker started and ended before it was ready.
    #[error("no worker became ready: {0}")]
    Worker(Box<Death>),
    /// The `state_dir` cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The supervisor ended while it started.
    #[error("the supervisor actor ended while it started: {0}")]
    Supervisor(String),
}

/// The pool was not rolled to a new spec; its old workers serve on.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// The spec cannot take the place of the old one.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The first worker of the new spec never became ready. The pool goes on trying, within the limits of its
    /// [`RestartPolicy`](crate::RestartPolicy); reload the old spec to give up.
    #[error("the first worker of the new spec did not become ready, and the old workers serve on: {why}")]
    NotReady {
        /// What it died of.
        why: String,
    },
    /// Nothing is known of the first worker of the new spec yet: every session was in use. The roll goes on as they
    /// become free.
    #[error(
        "no worker of the new spec came up within {after:?}: no session became free for it; the reload goes on, \
         release a session or raise `max_sessions` or `surge`"
    )]
    Pending {
        /// The lease timeout, the grace, the ready timeout and the warmup timeout together.
        after: Duration,
    },
    /// Another reload came before this one was through.
    #[error(
        "another reload took the place of this one before its first worker was ready, or the runtime ended"
    )]
    Superseded,
}

/// A request was not accepted. No worker saw it: submitting it again is safe.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubmitError {
    /// As many requests wait as may.
    #[error("the queue is full: {len} of {limit} requests wait; submit again {}, or raise `queue`", when(.retry_after))]
    QueueFull {
        /// How many wait.
        len: usize,
        /// The limit.
        limit: usize,
        /// When a place will probably be free, once there have been enough executions to say.
        retry_after: Option<Duration>,
    },
    /// The requests that wait take as much memory as they may.
    #[error(
        "the queue is full: {waiting} of {limit} bytes of requests wait, and this one has {len}; submit again {}, raise `queue_bytes`, or pass large inputs as files",
        when(.retry_after)
    )]
    QueueBytes {
        /// Bytes of the requests that wait.
        waiting: usize,
        /// Bytes of this one.
        len: usize,
        /// The limit.
        limit: usize,
        /// When a place will probably be free, once there have been enough executions to say.
        retry_after: Option<Duration>,
    },
    /// As many requests of this tenant wait as may.
    #[error(
        "the queue of tenant `{tenant}` is full: {len} of {limit} requests wait; submit again {}, or raise `tenant_queue`",
        when(.retry_after)
    )]
    TenantFull {
        /// The tenant.
        tenant: Tenant,
        /// How many of it wait.
        len: usize,
        /// The limit.
        limit: usize,
        /// When a place will probably be free, once there have been enough executions to say.
        retry_after: Option<Duration>,
    },
    /// It would wait for longer than its deadline allows, as things are.
    #[error(
        "the request would wait for about {predicted:?}, longer than its deadline of {deadline:?}: {len} requests wait; submit again later, give it longer, or raise `max_sessions`"
    )]
    TooLate {
        /// The wait, predicted from the executions so far.
        predicted: Duration,
        /// The deadline of the request.
        deadline: Duration,
        /// How many wait.
        len: usize,
    },
    /// The session's own queue is full.
    #[error(
        "the session is busy and its queue is full: {limit} of {limit} executions wait; await one of them first, or raise `session_queue`"
    )]
    SessionQueueFull {
        /// The limit.
        limit: usize,
    },
    /// The request can never be carried out.
    #[error(
        "the request is too large: {len} bytes encoded, the frame limit is {limit}; pass large inputs as files"
    )]
    TooLarge {
        /// Its size.
        len: usize,
        /// The limit.
        limit: usize,
    },
    /// The workers of this pool cannot carry it out.
    #[error("the workers of this pool cannot carry the request out: {why}")]
    Unfit {
        /// Why, and what they can.
        why: String,
    },
    /// The runtime is shutting down, or has.
    #[error("the runtime is shutting down; start a new one")]
    ShuttingDown,
    /// The pool gave up on its workers.
    #[error("the pool has failed: {why}")]
    PoolFailed {
        /// The cause of the last death.
        why: String,
    },
    /// The leased session has ended.
    #[error("the session has ended: {why}; lease a new one")]
    SessionEnded {
        /// How.
        why: String,
    },
    /// The session is in another worker than the one that the request was made for.
    #[error(
        "the request expects generation {expected} of the session, and it is generation {found} now: what it was made for is gone; look at what was restored, and submit it for {found}"
    )]
    OtherGeneration {
        /// What [`Request::expect_generation`](crate::Request::expect_generation) said.
        expected: Generation,
        /// The generation of the session.
        found: Generation,
    },
    /// No session became free in time.
    #[error(
        "no session became free within {after:?}: {sessions} of {limit} sessions are in use; release one, or raise `max_sessions`"
    )]
    NoSession {
        /// How long it waited: the pool's `lease_timeout`.
        after: Duration,
        /// Sessions in use.
        sessions: usize,
        /// The limit.
        limit: usize,
    },
}

/// A cancel or an answer named an execution that does not run.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no execution {0} is queued or running: it has ended, or never was")]
pub struct NotFound(pub crate::protocol::ExecutionId);
