//! The actor of a JSON-RPC server: a session with many executions at once. It steps the machine and performs what comes
//! back; it decides nothing.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use smallvec::smallvec;

use crate::{
    actor::{
        charge::Obituary,
        credit::{Room, price},
        gauge::Gauge,
        messages::{Heard, Progress, SessionMsg, SessionNotice, SupervisorMsg},
        notes::Notes,
        obligation::Ledger,
        sink::{Feed, LastEvent},
        tail::Tail,
        timers::Timers,
        writer::Writer,
    },
    config::{JsonRpc, WINDOW},
    log::{debug, info, trace},
    machine::{
        rpc::{Effect, Input, Limits, Rpc as Machine, Timer},
        session::{Broken, Ending},
        unstarted::{Loss, Unstarted},
    },
    outcome::{Event, Generation},
    protocol::{
        ExecutionId,
        rpc::{self, Saying},
    },
    status::SessionState,
    worker::{Control, Worker},
};

mod aside;
mod flight;
mod line;
mod reader;

use flight::Flight;
use line::Line;
use reader::Reader;

/// The actor. See [`Arguments`].
pub(crate) struct Rpc;

/// What the session of a server is started with.
pub(crate) struct Arguments {
    pub(crate) slot: usize,
    pub(crate) generation: Generation,
    pub(crate) worker: Worker,
    pub(crate) limits: Limits,
    pub(crate) supervisor: ActorRef<SupervisorMsg>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) gauge: Arc<Gauge>,
}

/// The state of the actor.
pub(crate) struct State {
    machine: Machine,
    shown: SessionState,
    /// What the last step was about.
    cause: &'static str,
    slot: usize,
    generation: Generation,
    pid: Option<u32>,
    server: Arc<JsonRpc>,
    flights: HashMap<ExecutionId, Flight>,
    /// `None` when the server was asked to go.
    writer: Option<Writer>,
    line: Line,
    control: Box<dyn Control>,
    timers: Timers<Timer>,
    tail: Tail,
    notes: Notes,
    background: Option<Feed>,
    /// What its holder is told when the worker is dead.
    last: Option<LastEvent>,
    effects: Vec<Effect>,
    supervisor: ActorRef<SupervisorMsg>,
    ledger: Arc<Ledger>,
    gauge: Arc<Gauge>,
}

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl Actor for Rpc {
    type Msg = SessionMsg;
    type State = State;
    type Arguments = Arguments;

    async fn pre_start(
        &self,
        myself: ActorRef<SessionMsg>,
        arguments: Arguments,
    ) -> Result<State, ActorProcessingErr> {
        Ok(start(&myself, arguments))
    }

    async fn handle(
        &self,
        myself: ActorRef<SessionMsg>,
        message: SessionMsg,
        state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            SessionMsg::Heard(heard) => state.heard(&myself, *heard),
            SessionMsg::Exited(obituary) => {
                let (exit, _stream) = obituary.read();
                let unwritten = state.unwritten();
                state.see_what_was_sent(&myself);
                let stderr = state.tail.text();
                state.step(&myself, Input::Exited { exit, stderr, unwritten });
            }
            SessionMsg::Unwritable => state.step(&myself, Input::Broken(Broken::Closed)),
            SessionMsg::Written => state.wrote(&myself),
            SessionMsg::Assign(charge) => {
                let (id, terms) = (charge.id, charge.terms.clone());
                if charge.may_run().is_ok() {
                    state.flights.insert(id, Flight::new(*charge));
                    state.step(&myself, Input::Assign(id, terms));
                } else {
                    charge.discharge();
                    state.notify(SessionNotice::Idle(id));
                }
            }
            SessionMsg::Leased(events) => state.background = Some(events),
            SessionMsg::Released(last) => {
                state.last = Some(last).filter(|_| state.machine.state() != SessionState::Terminated);
            }
            SessionMsg::Cancel(id) => state.cancel(&myself, id),
            SessionMsg::Reply { id, request, answer } => {
                state.step(&myself, Input::Reply { id, request, answer });
            }
            SessionMsg::Inspect(asker) => state.inspect(asker),
            SessionMsg::Due(timer) => state.step(&myself, Input::Elapsed(timer)),
            SessionMsg::Look => state.look(&myself),
            SessionMsg::Buried => myself.stop(None),
            SessionMsg::Stop => state.step(&myself, Input::Stop),
            SessionMsg::Kill(cause) => state.step(&myself, Input::Kill(cause)),
            // Of workers that speak in frames, and of their code.
            SessionMsg::Read(_)
            | SessionMsg::Interrupt(_)
            | SessionMsg::Terminate(_)
            | SessionMsg::Send(..)
            | SessionMsg::Sighted(_)
            | SessionMsg::Elapsed(_) => {}
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<SessionMsg>,
        _event: SupervisionEvent,
        _state: &mut State,
    ) -> Result<(), ActorProcessingErr> {
        Ok(()) // A session supervises nobody; ractor's default would stop it.
    }
}

