//! Sessions that go on in a new worker when theirs dies: what is told, what waits, what is refused, and when it ends (P5,
//! P6, P8, F4).

use std::time::Duration;

use ostler::{
    Death, DeathCause, Event, Execution, Exit, Generation, Lost, LostCause, OnDeath, Outcome, Request,
    RestartPolicy, RuntimeBuilder, Session, SessionEvent, SessionRestored, SubmitError, Value,
    testing::ScriptedSpawner,
};

use crate::{
    state::keepers,
    support::{Pool, guarded},
    workers::polite,
};

async fn pool_with(workers: ScriptedSpawner, change: impl FnOnce(RuntimeBuilder) -> RuntimeBuilder) -> Pool {
    Pool::start_with(workers, |it| change(it.on_death(OnDeath::Restore))).await
}

async fn pool() -> Pool {
    pool_with(keepers(|_| None), |it| it).await
}

async fn value(session: &Session, code: &str) -> Option<Value> {
    session.run(code).await.unwrap().value().cloned()
}

/// What an execution tells first, if that is that its session was restored; and how it ends.
async fn told(mut execution: Execution) -> (Option<SessionRestored>, Outcome) {
    let mut news = None;
    let mut nth = 0;
    while let Some(event) = execution.next().await {
        if let Event::SessionRestored(restored) = event {
            assert_eq!(nth, 0, "it comes first, and once");
            news = Some(*restored);
        }
        nth += 1;
    }
    (news, execution.outcome().await)
}

fn lost_running(outcome: &Outcome) {
    assert!(matches!(outcome, Outcome::Lost(Lost { started: true, cause: LostCause::Died(_) })), "{outcome}");
}

/// F4: the state is back, what is not is told with its type and reason, and the handle is the same.
#[tokio::test(start_paused = true)]
async fn a_session_whose_worker_died_goes_on_with_its_last_checkpoint() {
    guarded(async {
        let pool = pool().await;
        let mut session = pool.runtime.session().await.unwrap();
        session.run("keep one").await.unwrap();
        session.checkpoint().await.unwrap();
        session.run("keep two").await.unwrap();
        assert_eq!((session.generation(), session.pid()), (Generation(1), Some(1)));
        lost_running(&session.run("die 9").await.unwrap().outcome);
        let (news, outcome) = told(session.execute("tell").await.unwrap()).await;
        assert_eq!(outcome.value(), Some(&"one".into()));
        let news = news.expect("it is told");
        assert_eq!((news.generation, news.unsaved, news.from_checkpoint), (Generation(2), 2, true));
        assert_eq!(news.restored, ["text"]);
        let [lost] = &news.lost[..] else { panic!("{news:?}") };
        assert_eq!((&*lost.name, lost.type_name.as_deref()), ("socket", Some("Socket")));
        assert_eq!(lost.reason, "it was not saved: it is open");
        assert!(news.why.contains("signal 9"), "{}", news.why);
        assert_eq!(
            news.to_string(),
            "back: text; what 2 executions made or changed since the last save is lost\n    \
             lost `socket` (Socket): it was not saved: it is open"
        );
        assert_eq!((session.generation(), session.slot()), (Generation(2), 0));
        assert_eq!(value(&session, "worker").await, Some(2.into()));
        assert_eq!(told(session.execute("tell").await.unwrap()).await.0, None, "told once");
        let event = session.next_event().await;
        assert!(matches!(&event, Some(SessionEvent::Restored(same)) if **same == news), "{event:?}");
        assert_eq!(pool.status().await.restored, 1);
        drop(session);
        pool.close().await;
    })
    .await;
}

