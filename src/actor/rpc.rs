//! The session of a JSON-RPC server, with many executions at once. It steps the machine and performs what comes
//! back; it decides nothing.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use ractor::ActorRef;
use smallvec::smallvec;

use crate::{
    actor::{
        credit::{Room, price},
        messages::{Heard, Progress, SessionMsg, SessionNotice},
        shell::{Dialect, Post, Shell},
        timers::Timers,
        writer::Writer,
    },
    config::{JsonRpc, WINDOW},
    log::{info, trace},
    machine::{
        rpc::{Effect, Input, Limits, Rpc as Machine, Timer},
        session::{Broken, Ending},
        unstarted::{Loss, Unstarted},
    },
    outcome::Event,
    protocol::{
        ExecutionId,
        rpc::{self, Outgoing},
    },
    worker::Worker,
};

mod background;
mod flight;
mod reader;
mod send_queue;

use flight::Flight;
use reader::Reader;
use send_queue::SendQueue;

/// What the session of a server is started with.
pub(crate) struct Arguments {
    pub(crate) post: Post,
    pub(crate) worker: Worker,
    pub(crate) limits: Limits,
}

/// The state of the actor.
pub(crate) struct State {
    shell: Shell,
    machine: Machine,
    server: Arc<JsonRpc>,
    flights: HashMap<ExecutionId, Flight>,
    /// `None` when the server was asked to go.
    writer: Option<Writer>,
    send_queue: SendQueue,
    timers: Timers<Timer>,
    effects: Vec<Effect>,
}

impl Dialect for State {
    type Arguments = Arguments;

    fn start(myself: &ActorRef<SessionMsg>, arguments: Arguments) -> Self {
        start(myself, arguments)
    }

    fn shell(&mut self) -> &mut Shell {
        &mut self.shell
    }

    fn handle(&mut self, myself: &ActorRef<SessionMsg>, message: SessionMsg) {
        match message {
            SessionMsg::Heard(heard) => self.heard(myself, *heard),
            SessionMsg::Exited(exit_notice) => {
                let (exit, _stream) = exit_notice.read();
                let unwritten = self.unwritten();
                self.see_what_was_sent(myself);
                let stderr = self.shell.tail.text();
                self.step(myself, Input::Exited { exit, stderr, unwritten });
            }
            SessionMsg::Unwritable => self.step(myself, Input::Broken(Broken::Closed)),
            SessionMsg::Written => self.wrote(myself),
            SessionMsg::Assign(assignment) => {
                let (id, terms) = (assignment.id, assignment.terms.clone());
                if assignment.may_run().is_ok() {
                    self.flights.insert(id, Flight::new(*assignment));
                    self.step(myself, Input::Assign(id, terms));
                } else {
                    assignment.discharge();
                    self.shell.notify(SessionNotice::Idle(id));
                }
            }
            SessionMsg::Cancel(id) => self.cancel(myself, id),
            SessionMsg::Reply { id, request, answer } => {
                self.step(myself, Input::Reply { id, request, answer });
            }
            SessionMsg::Inspect(asker) => self.inspect(asker),
            SessionMsg::Due(timer) => self.step(myself, Input::Elapsed(timer)),
            SessionMsg::Look => self.look(myself),
            SessionMsg::Stop => self.step(myself, Input::Stop),
            SessionMsg::Kill(cause) => self.step(myself, Input::Kill(cause)),
            // Of the shell, of workers that speak in frames, and of their code.
            SessionMsg::Leased(_)
            | SessionMsg::Released(_)
            | SessionMsg::Buried
            | SessionMsg::Read(_)
            | SessionMsg::Interrupt(_)
            | SessionMsg::Terminate(_)
            | SessionMsg::Send(..)
            | SessionMsg::Inspected(_)
            | SessionMsg::Elapsed(_) => {}
        }
    }
}

