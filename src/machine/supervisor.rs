//! Who gets which session, when workers are started, and when they are not.
//!
//! ```text
//! Empty ─> Starting ─> Idle ⇄ Busy                    BackingOff ─> Empty
//!                      Idle ─> Leased ─> Retiring ─> Empty
//!                      Idle ─> Retiring                           worn, or not needed
//! ```
//! A slot counts until its worker is reaped, so there are never more workers than `max_sessions`. No request waits
//! while a session is idle: that is checked after each step in the tests.

use std::{
    collections::{HashMap, VecDeque},
    time::Instant,
};

use crate::{
    config::PoolConfig,
    error::SubmitError,
    machine::{
        line::{Line, Waiter},
        restart::{Restarts, Throttle},
        slot::{Place, Slot},
    },
    outcome::{Generation, LostCause},
    protocol::ExecutionId,
};

mod death;
mod io;
mod lease;
mod look;
mod renew;
mod serve;
mod stop;
#[cfg(test)]
mod tests;

pub(crate) use io::{Effect, Input, LeaseId, Wear};

/// The machine. `step` is total.
#[derive(Debug)]
pub(crate) struct Pool {
    config: PoolConfig,
    slots: Vec<Slot>,
    line: Line,
    leases: HashMap<LeaseId, Lease>,
    placed: HashMap<ExecutionId, usize>,
    restarts: Restarts,
    throttle: Throttle,
    life: Life,
    /// Which of its specs workers are made from.
    edition: u32,
    /// Whether no worker of the newest spec has shown yet whether it lives.
    untried: bool,
    /// Why the last worker that was started never became ready, until one does.
    trouble: Option<String>,
    /// When the pool will be woken.
    alarm: Option<Instant>,
    spawned: u64,
    crashed: u64,
    recycled: u64,
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
    /// Starts no more workers before `probe_at`; those that live still serve.
    Failed {
        why: String,
        probe_at: Instant,
    },
    /// Has one worker to see whether it becomes ready.
    HalfOpen {
        why: String,
    },
    /// What runs has until then; `killed`: that is over.
    Stopping {
        until: Instant,
        killed: bool,
    },
    Stopped,
}

impl Pool {
    pub(crate) fn new(config: PoolConfig, now: Instant) -> Self {
        let slots = (0..config.max_sessions + config.surge).map(|_| Slot::new(now)).collect();
        let restarts = Restarts::new(config.restart.clone());
        let throttle = Throttle::new(config.start_rate);
        Self {
            config,
            slots,
            line: Line::default(),
            leases: HashMap::new(),
            placed: HashMap::new(),
            restarts,
            throttle,
            life: Life::Beginning,
            edition: 0,
            untried: false,
            trouble: None,
            alarm: None,
            spawned: 0,
            crashed: 0,
            recycled: 0,
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
            Input::Ready { slot, generation } => self.ready(slot, generation, now, effects),
            Input::Idle { slot, generation, execution } => {
                self.idle(slot, generation, execution, now, effects);
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
            Input::Measured { slot, generation, memory } => self.measured(slot, generation, memory),
            Input::Reload => self.reload(),
            Input::Reset => self.reset(),
            Input::Tick => self.tick(now),
            Input::Shutdown { grace } => self.shutdown(grace, now, effects),
            Input::ShutdownElapsed => self.shutdown_elapsed(now, effects),
        }
        self.renew(now, effects);
        self.serve(effects);
        self.replenish(now, jitter, effects);
        self.finish(effects);
        self.set_alarm(now, effects);
    }

    fn is_current(&self, slot: usize, generation: Generation) -> bool {
        self.slots.get(slot).is_some_and(|slot| slot.generation == generation && slot.has_worker())
    }

    /// Why no request is taken, if none is: for one that comes, and for those that wait.
    fn closed(&self) -> Option<(SubmitError, LostCause)> {
        match &self.life {
            Life::Beginning | Life::Serving => None,
            Life::Failed { why, .. } | Life::HalfOpen { why } => {
                let serves = |place: &Place| matches!(place, Place::Idle { .. } | Place::Busy { .. });
                let failed = (SubmitError::PoolFailed { why: why.clone() }, LostCause::PoolFailed);
                (self.count(serves) == 0).then_some(failed)
            }
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
        let idle = self.slots.iter().any(Slot::is_idle);
        let coming = self.count(|place| matches!(place, Place::Starting | Place::Empty));
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

    fn ready(&mut self, slot: usize, generation: Generation, now: Instant, effects: &mut Vec<Effect>) {
        if !self.is_current(slot, generation) || !matches!(self.slots[slot].place, Place::Starting) {
            return;
        }
        self.slots[slot].place = Place::Idle { since: now };
        self.trouble = None;
        self.canary(slot, Ok(()), effects);
        match self.life {
            Life::Beginning => {
                self.life = Life::Serving;
                effects.push(Effect::Started);
            }
            Life::HalfOpen { .. } => {
                self.life = Life::Serving;
                self.restarts.worked();
                effects.push(Effect::Recovered);
            }
            Life::Stopping { .. } => self.retire(slot, effects),
            Life::Serving | Life::Failed { .. } | Life::Stopped => {}
        }
    }

    fn idle(
        &mut self,
        slot: usize,
        generation: Generation,
        execution: ExecutionId,
        now: Instant,
        effects: &mut Vec<Effect>,
    ) {
        self.displace(execution, slot);
        if !self.is_current(slot, generation) {
            return;
        }
        self.restarts.worked();
        let worker = &mut self.slots[slot].worker;
        worker.served = worker.served.saturating_add(1);
        match &mut self.slots[slot].place {
            place @ Place::Busy { .. } => {
                *place = Place::Idle { since: now };
                if self.stopping() {
                    self.retire(slot, effects);
                }
            }
            Place::Leased { lease } => {
                let lease = *lease;
                self.lease_idle(lease, effects);
            }
            Place::Empty
            | Place::Starting
            | Place::Idle { .. }
            | Place::Retiring
            | Place::Doomed { .. }
            | Place::BackingOff { .. } => {}
        }
    }

    fn count(&self, test: impl Fn(&Place) -> bool) -> usize {
        self.slots.iter().filter(|slot| test(&slot.place)).count()
    }
}
