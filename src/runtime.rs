//! The runtime: what an embedder holds. It talks to the supervisor and decides nothing.

mod builder;
mod call;
pub(crate) mod keeper;
mod lease;
pub(crate) mod named;
mod script;
mod state;
mod submit;
mod tenant;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use ractor::ActorRef;
use tokio::{
    sync::{RwLock, oneshot},
    task::JoinSet,
    time::Instant,
};

use crate::{
    actor::{
        messages::{Job, SupervisorMsg},
        obligation::{Ledger, Obligation, Reply},
        sink::{Host, Sink},
    },
    config::{JsonRpc, Language, WorkerSpec},
    error::{ConfigError, NotFound, ReloadError, SubmitError},
    execution::{Canceller, Execution},
    protocol::{Codec, ExecutionId},
    report::Report,
    request::{Request, Tenant},
    status::{ExecutionStatus, PoolStatus},
    store::Store,
    worker::Spawner,
};

pub use builder::RuntimeBuilder;

/// A supervised pool of workers.
///
/// Clones share the pool. It stops when the last handle is dropped: of the runtime itself, and of the executions and
/// sessions that came from it. Handles may be dropped anywhere, also outside a tokio runtime.
#[derive(Clone)]
pub struct Runtime {
    shared: Arc<Shared>,
    /// For what names none.
    tenant: Option<Tenant>,
}

/// What all handles share. Dropping the last one ends the pool.
pub(crate) struct Shared {
    pub(crate) supervisor: ActorRef<SupervisorMsg>,
    ledger: Arc<Ledger>,
    codec: Codec,
    /// Its workers are JSON-RPC servers.
    server: Option<Arc<JsonRpc>>,
    /// That of the scripts that its workers' interpreter runs.
    language: Option<Language>,
    deadline: Option<Duration>,
    lease_timeout: Duration,
    reload_timeout: Duration,
    max_report_bytes: usize,
    max_checkpoint_bytes: usize,
    checkpoint_timeout: Duration,
    store: Option<Arc<Store>>,
    /// Whether sessions are restored when their workers die.
    restores: bool,
    /// Read by each task that keeps the state of a session, for as long as it lives.
    keepers: Arc<RwLock<()>>,
    max_sessions: usize,
    spawner: Arc<dyn Spawner>,
}

