//! What an execution's outcome is, decided once.
//!
//! ```text
//! Queued ─> Assigned ─> Running ─> Ended       the first outcome wins; what comes later lost a race
//! ```
//! A deadline or a cancel that comes while the execution waits is settled by the supervisor's answer, so that
//! "it did not start" is always a fact and never a guess.

use std::time::Duration;

use crate::{
    machine::{
        session::Ending,
        unstarted::{Loss, Unstarted},
    },
    outcome::{Activity, CancelStage, Cancelled, DeathCause, Failure, LostCause, Outcome, Phase, TimedOut},
};

#[cfg(test)]
mod tests;

/// Everything that can happen to an execution.
#[derive(Debug)]
pub(crate) enum Input {
    /// It turned out to have been given to a session, when it was to be withdrawn.
    Assigned,
    /// The worker acknowledged it.
    Started,
    /// The session is done with it.
    Ended(Ending),
    /// The supervisor took it out of the waiting line, as it was asked to.
    Withdrawn(Option<Unstarted>),
    /// The supervisor gives it up while it waits.
    Refused(Loss),
    /// Its caller wants it stopped, or is gone.
    Cancel { reason: Option<String> },
    /// Its deadline has passed.
    Deadline { after: Duration },
    /// What its worker was doing at the deadline, if anybody could say.
    Seen(Option<Box<Activity>>),
    /// It has used more than it may, and how it has failed by that.
    Exceeded(Failure),
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(crate) enum Effect {
    /// Ask the supervisor to take it out of the waiting line, or to pass the cancel on.
    Withdraw,
    /// Ask the session to stop it.
    Stop,
    /// Ask the session what its worker is doing.
    Look,
    /// Ask the supervisor for another worker: the first died, and has not started the code.
    Requeue(Unstarted),
    /// Tell the caller how it ended.
    Settle(Outcome),
    /// Nothing more will happen; end the actor.
    Finish,
}

/// Why it was told to stop.
#[derive(Clone, Debug, PartialEq)]
enum Stop {
    Cancel {
        reason: Option<String>,
    },
    Deadline {
        after: Duration,
    },
    /// It used too much: how it has failed by that.
    Excess(Failure),
}

/// The machine. `step` is total.
#[derive(Debug)]
pub(crate) struct Execution {
    phase: Phase,
    stop: Option<Stop>,
    /// Its deadline has passed, and is told as soon as it is known what its worker was doing.
    late: Option<TimedOut>,
    settled: bool,
    /// The session is done with it.
    over: bool,
    may_requeue: bool,
    /// How its worker died before it started it, since it waits for another.
    unrun: Option<LostCause>,
    /// Bytes that its value may have.
    max_result: Option<u64>,
}

impl Execution {
    /// A new one, in the waiting line. What is for a session that is not restored `may_requeue` not.
    pub(crate) fn new(may_requeue: bool, max_result: Option<u64>) -> Self {
        Self {
            phase: Phase::Queued,
            stop: None,
            late: None,
            settled: false,
            over: false,
            may_requeue,
            unrun: None,
            max_result,
        }
    }

    /// Takes one input and says what is to be done.
    pub(crate) fn step(&mut self, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Assigned if self.phase != Phase::Queued => {}
            Input::Assigned => self.reached(Phase::Assigned, effects),
            Input::Started => self.reached(Phase::Running, effects),
            Input::Ended(ending) => self.ended(ending, effects),
            Input::Withdrawn(unstarted) => {
                let outcome = match (self.stop.take(), unstarted) {
                    (Some(Stop::Deadline { after }), Some(_)) => Outcome::TimedOut(self.timed_out(after)),
                    (Some(Stop::Cancel { reason }), Some(_)) => {
                        Outcome::Cancelled(Cancelled::new(CancelStage::Queued, reason))
                    }
                    (Some(Stop::Excess(excess)), _) => Outcome::Failed(excess),
                    (_, unstarted) => {
                        let cause = LostCause::ActorGone("execution");
                        Outcome::Lost(Loss { unstarted, cause }.into())
                    }
                };
                self.finish(outcome, effects);
            }
            Input::Refused(Loss { unstarted, cause }) => {
                // Its session ended by the death of that worker.
                let unrun = self.unrun.take().filter(|_| cause == LostCause::SessionEnded);
                let loss = Loss { unstarted, cause: unrun.unwrap_or(cause) };
                self.finish(Outcome::Lost(loss.into()), effects);
            }
            Input::Cancel { reason } => self.stop(Stop::Cancel { reason }, effects),
            Input::Deadline { after } => self.stop(Stop::Deadline { after }, effects),
            Input::Seen(activity) => self.seen(activity, effects),
            Input::Exceeded(failure) => self.stop(Stop::Excess(failure), effects),
        }
    }

