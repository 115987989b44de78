//! Leased sessions whose workers die: what starts, when, and for whom.

use std::time::Duration;

use super::{Asked, Bench, Effect, Generation, Input, LeaseId, PoolConfig, Want, dead, id};
use crate::{
    config::OnDeath,
    machine::supervisor::{Sort, StateJob},
    outcome::LostCause,
};

const LEASE: LeaseId = LeaseId(1);

type Change<T> = fn(&mut T);

/// A pool of one session, which is leased.
fn leased() -> Bench {
    let mut config = PoolConfig::default();
    (config.max_sessions, config.min_idle, config.on_death) = (1, 1, OnDeath::Restore);
    let mut bench = Bench::new(config);
    bench.step(Input::Begin);
    bench.ready(0, 1);
    assert_eq!(bench.step(Input::Lease(LEASE, None)), [Effect::Grant { lease: LEASE, slot: 0 }]);
    bench
}

fn start(generation: u64) -> Effect {
    Effect::Start { slot: 0, generation: Generation(generation) }
}

fn restores(generation: u64) -> Want {
    let expects = Some(Generation(generation));
    Want { lease: Some(LEASE), sort: Sort::Restore, state_job: true, expects, ..Want::default() }
}

/// The place of a session that waits out its back-off is nobody else's, and it comes when its time has.
#[test]
fn a_place_that_is_inherited_is_given_to_nobody_and_not_before_its_time() {
    let mut bench = leased();
    let gone = |effect| [Effect::DisarmLease(LEASE), effect];
    assert_eq!(bench.step(dead(0, 1)), gone(start(2)));
    let [Effect::Regrant { lease: LEASE, slot: 0 }, Effect::Tend(LEASE, state_job)] = bench.ready(0, 2)
    else {
        panic!("{:?}", bench.effects)
    };
    assert!(matches!(state_job, StateJob::Restore { generation: Generation(2), .. }), "{state_job:?}");
    assert_eq!(
        bench.step(Input::Submit(id(10), restores(2))),
        [Effect::Accept(id(10)), Effect::DisarmLease(LEASE), Effect::Assign { slot: 0, execution: id(10) }]
    );
    let wait = Duration::from_millis(100);
    assert_eq!(
        bench.step(dead(0, 2)),
        gone(Effect::Tick(wait)),
        "the second in a row, and it died of the state"
    );
    assert_eq!(bench.step(Input::Submit(id(1), Want::default())), [Effect::Accept(id(1))], "others wait");
    assert_eq!(bench.pool.status().leased, 1);
    bench.now += wait;
    assert_eq!(bench.step(Input::Tick), [start(3)]);
}

/// What comes for a worker that is gone is refused, and what is told of it is not heard: what it cost is told with the
/// restore that counts.
#[test]
fn what_is_of_an_earlier_worker_changes_nothing() {
    let restored =
        |generation| Input::Restored { lease: LEASE, generation: Generation(generation), fate: Ok(1) };
    let mut bench = leased();
    for number in 1..=3 {
        let mine = Want { lease: Some(LEASE), ..Want::default() };
        bench.step(Input::Submit(id(number), mine));
        bench.step(Input::Idle { slot: 0, generation: Generation(1), execution: id(number) });
    }
    bench.step(dead(0, 1));
    bench.ready(0, 2);
    bench.step(dead(0, 2));
    bench.now += Duration::from_secs(1);
    bench.step(Input::Tick);
    bench.ready(0, 3);
    assert_eq!(bench.step(restored(2)), []);
    let refused = bench.step(Input::Submit(id(10), restores(2)));
    assert!(matches!(refused, [Effect::Refuse(_, _)]), "{refused:?}");
    assert_eq!(bench.step(restored(3)), [Effect::Announce { lease: LEASE, unsaved: 2 }]);
    // The same state once more: what was told to be lost is not told again.
    bench.step(dead(0, 3));
    bench.now += Duration::from_secs(1);
    bench.step(Input::Tick);
    bench.ready(0, 4);
    assert_eq!(bench.step(restored(4)), [Effect::Announce { lease: LEASE, unsaved: 0 }]);
}

