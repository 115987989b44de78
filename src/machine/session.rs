//! What a session may do next, decided without doing it.
//!
//! ```text
//! Creating ─> Warming ─> Ready ─> Busy ─> Idle ⇄ Busy        every state ─> ShuttingDown ─> Terminated
//! ```
//! `Busy` lasts until the worker is *proven* idle; cancelling is data inside it. Warmup runs through the same path as
//! every execution. A state moves to `Terminated` only when the worker is dead.

use std::collections::VecDeque;

use crate::{
    config::{FORCE_EVERY, LATE_IDS_MAX},
    machine::{
        budget::Meter,
        escalation::Escalation,
        health::{Health, Sign},
    },
    outcome::{Activity, CancelStage, Death, DeathCause, Event},
    protocol::{self, ExecutionId, ToWorker},
    status::{SessionState, Vitals},
};

mod answer;
mod end;
mod io;
mod probe;
mod question;
#[cfg(test)]
mod tests;

pub(crate) use end::{lost_by, too_late};
pub(crate) use io::{Broken, Effect, Ending, Input, Limits, Noted, Timer};
pub(crate) use question::{Question, Speaker};

/// The machine. `step` is total: every input is legal to give in every state.
#[derive(Debug)]
pub(crate) struct Session {
    phase: Phase,
    limits: Limits,
    warmup: Option<ExecutionId>,
    init: Box<protocol::Init>,
    pid: Option<u32>,
    speaker: Speaker,
    field_errors: u32,
    unknown_told: u32,
    ended: VecDeque<ExecutionId>,
    probes: probe::Probes,
    health: Health,
    /// What the worker was doing before it was killed for not obeying.
    seen: Option<Box<Activity>>,
    /// How the worker ended.
    death: Option<Box<Death>>,
}

#[derive(Debug)]
enum Phase {
    Creating,
    Warming(Run),
    Ready,
    Busy(Run),
    Idle,
    ShuttingDown { cause: DeathCause, run: Option<Run> },
    Terminated,
}

/// What runs.
#[derive(Debug)]
struct Run {
    id: ExecutionId,
    started: bool,
    /// Something was a sign that its code may have begun, whether that was told or not.
    begun: bool,
    /// The number that the next output frame must have.
    next_seq: u64,
    /// The highest stage of the cancel escalation that was used, if it was cancelled.
    stage: Option<CancelStage>,
    /// What it may use, if that is limited.
    meter: Option<Meter>,
    /// It runs no code of its own, but is a question about the state of the session.
    asked: Option<question::Asked>,
    told: Told,
}

/// What the caller of an execution knows.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    /// That it runs.
    Running,
    /// How it ended: its worker answered wrongly, and must answer this probe before it is offered again.
    Ended { proof: probe::Proof },
}

impl Run {
    fn new(id: ExecutionId) -> Self {
        Self {
            id,
            started: false,
            begun: false,
            next_seq: 0,
            stage: None,
            meter: None,
            asked: None,
            told: Told::Running,
        }
    }
}

impl Session {
    /// A session whose worker was just started, and the wait for its `ready`.
    pub(crate) fn new(
        limits: Limits,
        init: protocol::Init,
        warmup: Option<ExecutionId>,
        effects: &mut Vec<Effect>,
    ) -> Self {
        effects.push(Effect::Arm(Timer::Start, limits.ready_in));
        Self {
            phase: Phase::Creating,
            limits,
            warmup,
            init: Box::new(init),
            pid: None,
            speaker: Speaker::default(),
            field_errors: 0,
            unknown_told: 0,
            ended: VecDeque::new(),
            probes: probe::Probes::default(),
            health: Health::default(),
            seen: None,
            death: None,
        }
    }

    /// The state, in the public words.
    pub(crate) fn state(&self) -> SessionState {
        match self.phase {
            Phase::Creating => SessionState::Creating,
            Phase::Warming(_) => SessionState::Warming,
            Phase::Ready => SessionState::Ready,
            Phase::Busy(_) => SessionState::Busy,
            Phase::Idle => SessionState::Idle,
            Phase::ShuttingDown { .. } => SessionState::ShuttingDown,
            Phase::Terminated => SessionState::Terminated,
        }
    }

