//! How a pool behaves.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use crate::{
    config::{OnDeath, RecyclePolicy, RestartPolicy},
    error::ConfigError,
    request::Tenant,
};

/// How a pool behaves. Every field has a default; `RuntimeBuilder` sets them one by one.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct PoolConfig {
    /// Names the pool in metrics. Default: `default`.
    pub name: String,
    /// Sessions that are kept ready for the next request. Default: 1.
    pub min_idle: usize,
    /// Most workers alive at once, starting and dying ones included. Default: the number of processors, at least 2.
    pub max_sessions: usize,
    /// Most requests that one JSON-RPC server has at once. Default: 16. Other workers have one at a time, whatever this
    /// says, and so do leased sessions.
    pub in_flight: usize,
    /// Most requests that wait for a session. Default: 256.
    pub queue: usize,
    /// Most bytes of memory that the requests take that wait, in the queue and in the queues of leased sessions together. One
    /// that need not wait is never refused for it. Default: 64 MiB.
    pub queue_bytes: usize,
    /// Most requests of one tenant that wait, so that none of them can take the whole queue. Default: 64.
    pub tenant_queue: usize,
    /// How often a tenant is served in its turn, where another one is served once. Default: none, 1 each. Tenants that wait
    /// at the same time keep workers in these shares, at least one each while there are enough; with fewer workers than
    /// tenants a turn is what one gets before its worker is replaced for the next, so larger weights mean fewer new workers.
    pub tenant_weights: BTreeMap<Tenant, u32>,
    /// Whether a worker that has run code of one [tenant](crate::Request::tenant) may run code of another. Default: false.
    /// Then a tenant finds nothing that another one left behind in a worker, and leaves nothing there for it; requests and
    /// sessions without a tenant count as one tenant more. What it costs is a new worker when all that are idle are of
    /// others: the one that was used least recently is replaced, which takes as long as a start, or 2.6 ms with
    /// [`preload`](crate::WorkerSpec::preload). `min_idle` sessions are kept ready beside those that are a named tenant's.
    /// JSON-RPC servers that keep nothing of their callers may well be shared.
    pub share_workers: bool,
    /// How long a request may wait for a session. Default: `None`, until its deadline.
    pub queue_timeout: Option<Duration>,
    /// Most executions that wait in a leased session while one runs. Default: 16; 0 refuses them.
    pub session_queue: usize,
    /// Time from submission to outcome for a request that names none. Default: 60 s; `None`: no limit.
    pub deadline: Option<Duration>,
    /// Time from a cancel or a deadline until the worker is killed. Default: 1 s.
    pub grace: Duration,
    /// Time from the start of a worker to its `ready`. Default: 10 s.
    pub ready_timeout: Duration,
    /// Code that a worker runs before it is offered. Default: none.
    pub warmup: Option<String>,
    /// Time that the warmup may take. Default: 60 s.
    pub warmup_timeout: Duration,
    /// How long a caller waits for a session to lease. Default: 30 s.
    pub lease_timeout: Duration,
    /// A leased session that runs nothing for this long is ended. Default: `None`, never.
    pub session_timeout: Option<Duration>,
    /// Most bytes of output kept in one [`Report`](crate::Report). Default: 16 MiB.
    pub max_report_bytes: usize,
    /// Most bytes of one [`Checkpoint`](crate::Checkpoint). Default: 256 MiB.
    pub max_checkpoint_bytes: usize,
    /// Time that saving or restoring the state of a session may take, with its wait in the session's queue. Then it is
    /// cancelled, as an execution at its deadline. A disk that the state goes to, or comes from, has as long again. Default:
    /// 60 s.
    pub checkpoint_timeout: Duration,
    /// How long a worker that runs nothing may leave a question unanswered, and do nothing, before it is killed.
    /// Default: 30 s. One that runs code is only shown as unresponsive: its deadline or a cancel ends it.
    pub heartbeat_timeout: Duration,
    /// Workers that may be alive beyond `max_sessions` while they replace others, so that no capacity is lost.
    /// Default: 0; then an idle worker ends before its successor starts.
    pub surge: usize,
    /// Sessions beyond `min_idle` that nobody used for this long are ended. Default: 5 min; `None`: never.
    pub idle_timeout: Option<Duration>,
    /// Most workers that start at once. Default: the number of processors, at least 2.
    pub max_starting: usize,
    /// Most workers that are started within one second. Default: 100.
    pub start_rate: u32,
    /// Resident memory of a worker, in bytes, beyond which what it runs is stopped and has
    /// [failed](crate::Failure::MemoryLimit). It is looked at every
    /// [`MEMORY_LOOK_EVERY`](crate::config::MEMORY_LOOK_EVERY) while code runs. Code that begins beyond it, in a session
    /// that holds that much already, may free it, and is stopped when it takes a sixteenth more. Default: `None`.
    pub soft_memory: Option<u64>,
    /// Resident memory of a worker, in bytes, beyond which it is [killed](crate::DeathCause::MemoryLimit), before the
    /// kernel chooses somebody. Default: `None`.
    pub hard_memory: Option<u64>,
    /// The folder in which the states of [named sessions](crate::Runtime::session_named) are kept, this host's alone
    /// while it runs. Two states of each name are kept, and share what is the same in both: together they take at most
    /// twice what they would take each for itself. Default: `None`, there are no named sessions.
    pub state_dir: Option<PathBuf>,
    /// What becomes of a leased session when its worker dies. Default: [`OnDeath::Fail`].
    pub on_death: OnDeath,
    /// Executions of a session behind which its state is saved: that of a named one on disk, that of another one, if it
    /// is [restored](OnDeath::Restore) when its worker dies, in memory. Default: `None`, only when it is asked for.
    pub save_every: Option<u32>,
    /// A session that has run something since its last save is saved this long after that, as soon as nothing runs in it;
    /// where, as with `save_every`. Default: `None`.
    pub save_interval: Option<Duration>,
    /// A folder for recordings: everything that passes between a session and its worker goes into a file there, one for
    /// each worker, which [`Recording`](crate::Recording) reads. The folder is made if it is not there, for this user
    /// alone; nothing is ever removed from it. It holds whatever the code is given and prints, secrets too. Default:
    /// `None`.
    pub record: Option<PathBuf>,
    /// When dead workers are started again, and when that stops. See [`RestartPolicy`].
    pub restart: RestartPolicy,
    /// When workers that live are replaced. See [`RecyclePolicy`].
    pub recycle: RecyclePolicy,
}