fn start(myself: &ActorRef<SessionMsg>, arguments: Arguments) -> State {
    let Arguments { slot, generation, worker, limits, supervisor, ledger, gauge } = arguments;
    let Worker { pid, frames, outbox, stderr, exit, control, .. } = worker;
    let server = Arc::clone(&limits.server);
    let inbox = Room::new(WINDOW, Arc::clone(&ledger));
    let reader = Reader::new(myself.clone(), inbox, &server, frames, stderr);
    // Not aborted with this actor: it ends by itself when the server is dead, which dropping `control` sees to.
    drop(tokio::spawn(reader.run(exit, Obituary::new(slot, generation, supervisor.clone()))));
    let (broken, wrote) = (myself.clone(), myself.clone());
    let writer = Writer::new(outbox, move || drop(broken.cast(SessionMsg::Unwritable)));
    let mut effects = Vec::new();
    let machine = Machine::new(limits, &mut effects);
    info!(slot, %generation, pid, "worker started");
    let mut state = State {
        // Before what it is told first is told.
        shown: SessionState::Creating,
        cause: "start",
        machine,
        slot,
        generation,
        pid,
        server,
        flights: HashMap::new(),
        writer: Some(writer.telling(move || drop(wrote.cast(SessionMsg::Written)))),
        line: Line::default(),
        control,
        timers: Timers::new(),
        tail: Tail::new(),
        notes: Notes::default(),
        background: None,
        last: None,
        effects,
        supervisor,
        ledger,
        gauge,
    };
    state.perform_all(myself);
    state
}

impl State {
    /// The room is given back when all of it is handled.
    fn heard(&mut self, myself: &ActorRef<SessionMsg>, heard: Heard) {
        let Heard { said, printed, broken, room: _room } = heard;
        self.see_what_was_sent(myself);
        self.print(printed);
        for said in said {
            self.step(myself, Input::Said(said));
        }
        if let Some(broken) = broken {
            self.step(myself, Input::Broken(broken));
        }
    }

    fn step(&mut self, myself: &ActorRef<SessionMsg>, input: Input) {
        self.cause = input.name();
        self.machine.step(input, &mut self.effects);
        self.perform_all(myself);
    }

    /// Performs what the last step asked for, and what follows from that.
    fn perform_all(&mut self, myself: &ActorRef<SessionMsg>) {
        while !self.effects.is_empty() {
            // First: whoever hears of a step may look at the state that it led to.
            self.show();
            for effect in std::mem::take(&mut self.effects) {
                self.perform(myself, effect);
            }
        }
    }

