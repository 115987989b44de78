//! The supervisor actor: it owns the slots, the waiting line and the leases. It steps the machine and performs what
//! comes back; it never waits for a worker, a session or a caller. Only this file starts the other two actors.

use std::{
    collections::{BTreeMap, HashMap, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::{sync::oneshot, time::Instant};

use crate::{
    actor::{
        gauge::Gauge,
        mailbox::Sender,
        messages::{ExecutionMsg, Job, LeaseRequest, SessionMsg, SessionNotice, SupervisorMsg, Wait},
        obligation::Ledger,
        timers::{Task, Timers},
    },
    config::{LOOK_EVERY, PoolConfig},
    error::{ReloadError, StartError},
    log::info,
    machine::supervisor::{Effect, Input, LeaseId, Pool},
    outcome::{Generation, LostCause},
    protocol::ExecutionId,
    worker::{Order, Spawner},
};

mod handover;
mod launch;
mod look;
mod start;
mod submit;

use handover::Holder;

/// The actor. See [`Arguments`].
pub(crate) struct Supervisor;

/// What a supervisor is started with.
pub(crate) struct Arguments {
    pub(crate) config: PoolConfig,
    /// Its workers are JSON-RPC servers, which have several executions at once.
    pub(crate) shared: bool,
    pub(crate) spawner: Arc<dyn Spawner>,
    pub(crate) ledger: Arc<Ledger>,
    /// The warmup, encoded under an id that no request has.
    pub(crate) warmup: Option<(ExecutionId, Bytes)>,
    /// Names the processes of this pool among all of the machine.
    pub(crate) tag: String,
    /// For the jitter of restarts.
    pub(crate) seed: u64,
    /// Told when the first session is ready, or why none will be.
    pub(crate) started: oneshot::Sender<Result<(), StartError>>,
}

/// The state of the actor.
pub(crate) struct State {
    pool: Pool,
    config: PoolConfig,
    spawner: Arc<dyn Spawner>,
    ledger: Arc<Ledger>,
    warmup: Option<(ExecutionId, Bytes)>,
    tag: String,
    /// Starts of workers that have no session yet.
    starts: HashMap<usize, Task>,
    sessions: HashMap<usize, Live>,
    tickets: HashMap<ExecutionId, Ticket>,
    leases: HashMap<LeaseId, LeaseRequest>,
    holders: HashMap<LeaseId, Holder>,
    /// Who waits to hear what the worker is to be told that forks itself.
    forks: HashMap<LeaseId, oneshot::Sender<Order>>,
    timers: Timers<Wait>,
    deaths: BTreeMap<&'static str, u64>,
    effects: Vec<Effect>,
    started: Option<oneshot::Sender<Result<(), StartError>>>,
    start_failure: Option<StartError>,
    /// No worker is left, and none will be started.
    stopped: bool,
    done: Vec<oneshot::Sender<()>>,
    /// Who waits for the first worker of the newest spec.
    reload: Option<oneshot::Sender<Result<(), ReloadError>>>,
    jitter: Jitter,
}

/// A session that this supervisor started.
struct Live {
    generation: Generation,
    session: ActorRef<SessionMsg>,
    gauge: Arc<Gauge>,
}

/// An accepted execution. If the supervisor ends while it waits, dropping this tells it so.
struct Ticket {
    job: Job,
    /// Whose session it is for, if it is for one.
    lease: Option<LeaseId>,
    execution: Sender<ExecutionMsg>,
    accepted: Instant,
    waits: bool,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.waits {
            let _ = self.execution.cast(ExecutionMsg::Refused(LostCause::ActorGone("supervisor")));
        }
    }
}

/// Chance for the machine: splitmix64, small and good enough to keep restarts out of step.
struct Jitter(u64);

impl Jitter {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        f64::from(u32::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap_or_default()) / f64::from(u32::MAX)
    }
}

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl Actor for Supervisor {
    type Msg = SupervisorMsg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        myself: ActorRef<SupervisorMsg>,
        arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let Arguments { config, shared, spawner, ledger, warmup, started, tag, seed } = arguments;
        let begin = if shared { Pool::shared } else { Pool::new };
        let mut state = State {
            pool: begin(config.clone(), Instant::now().into_std()),
            config,
            ledger,
            warmup,
            tag,
            jitter: Jitter(seed),
            spawner,
            starts: HashMap::new(),
            sessions: HashMap::new(),
            tickets: HashMap::new(),
            leases: HashMap::new(),
            holders: HashMap::new(),
            forks: HashMap::new(),
            timers: Timers::new(),
            deaths: BTreeMap::new(),
            effects: Vec::new(),
            started: Some(started),
            start_failure: None,
            stopped: false,
            done: Vec::new(),
            reload: None,
        };
        state.arm(&myself, Wait::Look, LOOK_EVERY);
        state.step(&myself, Input::Begin).await;
        Ok(state)
    }

    async fn handle(
        &self,
        myself: ActorRef<SupervisorMsg>,
        message: SupervisorMsg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SupervisorMsg::Submit(submission) => state.submit(&myself, *submission).await,
            SupervisorMsg::Lease(request) => {
                let (lease, tenant) = (request.lease, request.tenant.clone());
                state.leases.insert(lease, *request);
                state.step(&myself, Input::Lease(lease, tenant)).await;
            }
            SupervisorMsg::Fork(fork) => state.fork(&myself, *fork).await,
            SupervisorMsg::Release(lease) => {
                state.leases.remove(&lease);
                state.forks.remove(&lease);
                state.step(&myself, Input::Release(lease)).await;
            }
            SupervisorMsg::Name(lease) => state.step(&myself, Input::Name(lease)).await,
            SupervisorMsg::Restored { lease, generation, fate } => {
                state.restored(&myself, lease, generation, fate).await;
            }
            SupervisorMsg::Saved { lease, covers, state_job } => {
                state.step(&myself, Input::Saved { lease, covers, state_job }).await;
            }
            SupervisorMsg::Cancel { id, reason, found } => {
                let _ = found.send(state.cancel(id, reason));
            }
            SupervisorMsg::Withdraw(id) => state.step(&myself, Input::Withdraw(id)).await,
            SupervisorMsg::Requeue(returning) => state.requeue(&myself, returning).await,
            SupervisorMsg::Forget(id) => {
                state.forget(id);
                state.step(&myself, Input::Forget(id)).await;
            }
            SupervisorMsg::Spawned { slot, generation, result } => {
                state.spawned(&myself, slot, generation, *result).await;
            }
            SupervisorMsg::Launched { slot, generation, worker, assignment } => {
                state.launched(&myself, slot, generation, *worker, *assignment).await;
            }
            SupervisorMsg::FromSession { slot, generation, notice } => {
                state.notice(&myself, slot, generation, notice).await;
            }
            SupervisorMsg::SessionGone { slot, generation, why } => {
                state.forget_session(slot, generation);
                let why = format!("its session actor ended before its time: {why}");
                state.step(&myself, Input::Abandoned { slot, generation, why }).await;
            }
            SupervisorMsg::Elapsed(Wait::Tick) => state.step(&myself, Input::Tick).await,
            SupervisorMsg::Elapsed(Wait::Look) => state.look_around(&myself),
            SupervisorMsg::Elapsed(Wait::Lease(lease)) => {
                state.step(&myself, Input::LeaseExpired(lease)).await;
            }
            SupervisorMsg::Elapsed(Wait::Shutdown) => state.step(&myself, Input::ShutdownElapsed).await,
            SupervisorMsg::Reload { spec, done } => state.reload(&myself, *spec, done).await,
            SupervisorMsg::Reset => state.step(&myself, Input::Reset).await,
            SupervisorMsg::Status(reply) => drop(reply.send(state.status())),
            SupervisorMsg::List(reply) => drop(reply.send(state.list())),
            SupervisorMsg::Shutdown { grace, done } => {
                state.done.extend(done);
                state.step(&myself, Input::Shutdown { grace }).await;
            }
        }
        state.end_when_all_are_told(&myself);
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        myself: ActorRef<SupervisorMsg>,
        event: SupervisionEvent,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        let (who, why) = match event {
            SupervisionEvent::ActorTerminated(who, last, reason) => {
                drop(last); // The state of the session goes first: it may hold a worker that must die.
                (who.get_id(), reason.unwrap_or_else(|| "it was stopped or killed".into()))
            }
            SupervisionEvent::ActorFailed(who, error) => (who.get_id(), error.to_string()),
            SupervisionEvent::ActorStarted(_) | SupervisionEvent::ProcessGroupChanged(_) => return Ok(()),
            #[cfg(feature = "cluster")]
            SupervisionEvent::PidLifecycleEvent(_) => return Ok(()),
        };
        let live = state.sessions.iter().find(|(_, live)| live.session.get_id() == who);
        if let Some((slot, live)) = live {
            // This event overtakes what the session said before it ended; our own message does not.
            let (slot, generation) = (*slot, live.generation);
            let _ = myself.cast(SupervisorMsg::SessionGone { slot, generation, why });
        }
        Ok(())
    }
}

