//! When the state of a leased session is saved without being asked for, and how it ends behind that.

use std::time::Duration;

use super::{Bench, Effect, Generation, Input, LeaseId, PoolConfig, SECOND, Want, dead, id};
use crate::{
    config::OnDeath,
    machine::supervisor::{Sort, StateJob},
};

const LEASE: LeaseId = LeaseId(1);

/// A pool of one session, which is leased and has a name.
fn named(change: impl FnOnce(&mut PoolConfig)) -> Bench {
    let mut config = PoolConfig::default();
    (config.max_sessions, config.min_idle) = (1, 1);
    change(&mut config);
    let mut bench = Bench::new(config);
    bench.step(Input::Begin);
    bench.ready(0, 1);
    bench.step(Input::Lease(LEASE, None));
    bench.step(Input::Name(LEASE));
    bench
}

/// What the session was asked to do, without the timers.
fn told(effects: &[Effect]) -> Vec<&Effect> {
    let timers = |effect: &&Effect| {
        !matches!(effect, Effect::DisarmLease(_) | Effect::ArmLease(..) | Effect::Accept(_) | Effect::Tick(_))
    };
    effects.iter().filter(timers).collect()
}

const SAVE: Effect = Effect::Tend(LEASE, StateJob::Save);

fn assign(execution: u64) -> Effect {
    Effect::Assign { slot: 0, execution: id(execution) }
}

impl Bench {
    fn submits(&mut self, execution: u64) -> Vec<&Effect> {
        told(self.step(Input::Submit(id(execution), Want { lease: Some(LEASE), ..Want::default() })))
    }

    fn finishes(&mut self, execution: u64) -> Vec<&Effect> {
        let generation = self.pool.generation(0);
        told(self.step(Input::Idle { slot: 0, generation, execution: id(execution) }))
    }

    fn runs(&mut self, execution: u64) -> Vec<&Effect> {
        assert_eq!(self.submits(execution), [&assign(execution)]);
        self.finishes(execution)
    }

    /// The worker is asked for its state, and has told it.
    fn is_asked(&mut self, execution: u64) -> Vec<&Effect> {
        let want = Want { lease: Some(LEASE), sort: Sort::Save, state_job: true, ..Want::default() };
        assert_eq!(told(self.step(Input::Submit(id(execution), want))), [&assign(execution)]);
        self.finishes(execution)
    }

    fn saved(&mut self, covers: Option<u64>) -> Vec<&Effect> {
        told(self.step(Input::Saved { lease: LEASE, covers, state_job: true }))
    }

    fn releases(&mut self) -> Vec<&Effect> {
        told(self.step(Input::Release(LEASE)))
    }
}

fn over() -> [Effect; 2] {
    [Effect::LeaseEnded(LEASE, "it was released".into()), Effect::Stop { slot: 0 }]
}

fn is_over(effects: &[&Effect]) -> bool {
    matches!(effects, [Effect::LeaseEnded(LEASE, _), Effect::Stop { slot: 0 }])
}

#[test]
fn a_session_that_ends_is_saved_first_and_ends_behind_that() {
    let mut bench = named(|_| {});
    assert_eq!(bench.releases(), over().iter().collect::<Vec<_>>(), "it has run nothing");
    let mut bench = named(|_| {});
    assert!(bench.runs(1).is_empty());
    assert_eq!(bench.releases(), [&SAVE]);
    assert!(bench.is_asked(10).is_empty(), "it is not on disk yet");
    assert_eq!(bench.saved(Some(1)), over().iter().collect::<Vec<_>>());
}

/// It was about to end, for it had run nothing for long. Its holder goes on with it.
#[test]
fn a_session_that_is_used_while_it_is_saved_before_its_end_does_not_end() {
    let mut bench = named(|config| config.session_timeout = Some(SECOND));
    bench.runs(1);
    assert_eq!(told(bench.step(Input::LeaseExpired(LEASE))), [&SAVE]);
    assert!(bench.submits(2).is_empty(), "the save goes first");
    assert_eq!(bench.is_asked(10), [&assign(2)]);
    assert!(bench.finishes(2).is_empty());
    let effects = bench.step(Input::Saved { lease: LEASE, covers: Some(1), state_job: true });
    assert_eq!(effects, [Effect::ArmLease(LEASE, SECOND)], "it lives on");
    assert_eq!(bench.runs(3), Vec::<&Effect>::new());
}

