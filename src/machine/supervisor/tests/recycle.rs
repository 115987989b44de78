//! Jitter, and what is remembered of workers and of their ends, and for how long.

use super::{
    Bench, Effect, Generation, Input, LeaseId, PoolConfig, SECOND, Want, dead, id,
    renew::{config, idle},
};
use crate::error::SubmitError;

/// Three idle workers whose parts of the jitter are 0.62, 0.24 and 0.85, and a jitter of a half.
fn three(change: impl FnOnce(&mut PoolConfig)) -> Bench {
    let mut config = config(3);
    (config.recycle.jitter, config.idle_timeout, config.max_starting) = (0.5, None, 3);
    change(&mut config);
    idle(config)
}

/// Fault 68: workers of one age do not end together.
#[test]
fn chance_takes_its_part_of_each_limit() {
    let mut bench = three(|config| config.recycle.max_age = Some(100 * SECOND));
    assert_eq!(bench.passes(57 * SECOND), [""; 0]);
    assert_eq!(bench.passes(SECOND), ["Age", "stop 2"]);
    bench.step(dead(2, 1));
    bench.ready(2, 2);
    assert_eq!(bench.passes(11 * SECOND), [""; 0]);
    assert_eq!(bench.passes(SECOND), ["Age", "stop 0"]);

    let mut bench = three(|config| config.recycle.max_executions = Some(10));
    for number in 1..=6 {
        bench.serve(0, 1, number);
        assert_eq!(bench.moves(), [""; 0], "after {number}");
    }
    bench.serve(0, 1, 7);
    assert_eq!(bench.moves(), ["Executions", "stop 0"]);

    let mut bench = three(|config| config.recycle.max_memory = Some(100));
    for (memory, moves) in [(69, vec![]), (70, vec!["Memory", "stop 0"])] {
        bench.step(Input::Measured { slot: 0, generation: Generation(1), memory });
        assert_eq!(bench.moves(), moves, "{memory} bytes");
    }
}

#[test]
fn a_worker_that_gave_its_memory_back_may_stay() {
    let mut config = config(1);
    config.recycle.max_memory = Some(100);
    let mut bench = idle(config);
    bench.step(Input::Submit(id(1), Want::default()));
    for memory in [100, 50] {
        bench.step(Input::Measured { slot: 0, generation: Generation(1), memory });
        assert_eq!(bench.moves(), [""; 0], "it runs something");
    }
    bench.step(Input::Idle { slot: 0, generation: Generation(1), execution: id(1) });
    assert_eq!(bench.moves(), [""; 0]);
}

/// Unused is who runs nothing, and not who ran something for long.
#[test]
fn the_time_that_nobody_uses_a_session_begins_when_it_is_free() {
    let mut config = config(2);
    (config.min_idle, config.idle_timeout) = (0, Some(10 * SECOND));
    let mut bench = idle(config);
    bench.step(Input::Submit(id(1), Want::default()));
    bench.ready(0, 1);
    assert_eq!(bench.passes(20 * SECOND), [""; 0]);
    bench.step(Input::Idle { slot: 0, generation: Generation(1), execution: id(1) });
    assert_eq!(bench.moves(), [""; 0]);
    assert_eq!(bench.passes(9 * SECOND), [""; 0]);
    assert_eq!(bench.passes(SECOND), ["Unused", "stop 0"]);
}

/// A pool that gives up at the second death within a minute.
fn brittle() -> Bench {
    let mut config = config(2);
    config.restart.intensity = 1;
    idle(config)
}

/// Two in a row, one after another, are one too many …
#[test]
fn deaths_in_a_row_fail_the_pool_and_an_answer_in_between_clears_the_count() {
    let mut bench = brittle();
    bench.step(dead(0, 1));
    assert_eq!(bench.moves(), ["start 0.2"]);
    bench.ready(0, 2);
    bench.step(dead(0, 2));
    assert_eq!(bench.moves(), ["failed"]);
    // … unless somebody answered meanwhile.
    let mut bench = brittle();
    bench.step(dead(0, 1));
    bench.serve(1, 1, 1);
    bench.ready(0, 2);
    bench.step(dead(0, 2));
    assert_eq!(bench.moves(), ["start 0.3"]);
}

#[test]
fn a_pool_that_recovered_has_forgotten_its_deaths() {
    let mut bench = brittle();
    bench.step(dead(0, 1));
    bench.ready(0, 2);
    bench.step(dead(0, 2));
    assert_eq!(bench.moves(), ["failed"]);
    assert_eq!(bench.passes(60 * SECOND), ["start 0.3"]);
    // Long ago, but within the window of a minute.
    bench.ready(0, 3);
    assert_eq!(bench.moves(), ["recovered"]);
    bench.step(dead(0, 3));
    assert_eq!(bench.moves(), ["start 0.4"]);
}

