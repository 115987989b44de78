//! Who is let in, how long they wait, and who is served when they are not alone.

use super::{
    Asked, Bench, Effect, ExecutionId, Generation, Input, LeaseId, PoolConfig, SECOND, Want, dead, id,
};
use crate::{error::SubmitError, outcome::LostCause, request::Tenant};

/// A pool of one session that has served ten executions of a second each, and runs one more.
fn busy(config: PoolConfig) -> Bench {
    let mut bench = Bench::new(PoolConfig { max_sessions: 1, min_idle: 1, ..config });
    bench.step(Input::Begin);
    bench.ready(0, 1);
    for number in 1..=10 {
        bench.step(Input::Submit(id(number), Want::default()));
        bench.now += SECOND;
        bench.ends(number);
    }
    bench.step(Input::Submit(id(11), Want::default()));
    bench
}

impl Bench {
    fn ends(&mut self, number: u64) -> &[Effect] {
        self.step(Input::Idle { slot: 0, generation: Generation(1), execution: id(number) })
    }

    fn asks(&mut self, number: u64, want: Want) -> Option<SubmitError> {
        self.step(Input::Submit(id(number), want)).iter().find_map(|effect| match effect {
            Effect::Refuse(_, error) => Some(error.clone()),
            _other => None,
        })
    }
}

#[test]
fn a_full_queue_says_how_full_it_is_and_when_to_come_again() {
    let mut bench = busy(PoolConfig { queue: 1, ..PoolConfig::default() });
    assert_eq!(bench.asks(12, Want::default()), None);
    let full = SubmitError::QueueFull { len: 1, limit: 1, retry_after: Some(SECOND) };
    assert_eq!(bench.asks(13, Want::default()), Some(full));
}

#[test]
fn a_request_that_would_wait_beyond_its_deadline_is_refused_at_once() {
    let mut bench = busy(PoolConfig::default());
    let within = |seconds| Want { deadline: Some(SECOND * seconds), ..Want::default() };
    for number in 12..15 {
        assert_eq!(bench.asks(number, within(10)), None);
    }
    let late = SubmitError::TooLate { predicted: 3 * SECOND, deadline: 2 * SECOND, len: 3 };
    assert_eq!(bench.asks(15, within(2)), Some(late));
    assert_eq!(bench.asks(16, within(3)), None);
    for number in [11, 12, 13, 14, 16] {
        bench.ends(number);
    }
    assert_eq!(bench.asks(17, within(0)), None, "an idle session is not waited for");
}

#[test]
fn a_tenant_cannot_take_the_whole_queue_and_waits_for_its_turn() {
    let mut bench = busy(PoolConfig { tenant_queue: 5, share_workers: true, ..PoolConfig::default() });
    let of = |tenant: &str| Want { tenant: Some(Tenant::from(tenant)), ..Want::default() };
    for number in 20..25 {
        assert_eq!(bench.asks(number, of("noisy")), None);
    }
    assert!(matches!(bench.asks(25, of("noisy")), Some(SubmitError::TenantFull { len: 5, limit: 5, .. })));
    assert_eq!(bench.asks(30, of("quiet")), None);
    let mut served = Vec::new();
    let mut running = 11;
    while let Some(Effect::Assign { execution, .. }) =
        bench.ends(running).iter().find(|effect| matches!(effect, Effect::Assign { .. }))
    {
        running = execution.get();
        served.push(running);
    }
    assert_eq!(served, [20, 30, 21, 22, 23, 24], "not behind all of the other's");
}

#[test]
fn who_waits_for_longer_than_it_may_is_told() {
    let mut bench = busy(PoolConfig { queue_timeout: Some(5 * SECOND), ..PoolConfig::default() });
    bench.asks(12, Want::default());
    bench.now += SECOND;
    bench.asks(13, Want::default());
    bench.step(Input::Withdraw(id(12)));
    bench.asks(14, Want::default());
    bench.now += 4 * SECOND;
    assert_eq!(bench.step(Input::Tick), [Effect::Tick(SECOND)]);
    bench.now += SECOND;
    let lost = |number| Effect::Lose(ExecutionId(number), LostCause::Waited { limit: 5 * SECOND });
    assert!(bench.step(Input::Tick).starts_with(&[lost(13), lost(14)]), "{:?}", bench.effects);
}

