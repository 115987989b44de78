//! Whose worker it is, and who makes way.

use super::{
    Asked, Bench, Effect, Generation, Input, LeaseId, PoolConfig, RecycleReason, SECOND, Want, dead, id,
    renew::idle,
};
use crate::request::Tenant;

fn of(tenant: &str) -> Want {
    Want { tenant: Some(tenant).filter(|name| !name.is_empty()).map(Tenant::from), ..Want::default() }
}

/// A pool of this size whose workers are all idle.
fn pool(sessions: usize, change: impl FnOnce(&mut PoolConfig)) -> Bench {
    let mut config = PoolConfig::default();
    (config.max_sessions, config.min_idle) = (sessions, sessions);
    (config.max_starting, config.idle_timeout) = (sessions, None);
    change(&mut config);
    idle(config)
}

impl Bench {
    /// What is asked of the workers: `run SLOT.EXECUTION`, `way SLOT`, `start SLOT`, `lease SLOT`.
    fn told(&self) -> Vec<String> {
        let told = self.effects.iter().filter_map(|effect| match effect {
            Effect::Assign { slot, execution } => Some(format!("run {slot}.{}", execution.get())),
            Effect::Grant { slot, .. } => Some(format!("lease {slot}")),
            Effect::Start { slot, .. } => Some(format!("start {slot}")),
            Effect::Renewed { slot, reason: RecycleReason::Tenant } => Some(format!("way {slot}")),
            Effect::Refuse(..) => Some("refused".into()),
            Effect::Lose(execution, _) => Some(format!("lost {}", execution.get())),
            _other => None,
        });
        told.collect()
    }

    fn asks_for(&mut self, number: u64, tenant: &str) -> Vec<String> {
        self.step(Input::Submit(id(number), of(tenant)));
        self.told()
    }

    fn done(&mut self, slot: usize, generation: u64, number: u64) -> Vec<String> {
        self.now += SECOND / 10;
        self.step(Input::Idle { slot, generation: Generation(generation), execution: id(number) });
        self.told()
    }

    /// The worker of this slot has ended as it was told; the next one becomes ready.
    fn replaced(&mut self, slot: usize, generation: u64) -> Vec<String> {
        self.step(dead(slot, generation));
        let mut told = self.told();
        self.ready(slot, generation + 1);
        told.extend(self.told());
        told
    }
}

/// In both directions between all of them, requests without a tenant included.
#[test]
fn a_worker_that_ran_code_of_one_tenant_runs_none_of_another() {
    for (first, second) in [("a", "b"), ("a", ""), ("", "a")] {
        let mut bench = pool(1, |_| {});
        assert_eq!(bench.asks_for(1, first), ["run 0.1"]);
        assert_eq!(bench.asks_for(2, first), [""; 0]);
        assert_eq!(bench.done(0, 1, 1), ["run 0.2"], "its own");
        assert_eq!(bench.done(0, 1, 2), [""; 0]);
        assert_eq!(bench.asks_for(3, second), ["way 0"], "{first:?}, then {second:?}");
        assert_eq!(bench.replaced(0, 1), ["start 0", "run 0.3"]);
    }
    let mut bench = pool(1, |config| config.share_workers = true);
    bench.asks_for(1, "a");
    bench.done(0, 1, 1);
    assert_eq!(bench.asks_for(2, "b"), ["run 0.2"], "as configured");
}

/// One that lost its worker is still its tenant's.
#[test]
fn who_comes_back_into_the_line_is_whose_it_was() {
    let mut bench = pool(2, |config| config.min_idle = 1);
    bench.asks_for(1, "a");
    bench.ready(1, 1);
    assert_eq!(bench.asks_for(2, "b"), ["run 1.2"]);
    bench.step(dead(0, 1));
    bench.done(1, 1, 2);
    bench.step(Input::Requeue { execution: id(1), lease: None, asked: asked("a"), expects: None });
    assert_eq!(bench.told(), [""; 0], "not where the other's code has run");
    bench.ready(0, 2);
    assert_eq!(bench.told(), ["run 0.1"]);
}

fn asked(tenant: &str) -> Asked {
    Asked { tenant: Some(Tenant::from(tenant)), ..Asked::default() }
}