fn start(myself: &ActorRef<SessionMsg>, arguments: Arguments) -> State {
    let Arguments { post, worker, limits } = arguments;
    let Worker { pid, frames, outbox, stderr, exit, control, .. } = worker;
    let server = Arc::clone(&limits.server);
    let inbox = Room::new(WINDOW, Arc::clone(&post.ledger));
    let reader = Reader::new(myself.clone(), inbox, &server, frames, stderr);
    // Not aborted with this actor: it ends by itself when the server is dead, which dropping `control` sees to.
    drop(tokio::spawn(reader.run(exit, post.exit_notice())));
    let (broken, wrote) = (myself.clone(), myself.clone());
    let writer = Writer::new(outbox, move || drop(broken.cast(SessionMsg::Unwritable)));
    let mut effects = Vec::new();
    let machine = Machine::new(limits, &mut effects);
    info!(slot = post.slot, generation = %post.generation, pid, "worker started");
    let mut state = State {
        shell: Shell::new(post, pid, control),
        machine,
        server,
        flights: HashMap::new(),
        writer: Some(writer.telling(move || drop(wrote.cast(SessionMsg::Written)))),
        send_queue: SendQueue::default(),
        timers: Timers::new(),
        effects,
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
            self.step(myself, Input::Incoming(said));
        }
        if let Some(broken) = broken {
            self.step(myself, Input::Broken(broken));
        }
    }

    fn step(&mut self, myself: &ActorRef<SessionMsg>, input: Input) {
        self.shell.cause = input.name();
        self.machine.step(input, &mut self.effects);
        self.perform_all(myself);
    }

    /// Performs what the last step asked for, and what follows from that.
    fn perform_all(&mut self, myself: &ActorRef<SessionMsg>) {
        while !self.effects.is_empty() {
            // First: whoever hears of a step may look at the state that it led to.
            self.shell.show(self.machine.state(), None);
            for effect in std::mem::take(&mut self.effects) {
                self.perform(myself, effect);
            }
        }
    }

    fn perform(&mut self, myself: &ActorRef<SessionMsg>, effect: Effect) {
        match effect {
            Effect::Send(id) => self.send(id),
            Effect::Say(saying) => {
                let owes =
                    if let Outgoing::Reply { id, .. } = &saying { Some(price(id.len())) } else { None };
                if let Some(message) = rpc::encode(self.server.style, self.server.framing, &saying) {
                    trace!(
                        slot = self.shell.post.slot,
                        pid = self.shell.pid,
                        bytes = message.len(),
                        "to the worker"
                    );
                    match owes {
                        Some(price) => self.reply(message, price),
                        None => self.say(message),
                    }
                }
            }
            Effect::Close => self.writer = None,
            Effect::Kill => self.shell.kill(),
            Effect::Arm(timer, wait) => {
                let myself = myself.clone();
                self.timers.arm(timer, wait, move || drop(myself.cast(SessionMsg::Due(timer))));
            }
            Effect::Disarm(timer) => self.timers.disarm(&timer),
            Effect::Started(id) => {
                let (pid, generation) = (self.shell.pid, self.shell.post.generation);
                if let Some(flight) = self.flights.get_mut(&id) {
                    let session = myself.clone();
                    flight.assignment.tell(smallvec![Progress::Started { session, pid, generation }]);
                }
            }
            Effect::Event(id, event) => {
                let asks = if let Event::Asked(question) = &event { Some(question.request) } else { None };
                let Some(flight) = self.flights.get_mut(&id) else { return };
                let room = flight.pass_on(event, &self.shell.post.ledger);
                if let Some(request) = asks.filter(|_| !room) {
                    self.machine.step(Input::NotAsked(request), &mut self.effects);
                }
            }
            Effect::Background { method, params } => self.background(method, params),
            Effect::Ended(id, ending) => self.ended(id, ending),
            Effect::Returned(id, cause) => {
                let unstarted = self.flights.get(&id).and_then(|flight| flight.assignment.ungiven());
                self.ended(id, Ending::Lost(Loss { unstarted, cause }));
            }
            Effect::Ready => self.shell.notify(SessionNotice::Ready),
            Effect::Idle(id) => self.shell.notify(SessionNotice::Idle(id)),
            Effect::Terminated(death) => {
                let Post { slot, generation, .. } = self.shell.post;
                info!(slot, %generation, pid = self.shell.pid, cause = %death, "worker ended");
                self.shell.terminated(death);
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
}

impl Drop for State {
    /// With calls in flight this actor ends before its time, and may not have looked what its writer got done: a call
    /// that was written must not be told that it was not.
    fn drop(&mut self) {
        for (id, unstarted) in self.unwritten() {
            if let Some(flight) = self.flights.get_mut(&id) {
                flight.assignment.prove(Some(unstarted));
            }
        }
    }
}
