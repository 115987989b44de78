//! Small courses of events, and stories of a whole pool.
#![expect(clippy::wildcard_enum_match_arm, reason = "whatever was not expected fails the test")]

use std::time::{Duration, Instant};

use super::{Asked, Effect, Input, LeaseId, Pool, RecycleReason, Want, later};
use crate::{
    config::PoolConfig,
    error::SubmitError,
    outcome::{Death, DeathCause, Exit, Generation, LostCause},
    protocol::ExecutionId,
};

mod admit;
mod recycle;
mod renew;
mod restore;
mod save;
mod shared;
mod story;
mod tenants;

const SECOND: Duration = Duration::from_secs(1);

/// A pool, a clock, and what it asked for last.
struct Bench {
    pool: Pool,
    now: Instant,
    effects: Vec<Effect>,
    /// When the pool asked to be woken.
    alarm: Option<Instant>,
}

impl Bench {
    fn new(config: PoolConfig) -> Self {
        #[expect(clippy::disallowed_methods, reason = "some instant has to come first")]
        let now = Instant::now();
        Self { pool: Pool::new(config, now), now, effects: Vec::new(), alarm: None }
    }

    /// A pool of this size whose workers are all idle.
    fn idle(sessions: usize) -> Self {
        let mut config = PoolConfig::default();
        (config.max_sessions, config.min_idle) = (sessions, sessions);
        let mut bench = Self::new(config);
        bench.step(Input::Begin);
        for slot in 0..sessions {
            bench.step(Input::Ready { slot, generation: Generation(1) });
        }
        bench
    }

    fn step(&mut self, input: Input) -> &[Effect] {
        self.effects.clear();
        self.pool.step(input, self.now, 0.0, &mut self.effects);
        assert_eq!(self.pool.slots.wrong(), None);
        for effect in &self.effects {
            if let Effect::Tick(wait) = effect {
                self.alarm = Some(self.now + *wait);
            }
        }
        &self.effects
    }
}

fn id(number: u64) -> ExecutionId {
    ExecutionId(number)
}

impl Pool {
    /// How many places were touched since the last time.
    pub(crate) fn slots_touched(&self) -> usize {
        self.slots.touched()
    }
}

impl Bench {
    fn ready(&mut self, slot: usize, generation: u64) -> &[Effect] {
        self.step(Input::Ready { slot, generation: Generation(generation) })
    }
}

fn dead(slot: usize, generation: u64) -> Input {
    let death = Death::new(DeathCause::Itself, Exit::Signal(9));
    Input::Terminated { slot, generation: Generation(generation), death: Box::new(death) }
}

/// What happens, and what follows from each, on a pool of two idle sessions.
#[test]
fn requests_are_served_in_order_and_each_is_told_once() {
    let idle = |slot, execution| Input::Idle { slot, generation: Generation(1), execution: id(execution) };
    let assign = |slot, execution| Effect::Assign { slot, execution: id(execution) };
    let mut bench = Bench::idle(2);
    for (input, expected) in [
        (Input::Submit(id(1), Want::default()), vec![Effect::Accept(id(1)), assign(0, 1)]),
        (Input::Submit(id(2), Want::default()), vec![Effect::Accept(id(2)), assign(1, 2)]),
        (Input::Submit(id(3), Want::default()), vec![Effect::Accept(id(3))]),
        (Input::Submit(id(4), Want::default()), vec![Effect::Accept(id(4))]),
        (Input::Withdraw(id(3)), vec![Effect::Withdrawn(id(3))]),
        (Input::Withdraw(id(3)), vec![]),
        (Input::Withdraw(id(2)), vec![Effect::AlreadyAssigned { slot: 1, execution: id(2) }]),
        (Input::Withdraw(id(9)), vec![]),
        (idle(0, 1), vec![assign(0, 4)]),
        (idle(1, 2), vec![]),
        (idle(0, 4), vec![]),
    ] {
        let told = format!("{input:?}");
        assert_eq!(bench.step(input), expected, "{told}");
    }
}

