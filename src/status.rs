//! What an operator sees: the pool, its sessions and its executions, at one moment.

use std::{collections::BTreeMap, fmt, time::Duration};

use crate::{
    outcome::{Generation, Phase},
    protocol::ExecutionId,
    request::Label,
};

/// The state of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SessionState {
    /// Its worker was started and has not said that it is ready.
    Creating,
    /// Its worker runs the warmup.
    Warming,
    /// Warmed, and never used.
    Ready,
    /// Its worker runs an execution, or has not yet proven that it stopped.
    Busy,
    /// Free, and used before.
    Idle,
    /// Its worker was told to end, or killed.
    ShuttingDown,
    /// Its worker is dead.
    Terminated,
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Creating => "creating",
            Self::Warming => "warming",
            Self::Ready => "ready",
            Self::Busy => "busy",
            Self::Idle => "idle",
            Self::ShuttingDown => "shutting down",
            Self::Terminated => "terminated",
        })
    }
}

/// A pool at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolStatus {
    /// Sessions that are warmed and free.
    pub idle: usize,
    /// Sessions that run an execution, or have not proven that they stopped.
    pub busy: usize,
    /// Sessions that are leased, also those whose worker is being replaced.
    pub leased: usize,
    /// Workers that are being started.
    pub starting: usize,
    /// Workers that are ending.
    pub retiring: usize,
    /// Slots that wait before they start a worker again.
    pub backing_off: usize,
    /// Most workers alive at once.
    pub max_sessions: usize,
    /// Requests that wait for a session.
    pub queued: usize,
    /// Workers that were started since the pool was.
    pub spawned: u64,
    /// Workers that died without being asked to.
    pub crashed: u64,
    /// How many workers ended of each [`DeathCause`](crate::DeathCause), by its [kind](crate::DeathCause::kind).
    pub deaths: BTreeMap<&'static str, u64>,
    /// Workers that were replaced while they lived: worn, of an older spec, or not needed.
    pub recycled: u64,
    /// Those of them that were replaced because code that had ended left something running: they serve nobody else.
    pub left_over: u64,
    /// Leased sessions whose worker died and whose state was brought back in another one.
    pub restored: u64,
    /// States of sessions that were saved without being asked for.
    pub saved: u64,
    /// States of sessions that should have been saved so, and were not.
    pub not_saved: u64,
    /// How often the process that clears up behind this host, should it be killed, was found dead itself. It is replaced.
    pub reapers_lost: u64,
    /// Why the last worker that was started never became ready, until one does.
    pub trouble: Option<String>,
    /// Why the pool starts no more workers, if it gave up.
    pub failed: Option<String>,
    /// Whether the pool is shutting down.
    pub shutting_down: bool,
    /// What became of the requests.
    pub totals: Totals,
    /// How long executions waited, from their acceptance to the start of their code, or to their outcome.
    pub queue_wait: Latency,
    /// How long code ran, from its start to its outcome.
    pub run_time: Latency,
    /// The most resident memory that any worker was seen to hold, in bytes; they are looked at every
    /// [`LOOK_EVERY`](crate::config::LOOK_EVERY). `None` before the first look.
    pub peak_memory: Option<u64>,
    /// The sessions that have a worker.
    pub sessions: Vec<SessionStatus>,
}

/// Counts of requests since the pool was started. `accepted` is the sum of the outcomes and `in_flight`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Requests accepted.
    pub accepted: u64,
    /// Executions that completed.
    pub completed: u64,
    /// Executions that failed.
    pub failed: u64,
    /// Executions that were cancelled.
    pub cancelled: u64,
    /// Executions whose deadline passed.
    pub timed_out: u64,
    /// Executions that were lost.
    pub lost: u64,
    /// Executions without an outcome yet.
    pub in_flight: u64,
    /// Executions that were given to a second worker, because the first died before it started them.
    pub requeued: u64,
    /// Frames of executions that had ended.
    pub late_frames: u64,
    /// Bytes of output that nobody took: discarded after a cancel or a deadline, or because a handle was dropped or only
    /// waited for the outcome, or because there was no room and nobody to wait for.
    pub dropped_bytes: u64,
    /// Writes that a worker's pipe did not take at once.
    pub partial_writes: u64,
    /// Lines that JSON-RPC servers printed between their messages.
    pub stray_lines: u64,
    /// Notifications of JSON-RPC servers that belonged to no execution, and to no leased session.
    pub unclaimed: u64,
}

/// How long executions took since the pool was started. `p50`, `p90` and `p99` come from a histogram, and are within
/// 6.25 % of the truth; `count`, `total` and `max` are exact, to the microsecond.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Latency {
    /// How many were timed.
    pub count: u64,
    /// The sum of their times.
    pub total: Duration,
    /// Half of them took no longer.
    pub p50: Duration,
    /// Nine of ten took no longer.
    pub p90: Duration,
    /// 99 of 100 took no longer.
    pub p99: Duration,
    /// The longest.
    pub max: Duration,
}

/// What the operating system says of a worker's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vitals {
    /// Resident memory, in bytes.
    pub memory: u64,
    /// Processor time that it has used.
    pub cpu_time: Duration,
    /// Whether it is stopped, as by SIGSTOP or a debugger.
    pub stopped: bool,
}

/// A session at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SessionStatus {
    /// Its place in the pool.
    pub slot: usize,
    /// Which worker of that place it is.
    pub generation: Generation,
    /// Its worker's process id, once known.
    pub pid: Option<u32>,
    /// Its state.
    pub state: SessionState,
    /// Whether it is leased.
    pub leased: bool,
    /// What it runs.
    pub execution: Option<ExecutionId>,
    /// Time since its worker was started.
    pub age: Duration,
    /// Executions that it has answered.
    pub executions: u32,
    /// What the operating system said of its worker, at most [`LOOK_EVERY`](crate::config::LOOK_EVERY) ago.
    pub vitals: Option<Vitals>,
    /// Whether its worker was asked for a sign of life and has not given one: a long call, or a fault.
    pub unresponsive: bool,
    /// What brought it into its state.
    pub cause: &'static str,
    /// How the worker before it died, if it died unasked.
    pub last_death: Option<String>,
    /// When its place starts a worker again, if it waits for that.
    pub retry_in: Option<Duration>,
}

/// An execution at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExecutionStatus {
    /// Which one.
    pub id: ExecutionId,
    /// The label of its request.
    pub label: Option<Label>,
    /// Where it is.
    pub phase: Phase,
    /// Its place in the pool, once it has one.
    pub slot: Option<usize>,
    /// Time since it was accepted.
    pub age: Duration,
}
