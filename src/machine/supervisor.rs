//! Who gets which session, when workers are started, and when they are not.
//!
//! ```text
//! Empty ─> Starting ─> Idle ⇄ Busy                    BackingOff ─> Empty
//!                      Idle ─> Leased ─> Retiring ─> Empty
//! ```
//! A slot counts until its worker is reaped, so there are never more workers than `max_sessions`. No request waits
//! while a session is idle: that is checked after each step in the tests.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use crate::{
    config::PoolConfig,
    error::SubmitError,
    machine::{
        line::{Line, Waiter},
        restart::Restarts,
        slot::{Place, Slot},
    },
    outcome::{Death, DeathCause, Generation, LostCause},
    protocol::ExecutionId,
};

mod death;
mod lease;
mod look;
mod serve;
mod stop;
#[cfg(test)]
mod tests;

/// Names a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LeaseId(pub(crate) u64);

/// Everything that can happen to a pool.
#[derive(Debug)]
pub(crate) enum Input {
    /// The pool begins.
    Begin,
    /// A caller submits an execution, to any session or to the one it leases.
    Submit(ExecutionId, Option<LeaseId>),
    /// An execution wants to leave the waiting line.
    Withdraw(ExecutionId),
    /// An execution whose worker died before it started it.
    Requeue(ExecutionId),
    /// An execution has its outcome, and is in no session.
    Forget(ExecutionId),
    /// A caller wants a session of its own.
    Lease(LeaseId),
    /// A lease is over, or the one who waited for it left.
    Release(LeaseId),
    /// A leased session ran nothing for as long as it may.
    LeaseExpired(LeaseId),
    /// The session of a worker ended without it: the worker is being killed, and `Terminated` follows.
    Abandoned { slot: usize, generation: Generation, why: String },
    /// A worker could not be started.
    NotSpawned { slot: usize, generation: Generation, why: String },
    /// A worker is warmed and free.
    Ready { slot: usize, generation: Generation },
    /// A worker is free after an execution.
    Idle { slot: usize, generation: Generation, execution: ExecutionId },
    /// A worker is dead and reaped.
    Terminated { slot: usize, generation: Generation, death: Box<Death> },
    /// A wait has ended: look at the slots again.
    Tick,
    /// Serve what runs for at most this long, and end.
    Shutdown { grace: Duration },
    /// The time for that is over.
    ShutdownElapsed,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(crate) enum Effect {
    /// Start a worker in this slot.
    Start {
        slot: usize,
        generation: Generation,
    },
    /// Give this execution to the session in this slot.
    Assign {
        slot: usize,
        execution: ExecutionId,
    },
    /// Tell this execution that it is out of the line, as it asked.
    Withdrawn(ExecutionId),
    /// Tell this execution where it is: it asked too late.
    AlreadyAssigned {
        slot: usize,
        execution: ExecutionId,
    },
    /// Tell this waiting execution that it will not run.
    Lose(ExecutionId, LostCause),
    /// It was accepted.
    Accept(ExecutionId),
    /// It was not accepted.
    Refuse(ExecutionId, SubmitError),
    /// Stop this execution, which nobody waits for any more.
    Cancel {
        slot: usize,
        execution: ExecutionId,
    },
    /// Hand the session in this slot to this lease.
    Grant {
        lease: LeaseId,
        slot: usize,
    },
    /// This lease will not be granted.
    Deny(LeaseId, SubmitError),
    /// Tell the holder that its session has ended.
    LeaseEnded(LeaseId, String),
    /// End the worker in this slot: politely, or at once.
    Stop {
        slot: usize,
    },
    Kill {
        slot: usize,
        cause: DeathCause,
    },
    /// End the session in this slot without its worker, which cannot be killed.
    Desert {
        slot: usize,
    },
    /// Call with `Tick` after this wait.
    Tick(Duration),
    /// Call with `LeaseExpired` after this wait, unless armed again.
    ArmLease(LeaseId, Duration),
    DisarmLease(LeaseId),
    /// Call with `ShutdownElapsed` after this wait.
    ArmShutdown(Duration),
    /// The pool serves its first session.
    Started,
    /// The pool starts no more workers.
    Failed(String),
    /// No worker is left; the supervisor may end.
    Stopped,
}

/// The machine. `step` is total.
#[derive(Debug)]
pub(crate) struct Pool {
    config: PoolConfig,
    slots: Vec<Slot>,
    line: Line,
    leases: HashMap<LeaseId, Lease>,
    placed: HashMap<ExecutionId, usize>,
    restarts: Restarts,
    life: Life,
    spawned: u64,
    crashed: u64,
}

/// A lease that was granted.
#[derive(Debug)]
struct Lease {
    place: Held,
    running: Option<ExecutionId>,
    line: VecDeque<ExecutionId>,
}

/// What the holder of a lease has.
#[derive(Debug)]
enum Held {
    Slot(usize),
    /// The holder has gone; what was submitted still runs.
    Leaving(usize),
    /// The session has ended, and the holder has not let go yet.
    Ended(String),
}

/// Where the pool is in its life.
#[derive(Debug)]
enum Life {
    Beginning,
    Serving,
    /// Starts no more workers; those that live still serve.
    Failed(String),
    /// What runs has until then; `killed`: that is over.
    Stopping {
        until: Instant,
        killed: bool,
    },
    Stopped,
}

impl Pool {
    pub(crate) fn new(config: PoolConfig) -> Self {
        let slots = (0..config.max_sessions).map(|_| Slot::new()).collect();
        let restarts = Restarts::new(config.restart.clone());
        Self {
            config,
            slots,
            line: Line::default(),
            leases: HashMap::new(),
            placed: HashMap::new(),
            restarts,
            life: Life::Beginning,
            spawned: 0,
            crashed: 0,
        }
    }

