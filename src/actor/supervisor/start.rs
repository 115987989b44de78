//! How the supervisor starts workers, and gives each a session.

use std::{sync::Arc, time::Duration};

use ractor::{Actor, ActorRef};
use tokio::{sync::oneshot, time::Instant};

use crate::{
    actor::{
        gauge::Gauge,
        messages::{SessionMsg, SessionNotice, SupervisorMsg, spawn_failure},
        rpc, session,
        shell::{Dialect, Post, Session},
        supervisor::{Live, State},
        timers::Task,
    },
    config::{JsonRpc, WorkerSpec},
    error::{ReloadError, SpawnError, StartError},
    log::{info, warn},
    machine::{
        self,
        budget::MemoryLimits,
        session::Limits,
        slot::Place,
        supervisor::{Input, LeaseId},
    },
    outcome::{Death, DeathCause, Exit, Generation},
    protocol::{Init, VERSION},
    worker::{Branch, Worker},
};

impl State {
    /// Starts a worker in a task of its own: a slow start keeps nobody waiting, and one that hangs is given up.
    pub(super) fn start(&mut self, myself: &ActorRef<SupervisorMsg>, slot: usize, generation: Generation) {
        let starting = self.spawner.spawn(&format!("{}.{slot}.{generation}", self.tag));
        let (myself, after) = (myself.clone(), self.config.ready_timeout);
        let task = Task::spawn(async move {
            let message = match tokio::time::timeout(after, starting).await {
                Ok(result) => SupervisorMsg::Spawned { slot, generation, result: Box::new(result) },
                Err(_elapsed) => ended(slot, generation, DeathCause::NotReady { after }, Exit::Unknown),
            };
            // A supervisor that is gone needs no worker; dropping it here kills it.
            let _ = myself.cast(message);
        });
        self.starts.insert(slot, task);
    }

    /// Awaits a copy of another session, for as long as somebody wants it: the other one may have much to do before.
    pub(super) fn branch(
        &mut self,
        myself: &ActorRef<SupervisorMsg>,
        slot: usize,
        generation: Generation,
        lease: LeaseId,
    ) {
        let Some(told) = self.forks.remove(&lease) else { return };
        let branching = self.spawner.branch(&format!("{}.{slot}.{generation}", self.tag));
        let myself = myself.clone();
        let task = Task::spawn(async move {
            let result = match branching.await {
                Ok(Branch { order, worker }) => {
                    // Whoever does not hear it has let go of the lease.
                    let _ = told.send(order);
                    worker.await
                }
                Err(error) => Err(error),
            };
            let _ = myself.cast(SupervisorMsg::Spawned { slot, generation, result: Box::new(result) });
        });
        self.starts.insert(slot, task);
    }

    /// Kills what is in this slot, or gives up the start of it.
    pub(super) fn kill(&mut self, myself: &ActorRef<SupervisorMsg>, slot: usize, cause: DeathCause) {
        if self.sessions.contains_key(&slot) {
            self.tell(slot, SessionMsg::Kill(cause));
        } else if self.starts.remove(&slot).is_some() {
            let _ = myself.cast(ended(slot, self.pool.generation(slot), cause, Exit::Unknown));
        }
    }

    pub(super) async fn spawned(
        &mut self,
        myself: &ActorRef<SupervisorMsg>,
        slot: usize,
        generation: Generation,
        result: Result<Worker, SpawnError>,
    ) {
        self.starts.remove(&slot);
        let wanted = self.pool.generation(slot) == generation
            && self.pool.places().any(|(at, _, place)| at == slot && place.is_coming());
        let failure = match result {
            Ok(worker) if wanted => match self.adopt(myself, slot, generation, worker).await {
                Ok(()) => return,
                Err(why) => why,
            },
            Ok(unwanted) => return bury(myself.clone(), slot, generation, unwanted),
            Err(error) => {
                let text = spawn_failure(&error);
                warn!(slot, %generation, error = text, "worker not started");
                if self.started.is_some() {
                    self.start_failure = Some(error.into());
                }
                text
            }
        };
        self.step(myself, Input::NotSpawned { slot, generation, why: failure }).await;
    }

    /// Gives a started worker a session.
    async fn adopt(
        &mut self,
        myself: &ActorRef<SupervisorMsg>,
        slot: usize,
        generation: Generation,
        worker: Worker,
    ) -> Result<(), String> {
        // What the warmup makes is there already.
        let is_copy =
            self.pool.places().any(|(at, _, place)| at == slot && matches!(place, Place::Branching { .. }));
        // It was awaited for as long as its session had other things to do, and is forked only now.
        let taken = match is_copy {
            true => Duration::ZERO,
            false => Instant::now().into_std().saturating_duration_since(self.pool.started(slot)),
        };
        if let Some(server) = worker.server.clone() {
            return self.adopt_server(myself, slot, generation, worker, server).await;
        }
        let arguments = session::Arguments {
            post: self.post(myself, slot, generation, worker.pid),
            worker,
            limits: Limits {
                ready_timeout: self.config.ready_timeout,
                ready_in: self.config.ready_timeout.saturating_sub(taken),
                warmup_timeout: self.config.warmup_timeout,
                grace: self.config.grace,
                heartbeat_timeout: self.config.heartbeat_timeout,
                memory: MemoryLimits { soft: self.config.soft_memory, hard: self.config.hard_memory },
            },
            init: Init::new(VERSION),
            warmup: self.warmup.clone().filter(|_| !is_copy),
        };
        let post = arguments.post.clone();
        self.enlist::<session::State>(myself, post, arguments).await
    }