/// Its own before one that is nobody's, which is for whoever comes next; and nobody's before it makes another one's go.
#[test]
fn a_worker_that_is_nobodys_stays_so_while_there_is_another() {
    let mut bench = pool(3, |_| {});
    assert_eq!(bench.asks_for(1, "a"), ["run 0.1"]);
    assert_eq!(bench.asks_for(2, "a"), ["run 1.2"]);
    bench.done(1, 1, 2);
    bench.step(dead(0, 1));
    assert_eq!(bench.told(), ["start 0"], "the reserve");
    bench.ready(0, 2);
    assert_eq!(bench.asks_for(3, "a"), ["run 1.3"], "its own, though it is not the first");
    bench.done(1, 1, 3);
    assert_eq!(bench.asks_for(4, "b"), ["run 0.4"], "nobody's, and nothing makes way");
}

/// A lease, too: what was used is its tenant's only, and what is fresh comes first.
#[test]
fn a_session_is_leased_on_a_worker_that_has_served_nobody_if_there_is_one() {
    let lease = |bench: &mut Bench, number, tenant: &str| {
        bench.step(Input::Lease(LeaseId(number), of(tenant).tenant));
        bench.told()
    };
    for tenant in ["", "a"] {
        let mut bench = pool(3, |_| {});
        bench.asks_for(1, tenant);
        bench.done(0, 1, 1);
        assert_eq!(lease(&mut bench, 1, tenant), ["lease 1"], "{tenant:?}");
        assert_eq!(lease(&mut bench, 2, tenant), ["lease 2"]);
        assert_eq!(lease(&mut bench, 3, tenant), ["lease 0"], "its own, then");
    }
    let mut bench = pool(1, |_| {});
    bench.asks_for(1, "a");
    bench.done(0, 1, 1);
    assert_eq!(lease(&mut bench, 1, "b"), ["way 0"]);
    assert_eq!(bench.replaced(0, 1), ["start 0", "lease 0"]);
}

#[test]
fn the_idle_worker_that_was_used_least_recently_makes_way_once() {
    let mut bench = pool(3, |_| {});
    for (number, slot, tenant) in [(1, 0, "a"), (2, 1, "b"), (3, 2, "c")] {
        assert_eq!(bench.asks_for(number, tenant), [format!("run {slot}.{number}")]);
    }
    for (number, slot) in [(2, 1), (3, 2), (1, 0)] {
        bench.done(slot, 1, number);
    }
    assert_eq!(bench.asks_for(4, "d"), ["way 1"]);
    assert_eq!(bench.asks_for(5, "c"), ["run 2.5"], "who has one is not in the way");
    bench.step(Input::Tick);
    assert_eq!(bench.told(), [""; 0], "one is on its way");
    assert_eq!(bench.replaced(1, 1), ["start 1", "run 1.4"]);
}

/// Two tenants that always wait do not take the workers from each other in turns …
#[test]
fn tenants_that_wait_keep_their_share_of_the_workers() {
    let mut bench = pool(4, |config| config.queue = 1_000);
    let mut number = 0;
    for _ in 0..100 {
        for tenant in ["a", "b"] {
            number += 1;
            bench.asks_for(number, tenant);
        }
    }
    let mut generations = [1; 4];
    let (mut ways, mut running) = (0, vec![(0, 1), (1, 2), (2, 3), (3, 4)]);
    while !running.is_empty() {
        let (slot, execution) = running.remove(0);
        let mut told = bench.done(slot, generations[slot], execution);
        while let Some(of) = told.iter().find_map(|it| it.strip_prefix("way ")?.parse::<usize>().ok()) {
            ways += 1;
            told = bench.replaced(of, generations[of]);
            generations[of] += 1;
        }
        running.extend(told.iter().filter_map(|it| {
            let (slot, execution) = it.strip_prefix("run ")?.split_once('.')?;
            Some((slot.parse::<usize>().unwrap(), execution.parse::<u64>().unwrap()))
        }));
    }
    assert_eq!(bench.pool.status().queued, 0);
    assert!(ways <= 4, "{ways} workers made way for 200 requests");
}