    /// Takes one input and says what is to be done. `jitter` is in 0..=1.
    pub(crate) fn step(&mut self, input: Input, now: Instant, jitter: f64, effects: &mut Vec<Effect>) {
        match input {
            Input::Begin => {
                if self.config.min_idle == 0 {
                    self.life = Life::Serving;
                    effects.push(Effect::Started);
                }
            }
            Input::Submit(execution, None) => self.submit(execution, effects),
            Input::Submit(execution, Some(lease)) => self.submit_leased(execution, lease, effects),
            Input::Withdraw(execution) => self.withdraw(execution, effects),
            Input::Requeue(execution) => self.requeue(execution, effects),
            Input::Forget(execution) => self.forget(execution, effects),
            Input::Lease(lease) => self.lease(lease, effects),
            Input::Release(lease) => self.release(lease, effects),
            Input::LeaseExpired(lease) => self.lease_expired(lease, effects),
            Input::NotSpawned { slot, generation, why } => {
                if self.is_current(slot, generation) {
                    self.gone(slot, None, why, now, jitter, effects);
                }
            }
            Input::Ready { slot, generation } => self.ready(slot, generation, effects),
            Input::Idle { slot, generation, execution } => {
                self.idle(slot, generation, execution, effects);
            }
            Input::Terminated { slot, generation, death } => {
                if self.is_current(slot, generation) {
                    let why = death.to_string();
                    self.gone(slot, Some(&death.cause), why, now, jitter, effects);
                }
            }
            Input::Abandoned { slot, generation, why } => {
                if self.is_current(slot, generation) {
                    self.abandoned(slot, why, effects);
                }
            }
            Input::Tick => self.tick(now, effects),
            Input::Shutdown { grace } => self.shutdown(grace, now, effects),
            Input::ShutdownElapsed => self.shutdown_elapsed(now, effects),
        }
        self.serve(effects);
        self.replenish(now, effects);
        self.finish(effects);
    }

    fn is_current(&self, slot: usize, generation: Generation) -> bool {
        self.slots.get(slot).is_some_and(|slot| slot.generation == generation && slot.has_worker())
    }

    /// Why no request is taken, if none is: for one that comes, and for those that wait.
    fn closed(&self) -> Option<(SubmitError, LostCause)> {
        match &self.life {
            Life::Beginning | Life::Serving => None,
            Life::Failed(_) if self.slots.iter().any(Slot::serves) => None,
            Life::Failed(why) => Some((SubmitError::PoolFailed { why: why.clone() }, LostCause::PoolFailed)),
            Life::Stopping { .. } | Life::Stopped => {
                Some((SubmitError::ShuttingDown, LostCause::ShuttingDown))
            }
        }
    }

