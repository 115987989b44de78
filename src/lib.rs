//! Ostler runs code in supervised worker subprocesses: long-lived, stateful Python processes, or any program that
//! speaks the worker protocol. They may crash, hang, flood or lie; every request still ends exactly once.
//!
//! ```
//! use ostler::{Event, Outcome, Request, Runtime, Value, WorkerSpec};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime = Runtime::builder(WorkerSpec::python()).max_sessions(2).start().await?;
//!
//! // Collect everything …
//! let report = runtime.run("print('hello')\n6 * 7").await?;
//! assert_eq!(report.stdout_text(), "hello\n");
//! assert_eq!(report.value(), Some(&Value::from(42)));
//!
//! // … or stream it. An error of the code is an outcome, not an `Err`.
//! let mut execution = runtime.execute(Request::python("print('a'); 1 / 0").label("demo")).await?;
//! while let Some(event) = execution.next().await {
//!     if let Event::Output { data, .. } = event {
//!         assert_eq!(&data[..], b"a\n");
//!     }
//! }
//! assert!(matches!(execution.outcome().await, Outcome::Failed(_)));
//!
//! // A worker of one's own keeps its variables from one execution to the next.
//! let session = runtime.session().await?;
//! session.run("x = 41").await?;
//! assert_eq!(session.run("x + 1").await?.value(), Some(&Value::from(42)));
//!
//! runtime.shutdown(std::time::Duration::from_secs(1)).await;
//! # Ok(())
//! # }
//! ```
//!
//! # Three handles
//! - [`Runtime`]: the pool. Clones share it; it stops when the last handle of any kind is dropped.
//! - [`Execution`]: one accepted request: a stream of [`Event`]s, then exactly one [`Outcome`].
//! - [`Session`]: the exclusive lease on one stateful worker.
//!
//! # What is promised
//! - Every accepted request has exactly one outcome, at the latest at its deadline + the grace + 250 ms, whatever dies.
//! - An `Err` from submitting means that no worker saw the request. [`Lost`] with `started: false` means that its code
//!   did not run. Code starts at most once.
//! - Output comes in order, at most once, and never after the outcome; at most [`config::WINDOW`] bytes of an execution
//!   are in flight.
//! - A cancel ends within the grace, and says what it took ([`CancelStage`]). A worker that obeyed keeps its state.
//! - Queues, frames, reports and restarts have limits, all named in [`config`].
//! - No process, descriptor, task or scratch folder outlives the pool.
//!
//! # How long may it take?
//! | call | waits at most | then |
//! |---|---|---|
//! | [`RuntimeBuilder::start`] | ready timeout + warmup timeout; with a `state_dir`, checkpoint timeout for the disk before | [`StartError`] |
//! | [`Runtime::execute`], [`Runtime::execute_for`], [`Session::execute`] | not: admission answers at once | [`SubmitError`] |
//! | [`Runtime::run`], [`Runtime::run_all`], [`Session::run`] | deadline + grace + 250 ms | [`Outcome::TimedOut`] |
//! | [`Runtime::call`], [`Runtime::call_with`], [`Session::call`], [`Session::notify`] | deadline + grace + 250 ms | [`CallError::Unanswered`] |
//! | [`Execution::outcome`], [`Execution::report`], [`Execution::next`] | deadline + grace + 250 ms | [`Outcome::TimedOut`] |
//! | [`EventLog::ended`], [`LogReader::next`] | deadline + grace + 250 ms | [`Outcome::TimedOut`] |
//! | [`Session::inspect`], [`Execution::inspect`] | [`config::STACKS_LIMIT`] | it tells what it knows |
//! | [`Session::checkpoint`], [`Session::vars`], [`Session::restore`] | checkpoint timeout + grace + 250 ms | [`StateError::TimedOut`] |
//! | [`Runtime::session_from`] | lease timeout, then as those | [`StateError`] |
//! | [`Runtime::session_named`], [`Runtime::resume`] | twice the lease timeout (for the name, and for a session), checkpoint timeout for the disk, then as those | [`StateError`] |
//! | [`Session::save`], [`Session::end`] | twice the checkpoint timeout (for the worker, and for the disk) + grace + 250 ms | [`StateError::TimedOut`], [`StoreError::TimedOut`] |
//! | [`Session::fork`] | lease timeout + checkpoint timeout + grace + 10 s | [`SubmitError::NoSession`], [`StateError::TimedOut`], [`StateError::NotForked`] |
//! | [`Runtime::session`] | lease timeout | [`SubmitError::NoSession`] |
//! | [`Session::next_event`] | session timeout | [`SessionEvent::Ended`] |
//! | [`Runtime::reload`] | lease timeout + grace + ready timeout + warmup timeout | [`ReloadError::Pending`] |
//! | [`Runtime::shutdown`] | its grace + 1 s | what still runs is killed |
//! | [`Runtime::status`], [`Runtime::list`], [`Runtime::cancel`] | not: the supervisor answers at once | |
//!
//! Whoever asks for no deadline, or a pool without a session timeout (the default), waits as long as the code runs, or
//! as the session lives: until a cancel or the shutdown ends it.
//!
//! # Features
//! - `config-file`: `Settings`, a pool described by a TOML file and by environment variables.
//! - `monitor`: `monitor::serve` tells the state of a pool to other processes of the same user, as `ostler top`.
//! - `metrics`: a pool publishes its figures through the `metrics` facade.
//! - `conform`: the conformance kit, which tests whether a program is a worker.
//! - `testing`: workers scripted in memory, for tests of services that embed Ostler.
//! - `async-trait`, `cluster`: passed through to ractor, whose trait they change; for hosts that use them.
//!
//! Linux only: the end of a worker is seen through its pidfd.