impl State {
    async fn notice(
        &mut self,
        myself: &ActorRef<SupervisorMsg>,
        slot: usize,
        generation: Generation,
        notice: SessionNotice,
    ) {
        let input = match notice {
            SessionNotice::Ready => Input::Ready { slot, generation },
            SessionNotice::Idle(execution) => {
                self.forget(execution);
                Input::Idle { slot, generation, execution }
            }
            SessionNotice::Left => Input::Left { slot, generation },
            SessionNotice::Strained => Input::Strained { slot, generation },
            SessionNotice::Measured(memory) => Input::Measured { slot, generation, memory },
            SessionNotice::Terminated(death) => {
                if self.pool.generation(slot) == generation {
                    self.starts.remove(&slot);
                }
                *self.deaths.entry(death.cause.kind()).or_default() += 1;
                if let Some(live) = self.forget_session(slot, generation) {
                    // Behind what it was handed meanwhile, which it tells how the worker ended.
                    let _ = live.session.cast(SessionMsg::Buried);
                }
                if self.started.is_some() {
                    self.start_failure = Some(StartError::Worker(death.clone()));
                }
                Input::Terminated { slot, generation, death }
            }
        };
        self.step(myself, input).await;
    }

    /// Takes the session of this worker out, if it is still that one.
    fn forget_session(&mut self, slot: usize, generation: Generation) -> Option<Live> {
        match self.sessions.entry(slot) {
            Entry::Occupied(live) if live.get().generation == generation => Some(live.remove()),
            Entry::Occupied(_) | Entry::Vacant(_) => None,
        }
    }