/// Both when the pool asked for the save and when the holder did.
#[test]
fn a_save_covers_what_ran_before_it_and_not_what_ran_meanwhile() {
    for state_job in [true, false] {
        let mut bench = named(|config| config.save_every = state_job.then_some(1));
        bench.submits(1);
        assert_eq!(bench.finishes(1).len(), usize::from(state_job));
        if state_job {
            bench.is_asked(10);
        }
        bench.submits(2);
        bench.finishes(2);
        bench.step(Input::Saved { lease: LEASE, covers: Some(1), state_job });
        assert_eq!(bench.releases(), [&SAVE], "the second is not saved; state_job: {state_job}");
        bench.is_asked(11);
        assert!(is_over(&bench.saved(Some(2))));
    }
}

#[test]
fn a_save_that_failed_is_tried_again_at_the_end_and_only_once() {
    let mut bench = named(|config| config.save_every = Some(1));
    assert_eq!(bench.runs(1), [&SAVE]);
    bench.is_asked(10);
    assert!(bench.saved(None).is_empty());
    assert_eq!(bench.releases(), [&SAVE], "the failure of another save costs not that of the end");
    bench.is_asked(11);
    assert!(is_over(&bench.saved(None)), "it ends without");
    assert_eq!((bench.pool.status().saved, bench.pool.status().not_saved), (0, 2));
}

/// Each attempt counts, so that one that fails is not repeated behind every execution.
#[test]
fn saves_come_behind_so_many_executions_counted_from_the_last_attempt() {
    let mut bench = named(|config| config.save_every = Some(2));
    assert!(bench.runs(1).is_empty());
    assert_eq!(bench.runs(2), [&SAVE]);
    bench.is_asked(10);
    bench.saved(None);
    assert!(bench.runs(3).is_empty());
    assert_eq!(bench.runs(4), [&SAVE]);
    bench.is_asked(11);
    assert!(bench.saved(Some(4)).is_empty());
    assert!(bench.runs(5).is_empty());
    assert_eq!(bench.runs(6), [&SAVE]);
}

#[test]
fn saves_come_after_so_much_time_and_only_if_there_is_something_to_save() {
    let mut bench = named(|config| config.save_interval = Some(10 * SECOND));
    bench.now += 20 * SECOND;
    assert!(told(bench.step(Input::Tick)).is_empty(), "nothing has run");
    assert_eq!(bench.runs(1), [&SAVE], "it was due before");
    bench.is_asked(10);
    bench.saved(Some(1));
    bench.submits(2);
    bench.now += 10 * SECOND;
    assert!(told(bench.step(Input::Tick)).is_empty(), "it runs");
    assert_eq!(bench.finishes(2), [&SAVE]);
    bench.is_asked(11);
    bench.saved(Some(2));
    bench.now += 9 * SECOND;
    bench.runs(3);
    assert_eq!(bench.alarm.map(|at| at - bench.now), Some(SECOND), "the pool is woken for it");
    bench.now += SECOND;
    assert_eq!(told(bench.step(Input::Tick)), [&SAVE]);
    bench.now += 20 * SECOND;
    assert!(told(bench.step(Input::Tick)).is_empty(), "one at a time");
}

#[test]
fn a_session_that_takes_too_much_memory_is_saved_once_and_only_for_its_own_worker() {
    let strained = |generation| Input::Strained { slot: 0, generation: Generation(generation) };
    let mut bench = named(|_| {});
    bench.submits(1);
    bench.step(strained(0));
    assert!(bench.finishes(1).is_empty(), "another worker was meant");
    bench.submits(2);
    bench.step(strained(1));
    assert_eq!(bench.finishes(2), [&SAVE]);
    bench.is_asked(10);
    bench.saved(Some(2));
    assert!(bench.runs(3).is_empty(), "it was told once, and saved once");
}

