//! How the supervisor starts workers, and gives each a session.

use std::{sync::Arc, time::Duration};

use ractor::{Actor, ActorRef};
use tracing::warn;

use crate::{
    actor::{
        gauge::Gauge,
        messages::{SupervisorMsg, spawn_failure},
        session::{self, Session},
        supervisor::{Live, State},
    },
    error::{SpawnError, StartError},
    machine::{session::Limits, slot::Place, supervisor::Input},
    outcome::Generation,
    protocol::{Init, VERSION},
    worker::Worker,
};

impl State {
    /// Starts a worker in a task of its own: a slow start keeps nobody waiting.
    pub(super) fn start(&mut self, myself: &ActorRef<SupervisorMsg>, slot: usize, generation: Generation) {
        let starting = self.spawner.spawn(&format!("{}.{slot}.{generation}", self.tag));
        let myself = myself.clone();
        drop(tokio::spawn(async move {
            let result = Box::new(starting.await);
            // A supervisor that is gone needs no worker; dropping it here kills it.
            let _ = myself.cast(SupervisorMsg::Spawned { slot, generation, result });
        }));
    }

    pub(super) async fn spawned(
        &mut self,
        myself: &ActorRef<SupervisorMsg>,
        slot: usize,
        generation: Generation,
        result: Result<Worker, SpawnError>,
    ) {
        let wanted = self.pool.generation(slot) == generation
            && self.pool.places().any(|(at, _, place)| at == slot && matches!(place, Place::Starting { .. }));
        let failure = match result {
            Ok(worker) if wanted => match self.adopt(myself, slot, generation, worker).await {
                Ok(()) => return,
                Err(why) => why,
            },
            Ok(_unwanted) => "it was not needed any more".into(),
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
        let gauge = Arc::new(Gauge::new(worker.pid));
        let arguments = session::Arguments {
            slot,
            generation,
            worker,
            limits: Limits {
                ready_timeout: self.config.ready_timeout,
                warmup_timeout: self.config.warmup_timeout,
                grace: self.config.grace,
            },
            init: Init::new(VERSION),
            warmup: self.warmup.clone(),
            supervisor: myself.clone(),
            ledger: Arc::clone(&self.ledger),
            gauge: Arc::clone(&gauge),
        };
        let (session, _task) = Actor::spawn_linked(None, Session, arguments, myself.get_cell())
            .await
            .map_err(|error| error.to_string())?;
        self.sessions.insert(slot, Live { generation, session, gauge });
        Ok(())
    }

    pub(super) fn answer_start(&mut self, answer: Result<(), StartError>) {
        if let Some(started) = self.started.take() {
            let _ = started.send(answer);
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