/// What an operator sees is what is there.
#[test]
fn each_place_is_counted_as_what_it_is() {
    let mut bench = Bench::idle(4);
    let seen = |bench: &Bench| {
        let it = bench.pool.status();
        [it.idle, it.busy, it.leased, it.starting, it.retiring, it.backing_off, it.queued]
    };
    assert_eq!(seen(&bench), [4, 0, 0, 0, 0, 0, 0]);
    bench.step(Input::Submit(id(1), Want::default()));
    bench.step(Input::Lease(LeaseId(1), None));
    bench.step(Input::Lease(LeaseId(2), None));
    assert_eq!(seen(&bench), [1, 1, 2, 0, 0, 0, 0]);
    bench.step(Input::Release(LeaseId(1)));
    assert_eq!(seen(&bench), [1, 1, 1, 0, 1, 0, 0]);
    bench.step(dead(3, 1));
    assert_eq!(seen(&bench), [0, 1, 1, 1, 1, 0, 0]);
    bench.step(dead(3, 2));
    assert_eq!(seen(&bench), [0, 1, 1, 0, 1, 1, 0]);
    bench.step(Input::Submit(id(2), Want::default()));
    let lease = Some(LeaseId(2));
    for number in [3, 4] {
        bench.step(Input::Submit(id(number), Want { lease, ..Want::default() }));
    }
    assert_eq!(seen(&bench)[6], 2, "one for any session, and one behind what runs in its own");
}

/// Fault 12: the one that lost its worker comes first.
#[test]
fn who_lost_its_worker_is_served_before_those_that_wait() {
    let mut bench = Bench::idle(1);
    bench.step(Input::Submit(id(1), Want::default()));
    bench.step(Input::Submit(id(2), Want::default()));
    let start = Effect::Start { slot: 0, generation: Generation(2) };
    assert_eq!(bench.step(dead(0, 1)), [start]);
    bench.step(Input::Requeue { execution: id(1), lease: None, asked: Asked::default(), expects: None });
    let first = bench.step(Input::Ready { slot: 0, generation: Generation(2) });
    assert_eq!(first, [Effect::Assign { slot: 0, execution: id(1) }]);
}

/// A request that two sessions have had is where the second one is.
#[test]
fn the_end_of_the_first_worker_does_not_erase_the_place_in_the_second() {
    let mut bench = Bench::idle(2);
    bench.step(Input::Submit(id(1), Want::default()));
    bench.step(Input::Requeue { execution: id(1), lease: None, asked: Asked::default(), expects: None });
    assert_eq!(bench.pool.slot_of(id(1)), Some(1), "handed on");
    bench.step(dead(0, 1));
    let there = Effect::AlreadyAssigned { slot: 1, execution: id(1) };
    assert_eq!(bench.step(Input::Withdraw(id(1))), [there]);
}

/// A notice of an earlier worker of a slot is about nothing any more.
#[test]
fn a_notice_of_an_earlier_generation_changes_nothing() {
    let mut bench = Bench::idle(1);
    bench.step(dead(0, 1));
    let status = bench.pool.status();
    let generation = Generation(1);
    for stale in [
        Input::Ready { slot: 0, generation },
        Input::Idle { slot: 0, generation, execution: id(7) },
        Input::NotSpawned { slot: 0, generation, why: "late".into() },
        Input::Abandoned { slot: 0, generation, why: "late".into() },
        dead(0, 1),
    ] {
        let told = format!("{stale:?}");
        assert_eq!(bench.step(stale), [], "{told}");
        assert_eq!(bench.pool.status(), status, "{told}");
    }
}

/// P8, and the slot of a session that died before its worker: it is not free before that is reaped.
#[test]
fn an_abandoned_worker_counts_until_it_is_reaped() {
    let mut bench = Bench::idle(1);
    bench.step(Input::Submit(id(1), Want::default()));
    let abandoned = Input::Abandoned { slot: 0, generation: Generation(1), why: "its actor died".into() };
    assert_eq!(bench.step(abandoned), []);
    assert_eq!(bench.pool.slot_of(id(1)), None);
    assert_eq!(
        bench.step(Input::Requeue { execution: id(1), lease: None, asked: Asked::default(), expects: None }),
        []
    );
    assert_eq!(bench.step(dead(0, 1)), [Effect::Start { slot: 0, generation: Generation(2) }]);
}