/// Fault 12: what a dying worker did not start goes first in the next one, and is not among what is lost.
#[test]
fn f12_code_that_a_worker_did_not_start_waits_for_the_next_one() {
    let mine = || Want { lease: Some(LEASE), ..Want::default() };
    let mut bench = leased();
    for number in 1..=3 {
        bench.step(Input::Submit(id(number), mine()));
    }
    bench.step(Input::Idle { slot: 0, generation: Generation(1), execution: id(1) });
    bench.step(dead(0, 1));
    let back =
        |execution| Input::Requeue { execution, lease: Some(LEASE), asked: Asked::default(), expects: None };
    assert_eq!(bench.step(back(id(2))), []);
    bench.ready(0, 2);
    let restored = Input::Restored { lease: LEASE, generation: Generation(2), fate: Ok(0) };
    let next = Effect::Assign { slot: 0, execution: id(2) };
    assert_eq!(
        bench.step(restored),
        [Effect::Announce { lease: LEASE, unsaved: 1 }, Effect::DisarmLease(LEASE), next]
    );
    bench.step(Input::Release(LEASE));
    bench.step(Input::Shutdown { grace: Duration::ZERO });
    bench.step(dead(0, 2));
    assert_eq!(bench.step(back(id(2)))[0], Effect::Lose(id(2), LostCause::SessionEnded), "there is none");
}

/// It may come back when the session is long restored, and idle: nothing else would wake it then.
#[test]
fn f12_code_that_comes_back_late_runs_at_once() {
    let mut bench = leased();
    bench.step(Input::Submit(id(1), Want { lease: Some(LEASE), ..Want::default() }));
    bench.step(dead(0, 1));
    bench.ready(0, 2);
    bench.step(Input::Restored { lease: LEASE, generation: Generation(2), fate: Ok(0) });
    let late =
        Input::Requeue { execution: id(1), lease: Some(LEASE), asked: Asked::default(), expects: None };
    assert_eq!(bench.step(late), [Effect::DisarmLease(LEASE), Effect::Assign { slot: 0, execution: id(1) }]);
}

/// Late, again: what was told to be lost stays told, and what it ran since then is lost with the next worker.
#[test]
fn f12_code_that_comes_back_late_takes_nothing_from_what_was_told() {
    let restored =
        |generation| Input::Restored { lease: LEASE, generation: Generation(generation), fate: Ok(0) };
    let mut bench = leased();
    for number in 1..=2 {
        bench.step(Input::Submit(id(number), Want { lease: Some(LEASE), ..Want::default() }));
        if number == 1 {
            bench.step(Input::Idle { slot: 0, generation: Generation(1), execution: id(1) });
        }
    }
    bench.step(dead(0, 1));
    bench.ready(0, 2);
    assert_eq!(bench.step(restored(2))[0], Effect::Announce { lease: LEASE, unsaved: 2 });
    bench.step(Input::Requeue {
        execution: id(2),
        lease: Some(LEASE),
        asked: Asked::default(),
        expects: None,
    });
    bench.step(Input::Idle { slot: 0, generation: Generation(2), execution: id(2) });
    bench.step(dead(0, 2));
    bench.ready(0, 3);
    assert_eq!(bench.step(restored(3))[0], Effect::Announce { lease: LEASE, unsaved: 1 });
}

/// Nobody could use it.
#[test]
fn a_session_whose_holder_has_gone_is_restored_for_what_still_waits_only() {
    for waits in [false, true] {
        let mut bench = leased();
        for number in 1..=1 + u64::from(waits) {
            bench.step(Input::Submit(id(number), Want { lease: Some(LEASE), ..Want::default() }));
        }
        bench.step(Input::Release(LEASE));
        let effects = bench.step(dead(0, 1));
        let over = effects.iter().any(|effect| matches!(effect, Effect::LeaseEnded(LEASE, _)));
        assert_eq!(over, !waits, "{effects:?}");
    }
}

/// A pool that has failed starts no workers, so it says so at once.
#[test]
fn a_session_is_not_promised_a_restore_by_a_pool_that_has_failed() {
    let mut config = PoolConfig::default();
    (config.max_sessions, config.min_idle, config.on_death) = (2, 2, OnDeath::Restore);
    let mut bench = Bench::new(config);
    bench.step(Input::Begin);
    bench.ready(0, 1);
    bench.ready(1, 1);
    bench.step(Input::Lease(LEASE, None));
    let cause = crate::outcome::DeathCause::Version { expected: 1, got: 2 };
    let death = Box::new(crate::outcome::Death::new(cause, crate::outcome::Exit::Code(64)));
    bench.step(Input::Terminated { slot: 1, generation: Generation(1), death });
    let effects = bench.step(dead(0, 1));
    assert!(
        matches!(effects, [Effect::LeaseEnded(LEASE, why), ..] if why.contains("the pool starts no workers now")),
        "{effects:?}"
    );
}

