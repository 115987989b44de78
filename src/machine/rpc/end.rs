//! How the session of a server ends: asked to, killed, or because the server is dead.

use std::collections::BTreeMap;

use crate::{
    config::CLOSED_LIMIT,
    machine::{
        rpc::{Effect, Phase, Rpc, Timer},
        session::{Broken, Ending, lost_by, too_late},
        unstarted::{Loss, Unstarted},
    },
    outcome::{Death, DeathCause, Exit, LostCause},
    protocol::{
        ExecutionId,
        rpc::{Outgoing, Style},
    },
};

impl Rpc {
    /// A server ends at the end of what it reads, and a language server is told before.
    pub(super) fn stop(&mut self, effects: &mut Vec<Effect>) {
        match &self.phase {
            Phase::Serving if self.calls.is_empty() => {
                self.phase = Phase::ShuttingDown { cause: DeathCause::Retired };
                if self.limits.server.style == Style::Lsp {
                    self.own += 1;
                    let (own, params) = (self.own, None);
                    effects.extend([
                        Effect::Say(Outgoing::Ask { own, method: "shutdown".into(), params: None }),
                        Effect::Say(Outgoing::Note { method: "exit".into(), params }),
                    ]);
                }
                effects.extend([Effect::Close, Effect::Arm(Timer::Exit, self.limits.grace)]);
            }
            Phase::Opening { .. } | Phase::Serving => self.die(DeathCause::Retired, effects),
            Phase::ShuttingDown { .. } | Phase::Terminated => {}
        }
    }

    /// Kills the server, once; the first cause stands. What is in flight is told when the process is gone.
    pub(super) fn die(&mut self, cause: DeathCause, effects: &mut Vec<Effect>) {
        match self.phase {
            Phase::Terminated => {}
            Phase::ShuttingDown { .. } => effects.push(Effect::Kill),
            Phase::Opening { .. } | Phase::Serving => {
                self.phase = Phase::ShuttingDown { cause };
                effects.push(Effect::Kill);
            }
        }
    }

    pub(super) fn broken(&mut self, broken: Broken, effects: &mut Vec<Effect>) {
        match broken {
            // A dying process closes its channel a moment before it can be seen dead.
            Broken::Closed => effects.push(Effect::Arm(Timer::Exit, CLOSED_LIMIT)),
            Broken::NotReading => self.die(DeathCause::NotReading, effects),
            Broken::Garbage { what, .. } => self.die(DeathCause::Protocol(what), effects),
        }
    }

    /// Everything in flight is lost with the server; what was not written may go to another one.
    pub(super) fn exited(
        &mut self,
        exit: Exit,
        stderr: String,
        mut unwritten: BTreeMap<ExecutionId, Unstarted>,
        effects: &mut Vec<Effect>,
    ) {
        let cause = match std::mem::replace(&mut self.phase, Phase::Terminated) {
            Phase::Terminated => return,
            Phase::ShuttingDown { cause } => cause,
            Phase::Opening { .. } | Phase::Serving => DeathCause::Itself,
        };
        let death = Death { cause, exit, stderr, activity: None };
        self.death = Some(Box::new(death.clone()));
        // First: whoever hears of a loss, and goes on at once, is to find that this session has ended.
        effects.push(Effect::Terminated(Box::new(death.clone())));
        for (id, call) in std::mem::take(&mut self.calls) {
            let unstarted = unwritten.remove(&id).filter(|_| !call.sent);
            let loss = Loss { unstarted, cause: lost_by(&death) };
            effects.push(Effect::Ended(id, Ending::Lost(loss)));
        }
    }

    /// Why no call can be taken now.
    pub(super) fn why_not(&self) -> LostCause {
        let dies_of = if let Phase::ShuttingDown { cause } = &self.phase { Some(cause) } else { None };
        too_late(self.death.as_deref(), dies_of)
    }
}
