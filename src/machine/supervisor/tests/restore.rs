//! Leased sessions whose workers die: what starts, when, and for whom.

use std::time::Duration;

use super::{Bench, Effect, Generation, Input, LeaseId, PoolConfig, Want, dead, id};
use crate::{
    config::OnDeath,
    machine::supervisor::{Chore, Sort},
};

const LEASE: LeaseId = LeaseId(1);

/// A pool of one session, which is leased.
fn leased() -> Bench {
    let mut config = PoolConfig::default();
    (config.max_sessions, config.min_idle, config.on_death) = (1, 1, OnDeath::Restore);
    let mut bench = Bench::new(config);
    bench.step(Input::Begin);
    bench.ready(0, 1);
    assert_eq!(bench.step(Input::Lease(LEASE)), [Effect::Grant { lease: LEASE, slot: 0 }]);
    bench
}

fn start(generation: u64) -> Effect {
    Effect::Start { slot: 0, generation: Generation(generation) }
}

fn restores(generation: u64) -> Want {
    let expects = Some(Generation(generation));
    Want { lease: Some(LEASE), sort: Sort::Restore, chore: true, expects, ..Want::default() }
}

/// The place of a session that waits out its back-off is nobody else's, and it comes when its time has.
#[test]
fn a_place_that_is_inherited_is_given_to_nobody_and_not_before_its_time() {
    let mut bench = leased();
    let gone = |effect| [Effect::DisarmLease(LEASE), effect];
    assert_eq!(bench.step(dead(0, 1)), gone(start(2)));
    let [Effect::Regrant { lease: LEASE, slot: 0 }, Effect::Tend(LEASE, chore)] = bench.ready(0, 2) else {
        panic!("{:?}", bench.effects)
    };
    assert!(matches!(chore, Chore::Restore { generation: Generation(2), ran: 0, .. }), "{chore:?}");
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

/// What comes for a worker that is gone is refused, and what is told of it is not heard.
#[test]
fn what_is_of_an_earlier_worker_changes_nothing() {
    let mut bench = leased();
    bench.step(dead(0, 1));
    bench.ready(0, 2);
    bench.step(dead(0, 2));
    bench.now += Duration::from_secs(1);
    bench.step(Input::Tick);
    bench.ready(0, 3);
    let late = Input::Restored { lease: LEASE, generation: Generation(2), fate: Ok(()) };
    assert_eq!(bench.step(late), []);
    let refused = bench.step(Input::Submit(id(10), restores(2)));
    assert!(matches!(refused, [Effect::Refuse(_, _)]), "{refused:?}");
    let now = Input::Restored { lease: LEASE, generation: Generation(3), fate: Ok(()) };
    assert_eq!(bench.step(now), [Effect::Announce(LEASE)]);
}