/// Longer than any shutdown takes.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3_600);

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = self.supervisor.cast(SupervisorMsg::Shutdown { grace: Duration::ZERO, done: None });
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("supervisor", &self.supervisor).finish_non_exhaustive()
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
    pub fn builder(spec: WorkerSpec) -> RuntimeBuilder {
        RuntimeBuilder::new(spec)
    }

    /// Submits a request to any session, in a fresh namespace. It answers at once; the execution waits in the queue
    /// until a session is free. Dropping the future before it answers submits nothing, or cancels what it submitted.
    ///
    /// # Errors
    /// No worker saw the request: submitting it again is safe.
    pub async fn execute(&self, request: impl Into<Request>) -> Result<Execution, SubmitError> {
        Arc::clone(&self.shared).submit(self.of_tenant(request.into()), None).await
    }

    /// Runs a request and collects what it prints. Waits until its outcome; dropping the future cancels it.
    ///
    /// # Errors
    /// As [`execute`](Self::execute). How the code ends is in the report.
    pub async fn run(&self, request: impl Into<Request>) -> Result<Report, SubmitError> {
        Ok(self.execute(request).await?.report().await)
    }

    /// Runs many requests over the pool, and returns their reports in the order of the requests. One that was not
    /// accepted is an error in its place; it touches no other. Waits until the last outcome; dropping the future cancels
    /// those that have none.
    pub async fn run_all<R: Into<Request>>(
        &self,
        requests: impl IntoIterator<Item = R>,
    ) -> Vec<Result<Report, SubmitError>> {
        let mut runs = JoinSet::new();
        for (place, request) in requests.into_iter().enumerate() {
            let (runtime, request) = (self.clone(), request.into());
            runs.spawn(async move { (place, runtime.run(request).await) });
        }
        // A task that does not end in its own way was ended with its tokio runtime.
        let mut reports: Vec<_> = (0..runs.len()).map(|_| Err(SubmitError::ShuttingDown)).collect();
        while let Some(run) = runs.join_next().await {
            if let Ok((place, report)) = run {
                reports[place] = report;
            }
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
        let request = self.of_tenant(request.into());
        let shared = &self.shared;
        let (job, _stdin) = shared.job(&request, true)?;
        let obligation = Obligation::new(job.id, Reply::Host(host.clone()), Arc::clone(&shared.ledger));
        let id = job.id;
        let accepted = shared.offer(job, None, obligation, Sink::Host(host)).await?;
        Ok(Canceller::new(id, accepted.execution))
    }

    /// The pool at this moment. After the shutdown it is empty.
    pub async fn status(&self) -> PoolStatus {
        let gone = || {
            let mut status = PoolStatus { shutting_down: true, ..PoolStatus::default() };
            self.shared.ledger.show(&mut status);
            status
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

    /// Rolls the pool to another spec, without losing a request or capacity: workers of the old spec go when they are
    /// free, one at a time, each after its successor is ready (with no room for one more: just before it starts).
    ///
    /// Of two reloads at the same time one is the last: its spec is the pool's, and the other's caller is told.
    ///
    /// Answers when the first worker of the new spec is ready, or is not; the others follow. Waits at most the lease
    /// timeout for a free place, then the grace, the ready timeout and the warmup timeout. A leased session keeps its
    /// worker. Dropping the future does not stop the reload.
    ///
    /// # Errors
    /// The new spec speaks another codec, its first worker was not ready (the old ones then serve on), no session
    /// became free for it in time (the reload goes on), or another reload came before.
    pub async fn reload(&self, spec: WorkerSpec) -> Result<(), ReloadError> {
        if spec.codec != self.shared.codec {
            let (old, new) = (self.shared.codec, spec.codec);
            let why = format!(
                "it is {new:?}, and this runtime encodes its requests as {old:?}; start a new runtime"
            );
            return Err(ConfigError { key: "codec", why }.into());
        }
        let same = match (&spec.server, &self.shared.server) {
            (None, None) => true,
            (Some(new), Some(old)) => new.reads_the_same(old),
            (Some(_), None) | (None, Some(_)) => false,
        };
        if !same {
            let why =
                "it speaks another dialect than the workers of this runtime; start a new runtime".into();
            return Err(ConfigError { key: "dialect", why }.into());
        }
        spec.validate()?;
        let after = self.shared.reload_timeout;
        let reload = |done| SupervisorMsg::Reload { spec: Box::new(spec), done };
        match tokio::time::timeout(after, self.ask(reload)).await {
            Ok(answer) => answer.unwrap_or(Err(ReloadError::Superseded)),
            Err(_elapsed) => Err(ReloadError::Pending { after }),
        }
    }

    /// Says that whatever kept workers from living is mended: a failed pool, or one that waits to start workers again,
    /// tries at once.
    pub fn reset(&self) {
        // A supervisor that has ended has nothing to try.
        let _ = self.shared.supervisor.cast(SupervisorMsg::Reset);
    }

    /// Ends the pool: new requests are refused, those that wait are lost unstarted, those that run have this long.
    /// Returns when nothing is left, at the latest a second after the grace. May be called again, also with a shorter
    /// grace. Dropping the future does not stop the shutdown.
    pub async fn shutdown(&self, grace: Duration) {
        let limit = Instant::now() + grace.min(FOR_EVER) + Duration::from_secs(1);
        let (done, ended) = oneshot::channel();
        let told = self.shared.supervisor.cast(SupervisorMsg::Shutdown { grace, done: Some(done) });
        if told.is_ok() {
            // An error means that it ended in another way; it has ended.
            let _ = ended.await;
        }
        // A failed actor task is an ended one.
        let _ = self.shared.supervisor.wait(None).await;
        self.shared.spawner.settled().await;
        // A state that is on its way to the disk gets there, also one that nobody waits for any more; a disk that hangs is
        // not waited for.
        let written = async {
            drop(self.shared.keepers.write().await);
            if let Some(store) = &self.shared.store {
                store.settled().await;
            }
        };
        let _ = tokio::time::timeout_at(limit, written).await;
    }

    /// Sees the pool without keeping it alive.
    #[cfg(feature = "monitor")]
    pub(crate) fn downgrade(&self) -> std::sync::Weak<Shared> {
        Arc::downgrade(&self.shared)
    }

    /// The pool, while a handle of it lives.
    #[cfg(feature = "monitor")]
    pub(crate) fn upgrade(pool: &std::sync::Weak<Shared>) -> Option<Self> {
        pool.upgrade().map(|shared| Self { shared, tenant: None })
    }

    #[cfg(feature = "testing")]
    pub(crate) fn supervisor_cell(&self) -> ractor::ActorCell {
        self.shared.supervisor.get_cell()
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> SupervisorMsg) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.shared.supervisor.cast(question(reply)).ok()?;
        answer.await.ok()
    }
}

/// Takes back what was asked for when the caller does not wait for the answer.
struct Retract<'a> {
    supervisor: &'a ActorRef<SupervisorMsg>,
    retraction: Option<SupervisorMsg>,
}

impl<'a> Retract<'a> {
    fn new(supervisor: &'a ActorRef<SupervisorMsg>, retraction: SupervisorMsg) -> Self {
        Self { supervisor, retraction: Some(retraction) }
    }

    fn answered(mut self) {
        self.retraction = None;
    }
}

impl Drop for Retract<'_> {
    fn drop(&mut self) {
        if let Some(retraction) = self.retraction.take() {
            let _ = self.supervisor.cast(retraction);
        }
    }
}

impl Shared {
    /// Whether sessions are restored when their workers die.
    pub(crate) fn restores(&self) -> bool {
        self.restores
    }
}
