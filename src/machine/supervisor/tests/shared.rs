//! Pools whose workers have several executions at once.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{
    prelude::*,
    test_runner::{TestCaseError, TestCaseResult},
};

use super::{
    Asked, Bench, Effect, ExecutionId, Generation, Input, LeaseId, Pool, PoolConfig, SECOND, Want, dead, id,
};

impl Bench {
    /// A pool of shared workers that begins.
    fn shared(config: PoolConfig) -> Self {
        let mut bench = Self::new(config.clone());
        bench.pool = Pool::shared(config, bench.now);
        bench.step(Input::Begin);
        bench
    }

    fn assigned(&self) -> Vec<(usize, u64)> {
        let slots = self.effects.iter().filter_map(|effect| match effect {
            Effect::Assign { slot, execution } => Some((*slot, execution.get())),
            _other => None,
        });
        slots.collect()
    }

    fn starts(&self) -> usize {
        self.effects.iter().filter(|effect| matches!(effect, Effect::Start { .. })).count()
    }
}

fn config(max_sessions: usize, min_idle: usize, in_flight: usize) -> PoolConfig {
    PoolConfig { max_sessions, min_idle, in_flight, ..PoolConfig::default() }
}

fn done(slot: usize, number: u64) -> Input {
    Input::Idle { slot, generation: Generation(1), execution: id(number) }
}

/// F12, B10: another process is started when there is no room, and not before.
#[test]
fn a_worker_is_filled_before_another_one_is_started() {
    let mut bench = Bench::shared(config(3, 1, 2));
    bench.ready(0, 1);
    for number in 1..=2 {
        bench.step(Input::Submit(id(number), Want::default()));
        assert_eq!((bench.assigned(), bench.starts()), (vec![(0, number)], usize::from(number == 2)));
    }
    bench.step(Input::Submit(id(3), Want::default()));
    assert_eq!(
        (bench.assigned(), bench.starts()),
        (vec![], 1),
        "no room: it waits for one, and one is kept ready"
    );
    bench.ready(1, 1);
    assert_eq!(bench.assigned(), [(1, 3)]);
    bench.ready(2, 1);
    for (number, slot) in [(4, 2), (5, 1), (6, 2)] {
        bench.step(Input::Submit(id(number), Want::default()));
        assert_eq!(bench.assigned(), [(slot, number)], "an idle one first, and then where the fewest are");
    }
}

#[test]
fn a_lease_waits_for_a_whole_worker_and_is_not_overtaken() {
    let mut bench = Bench::shared(config(1, 1, 4));
    bench.ready(0, 1);
    bench.step(Input::Submit(id(1), Want::default()));
    bench.step(Input::Lease(LeaseId(7), None));
    bench.step(Input::Submit(id(2), Want::default()));
    assert_eq!(bench.assigned(), [], "there is room, but it is not its turn");
    let granted = Effect::Grant { lease: LeaseId(7), slot: 0 };
    assert!(bench.step(done(0, 1)).contains(&granted));
    bench.step(Input::Withdraw(id(2)));
    assert_eq!(bench.effects, [Effect::Withdrawn(id(2))]);
}

#[test]
fn a_worn_worker_takes_no_more_and_is_replaced_when_it_is_idle() {
    let mut worn = config(1, 1, 4);
    (worn.recycle.max_executions, worn.recycle.jitter) = (Some(1), 0.0);
    let mut bench = Bench::shared(worn);
    bench.ready(0, 1);
    for number in 1..=2 {
        bench.step(Input::Submit(id(number), Want::default()));
    }
    bench.step(done(0, 1));
    bench.step(Input::Submit(id(3), Want::default()));
    assert_eq!(bench.assigned(), []);
    assert!(bench.step(done(0, 2)).contains(&Effect::Stop { slot: 0 }));
}

#[derive(Clone, Copy, Debug)]
enum Beat {
    Submit,
    Lease,
    Release(u8),
    Withdraw(u8),
    Ready(u8),
    Done(u8),
    Dies(u8),
    Passes,
}

