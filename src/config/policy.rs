//! When workers are started again, and when they are replaced.

use std::time::Duration;

/// When dead workers are started again.
///
/// The first restart is at once; from the second on, the wait doubles from `min_backoff` to `max_backoff`, with up to
/// half of it taken off at random, so that slots do not start in step. A worker that answered an execution, or lived
/// for `stable_after`, clears the count. More than `intensity` deaths of unproven workers within `window` fail the
/// pool: it refuses requests and says why, instead of letting them wait for ever. After `probe_after` it tries one
/// worker, as a circuit breaker does when it is half open; [`Runtime::reset`](crate::Runtime::reset) tries at once.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RestartPolicy {
    /// First wait. Default: 100 ms.
    pub min_backoff: Duration,
    /// Longest wait. Default: 10 s.
    pub max_backoff: Duration,
    /// Deaths in a row, within `window`, that fail the pool. Default: 5.
    pub intensity: u32,
    /// The sliding window. Default: 60 s.
    pub window: Duration,
    /// A worker that was ready and lived this long was a success. Default: 10 s.
    pub stable_after: Duration,
    /// How long a failed pool waits before it tries one worker; if that becomes ready, the pool serves again.
    /// Default: 60 s.
    pub probe_after: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            min_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(10),
            intensity: 5,
            window: Duration::from_secs(60),
            stable_after: Duration::from_secs(10),
            probe_after: Duration::from_secs(60),
        }
    }
}

/// What becomes of a leased session when its worker dies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnDeath {
    /// It ends: what waits in its queue is lost, and what is submitted is refused with the reason.
    #[default]
    Fail,
    /// It goes on in a new worker, with the state that was last saved or taken with
    /// [`Session::checkpoint`](crate::Session::checkpoint), or with none if there is no such state. What ran is lost, and is
    /// not run again; what the worker was given and did not start, and what waits, runs when the state is back. What is back
    /// and what is lost is [told](crate::Event::SessionRestored) before the next code runs. A session ends all the same when
    /// more than [`RestartPolicy::intensity`] of its workers die in a row of the state itself, or by themselves; or when the
    /// pool starts no more workers.
    Restore,
}

/// When workers that live are replaced: between two executions, never in the middle of one.
///
/// A worker at `max_executions` serves nobody any more. The other limits are softer: the worker goes on serving until
/// a successor is ready, one at a time, or, without `surge`, until nothing else is starting or ending. So a limit that
/// strikes everywhere at once, or a successor that does not become ready, never empties the pool.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RecyclePolicy {
    /// Executions that a worker may serve. Default: `None`, any number.
    pub max_executions: Option<u32>,
    /// How old a worker may become. Default: `None`.
    pub max_age: Option<Duration>,
    /// Resident memory that a worker may hold between executions, in bytes, as the operating system counts it.
    /// Default: `None`.
    pub max_memory: Option<u64>,
    /// The part of each limit that chance may take off, so that workers of one age do not end together; 0 to 1.
    /// Default: 0.1.
    pub jitter: f64,
}

impl Default for RecyclePolicy {
    fn default() -> Self {
        Self { max_executions: None, max_age: None, max_memory: None, jitter: 0.1 }
    }
}
