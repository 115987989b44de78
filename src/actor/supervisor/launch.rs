//! How the supervisor starts scripts: each gets a process of its own, and a session that ends with it.

use ractor::ActorRef;
use smallvec::SmallVec;

use crate::{
    actor::{
        assignment::Assignment,
        messages::{Progress, SupervisorMsg, spawn_failure},
        script,
        supervisor::{
            State,
            start::{bury, ended},
        },
        timers::Task,
    },
    log::warn,
    machine::{budget::MemoryLimits, script::Limits, session::Ending, slot::Place, unstarted::Loss},
    outcome::{DeathCause, Exit, Generation, LostCause},
    protocol::ExecutionId,
    worker::{Unlaunched, Worker},
};

impl State {
    /// Starts the process of a script in a task of its own. From here on its code may run, unless it is known that the
    /// process could not be started.
    pub(super) fn launch(
        &mut self,
        myself: &ActorRef<SupervisorMsg>,
        slot: usize,
        generation: Generation,
        id: ExecutionId,
    ) {
        let free = |myself: &ActorRef<SupervisorMsg>| {
            drop(myself.cast(ended(slot, generation, DeathCause::Retired, Exit::Unknown)));
        };
        let Some(ticket) = self.tickets.get_mut(&id) else { return free(myself) };
        ticket.waits = false;
        let mut assignment = Assignment::new(&ticket.job, ticket.execution.clone());
        let Some(launched) = ticket.job.script.clone() else { return free(myself) };
        if assignment.may_run().is_err() {
            assignment.discharge();
            return free(myself);
        }
        // There is nothing to send: its process is what it is given.
        let _ = assignment.give();
        let starting = self.spawner.script(&format!("{}.{slot}.{generation}", self.tag), launched);
        let (myself, after) = (myself.clone(), self.config.ready_timeout);
        let task = Task::spawn(async move {
            let why = match tokio::time::timeout(after, starting).await {
                Ok(Ok(worker)) => {
                    let (worker, assignment) = (Box::new(worker), Box::new(assignment));
                    let launched = SupervisorMsg::Launched { slot, generation, worker, assignment };
                    return drop(myself.cast(launched));
                }
                // It was killed: the assignment says so when it is dropped.
                Ok(Err(Unlaunched { error, ran: true })) => {
                    warn!(slot, %generation, error = spawn_failure(&error), "script killed at its start");
                    return drop(myself.cast(ended(slot, generation, DeathCause::Retired, Exit::Unknown)));
                }
                Ok(Err(Unlaunched { error, ran: false })) => spawn_failure(&error),
                // It may have been started, and is killed: the assignment says so.
                Err(_elapsed) => {
                    return drop(myself.cast(ended(slot, generation, DeathCause::Retired, Exit::Unknown)));
                }
            };
            warn!(slot, %generation, error = why, "script not started");
            let _ = myself.cast(ended(slot, generation, DeathCause::Retired, Exit::Unknown));
            assignment.take_back();
            let loss = Loss { unstarted: assignment.ungiven(), cause: LostCause::NotLaunched { why } };
            assignment.tell(SmallVec::from_iter([Progress::Ended(Ending::Lost(loss))]));
            assignment.discharge();
        });
        self.starts.insert(slot, task);
    }

    /// Gives a started script its session.
    pub(super) async fn launched(
        &mut self,
        myself: &ActorRef<SupervisorMsg>,
        slot: usize,
        generation: Generation,
        worker: Worker,
        assignment: Assignment,
    ) {
        self.starts.remove(&slot);
        let wanted = self.pool.generation(slot) == generation
            && self.pool.places().any(|(at, _, place)| at == slot && matches!(place, Place::Script { .. }));
        if !wanted {
            return bury(myself.clone(), slot, generation, worker);
        }
        let post = self.post(myself, slot, generation, worker.pid);
        let arguments = script::Arguments {
            post: post.clone(),
            worker,
            limits: Limits {
                grace: self.config.grace,
                cpu: assignment.cpu,
                memory: MemoryLimits { soft: self.config.soft_memory, hard: self.config.hard_memory },
            },
            assignment,
        };
        if let Err(error) = self.enlist::<script::State>(myself, post, arguments).await {
            // What it was given is dropped: the process is killed, and the execution told.
            warn!(slot, %generation, error, "script without a session");
            let _ = myself.cast(ended(slot, generation, DeathCause::Retired, Exit::Unknown));
        }
    }
}