pub mod actor;
mod blocking;
mod checkpoint;
pub mod config;
#[cfg(feature = "conform")]
pub mod conform;
#[cfg(doctest)]
mod doctests;
mod error;
mod event_log;
mod execution;
pub mod json;
mod log;
mod machine;
#[cfg(feature = "monitor")]
pub mod monitor;
mod outcome;
mod readable;
mod recording;
mod report;
mod request;
mod runtime;
mod session;
#[cfg(feature = "config-file")]
mod settings;
mod status;
mod store;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg_attr(not(feature = "testing"), expect(unreachable_pub, reason = "public through `testing`"))]
mod worker;

/// The worker protocol, version 1: see the crate `ostler-protocol`.
#[doc(inline)]
pub use ostler_protocol as protocol;

#[cfg(feature = "config-file")]
pub use crate::settings::{Place, Settings, SettingsError, Source, WorkerSettings};
pub use crate::{
    checkpoint::{Checkpoint, Restored},
    config::{Dialect, JsonRpc, OnDeath, PoolConfig, RecyclePolicy, RestartPolicy, Transport, WorkerSpec},
    error::{
        CallError, CheckpointError, ConfigError, NotFound, ReloadError, SpawnError, StartError, StateError,
        StoreError, SubmitError,
    },
    event_log::{EventLog, LogReader, Logged},
    execution::{Canceller, Execution, ScriptInput},
    outcome::{
        Activity, Call, CancelStage, Cancelled, Child, Completion, Death, DeathCause, Display, Event, Exit,
        Failure, Generation, InputRequest, Load, Lost, LostCause, LostName, Outcome, Phase, Question,
        SessionRestored, Stack, TimedOut, Usage,
    },
    protocol::{
        Codec, Exception, ExecutionId, NameFailure, PlainJson, RpcError, SkippedName, Stream, Value, Variable,
    },
    recording::{Entry, Passed, Recording, RecordingError},
    report::Report,
    request::{Affinity, Label, Request, Script, Stdio, Tenant},
    runtime::{Runtime, RuntimeBuilder},
    session::{Session, SessionEvent, Variables},
    status::{ExecutionStatus, Latency, PoolStatus, SessionState, SessionStatus, Totals, Vitals},
    worker::{PythonInfo, python_info},
};