/// P5: what ran is lost and not run again; what waited runs, in order, when the state is back.
#[tokio::test(start_paused = true)]
async fn what_waits_in_the_line_runs_when_the_state_is_back() {
    guarded(async {
        let slow = |number| async move {
            tokio::time::sleep(Duration::from_millis(if number > 1 { 500 } else { 0 })).await;
            Ok(())
        };
        let pool = pool_with(keepers(|_| None).before_start(slow), |it| it.session_queue(3)).await;
        let session = pool.runtime.session().await.unwrap();
        session.run("keep state").await.unwrap();
        session.checkpoint().await.unwrap();
        let busy = session.execute("sleep 50").await.unwrap();
        let dies = session.execute("die 9").await.unwrap();
        let first = session.execute("tell").await.unwrap();
        let second = session.execute("worker").await.unwrap();
        assert!(busy.outcome().await.is_completed());
        lost_running(&dies.outcome().await);
        let third = session.execute("tell").await.unwrap();
        let refused = session.execute("tell").await.unwrap_err();
        assert_eq!(refused, SubmitError::SessionQueueFull { limit: 3 }, "bounded as ever");
        let (news, outcome) = told(first).await;
        assert_eq!((news.unwrap().unsaved, outcome.value()), (2, Some(&"state".into())));
        assert_eq!(second.outcome().await.value(), Some(&2.into()));
        assert_eq!(third.outcome().await.value(), Some(&"state".into()));
        drop(session);
        pool.close().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn without_a_checkpoint_it_goes_on_with_nothing_and_says_so() {
    guarded(async {
        // Also workers that can save nothing.
        for workers in [keepers(|_| None), polite()] {
            let pool = pool_with(workers, |it| it).await;
            let session = pool.runtime.session().await.unwrap();
            session.run("keep state").await.unwrap();
            lost_running(&session.run("die 9").await.unwrap().outcome);
            let report = session.run("worker").await.unwrap();
            let news = report.restored.as_deref().expect("a report says it too");
            assert_eq!((news.from_checkpoint, news.unsaved), (false, 2));
            assert_eq!(news.to_string(), "nothing had been saved, so all names are gone");
            assert_eq!(report.value(), Some(&2.into()));
            drop(session);
            pool.close().await;
        }
    })
    .await;
}

/// Deaths that nobody was told of yet add up.
#[tokio::test(start_paused = true)]
async fn what_two_deaths_lost_is_told_together() {
    guarded(async {
        let pool = pool().await;
        let mut session = pool.runtime.session().await.unwrap();
        session.run("keep state").await.unwrap();
        session.checkpoint().await.unwrap();
        session.run("keep more").await.unwrap();
        lost_running(&session.run("die 9").await.unwrap().outcome);
        assert!(matches!(session.next_event().await, Some(SessionEvent::Restored(_))));
        // The second worker dies of a question, which is no code, and is told nothing.
        assert_eq!(session.generation(), Generation(2));
        let error = session.restore(&poison().await).await.unwrap_err();
        assert!(error.to_string().contains("signal 11"), "{error}");
        let (news, outcome) = told(session.execute("tell").await.unwrap()).await;
        let news = news.unwrap();
        assert_eq!((news.generation, news.unsaved), (Generation(3), 3));
        assert_eq!(outcome.value(), Some(&"state".into()));
        drop(session);
        pool.close().await;
    })
    .await;
}

/// Fault 12 in a session: code that the worker did not start runs in the next one, once and before what came later, and is
/// not among what is lost. The limit of P5: once.
#[tokio::test(start_paused = true)]
async fn f12_code_that_the_worker_did_not_start_runs_in_the_next_one() {
    guarded(async {
        let pool = pool().await;
        let session = pool.runtime.session().await.unwrap();
        session.run("keep state").await.unwrap();
        session.checkpoint().await.unwrap();
        let first = session.execute("fall 1").await.unwrap();
        let second = session.execute("tell").await.unwrap();
        let report = first.report().await;
        assert!(report.outcome.is_completed(), "{}", report.outcome);
        let news = report.restored.expect("it is told");
        assert_eq!((news.generation, news.unsaved), (Generation(2), 0));
        let (news, outcome) = told(second).await;
        assert_eq!((news, outcome.value()), (None, Some(&"state".into())));
        assert_eq!(pool.status().await.totals.requeued, 1);

        let report = session.run("fall 3").await.unwrap();
        let lost = Outcome::Lost(Lost {
            started: false,
            cause: LostCause::Died(Death::new(DeathCause::Itself, Exit::Signal(9))),
        });
        assert_eq!(report.outcome, lost, "no third worker is tried");
        assert_eq!(report.restored.expect("that of the second").generation, Generation(3));
        // It was given to two workers, and came back from one: it counts once.
        let (news, _) = told(session.execute("tell").await.unwrap()).await;
        assert_eq!(news.map(|news| (news.generation, news.unsaved)), Some((Generation(4), 1)));
        let bound = Request::new("fall 4").expect_generation(session.generation());
        let outcome = session.run(bound).await.unwrap().outcome;
        let other = LostCause::OtherGeneration { expected: Generation(4), found: Generation(5) };
        assert_eq!(outcome, Outcome::Lost(Lost { started: false, cause: other }));
        drop(session);
        pool.close().await;
    })
    .await;
}

/// What was lost is told to the code that runs next; if its worker dies before it starts it, all of it is in the report.
#[tokio::test(start_paused = true)]
async fn f12_what_was_lost_before_code_came_back_is_in_its_report_too() {
    guarded(async {
        let pool = pool().await;
        let session = pool.runtime.session().await.unwrap();
        session.run("keep state").await.unwrap();
        lost_running(&session.run("die 9").await.unwrap().outcome);
        let report = session.run("fall 2").await.unwrap();
        assert!(report.outcome.is_completed(), "{}", report.outcome);
        let news = report.restored.expect("it is told");
        assert_eq!((news.generation, news.unsaved), (Generation(3), 2));
        drop(session);
        pool.close().await;
    })
    .await;
}

/// A checkpoint that kills whoever restores it.
async fn poison() -> ostler::Checkpoint {
    let pool = pool().await;
    let session = pool.runtime.session().await.unwrap();
    session.run("keep poison").await.unwrap();
    let checkpoint = session.checkpoint().await.unwrap();
    drop(session);
    pool.close().await;
    checkpoint
}

/// A request that is made for one worker never runs in the next.
#[tokio::test(start_paused = true)]
async fn a_request_for_another_generation_is_refused_with_both_numbers() {
    guarded(async {
        let pool = pool().await;
        let session = pool.runtime.session().await.unwrap();
        let here = session.generation();
        let pinned = |code: &str| Request::python(code).expect_generation(here);
        assert!(session.run(pinned("keep x")).await.unwrap().outcome.is_completed());
        let busy = session.execute("sleep 50").await.unwrap();
        let dies = session.execute(pinned("die 9")).await.unwrap();
        let waits = session.execute(pinned("tell")).await.unwrap();
        let plain = session.execute("worker").await.unwrap();
        assert!(busy.outcome().await.is_completed());
        lost_running(&dies.outcome().await);
        let (expected, found) = (Generation(1), Generation(2));
        let (news, outcome) = told(waits).await;
        let cause = LostCause::OtherGeneration { expected, found };
        assert_eq!((news, &outcome), (None, &Outcome::Lost(Lost { started: false, cause })));
        assert!(
            outcome.to_string().contains("expects generation 1 of its session, which is in generation 2"),
            "{outcome}"
        );
        assert!(told(plain).await.0.is_some(), "the first that runs is told");
        let refused = session.execute(pinned("tell")).await.unwrap_err();
        assert_eq!(refused, SubmitError::OtherGeneration { expected, found });
        assert!(
            refused.to_string().contains("expects generation 1 of the session, and it is generation 2"),
            "{refused}"
        );
        drop(session);
        pool.close().await;
    })
    .await;
}

/// P8: a state that kills every worker is given up within the limits, with a typed error and no storm.
#[tokio::test(start_paused = true)]
async fn a_state_that_kills_its_workers_is_given_up() {
    guarded(async {
        let mut policy = RestartPolicy::default();
        policy.intensity = 3;
        let pool = pool_with(keepers(|_| None), |it| it.restart(policy)).await;
        let mut session = pool.runtime.session().await.unwrap();
        session.run("keep poison").await.unwrap();
        session.checkpoint().await.unwrap();
        let dies = session.execute("die 9").await.unwrap();
        let waits = session.execute("tell").await.unwrap();
        lost_running(&dies.outcome().await);
        let begun = tokio::time::Instant::now();
        let lost = waits.outcome().await;
        assert_eq!(lost, Outcome::Lost(Lost { started: false, cause: LostCause::SessionEnded }));
        assert!(begun.elapsed() >= Duration::from_millis(100), "it backs off");
        let Some(SessionEvent::Ended { why, .. }) = session.next_event().await else {
            panic!("it has ended")
        };
        assert!(why.contains("signal 11") && why.contains("not restored again"), "{why}");
        let refused = session.execute("tell").await.unwrap_err();
        assert!(matches!(&refused, SubmitError::SessionEnded { why: same } if *same == why), "{refused}");
        let spawned = pool.status().await.spawned;
        drop(session);
        assert!(spawned <= 6, "{spawned} workers");
        assert!(pool.status().await.failed.is_none(), "others are served all the same");
        assert!(pool.outcome("worker").await.is_completed());
        pool.close().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_state_that_cannot_be_brought_back_ends_the_session_with_the_reason() {
    guarded(async {
        let pool = pool().await;
        let mut session = pool.runtime.session().await.unwrap();
        session.run("keep refusal").await.unwrap();
        session.checkpoint().await.unwrap();
        lost_running(&session.run("die 9").await.unwrap().outcome);
        let Some(SessionEvent::Ended { why, .. }) = session.next_event().await else {
            panic!("it has ended")
        };
        assert!(why.contains("could not be restored") && why.contains("not that one"), "{why}");
        drop(session);
        pool.close().await;
    })
    .await;
}

/// P8 and P10: nobody waits for a worker that will not come.
#[tokio::test(start_paused = true)]
async fn a_restore_ends_with_the_lease_the_pool_and_its_hope() {
    guarded(async {
        for ends in ["release", "shutdown", "failure"] {
            let workers = keepers(|_| None).before_start(move |number| async move {
                match (number, ends) {
                    (1, _) => Ok(()),
                    (2.., "failure") => {
                        Err(ostler::SpawnError::NotFound { program: "gone".into(), path_searched: None })
                    }
                    _ => std::future::pending().await,
                }
            });
            let pool = pool_with(workers, |it| it.ready_timeout(Duration::from_secs(3_600))).await;
            let session = pool.runtime.session().await.unwrap();
            lost_running(&session.run("die 9").await.unwrap().outcome);
            let waits = session.execute("tell").await.unwrap();
            match ends {
                "release" => {
                    let canceller = waits.canceller();
                    drop(session);
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    canceller.cancel();
                    assert!(matches!(waits.outcome().await, Outcome::Cancelled(_)));
                }
                "shutdown" => {
                    pool.runtime.shutdown(Duration::from_secs(5)).await;
                    let expected = Outcome::Lost(Lost { started: false, cause: LostCause::ShuttingDown });
                    assert_eq!(waits.outcome().await, expected);
                }
                _ => {
                    let expected = Outcome::Lost(Lost { started: false, cause: LostCause::SessionEnded });
                    assert_eq!(waits.outcome().await, expected);
                    let refused = session.execute("tell").await.unwrap_err();
                    assert!(refused.to_string().contains("the pool has failed"), "{refused}");
                }
            }
            pool.close().await;
        }
    })
    .await;
}

/// Faults 42 and 43: also a session whose actor dies goes on.
#[tokio::test(start_paused = true)]
async fn f43_a_session_whose_actor_dies_is_restored_when_its_worker_is_reaped() {
    guarded(async {
        let pool = pool().await;
        let session = pool.runtime.session().await.unwrap();
        session.run("keep state").await.unwrap();
        session.checkpoint().await.unwrap();
        let sessions = ostler::testing::supervisor_of(&pool.runtime).get_children();
        for actor in &sessions {
            actor.kill();
        }
        pool.eventually("restored", |status| status.restored == 1).await;
        let (news, outcome) = told(session.execute("tell").await.unwrap()).await;
        assert_eq!((news.unwrap().unsaved, outcome.value()), (0, Some(&"state".into())));
        drop(session);
        pool.close().await;
    })
    .await;
}

/// The default is what it was.
#[tokio::test(start_paused = true)]
async fn a_session_that_is_not_to_be_restored_ends_with_its_worker() {
    guarded(async {
        let pool = Pool::start(keepers(|_| None)).await;
        let session = pool.runtime.session().await.unwrap();
        session.run("keep state").await.unwrap();
        session.checkpoint().await.unwrap();
        lost_running(&session.run("die 9").await.unwrap().outcome);
        let refused = session.execute("tell").await.unwrap_err();
        assert!(matches!(refused, SubmitError::SessionEnded { .. }), "{refused}");
        drop(session);
        pool.close().await;
    })
    .await;
}
