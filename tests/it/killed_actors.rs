//! Actors of the runtime that die (fault rows 42 to 44, P1): every accepted request still gets its one outcome, at
//! once, and no worker is left.

use std::time::Duration;

use ostler::{
    Lost, LostCause, Outcome, Request, Session, SubmitError,
    testing::{ScriptedSpawner, actor_of, supervisor_of},
};
use ractor::ActorCell;
use tokio::time::Instant;

use crate::{
    support::{Pool, guarded, turns},
    workers::{first_does, polite, silent},
};

mod unheard;

fn gone(started: bool, actor: &'static str) -> Outcome {
    Outcome::Lost(Lost { started, cause: LostCause::ActorGone(actor) })
}

/// The session actors of a pool, in the order in which they were started.
fn sessions_of(pool: &Pool) -> Vec<ActorCell> {
    let mut sessions = supervisor_of(&pool.runtime).get_children();
    sessions.sort_by_key(|session| session.get_id().pid());
    sessions
}

/// Lets everything that is on its way arrive; no time passes that anybody waits for.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn f42_the_actor_of_a_running_execution_dies_and_its_worker_is_freed() {
    guarded(async {
        let pool = Pool::start(polite()).await;
        let execution = pool.runtime.execute("sleep 3600000").await.unwrap();
        settle().await;
        let begun = Instant::now();
        actor_of(&execution).kill();
        assert_eq!(execution.outcome().await, gone(true, "execution"));
        assert!(begun.elapsed().is_zero(), "at once: {:?}", begun.elapsed());
        pool.works_on_worker(1).await;
        assert!(begun.elapsed() <= Duration::from_secs(1), "the worker is cancelled, not waited for");
        assert!(pool.runtime.list().await.is_empty());
        pool.close().await;
    })
    .await;
}

/// Its worker was told to stop already: being told again gives it no new grace.
#[tokio::test(start_paused = true)]
async fn f42_an_actor_that_dies_after_its_cancel_does_not_prolong_the_grace() {
    guarded(async {
        let pool = Pool::start(first_does(silent)).await;
        let execution = pool.runtime.execute("does not stop").await.unwrap();
        settle().await;
        let begun = Instant::now();
        execution.cancel();
        tokio::time::sleep(Duration::from_millis(900)).await;
        actor_of(&execution).kill();
        assert_eq!(execution.outcome().await, gone(true, "execution"));
        pool.works_on_worker(2).await;
        assert!(begun.elapsed() <= Duration::from_millis(1_050), "killed after {:?}", begun.elapsed());
        pool.close().await;
    })
    .await;
}

