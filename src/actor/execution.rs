//! The execution actor: one request from its acceptance to its outcome. It steps the machine, keeps the deadline, and
//! passes events on; it decides nothing.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use tokio::sync::oneshot;

use crate::{
    actor::{
        charge::Returning,
        credit::Credit,
        messages::{ExecutionMsg, Progress, SessionMsg, SupervisorMsg},
        obligation::{Ledger, Obligation},
        sink::Sink,
        timers::Task,
    },
    log::debug,
    machine::{
        execution::{Effect, Execution as Machine, Input},
        session::Ending,
    },
    outcome::{Event, Failure, LostCause, Outcome},
    protocol::{ExecutionId, InputResponse, ToWorker},
    request::{Label, Limits},
};

/// The actor. See [`Arguments`].
pub(crate) struct Execution;

/// What an execution is started with.
pub(crate) struct Arguments {
    pub(crate) id: ExecutionId,
    pub(crate) label: Option<Label>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) limits: Limits,
    pub(crate) may_requeue: bool,
    pub(crate) obligation: Obligation,
    pub(crate) sink: Sink,
    pub(crate) supervisor: ActorRef<SupervisorMsg>,
    pub(crate) ledger: Arc<Ledger>,
}

/// The state of the actor.
pub(crate) struct State {
    id: ExecutionId,
    label: Option<Label>,
    deadline: Duration,
    /// Bytes that it may print, and has printed.
    max_output: Option<u64>,
    printed: u64,
    machine: Machine,
    obligation: Option<Obligation>,
    sink: Sink,
    place: Place,
    ledger: Arc<Ledger>,
    _timer: Option<Task>,
    effects: Vec<Effect>,
}

/// Where it is. If the actor ends without a word, dropping this sees that nobody works for it in vain.
struct Place {
    id: ExecutionId,
    at: At,
    supervisor: ActorRef<SupervisorMsg>,
}

enum At {
    Line,
    Session(ActorRef<SessionMsg>),
    Left,
}

