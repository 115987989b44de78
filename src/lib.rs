//! Ostler runs code in supervised worker subprocesses.

pub mod actor;
pub mod config;
mod error;
mod execution;
mod machine;
mod outcome;
pub mod protocol;
mod request;
mod runtime;
mod session;
mod status;
#[cfg(feature = "testing")]
pub mod testing;
#[cfg_attr(not(feature = "testing"), expect(unreachable_pub, reason = "public through `testing`"))]
mod worker;

pub use crate::{
    config::{PoolConfig, RestartPolicy, Transport, WorkerSpec},
    error::{ConfigError, NotFound, SpawnError, StartError, SubmitError},
    execution::{Canceller, Execution},
    outcome::{
        Cancelled, Completion, Death, DeathCause, Display, Event, Exit, Failure, Generation, InputRequest,
        Lost, LostCause, Outcome, Phase, Report, Rung, TimedOut, Usage,
    },
    protocol::{Codec, Exception, ExecutionId, Stream, Value},
    request::{Label, Request},
    runtime::{Runtime, RuntimeBuilder},
    session::{Session, SessionEvent},
    status::{ExecutionStatus, PoolStatus, SessionState, SessionStatus, Totals},
    worker::{PythonInfo, python_info},
};