/// … but one that has none gets one at its turn, however many of the others wait.
#[test]
fn a_tenant_without_a_worker_gets_one_at_its_turn() {
    let mut bench = pool(2, |_| {});
    for number in 1..=10 {
        bench.asks_for(number, "a");
    }
    assert_eq!(bench.asks_for(11, "b"), [""; 0]);
    assert_eq!(bench.done(0, 1, 1), ["run 0.3"], "it is the other's turn");
    assert_eq!(bench.done(1, 1, 2), ["way 1"]);
    assert_eq!(bench.done(0, 1, 3), ["run 0.4"], "which goes on meanwhile");
    assert_eq!(bench.replaced(1, 1), ["start 1", "run 1.11"]);
}

/// The reserve is for whoever comes: what named tenants have left does not count, and goes when it is not used.
#[test]
fn the_sessions_that_are_kept_ready_are_nobodys() {
    let mut bench = pool(3, |config| (config.min_idle, config.idle_timeout) = (1, Some(10 * SECOND)));
    assert_eq!(bench.asks_for(1, "a"), ["run 0.1", "start 1"]);
    bench.ready(1, 1);
    bench.done(0, 1, 1);
    assert_eq!(bench.pool.status().idle, 2);
    bench.now += 10 * SECOND;
    bench.step(Input::Tick);
    let unused = |slot| Effect::Renewed { slot, reason: RecycleReason::Unused };
    assert!(bench.effects.contains(&unused(0)) && !bench.effects.contains(&unused(1)), "{:?}", bench.effects);
}

/// P8: with nobody left who may serve it, a request is told at once, beside workers of others that go on.
#[test]
fn a_pool_that_has_failed_serves_those_whose_workers_live() {
    let mut bench = pool(2, |config| config.restart.intensity = 0);
    for (number, tenant) in [(1, "a"), (2, "b"), (4, "b")] {
        bench.asks_for(number, tenant);
    }
    bench.step(dead(1, 1));
    assert_eq!(bench.told(), ["start 1"], "its code may have killed it");
    bench.step(dead(1, 2));
    assert_eq!(bench.told(), ["lost 4"]);
    bench.done(0, 1, 1);
    assert_eq!(bench.asks_for(5, "a"), ["run 0.5"]);
    assert_eq!(bench.asks_for(6, "b"), ["refused"]);
    bench.step(Input::Requeue { execution: id(2), lease: None, asked: asked("b"), expects: None });
    assert_eq!(bench.told(), ["lost 2"]);
}

/// The last worker of a failed pool is leased in the very step in which it is free.
#[test]
fn whoever_waits_behind_a_lease_in_a_failed_pool_is_told_at_once() {
    let mut bench = pool(2, |config| config.restart.intensity = 0);
    bench.asks_for(1, "");
    bench.step(dead(1, 1));
    bench.step(Input::Lease(LeaseId(1), None));
    bench.asks_for(2, "");
    assert_eq!(bench.done(0, 1, 1), ["lease 0", "lost 2"]);
}

/// A queue of 0 lets in whom an idle worker makes way for, and no more.
#[test]
fn a_queue_of_none_admits_as_many_as_there_are_workers() {
    let mut bench = pool(2, |config| config.queue = 0);
    for number in [1, 2] {
        bench.asks_for(number, "a");
    }
    for (slot, number) in [(0, 1), (1, 2)] {
        bench.done(slot, 1, number);
    }
    assert_eq!(bench.asks_for(3, "b"), ["way 0"]);
    assert_eq!(bench.asks_for(4, "b"), ["way 1"]);
    assert_eq!(bench.asks_for(5, "b"), ["refused"]);
}

/// No worker goes while none may be started.
#[test]
fn a_pool_that_starts_no_more_this_second_replaces_none() {
    let mut bench = pool(1, |config| config.start_rate = 1);
    bench.asks_for(1, "a");
    bench.done(0, 1, 1);
    assert_eq!(bench.asks_for(2, "b"), [""; 0]);
    assert_eq!(bench.asks_for(3, "a"), ["run 0.3"]);
    bench.done(0, 1, 3);
    bench.now += SECOND;
    bench.step(Input::Tick);
    assert_eq!(bench.told(), ["way 0"]);
    assert!(bench.alarm.is_some_and(|alarm| alarm <= bench.now), "it asked to be woken");
}
