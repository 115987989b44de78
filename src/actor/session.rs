//! The session actor: one worker, one mailbox. It steps the machine and performs what comes back; it decides nothing.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::{
    actor::{
        charge::{Charge, Obituary},
        credit::{Credit, Room, Window, window},
        gauge::Gauge,
        messages::{Item, Progress, Read, SessionMsg, SessionNotice, SupervisorMsg},
        notes::Notes,
        obligation::Ledger,
        reader::Reader,
        sink::{Feed, LastEvent},
        tail::Tail,
        timers::Timers,
        writer::Writer,
    },
    config::WINDOW,
    log::{debug, info, trace},
    machine::{
        session::{Broken, Effect, Ending, Input, Limits, Session as Machine, Timer},
        unstarted::Loss,
    },
    outcome::{Failure, Generation},
    protocol::{Codec, ExecutionId, Init},
    status::SessionState,
    worker::{Control, Worker},
};

mod aside;
mod examine;
mod tell;
mod writing;

use examine::Memory;

/// The actor. See [`Arguments`].
pub(crate) struct Session;

/// What a session is started with.
pub(crate) struct Arguments {
    pub(crate) slot: usize,
    pub(crate) generation: Generation,
    pub(crate) worker: Worker,
    pub(crate) limits: Limits,
    pub(crate) init: Init,
    /// The warmup, encoded.
    pub(crate) warmup: Option<(ExecutionId, Bytes)>,
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
    codec: Codec,
    scratch: BytesMut,
    warmup: Option<Bytes>,
    current: Option<Charge>,
    /// How far the writer is when the worker has been given the whole of what it executes.
    given_at: u64,
    writer: Writer,
    window: Window,
    control: Box<dyn Control>,
    timers: Timers<Timer>,
    tail: Tail,
    notes: Notes,
    background: Option<Feed>,
    /// What its holder is told when the worker is dead.
    last: Option<LastEvent>,
    memory: Memory,
    effects: Vec<Effect>,
    progress: SmallVec<[Progress; 2]>,
    /// Bytes of output that nobody had room for, and that were not told yet.
    dropped: u64,
    supervisor: ActorRef<SupervisorMsg>,
    ledger: Arc<Ledger>,
    gauge: Arc<Gauge>,
    partial_writes: u64,
}

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl Actor for Session {
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
            SessionMsg::Read(read) => state.read(&myself, *read),
            SessionMsg::Exited(obituary) => {
                let (exit, channel) = obituary.read();
                let (stderr, unwritten) = (state.tail.text(), state.unwritten());
                let input = Input::Exited { exit, stderr, channel, unwritten };
                state.step(&myself, input, Credit::none());
            }
            SessionMsg::Unwritable => state.step(&myself, Input::Broken(Broken::Closed), Credit::none()),
            SessionMsg::Assign(charge) => state.assign(&myself, *charge),
            SessionMsg::Leased(events) => state.background = Some(events),
            SessionMsg::Released(last) => {
                state.last = Some(last).filter(|_| state.machine.state() != SessionState::Terminated);
            }
            SessionMsg::Cancel(id) => state.step(&myself, Input::Cancel(id), Credit::none()),
            SessionMsg::Interrupt(id) => state.step(&myself, Input::Interrupt(id), Credit::none()),
            SessionMsg::Send(id, message) => state.step(&myself, Input::Send(id, *message), Credit::none()),
            SessionMsg::Inspect(asker) => state.examine_for(&myself, Some(asker)),
            SessionMsg::Sighted(sighting) => state.sighted(&myself, *sighting),
            SessionMsg::Elapsed(timer) => state.step(&myself, Input::Elapsed(timer), Credit::none()),
            SessionMsg::Look => state.look(&myself),
            // Of JSON-RPC servers, and of scripts.
            SessionMsg::Terminate(_)
            | SessionMsg::Heard(_)
            | SessionMsg::Written
            | SessionMsg::Due(_)
            | SessionMsg::Reply { .. } => {}
            SessionMsg::Buried => myself.stop(None),
            SessionMsg::Stop => {
                let leased = state.background.is_some();
                state.step(&myself, Input::Stop { leased }, Credit::none());
            }
            SessionMsg::Kill(cause) => state.step(&myself, Input::Kill(cause), Credit::none()),
        }
        state.report();
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
    let Arguments { slot, generation, worker, limits, init, warmup, supervisor, ledger, gauge } = arguments;
    let Worker { pid, codec, server: _, frames, outbox, stdout, stderr, exit, is_ending, control } = worker;
    let (window, credits) = window(&ledger);
    let inbox = Room::new(WINDOW, Arc::clone(&ledger));
    let reader = Reader::new(myself.clone(), credits, inbox, codec, frames, is_ending, [stdout, stderr]);
    // Not aborted with this actor: it ends by itself when the worker is dead, which dropping `control` sees to.
    drop(tokio::spawn(reader.run(exit, Obituary::new(slot, generation, supervisor.clone()))));
    let writers = myself.clone();
    let mut effects = Vec::new();
    let machine = Machine::new(limits, init, warmup.as_ref().map(|(id, _)| *id), &mut effects);
    info!(slot, %generation, pid, "worker started");
    let mut state = State {
        shown: machine.state(),
        cause: "start",
        machine,
        slot,
        generation,
        pid,
        codec,
        scratch: BytesMut::new(),
        warmup: warmup.map(|(_, frame)| frame),
        current: None,
        given_at: 0,
        writer: Writer::new(outbox, move || drop(writers.cast(SessionMsg::Unwritable))),
        window,
        control,
        timers: Timers::new(),
        tail: Tail::new(),
        notes: Notes::default(),
        background: None,
        last: None,
        memory: Memory::default(),
        effects,
        progress: SmallVec::new(),
        dropped: 0,
        supervisor,
        ledger,
        gauge,
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
                    trace!(slot = self.slot, pid = self.pid, message = frame.type_name(), "from the worker");
                    self.step(myself, Input::Frame(frame), credit);
                }
                Item::Output(event, credit) => self.step(myself, Input::Output(event), credit),
                Item::Undecodable(error) => self.step(myself, Input::Undecodable(error), Credit::none()),
                Item::Broken(broken) => self.step(myself, Input::Broken(broken), Credit::none()),
            }
        }
    }

    fn assign(&mut self, myself: &ActorRef<SessionMsg>, charge: Charge) {
        if self.current.is_some() {
            // The supervisor never does this; if it did, dropping the charge hands the execution back unstarted.
            return drop(charge);
        }
        let (id, cpu) = (charge.id, charge.cpu);
        let serves = matches!(self.machine.state(), SessionState::Ready | SessionState::Idle);
        if serves && charge.may_run().is_err() {
            charge.discharge();
            return self.notify(SessionNotice::Idle(id));
        }
        let input = match &charge.question {
            Some(question) => Input::Ask(id, question.asked),
            None => Input::Assign(id),
        };
        self.current = Some(charge);
        self.step(myself, input, Credit::none());
        if let Some(limit) = cpu {
            self.step(myself, Input::Meter(limit), Credit::none());
        }
    }

    fn step(&mut self, myself: &ActorRef<SessionMsg>, input: Input, credit: Credit) {
        self.cause = input.name();
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
            Effect::Interrupt => self.control.interrupt(),
            // One that is not behind its message would be taken for somebody else's.
            Effect::Signal if self.writer.unwritten() > 0 => {}
            Effect::Signal => self.control.interrupt_worker(),
            Effect::Examine => self.examine(myself),
            Effect::Measure => self.machine.step(Input::Measured(self.control.vitals()), &mut self.effects),
            Effect::Exceeded(_, excess) => {
                if let Failure::MemoryLimit { .. } = excess {
                    self.notify(SessionNotice::Strained);
                }
                self.progress.push(Progress::Exceeded(excess));
            }
            Effect::Kill => {
                self.last.iter_mut().for_each(LastEvent::is_killed);
                self.control.kill();
            }
            Effect::Arm(timer, wait) => {
                let myself = myself.clone();
                self.timers.arm(timer, wait, move || drop(myself.cast(SessionMsg::Elapsed(timer))));
            }
            Effect::Disarm(timer) => self.timers.disarm(&timer),
            Effect::Shed => self.window.shed(),
            Effect::Started(id) => self.started(myself, id),
            Effect::Answer(id, message) => self.answered(id, *message),
            Effect::Event(_, event) => self.event(event, std::mem::take(credit)),
            Effect::Background(event) => self.background(event, std::mem::take(credit)),
            Effect::Ended(id, ending) => self.ended(id, ending),
            Effect::Left(id, what) => self.left(id, what),
            Effect::Returned(id, cause) => {
                let unstarted = self.current.as_ref().and_then(Charge::ungiven);
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

    fn started(&mut self, myself: &ActorRef<SessionMsg>, id: ExecutionId) {
        if self.current.as_ref().is_none_or(|charge| charge.id != id) {
            return;
        }
        self.memory.began = Some(Instant::now());
        let (pid, generation) = (self.pid, self.generation);
        self.progress.push(Progress::Started { session: myself.clone(), pid, generation });
    }

    fn ended(&mut self, id: ExecutionId, ending: Ending) {
        if self.current.as_ref().is_none_or(|charge| charge.id != id) {
            return;
        }
        self.tell_dropped();
        self.progress.push(Progress::Ended(ending));
        self.report();
        if let Some(charge) = self.current.take() {
            charge.discharge();
        }
        (self.memory.began, self.memory.printed) = (None, None);
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
            if let Some(pid) = self.machine.pid().filter(|_| self.pid.is_none()) {
                self.pid = Some(pid);
            }
            self.gauge.moved(state, self.cause, self.pid);
            let (slot, generation, pid) = (self.slot, self.generation, self.pid);
            let execution = self.current.as_ref().map(|charge| charge.id.get());
            debug!(slot, %generation, pid, execution, cause = self.cause, "session {old} -> {state}");
        }
    }
}
