//! Stories of a pool: callers, workers and time do what they do, some of it late; after each beat the promises hold.

mod beat;
mod forks;
mod promises;
mod scripts;
mod tenants;
mod tending;
mod workers;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use proptest::{
    prelude::*,
    test_runner::{TestCaseError, TestCaseResult},
};

use self::{
    beat::{Beat, beat},
    tenants::Tenants,
    tending::Tending,
};
use super::{
    Bench, Effect, ExecutionId, Generation, Input, LeaseId, PoolConfig, RecycleReason, SECOND, Want, dead,
};
use crate::config::OnDeath;

/// What the story knows of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Starts,
    /// A copy is awaited, for this lease.
    Branches(LeaseId),
    Idles,
    Runs(ExecutionId),
    /// Is the process of this script.
    IsScript(ExecutionId),
    IsLeased(LeaseId, Option<ExecutionId>),
    /// Is for the state of this session, which is being brought back.
    Restores(LeaseId, Option<ExecutionId>),
    Ends,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Waits(Option<LeaseId>),
    /// On its way back into that queue.
    Returns(Option<LeaseId>),
    Placed(usize),
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Holds {
    Waits,
    Slot(usize),
    /// Its holder has gone, and what was submitted runs on.
    Left(usize),
    Ended,
}

struct Story {
    bench: Bench,
    config: PoolConfig,
    workers: BTreeMap<usize, (Generation, Does)>,
    fates: BTreeMap<ExecutionId, Fate>,
    scripts: BTreeSet<ExecutionId>,
    leases: BTreeMap<LeaseId, Holds>,
    tending: Tending,
    tenants: Tenants,
    last: u64,
    tick: Option<Instant>,
    end: Option<Instant>,
    started: bool,
    stopped: u32,
}

fn pick<T: Copy>(number: u8, from: impl Iterator<Item = T>) -> Option<T> {
    let from: Vec<T> = from.collect();
    from.get(usize::from(number) % from.len().max(1)).copied()
}

impl Story {
    fn new(config: PoolConfig) -> Result<Self, TestCaseError> {
        let mut story = Self {
            bench: Bench::new(config.clone()),
            config,
            workers: BTreeMap::new(),
            fates: BTreeMap::new(),
            scripts: BTreeSet::new(),
            leases: BTreeMap::new(),
            tending: Tending::default(),
            tenants: Tenants::default(),
            last: 0,
            tick: None,
            end: None,
            started: false,
            stopped: 0,
        };
        story.play(Input::Begin)?;
        Ok(story)
    }