fn beat() -> impl Strategy<Value = Beat> {
    prop_oneof![
        10 => Just(Beat::Submit),
        2 => Just(Beat::Lease),
        2 => any::<u8>().prop_map(Beat::Release),
        2 => any::<u8>().prop_map(Beat::Withdraw),
        6 => any::<u8>().prop_map(Beat::Ready),
        8 => any::<u8>().prop_map(Beat::Done),
        1 => any::<u8>().prop_map(Beat::Dies),
        2 => Just(Beat::Passes),
    ]
}

#[derive(Clone, Debug, PartialEq)]
enum Does {
    Starts,
    Serves(BTreeSet<ExecutionId>),
    Leased(LeaseId),
    Ends,
}

/// What the rest of the system knows.
struct World {
    bench: Bench,
    config: PoolConfig,
    workers: BTreeMap<usize, (u64, Does)>,
    waiting: Vec<ExecutionId>,
    leasing: Vec<LeaseId>,
    leased: Vec<LeaseId>,
    last: u64,
}

fn pick<T: Clone>(number: u8, from: &[T]) -> Option<T> {
    from.get(usize::from(number) % from.len().max(1)).cloned()
}

impl World {
    fn new(config: PoolConfig) -> Result<Self, TestCaseError> {
        let bench = Bench::shared(config.clone());
        let (workers, waiting, leasing, leased) = (BTreeMap::new(), Vec::new(), Vec::new(), Vec::new());
        let mut world = Self { bench, config, workers, waiting, leasing, leased, last: 0 };
        world.perform()?;
        Ok(world)
    }

    fn beat(&mut self, beat: Beat) -> TestCaseResult {
        let slots = |does: fn(&Does) -> bool| -> Vec<usize> {
            self.workers.iter().filter(|(_, (_, it))| does(it)).map(|(slot, _)| *slot).collect()
        };
        let input = match beat {
            Beat::Submit => {
                self.last += 1;
                self.waiting.push(id(self.last));
                Some(Input::Submit(id(self.last), Want::default()))
            }
            Beat::Lease => {
                self.last += 1;
                self.leasing.push(LeaseId(self.last));
                Some(Input::Lease(LeaseId(self.last), None))
            }
            Beat::Release(number) => {
                let all = [self.leasing.clone(), self.leased.clone()].concat();
                let lease = pick(number, &all);
                self.leasing.retain(|waits| Some(*waits) != lease);
                self.leased.retain(|held| Some(*held) != lease);
                lease.map(Input::Release)
            }
            Beat::Withdraw(number) => pick(number, &self.waiting).map(Input::Withdraw),
            Beat::Ready(number) => pick(number, &slots(|does| *does == Does::Starts)).map(|slot| {
                let (generation, does) = self.workers.get_mut(&slot).expect("it was picked");
                *does = Does::Serves(BTreeSet::new());
                Input::Ready { slot, generation: Generation(*generation) }
            }),
            Beat::Done(number) => {
                let busy = slots(|does| matches!(does, Does::Serves(runs) if !runs.is_empty()));
                pick(number, &busy).and_then(|slot| match self.workers.get_mut(&slot) {
                    Some((generation, Does::Serves(runs))) => {
                        let generation = Generation(*generation);
                        let execution = pick(number, &runs.iter().copied().collect::<Vec<_>>())?;
                        runs.remove(&execution);
                        Some(Input::Idle { slot, generation, execution })
                    }
                    _other => None,
                })
            }
            Beat::Dies(number) => return self.dies(pick(number, &slots(|_| true))),
            Beat::Passes => {
                self.bench.now += 100 * SECOND;
                Some(Input::Tick)
            }
        };
        match input {
            Some(input) => self.play(input),
            None => Ok(()),
        }
    }

    /// What was in flight comes back, as if none of it had been sent.
    fn dies(&mut self, slot: Option<usize>) -> TestCaseResult {
        let Some((slot, (generation, does))) =
            slot.and_then(|slot| Some((slot, self.workers.remove(&slot)?)))
        else {
            return Ok(());
        };
        if let Does::Leased(lease) = does {
            self.leased.retain(|held| *held != lease);
        }
        self.play(dead(slot, generation))?;
        let runs = if let Does::Serves(runs) = does { runs } else { BTreeSet::new() };
        for execution in runs {
            self.waiting.push(execution);
            self.play(Input::Requeue { execution, lease: None, asked: Asked::default(), expects: None })?;
        }
        Ok(())
    }

