//! How a session ends: asked to, killed, or because its worker is dead.

use crate::{
    config::CLOSED_LIMIT,
    machine::{
        session::{Broken, Effect, Ending, Input, Phase, Run, Session, Timer, Told},
        unstarted::{self, ChannelEnd, Loss, Unstarted},
    },
    outcome::{Death, DeathCause, Exit, LostCause},
    protocol::{self, ToWorker},
};

impl Session {
    pub(super) fn stop(&mut self, leased: bool, effects: &mut Vec<Effect>) {
        match &self.phase {
            Phase::Ready | Phase::Idle => {
                self.phase = Phase::ShuttingDown { cause: DeathCause::Retired, run: None };
                let timeout = if leased { self.limits.grace.as_secs_f64() } else { 0.0 };
                let shutdown = protocol::Shutdown { reason: None, timeout: Some(timeout) };
                effects.extend([
                    Effect::Write(ToWorker::Shutdown(shutdown)),
                    Effect::Arm(Timer::Exit, self.limits.grace),
                ]);
            }
            Phase::Creating | Phase::Warming(_) | Phase::Busy(_) => self.die(DeathCause::Retired, effects),
            Phase::ShuttingDown { .. } | Phase::Terminated => {}
        }
    }

    /// Kills the worker, once; the first cause stands. What runs is told when the process is gone.
    pub(super) fn die(&mut self, cause: DeathCause, effects: &mut Vec<Effect>) {
        let run = match std::mem::replace(&mut self.phase, Phase::Terminated) {
            Phase::Terminated => return,
            Phase::ShuttingDown { cause, run } => {
                self.phase = Phase::ShuttingDown { cause, run };
                effects.push(Effect::Kill);
                return;
            }
            Phase::Warming(run) | Phase::Busy(run) => Some(run),
            Phase::Creating | Phase::Ready | Phase::Idle => None,
        };
        // Who breaks the protocol proves nothing by what it does not say.
        let liar = matches!(cause, DeathCause::Protocol(_));
        let run = run.map(|run| Run { begun: run.begun || liar, ..run });
        self.phase = Phase::ShuttingDown { cause, run };
        effects.extend([Effect::Shed, Effect::Kill]);
    }

    pub(super) fn broken(&mut self, broken: Broken, effects: &mut Vec<Effect>) {
        match broken {
            // A dying process closes its channel a moment before it can be seen dead: a long one on a busy machine.
            Broken::Closed => effects.push(Effect::Arm(Timer::Exit, CLOSED_LIMIT)),
            Broken::NotReading => self.die(DeathCause::NotReading, effects),
            Broken::Garbage { printed: Some(printed), .. } if matches!(self.phase, Phase::Creating) => {
                self.die(DeathCause::Printed(printed), effects);
            }
            Broken::Garbage { what, .. } => self.die(DeathCause::Protocol(what), effects),
        }
    }

    pub(super) fn exited(
        &mut self,
        death: (Exit, String),
        channel: ChannelEnd,
        unwritten: Option<Unstarted>,
        effects: &mut Vec<Effect>,
    ) {
        let (exit, stderr) = death;
        let (cause, run) = match std::mem::replace(&mut self.phase, Phase::Terminated) {
            Phase::Terminated => return,
            Phase::ShuttingDown { cause, run } => (cause, run),
            Phase::Warming(run) | Phase::Busy(run) => (DeathCause::Itself, Some(run)),
            Phase::Creating | Phase::Ready | Phase::Idle => (DeathCause::Itself, None),
        };
        let death = Death { cause, exit, stderr, activity: self.seen.take() };
        self.death = Some(Box::new(death.clone()));
        // First: whoever hears that what ran is lost, and goes on at once, is to find that this session has ended.
        effects.push(Effect::Terminated(Box::new(death.clone())));
        if let Some(run) = run.filter(|run| run.told == Told::Running && Some(run.id) != self.warmup) {
            let unstarted = unwritten.or_else(|| Unstarted::unheard(channel, run.begun));
            let loss = Loss { unstarted, cause: lost_by(&death) };
            effects.push(Effect::Ended(run.id, Ending::Lost(loss)));
        }
    }

    /// Whatever a worker says or prints may come of the code that it was given, also when it was killed since.
    pub(super) fn see_signs(&mut self, input: &Input) {
        let ended = &self.ended;
        let (Phase::Busy(run) | Phase::ShuttingDown { run: Some(run), .. }) = &mut self.phase else { return };
        run.begun |= match input {
            Input::Frame(frame) => unstarted::is_sign(frame, run.id, |id| ended.contains(&id)),
            // Printed since it was given the code: by that, or by what an earlier one has left behind.
            Input::Output(_) => true,
            Input::Undecodable(error) => unstarted::may_be_sign(error, run.id),
            Input::Broken(_)
            | Input::Exited { .. }
            | Input::Assign(_)
            | Input::Ask(..)
            | Input::Meter(_)
            | Input::Measured(_)
            | Input::Cancel(_)
            | Input::Interrupt(_)
            | Input::Send(..)
            | Input::Elapsed(_)
            | Input::Look(_)
            | Input::Examined(_)
            | Input::Stop { .. }
            | Input::Kill(_) => false,
        };
    }

    /// Why nothing can be taken now.
    pub(super) fn why_not(&self) -> LostCause {
        let dies_of = if let Phase::ShuttingDown { cause, .. } = &self.phase { Some(cause) } else { None };
        too_late(self.death.as_deref(), dies_of)
    }
}

/// Why a session takes nothing: a worker that is dead, or dies of this, takes what it was handed too late with it, unrun.
pub(crate) fn too_late(death: Option<&Death>, dies_of: Option<&DeathCause>) -> LostCause {
    match (death, dies_of) {
        (Some(death), _) => lost_by(death),
        (None, Some(cause)) => lost_by(&Death::new(cause.clone(), Exit::Unknown)),
        (None, None) => LostCause::SessionEnded,
    }
}

/// Why what a worker was given is lost when it dies.
pub(crate) fn lost_by(death: &Death) -> LostCause {
    match death.cause == DeathCause::ShuttingDown {
        true => LostCause::ShuttingDown,
        false => LostCause::Died(death.clone()),
    }
}