    /// What a session of any kind is told of its place.
    pub(super) fn post(
        &self,
        myself: &ActorRef<SupervisorMsg>,
        slot: usize,
        generation: Generation,
        pid: Option<u32>,
    ) -> Post {
        let (supervisor, ledger) = (myself.clone(), Arc::clone(&self.ledger));
        Post { slot, generation, supervisor, ledger, gauge: Arc::new(Gauge::new(pid)) }
    }

    /// Starts a session of this kind.
    pub(super) async fn enlist<D: Dialect>(
        &mut self,
        myself: &ActorRef<SupervisorMsg>,
        Post { slot, generation, gauge, .. }: Post,
        arguments: D::Arguments,
    ) -> Result<(), String> {
        let (session, _task) = Actor::spawn_linked(None, Session::<D>::ACTOR, arguments, myself.get_cell())
            .await
            .map_err(|error| error.to_string())?;
        self.sessions.insert(slot, Live { generation, session, gauge });
        Ok(())
    }

    /// Gives a started JSON-RPC server a session.
    async fn adopt_server(
        &mut self,
        myself: &ActorRef<SupervisorMsg>,
        slot: usize,
        generation: Generation,
        worker: Worker,
        server: Arc<JsonRpc>,
    ) -> Result<(), String> {
        let taken = Instant::now().into_std().saturating_duration_since(self.pool.started(slot));
        let arguments = rpc::Arguments {
            post: self.post(myself, slot, generation, worker.pid),
            worker,
            limits: machine::rpc::Limits {
                server,
                ready_timeout: self.config.ready_timeout,
                ready_in: self.config.ready_timeout.saturating_sub(taken),
                grace: self.config.grace,
                heartbeat_timeout: self.config.heartbeat_timeout,
                memory: MemoryLimits { soft: None, hard: self.config.hard_memory },
            },
        };
        let post = arguments.post.clone();
        self.enlist::<rpc::State>(myself, post, arguments).await
    }

    pub(super) fn answer_start(&mut self, answer: Result<(), StartError>) {
        if let Some(started) = self.started.take() {
            let _ = started.send(answer);
        }
    }

    /// Here and nowhere else, so that of two specs the one is used whose caller is told of it. Whoever waits for an earlier
    /// one learns that this one took its place.
    pub(super) async fn reload(
        &mut self,
        myself: &ActorRef<SupervisorMsg>,
        spec: WorkerSpec,
        done: oneshot::Sender<Result<(), ReloadError>>,
    ) {
        self.spawner.reload(spec);
        self.reload = Some(done);
        self.step(myself, Input::Reload).await;
    }

    pub(super) fn reloaded(&mut self, fate: &Result<(), String>) {
        match fate {
            Ok(()) => info!("a worker of the new spec is ready"),
            Err(why) => warn!(why, "a worker of the new spec was not ready; those of the old one serve on"),
        }
        if let Some(done) = self.reload.take() {
            let _ = done.send(fate.clone().map_err(|why| ReloadError::NotReady { why }));
        }
    }

    pub(super) fn failed(&mut self, myself: &ActorRef<SupervisorMsg>, why: String) {
        warn!(why, "the pool starts no more workers");
        if self.started.is_some() {
            let failure = self.start_failure.take().unwrap_or(StartError::Supervisor(why));
            self.answer_start(Err(failure));
            let _ = myself.cast(SupervisorMsg::Shutdown { grace: Duration::ZERO, done: None });
        }
    }
}

/// What a session would say of the end of its worker, for one that has no session.
pub(super) fn ended(slot: usize, generation: Generation, cause: DeathCause, exit: Exit) -> SupervisorMsg {
    let death = Box::new(Death::new(cause, exit));
    SupervisorMsg::FromSession { slot, generation, notice: SessionNotice::Terminated(death) }
}

/// Ends a worker that came when it was not needed any more. Its slot is free when it is reaped.
pub(super) fn bury(supervisor: ActorRef<SupervisorMsg>, slot: usize, generation: Generation, worker: Worker) {
    let Worker { exit, control, .. } = worker;
    drop(tokio::spawn(async move {
        drop(control);
        let exit = exit.await;
        let _ = supervisor.cast(ended(slot, generation, DeathCause::Retired, exit));
    }));
}