    fn play(&mut self, input: Input) -> TestCaseResult {
        let told = format!("{input:?}");
        self.bench.step(input);
        self.perform().map_err(|error| TestCaseError::fail(format!("{told}: {error}")))
    }

    fn perform(&mut self) -> TestCaseResult {
        for effect in std::mem::take(&mut self.bench.effects) {
            match effect {
                Effect::Start { slot, generation } => {
                    prop_assert!(self.workers.len() < self.config.max_sessions, "too many workers");
                    let before = self.workers.insert(slot, (generation.0, Does::Starts));
                    prop_assert_eq!(before, None);
                }
                Effect::Assign { slot, execution } => {
                    let place = self.waiting.iter().position(|waits| *waits == execution);
                    prop_assert!(
                        place.map(|place| self.waiting.remove(place)).is_some(),
                        "{execution} waits"
                    );
                    let Some((_, Does::Serves(runs))) = self.workers.get_mut(&slot) else {
                        return Err(TestCaseError::fail("assigned to a worker that serves nobody"));
                    };
                    runs.insert(execution);
                    prop_assert!(runs.len() <= self.config.in_flight, "{} in flight", runs.len());
                }
                Effect::Grant { lease, slot } => {
                    let does = self.workers.get_mut(&slot).map(|(_, does)| does);
                    prop_assert_eq!(does.as_deref(), Some(&Does::Serves(BTreeSet::new())), "a whole worker");
                    *does.expect("seen above") = Does::Leased(lease);
                    self.leasing.retain(|waits| *waits != lease);
                    self.leased.push(lease);
                }
                Effect::Stop { slot } => {
                    let does = self.workers.get_mut(&slot).map(|(_, does)| does);
                    let busy = matches!(does.as_deref(), Some(Does::Serves(runs)) if !runs.is_empty());
                    prop_assert!(does.is_some() && !busy, "stopped in the middle of something");
                    *does.expect("seen above") = Does::Ends;
                }
                Effect::Withdrawn(execution) | Effect::Refuse(execution, _) | Effect::Lose(execution, _) => {
                    self.waiting.retain(|waits| *waits != execution);
                }
                Effect::Deny(lease, _) => self.leasing.retain(|waits| *waits != lease),
                _other => {}
            }
        }
        self.holds()
    }

    /// Nobody waits while there is room, but for the turn of a lease.
    fn holds(&self) -> TestCaseResult {
        let room = |does: &Does| matches!(does, Does::Serves(runs) if runs.len() < self.config.in_flight);
        let idle = |does: &Does| *does == Does::Serves(BTreeSet::new());
        let any = |test: &dyn Fn(&Does) -> bool| self.workers.values().any(|(_, does)| test(does));
        if any(&idle) {
            prop_assert!(
                self.waiting.is_empty() && self.leasing.is_empty(),
                "one waits beside an idle worker"
            );
        }
        prop_assert!(
            !any(&room) || self.waiting.is_empty() || !self.leasing.is_empty(),
            "one waits beside room"
        );
        let serving = self.workers.values().filter(|(_, does)| matches!(does, Does::Serves(_))).count();
        prop_assert_eq!(self.bench.pool.status().idle + self.bench.pool.status().busy, serving);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]
    /// E2, P16: never more than may be in flight, never one that waits beside room, never a lease of half a worker.
    #[test]
    fn shared_workers_are_filled_to_their_limit_and_leased_as_a_whole(
        (max_sessions, min_idle, in_flight) in (1_usize..4, 0_usize..3, 1_usize..5),
        beats in prop::collection::vec(beat(), 1..150),
    ) {
        let mut config = config(max_sessions, min_idle.min(max_sessions), in_flight);
        (config.restart.intensity, config.idle_timeout, config.start_rate) = (10_000, None, 10_000);
        let mut world = World::new(config)?;
        for beat in beats {
            world.beat(beat)?;
        }
    }
}
