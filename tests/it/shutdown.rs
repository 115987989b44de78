//! How a pool ends (fault rows 56 and 57, F11, P10).

use std::time::Duration;

use ostler::{
    Lost, LostCause, Outcome, Request, Runtime, SubmitError,
    testing::{ScriptedSpawner, Stage},
};
use tokio::time::Instant;

use crate::{
    support::{Pool, guarded, settings},
    workers::{first_does, polite, serve, silent},
};

fn shutting_down(started: bool) -> Outcome {
    Outcome::Lost(Lost { started, cause: LostCause::ShuttingDown })
}

#[tokio::test(start_paused = true)]
async fn f56_what_runs_is_served_what_waits_is_told_and_what_comes_is_refused() {
    guarded(async {
        let pool = Pool::start_with(polite(), |it| it.max_sessions(2).min_idle(2)).await;
        pool.eventually("both are idle", |status| status.idle == 2).await;
        let session = pool.runtime.session().await.unwrap();
        let leased = session.execute("sleep 2000").await.unwrap();
        let in_line = session.execute("waits").await.unwrap();
        let running = pool.runtime.execute("sleep 1000").await.unwrap();
        let queued = pool.runtime.execute("waits").await.unwrap();
        let runtime = pool.runtime.clone();
        let leasing = tokio::spawn(async move { runtime.session().await.map(drop) });
        tokio::time::sleep(Duration::from_millis(1)).await;

        let begun = Instant::now();
        let runtime = pool.runtime.clone();
        let stopped = tokio::spawn(async move { runtime.shutdown(Duration::from_secs(5)).await });
        assert_eq!(queued.outcome().await, shutting_down(false));
        assert_eq!(in_line.outcome().await, shutting_down(false));
        assert!(matches!(leasing.await.unwrap(), Err(SubmitError::ShuttingDown)));
        assert!(begun.elapsed().is_zero(), "they are told at once");
        assert!(matches!(pool.runtime.execute("late").await, Err(SubmitError::ShuttingDown)));
        assert!(matches!(session.execute("late").await, Err(SubmitError::ShuttingDown)));
        assert!(pool.status().await.shutting_down);
        assert!(running.outcome().await.is_completed() && leased.outcome().await.is_completed());
        stopped.await.unwrap();
        assert!(
            begun.elapsed() <= Duration::from_millis(2_010),
            "not longer than it takes: {:?}",
            begun.elapsed()
        );
        assert!(matches!(pool.runtime.execute("late").await, Err(SubmitError::ShuttingDown)));
        drop(session);
        pool.close().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn f56_what_still_runs_at_the_end_of_the_grace_is_killed_and_told() {
    guarded(async {
        let pool = Pool::start(polite()).await;
        let running = pool.runtime.execute("sleep 3600000").await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let begun = Instant::now();
        pool.runtime.shutdown(Duration::from_secs(3)).await;
        assert_eq!(begun.elapsed(), Duration::from_secs(3));
        assert_eq!(running.outcome().await, shutting_down(true));
        pool.close().await;
    })
    .await;
}

/// What was given to a worker that has not acknowledged it, too; it is not handed to another one.
#[tokio::test(start_paused = true)]
async fn f56_what_was_assigned_and_not_started_is_told_of_the_shutdown() {
    guarded(async {
        let workers = ScriptedSpawner::new(|mut stage: Stage| async move {
            stage.ready().await;
            while stage.recv().await.is_some() {}
            std::future::pending().await
        });
        let pool = Pool::start(workers).await;
        let assigned = pool.runtime.execute(Request::python("x").no_deadline()).await.unwrap();
        pool.runtime.shutdown(Duration::from_secs(1)).await;
        assert_eq!(assigned.outcome().await, shutting_down(false));
        pool.close().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn f57_a_second_shutdown_may_be_shorter_and_never_makes_the_first_one_longer() {
    for (first, second, ends_after) in [(10, 2, 3), (2, 10, 2), (10, 0, 1), (0, 10, 0)] {
        guarded(async {
            let pool = Pool::start(polite()).await;
            let running = pool.runtime.execute("sleep 3600000").await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
            let begun = Instant::now();
            let runtime = pool.runtime.clone();
            let one = tokio::spawn(async move { runtime.shutdown(Duration::from_secs(first)).await });
            // The first one arrives first, at the latest a second before the other.
            tokio::time::sleep(Duration::from_secs(u64::from(first > 0))).await;
            tokio::task::yield_now().await;
            pool.runtime.shutdown(Duration::from_secs(second)).await;
            one.await.unwrap();
            assert_eq!(begun.elapsed(), Duration::from_secs(ends_after), "{first} s, then {second} s");
            assert_eq!(running.outcome().await, shutting_down(true));
            pool.runtime.shutdown(Duration::from_secs(10)).await;
            pool.close().await;
        })
        .await;
    }
}

/// At every stage of a start: before there is a worker, before it is ready, in its warmup.
#[tokio::test(start_paused = true)]
async fn f57_a_shutdown_during_a_start_leaves_nothing() {
    for stage in ["spawn", "ready", "warmup"] {
        guarded(async {
            let hangs = |here: &str| here == stage;
            let (spawn_hangs, ready_hangs) = (hangs("spawn"), hangs("ready"));
            let workers = ScriptedSpawner::new(move |stage: Stage| async move {
                if ready_hangs {
                    let _held = stage;
                    std::future::pending().await
                } else {
                    serve(stage).await
                }
            })
            .before_start(move |_| async move {
                if spawn_hangs {
                    std::future::pending::<()>().await;
                }
                Ok(())
            })
            .reaped_after(Duration::from_millis(200));
            let pool = Pool::start_with(workers, |it| it.min_idle(0).warmup("sleep 5000")).await;
            let waiting = pool.runtime.execute("waits").await.unwrap();
            tokio::time::sleep(Duration::from_secs(1)).await;
            let begun = Instant::now();
            pool.runtime.shutdown(Duration::from_secs(2)).await;
            assert!(begun.elapsed() <= Duration::from_secs(3), "{stage}: {:?}", begun.elapsed());
            assert_eq!(waiting.outcome().await, shutting_down(false));
            pool.close().await;
        })
        .await;
    }
}

/// P10: a process that cannot be killed holds nobody up, and who waits for it is told.
#[tokio::test(start_paused = true)]
async fn a_worker_that_cannot_be_killed_does_not_hold_the_shutdown() {
    guarded(async {
        let workers = first_does(silent).reaped_after(Duration::from_secs(3_600));
        let pool = Pool::start(workers).await;
        let running = pool.runtime.execute(Request::python("runs").no_deadline()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let begun = Instant::now();
        pool.runtime.shutdown(Duration::from_secs(2)).await;
        assert!(begun.elapsed() <= Duration::from_secs(3), "{:?}", begun.elapsed());
        assert!(matches!(running.outcome().await, Outcome::Lost(lost) if lost.started));
        assert_eq!(pool.status().await.totals.in_flight, 0);
    })
    .await;
}

/// No grace is too long to count.
#[tokio::test(start_paused = true)]
async fn a_shutdown_without_a_limit_waits_for_what_runs() {
    guarded(async {
        let pool = Pool::start(polite()).await;
        let running = pool.runtime.execute(Request::python("sleep 7200000").no_deadline()).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        pool.runtime.shutdown(Duration::MAX).await;
        assert!(running.outcome().await.is_completed());
        pool.close().await;
    })
    .await;
}

/// F11: the pool ends with the last handle, of whatever kind, and not with any other.
#[tokio::test(start_paused = true)]
async fn f11_the_pool_stops_when_the_last_handle_is_dropped_and_not_when_a_clone_is() {
    guarded(async {
        let pool = Pool::start_with(polite(), |it| it.max_sessions(2)).await;
        let (runtime, workers) = (pool.runtime, pool.workers);
        let settled = async || tokio::time::sleep(Duration::from_millis(10)).await;
        drop(runtime.clone());
        settled().await;
        assert!(workers.live() > 0, "a clone");
        let session = runtime.session().await.unwrap();
        let execution = session.execute("sleep 1000").await.unwrap();
        drop(runtime);
        settled().await;
        assert!(workers.live() > 0, "the runtime, with a session and an execution left");
        drop(session);
        settled().await;
        assert!(workers.live() > 0, "the session, with an execution left");
        assert!(execution.outcome().await.is_completed(), "the last handle ends with its outcome");
        settled().await;
        assert_eq!(workers.live(), 0);
    })
    .await;
}

/// Handles may be dropped where no tokio runtime is: at the end of `main`, or in a destructor.
#[test]
fn handles_may_be_dropped_outside_tokio() {
    let tokio =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let workers = polite();
    let (runtime, session, execution) = tokio.block_on(guarded(async {
        let runtime: Runtime = settings(&workers).max_sessions(2).start().await.unwrap();
        let session = runtime.session().await.unwrap();
        let execution = runtime.execute("sleep 1000").await.unwrap();
        (runtime, session, execution)
    }));
    drop(execution);
    drop(session);
    drop(runtime);
    tokio.block_on(guarded(async { tokio::time::sleep(Duration::from_secs(3)).await }));
    assert_eq!(workers.live(), 0);
}

/// P5: a tokio runtime ends under what runs in its pool. Nobody can prove any more that it did not start, whether its caller
/// has heard of that or not.
#[test]
fn what_a_worker_was_given_may_have_run_when_tokio_ends_under_it() {
    for heard in [false, true] {
        let tokio = || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_time().start_paused(true).build().unwrap()
        };
        let (workers, ends) = (polite(), tokio());
        let (runtime, execution) = ends.block_on(guarded(async {
            let runtime: Runtime = settings(&workers).start().await.unwrap();
            let mut execution = runtime.execute("sleep 1000").await.unwrap();
            match heard {
                true => _ = execution.next().await,
                false => tokio::time::sleep(Duration::from_millis(1)).await,
            }
            (runtime, execution)
        }));
        drop(ends);
        let outcome = tokio().block_on(guarded(execution.outcome()));
        let Outcome::Lost(lost) = outcome else { panic!("{outcome}") };
        assert!(lost.started, "heard: {heard}: {lost}");
        drop(runtime);
    }
}

/// What was started is ended when the one who starts it does not wait.
#[tokio::test(start_paused = true)]
async fn dropping_a_start_ends_what_was_started() {
    for after in [0, 1, 50] {
        guarded(async {
            let workers = polite().before_start(|_| async {
                tokio::time::sleep(Duration::from_millis(10)).await;
                Ok(())
            });
            let start = settings(&workers).warmup("sleep 1000").start();
            assert!(tokio::time::timeout(Duration::from_millis(after), start).await.is_err());
            tokio::time::sleep(Duration::from_secs(3)).await;
            assert_eq!(workers.live(), 0, "dropped after {after} ms");
        })
        .await;
    }
}
