//! Things that happen at the same moment (fault rows 50, 51 and 53): one of the outcomes that both sides would
//! understand, a worker that can be used again, and nothing lost or told twice.

use std::time::Duration;

use ostler::{Outcome, Request, testing::ScriptedSpawner};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    support::{Pool, guarded},
    workers::{obey, polite, serve},
};

/// Lets `turns` other tasks have their turn, so that the same moment comes in different orders.
async fn turns(turns: usize) {
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn f50_a_cancel_that_races_with_the_end_is_one_of_both_and_the_worker_is_kept() {
    guarded(async {
        let pool = Pool::start(polite()).await;
        let (mut completed, mut cancelled) = (0, 0);
        for step in 0..400_usize {
            let execution = pool.runtime.execute("sleep 10").await.unwrap();
            tokio::time::sleep(Duration::from_millis(9 + (step % 3) as u64)).await;
            turns(step / 3 % 25).await;
            execution.cancel();
            match execution.outcome().await {
                Outcome::Completed(_) => completed += 1,
                Outcome::Cancelled(_) => cancelled += 1,
                other => panic!("step {step}: {other}"),
            }
            if step % 10 == 0 {
                pool.works_on_worker(1).await;
            }
        }
        assert!(
            completed > 50 && cancelled > 50,
            "both happen: {completed} completed, {cancelled} cancelled"
        );
        pool.works_on_worker(1).await;
        pool.close().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn f51_a_deadline_that_races_with_the_end_is_one_of_both_and_the_worker_is_kept() {
    guarded(async {
        let pool = Pool::start(polite()).await;
        let (mut completed, mut timed_out) = (0, 0);
        for step in 0..400_u64 {
            turns((step / 3 % 25) as usize).await;
            let deadline = Duration::from_millis(9 + step % 3);
            let begun = Instant::now();
            let execution =
                pool.runtime.execute(Request::python("sleep 10").deadline(deadline)).await.unwrap();
            match execution.outcome().await {
                Outcome::Completed(_) => completed += 1,
                Outcome::TimedOut(_) => timed_out += 1,
                other => panic!("step {step}: {other}"),
            }
            assert!(begun.elapsed() <= deadline + Duration::from_millis(1), "step {step}");
        }
        assert!(
            completed > 50 && timed_out > 50,
            "both happen: {completed} completed, {timed_out} timed out"
        );
        pool.works_on_worker(1).await;
        pool.close().await;
    })
    .await;
}

/// A cancel and a deadline at once, while it waits, while it is handed over, while it runs and while it ends.
#[tokio::test(start_paused = true)]
async fn f50_f51_a_cancel_a_deadline_and_a_hand_over_at_the_same_moment_give_one_outcome() {
    guarded(async {
        let pool = Pool::start(polite()).await;
        for step in 0..300_u64 {
            let before = pool.runtime.execute("sleep 10").await.unwrap();
            let deadline = Duration::from_millis(9 + step % 4);
            let execution =
                pool.runtime.execute(Request::python("sleep 1").deadline(deadline)).await.unwrap();
            tokio::time::sleep(Duration::from_millis(9 + step / 4 % 4)).await;
            turns((step / 16) as usize).await;
            execution.cancel();
            let outcome = execution.outcome().await;
            assert!(!matches!(outcome, Outcome::Lost(_) | Outcome::Failed(_)), "step {step}: {outcome}");
            assert!(before.outcome().await.is_completed(), "step {step}: the one before is not touched");
        }
        pool.works_on_worker(1).await;
        assert!(pool.runtime.list().await.is_empty());
        pool.close().await;
    })
    .await;
}

/// Row 53: requests come while workers die, idle and busy. Each is served, or told within its deadline, and after each
/// step nobody waits while a session is idle.
#[tokio::test(start_paused = true)]
async fn f53_no_request_waits_while_a_session_is_idle_also_when_workers_die() {
    guarded(async {
        let workers = ScriptedSpawner::new(|mut stage| async move {
            let mut chance = StdRng::seed_from_u64(stage.number() as u64);
            stage.ready().await;
            loop {
                let idle_for = Duration::from_millis(chance.random_range(1..400));
                let execute = tokio::select! {
                    biased;
                    execute = stage.next_execute() => execute,
                    () = tokio::time::sleep(idle_for) => return ostler::Exit::Signal(9),
                };
                let Some(execute) = execute else { return ostler::Exit::Code(0) };
                if chance.random_ratio(1, 10) {
                    return ostler::Exit::Signal(9);
                }
                stage.started(execute.id).await;
                if chance.random_ratio(1, 10) {
                    return ostler::Exit::Signal(11);
                }
                obey(&mut stage, execute.id, &execute.code).await;
            }
        });
        let pool = Pool::start_with(workers, |it| {
            let mut policy = ostler::RestartPolicy::default();
            policy.intensity = 1_000_000;
            policy.max_backoff = Duration::from_millis(200);
            it.max_sessions(3).min_idle(2).restart(policy)
        })
        .await;
        let mut callers = JoinSet::new();
        for caller in 0..20_u64 {
            let runtime = pool.runtime.clone();
            callers.spawn(async move {
                let mut chance = StdRng::seed_from_u64(1_000 + caller);
                for _ in 0..50 {
                    tokio::time::sleep(Duration::from_millis(chance.random_range(0..300))).await;
                    let begun = Instant::now();
                    let request = Request::python("sleep 5").deadline(Duration::from_secs(10));
                    let outcome = runtime.run(request).await.unwrap().outcome;
                    assert!(matches!(outcome, Outcome::Completed(_) | Outcome::Lost(_)), "{outcome}");
                    assert!(begun.elapsed() < Duration::from_secs(10));
                }
            });
        }
        while !callers.is_empty() {
            let status = pool.status().await;
            assert!(status.queued == 0 || status.idle == 0, "{status:?}");
            tokio::select! {
                biased;
                ended = callers.join_next() => ended.unwrap().unwrap(),
                () = tokio::time::sleep(Duration::from_millis(7)) => {}
            }
        }
        pool.close().await;
    })
    .await;
}

/// E3, A8: a worker that says everything at once, before anybody had time to look, loses nothing of it.
#[tokio::test(start_paused = true)]
async fn a_worker_that_is_ready_before_its_session_exists_is_heard() {
    guarded(async {
        let workers = ScriptedSpawner::new(serve).before_start(|_| async {
            turns(50).await;
            Ok(())
        });
        for _ in 0..20 {
            let pool = Pool::start(workers.clone()).await;
            assert!(pool.outcome("print 10").await.is_completed());
            pool.runtime.shutdown(Duration::ZERO).await;
        }
        assert_eq!(workers.live(), 0);
    })
    .await;
}