impl Drop for Place {
    fn drop(&mut self) {
        match self.at {
            // The supervisor sees to it that no session goes on with it.
            At::Line | At::Session(_) => drop(self.supervisor.cast(SupervisorMsg::Forget(self.id))),
            At::Left => {}
        }
    }
}

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl Actor for Execution {
    type Msg = ExecutionMsg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        myself: ActorRef<ExecutionMsg>,
        arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        let Arguments { id, label, deadline, limits, may_requeue, obligation, sink, supervisor, ledger } =
            arguments;
        let timer =
            deadline.map(|after| Task::after(after, move || drop(myself.cast(ExecutionMsg::Deadline))));
        debug!(execution = %id, label = label.as_deref(), "execution accepted");
        Ok(State {
            id,
            label,
            deadline: deadline.unwrap_or_default(),
            max_output: limits.output,
            printed: 0,
            machine: Machine::new(may_requeue, limits.result),
            obligation: Some(obligation),
            sink,
            place: Place { id, at: At::Line, supervisor },
            ledger,
            _timer: timer,
            effects: Vec::new(),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<ExecutionMsg>,
        message: ExecutionMsg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            ExecutionMsg::Progress(progress) => {
                for progress in progress {
                    state.progress(&myself, progress);
                }
            }
            ExecutionMsg::Assigned(session) => {
                state.place.at = At::Session(session);
                state.step(&myself, Input::Assigned);
            }
            ExecutionMsg::Withdrawn => {
                state.place.at = At::Left;
                state.step(&myself, Input::Withdrawn);
            }
            ExecutionMsg::Refused(cause) => {
                state.place.at = At::Left;
                state.step(&myself, Input::Refused(cause));
            }
            ExecutionMsg::Cancel { reason } => state.step(&myself, Input::Cancel { reason }),
            ExecutionMsg::Interrupt => state.to_session(SessionMsg::Interrupt),
            ExecutionMsg::Input { request, value } => {
                let eof = value.is_none();
                let answer = InputResponse { id: state.id, request, value, eof };
                state.to_session(|id| SessionMsg::Send(id, Box::new(ToWorker::InputResponse(answer))));
            }
            ExecutionMsg::Inspect(asker) => state.to_session(|_| SessionMsg::Inspect(asker)),
            ExecutionMsg::Seen(activity) => state.step(&myself, Input::Seen(activity)),
            ExecutionMsg::Deadline => {
                let after = state.deadline;
                state.step(&myself, Input::Deadline { after });
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<ExecutionMsg>,
        _event: SupervisionEvent,
        _state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        Ok(()) // An execution supervises nobody; ractor's default would stop it.
    }
}

impl State {
    fn progress(&mut self, myself: &ActorRef<ExecutionMsg>, progress: Progress) {
        match progress {
            Progress::Started { session, pid, generation } => {
                debug!(execution = %self.id, label = self.label.as_deref(), pid, "execution started");
                self.place.at = At::Session(session);
                if let Some(obligation) = &mut self.obligation {
                    obligation.started();
                    self.sink.deliver(self.id, Event::Started { pid, generation }, Credit::free());
                }
                self.step(myself, Input::Started);
            }
            Progress::Event(event, credit) => self.event(myself, event, credit),
            Progress::Exceeded(failure) => self.step(myself, Input::Exceeded(failure)),
            Progress::Ended(ending) => {
                self.place.at = match &ending {
                    // The session cannot tell the supervisor that this one is over, or may die before it can.
                    Ending::Lost(_) | Ending::Failed(Failure::Protocol { .. }) => At::Line,
                    Ending::Completed(_) | Ending::Failed(_) | Ending::Stopped(_) => At::Left,
                };
                self.step(myself, Input::Ended(ending));
            }
        }
    }

    /// Events after the outcome are counted, not passed on.
    fn event(&mut self, myself: &ActorRef<ExecutionMsg>, event: Event, credit: Credit) {
        if let Event::Output { data, .. } = &event {
            self.printed += data.len() as u64;
        }
        let (limit, printed) = (self.max_output.unwrap_or(u64::MAX), self.printed);
        if let Event::Dropped { bytes } = &event {
            self.ledger.dropped_bytes.fetch_add(*bytes, Relaxed);
        }
        if self.obligation.is_some() {
            self.sink.deliver(self.id, event, credit);
        } else if let Event::Output { data, .. } = &event {
            self.ledger.dropped_bytes.fetch_add(data.len() as u64, Relaxed);
        }
        if printed > limit {
            self.max_output = None; // Told once.
            self.step(myself, Input::Exceeded(Failure::OutputLimit { limit, printed }));
        }
    }

    fn step(&mut self, myself: &ActorRef<ExecutionMsg>, input: Input) {
        let mut effects = std::mem::take(&mut self.effects);
        self.machine.step(input, &mut effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Withdraw => self.to_supervisor(myself, SupervisorMsg::Withdraw),
                Effect::Stop => self.to_session(SessionMsg::Cancel),
                Effect::Look => self.look(myself),
                Effect::Requeue => {
                    self.ledger.requeued.fetch_add(1, Relaxed);
                    let returning = Returning::new(self.id, myself.clone());
                    let _ = self.place.supervisor.cast(SupervisorMsg::Requeue(returning));
                }
                Effect::Settle(outcome) => self.settle(outcome),
                Effect::Finish => myself.stop(None),
            }
        }
        self.effects = effects;
    }

    /// Asks what the worker is doing. A session that dies, or is gone, drops the question: that is an answer too.
    fn look(&self, myself: &ActorRef<ExecutionMsg>) {
        let (asker, answer) = oneshot::channel();
        self.to_session(|_| SessionMsg::Inspect(asker));
        let myself = myself.clone();
        drop(tokio::spawn(async move { myself.cast(ExecutionMsg::Seen(answer.await.ok())) }));
    }

    fn settle(&mut self, outcome: Outcome) {
        debug!(execution = %self.id, label = self.label.as_deref(), outcome = outcome.kind(), "execution ended");
        // Closed first: when the outcome is there, the stream of events has ended.
        self.sink = Sink::Closed;
        if let Some(obligation) = self.obligation.take() {
            obligation.settle(outcome);
        }
    }

    fn to_session(&self, message: impl FnOnce(ExecutionId) -> SessionMsg) {
        if let At::Session(session) = &self.place.at {
            // A session that is gone has said so, or its charge does.
            let _ = session.cast(message(self.id));
        }
    }

    fn to_supervisor(
        &self,
        myself: &ActorRef<ExecutionMsg>,
        message: impl FnOnce(ExecutionId) -> SupervisorMsg,
    ) {
        if self.place.supervisor.cast(message(self.id)).is_err() {
            let _ = myself.cast(ExecutionMsg::Refused(LostCause::ActorGone("supervisor")));
        }
    }
}
