//! The session of a worker that speaks in frames. It steps the machine and performs what comes back; it decides nothing.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ractor::ActorRef;
use tokio::time::Instant;

use crate::{
    actor::{
        assignment::Assignment,
        credit::{Credit, Room, Window, window},
        messages::{Item, Progress, Read, SessionMsg, SessionNotice},
        reader::Reader,
        shell::{Dialect, Post, Shell},
        telling::Telling,
        timers::Timers,
        writer::Writer,
    },
    config::WINDOW,
    log::{info, trace},
    machine::{
        session::{Broken, Effect, Ending, Input, Limits, Session as Machine, Timer},
        unstarted::Loss,
    },
    outcome::Failure,
    protocol::{Codec, ExecutionId, Init},
    status::SessionState,
    worker::Worker,
};

mod background;
mod examine;
mod writing;

use examine::Memory;

/// What a session is started with.
pub(crate) struct Arguments {
    pub(crate) post: Post,
    pub(crate) worker: Worker,
    pub(crate) limits: Limits,
    pub(crate) init: Init,
    /// The warmup, encoded.
    pub(crate) warmup: Option<(ExecutionId, Bytes)>,
}

/// The state of the actor.
pub(crate) struct State {
    shell: Shell,
    machine: Machine,
    codec: Codec,
    scratch: BytesMut,
    warmup: Option<Bytes>,
    current: Option<Assignment>,
    /// How far the writer is when the worker has been given the whole of what it executes.
    given_at: u64,
    writer: Writer,
    window: Window,
    timers: Timers<Timer>,
    memory: Memory,
    effects: Vec<Effect>,
    telling: Telling,
    partial_writes: u64,
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
            SessionMsg::Read(read) => self.read(myself, *read),
            SessionMsg::Exited(exit_notice) => {
                let (exit, channel) = exit_notice.read();
                let (stderr, unwritten) = (self.shell.tail.text(), self.unwritten());
                let input = Input::Exited { exit, stderr, channel, unwritten };
                self.step(myself, input, Credit::none());
            }
            SessionMsg::Unwritable => self.step(myself, Input::Broken(Broken::Closed), Credit::none()),
            SessionMsg::Assign(assignment) => self.assign(myself, *assignment),
            SessionMsg::Cancel(id) => self.step(myself, Input::Cancel(id), Credit::none()),
            SessionMsg::Interrupt(id) => self.step(myself, Input::Interrupt(id), Credit::none()),
            SessionMsg::Send(id, message) => self.step(myself, Input::Send(id, *message), Credit::none()),
            SessionMsg::Inspect(asker) => self.examine_for(myself, Some(asker)),
            SessionMsg::Inspected(inspection) => self.inspected(myself, *inspection),
            SessionMsg::Elapsed(timer) => self.step(myself, Input::Elapsed(timer), Credit::none()),
            SessionMsg::Look => self.look(myself),
            // Of the shell, of JSON-RPC servers, and of scripts.
            SessionMsg::Leased(_)
            | SessionMsg::Released(_)
            | SessionMsg::Buried
            | SessionMsg::Terminate(_)
            | SessionMsg::Heard(_)
            | SessionMsg::Written
            | SessionMsg::Due(_)
            | SessionMsg::Reply { .. } => {}
            SessionMsg::Stop => {
                let leased = self.shell.background.is_some();
                self.step(myself, Input::Stop { leased }, Credit::none());
            }
            SessionMsg::Kill(cause) => self.step(myself, Input::Kill(cause), Credit::none()),
        }
        self.telling.report(self.current.as_ref());
    }
}

fn start(myself: &ActorRef<SessionMsg>, arguments: Arguments) -> State {
    let Arguments { post, worker, limits, init, warmup } = arguments;
    let Worker { pid, codec, server: _, frames, outbox, stdout, stderr, exit, is_ending, control } = worker;
    let (window, credits) = window(&post.ledger);
    let inbox = Room::new(WINDOW, Arc::clone(&post.ledger));
    let reader = Reader::new(myself.clone(), credits, inbox, codec, frames, is_ending, [stdout, stderr]);
    // Not aborted with this actor: it ends by itself when the worker is dead, which dropping `control` sees to.
    drop(tokio::spawn(reader.run(exit, post.exit_notice())));
    let writers = myself.clone();
    let mut effects = Vec::new();
    let machine = Machine::new(limits, init, warmup.as_ref().map(|(id, _)| *id), &mut effects);
    info!(slot = post.slot, generation = %post.generation, pid, "worker started");
    let mut state = State {
        shell: Shell::new(post, pid, control),
        machine,
        codec,
        scratch: BytesMut::new(),
        warmup: warmup.map(|(_, frame)| frame),
        current: None,
        given_at: 0,
        writer: Writer::new(outbox, move || drop(writers.cast(SessionMsg::Unwritable))),
        window,
        timers: Timers::new(),
        memory: Memory::default(),
        effects,
        telling: Telling::default(),
        partial_writes: 0,
    };
    state.perform_all(myself, Credit::none());
    state
}