/// It dies after it was given to a worker, and before that acknowledged it: nobody may work for it in vain. Whether the
/// worker has begun meanwhile nobody will hear, so it is not told that nothing ran (P5).
#[tokio::test(start_paused = true)]
async fn f42_the_actor_of_an_assigned_execution_dies_and_its_worker_is_freed() {
    guarded(async {
        let workers = ScriptedSpawner::new(|mut stage| async move {
            stage.ready().await;
            while let Some(execute) = stage.next_execute().await {
                if stage.number() == 1 && execute.code == "is never acknowledged" {
                    stage.wait_for_cancel(execute.id).await;
                    stage.cancelled(execute.id).await;
                } else {
                    stage.started(execute.id).await;
                    stage.completed(execute.id, stage.number() as u64).await;
                }
            }
            ostler::Exit::Code(0)
        });
        let pool = Pool::start(workers).await;
        let request = Request::python("is never acknowledged").no_deadline();
        let execution = pool.runtime.execute(request).await.unwrap();
        settle().await;
        actor_of(&execution).kill();
        assert_eq!(execution.outcome().await, gone(true, "execution"));
        pool.works_on_worker(1).await;
        pool.close().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn f42_the_actor_of_a_queued_execution_dies_and_its_place_is_free() {
    guarded(async {
        let pool = Pool::start_with(polite(), |it| it.queue(1)).await;
        let running = pool.runtime.execute("sleep 1000").await.unwrap();
        let queued = pool.runtime.execute("queued").await.unwrap();
        assert!(matches!(pool.runtime.execute("x").await, Err(SubmitError::QueueFull { limit: 1, .. })));
        actor_of(&queued).kill();
        assert_eq!(queued.outcome().await, gone(false, "execution"));
        let next = pool.runtime.execute("next").await.unwrap();
        assert!(running.outcome().await.is_completed() && next.outcome().await.is_completed());
        assert_eq!(
            pool.workers.log().iter().filter(|entry| format!("{entry:?}").contains("queued")).count(),
            0
        );
        pool.close().await;
    })
    .await;
}

/// The same in the queue of a leased session: those behind it still run.
#[tokio::test(start_paused = true)]
async fn f42_the_actor_of_an_execution_in_the_line_of_a_session_dies_and_the_line_goes_on() {
    guarded(async {
        let pool = Pool::start(polite()).await;
        let session: Session = pool.runtime.session().await.unwrap();
        let running = session.execute("sleep 1000").await.unwrap();
        let queued = session.execute("queued").await.unwrap();
        let behind = session.execute("behind").await.unwrap();
        actor_of(&queued).kill();
        assert_eq!(queued.outcome().await, gone(false, "execution"));
        assert!(running.outcome().await.is_completed());
        assert_eq!(behind.outcome().await.value(), Some(&"behind".into()));
        drop(session);
        pool.works_on_worker(2).await;
        pool.close().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn f43_a_session_actor_dies_and_its_execution_is_told_at_once() {
    guarded(async {
        let pool = Pool::start(polite()).await;
        let execution = pool.runtime.execute("sleep 3600000").await.unwrap();
        settle().await;
        let begun = Instant::now();
        sessions_of(&pool)[0].kill();
        assert_eq!(execution.outcome().await, gone(true, "session"));
        assert!(begun.elapsed().is_zero(), "at once: {:?}", begun.elapsed());
        pool.works_on_worker(2).await;
        pool.close().await;
    })
    .await;
}

/// Its worker counts until it is reaped, as any: there are never more than `max_sessions`.
#[tokio::test(start_paused = true)]
async fn f43_the_worker_of_a_dead_session_actor_counts_until_it_is_reaped() {
    guarded(async {
        let pool = Pool::start(polite().reaped_after(Duration::from_millis(300))).await;
        let begun = Instant::now();
        sessions_of(&pool)[0].kill();
        pool.works_on_worker(2).await;
        assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
        assert_eq!(pool.workers.peak(), 1);
        pool.close().await;
    })
    .await;
}

/// A request that reaches the mailbox of a session actor which is no more is not lost with it.
#[tokio::test(start_paused = true)]
async fn f43_a_request_given_to_a_session_actor_that_dies_is_handed_to_another() {
    guarded(async {
        let pool = Pool::start(polite()).await;
        let (execution, ()) = tokio::join!(biased; pool.runtime.execute("worker"), async {
            sessions_of(&pool)[0].kill();
        });
        assert_eq!(execution.unwrap().outcome().await.value(), Some(&2.into()));
        pool.close().await;
    })
    .await;
}

/// A leased session ends with its actor, and says so.
#[tokio::test(start_paused = true)]
async fn f43_a_leased_session_ends_with_its_actor() {
    guarded(async {
        let pool = Pool::start(polite()).await;
        let mut session = pool.runtime.session().await.unwrap();
        let running = session.execute("sleep 1000").await.unwrap();
        let waiting = session.execute("waits").await.unwrap();
        settle().await;
        sessions_of(&pool)[0].kill();
        assert_eq!(running.outcome().await, gone(true, "session"));
        let ended = Lost { started: false, cause: LostCause::SessionEnded };
        assert_eq!(waiting.outcome().await, Outcome::Lost(ended));
        assert!(matches!(session.next_event().await, Some(ostler::SessionEvent::Ended { .. })));
        assert_eq!(session.next_event().await, None);
        assert!(matches!(session.execute("x").await, Err(SubmitError::SessionEnded { .. })));
        drop(session);
        pool.works_on_worker(2).await;
        pool.close().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn f44_the_supervisor_dies_and_everybody_is_told() {
    guarded(async {
        let pool = Pool::start(polite()).await;
        let forever = |code: &str| Request::python(code).no_deadline();
        let running = pool.runtime.execute(forever("sleep 3600000")).await.unwrap();
        let queued = pool.runtime.execute(forever("queued")).await.unwrap();
        settle().await;
        let begun = Instant::now();
        let runtime = pool.runtime.clone();
        let leasing = tokio::spawn(async move { runtime.session().await.map(drop) });
        settle().await;
        supervisor_of(&pool.runtime).kill();
        assert_eq!(running.outcome().await, gone(true, "session"));
        assert_eq!(queued.outcome().await, gone(false, "supervisor"));
        assert!(matches!(leasing.await.unwrap(), Err(SubmitError::ShuttingDown)));
        assert!(matches!(pool.runtime.run("late").await, Err(SubmitError::ShuttingDown)));
        assert!(begun.elapsed() <= Duration::from_millis(100), "{:?}", begun.elapsed());
        settle().await;
        assert_eq!(pool.workers.live(), 0, "its sessions die with it");
        let status = pool.status().await;
        assert!(status.shutting_down && status.totals.in_flight == 0, "{status:?}");
        pool.close().await;
    })
    .await;
}

/// A worker that dies unstarted and a supervisor that dies before it hears of it: the request is told all the same.
#[tokio::test(start_paused = true)]
async fn f44_the_supervisor_dies_while_a_request_is_on_its_way_back_into_the_line() {
    let mut unrun = 0;
    for steps in 0..80 {
        unrun += guarded(async {
            let workers = ScriptedSpawner::new(|mut stage| async move {
                stage.ready().await;
                stage.next_execute().await;
                ostler::Exit::Signal(9)
            });
            let pool = Pool::start(workers).await;
            let request = Request::python("worker").no_deadline();
            let (runtime, supervisor) = (pool.runtime.clone(), supervisor_of(&pool.runtime));
            let told = tokio::spawn(async move {
                let execution = runtime.execute(request).await.unwrap();
                turns(steps).await;
                supervisor.kill();
                execution.outcome().await
            });
            let outcome = told.await.unwrap();
            let Outcome::Lost(lost) = outcome else { panic!("after {steps} steps: {outcome}") };
            // Its session dies with the supervisor, and may not have heard yet how its worker died.
            let unheard = lost.cause == LostCause::ActorGone("session");
            assert!(!lost.started || unheard, "{steps} steps: {lost}");
            // Nobody is left whom a shutdown could ask whether the worker is dead.
            settle().await;
            pool.close().await;
            usize::from(!lost.started)
        })
        .await;
    }
    assert!((1..80).contains(&unrun), "{unrun} of 80 are proven unrun");
}

/// The same with a shutdown in place of a death: what comes back into the queue while the pool ends is told.
#[tokio::test(start_paused = true)]
async fn f56_a_request_on_its_way_back_into_the_line_is_told_of_the_shutdown() {
    for steps in 0..80 {
        guarded(async {
            let workers = ScriptedSpawner::new(|mut stage| async move {
                stage.ready().await;
                stage.next_execute().await;
                ostler::Exit::Signal(9)
            });
            let pool = Pool::start(workers).await;
            let request = Request::python("worker").no_deadline();
            let runtime = pool.runtime.clone();
            let told = tokio::spawn(async move {
                let execution = runtime.execute(request).await.unwrap();
                turns(steps).await;
                let ends = tokio::spawn(async move { runtime.shutdown(Duration::ZERO).await });
                (execution.outcome().await, ends.await)
            });
            let (outcome, ends) = told.await.unwrap();
            assert!(
                matches!(outcome, Outcome::Lost(Lost { started: false, .. })),
                "after {steps} steps: {outcome}"
            );
            ends.unwrap();
            pool.close().await;
        })
        .await;
    }
}

/// A session that is dying hands back what it is given. What happens to it later is of no account to the one that has
/// the request now: its deadline is still kept.
#[tokio::test(start_paused = true)]
async fn a_request_handed_on_is_not_forgotten_when_the_first_worker_is_reaped() {
    guarded(async {
        let workers = ScriptedSpawner::new(|mut stage| async move {
            stage.ready().await;
            if stage.number() == 1 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                stage.send_bytes(b"not a frame").await;
            }
            // The others read and never acknowledge.
            while stage.recv().await.is_some() {}
            std::future::pending().await
        });
        let workers = workers.reaped_after(Duration::from_millis(500));
        let pool = Pool::start_with(workers, |it| it.max_sessions(2).min_idle(2)).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        let begun = Instant::now();
        let execution = pool.runtime.execute("worker").await.unwrap();
        let outcome = execution.outcome().await;
        assert!(matches!(outcome, Outcome::TimedOut(_)), "{outcome}");
        assert_eq!(begun.elapsed(), Duration::from_secs(60));
        pool.close().await;
    })
    .await;
}

/// Whoever stops waiting for the answer to a submission has submitted nothing, or has cancelled it.
#[tokio::test(start_paused = true)]
async fn dropping_a_submission_before_its_answer_cancels_what_was_submitted() {
    for polls in 1..6 {
        guarded(async {
            let pool = Pool::start(first_does(silent)).await;
            {
                let mut submission = Box::pin(pool.runtime.execute(Request::python("runs").no_deadline()));
                for _ in 0..polls {
                    let polled = std::future::poll_fn(|context| {
                        std::task::Poll::Ready(submission.as_mut().poll(context).is_pending())
                    });
                    if !polled.await {
                        break;
                    }
                    tokio::task::yield_now().await;
                }
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
            let status = pool.status().await;
            assert_eq!((status.totals.in_flight, status.busy), (0, 0), "{status:?}");
            pool.close().await;
        })
        .await;
    }
}
