//! The life of one script: a process of its own, whose end is the outcome of its execution. Decided without doing it.
//!
//! ```text
//! Running ─> Dying ─> Ended        Running ─> Ended, by itself
//! ```
//! There is no channel: what is known of the process is what it prints, its vitals and its exit. The first stage of a
//! cancel is a SIGINT to its group, as Ctrl-C is; the next is a SIGTERM at half of the grace, and the last one kills.

use std::time::Duration;

use crate::{
    machine::{
        budget::{MemoryLimits, Meter},
        escalation::Escalation,
        health::{Health, Sign},
        session::{Ending, Timer, lost_by},
        unstarted::Loss,
    },
    outcome::{Activity, CancelStage, Completion, Death, DeathCause, Event, Exit, Failure, Usage},
    status::{SessionState, Vitals},
};

mod said;
#[cfg(test)]
mod tests;

/// Everything that can happen to a script.
#[derive(Debug)]
pub(crate) enum Input {
    /// It printed.
    Output(Event),
    /// Its process is dead and reaped; it ran for so long.
    Exited { exit: Exit, stderr: String, after: Duration },
    /// Stop it.
    Cancel,
    /// Send it SIGINT, and nothing more.
    Interrupt,
    /// Send it SIGTERM, and nothing more.
    Terminate,
    /// What the operating system says of it, as it was asked with [`Effect::Measure`].
    Measured(Option<Vitals>),
    /// A wait has ended.
    Elapsed(Timer),
    /// Once a second: what the operating system says of it.
    Look(Option<Vitals>),
    /// What it was doing, as it was asked with [`Effect::Examine`].
    Examined(Box<Activity>),
    /// End it at once.
    Kill(DeathCause),
}

impl Input {
    /// Names it, as the cause of a transition.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Output(_) => "output",
            Self::Exited { .. } => "exit",
            Self::Cancel => "cancel",
            Self::Interrupt => "interrupt",
            Self::Terminate => "terminate",
            Self::Measured(_) => "processor time",
            Self::Elapsed(_) | Self::Examined(_) => "end of grace",
            Self::Look(_) => "health check",
            Self::Kill(_) => "kill",
        }
    }
}

/// A signal for its process group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Interrupt,
    Terminate,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(crate) enum Effect {
    Signal(Signal),
    /// See what it is doing.
    Examine,
    /// See how much it has used.
    Measure,
    /// It used more than it may.
    Exceeded(Failure),
    /// Kill it and its group.
    Kill,
    Arm(Timer, Duration),
    /// From here on output is discarded when nobody takes it.
    Shed,
    /// Its process runs.
    Started,
    /// Something for its caller.
    Event(Event),
    /// It is over.
    Ended(Ending),
    /// For the supervisor: its process is gone.
    Terminated(Box<Death>),
}

/// The limits of one script.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) grace: Duration,
    /// Processor time.
    pub(crate) cpu: Option<Duration>,
    pub(crate) memory: MemoryLimits,
}

/// The machine. `step` is total.
#[derive(Debug)]
pub(crate) struct Script {
    phase: Phase,
    grace: Duration,
    memory: MemoryLimits,
    meter: Option<Meter>,
    health: Health,
    /// What it was doing before it was killed for not obeying.
    seen: Option<Box<Activity>>,
}

#[derive(Debug)]
enum Phase {
    /// What it was told to stop with, if it was.
    Running {
        stage: Option<CancelStage>,
    },
    /// It is being killed for this.
    Dying(DeathCause),
    Ended,
}

impl Script {
    /// One whose process was started just now.
    pub(crate) fn new(limits: Limits, effects: &mut Vec<Effect>) -> Self {
        let Limits { grace, cpu, memory } = limits;
        let meter = Meter::new(memory);
        let meter = match cpu {
            Some(limit) => Some(Meter::with_cpu(meter, limit)),
            None => meter,
        };
        effects.push(Effect::Started);
        effects.extend(meter.is_some().then_some(Effect::Measure));
        let phase = Phase::Running { stage: None };
        Self { phase, grace, memory, meter, health: Health::default(), seen: None }
    }

    /// The state, in the public words.
    pub(crate) fn state(&self) -> SessionState {
        match self.phase {
            Phase::Running { .. } => SessionState::Busy,
            Phase::Dying(_) => SessionState::ShuttingDown,
            Phase::Ended => SessionState::Terminated,
        }
    }