/// A worker that served says that workers can live: its place is filled at once, though others died.
#[test]
fn the_place_of_a_worker_that_served_is_filled_at_once() {
    let mut config = config(2);
    config.restart.intensity = 100;
    let mut bench = idle(config);
    bench.serve(0, 1, 1);
    for generation in 1..=3 {
        bench.step(dead(1, generation));
        bench.passes(SECOND);
        bench.ready(1, generation + 1);
    }
    bench.step(dead(0, 1));
    assert_eq!(bench.moves(), ["start 0.2"]);
}

#[test]
fn a_reset_starts_at_once_what_waits_to_be_started() {
    let mut config = config(1);
    config.restart.intensity = 100;
    let mut bench = idle(config);
    for generation in 1..=3 {
        bench.step(dead(0, generation));
        if generation < 3 {
            bench.passes(SECOND);
            bench.ready(0, generation + 1);
        }
    }
    assert_eq!(bench.pool.status().backing_off, 1);
    bench.step(Input::Reset);
    assert_eq!(bench.moves(), ["start 0.4"]);
}

#[test]
fn the_end_of_a_worker_is_told_with_its_place_and_the_trouble_until_one_is_ready() {
    let mut bench = idle(config(1));
    let last = |bench: &Bench| bench.pool.slots().next().and_then(|(_, slot)| slot.last_death.clone());
    assert_eq!(last(&bench), None);
    bench.step(dead(0, 1));
    assert!(last(&bench).is_some_and(|told| told.contains("SIGKILL")));
    bench.step(Input::NotSpawned { slot: 0, generation: Generation(2), why: "no memory".into() });
    assert_eq!(bench.pool.status().trouble.as_deref(), Some("no memory"));
    bench.passes(SECOND);
    bench.ready(0, 3);
    assert_eq!(bench.pool.status().trouble, None);
    assert_eq!(last(&bench).as_deref(), Some("no memory"));
}

/// Who waits for a session when the pool fails, or ends, is told.
#[test]
fn whoever_waits_to_lease_is_turned_away_with_the_reason() {
    for ends in [false, true] {
        let mut config = config(1);
        config.restart.intensity = 0;
        let mut bench = idle(config);
        bench.step(Input::Lease(LeaseId(1), None));
        bench.step(Input::Lease(LeaseId(2), None));
        let told = match ends {
            true => bench.step(Input::Shutdown { grace: SECOND }),
            false => bench.step(dead(0, 1)),
        };
        let denied = told.iter().find_map(|effect| match effect {
            Effect::Deny(LeaseId(2), error) => Some(error),
            _other => None,
        });
        assert!(
            matches!(
                (ends, denied),
                (true, Some(SubmitError::ShuttingDown)) | (false, Some(SubmitError::PoolFailed { .. }))
            ),
            "{told:?}"
        );
    }
}

/// A session that is leased serves nobody else: those who wait share the rest.
#[test]
fn leased_sessions_do_not_count_where_waiting_is_predicted() {
    let mut bench = idle(config(2));
    for number in 1..=10 {
        bench.step(Input::Submit(id(number), Want::default()));
        bench.now += SECOND;
        bench.step(Input::Idle { slot: 0, generation: Generation(1), execution: id(number) });
    }
    bench.step(Input::Lease(LeaseId(1), None));
    for number in 11..=14 {
        bench.step(Input::Submit(id(number), Want::default()));
    }
    let within = Want { deadline: Some(2 * SECOND), ..Want::default() };
    let late = SubmitError::TooLate { predicted: 3 * SECOND, deadline: 2 * SECOND, len: 3 };
    assert_eq!(bench.step(Input::Submit(id(15), within)), [Effect::Refuse(id(15), late)]);
}

/// A place that waits out its back-off is none that a successor may be started beside: what keeps one worker from living
/// keeps the next one from it, too.
#[test]
fn a_worn_worker_stays_while_another_place_waits_to_be_tried_again() {
    let mut config = config(3);
    (config.min_idle, config.recycle.jitter, config.recycle.max_age) = (2, 0.0, Some(10 * SECOND));
    config.restart.min_backoff = 5 * SECOND;
    let mut bench = Bench::new(config);
    bench.step(Input::Begin);
    for slot in 0..2 {
        bench.ready(slot, 1);
    }
    bench.now += 8 * SECOND;
    bench.step(dead(1, 1));
    bench.step(dead(1, 2));
    assert_eq!(bench.pool.status().backing_off, 1);
    assert_eq!(bench.passes(3 * SECOND), [""; 0], "the other one is too old by now, and serves on");
    assert_eq!((bench.pool.status().idle, bench.pool.status().backing_off), (1, 1));
    assert_eq!(bench.passes(3 * SECOND), ["start 1.3"]);
}
