//! Workers that are replaced while they live: worn, unused, of an older spec; and pools that recover.

use std::time::Duration;

use super::{Bench, Effect, Input, LeaseId, PoolConfig, SECOND, Want, dead, id};
use crate::{machine::slot::Place, outcome::Generation};

pub(super) fn config(sessions: usize) -> PoolConfig {
    let mut config = PoolConfig::default();
    (config.max_sessions, config.min_idle, config.recycle.jitter) = (sessions, sessions, 0.0);
    config
}

/// A pool of idle workers of the first generation.
pub(super) fn idle(config: PoolConfig) -> Bench {
    let slots = config.min_idle;
    let mut bench = Bench::new(config);
    bench.step(Input::Begin);
    for slot in 0..slots {
        bench.ready(slot, 1);
    }
    bench
}

impl Bench {
    pub(super) fn serve(&mut self, slot: usize, generation: u64, number: u64) -> &[Effect] {
        self.step(Input::Submit(id(number), Want::default()));
        assert!(self.effects.contains(&Effect::Assign { slot, execution: id(number) }), "{:?}", self.effects);
        self.step(Input::Idle { slot, generation: Generation(generation), execution: id(number) })
    }

    /// What the last step did with workers.
    pub(super) fn moves(&self) -> Vec<String> {
        let word = |effect: &Effect| match effect {
            Effect::Start { slot, generation } => Some(format!("start {slot}.{generation}")),
            Effect::Stop { slot } => Some(format!("stop {slot}")),
            Effect::Renewed { reason, .. } => Some(format!("{reason:?}")),
            Effect::Reloaded(fate) => Some(format!("reloaded {fate:?}")),
            Effect::Recovered => Some("recovered".into()),
            Effect::Failed(_) => Some("failed".into()),
            _other => None,
        };
        self.effects.iter().filter_map(word).collect()
    }

    /// Time passes. The pool is woken when it asked for it, and at no other time.
    pub(super) fn passes(&mut self, time: Duration) -> Vec<String> {
        let end = self.now + time;
        let mut moves = Vec::new();
        while let Some(due) = self.alarm.take_if(|due| *due <= end) {
            self.now = due;
            self.step(Input::Tick);
            moves.extend(self.moves());
        }
        self.now = end;
        moves
    }
}

/// What runs on in it could print and fail in the time of another.
#[test]
fn a_worker_in_which_code_has_left_something_serves_nobody_any_more() {
    let mut bench = idle(config(1));
    let left = |generation| Input::Left { slot: 0, generation: Generation(generation) };
    bench.step(Input::Submit(id(1), Want::default()));
    bench.step(Input::Submit(id(2), Want::default()));
    bench.step(left(1));
    assert_eq!(bench.moves(), [""; 0], "it has not ended");
    bench.step(Input::Idle { slot: 0, generation: Generation(1), execution: id(1) });
    assert_eq!(bench.moves(), ["Left", "stop 0"], "also while another waits");
    assert_eq!((bench.pool.status().left_over, bench.pool.status().recycled), (1, 1));
    bench.step(dead(0, 1));
    bench.ready(0, 2);
    assert!(bench.effects.contains(&Effect::Assign { slot: 0, execution: id(2) }), "{:?}", bench.effects);
    bench.step(left(1));
    bench.step(Input::Idle { slot: 0, generation: Generation(2), execution: id(2) });
    assert_eq!(bench.moves(), [""; 0], "that was said of the worker before it");
}

/// Whoever leases a session has it to himself, and with it what his code left in it.
#[test]
fn a_leased_session_goes_on_with_what_its_code_has_left() {
    let mut bench = idle(config(1));
    bench.step(Input::Lease(LeaseId(1), None));
    bench.step(Input::Submit(id(1), Want { lease: Some(LeaseId(1)), ..Want::default() }));
    bench.step(Input::Left { slot: 0, generation: Generation(1) });
    bench.step(Input::Idle { slot: 0, generation: Generation(1), execution: id(1) });
    assert_eq!(bench.moves(), [""; 0]);
    assert_eq!(bench.pool.status().left_over, 0);
}