impl Default for PoolConfig {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(2, |processors| processors.get());
        Self {
            name: "default".into(),
            min_idle: 1,
            max_sessions: processors.max(2),
            in_flight: 16,
            queue: 256,
            queue_bytes: 64 << 20,
            tenant_queue: 64,
            tenant_weights: BTreeMap::new(),
            share_workers: false,
            queue_timeout: None,
            session_queue: 16,
            deadline: Some(Duration::from_secs(60)),
            grace: Duration::from_secs(1),
            ready_timeout: Duration::from_secs(10),
            warmup: None,
            warmup_timeout: Duration::from_secs(60),
            lease_timeout: Duration::from_secs(30),
            session_timeout: None,
            max_report_bytes: 16 << 20,
            max_checkpoint_bytes: 256 << 20,
            checkpoint_timeout: Duration::from_secs(60),
            heartbeat_timeout: Duration::from_secs(30),
            surge: 0,
            idle_timeout: Some(Duration::from_secs(300)),
            max_starting: processors.max(2),
            start_rate: 100,
            state_dir: None,
            on_death: OnDeath::default(),
            save_every: None,
            save_interval: None,
            record: None,
            soft_memory: None,
            hard_memory: None,
            restart: RestartPolicy::default(),
            recycle: RecyclePolicy::default(),
        }
    }
}

impl PoolConfig {
    /// Checks that each number lies within its bounds (see [`config`](crate::config)), and that the settings can work
    /// together.
    ///
    /// # Errors
    /// Names the first setting that cannot, its value, and what it may be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let refuse = |key, why: String| Err(ConfigError { key, why });
        if self.max_sessions == 0 {
            return refuse("max_sessions", "it is 0, so nothing could ever run; give at least 1".into());
        }
        if self.in_flight == 0 {
            return refuse("in_flight", "it is 0, so nothing could ever run; give at least 1".into());
        }
        if self.min_idle > self.max_sessions {
            let (idle, max) = (self.min_idle, self.max_sessions);
            return refuse("min_idle", format!("it is {idle}, more than `max_sessions`, {max}"));
        }
        for (key, value) in [("max_starting", self.max_starting), ("start_rate", self.start_rate as usize)] {
            if value == 0 {
                return refuse(key, "it is 0, so no worker could ever start; give at least 1".into());
            }
        }
        if let Some((tenant, _)) = self.tenant_weights.iter().find(|(_, weight)| **weight == 0) {
            let why = format!("that of `{tenant}` is 0, so it would never be served; give at least 1");
            return refuse("tenant_weights", why);
        }
        if let (Some(soft), Some(hard)) = (self.soft_memory, self.hard_memory)
            && soft > hard
        {
            return refuse("soft_memory", format!("it is {soft}, more than `hard_memory`, {hard}"));
        }
        if self.save_every == Some(0) {
            return refuse(
                "save_every",
                "it is 0, and there is nothing to save behind no execution; give at least 1".into(),
            );
        }
        if self.save_interval == Some(Duration::ZERO) {
            return refuse(
                "save_interval",
                "it is 0, so it would always have passed; give a longer time".into(),
            );
        }
        if self.recycle.max_executions == Some(0) {
            return refuse(
                "recycle.max_executions",
                "it is 0, so nothing could ever run; give at least 1".into(),
            );
        }
        if !(0.0..=1.0).contains(&self.recycle.jitter) {
            let why = format!("it is {}; give a part of the limits, from 0 to 1", self.recycle.jitter);
            return refuse("recycle.jitter", why);
        }
        for (key, value) in [
            ("grace", self.grace),
            ("ready_timeout", self.ready_timeout),
            ("warmup_timeout", self.warmup_timeout),
            ("checkpoint_timeout", self.checkpoint_timeout),
            ("heartbeat_timeout", self.heartbeat_timeout),
            ("restart.window", self.restart.window),
            ("restart.probe_after", self.restart.probe_after),
        ] {
            if value.is_zero() {
                return refuse(key, "it is 0, so it would always have passed; give a longer time".into());
            }
        }
        self.check_bounds()?;
        if self.restart.min_backoff > self.restart.max_backoff {
            let (min, max) = (self.restart.min_backoff, self.restart.max_backoff);
            return refuse(
                "restart.min_backoff",
                format!("it is {min:?}, more than `restart.max_backoff`, {max:?}"),
            );
        }
        Ok(())
    }
}
