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
        queue::Queue,
        restart::{Restarts, Throttle},
        slot::Place,
        slots::Slots,
        wait_estimate::WaitEstimate,
    },
    outcome::Generation,
    protocol::ExecutionId,
};

mod admit;
mod death;
mod fork;
mod io;
mod lease;
mod leases;
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

pub(crate) use crate::machine::{queue::Asked, slot::LeaseId};
use leases::{Held, Lease, Leases, Waiting};

pub(crate) use io::{Effect, Input, Moment, RecycleReason, Sort, StateJob, Want};

/// The machine. `step` is total.
#[derive(Debug)]
pub(crate) struct Pool {
    config: PoolConfig,
    /// Executions that one worker may have at once.
    in_flight: usize,
    slots: Slots,
    queue: Queue,
    /// Scripts that wait for a place of their own.
    scripts: Queue,
    leases: Leases,
    /// Copies of sessions that have no slot yet.
    forks: VecDeque<(LeaseId, u64)>,
    placed: HashMap<ExecutionId, usize>,
    wait_estimate: WaitEstimate,
    restarts: Restarts,
    throttle: Throttle,
    life: Life,
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
        Self::with(config, 1, now)
    }

    /// A pool whose workers have several executions at once.
    pub(crate) fn shared(config: PoolConfig, now: Instant) -> Self {
        let in_flight = config.in_flight;
        Self::with(config, in_flight, now)
    }

    fn with(config: PoolConfig, in_flight: usize, now: Instant) -> Self {
        let slots = Slots::new(&config, in_flight, now);
        let restarts = Restarts::new(config.restart.clone());
        let throttle = Throttle::new(config.start_rate);
        let queue = Queue::new(config.tenant_weights.clone());
        let scripts = Queue::new(config.tenant_weights.clone());
        Self {
            config,
            in_flight,
            slots,
            queue,
            scripts,
            leases: Leases::default(),
            forks: VecDeque::new(),
            placed: HashMap::new(),
            wait_estimate: WaitEstimate::default(),
            restarts,
            throttle,
            life: Life::Beginning,
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

    /// Takes one input and says what is to be done. `jitter` is in 0..=1.
    pub(crate) fn step(&mut self, input: Input, now: Instant, jitter: f64, effects: &mut Vec<Effect>) {
        self.slots.advance(now);
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
            Input::Saved { lease, covers, state_job } => self.saved(lease, covers, state_job, now, effects),
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
        self.slots.put(slot, Place::Idle { since: now });
        self.trouble = None;
        self.canary(slot, Ok(()), effects);
        let heir = self.slots.edit(slot).heir.take();
        if let Some(lease) = heir {
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
        let mut place = self.slots.edit(slot);
        place.worker.served = place.worker.served.saturating_add(1);
        match &mut place.place {
            Place::Busy { runs } => {
                if let Some(at) = runs.iter().position(|(id, ..)| *id == execution) {
                    self.wait_estimate.took(now.duration_since(runs.swap_remove(at).1));
                }
                if runs.is_empty() {
                    place.place = Place::Idle { since: now };
                    let left = place.worker.left;
                    drop(place);
                    if self.stopping() {
                        self.retire(slot, effects);
                    } else if left {
                        self.left_over += 1;
                        self.replace(slot, RecycleReason::Left, effects);
                    }
                }
            }
            Place::Leased { lease } => {
                let lease = *lease;
                drop(place);
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
}
