//! The session of a script: one process that runs one execution and ends with it. It steps the machine and performs what
//! comes back; it decides nothing.

use std::sync::Arc;

use ractor::ActorRef;
use tokio::time::Instant;

use crate::{
    actor::{
        assignment::Assignment,
        credit::{Credit, Room, Window, window},
        messages::{Asker, Item, Progress, Read, SessionMsg, SessionNotice},
        reader::Reader,
        shell::{Dialect, Post, Shell},
        telling::Telling,
        timers::Timers,
    },
    config::WINDOW,
    log::info,
    machine::{
        script::{Effect, Input, Limits, Script as Machine, Signal},
        session::Timer,
    },
    outcome::{Activity, DeathCause, Load},
    worker::{Inspection, Worker},
};

/// What the session of a script is started with.
pub(crate) struct Arguments {
    pub(crate) post: Post,
    pub(crate) worker: Worker,
    pub(crate) limits: Limits,
    pub(crate) assignment: Assignment,
}

/// The state of the actor.
pub(crate) struct State {
    shell: Shell,
    machine: Machine,
    /// Until it is told how it ended.
    assignment: Option<Assignment>,
    began: Instant,
    window: Window,
    timers: Timers<Timer>,
    effects: Vec<Effect>,
    telling: Telling,
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
        let about_it = |id| self.assignment.as_ref().is_some_and(|assignment| assignment.id == id);
        match message {
            SessionMsg::Read(read) => self.read(myself, *read),
            SessionMsg::Exited(exit_notice) => {
                let (exit, _no_channel) = exit_notice.read();
                let (stderr, after) = (self.shell.tail.text(), self.began.elapsed());
                self.step(myself, Input::Exited { exit, stderr, after }, Credit::none());
            }
            SessionMsg::Cancel(id) if about_it(id) => self.step(myself, Input::Cancel, Credit::none()),
            SessionMsg::Interrupt(id) if about_it(id) => {
                self.step(myself, Input::Interrupt, Credit::none());
            }
            SessionMsg::Terminate(id) if about_it(id) => {
                self.step(myself, Input::Terminate, Credit::none());
            }
            SessionMsg::Cancel(_) | SessionMsg::Interrupt(_) | SessionMsg::Terminate(_) => {}
            SessionMsg::Inspect(asker) => self.examine_for(myself, Some(asker)),
            SessionMsg::Inspected(inspection) => {
                let activity = Box::new(self.activity(*inspection));
                self.step(myself, Input::Examined(activity), Credit::none());
            }
            SessionMsg::Elapsed(timer) => self.step(myself, Input::Elapsed(timer), Credit::none()),
            SessionMsg::Look => {
                let vitals = self.shell.look();
                self.shell.seen(vitals, false);
                if let Some(vitals) = vitals {
                    self.shell.post.ledger.saw_memory(vitals.memory);
                }
                self.step(myself, Input::Look(vitals), Credit::none());
            }
            // It is given nothing more; the assignment says so.
            SessionMsg::Assign(assignment) => drop(assignment),
            // Of the shell, and of workers that speak.
            SessionMsg::Buried
            | SessionMsg::Unwritable
            | SessionMsg::Written
            | SessionMsg::Leased(_)
            | SessionMsg::Released(_)
            | SessionMsg::Send(..)
            | SessionMsg::Heard(_)
            | SessionMsg::Reply { .. }
            | SessionMsg::Due(_) => {}
            SessionMsg::Stop => self.step(myself, Input::Kill(DeathCause::Retired), Credit::none()),
            SessionMsg::Kill(cause) => self.step(myself, Input::Kill(cause), Credit::none()),
        }
        self.telling.report(self.assignment.as_ref());
    }
}