    /// The process id that the worker gave in its handshake.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.pid
    }

    /// Takes one input and says what is to be done.
    pub(crate) fn step(&mut self, input: Input, effects: &mut Vec<Effect>) {
        self.see_signs(&input);
        match input {
            Input::Frame(frame) => {
                self.health.heard();
                self.frame(frame, effects);
            }
            Input::Output(event) => self.output(event, effects),
            Input::Undecodable(error) => self.undecodable(error, effects),
            Input::Broken(broken) => self.broken(broken, effects),
            Input::Exited { exit, stderr, channel, unwritten } => {
                self.exited((exit, stderr), channel, unwritten, effects);
            }
            Input::Assign(id) => self.assign(id, effects),
            Input::Ask(id, question) => self.ask(id, question, effects),
            Input::Meter(limit) => {
                if let Phase::Busy(run) = &mut self.phase {
                    run.meter = Some(Meter::with_cpu(run.meter.take(), limit));
                    effects.push(Effect::Measure);
                }
            }
            Input::Measured(vitals) => self.measured(vitals, effects),
            Input::Cancel(id) => self.cancel(id, effects),
            Input::Interrupt(id) => {
                if self.runs(id) {
                    effects.push(Effect::Write(ToWorker::Interrupt));
                    effects.extend(self.speaker.interrupt());
                }
            }
            Input::Send(id, message) => {
                if self.runs(id) {
                    effects.push(Effect::Write(message));
                }
            }
            Input::Elapsed(timer) => self.elapsed(timer, effects),
            Input::Look(vitals) => self.look(vitals, effects),
            Input::Examined(activity) => self.examined(activity),
            Input::Stop { leased } => self.stop(leased, effects),
            Input::Kill(cause) => self.die(cause, effects),
        }
    }

    fn run(&mut self) -> Option<&mut Run> {
        match &mut self.phase {
            Phase::Warming(run) | Phase::Busy(run) => Some(run),
            Phase::Creating | Phase::Ready | Phase::Idle | Phase::ShuttingDown { .. } | Phase::Terminated => {
                None
            }
        }
    }

    fn runs(&mut self, id: ExecutionId) -> bool {
        self.run().is_some_and(|run| run.id == id)
    }

    fn is_warming(&self) -> bool {
        matches!(self.phase, Phase::Warming(_))
    }

    /// Nothing outside runs before the warmup is over, or beside another execution.
    fn assign(&mut self, id: ExecutionId, effects: &mut Vec<Effect>) {
        match self.phase {
            Phase::Ready | Phase::Idle => {
                let meter = Meter::new(self.limits.memory);
                effects.push(Effect::Execute(id));
                effects.extend(meter.is_some().then_some(Effect::Measure));
                self.phase = Phase::Busy(Run { meter, ..Run::new(id) });
            }
            Phase::Creating
            | Phase::Warming(_)
            | Phase::Busy(_)
            | Phase::ShuttingDown { .. }
            | Phase::Terminated => effects.push(Effect::Returned(id, self.why_not())),
        }
    }

    fn cancel(&mut self, id: ExecutionId, effects: &mut Vec<Effect>) {
        let grace = self.limits.grace;
        // Nobody knows the id of a warmup, so nobody can cancel it: it has a timeout of its own.
        let Phase::Busy(run) = &mut self.phase else { return };
        if run.id != id || run.stage.is_some() || run.told != Told::Running {
            return;
        }
        run.stage = Some(CancelStage::Interrupt);
        let Escalation { force, examine, kill } = Escalation::new(grace);
        effects.extend([
            Effect::Shed,
            Effect::Write(ToWorker::Cancel(protocol::Cancel { id, force: false, reason: None })),
        ]);
        effects.extend(self.speaker.interrupt());
        effects.extend([
            Effect::Arm(Timer::Force, force),
            Effect::Arm(Timer::Examine, examine),
            Effect::Arm(Timer::Grace, kill),
        ]);
    }

    /// What runs and is being cancelled, and has not ended.
    fn cancelled(&mut self) -> Option<&mut Run> {
        self.run().filter(|run| run.stage.is_some())
    }

    fn force(&mut self, effects: &mut Vec<Effect>) {
        let Some(run) = self.cancelled() else { return };
        run.stage = Some(CancelStage::Force);
        effects.extend([
            Effect::Write(ToWorker::Cancel(protocol::Cancel { id: run.id, force: true, reason: None })),
            Effect::Interrupt,
            Effect::Arm(Timer::Force, FORCE_EVERY),
        ]);
    }

    /// What it was doing when it was killed; what is known at once comes first, the rest may come after the kill.
    fn examined(&mut self, activity: Box<Activity>) {
        let of = match &self.phase {
            Phase::Busy(run) | Phase::ShuttingDown { cause: DeathCause::Disobeyed, run: Some(run) } => run,
            Phase::Creating
            | Phase::Warming(_)
            | Phase::Ready
            | Phase::Idle
            | Phase::ShuttingDown { .. }
            | Phase::Terminated => return,
        };
        if of.stage.is_some() && activity.execution == Some(of.id) {
            self.seen = Some(activity);
        }
    }

    fn elapsed(&mut self, timer: Timer, effects: &mut Vec<Effect>) {
        match timer {
            Timer::Start => match &self.phase {
                Phase::Creating => {
                    self.die(DeathCause::NotReady { after: self.limits.ready_timeout }, effects);
                }
                Phase::Warming(_) => {
                    let after = self.limits.warmup_timeout;
                    self.die(
                        DeathCause::Warmup(format!("it took longer than `warmup_timeout`, {after:?}")),
                        effects,
                    );
                }
                Phase::Ready
                | Phase::Busy(_)
                | Phase::Idle
                | Phase::ShuttingDown { .. }
                | Phase::Terminated => {}
            },
            Timer::Force => self.force(effects),
            // Whoever has to explain the kill wants to know where the code was.
            Timer::Examine => effects.extend(self.cancelled().map(|_| Effect::Examine)),
            Timer::Grace => {
                if self.cancelled().is_some() {
                    self.die(DeathCause::Disobeyed, effects);
                }
            }
            Timer::Budget => effects.push(Effect::Measure),
            Timer::Proof => {
                if let Some(Told::Ended { .. }) = self.run().map(|run| &run.told) {
                    self.die(DeathCause::Disobeyed, effects);
                }
            }
            Timer::Exit => match &self.phase {
                Phase::Terminated => {}
                Phase::ShuttingDown { .. } => effects.push(Effect::Kill),
                Phase::Creating | Phase::Warming(_) | Phase::Ready | Phase::Busy(_) | Phase::Idle => {
                    self.die(DeathCause::ChannelClosed, effects);
                }
            },
        }
    }

    /// A worker of which nothing is known any more is about to be found dead.
    fn measured(&mut self, vitals: Option<Vitals>, effects: &mut Vec<Effect>) {
        let Some(run) = self.run().filter(|run| run.told == Told::Running) else { return };
        let (Some(meter), Some(vitals)) = (&mut run.meter, vitals) else { return };
        let reading = meter.measured(&vitals);
        effects.extend(reading.excess.map(|excess| Effect::Exceeded(run.id, excess)));
        effects.extend(reading.again.map(|wait| Effect::Arm(Timer::Budget, wait)));
        if let Some(cause) = reading.fatal {
            self.die(cause, effects);
        }
    }

    /// A stopped worker is found in every state. An answer is expected only between start and end, which have limits of
    /// their own.
    fn look(&mut self, vitals: Option<Vitals>, effects: &mut Vec<Effect>) {
        let free = matches!(self.phase, Phase::Ready | Phase::Idle);
        let asked = free || matches!(self.phase, Phase::Busy(_));
        if let Some(cause) = vitals.and_then(|vitals| self.limits.memory.broken(&vitals)) {
            return self.die(cause, effects);
        }
        match self.health.look(vitals, free, self.limits.heartbeat_timeout) {
            Sign::Quiet if asked => effects.push(Effect::Write(self.probes.alive())),
            Sign::Well | Sign::Quiet => {}
            Sign::Stopped => self.die(DeathCause::Stopped, effects),
            Sign::Dead { after } => self.die(DeathCause::Unresponsive { after }, effects),
        }
    }

    /// Whether the worker owes an answer for longer than it may.
    pub(crate) fn is_unresponsive(&self) -> bool {
        self.health.is_unresponsive(self.limits.heartbeat_timeout)
    }

    /// The worker has answered for `run` and is proven idle.
    fn conclude(&mut self, id: ExecutionId, effects: &mut Vec<Effect>) {
        if self.run().is_some_and(|run| run.meter.is_some()) {
            effects.push(Effect::Disarm(Timer::Budget));
        }
        if self.ended.len() == LATE_IDS_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back(id);
        if self.cancelled().is_some() {
            effects.extend([Timer::Force, Timer::Examine, Timer::Grace].map(Effect::Disarm));
            self.seen = None;
        }
        effects.push(Effect::Disarm(Timer::Proof));
        self.phase = Phase::Idle;
        effects.push(Effect::Idle(id));
    }
}

/// The event that carries a worker's display.
fn display(display: protocol::Display) -> Event {
    Event::Display(Box::new(crate::outcome::Display {
        mime: display.data,
        id: display.display_id,
        update: display.update,
    }))
}