    /// Takes one input and says what is to be done.
    pub(crate) fn step(&mut self, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Output(event) => effects.push(Effect::Event(event)),
            Input::Exited { exit, stderr, after } => self.exited(exit, stderr, after, effects),
            Input::Cancel => self.cancel(effects),
            Input::Interrupt => self.signal(Signal::Interrupt, effects),
            Input::Terminate => self.signal(Signal::Terminate, effects),
            Input::Measured(vitals) => self.measured(vitals, effects),
            Input::Elapsed(Timer::Force) => self.force(effects),
            // Whoever has to explain the kill wants to know where it was.
            Input::Elapsed(Timer::Examine) if self.is_cancelled() => effects.push(Effect::Examine),
            Input::Elapsed(Timer::Grace) if self.is_cancelled() => self.die(DeathCause::Disobeyed, effects),
            Input::Elapsed(Timer::Examine | Timer::Grace) => {}
            Input::Elapsed(Timer::Budget) => effects.push(Effect::Measure),
            // Of workers that speak.
            Input::Elapsed(Timer::Start | Timer::Proof | Timer::Exit) => {}
            Input::Look(vitals) => self.look(vitals, effects),
            Input::Examined(activity) => {
                if self.is_cancelled() || matches!(self.phase, Phase::Dying(DeathCause::Disobeyed)) {
                    self.seen = Some(activity);
                }
            }
            Input::Kill(cause) => self.die(cause, effects),
        }
    }

    fn signal(&self, signal: Signal, effects: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Running { .. }) {
            effects.push(Effect::Signal(signal));
        }
    }

    fn is_cancelled(&self) -> bool {
        matches!(self.phase, Phase::Running { stage: Some(_) })
    }

    fn cancel(&mut self, effects: &mut Vec<Effect>) {
        let Phase::Running { stage: stage @ None } = &mut self.phase else { return };
        *stage = Some(CancelStage::Interrupt);
        let Escalation { force: _, examine, kill } = Escalation::new(self.grace);
        effects.extend([
            Effect::Shed,
            Effect::Signal(Signal::Interrupt),
            // It ends what does not handle it, in the middle of its clean-up: that has half of the time.
            Effect::Arm(Timer::Force, kill / 2),
            Effect::Arm(Timer::Examine, examine),
            Effect::Arm(Timer::Grace, kill),
        ]);
    }

    fn force(&mut self, effects: &mut Vec<Effect>) {
        if let Phase::Running { stage: Some(stage) } = &mut self.phase {
            *stage = CancelStage::Force;
            effects.push(Effect::Signal(Signal::Terminate));
        }
    }

    fn measured(&mut self, vitals: Option<Vitals>, effects: &mut Vec<Effect>) {
        let (Phase::Running { .. }, Some(meter), Some(vitals)) = (&self.phase, &mut self.meter, vitals)
        else {
            return;
        };
        let reading = meter.measured(&vitals);
        effects.extend(reading.excess.map(Effect::Exceeded));
        effects.extend(reading.again.map(|wait| Effect::Arm(Timer::Budget, wait)));
        if let Some(cause) = reading.fatal {
            self.die(cause, effects);
        }
    }

    /// It answers nobody, so that it is stopped is all that can be wrong with it.
    fn look(&mut self, vitals: Option<Vitals>, effects: &mut Vec<Effect>) {
        if let Some(cause) = vitals.and_then(|vitals| self.memory.broken(&vitals)) {
            return self.die(cause, effects);
        }
        self.health.heard();
        if self.health.look(vitals, false, Duration::MAX) == Sign::Stopped {
            self.die(DeathCause::Stopped, effects);
        }
    }

    /// Kills it, once; the first cause stands. Its outcome is told when the process is gone.
    fn die(&mut self, cause: DeathCause, effects: &mut Vec<Effect>) {
        match self.phase {
            Phase::Running { .. } => {
                self.phase = Phase::Dying(cause);
                effects.extend([Effect::Shed, Effect::Kill]);
            }
            Phase::Dying(_) => effects.push(Effect::Kill),
            Phase::Ended => {}
        }
    }

    fn exited(&mut self, exit: Exit, stderr: String, after: Duration, effects: &mut Vec<Effect>) {
        let (cause, stage) = match std::mem::replace(&mut self.phase, Phase::Ended) {
            Phase::Ended => return,
            Phase::Dying(cause) => (Some(cause), None),
            Phase::Running { stage } => (None, stage),
        };
        let ending = match (cause, exit, stage) {
            // It may have had a reason to end well.
            (None, Exit::Code(0), _) => {
                let usage = Usage { execution_time: after, ..Usage::default() };
                Ending::Completed(Box::new(Completion { usage, ..Completion::default() }))
            }
            (None, _, Some(stage)) => Ending::Stopped(stage),
            (None, Exit::Code(code), None) => {
                Ending::Failed(Failure::Exit { code, message: said::why(code, &stderr) })
            }
            (cause, _, _) => {
                let cause = cause.unwrap_or(DeathCause::Itself);
                let death = Death { cause, exit, stderr, activity: self.seen.take() };
                let lost = Loss { unstarted: None, cause: lost_by(&death) };
                // First: whoever hears how it ended, and goes on at once, is to find its place free.
                return effects
                    .extend([Effect::Terminated(Box::new(death)), Effect::Ended(Ending::Lost(lost))]);
            }
        };
        let death = Box::new(Death::new(DeathCause::Retired, exit));
        effects.extend([Effect::Terminated(death), Effect::Ended(ending)]);
    }
}