    fn submit(&mut self, execution: ExecutionId, effects: &mut Vec<Effect>) {
        let limit = self.config.queue;
        if let Some((error, _)) = self.closed() {
            effects.push(Effect::Refuse(execution, error));
        } else if !self.has_room() {
            effects.push(Effect::Refuse(execution, SubmitError::QueueFull { limit }));
        } else {
            effects.push(Effect::Accept(execution));
            self.line.push_back(Waiter::Execution(execution));
        }
    }

    /// Whether one more may wait. A queue of 0 still lets a request have an idle session, or wait for a worker that
    /// can be started for it.
    fn has_room(&self) -> bool {
        let count = |test: fn(&Place) -> bool| self.slots.iter().filter(|slot| test(&slot.place)).count();
        let idle = count(|place| matches!(place, Place::Idle { .. })) > 0;
        let coming = count(|place| matches!(place, Place::Starting { .. } | Place::Empty));
        let may_start = matches!(self.life, Life::Beginning | Life::Serving);
        idle || self.line.len() < self.config.queue || may_start && self.line.len() < coming
    }

    fn withdraw(&mut self, execution: ExecutionId, effects: &mut Vec<Effect>) {
        if self.line.remove(Waiter::Execution(execution)) || self.leave_lease_line(execution) {
            effects.push(Effect::Withdrawn(execution));
        } else if let Some(&slot) = self.placed.get(&execution) {
            effects.push(Effect::AlreadyAssigned { slot, execution });
        }
    }

    /// It has its outcome. If a session still works on it, it does so in vain.
    fn forget(&mut self, execution: ExecutionId, effects: &mut Vec<Effect>) {
        if self.line.remove(Waiter::Execution(execution)) || self.leave_lease_line(execution) {
            return;
        }
        if let Some(&slot) = self.placed.get(&execution) {
            effects.push(Effect::Cancel { slot, execution });
        }
    }

    /// `slot` has nothing to do with `execution` any more, which may be in another one by now.
    fn displace(&mut self, execution: ExecutionId, slot: usize) {
        if self.placed.get(&execution) == Some(&slot) {
            self.placed.remove(&execution);
        }
    }

    fn requeue(&mut self, execution: ExecutionId, effects: &mut Vec<Effect>) {
        self.placed.remove(&execution);
        match self.closed() {
            None => self.line.push_front(Waiter::Execution(execution)),
            Some((_, cause)) => effects.push(Effect::Lose(execution, cause)),
        }
    }

    fn ready(&mut self, slot: usize, generation: Generation, effects: &mut Vec<Effect>) {
        if !self.is_current(slot, generation) {
            return;
        }
        if let Place::Starting { since } = self.slots[slot].place {
            self.slots[slot].place = Place::Idle { since, proven: false };
            if matches!(self.life, Life::Beginning) {
                self.life = Life::Serving;
                effects.push(Effect::Started);
            }
            if matches!(self.life, Life::Stopping { .. }) {
                self.retire(slot, effects);
            }
        }
    }

    fn idle(
        &mut self,
        slot: usize,
        generation: Generation,
        execution: ExecutionId,
        effects: &mut Vec<Effect>,
    ) {
        self.displace(execution, slot);
        if !self.is_current(slot, generation) {
            return;
        }
        self.restarts.worked();
        match &mut self.slots[slot].place {
            Place::Busy { since, .. } => {
                self.slots[slot].place = Place::Idle { since: *since, proven: true };
                if matches!(self.life, Life::Stopping { .. }) {
                    self.retire(slot, effects);
                }
            }
            Place::Leased { lease, proven, .. } => {
                *proven = true;
                let lease = *lease;
                self.lease_idle(lease, effects);
            }
            Place::Empty
            | Place::Starting { .. }
            | Place::Idle { .. }
            | Place::Retiring
            | Place::Doomed { .. }
            | Place::BackingOff { .. } => {}
        }
    }
}