/// Neither a name nor a restore: nobody would ever read it.
#[test]
fn what_nobody_could_bring_back_is_not_saved() {
    for (on_death, expected) in [(OnDeath::Fail, 0), (OnDeath::Restore, 1)] {
        let mut config = PoolConfig::default();
        (config.max_sessions, config.min_idle, config.save_every) = (1, 1, Some(1));
        config.on_death = on_death;
        let mut bench = Bench::new(config);
        bench.step(Input::Begin);
        bench.ready(0, 1);
        bench.step(Input::Lease(LEASE, None));
        assert_eq!(bench.runs(1).len(), expected, "{on_death:?}");
        if expected == 1 {
            bench.is_asked(10);
            bench.saved(None);
        }
        assert!(is_over(&bench.releases()), "without a name its end needs no save: {on_death:?}");
    }
}

/// It could expire in the middle of a long one.
#[test]
fn a_session_does_not_expire_while_it_is_saved() {
    let mut bench = named(|config| (config.save_every, config.session_timeout) = (Some(1), Some(SECOND)));
    bench.submits(1);
    let idle = Input::Idle { slot: 0, generation: Generation(1), execution: id(1) };
    assert_eq!(bench.step(idle), [Effect::DisarmLease(LEASE), SAVE]);
    bench.is_asked(10);
    let saved = Input::Saved { lease: LEASE, covers: Some(1), state_job: true };
    assert_eq!(bench.step(saved), [Effect::ArmLease(LEASE, SECOND)]);
}

/// Code that a dead worker had not started comes back while the session is about to end.
#[test]
fn a_session_with_work_in_its_line_does_not_end_behind_its_last_save() {
    let mut bench = named(|config| config.on_death = OnDeath::Restore);
    bench.submits(1);
    bench.step(dead(0, 1));
    bench.ready(0, 2);
    bench.step(Input::Restored { lease: LEASE, generation: Generation(2), fate: Ok(0) });
    bench.runs(2);
    assert_eq!(bench.releases(), [&SAVE]);
    assert!(
        told(bench.step(Input::Requeue {
            execution: id(1),
            lease: Some(LEASE),
            asked: crate::machine::queue::Asked::default(),
            expects: None
        }))
        .is_empty()
    );
    assert_eq!(bench.saved(None), [&assign(1)]);
    assert_eq!(bench.finishes(1), [&SAVE], "it is saved behind what ran last");
    bench.is_asked(10);
    assert!(is_over(&bench.saved(Some(3))));
}

#[test]
fn what_was_just_brought_back_is_not_saved() {
    let mut bench = named(|config| {
        (config.on_death, config.save_every, config.save_interval) =
            (OnDeath::Restore, Some(2), Some(10 * SECOND));
    });
    bench.runs(1);
    bench.step(Input::Strained { slot: 0, generation: Generation(1) });
    bench.now += Duration::from_secs(8);
    bench.step(dead(0, 1));
    bench.ready(0, 2);
    bench.step(Input::Restored { lease: LEASE, generation: Generation(2), fate: Ok(0) });
    bench.now += Duration::from_secs(8);
    assert!(told(bench.step(Input::Tick)).is_empty());
    assert!(bench.runs(2).is_empty(), "one execution, 8 s, and no worker that takes too much");
    let mut bench = named(|config| config.on_death = OnDeath::Restore);
    bench.runs(1);
    bench.step(dead(0, 1));
    bench.ready(0, 2);
    bench.step(Input::Restored { lease: LEASE, generation: Generation(2), fate: Ok(0) });
    assert!(is_over(&bench.releases()), "there is nothing that is not saved");
}

#[test]
fn a_save_of_the_holder_is_no_answer_to_that_of_the_pool() {
    let mut bench = named(|config| config.save_every = Some(1));
    bench.runs(1);
    assert!(told(bench.step(Input::Saved { lease: LEASE, covers: Some(0), state_job: false })).is_empty());
    assert!(bench.submits(2).is_empty(), "the save of the pool still goes first");
    assert_eq!(bench.pool.status().saved, 0, "it counts those of the pool");
    assert_eq!(bench.is_asked(10), [&assign(2)]);
}
