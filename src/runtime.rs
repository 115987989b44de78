//! The runtime: what an embedder holds. It talks to the supervisor and decides nothing.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::BytesMut;
use ractor::{Actor, ActorCell, ActorRef};
use tokio::sync::{mpsc, oneshot};

use crate::{
    actor::{
        messages::{Job, LeaseRequest, Submission, SupervisorMsg},
        obligation::{Ledger, Obligation, Reply},
        sink::{Host, Sink},
        supervisor::{self, Supervisor},
    },
    config::{FRAME_LEN_MAX, PoolConfig, RestartPolicy, WorkerSpec},
    error::{NotFound, StartError, SubmitError},
    execution::{Canceller, Execution, Parts},
    machine::supervisor::LeaseId,
    outcome::Report,
    protocol::{Codec, EncodeError, Execute, ExecutionId, ToWorker},
    request::{Deadline, Request},
    session::{SESSION_EVENTS_MAX, Session},
    status::{ExecutionStatus, PoolStatus},
    worker::{ProcessSpawner, Spawner},
};

/// A supervised pool of workers.
///
/// Clones share the pool. It stops when the last handle is dropped: of the runtime itself, and of the executions and
/// sessions that came from it. Handles may be dropped anywhere, also outside a tokio runtime.
#[derive(Clone)]
pub struct Runtime {
    shared: Arc<Shared>,
}

/// What all handles share. Dropping the last one ends the pool.
pub(crate) struct Shared {
    pub(crate) supervisor: ActorRef<SupervisorMsg>,
    ledger: Arc<Ledger>,
    codec: Codec,
    deadline: Option<Duration>,
    lease_timeout: Duration,
    max_report_bytes: usize,
    max_sessions: usize,
    spawner: Arc<dyn Spawner>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = self.supervisor.cast(SupervisorMsg::Shutdown { grace: Duration::ZERO, done: None });
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("supervisor", &self.shared.supervisor).finish_non_exhaustive()
    }
}

/// Names executions, warmups and leases; unique in this process.
fn next_id() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Relaxed) + 1
}

impl Runtime {
    /// Settings for a pool of workers of this kind.
    #[must_use]
    pub fn builder(spec: WorkerSpec) -> RuntimeBuilder {
        RuntimeBuilder::new(spec)
    }

    /// Submits a request to any session, in a fresh namespace. It answers at once; the execution waits in the queue
    /// until a session is free. Dropping the future before it answers submits nothing, or cancels what it submitted.
    ///
    /// # Errors
    /// No worker saw the request: submitting it again is safe.
    pub async fn execute(&self, request: impl Into<Request>) -> Result<Execution, SubmitError> {
        Arc::clone(&self.shared).submit(request.into(), None).await
    }

    /// Runs a request and collects what it prints. Waits until its outcome; dropping the future cancels it.
    ///
    /// # Errors
    /// As [`execute`](Self::execute). How the code ends is in the report.
    pub async fn run(&self, request: impl Into<Request>) -> Result<Report, SubmitError> {
        Ok(self.execute(request).await?.report().await)
    }

    /// Runs many requests over the pool, and returns their reports in the order of the requests. One that was not
    /// accepted is an error in its place; it touches no other.
    pub async fn run_all<R: Into<Request>>(
        &self,
        requests: impl IntoIterator<Item = R>,
    ) -> Vec<Result<Report, SubmitError>> {
        let runs: Vec<_> = requests
            .into_iter()
            .map(|request| {
                let (runtime, request) = (self.clone(), request.into());
                tokio::spawn(async move { runtime.run(request).await })
            })
            .collect();
        let mut reports = Vec::with_capacity(runs.len());
        for run in runs {
            // A task that does not end in its own way was ended with its tokio runtime.
            reports.push(run.await.unwrap_or(Err(SubmitError::ShuttingDown)));
        }
        reports
    }

    /// Submits a request whose events and outcome go to a host's own mailbox. Returns a handle that can stop it.
    ///
    /// # Errors
    /// As [`execute`](Self::execute). After an error the host is told nothing; after `Ok`, exactly one
    /// [`Notice::Ended`](crate::actor::Notice::Ended).
    pub async fn execute_for(
        &self,
        request: impl Into<Request>,
        host: Host,
    ) -> Result<Canceller, SubmitError> {
        let request = request.into();
        let shared = &self.shared;
        let job = shared.job(&request, true)?;
        let obligation = Obligation::new(job.id, Reply::Host(host.clone()), Arc::clone(&shared.ledger));
        let id = job.id;
        let execution = shared.offer(job, None, obligation, Sink::Host(host)).await?;
        Ok(Canceller::new(id, execution))
    }