/// A lease: granted, used, expired; and what it is not given.
#[test]
fn a_lease_has_its_session_for_itself_and_gives_it_back_to_nobody() {
    let mut bench = Bench::idle(1);
    let lease = LeaseId(1);
    assert_eq!(bench.step(Input::Lease(lease, None)), [Effect::Grant { lease, slot: 0 }]);
    assert_eq!(
        bench.step(Input::Submit(id(1), Want::default())),
        [Effect::Accept(id(1))],
        "the pool's own queue waits"
    );
    let run =
        [Effect::Accept(id(2)), Effect::DisarmLease(lease), Effect::Assign { slot: 0, execution: id(2) }];
    assert_eq!(bench.step(Input::Submit(id(2), Want { lease: Some(lease), ..Want::default() })), run);
    assert_eq!(bench.step(Input::LeaseExpired(lease)), [], "what runs is not idle");
    bench.step(Input::Submit(id(4), Want { lease: Some(lease), ..Want::default() }));
    assert_eq!(bench.pool.status().queued, 2, "one in the queue of the pool, one in that of the session");
    assert_eq!(bench.step(Input::Withdraw(id(4))), [Effect::Withdrawn(id(4))]);
    assert_eq!(bench.step(Input::Release(lease)), [], "what was submitted runs to its end");
    let refused = bench.step(Input::Submit(id(3), Want { lease: Some(lease), ..Want::default() }));
    assert!(matches!(refused, [Effect::Refuse(_, SubmitError::SessionEnded { .. })]), "{refused:?}");
    let over = Input::Idle { slot: 0, generation: Generation(1), execution: id(2) };
    let ended = Effect::LeaseEnded(lease, "it was released".into());
    assert_eq!(bench.step(over), [ended, Effect::DisarmLease(lease), Effect::Stop { slot: 0 }]);
    let start = Effect::Start { slot: 0, generation: Generation(2) };
    assert_eq!(bench.step(dead(0, 1)), [start], "its worker is replaced");
}

/// Row 7: another version cannot get better by trying again.
#[test]
fn a_worker_of_another_version_fails_the_pool_at_once() {
    let mut bench = Bench::idle(1);
    bench.step(Input::Submit(id(1), Want::default()));
    let cause = DeathCause::Version { expected: 1, got: 2 };
    let death = Box::new(Death::new(cause, Exit::Signal(9)));
    bench.step(dead(0, 1));
    bench.step(Input::Requeue { execution: id(1), lease: None, asked: Asked::default(), expects: None });
    let effects = bench.step(Input::Terminated { slot: 0, generation: Generation(2), death });
    assert!(
        matches!(effects, [Effect::Failed(_), Effect::Lose(_, LostCause::PoolFailed), ..]),
        "{effects:?}"
    );
    let refused = bench.step(Input::Submit(id(2), Want::default()));
    assert!(matches!(refused, [Effect::Refuse(_, SubmitError::PoolFailed { .. })]), "{refused:?}");
}

/// A wait that no clock can count ends, but behind the life of any pool.
#[test]
fn a_wait_without_end_is_longer_than_any_pool_lives() {
    let now = Bench::new(PoolConfig::default()).now;
    assert_eq!(later(now, SECOND), now + SECOND);
    let years = later(now, Duration::MAX).duration_since(now).as_secs() / (365 * 24 * 3_600);
    assert!((20..=1_000).contains(&years), "{years}");
}

/// P10: the shorter grace counts, what is left is killed, what cannot be killed is left.
#[test]
fn a_shutdown_ends_whatever_its_workers_do() {
    let mut bench = Bench::idle(2);
    bench.step(Input::Submit(id(1), Want::default()));
    let begins = bench.step(Input::Shutdown { grace: 10 * SECOND });
    assert_eq!(begins, [Effect::ArmShutdown(10 * SECOND), Effect::Stop { slot: 1 }]);
    assert_eq!(bench.step(Input::Shutdown { grace: 60 * SECOND }), [], "never longer");
    assert_eq!(bench.step(Input::Shutdown { grace: SECOND }), [Effect::ArmShutdown(SECOND)]);
    assert_eq!(bench.step(Input::ShutdownElapsed), [], "a wait that was replaced");
    bench.now += SECOND;
    let kill = |slot| Effect::Kill { slot, cause: DeathCause::ShuttingDown };
    let killed = bench.step(Input::ShutdownElapsed);
    assert!(matches!(killed[0], Effect::ArmShutdown(_)) && killed[1..] == [kill(0), kill(1)], "{killed:?}");
    assert_eq!(bench.step(dead(1, 1)), []);
    bench.now += SECOND;
    assert_eq!(bench.step(Input::ShutdownElapsed), [Effect::Desert { slot: 0 }, Effect::Stopped]);
    assert_eq!(bench.step(dead(0, 1)), []);
    assert_eq!(bench.step(Input::ShutdownElapsed), []);
}