fn start(myself: &ActorRef<SessionMsg>, arguments: Arguments) -> State {
    let Arguments { post, worker, limits, assignment } = arguments;
    let Worker { pid, codec, server: _, frames, outbox: _, stdout, stderr, exit, is_ending, control } =
        worker;
    let (window, credits) = window(&post.ledger);
    let inbox = Room::new(WINDOW, Arc::clone(&post.ledger));
    window.open();
    let reader = Reader::new(myself.clone(), credits, inbox, codec, frames, is_ending, [stdout, stderr]);
    // Not aborted with this actor: it ends by itself when the process is dead, which dropping `control` sees to.
    drop(tokio::spawn(reader.run(exit, post.exit_notice())));
    let mut effects = Vec::new();
    let machine = Machine::new(limits, &mut effects);
    info!(slot = post.slot, generation = %post.generation, pid, execution = %assignment.id, "script started");
    let mut state = State {
        shell: Shell::new(post, pid, control),
        machine,
        assignment: Some(assignment),
        began: Instant::now(),
        window,
        timers: Timers::new(),
        effects,
        telling: Telling::default(),
    };
    state.perform_all(myself, Credit::none());
    state.telling.report(state.assignment.as_ref());
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
        self.shell.cause = input.name();
        self.machine.step(input, &mut self.effects);
        self.perform_all(myself, credit);
    }

    /// Performs what the last step asked for. `credit` belongs to the event that the step passes on, if it does.
    fn perform_all(&mut self, myself: &ActorRef<SessionMsg>, mut credit: Credit) {
        // First: whoever hears of a step may look at the state that it led to.
        let execution = self.assignment.as_ref().map(|assignment| assignment.id.get());
        self.shell.show(self.machine.state(), execution);
        while !self.effects.is_empty() {
            for effect in std::mem::take(&mut self.effects) {
                self.perform(myself, effect, &mut credit);
            }
        }
    }

    fn perform(&mut self, myself: &ActorRef<SessionMsg>, effect: Effect, credit: &mut Credit) {
        match effect {
            Effect::Signal(Signal::Interrupt) => self.shell.control.interrupt_group(),
            Effect::Signal(Signal::Terminate) => self.shell.control.terminate_group(),
            Effect::Examine => self.examine_for(myself, None),
            Effect::Measure => {
                self.machine.step(Input::Measured(self.shell.control.vitals()), &mut self.effects);
            }
            Effect::Exceeded(failure) => self.telling.push(Progress::Exceeded(failure)),
            Effect::Kill => self.shell.kill(),
            Effect::Arm(timer, wait) => {
                let myself = myself.clone();
                self.timers.arm(timer, wait, move || drop(myself.cast(SessionMsg::Elapsed(timer))));
            }
            Effect::Shed => self.window.shed(),
            Effect::Started => {
                let (session, pid, generation) = (myself.clone(), self.shell.pid, self.shell.post.generation);
                self.telling.push(Progress::Started { session, pid, generation });
            }
            Effect::Event(event) => self.telling.event(event, std::mem::take(credit), &mut self.shell.tail),
            Effect::Ended(ending) => {
                self.telling.tell_dropped();
                self.telling.push(Progress::Ended(ending));
                self.telling.report(self.assignment.as_ref());
                if let Some(assignment) = self.assignment.take() {
                    self.shell.notify(SessionNotice::Idle(assignment.id));
                    assignment.discharge();
                }
            }
            Effect::Terminated(death) => {
                let Post { slot, generation, .. } = self.shell.post;
                info!(slot, %generation, pid = self.shell.pid, cause = %death, "script ended");
                self.shell.terminated(death);
            }
        }
    }

    /// Has the process examined, for somebody who asked or for the machine. A helper task waits for what comes of it.
    fn examine_for(&mut self, myself: &ActorRef<SessionMsg>, asker: Option<Asker>) {
        let examination = self.shell.control.examine();
        let Some(asker) = asker else {
            let myself = myself.clone();
            return drop(tokio::spawn(async move {
                myself.cast(SessionMsg::Inspected(Box::new(examination.await)))
            }));
        };
        let known = self.activity(Inspection::default());
        drop(tokio::spawn(async move {
            // Who asked may have left.
            let _ = asker.send(Box::new(add(known, examination.await)));
        }));
    }

    fn activity(&self, inspection: Inspection) -> Activity {
        let now = Instant::now();
        let known = Activity {
            execution: self.assignment.as_ref().map(|assignment| assignment.id),
            running_for: Some(now.duration_since(self.began)),
            silent_for: Some(now.duration_since(self.telling.printed.unwrap_or(self.began))),
            ..Activity::default()
        };
        add(known, inspection)
    }
}

/// All that its process has used, it used for this execution.
fn add(known: Activity, Inspection { vitals, stacks, children }: Inspection) -> Activity {
    let within = known.running_for.unwrap_or_default();
    let load = vitals.map(|vitals| Load { used: vitals.cpu_time, within });
    Activity { load, vitals, stacks, children, ..known }
}
