//! Who gets which session, when workers are started, and when they are not.
//!
//! ```text
//! Empty ─> Starting ─> Idle ⇄ Busy                    BackingOff ─> Empty
//!                      Idle ─> Leased ─> Retiring ─> Empty
//!                              Leased ─> Empty, with an heir ─> Starting ─> Leased    its worker died, and it is restored
//!                      Idle ─> Retiring                           worn, or not needed
//! ```
//! A slot counts until its worker is reaped, so there are never more workers than `max_sessions`. No request waits
//! while a session is idle that may serve it, or that no other tenant waits for: that is checked after each step in the
//! tests.

use std::{
    collections::{HashMap, VecDeque},
    time::{Duration, Instant},
};

use crate::{
    config::PoolConfig,
    machine::{
        line::Line,
        pace::Pace,
        restart::{Restarts, Throttle},
        slot::{Place, Slot},
    },
    outcome::Generation,
    protocol::ExecutionId,
};

mod admit;
mod death;
mod fork;
mod io;
mod lease;
mod look;
mod renew;
mod restore;
mod save;
mod script;
mod serve;
mod stop;
mod tenants;
#[cfg(test)]
mod tests;

pub(crate) use crate::machine::{line::Asked, slot::LeaseId};
pub(crate) use io::{Chore, Effect, Input, Moment, Sort, Want, Wear};

/// The machine. `step` is total.
#[derive(Debug)]
pub(crate) struct Pool {
    config: PoolConfig,
    /// Executions that one worker may have at once.
    in_flight: usize,
    slots: Vec<Slot>,
    line: Line,
    /// Scripts that wait for a place of their own.
    scripts: Line,
    leases: HashMap<LeaseId, Lease>,
    /// Copies of sessions that have no slot yet.
    forks: VecDeque<(LeaseId, u64)>,
    placed: HashMap<ExecutionId, usize>,
    pace: Pace,
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
    left_over: u64,
    restored: u64,
    saved: u64,
    not_saved: u64,
}

/// Longer than any pool lives.
const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 24 * 3_600);

/// So long after `now`; what no clock can count is for ever.
fn later(now: Instant, after: Duration) -> Instant {
    now.checked_add(after).unwrap_or(now + FOR_EVER)
}

/// A lease that was granted.
#[derive(Debug)]
struct Lease {
    place: Held,
    /// The holder has gone; what was submitted still runs.
    leaving: bool,
    running: Option<(ExecutionId, Sort)>,
    line: VecDeque<Waiting>,
    /// Executions that its workers were given: what its state may owe something to.
    ran: u64,
    /// Of those, the ones that the last saved state knows of.
    covered: u64,
    /// Of those, the ones before its last restore, of which its holder was told what is lost.
    told: u64,
    saves: save::Saves,
    revivals: restore::Revivals,
}

/// An execution in the line of a leased session.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    execution: ExecutionId,
    sort: Sort,
    /// The generation that it may run in, if not any.
    expects: Option<Generation>,
    /// What it takes in memory.
    bytes: usize,
}