    async fn step(&mut self, myself: &ActorRef<SupervisorMsg>, input: Input) {
        let jitter = self.jitter.next();
        self.pool.step(input, Instant::now().into_std(), jitter, &mut self.effects);
        self.perform_all(myself).await;
    }

    async fn perform_all(&mut self, myself: &ActorRef<SupervisorMsg>) {
        while !self.effects.is_empty() {
            for effect in std::mem::take(&mut self.effects) {
                self.perform(myself, effect);
            }
        }
    }

    fn perform(&mut self, myself: &ActorRef<SupervisorMsg>, effect: Effect) {
        match effect {
            Effect::Start { slot, generation } => self.start(myself, slot, generation),
            Effect::Launch { slot, generation, execution } => {
                self.launch(myself, slot, generation, execution);
            }
            Effect::Branch { slot, generation, lease } => self.branch(myself, slot, generation, lease),
            Effect::Assign { slot, execution } => self.assign(slot, execution),
            Effect::Withdrawn(id) => self.dismiss(id, ExecutionMsg::Withdrawn),
            Effect::AlreadyAssigned { slot, execution } => {
                if let (Some(ticket), Some(live)) = (self.tickets.get(&execution), self.sessions.get(&slot)) {
                    let _ = ticket.execution.cast(ExecutionMsg::Assigned(live.session.clone()));
                }
            }
            Effect::Lose(id, cause) => self.dismiss(id, ExecutionMsg::Refused(cause)),
            // Done before the effects are performed.
            Effect::Accept(_) | Effect::Refuse(..) => {}
            Effect::Cancel { slot, execution } => self.tell(slot, SessionMsg::Cancel(execution)),
            Effect::Grant { lease, slot } => self.grant(myself, lease, slot),
            Effect::Deny(lease, error) => {
                self.forks.remove(&lease);
                if let Some(request) = self.leases.remove(&lease) {
                    let _ = request.granted.send(Err(error));
                }
            }
            Effect::Regrant { lease, slot } => self.regrant(lease, slot),
            Effect::Announce { lease, unsaved } => self.announce(lease, unsaved),
            Effect::Tend(lease, state_job) => self.tend(myself, lease, state_job),
            Effect::LeaseEnded(lease, why) => self.lease_ended(lease, why),
            Effect::Stop { slot } => self.tell(slot, SessionMsg::Stop),
            Effect::Kill { slot, cause } => self.kill(myself, slot, cause),
            Effect::Desert { slot } => {
                if let Some(live) = self.sessions.remove(&slot) {
                    live.session.kill();
                }
            }
            Effect::Tick(wait) => self.arm(myself, Wait::Tick, wait),
            Effect::ArmLease(lease, wait) => self.arm(myself, Wait::Lease(lease), wait),
            Effect::DisarmLease(lease) => self.timers.disarm(&Wait::Lease(lease)),
            Effect::ArmShutdown(wait) => self.arm(myself, Wait::Shutdown, wait),
            Effect::Started => self.answer_start(Ok(())),
            Effect::Failed(why) => self.failed(myself, why),
            Effect::Recovered => info!("the pool serves again"),
            Effect::Renewed { slot, reason } => info!(slot, ?reason, "worker replaced"),
            Effect::Reloaded(fate) => self.reloaded(&fate),
            Effect::Stopped => self.stopped = true,
        }
    }

    fn arm(&mut self, myself: &ActorRef<SupervisorMsg>, kind: Wait, wait: Duration) {
        let myself = myself.clone();
        self.timers.arm(kind, wait, move || drop(myself.cast(SupervisorMsg::Elapsed(kind))));
    }

    /// No worker is left. An execution may still be on its way back into the queue: it is heard before the end.
    fn end_when_all_are_told(&mut self, myself: &ActorRef<SupervisorMsg>) {
        if !self.stopped || !self.tickets.is_empty() {
            return;
        }
        info!("the pool has ended");
        for done in self.done.drain(..) {
            let _ = done.send(());
        }
        myself.stop(None);
    }
}