/// Preferred affinity: the worker that is warm for it, if it is free; never a wait for it, and nobody else's warmth is
/// taken while there is another.
#[test]
fn a_request_goes_to_the_worker_that_is_warm_for_it_if_that_is_free() {
    let mut bench = Bench::idle(3);
    let near = |affinity: &str| Want { affinity: Some(affinity.into()), ..Want::default() };
    let place = |effects: &[Effect]| {
        effects.iter().find_map(|effect| match effect {
            Effect::Assign { slot, .. } => Some(*slot),
            _other => None,
        })
    };
    let free = |number, slot| Input::Idle { slot, generation: Generation(1), execution: id(number) };
    assert_eq!(place(bench.step(Input::Submit(id(1), near("a")))), Some(0));
    assert_eq!(place(bench.step(Input::Submit(id(2), near("b")))), Some(1));
    bench.step(free(2, 1));
    bench.step(free(1, 0));
    assert_eq!(place(bench.step(Input::Submit(id(3), near("b")))), Some(1), "its own");
    assert_eq!(place(bench.step(Input::Submit(id(4), Want::default()))), Some(2), "nobody's");
    assert_eq!(place(bench.step(Input::Submit(id(5), near("b")))), Some(0), "it does not wait");
    assert_eq!(place(bench.step(Input::Submit(id(6), near("b")))), None);
    assert_eq!(place(bench.step(free(4, 2))), Some(2), "nor in the queue");
}

/// `queue_bytes` bounds what waits anywhere: in the pool's queue, in that of the scripts and in those of leased sessions.
#[test]
fn the_bytes_of_all_who_wait_are_bounded_together() {
    let queue_bytes = 100;
    let mut bench =
        Bench::new(PoolConfig { max_sessions: 1, min_idle: 1, queue_bytes, ..PoolConfig::default() });
    bench.step(Input::Begin);
    bench.ready(0, 1);
    let lease = LeaseId(1);
    bench.step(Input::Lease(lease, None));
    let here = |bytes| Want { bytes, lease: Some(lease), ..Want::default() };
    assert_eq!(bench.asks(1, here(1_000)), None, "what runs at once does not wait");
    assert_eq!(bench.asks(2, here(10)), None);
    assert_eq!(bench.asks(3, here(15)), None);
    assert_eq!(bench.asks(4, Want { bytes: 20, ..Want::default() }), None);
    assert_eq!(bench.asks(5, Want { bytes: 25, script: true, ..Want::default() }), None);
    let too_much = |len| SubmitError::QueueBytes { waiting: 70, len, limit: queue_bytes, retry_after: None };
    for (number, want) in [
        (6, here(31)),
        (7, Want { bytes: 31, ..Want::default() }),
        (8, Want { bytes: 31, script: true, ..Want::default() }),
        (9, here(usize::MAX)),
    ] {
        let len = want.bytes;
        assert_eq!(bench.asks(number, want), Some(too_much(len)), "{number}");
    }
    assert_eq!(bench.asks(10, here(30)), None, "as many as it says");
}

/// A script whose process could not be started goes first among scripts, and to no worker.
#[test]
fn a_script_that_comes_back_is_launched_again() {
    let mut bench = Bench::idle(1);
    let script = Want { script: true, ..Want::default() };
    bench.step(Input::Submit(id(1), script.clone()));
    let launch = |number, generation| Effect::Launch {
        slot: 0,
        generation: Generation(generation),
        execution: id(number),
    };
    assert_eq!(bench.step(dead(0, 1)), [launch(1, 2)]);
    bench.step(Input::Submit(id(2), script));
    let why = "no descriptor is left".to_owned();
    assert_eq!(bench.step(Input::NotSpawned { slot: 0, generation: Generation(2), why }), [launch(2, 3)]);
    let asked = Asked { script: true, ..Asked::default() };
    bench.step(Input::Requeue { execution: id(1), lease: None, asked, expects: None });
    assert_eq!(bench.step(dead(0, 3)), [launch(1, 4)]);
}

/// With a queue of 0, a script still has an idle worker's place, and no second one waits behind it.
#[test]
fn a_script_has_room_where_there_is_a_place_for_it() {
    let script = Want { script: true, ..Want::default() };
    let mut bench = Bench::idle(1);
    bench.pool.config.queue = 0;
    assert_eq!(bench.asks(1, script.clone()), None, "the idle worker makes way");
    assert!(matches!(bench.asks(2, script), Some(SubmitError::QueueFull { .. })));
}

/// A pool that ends tells all who wait, in the queues of sessions too.
#[test]
fn a_shutdown_empties_the_lines_of_sessions() {
    let mut bench = Bench::idle(1);
    bench.step(Input::Lease(LeaseId(1), None));
    for number in 1..=3 {
        bench.step(Input::Submit(id(number), Want { lease: Some(LeaseId(1)), ..Want::default() }));
    }
    let effects = bench.step(Input::Shutdown { grace: SECOND });
    for number in [2, 3] {
        assert!(effects.contains(&Effect::Lose(id(number), LostCause::ShuttingDown)), "{effects:?}");
    }
    assert_eq!(bench.pool.status().queued, 0);
}
