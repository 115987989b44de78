//! The session of a script: one process that runs one execution and ends with it. It has the mailbox of every session,
//! steps the machine and performs what comes back; it decides nothing.

use std::sync::Arc;

use ractor::{Actor, ActorProcessingErr, ActorRef, SupervisionEvent};
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::{
    actor::{
        charge::{Charge, Obituary},
        credit::{Credit, Room, Window, window},
        gauge::Gauge,
        messages::{Asker, Item, Progress, Read, SessionMsg, SessionNotice, SupervisorMsg},
        obligation::Ledger,
        reader::Reader,
        tail::Tail,
        timers::Timers,
    },
    config::WINDOW,
    log::info,
    machine::{
        script::{Effect, Input, Limits, Script as Machine, Signal},
        session::Timer,
    },
    outcome::{Activity, DeathCause, Event, Generation, Load},
    protocol::Stream,
    worker::{Control, Sighting, Worker},
};

/// The actor. See [`Arguments`].
pub(crate) struct Script;

/// What the session of a script is started with.
pub(crate) struct Arguments {
    pub(crate) slot: usize,
    pub(crate) generation: Generation,
    pub(crate) worker: Worker,
    pub(crate) limits: Limits,
    pub(crate) charge: Charge,
    pub(crate) supervisor: ActorRef<SupervisorMsg>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) gauge: Arc<Gauge>,
}

/// The state of the actor.
pub(crate) struct State {
    machine: Machine,
    slot: usize,
    generation: Generation,
    pid: Option<u32>,
    /// Until it is told how it ended.
    charge: Option<Charge>,
    began: Instant,
    /// When it last printed.
    printed: Option<Instant>,
    window: Window,
    control: Box<dyn Control>,
    timers: Timers<Timer>,
    tail: Tail,
    effects: Vec<Effect>,
    progress: SmallVec<[Progress; 2]>,
    /// Bytes of output that nobody had room for, and that were not told yet.
    dropped: u64,
    supervisor: ActorRef<SupervisorMsg>,
    ledger: Arc<Ledger>,
    gauge: Arc<Gauge>,
}

#[cfg_attr(feature = "async-trait", ractor::async_trait)]
impl Actor for Script {
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
        let about_it = |id| state.charge.as_ref().is_some_and(|charge| charge.id == id);
        match message {
            SessionMsg::Read(read) => state.read(&myself, *read),
            SessionMsg::Exited(obituary) => {
                let (exit, _no_channel) = obituary.read();
                let (stderr, after) = (state.tail.text(), state.began.elapsed());
                state.step(&myself, Input::Exited { exit, stderr, after }, Credit::none());
            }
            SessionMsg::Cancel(id) if about_it(id) => state.step(&myself, Input::Cancel, Credit::none()),
            SessionMsg::Interrupt(id) if about_it(id) => {
                state.step(&myself, Input::Interrupt, Credit::none());
            }
            SessionMsg::Terminate(id) if about_it(id) => {
                state.step(&myself, Input::Terminate, Credit::none());
            }
            SessionMsg::Cancel(_) | SessionMsg::Interrupt(_) | SessionMsg::Terminate(_) => {}
            SessionMsg::Inspect(asker) => state.examine_for(&myself, Some(asker)),
            SessionMsg::Sighted(sighting) => {
                let activity = Box::new(state.activity(*sighting));
                state.step(&myself, Input::Examined(activity), Credit::none());
            }
            SessionMsg::Elapsed(timer) => state.step(&myself, Input::Elapsed(timer), Credit::none()),
            SessionMsg::Look => {
                let vitals = state.control.vitals();
                state.gauge.seen(vitals, false);
                if let Some(vitals) = vitals {
                    state.ledger.saw_memory(vitals.memory);
                }
                state.step(&myself, Input::Look(vitals), Credit::none());
            }
            // It is given nothing more; the charge says so.
            SessionMsg::Assign(charge) => drop(charge),
            // Of workers that speak.
            SessionMsg::Unwritable
            | SessionMsg::Written
            | SessionMsg::Leased(_)
            | SessionMsg::Released(_)
            | SessionMsg::Send(..)
            | SessionMsg::Heard(_)
            | SessionMsg::Reply { .. }
            | SessionMsg::Due(_) => {}
            SessionMsg::Buried => myself.stop(None),
            SessionMsg::Stop => state.step(&myself, Input::Kill(DeathCause::Retired), Credit::none()),
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
    let Arguments { slot, generation, worker, limits, charge, supervisor, ledger, gauge } = arguments;
    let Worker { pid, codec, server: _, frames, outbox: _, stdout, stderr, exit, is_ending, control } =
        worker;
    let (window, credits) = window(&ledger);
    let inbox = Room::new(WINDOW, Arc::clone(&ledger));
    window.open();
    let reader = Reader::new(myself.clone(), credits, inbox, codec, frames, is_ending, [stdout, stderr]);
    // Not aborted with this actor: it ends by itself when the process is dead, which dropping `control` sees to.
    drop(tokio::spawn(reader.run(exit, Obituary::new(slot, generation, supervisor.clone()))));
    let mut effects = Vec::new();
    let machine = Machine::new(limits, &mut effects);
    info!(slot, %generation, pid, execution = %charge.id, "script started");
    let mut state = State {
        machine,
        slot,
        generation,
        pid,
        charge: Some(charge),
        began: Instant::now(),
        printed: None,
        window,
        control,
        timers: Timers::new(),
        tail: Tail::new(),
        effects,
        progress: SmallVec::new(),
        dropped: 0,
        supervisor,
        ledger,
        gauge,
    };
    state.perform_all(myself, "start", Credit::none());
    state.report();
    state
}

impl State {
    fn read(&mut self, myself: &ActorRef<SessionMsg>, Read { batch, room: _room }: Read) {
        for item in batch {
            match item {
                Item::Output(event, credit) => self.step(myself, Input::Output(event), credit),
                // It has no channel.
                Item::Frame(..) | Item::Undecodable(_) | Item::Broken(_) => {}
            }
        }
    }