/// Fault 68.
#[test]
fn a_worker_at_its_last_execution_serves_nobody_any_more_and_is_never_stopped_in_one() {
    let mut config = config(1);
    config.recycle.max_executions = Some(2);
    let mut bench = idle(config);
    bench.serve(0, 1, 1);
    assert_eq!(bench.moves(), [""; 0]);
    bench.step(Input::Submit(id(2), Want::default()));
    bench.step(Input::Submit(id(3), Want::default()));
    bench.step(Input::Idle { slot: 0, generation: Generation(1), execution: id(2) });
    assert_eq!(bench.moves(), ["Executions", "stop 0"]);
    bench.step(dead(0, 1));
    assert_eq!(bench.moves(), ["start 0.2"]);
    assert!(bench.ready(0, 2).contains(&Effect::Assign { slot: 0, execution: id(3) }));
    assert_eq!(bench.pool.status().crashed, 0);
}

#[test]
fn workers_that_are_too_old_go_one_at_a_time_so_that_the_pool_is_never_empty() {
    let mut config = config(3);
    (config.recycle.max_age, config.idle_timeout) = (Some(60 * SECOND), None);
    let mut bench = idle(config);
    assert_eq!(bench.passes(59 * SECOND), [""; 0]);
    assert_eq!(bench.passes(SECOND), ["Age", "stop 0"], "no room for a successor: one goes first");
    assert_eq!(bench.passes(SECOND), [""; 0], "the next one waits");
    bench.step(dead(0, 1));
    assert_eq!(bench.moves(), ["start 0.2"]);
    bench.ready(0, 2);
    assert_eq!(bench.moves(), ["Age", "stop 1"]);
}

#[test]
fn with_surge_the_successor_is_ready_before_the_old_worker_goes() {
    let mut config = config(2);
    (config.surge, config.idle_timeout) = (1, None);
    let mut bench = idle(config);
    bench.step(Input::Measured { slot: 1, generation: Generation(1), memory: u64::MAX });
    assert_eq!(bench.moves(), [""; 0], "no limit, no reason");

    bench.pool.config.recycle.max_memory = Some(100);
    bench.step(Input::Measured { slot: 1, generation: Generation(1), memory: 99 });
    assert_eq!(bench.moves(), [""; 0]);
    bench.step(Input::Measured { slot: 1, generation: Generation(1), memory: 100 });
    assert_eq!(bench.moves(), ["start 2.1"]);
    bench.ready(2, 1);
    assert_eq!(bench.moves(), ["Memory", "stop 1"]);
    bench.step(dead(1, 1));
    assert_eq!(bench.moves(), [""; 0], "two are enough");
}

#[test]
fn under_load_without_end_worn_workers_are_replaced_all_the_same() {
    for (surge, sessions) in [(0, 1), (1, 1), (0, 2), (1, 2)] {
        let mut config = config(sessions);
        (config.surge, config.queue) = (surge, 1_000);
        let mut bench = idle(config);
        for number in 1..=100 {
            bench.step(Input::Submit(id(number), Want::default()));
        }
        bench.step(Input::Reload);
        for _ in 0..60 {
            let ends = |place: &Place| matches!(place, Place::Retiring);
            let places: Vec<_> =
                bench.pool.places().map(|(slot, nth, place)| (slot, nth, ends(place))).collect();
            for (slot, generation, ends) in places {
                let running = bench.pool.placed.iter().find(|(_, at)| **at == slot).map(|(id, _)| *id);
                bench.step(match running {
                    Some(execution) => Input::Idle { slot, generation, execution },
                    None if ends => dead(slot, generation.0),
                    None => Input::Ready { slot, generation },
                });
            }
        }
        let old =
            bench.pool.slots.iter().filter(|slot| slot.has_worker() && slot.worker.edition == 0).count();
        assert_eq!(old, 0, "surge {surge}, {sessions} sessions: {:?}", bench.pool.slots);
    }
}

#[test]
fn sessions_beyond_the_reserve_linger_and_end_when_nobody_used_them() {
    let mut config = config(3);
    (config.min_idle, config.idle_timeout) = (1, Some(10 * SECOND));
    let mut bench = idle(config);
    bench.step(Input::Submit(id(1), Want::default()));
    assert_eq!(bench.moves(), ["start 1.1"], "the reserve is filled up ahead");
    bench.ready(1, 1);
    bench.step(Input::Idle { slot: 0, generation: Generation(1), execution: id(1) });
    assert_eq!(bench.moves(), [""; 0], "one too many does not die at once");
    assert_eq!(bench.passes(10 * SECOND), ["Unused", "stop 0"]);
    assert_eq!(bench.passes(100 * SECOND), [""; 0], "the reserve stays");
}