    fn perform(&mut self, myself: &ActorRef<SessionMsg>, effect: Effect) {
        match effect {
            Effect::Send(id) => self.send(id),
            Effect::Say(saying) => {
                let owes = if let Saying::Reply { id, .. } = &saying { Some(price(id.len())) } else { None };
                if let Some(message) = rpc::encode(self.server.style, self.server.framing, &saying) {
                    trace!(slot = self.slot, pid = self.pid, bytes = message.len(), "to the worker");
                    match owes {
                        Some(price) => self.reply(message, price),
                        None => self.say(message),
                    }
                }
            }
            Effect::Close => self.writer = None,
            Effect::Kill => {
                self.last.iter_mut().for_each(LastEvent::is_killed);
                self.control.kill();
            }
            Effect::Arm(timer, wait) => {
                let myself = myself.clone();
                self.timers.arm(timer, wait, move || drop(myself.cast(SessionMsg::Due(timer))));
            }
            Effect::Disarm(timer) => self.timers.disarm(&timer),
            Effect::Started(id) => {
                let (pid, generation) = (self.pid, self.generation);
                if let Some(flight) = self.flights.get_mut(&id) {
                    let session = myself.clone();
                    flight.charge.tell(smallvec![Progress::Started { session, pid, generation }]);
                }
            }
            Effect::Event(id, event) => {
                let asks = if let Event::Asked(question) = &event { Some(question.request) } else { None };
                let Some(flight) = self.flights.get_mut(&id) else { return };
                let room = flight.pass_on(event, &self.ledger);
                if let Some(request) = asks.filter(|_| !room) {
                    self.machine.step(Input::NotAsked(request), &mut self.effects);
                }
            }
            Effect::Background { method, params } => self.background(method, params),
            Effect::Ended(id, ending) => self.ended(id, ending),
            Effect::Returned(id, cause) => {
                let unstarted = self.flights.get(&id).and_then(|flight| flight.charge.ungiven());
                self.ended(id, Ending::Lost(Loss { unstarted, cause }));
            }
            Effect::Ready => self.notify(SessionNotice::Ready),
            Effect::Idle(id) => self.notify(SessionNotice::Idle(id)),
            Effect::Terminated(death) => {
                info!(slot = self.slot, generation = %self.generation, pid = self.pid, cause = %death, "worker ended");
                self.notify(SessionNotice::Terminated(death));
                self.last = None;
            }
            Effect::Noted(noted) => self.note(noted),
        }
    }

    fn ended(&mut self, id: ExecutionId, ending: Ending) {
        if let Some(flight) = self.flights.remove(&id) {
            flight.end(ending);
        }
    }

    /// Gives its server nothing more, and returns proof for each call that it was not given the whole of.
    fn unwritten(&self) -> BTreeMap<ExecutionId, Unstarted> {
        let written = self.writer.as_ref().map(Writer::stop);
        let calls = self.flights.iter();
        calls.filter_map(|(id, flight)| Some((*id, flight.unwritten(written)?))).collect()
    }

    fn notify(&self, notice: SessionNotice) {
        let (slot, generation) = (self.slot, self.generation);
        // A supervisor that is gone takes its sessions with it.
        let _ = self.supervisor.cast(SupervisorMsg::FromSession { slot, generation, notice });
    }

    /// Traces the transition that the machine made, if it made one.
    fn show(&mut self) {
        let state = self.machine.state();
        let old = std::mem::replace(&mut self.shown, state);
        if old != state {
            self.gauge.moved(state, self.cause, self.pid);
            let (slot, generation, pid) = (self.slot, self.generation, self.pid);
            debug!(slot, %generation, pid, cause = self.cause, "session {old} -> {state}");
        }
    }
}

impl Drop for State {
    /// With calls in flight this actor ends before its time, and may not have looked what its writer got done: a call
    /// that was written must not be told that it was not.
    fn drop(&mut self) {
        for (id, unstarted) in self.unwritten() {
            if let Some(flight) = self.flights.get_mut(&id) {
                flight.charge.prove(Some(unstarted));
            }
        }
    }
}