    fn step(&mut self, myself: &ActorRef<SessionMsg>, input: Input, credit: Credit) {
        let cause = input.name();
        self.machine.step(input, &mut self.effects);
        self.perform_all(myself, cause, credit);
    }

    /// Performs what the last step asked for. `credit` belongs to the event that the step passes on, if it does.
    fn perform_all(&mut self, myself: &ActorRef<SessionMsg>, cause: &'static str, mut credit: Credit) {
        // First: whoever hears of a step may look at the state that it led to.
        if self.gauge.get().state != self.machine.state() {
            self.gauge.moved(self.machine.state(), cause, self.pid);
        }
        while !self.effects.is_empty() {
            for effect in std::mem::take(&mut self.effects) {
                self.perform(myself, effect, &mut credit);
            }
        }
    }

    fn perform(&mut self, myself: &ActorRef<SessionMsg>, effect: Effect, credit: &mut Credit) {
        match effect {
            Effect::Signal(Signal::Interrupt) => self.control.interrupt_group(),
            Effect::Signal(Signal::Terminate) => self.control.terminate_group(),
            Effect::Examine => self.examine_for(myself, None),
            Effect::Measure => self.machine.step(Input::Measured(self.control.vitals()), &mut self.effects),
            Effect::Exceeded(failure) => self.progress.push(Progress::Exceeded(failure)),
            Effect::Kill => self.control.kill(),
            Effect::Arm(timer, wait) => {
                let myself = myself.clone();
                self.timers.arm(timer, wait, move || drop(myself.cast(SessionMsg::Elapsed(timer))));
            }
            Effect::Shed => self.window.shed(),
            Effect::Started => {
                let (session, pid, generation) = (myself.clone(), self.pid, self.generation);
                self.progress.push(Progress::Started { session, pid, generation });
            }
            Effect::Event(event) => self.event(event, std::mem::take(credit)),
            Effect::Ended(ending) => {
                self.tell_dropped();
                self.progress.push(Progress::Ended(ending));
                self.report();
                if let Some(charge) = self.charge.take() {
                    self.notify(SessionNotice::Idle(charge.id));
                    charge.discharge();
                }
            }
            Effect::Terminated(death) => {
                info!(slot = self.slot, generation = %self.generation, pid = self.pid, cause = %death, "script ended");
                self.notify(SessionNotice::Terminated(death));
            }
        }
    }

    /// Nothing goes to a caller that is not paid for: what was dropped is told with the next thing that is, or at the end.
    fn event(&mut self, event: Event, credit: Credit) {
        self.printed = Some(Instant::now());
        if let Event::Dropped { bytes } = &event {
            self.dropped += bytes;
        }
        if !credit.is_some() {
            return;
        }
        if let Event::Output { stream: Stream::Stderr, data } = &event {
            self.tail.push(data);
        }
        self.tell_dropped();
        self.progress.push(Progress::Event(event, credit));
    }

    fn tell_dropped(&mut self) {
        let bytes = std::mem::take(&mut self.dropped);
        if bytes > 0 {
            self.progress.push(Progress::Event(Event::Dropped { bytes }, Credit::none()));
        }
    }

    /// Tells the execution what has gathered for it.
    fn report(&mut self) {
        if !self.progress.is_empty()
            && let Some(charge) = &self.charge
        {
            charge.tell(std::mem::take(&mut self.progress));
        }
    }

    fn notify(&self, notice: SessionNotice) {
        let (slot, generation) = (self.slot, self.generation);
        // A supervisor that is gone takes its sessions with it.
        let _ = self.supervisor.cast(SupervisorMsg::FromSession { slot, generation, notice });
    }

    /// Has the process examined, for somebody who asked or for the machine. A helper task waits for what comes of it.
    fn examine_for(&mut self, myself: &ActorRef<SessionMsg>, asker: Option<Asker>) {
        let examination = self.control.examine();
        let Some(asker) = asker else {
            let myself = myself.clone();
            return drop(tokio::spawn(async move {
                myself.cast(SessionMsg::Sighted(Box::new(examination.await)))
            }));
        };
        let known = self.activity(Sighting::default());
        drop(tokio::spawn(async move {
            // Who asked may have left.
            let _ = asker.send(Box::new(add(known, examination.await)));
        }));
    }

    fn activity(&self, sighting: Sighting) -> Activity {
        let now = Instant::now();
        let known = Activity {
            execution: self.charge.as_ref().map(|charge| charge.id),
            running_for: Some(now.duration_since(self.began)),
            silent_for: Some(now.duration_since(self.printed.unwrap_or(self.began))),
            ..Activity::default()
        };
        add(known, sighting)
    }
}

/// All that its process has used, it used for this execution.
fn add(known: Activity, Sighting { vitals, stacks, children }: Sighting) -> Activity {
    let within = known.running_for.unwrap_or_default();
    let load = vitals.map(|vitals| Load { used: vitals.cpu_time, within });
    Activity { load, vitals, stacks, children, ..known }
}