impl State {
    fn read(&mut self, myself: &ActorRef<SessionMsg>, Read { batch, room: _room }: Read) {
        for item in batch {
            match item {
                Item::Frame(frame, credit) => {
                    trace!(
                        slot = self.shell.post.slot,
                        pid = self.shell.pid,
                        message = frame.type_name(),
                        "from the worker"
                    );
                    self.step(myself, Input::Frame(frame), credit);
                }
                Item::Output(event, credit) => self.step(myself, Input::Output(event), credit),
                Item::Undecodable(error) => self.step(myself, Input::Undecodable(error), Credit::none()),
                Item::Broken(broken) => self.step(myself, Input::Broken(broken), Credit::none()),
            }
        }
    }

    fn assign(&mut self, myself: &ActorRef<SessionMsg>, assignment: Assignment) {
        if self.current.is_some() {
            // The supervisor never does this; if it did, dropping the assignment hands the execution back unstarted.
            return drop(assignment);
        }
        let (id, cpu) = (assignment.id, assignment.cpu);
        let serves = matches!(self.machine.state(), SessionState::Ready | SessionState::Idle);
        if serves && assignment.may_run().is_err() {
            assignment.discharge();
            return self.shell.notify(SessionNotice::Idle(id));
        }
        let input = match &assignment.question {
            Some(question) => Input::Ask(id, question.asked),
            None => Input::Assign(id),
        };
        self.current = Some(assignment);
        self.step(myself, input, Credit::none());
        if let Some(limit) = cpu {
            self.step(myself, Input::Meter(limit), Credit::none());
        }
    }

    fn step(&mut self, myself: &ActorRef<SessionMsg>, input: Input, credit: Credit) {
        self.shell.cause = input.name();
        self.machine.step(input, &mut self.effects);
        self.perform_all(myself, credit);
    }

    /// Performs what the last step asked for. `credit` belongs to the event that the step passes on, if it does.
    fn perform_all(&mut self, myself: &ActorRef<SessionMsg>, mut credit: Credit) {
        // First: whoever hears of a step may look at the state that it led to.
        self.show();
        let mut effects = std::mem::take(&mut self.effects);
        for effect in effects.drain(..) {
            self.perform(myself, effect, &mut credit);
        }
        effects.append(&mut self.effects);
        self.effects = effects;
        if !self.effects.is_empty() {
            self.perform_all(myself, Credit::none());
        }
    }

    fn perform(&mut self, myself: &ActorRef<SessionMsg>, effect: Effect, credit: &mut Credit) {
        match effect {
            Effect::Write(message) => self.write_message(&message),
            Effect::Execute(id) => self.execute(id),
            Effect::Interrupt => self.shell.control.interrupt(),
            // One that is not behind its message would be taken for somebody else's.
            Effect::Signal if self.writer.unwritten() > 0 => {}
            Effect::Signal => self.shell.control.interrupt_worker(),
            Effect::Examine => self.examine(myself),
            Effect::Measure => {
                self.machine.step(Input::Measured(self.shell.control.vitals()), &mut self.effects);
            }
            Effect::Exceeded(_, excess) => {
                if let Failure::MemoryLimit { .. } = excess {
                    self.shell.notify(SessionNotice::Strained);
                }
                self.telling.push(Progress::Exceeded(excess));
            }
            Effect::Kill => self.shell.kill(),
            Effect::Arm(timer, wait) => {
                let myself = myself.clone();
                self.timers.arm(timer, wait, move || drop(myself.cast(SessionMsg::Elapsed(timer))));
            }
            Effect::Disarm(timer) => self.timers.disarm(&timer),
            Effect::Shed => self.window.shed(),
            Effect::Started(id) => self.started(myself, id),
            Effect::Answer(id, message) => self.answered(id, *message),
            Effect::Event(_, event) => {
                self.telling.event(event, std::mem::take(credit), &mut self.shell.tail);
            }
            Effect::Background(event) => self.background(event, std::mem::take(credit)),
            Effect::Ended(id, ending) => self.ended(id, ending),
            Effect::Left(id, what) => self.left(id, what),
            Effect::Returned(id, cause) => {
                let unstarted = self.current.as_ref().and_then(Assignment::ungiven);
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

    fn started(&mut self, myself: &ActorRef<SessionMsg>, id: ExecutionId) {
        if self.current.as_ref().is_none_or(|assignment| assignment.id != id) {
            return;
        }
        self.memory.began = Some(Instant::now());
        let (pid, generation) = (self.shell.pid, self.shell.post.generation);
        self.telling.push(Progress::Started { session: myself.clone(), pid, generation });
    }

    fn ended(&mut self, id: ExecutionId, ending: Ending) {
        if self.current.as_ref().is_none_or(|assignment| assignment.id != id) {
            return;
        }
        self.telling.tell_dropped();
        self.telling.push(Progress::Ended(ending));
        self.telling.report(self.current.as_ref());
        if let Some(assignment) = self.current.take() {
            assignment.discharge();
        }
        (self.memory.began, self.telling.printed) = (None, None);
    }

    fn show(&mut self) {
        self.shell.pid = self.shell.pid.or_else(|| self.machine.pid());
        let execution = self.current.as_ref().map(|assignment| assignment.id.get());
        self.shell.show(self.machine.state(), execution);
    }
}