    fn next_id(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// The worker of a slot that does this, if there is one.
    fn worker(&self, number: u8, does: impl Fn(&Does) -> bool) -> Option<(usize, Generation, Does)> {
        let workers = self.workers.iter().filter(|(_, (_, it))| does(it));
        pick(number, workers.map(|(slot, (generation, it))| (*slot, *generation, *it)))
    }

    fn beat(&mut self, beat: Beat) -> TestCaseResult {
        match beat {
            // The supervisor has ended: nobody listens.
            _ if self.stopped > 0 => Ok(()),
            Beat::Submit(number) => self.submit(number),
            Beat::SubmitScript => self.submit_script(),
            Beat::SubmitLeased(number, expects) => match pick(number, self.leases.keys().copied()) {
                Some(lease) => self.submit_leased(lease, expects),
                None => Ok(()),
            },
            Beat::Withdraw(number) => match pick(number, self.fates.keys().copied()) {
                Some(id) => self.play(Input::Withdraw(id)),
                None => Ok(()),
            },
            Beat::Forget(number) => self.forget(number),
            Beat::Lease(number) => self.lease(number),
            Beat::Fork(number) => self.fork(number),
            Beat::Release(number) => match pick(number, self.leases.keys().copied()) {
                Some(lease) => {
                    match self.leases.remove(&lease) {
                        Some(Holds::Slot(slot) | Holds::Left(slot)) => {
                            self.leases.insert(lease, Holds::Left(slot));
                        }
                        Some(Holds::Waits | Holds::Ended) | None => {}
                    }
                    self.play(Input::Release(lease))
                }
                None => Ok(()),
            },
            Beat::Expire(number) => match pick(number, self.leases.keys().copied()) {
                Some(lease) => self.play(Input::LeaseExpired(lease)),
                None => Ok(()),
            },
            Beat::Tends(number, well) => self.tends(number, well),
            Beat::Name(number) => match pick(number, self.leases.keys().copied()) {
                Some(lease) => self.play(Input::Name(lease)),
                None => Ok(()),
            },
            Beat::Reload => self.play(Input::Reload),
            Beat::Reset => self.play(Input::Reset),
            Beat::Passes(ms) => self.passes(Duration::from_millis(ms.into())),
            Beat::Shutdown => self.play(Input::Shutdown { grace: SECOND }),
            of_a_worker => self.worker_beat(of_a_worker),
        }
    }

    /// The actor of an execution is gone: it waits no more, or its worker is told to stop.
    fn forget(&mut self, number: u8) -> TestCaseResult {
        let open = self.fates.iter().filter(|(_, fate)| **fate != Fate::Over);
        let Some((id, fate)) = pick(number, open.map(|(id, fate)| (*id, *fate))) else { return Ok(()) };
        if matches!(fate, Fate::Waits(_) | Fate::Returns(_)) {
            self.fates.insert(id, Fate::Over);
        }
        self.play(Input::Forget(id))?;
        let cancels =
            |effect: &Effect| matches!(effect, Effect::Cancel { execution, .. } if *execution == id);
        let told = self.bench.effects.iter().any(cancels);
        prop_assert_eq!(told, matches!(fate, Fate::Placed(_)), "{} was {:?}", id, fate);
        Ok(())
    }

    fn passes(&mut self, time: Duration) -> TestCaseResult {
        self.bench.now += time;
        let now = self.bench.now;
        if self.tick.take_if(|due| *due <= now).is_some() {
            self.play(Input::Tick)?;
        }
        if self.end.take_if(|due| *due <= now).is_some() {
            self.play(Input::ShutdownElapsed)?;
        }
        Ok(())
    }

    fn play(&mut self, input: Input) -> TestCaseResult {
        let told = format!("{input:?}");
        self.bench.step(input);
        let effects = std::mem::take(&mut self.bench.effects);
        for effect in &effects {
            self.effect(effect)
                .map_err(|error| TestCaseError::fail(format!("{told}: {effect:?}: {error}")))?;
        }
        self.bench.effects = effects;
        self.holds().map_err(|error| TestCaseError::fail(format!("after {told}: {error}")))
    }

    fn effect(&mut self, effect: &Effect) -> TestCaseResult {
        match effect {
            Effect::Start { slot, generation } => self.starts(*slot, *generation)?,
            Effect::Launch { slot, generation, execution } => {
                self.launched(*slot, *generation, *execution)?;
            }
            Effect::Branch { slot, generation, lease } => self.branches(*slot, *generation, *lease)?,
            Effect::Assign { slot, execution } => {
                self.assigned(*slot, *execution)?;
                self.meets(*slot, *execution)?;
            }
            Effect::Withdrawn(id) | Effect::Lose(id, _) => {
                let before = self.fates.insert(*id, Fate::Over);
                prop_assert!(matches!(before, Some(Fate::Waits(_))), "{before:?}");
            }
            Effect::AlreadyAssigned { slot, execution } => {
                prop_assert_eq!(self.fates.get(execution), Some(&Fate::Placed(*slot)));
            }
            Effect::Refuse(id, _) => drop(self.fates.remove(id)),
            Effect::Grant { lease, slot } => {
                let does = self.workers.get_mut(slot).map(|(_, does)| does);
                prop_assert_eq!(does.as_deref(), Some(&Does::Idles), "only an idle session is leased");
                *does.expect("seen above") = Does::IsLeased(*lease, None);
                prop_assert_eq!(self.leases.insert(*lease, Holds::Slot(*slot)), Some(Holds::Waits));
                self.tending.granted(*lease, self.workers[slot].0);
                self.moves_in(*slot, *lease)?;
            }
            Effect::Deny(lease, _) => prop_assert_eq!(self.leases.remove(lease), Some(Holds::Waits)),
            Effect::LeaseEnded(lease, _) => match self.leases.remove(lease) {
                Some(Holds::Slot(_)) => drop(self.leases.insert(*lease, Holds::Ended)),
                Some(Holds::Left(_)) => {}
                before => prop_assert!(false, "{before:?}"),
            },
            Effect::Regrant { lease, slot } => self.regranted(*lease, *slot)?,
            Effect::Announce { lease, .. } => self.announced(*lease)?,
            Effect::Tend(lease, state_job) => self.tending.asked(*lease, state_job.clone()),
            Effect::Stop { slot } => {
                let worker = self.workers.get_mut(slot).map(|(_, does)| does);
                let free = matches!(
                    worker,
                    Some(Does::Idles | Does::Starts | Does::IsLeased(_, None) | Does::Restores(_, None))
                );
                prop_assert!(free, "stopped in the middle of something: {worker:?}");
                *worker.expect("seen above") = Does::Ends;
            }
            // Its session says of what it ran that it is lost.
            Effect::Desert { slot } => {
                if let Some((_, does)) = self.workers.remove(slot) {
                    self.loses(does, true);
                }
            }
            Effect::Kill { slot, .. } => self.killed(*slot)?,
            Effect::Tick(wait) => self.tick = Some(self.bench.now + *wait),
            Effect::ArmShutdown(wait) => self.end = Some(self.bench.now + *wait),
            Effect::Stopped => self.stopped += 1,
            Effect::Accept(_)
            | Effect::Cancel { .. }
            | Effect::ArmLease(..)
            | Effect::DisarmLease(_)
            | Effect::Failed(_)
            | Effect::Recovered
            | Effect::Reloaded(_) => {}
            Effect::Renewed { slot, reason } => self.makes_way(*slot, *reason)?,
            Effect::Started => self.started = true,
        }
        Ok(())
    }

    fn starts(&mut self, slot: usize, generation: Generation) -> TestCaseResult {
        let ceiling = self.config.max_sessions + self.config.surge;
        prop_assert!(self.end.is_none() && self.workers.len() < ceiling, "too many workers");
        let starting = self.workers.values().filter(|(_, does)| *does == Does::Starts).count();
        prop_assert!(starting < self.config.max_starting, "{} start at once", starting + 1);
        let before = self.workers.insert(slot, (generation, Does::Starts));
        prop_assert_eq!(before, None, "a slot has one worker");
        self.tenants.begins(slot);
        Ok(())
    }

    /// No assignment but to a session that is free, of what waits, and waits for that session.
    fn assigned(&mut self, slot: usize, id: ExecutionId) -> TestCaseResult {
        let before = self.fates.insert(id, Fate::Placed(slot));
        let restores = self.tending.restores(id);
        let Some((generation, does)) = self.workers.get_mut(&slot) else {
            return Err(TestCaseError::fail("there is no worker"));
        };
        prop_assert!(self.tending.may_run(id, *generation), "{id} is not for generation {generation}");
        *does = match (*does, before) {
            (Does::Idles, Some(Fate::Waits(None))) if !self.scripts.contains(&id) => Does::Runs(id),
            (Does::Restores(lease, None), Some(Fate::Waits(Some(own)))) if lease == own && restores => {
                Does::Restores(lease, Some(id))
            }
            (Does::IsLeased(lease, None), Some(Fate::Waits(Some(own)))) if lease == own && !restores => {
                Does::IsLeased(lease, Some(id))
            }
            (does, before) => {
                return Err(TestCaseError::fail(format!("{before:?} to a worker that {does:?}")));
            }
        };
        Ok(())
    }
}

/// How many stories are told: `OSTLER_STORIES`, or 2,000.
fn stories() -> u32 {
    std::env::var("OSTLER_STORIES").ok().and_then(|count| count.parse().ok()).unwrap_or(2_000)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: stories(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_every_story_all_are_served_or_told(
        (max_sessions, min_idle, queue, line) in (1_usize..5, 0_usize..5, 0_usize..6, 0_usize..3),
        (surge, max_starting, max_executions) in (0_usize..3, 1_usize..4, prop::option::of(1_u32..4)),
        (forgiving, restores) in any::<(bool, bool)>(),
        share_workers in prop::bool::weighted(0.2),
        (save_every, save_interval) in (prop::option::of(1_u32..4), prop::option::of(1_u32..6)),
        beats in prop::collection::vec(beat(), 1..120),
        shutdown in prop::option::of(0_usize..120),
    ) {
        let mut config = PoolConfig::default();
        (config.max_sessions, config.min_idle) = (max_sessions, min_idle.min(max_sessions));
        (config.queue, config.session_queue) = (queue, line);
        config.share_workers = share_workers;
        config.session_timeout = Some(SECOND);
        (config.surge, config.max_starting, config.start_rate) = (surge, max_starting, 1_000);
        config.recycle.max_executions = max_executions;
        (config.recycle.max_age, config.recycle.max_memory) = (Some(30 * SECOND), Some(200));
        config.idle_timeout = Some(5 * SECOND);
        if restores {
            config.on_death = OnDeath::Restore;
        }
        (config.save_every, config.save_interval) = (save_every, save_interval.map(|times| times * SECOND));
        if forgiving {
            config.restart.intensity = 1_000;
        }
        let mut story = Story::new(config)?;
        for (nth, beat) in beats.into_iter().enumerate() {
            story.beat(beat)?;
            if shutdown == Some(nth) {
                story.beat(Beat::Shutdown)?;
            }
        }
        story.end()?;
    }
}