    /// Leases a session for oneself, and waits at most the pool's `lease_timeout` for one. Dropping the future leaves
    /// the line.
    ///
    /// # Errors
    /// No session became free in time, the queue is full, or the pool serves no more.
    pub async fn session(&self) -> Result<Session, SubmitError> {
        let lease = LeaseId(next_id());
        let (events, background) = mpsc::channel(SESSION_EVENTS_MAX);
        let (granted, answer) = oneshot::channel();
        let request = Box::new(LeaseRequest { lease, events, granted });
        let shared = &self.shared;
        shared.supervisor.cast(SupervisorMsg::Lease(request)).map_err(|_gone| SubmitError::ShuttingDown)?;
        let waiting = Waiting { lease, shared, done: false };
        let after = shared.lease_timeout;
        match tokio::time::timeout(after, answer).await {
            Ok(Ok(answer)) => {
                waiting.done();
                Ok(Session::new(lease, answer?, background, Arc::clone(shared)))
            }
            Ok(Err(_gone)) => Err(SubmitError::ShuttingDown),
            Err(_elapsed) => {
                let (sessions, limit) = (self.status().await.sessions.len(), shared.max_sessions);
                Err(SubmitError::NoSession { after, sessions, limit })
            }
        }
    }

    /// The pool at this moment. After the shutdown it is empty.
    pub async fn status(&self) -> PoolStatus {
        let gone = || PoolStatus {
            shutting_down: true,
            totals: self.shared.ledger.totals(),
            ..PoolStatus::default()
        };
        self.ask(SupervisorMsg::Status).await.unwrap_or_else(gone)
    }

    /// The executions that wait or run, oldest first.
    pub async fn list(&self) -> Vec<ExecutionStatus> {
        self.ask(SupervisorMsg::List).await.unwrap_or_default()
    }

    /// Cancels an execution by its id, as [`Execution::cancel`] does.
    ///
    /// # Errors
    /// It has ended, or never was.
    pub async fn cancel(&self, id: ExecutionId) -> Result<(), NotFound> {
        let ask = |found| SupervisorMsg::Cancel { id, reason: None, found };
        match self.ask(ask).await {
            Some(true) => Ok(()),
            Some(false) | None => Err(NotFound(id)),
        }
    }

    /// Ends the pool: new requests are refused, those that wait are lost unstarted, those that run have this long.
    /// Returns when nothing is left, at the latest a second after the grace. May be called again, also with a shorter
    /// grace. Dropping the future does not stop the shutdown.
    pub async fn shutdown(&self, grace: Duration) {
        let (done, ended) = oneshot::channel();
        let told = self.shared.supervisor.cast(SupervisorMsg::Shutdown { grace, done: Some(done) });
        if told.is_ok() {
            // An error means that it ended in another way; it has ended.
            let _ = ended.await;
        }
        // A failed actor task is an ended one.
        let _ = self.shared.supervisor.wait(None).await;
        self.shared.spawner.settled().await;
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> SupervisorMsg) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.shared.supervisor.cast(question(reply)).ok()?;
        answer.await.ok()
    }
}

/// Leaves the line when the caller does.
struct Waiting<'a> {
    lease: LeaseId,
    shared: &'a Shared,
    done: bool,
}

impl Waiting<'_> {
    fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if !self.done {
            let _ = self.shared.supervisor.cast(SupervisorMsg::Release(self.lease));
        }
    }
}

