//! Actors that die when their worker was given the code, and before they hear whether it started (P5).

use std::sync::{Arc, OnceLock};

use super::*;
use crate::workers::{given, serve};

/// Wherever its execution was when its actor died: whoever says that it did not start has kept it from its worker, and
/// its place is free (P5).
#[tokio::test(start_paused = true)]
async fn f42_the_actor_of_an_execution_dies_on_its_way_and_its_place_is_free() {
    let mut kept = 0;
    for steps in 0..40 {
        kept += guarded(async {
            let pool = Pool::start(polite()).await;
            let runtime = pool.runtime.clone();
            let dies = tokio::spawn(async move {
                // It is given its place when that of the first is free, and nobody waits for that.
                let first = runtime.execute("first").await.unwrap();
                let execution = runtime.execute("sleep 3600000").await.unwrap();
                turns(steps).await;
                actor_of(&execution).kill();
                assert!(first.outcome().await.is_completed());
                execution.outcome().await
            });
            let Outcome::Lost(lost) = dies.await.unwrap() else { panic!("its actor died") };
            pool.works_on_worker(1).await;
            let was_given = given(&pool.workers, "sleep 3600000") > 0;
            assert!(lost.started || !was_given, "after {steps} steps: {lost}");
            pool.close().await;
            usize::from(!was_given)
        })
        .await;
    }
    assert!((1..40).contains(&kept), "{kept} of 40 died before their worker was given them");
}

/// P5: a worker that was given the code may have run it before it was killed. It has told so, and nobody heard it.
#[tokio::test(start_paused = true)]
async fn f43_what_the_worker_of_a_dead_session_actor_was_given_is_not_given_to_another() {
    guarded(async {
        let killed = Arc::new(OnceLock::<ActorCell>::new());
        let session = Arc::clone(&killed);
        let workers = ScriptedSpawner::new(move |mut stage| {
            let session = Arc::clone(&session);
            async move {
                stage.ready().await;
                while let Some(execute) = stage.next_execute().await {
                    if stage.number() == 1 {
                        session.get().expect("it is known").kill();
                    }
                    stage.started(execute.id).await;
                    stage.completed(execute.id, stage.number() as u64).await;
                }
                ostler::Exit::Code(0)
            }
        });
        let pool = Pool::start(workers).await;
        killed.set(sessions_of(&pool).remove(0)).unwrap();
        assert_eq!(pool.outcome("once").await, gone(true, "session"));
        pool.works_on_worker(2).await;
        assert_eq!(given(&pool.workers, "once"), 1);
        assert_eq!(pool.status().await.totals.requeued, 0);
        pool.close().await;
    })
    .await;
}

/// What its worker was not given as a whole it cannot have run.
#[tokio::test(start_paused = true)]
async fn f43_what_was_not_wholly_written_goes_to_another_worker_when_the_session_actor_dies() {
    guarded(async {
        let workers = ScriptedSpawner::new(|mut stage| async move {
            if stage.number() > 1 {
                return serve(stage).await;
            }
            stage.ready().await;
            std::future::pending().await
        });
        let pool = Pool::start(workers.pipe_len(256)).await;
        let request = Request::python("worker").arg("long", "x".repeat(10_000).as_str());
        let execution = pool.runtime.execute(request).await.unwrap();
        settle().await;
        sessions_of(&pool)[0].kill();
        assert_eq!(execution.outcome().await.value(), Some(&2.into()));
        assert_eq!(pool.status().await.totals.requeued, 1);
        pool.close().await;
    })
    .await;
}