/// F8.
#[test]
fn no_more_workers_start_at_once_than_may() {
    let mut config = config(8);
    config.max_starting = 3;
    let mut bench = Bench::new(config.clone());
    bench.step(Input::Begin);
    assert_eq!(bench.moves(), ["start 0.1", "start 1.1", "start 2.1"]);
    bench.ready(1, 1);
    assert_eq!(bench.moves(), ["start 3.1"]);

    (config.max_starting, config.start_rate) = (8, 2);
    let mut bench = Bench::new(config);
    bench.step(Input::Begin);
    assert_eq!(bench.moves(), ["start 0.1", "start 1.1"]);
    assert!(bench.effects.contains(&Effect::Tick(SECOND)), "{:?}", bench.effects);
    assert_eq!(bench.passes(SECOND), ["start 2.1", "start 3.1"]);
}

#[test]
fn a_reload_replaces_every_worker_but_leased_ones_and_says_when_the_first_is_ready() {
    let mut bench = idle(config(2));
    bench.step(Input::Lease(LeaseId(1), None));
    bench.step(Input::Reload);
    assert_eq!(bench.moves(), ["Spec", "stop 1"]);
    bench.step(dead(1, 1));
    assert_eq!(bench.moves(), ["start 1.2"]);
    bench.ready(1, 2);
    assert_eq!(bench.moves(), ["reloaded Ok(())"]);
    bench.step(Input::Release(LeaseId(1)));
    bench.step(dead(0, 1));
    bench.ready(0, 2);
    assert_eq!(bench.moves(), [""; 0], "the first one only");
    assert_eq!(bench.pool.status().idle, 2);
}

#[test]
fn a_new_spec_that_does_not_live_leaves_the_old_workers_serving() {
    let mut config = config(2);
    config.surge = 1;
    let mut bench = idle(config);
    bench.step(Input::Reload);
    assert_eq!(bench.moves(), ["start 2.1"]);
    bench.step(dead(2, 1));
    let told = bench.moves();
    assert!(told[0].starts_with("reloaded Err"), "{told:?}");
    for generation in 2..10 {
        bench.step(dead(2, generation));
        bench.passes(11 * SECOND);
    }
    let status = bench.pool.status();
    assert_eq!(status.idle, 2, "{status:?}");
    assert!(status.trouble.is_some() && status.failed.is_some(), "{status:?}");
    bench.step(Input::Submit(id(1), Want::default()));
    assert!(bench.effects.contains(&Effect::Accept(id(1))));
}

/// The longest time there is means never.
#[test]
fn a_failed_pool_that_never_tries_again_stays_failed() {
    let mut config = config(1);
    config.restart.intensity = 0;
    config.restart.probe_after = Duration::MAX;
    let mut bench = idle(config);
    bench.step(dead(0, 1));
    assert_eq!(bench.moves(), ["failed"]);
    assert_eq!(bench.passes(3_600 * SECOND), [""; 0]);
}

#[test]
fn a_failed_pool_tries_one_worker_after_a_while_or_when_it_is_told_to() {
    for told in ["by nobody", "by a reset", "by a reload"] {
        let mut config = config(2);
        config.restart.intensity = 0;
        let mut bench = idle(config);
        bench.step(dead(0, 1));
        assert_eq!(bench.moves(), ["failed"]);
        bench.step(dead(1, 1));
        assert_eq!(bench.passes(59 * SECOND), [""; 0]);
        let begins = |bench: &mut Bench| match told {
            "by nobody" => bench.passes(SECOND),
            other => {
                bench.step(if other == "by a reset" { Input::Reset } else { Input::Reload });
                bench.moves()
            }
        };
        assert_eq!(begins(&mut bench), ["start 0.2"], "one, not two");
        bench.step(Input::Submit(id(1), Want::default()));
        assert!(
            matches!(bench.effects[..], [Effect::Refuse(..)]),
            "not before it is ready: {:?}",
            bench.effects
        );
        bench.step(dead(0, 2));
        bench.effects.retain(|effect| !matches!(effect, Effect::Reloaded(Err(_))));
        assert_eq!(bench.moves(), [""; 0], "still failed");
        assert_eq!(bench.passes(60 * SECOND), ["start 0.3"]);
        bench.ready(0, 3);
        assert_eq!(bench.moves(), ["recovered", "start 1.2"]);
        assert_eq!((bench.pool.status().failed, bench.pool.status().trouble), (None, None));
    }
}