impl Shared {
    pub(crate) async fn submit(
        self: Arc<Self>,
        request: Request,
        lease: Option<LeaseId>,
    ) -> Result<Execution, SubmitError> {
        let job = self.job(&request, lease.is_none())?;
        let (id, label, detached) = (job.id, job.label.clone(), request.detached);
        #[expect(
            clippy::disallowed_methods,
            reason = "bounded in bytes: every event in it holds credit of its window"
        )]
        let (events, stream) = mpsc::unbounded_channel();
        let (reply, outcome) = oneshot::channel();
        let obligation = Obligation::new(id, Reply::Handle(reply), Arc::clone(&self.ledger));
        let execution = self.offer(job, lease, obligation, Sink::Handle(events)).await?;
        let max_report_bytes = self.max_report_bytes;
        let parts =
            Parts { id, label, events: stream, outcome, execution, detached, max_report_bytes, keep: self };
        Ok(Execution::new(parts))
    }

    /// Encodes a request, once, on the caller's time.
    fn job(&self, request: &Request, fresh: bool) -> Result<Job, SubmitError> {
        let id = ExecutionId(next_id());
        let mut frame = BytesMut::new();
        let message = ToWorker::Execute(execute_message(id, request, fresh));
        self.codec.encode(&message, &mut frame).map_err(|error| match error {
            EncodeError::TooLong { len, limit } => SubmitError::TooLarge { len, limit },
            EncodeError::TooDeep => SubmitError::TooLarge { len: request.code.len(), limit: FRAME_LEN_MAX },
        })?;
        let deadline = match request.deadline {
            None => self.deadline,
            Some(Deadline::Never) => None,
            Some(Deadline::After(after)) => Some(after),
        };
        Ok(Job { id, label: request.label.clone(), frame: frame.freeze(), deadline })
    }

    async fn offer(
        &self,
        job: Job,
        lease: Option<LeaseId>,
        obligation: Obligation,
        sink: Sink,
    ) -> Result<ActorRef<crate::actor::messages::ExecutionMsg>, SubmitError> {
        let (accepted, answer) = oneshot::channel();
        let submission = Box::new(Submission { job, lease, obligation, sink, accepted });
        self.supervisor.cast(SupervisorMsg::Submit(submission)).map_err(|_gone| SubmitError::ShuttingDown)?;
        answer.await.unwrap_or(Err(SubmitError::ShuttingDown))
    }
}

fn execute_message(id: ExecutionId, request: &Request, fresh: bool) -> Execute {
    let mut execute = Execute::new(id, request.code.clone());
    execute.fresh = fresh;
    execute.filename = request.filename.clone();
    execute.silent = request.silent;
    execute.allow_stdin = request.allow_input;
    execute.mime = request.mime;
    execute.cwd = request.cwd.as_ref().map(|folder| folder.to_string_lossy().into_owned());
    execute.args = request.args.clone();
    execute.argv = request.argv.clone();
    execute.sys_path = request.sys_path.clone();
    execute
}

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
    fn new(spec: WorkerSpec) -> Self {
        Self { spec, config: PoolConfig::default(), spawner: None, supervisor: None, seed: None }
    }

    /// Takes all settings at once.
    pub fn config(mut self, config: PoolConfig) -> Self {
        self.config = config;
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

    /// See [`PoolConfig::queue`].
    pub fn queue(mut self, requests: usize) -> Self {
        self.config.queue = requests;
        self
    }

    /// See [`PoolConfig::line`].
    pub fn line(mut self, executions: usize) -> Self {
        self.config.line = executions;
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

    /// See [`PoolConfig::max_report_bytes`].
    pub fn max_report_bytes(mut self, bytes: usize) -> Self {
        self.config.max_report_bytes = bytes;
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
    pub fn spawner(mut self, spawner: Arc<dyn Spawner>) -> Self {
        self.spawner = Some(spawner);
        self
    }

    /// Makes the pool's own chance repeatable.
    #[cfg(feature = "testing")]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Starts the pool and waits until its first session is ready (with `min_idle` 0: at once). Waits at most the
    /// ready timeout plus the warmup timeout. Dropping the future ends what was started.
    ///
    /// # Errors
    /// A setting cannot work, or the first worker could not be started. Nothing runs then.
    pub async fn start(self) -> Result<Runtime, StartError> {
        self.config.validate()?;
        let warmup = self.warmup_frame()?;
        let Self { spec, config, spawner, supervisor, seed } = self;
        let codec = spec.codec;
        let spawner = match spawner {
            Some(spawner) => spawner,
            None => Arc::new(ProcessSpawner::new(spec)) as Arc<dyn Spawner>,
        };
        let ledger = Arc::new(Ledger::default());
        let (started, outcome) = oneshot::channel();
        let (deadline, lease_timeout) = (config.deadline, config.lease_timeout);
        let (max_report_bytes, max_sessions) = (config.max_report_bytes, config.max_sessions);
        let seed = seed
            .unwrap_or_else(|| std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), next_id()));
        let tag = format!("{}-{seed:016x}", std::process::id());
        let arguments = supervisor::Arguments {
            config,
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
            deadline,
            lease_timeout,
            max_report_bytes,
            max_sessions,
            spawner,
        };
        let runtime = Runtime { shared: Arc::new(shared) };
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
            .map_err(|error| crate::error::ConfigError { key: "warmup", why: error.to_string() })?;
        Ok(Some((id, frame.freeze())))
    }
}