/// What the holder of a lease has.
#[derive(Debug)]
enum Held {
    Slot(usize),
    /// Its worker died of this, and the next one of the slot, which is not started before that moment, is for its state.
    Restoring {
        slot: usize,
        not_before: Instant,
        why: String,
    },
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
        let line = Line::new(config.tenant_weights.clone());
        let scripts = Line::new(config.tenant_weights.clone());
        Self {
            config,
            in_flight: 1,
            slots,
            line,
            scripts,
            leases: HashMap::new(),
            forks: VecDeque::new(),
            placed: HashMap::new(),
            pace: Pace::default(),
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
            left_over: 0,
            restored: 0,
            saved: 0,
            not_saved: 0,
        }
    }

    /// A pool whose workers have several executions at once.
    pub(crate) fn shared(config: PoolConfig, now: Instant) -> Self {
        Self { in_flight: config.in_flight, ..Self::new(config, now) }
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
            Input::Submit(execution, want) => match want.lease {
                None => self.submit(execution, want, now, effects),
                Some(lease) => self.submit_leased(execution, lease, &want, now, effects),
            },
            Input::Withdraw(execution) => self.withdraw(execution, effects),
            Input::Requeue { execution, lease: None, asked, .. } => self.requeue(execution, asked, effects),
            Input::Requeue { execution, lease: Some(lease), expects, .. } => {
                self.requeue_leased(execution, lease, expects, now, effects);
            }
            Input::Forget(execution) => self.forget(execution, effects),
            Input::Lease(lease, tenant) => self.lease(lease, tenant, now, effects),
            Input::Fork { of, lease } => self.fork(of, lease, effects),
            Input::Name(lease) => self.name(lease),
            Input::Release(lease) => self.release(lease, now, effects),
            Input::LeaseExpired(lease) => self.lease_expired(lease, now, effects),
            Input::Restored { lease, generation, fate } => {
                self.restored(lease, generation, fate, now, effects);
            }
            Input::Saved { lease, covers, chore } => self.saved(lease, covers, chore, now, effects),
            Input::Left { slot, generation } => self.left(slot, generation),
            Input::Strained { slot, generation } => self.strained(slot, generation),
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
                    self.abandoned(slot, why, now, jitter, effects);
                }
            }
            Input::Measured { slot, generation, memory } => self.measured(slot, generation, memory),
            Input::Reload => self.reload(),
            Input::Reset => self.reset(),
            Input::Tick => self.tick(now, effects),
            Input::Shutdown { grace } => self.shutdown(grace, now, effects),
            Input::ShutdownElapsed => self.shutdown_elapsed(now, effects),
        }
        self.keep(now, effects);
        self.renew(now, effects);
        self.serve_all(now, jitter, effects);
        self.branch(now, jitter, effects);
        self.serve_scripts(now, jitter, effects);
        self.replenish(now, jitter, effects);
        self.finish(effects);
        self.set_alarm(now, effects);
    }

    fn is_current(&self, slot: usize, generation: Generation) -> bool {
        self.slots.get(slot).is_some_and(|slot| slot.generation == generation && slot.has_worker())
    }

    fn ready(&mut self, slot: usize, generation: Generation, now: Instant, effects: &mut Vec<Effect>) {
        match self.slots.get(slot).map(|slot| &slot.place) {
            _ if !self.is_current(slot, generation) => return,
            Some(Place::Starting) => {}
            Some(Place::Branching { .. }) => return self.branched(slot, now, effects),
            Some(_) | None => return,
        }
        self.slots[slot].place = Place::Idle { since: now };
        self.trouble = None;
        self.canary(slot, Ok(()), effects);
        if let Some(lease) = self.slots[slot].heir.take() {
            self.regrant(slot, lease, effects);
        }
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
            Place::Busy { runs } => {
                if let Some(at) = runs.iter().position(|(id, ..)| *id == execution) {
                    self.pace.took(now.duration_since(runs.swap_remove(at).1));
                }
                if runs.is_empty() {
                    self.slots[slot].place = Place::Idle { since: now };
                    if self.stopping() {
                        self.retire(slot, effects);
                    } else if self.slots[slot].worker.left {
                        self.left_over += 1;
                        self.replace(slot, Wear::Left, effects);
                    }
                }
            }
            Place::Leased { lease } => {
                let lease = *lease;
                self.lease_idle(lease, now, effects);
            }
            Place::Empty
            | Place::Starting
            | Place::Branching { .. }
            | Place::Idle { .. }
            | Place::Script { .. }
            | Place::Retiring
            | Place::Doomed { .. }
            | Place::BackingOff { .. } => {}
        }
    }

    fn count(&self, test: impl Fn(&Place) -> bool) -> usize {
        self.slots.iter().filter(|slot| test(&slot.place)).count()
    }
}