    /// It has a session now. A stop that was asked for while it waited goes there.
    fn reached(&mut self, phase: Phase, effects: &mut Vec<Effect>) {
        self.phase = phase;
        if let Some(stop) = self.stop.take() {
            self.stop(stop, effects);
        }
    }

    fn stop(&mut self, stop: Stop, effects: &mut Vec<Effect>) {
        // A deadline is told when it passes, also while a cancel is on its way. The look comes before the interrupt.
        if let (Stop::Deadline { after }, Phase::Assigned | Phase::Running) = (&stop, self.phase)
            && self.late.is_none()
            && !self.settled
        {
            self.late = Some(self.timed_out(*after));
            effects.push(Effect::Look);
        }
        if self.stop.is_some() {
            return;
        }
        self.stop = Some(stop);
        effects.push(match self.phase {
            Phase::Queued => Effect::Withdraw,
            Phase::Assigned | Phase::Running => Effect::Stop,
        });
    }

    fn seen(&mut self, activity: Option<Box<Activity>>, effects: &mut Vec<Effect>) {
        let Some(late) = self.late.take() else { return };
        self.settle(Outcome::TimedOut(TimedOut { activity, ..late }), effects);
        if self.over {
            effects.push(Effect::Finish);
        }
    }

    fn ended(&mut self, ending: Ending, effects: &mut Vec<Effect>) {
        if self.late.is_some() {
            self.over = true;
            return;
        }
        let outcome = match (ending, &self.stop) {
            (Ending::Completed(_) | Ending::Failed(_) | Ending::Stopped(_), Some(Stop::Excess(excess))) => {
                Outcome::Failed(excess.clone())
            }
            (Ending::Lost(lost), Some(Stop::Excess(excess))) if disobeyed(&lost) => {
                Outcome::Failed(excess.clone())
            }
            (Ending::Completed(completion), _) => match self.max_result {
                Some(limit) if completion.weight() > limit => {
                    Outcome::Failed(Failure::ResultLimit { limit, size: completion.weight() })
                }
                Some(_) | None => Outcome::Completed(completion),
            },
            (Ending::Failed(failure), _) => Outcome::Failed(failure),
            (Ending::Stopped(stage), Some(Stop::Cancel { reason })) => {
                Outcome::Cancelled(Cancelled::new(stage, reason.clone()))
            }
            (Ending::Stopped(_), Some(Stop::Deadline { after })) => Outcome::TimedOut(self.timed_out(*after)),
            (Ending::Stopped(_), None) => Outcome::Failed(Failure::Protocol {
                what: "it said that the execution was cancelled, and nobody had asked".into(),
            }),
            (Ending::Lost(lost), Some(Stop::Cancel { reason })) if disobeyed(&lost) => {
                let activity = activity(lost);
                Outcome::Cancelled(Cancelled { stage: CancelStage::Kill, reason: reason.clone(), activity })
            }
            // Also when a stop is on its way: the worker proved that the code did not start.
            (Ending::Lost(Loss { unstarted: Some(_), .. }), Some(Stop::Cancel { reason })) => {
                Outcome::Cancelled(Cancelled::new(CancelStage::Queued, reason.clone()))
            }
            // A session that lives and did not take it would not take it a second time.
            (Ending::Lost(Loss { unstarted: Some(unstarted), cause }), None)
                if self.may_requeue && cause != LostCause::SessionEnded =>
            {
                self.may_requeue = false;
                self.phase = Phase::Queued;
                self.unrun = Some(cause);
                return effects.push(Effect::Requeue(unstarted));
            }
            (Ending::Lost(loss), _) => Outcome::Lost(loss.into()),
        };
        self.finish(outcome, effects);
    }

    fn timed_out(&self, after: Duration) -> TimedOut {
        TimedOut::new(after, self.phase)
    }

    fn settle(&mut self, outcome: Outcome, effects: &mut Vec<Effect>) {
        if !std::mem::replace(&mut self.settled, true) {
            effects.push(Effect::Settle(outcome));
        }
    }

    fn finish(&mut self, outcome: Outcome, effects: &mut Vec<Effect>) {
        self.settle(outcome, effects);
        effects.push(Effect::Finish);
    }
}

/// What the worker was doing that was killed for it.
fn activity(lost: Loss) -> Option<Box<Activity>> {
    if let LostCause::Died(death) = lost.cause { death.activity } else { None }
}

fn disobeyed(lost: &Loss) -> bool {
    matches!(&lost.cause, LostCause::Died(death) if death.cause == DeathCause::Disobeyed)
}
