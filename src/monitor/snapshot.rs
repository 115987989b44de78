//! What is told: one line of JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::status::{Latency, PoolStatus};

/// The version of [`Snapshot`]. Fields may be added without a new one; readers ignore what they do not know.
pub const VERSION: u32 = 1;

/// A pool at one moment, with what happened before. Times are in seconds, sizes in bytes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
#[expect(
    missing_docs,
    reason = "as in `PoolStatus` and `Totals`, which it repeats; the others are documented"
)]
pub struct Snapshot {
    /// See [`VERSION`].
    pub version: u32,
    /// The process of the pool.
    pub pid: u32,
    /// Time since it is served here.
    pub uptime: f64,
    pub idle: usize,
    pub busy: usize,
    pub leased: usize,
    pub starting: usize,
    pub retiring: usize,
    pub backing_off: usize,
    pub max_sessions: usize,
    pub queued: usize,
    pub spawned: u64,
    pub crashed: u64,
    pub recycled: u64,
    /// Those of them in which code that had ended left something running.
    #[serde(default)]
    pub left_over: u64,
    pub trouble: Option<String>,
    pub failed: Option<String>,
    pub shutting_down: bool,
    pub accepted: u64,
    pub completed: u64,
    /// Executions that failed.
    pub failures: u64,
    pub cancelled: u64,
    pub timed_out: u64,
    pub lost: u64,
    pub in_flight: u64,
    /// Executions that ended within the last second, a second.
    pub rate: f64,
    pub queue_wait: Times,
    pub run_time: Times,
    pub peak_memory: Option<u64>,
    /// The sessions that have a worker, or wait for one.
    pub sessions: Vec<SessionLine>,
    /// What happened, oldest first.
    pub events: Vec<Moment>,
}

/// How long executions took, in seconds; see [`Latency`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[expect(missing_docs, reason = "as in `Latency`")]
pub struct Times {
    pub count: u64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
}

/// A session at one moment; see [`SessionStatus`](crate::SessionStatus).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
#[expect(missing_docs, reason = "as in `SessionStatus`; the others are documented")]
pub struct SessionLine {
    pub slot: usize,
    pub generation: u64,
    pub pid: Option<u32>,
    /// The words of [`SessionState`](crate::SessionState).
    pub state: String,
    pub leased: bool,
    pub age: f64,
    pub executions: u32,
    /// Resident memory.
    pub memory: Option<u64>,
    /// Processor time that it used in the last few seconds, in percent of one processor.
    pub cpu: Option<f64>,
    pub unresponsive: bool,
    pub last_death: Option<String>,
    pub retry_in: Option<f64>,
}

/// Something that happened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// When, on the clock of [`Snapshot::uptime`].
    pub at: f64,
    /// What.
    pub what: String,
}

impl Snapshot {
    /// Everything but what needs a look before: rates, processor time and events.
    pub(super) fn new(status: &PoolStatus, uptime: Duration) -> Self {
        let totals = &status.totals;
        Self {
            version: VERSION,
            pid: std::process::id(),
            uptime: uptime.as_secs_f64(),
            idle: status.idle,
            busy: status.busy,
            leased: status.leased,
            starting: status.starting,
            retiring: status.retiring,
            backing_off: status.backing_off,
            max_sessions: status.max_sessions,
            queued: status.queued,
            spawned: status.spawned,
            crashed: status.crashed,
            recycled: status.recycled,
            left_over: status.left_over,
            trouble: status.trouble.clone(),
            failed: status.failed.clone(),
            shutting_down: status.shutting_down,
            accepted: totals.accepted,
            completed: totals.completed,
            failures: totals.failed,
            cancelled: totals.cancelled,
            timed_out: totals.timed_out,
            lost: totals.lost,
            in_flight: totals.in_flight,
            queue_wait: status.queue_wait.into(),
            run_time: status.run_time.into(),
            peak_memory: status.peak_memory,
            ..Self::default()
        }
    }
}

impl From<Latency> for Times {
    fn from(latency: Latency) -> Self {
        let Latency { count, p50, p90, p99, max, total: _ } = latency;
        let [p50, p90, p99, max] = [p50, p90, p99, max].map(|time| time.as_secs_f64());
        Self { count, p50, p90, p99, max }
    }
}
