//! The settings of a pool, and its start.

use std::{
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::BytesMut;
use ractor::{Actor, ActorCell};
use tokio::sync::oneshot;

use crate::{
    actor::{
        obligation::Ledger,
        supervisor::{self, Supervisor},
    },
    config::{OnDeath, PoolConfig, RecyclePolicy, RestartPolicy, WorkerSpec},
    error::{ConfigError, StartError},
    protocol::{Execute, ExecutionId, ToWorker},
    request::Tenant,
    runtime::{Runtime, Shared, named, next_id},
    worker::{ProcessSpawner, Recorder, Spawner},
};

mod queue;
mod together;

/// Settings of a pool. [`start`](Self::start) checks them.
#[derive(Clone, Debug)]
#[must_use = "nothing runs before `start`"]
pub struct RuntimeBuilder {
    spec: WorkerSpec,
    config: PoolConfig,
    spawner: Option<Arc<dyn Spawner>>,
    supervisor: Option<ActorCell>,
    seed: Option<u64>,
}

impl RuntimeBuilder {
    pub(super) fn new(spec: WorkerSpec) -> Self {
        Self { spec, config: PoolConfig::default(), spawner: None, supervisor: None, seed: None }
    }

    /// Takes all settings at once.
    pub fn config(mut self, config: PoolConfig) -> Self {
        self.config = config;
        self
    }

    /// See [`PoolConfig::name`].
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = name.into();
        self
    }

    /// See [`PoolConfig::min_idle`].
    pub fn min_idle(mut self, sessions: usize) -> Self {
        self.config.min_idle = sessions;
        self
    }

    /// See [`PoolConfig::max_sessions`].
    pub fn max_sessions(mut self, sessions: usize) -> Self {
        self.config.max_sessions = sessions;
        self.config.min_idle = self.config.min_idle.min(sessions);
        self
    }

    /// Sets one of [`PoolConfig::tenant_weights`].
    pub fn tenant_weight(mut self, tenant: impl Into<Tenant>, weight: u32) -> Self {
        self.config.tenant_weights.insert(tenant.into(), weight);
        self
    }

    /// See [`PoolConfig::deadline`].
    pub fn deadline(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.config.deadline = after.into();
        self
    }

    /// See [`PoolConfig::grace`].
    pub fn grace(mut self, grace: Duration) -> Self {
        self.config.grace = grace;
        self
    }

    /// See [`PoolConfig::ready_timeout`].
    pub fn ready_timeout(mut self, after: Duration) -> Self {
        self.config.ready_timeout = after;
        self
    }

    /// See [`PoolConfig::warmup`].
    pub fn warmup(mut self, code: impl Into<String>) -> Self {
        self.config.warmup = Some(code.into());
        self
    }

    /// See [`PoolConfig::warmup_timeout`].
    pub fn warmup_timeout(mut self, after: Duration) -> Self {
        self.config.warmup_timeout = after;
        self
    }

    /// See [`PoolConfig::lease_timeout`].
    pub fn lease_timeout(mut self, after: Duration) -> Self {
        self.config.lease_timeout = after;
        self
    }

    /// See [`PoolConfig::session_timeout`].
    pub fn session_timeout(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.config.session_timeout = after.into();
        self
    }

    /// See [`PoolConfig::max_checkpoint_bytes`].
    pub fn max_checkpoint_bytes(mut self, bytes: usize) -> Self {
        self.config.max_checkpoint_bytes = bytes;
        self
    }

    /// See [`PoolConfig::checkpoint_timeout`].
    pub fn checkpoint_timeout(mut self, after: Duration) -> Self {
        self.config.checkpoint_timeout = after;
        self
    }

    /// See [`PoolConfig::max_report_bytes`].
    pub fn max_report_bytes(mut self, bytes: usize) -> Self {
        self.config.max_report_bytes = bytes;
        self
    }

    /// See [`PoolConfig::record`].
    pub fn record(mut self, folder: impl Into<PathBuf>) -> Self {
        self.config.record = Some(folder.into());
        self
    }

    /// See [`PoolConfig::soft_memory`].
    pub fn soft_memory(mut self, bytes: u64) -> Self {
        self.config.soft_memory = Some(bytes);
        self
    }

    /// See [`PoolConfig::hard_memory`].
    pub fn hard_memory(mut self, bytes: u64) -> Self {
        self.config.hard_memory = Some(bytes);
        self
    }

    /// See [`PoolConfig::heartbeat_timeout`].
    pub fn heartbeat_timeout(mut self, after: Duration) -> Self {
        self.config.heartbeat_timeout = after;
        self
    }

    /// See [`PoolConfig::surge`].
    pub fn surge(mut self, workers: usize) -> Self {
        self.config.surge = workers;
        self
    }

    /// See [`PoolConfig::idle_timeout`].
    pub fn idle_timeout(mut self, after: impl Into<Option<Duration>>) -> Self {
        self.config.idle_timeout = after.into();
        self
    }

    /// See [`PoolConfig::max_starting`].
    pub fn max_starting(mut self, workers: usize) -> Self {
        self.config.max_starting = workers;
        self
    }

    /// See [`PoolConfig::start_rate`].
    pub fn start_rate(mut self, workers_per_second: u32) -> Self {
        self.config.start_rate = workers_per_second;
        self
    }

    /// See [`PoolConfig::recycle`].
    pub fn recycle(mut self, policy: RecyclePolicy) -> Self {
        self.config.recycle = policy;
        self
    }

    /// See [`PoolConfig::restart`].
    pub fn restart(mut self, policy: RestartPolicy) -> Self {
        self.config.restart = policy;
        self
    }

    /// Starts the pool under a supervisor of the host's own: it is told when the pool's supervisor ends, as ractor
    /// tells of any child.
    pub fn supervised_by(mut self, supervisor: ActorCell) -> Self {
        self.supervisor = Some(supervisor);
        self
    }

    /// Puts another way of starting workers behind the pool: an in-memory one, in tests.
    #[cfg(feature = "testing")]
    pub fn spawner(mut self, spawner: impl Spawner) -> Self {
        self.spawner = Some(Arc::new(spawner));
        self
    }

    /// Makes the pool's own chance repeatable.
    #[cfg(feature = "testing")]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Where the states of [named sessions](Runtime::session_named) are kept. Made if it is not there, readable by this
    /// user only, and this runtime's alone until its last handle is gone. Default: none.
    pub fn state_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.config.state_dir = Some(folder.into());
        self
    }

    /// Has a session saved behind each so many of its executions, without anybody who waits for it; see
    /// [`Session::last_save`](crate::Session::last_save) and [`PoolConfig::save_every`].
    pub fn save_every(mut self, executions: NonZeroU32) -> Self {
        self.config.save_every = Some(executions.get());
        self
    }

    /// See [`PoolConfig::save_interval`].
    pub fn save_interval(mut self, interval: Duration) -> Self {
        self.config.save_interval = Some(interval);
        self
    }

    /// See [`PoolConfig::on_death`].
    pub fn on_death(mut self, policy: OnDeath) -> Self {
        self.config.on_death = policy;
        self
    }

    /// Starts the pool and waits until its first session is ready (with `min_idle` 0: at once). Waits at most the
    /// ready timeout plus the warmup timeout; with a `state_dir`, before that for the disk, at most the `checkpoint_timeout`.
    /// Dropping the future ends what was started.
    ///
    /// # Errors
    /// A setting cannot work, or the first worker could not be started. Nothing runs then.
    pub async fn start(self) -> Result<Runtime, StartError> {
        self.config.validate()?;
        self.spec.validate()?;
        self.validate_together()?;
        let warmup = self.warmup_frame()?;
        let Self { spec, config, spawner, supervisor, seed } = self;
        let store = named::open(config.state_dir.as_deref(), config.checkpoint_timeout).await?;
        let (codec, server, language) = (spec.codec, spec.server.clone(), spec.language);
        let spawner = match spawner {
            Some(spawner) => spawner,
            None => Arc::new(ProcessSpawner::new(spec)) as Arc<dyn Spawner>,
        };
        let spawner = recorded(spawner, config.record.as_deref())?;
        let ledger = Arc::new(Ledger::default());
        let (started, outcome) = oneshot::channel();
        let (deadline, lease_timeout, on_death) = (config.deadline, config.lease_timeout, config.on_death);
        let reload_timeout = reload_timeout(&config);
        let PoolConfig { max_report_bytes, max_sessions, max_checkpoint_bytes, checkpoint_timeout, .. } =
            config;
        let seed = seed
            .unwrap_or_else(|| std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), next_id()));
        let tag = format!("{}-{seed:016x}", std::process::id());
        let arguments = supervisor::Arguments {
            config,
            shared: server.is_some(),
            spawner: Arc::clone(&spawner),
            ledger: Arc::clone(&ledger),
            warmup,
            tag,
            seed,
            started,
        };
        let spawned = match supervisor {
            None => Actor::spawn(None, Supervisor, arguments).await,
            Some(parent) => Actor::spawn_linked(None, Supervisor, arguments, parent).await,
        };
        let (supervisor, _task) = spawned.map_err(|error| StartError::Supervisor(error.to_string()))?;
        let shared = Shared {
            supervisor,
            ledger,
            codec,
            server,
            language,
            deadline,
            lease_timeout,
            reload_timeout,
            max_report_bytes,
            max_checkpoint_bytes,
            checkpoint_timeout,
            store,
            restores: on_death == OnDeath::Restore,
            keepers: Arc::default(),
            max_sessions,
            spawner,
        };
        let runtime = Runtime { shared: Arc::new(shared), tenant: None };
        let ended = || Err(StartError::Supervisor("it was stopped by its own supervisor".into()));
        match outcome.await.unwrap_or_else(|_gone| ended()) {
            Ok(()) => Ok(runtime),
            Err(error) => {
                runtime.shutdown(Duration::ZERO).await;
                Err(error)
            }
        }
    }

    fn warmup_frame(&self) -> Result<Option<(ExecutionId, bytes::Bytes)>, StartError> {
        let Some(code) = &self.config.warmup else { return Ok(None) };
        let id = ExecutionId(next_id());
        let mut execute = Execute::new(id, code.clone());
        execute.silent = true;
        execute.allow_stdin = false;
        execute.filename = Some("<warmup>".into());
        let mut frame = BytesMut::new();
        self.spec
            .codec
            .encode(&ToWorker::Execute(execute), &mut frame)
            .map_err(|error| ConfigError { key: "warmup", why: error.to_string() })?;
        Ok(Some((id, frame.freeze())))
    }
}

/// The spawner, with a recorder around it if there is to be one.
fn recorded(spawner: Arc<dyn Spawner>, folder: Option<&Path>) -> Result<Arc<dyn Spawner>, ConfigError> {
    let Some(folder) = folder else { return Ok(spawner) };
    let why = |error| format!("recordings cannot go to `{}`: {error}", folder.display());
    let recorder = Recorder::new(spawner, folder.to_owned());
    Ok(Arc::new(recorder.map_err(|error| ConfigError { key: "record", why: why(error) })?))
}

/// How long the first worker of a new spec may take, with the wait for a place.
fn reload_timeout(config: &PoolConfig) -> Duration {
    let parts = [config.grace, config.ready_timeout, config.warmup_timeout];
    parts.iter().fold(config.lease_timeout, |all, part| all.saturating_add(*part))
}