/// One that dies while it is idle, or of its state, counts; until code was answered, or it lived for long.
#[test]
fn workers_of_a_session_that_die_in_a_row_are_waited_for_longer_and_longer() {
    let restored =
        |generation| Input::Restored { lease: LEASE, generation: Generation(generation), fate: Ok(0) };
    let long = Duration::from_secs(3_600);
    // What happens between the first death and the second, and whether the second is one in a row.
    let between: [(Change<Bench>, bool); 4] = [
        (|_| {}, true),
        (
            |bench| {
                bench.step(Input::Submit(id(1), Want { lease: Some(LEASE), ..Want::default() }));
                bench.step(Input::Idle { slot: 0, generation: Generation(2), execution: id(1) });
            },
            false,
        ),
        // A save is no code.
        (
            |bench| {
                let save = Want { lease: Some(LEASE), sort: Sort::Save, state_job: true, ..Want::default() };
                bench.step(Input::Submit(id(1), save));
                bench.step(Input::Idle { slot: 0, generation: Generation(2), execution: id(1) });
            },
            true,
        ),
        (|bench| bench.now += Duration::from_secs(3_600), false),
    ];
    for (number, (between, in_a_row)) in between.into_iter().enumerate() {
        let mut bench = leased();
        bench.step(dead(0, 1));
        bench.ready(0, 2);
        bench.step(restored(2));
        between(&mut bench);
        let effects = bench.step(dead(0, 2));
        assert_eq!(!effects.contains(&start(3)), in_a_row, "{number}: {effects:?}");
    }
    // It takes an hour to restore, and dies of it.
    let mut bench = leased();
    bench.step(dead(0, 1));
    bench.ready(0, 2);
    bench.now += long;
    let effects = bench.step(dead(0, 2));
    assert!(!effects.contains(&start(3)), "it never lived: {effects:?}");
}

#[test]
fn restores_start_no_more_workers_at_once_than_others_do() {
    let limits: [(Change<PoolConfig>, bool); 3] =
        [(|config| config.max_starting = 1, true), (|config| config.start_rate = 1, true), (|_| {}, false)];
    for (number, (limit, limited)) in limits.into_iter().enumerate() {
        let mut config = PoolConfig::default();
        (config.max_sessions, config.min_idle, config.on_death) = (2, 2, OnDeath::Restore);
        (config.max_starting, config.start_rate) = (2, 100);
        limit(&mut config);
        let mut bench = Bench::new(config);
        bench.step(Input::Begin);
        for slot in 0..2 {
            bench.ready(slot, 1);
            bench.now += Duration::from_secs(1);
            bench.step(Input::Tick);
        }
        bench.ready(1, 1);
        bench.now += Duration::from_secs(1);
        for number in 1..=2 {
            let effects = bench.step(Input::Lease(LeaseId(number), None));
            assert!(matches!(effects, [Effect::Grant { .. }]), "{effects:?}");
        }
        let starts = |effects: &[Effect]| {
            effects.iter().filter(|effect| matches!(effect, Effect::Start { .. })).count()
        };
        assert_eq!(starts(bench.step(dead(0, 1))), 1);
        assert_eq!(starts(bench.step(dead(1, 1))), usize::from(!limited), "{number}");
        if limited {
            bench.now += Duration::from_secs(1);
            assert_eq!(starts(bench.ready(0, 2)), 1, "{number}: its turn comes");
        }
    }
}

/// Only the worker that is there can have been given the state.
#[test]
fn a_session_is_not_restored_before_its_worker_is_ready() {
    let mut bench = leased();
    bench.step(dead(0, 1));
    let restored = || Input::Restored { lease: LEASE, generation: Generation(2), fate: Ok(0) };
    assert_eq!(bench.step(restored()), []);
    bench.ready(0, 2);
    assert_eq!(bench.step(restored()), [Effect::Announce { lease: LEASE, unsaved: 0 }]);
    assert_eq!(bench.step(restored()), [], "once");
}
