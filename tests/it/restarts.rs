//! When dead workers are replaced, how fast, and when that stops (fault rows 1 to 3, 54 and 55, P8).

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use ostler::{
    Exit, Lost, LostCause, Outcome, Request, RestartPolicy, SpawnError, StartError, SubmitError,
    testing::{ScriptedSpawner, Stage},
};
use tokio::time::Instant;

use crate::{
    support::{Pool, guarded, settings},
    workers::{polite, serve},
};

fn refused() -> SpawnError {
    let source = io::Error::from_raw_os_error(11);
    SpawnError::System { action: "fork", program: "worker".into(), source }
}

/// Also the kinds of a start error: a setting, a spawn, a worker.
#[tokio::test(start_paused = true)]
async fn a_pool_that_cannot_start_says_why_and_leaves_nothing() {
    guarded(async {
        let error = settings(&polite()).min_idle(3).max_sessions(0).start().await.expect_err("no sessions");
        assert!(matches!(&error, StartError::Config(error) if error.key == "max_sessions"), "{error}");
        assert_eq!(
            error.to_string(),
            "invalid setting `max_sessions`: it is 0, so nothing could ever run; give at least 1"
        );

        let workers = polite().before_start(|_| async { Err(refused()) });
        let error = settings(&workers).start().await.expect_err("no worker starts");
        assert!(matches!(error, StartError::Spawn(SpawnError::System { action: "fork", .. })), "{error}");
        assert_eq!(error.to_string(), "failed to fork for worker program `worker`");
        assert_eq!((workers.live(), workers.spawned()), (0, 1));

        let workers = ScriptedSpawner::new(|_stage| async { Exit::Code(1) });
        let error = settings(&workers).start().await.expect_err("no worker becomes ready");
        assert!(matches!(error, StartError::Worker(_)), "{error}");
        assert_eq!(error.to_string(), "no worker became ready: the worker ended by itself (exit code 1)");
        assert_eq!(workers.live(), 0);
    })
    .await;
}

/// B16, for the start itself: a spawner that never answers is given up after `ready_timeout`.
#[tokio::test(start_paused = true)]
async fn a_start_that_hangs_ends_at_the_ready_timeout() {
    guarded(async {
        let workers = polite().before_start(|_| std::future::pending());
        let begun = Instant::now();
        let error =
            settings(&workers).ready_timeout(Duration::from_secs(3)).start().await.expect_err("it hangs");
        assert_eq!(begun.elapsed(), Duration::from_secs(3));
        assert!(error.to_string().contains("not ready after 3s"), "{error}");
        assert_eq!(workers.live(), 0, "a start that was given up is dropped");
    })
    .await;
}

/// Rows 2 and 3: while the operating system refuses, nothing is lost; afterwards the pool is whole again.
#[tokio::test(start_paused = true)]
async fn f02_f03_requests_wait_while_no_worker_can_be_started() {
    guarded(async {
        let workers = polite().before_start(|number| async move {
            // The first one works; the next ones are refused for a while.
            if (2..5).contains(&number) { Err(refused()) } else { Ok(()) }
        });
        let pool = Pool::start_with(workers, |it| it.max_sessions(2).min_idle(1)).await;
        assert!(matches!(pool.outcome("die 9").await, Outcome::Lost(Lost { started: true, .. })));
        let waiting = pool.runtime.execute("worker").await.unwrap();
        assert_eq!(waiting.outcome().await.value(), Some(&5.into()));
        pool.eventually("the pool is whole", |status| status.idle >= 1 && status.backing_off == 0).await;
        pool.close().await;
    })
    .await;
}

/// The whole pool backs off: what keeps one worker from starting keeps the others from it too.
#[tokio::test(start_paused = true)]
async fn f54_a_restart_storm_is_slowed_down_and_then_given_up() {
    for max_sessions in [1, 8] {
        guarded(async {
            let began: Arc<std::sync::Mutex<Vec<Instant>>> = Arc::default();
            let times = Arc::clone(&began);
            let workers = polite().before_start(move |number| {
                times.lock().unwrap().push(Instant::now());
                async move { if number == 1 { Ok(()) } else { Err(refused()) } }
            });
            let mut policy = RestartPolicy::default();
            policy.probe_after = Duration::from_secs(7_200);
            let intensity = usize::try_from(policy.intensity).unwrap();
            let (min_backoff, max_backoff) = (policy.min_backoff, policy.max_backoff);
            let pool = Pool::start_with(workers, |it| it.max_sessions(max_sessions).restart(policy)).await;
            let mut waiting = vec![pool.runtime.execute("die 9").await.unwrap()];
            for _ in 0..5 {
                waiting.push(pool.runtime.execute("waits").await.unwrap());
            }
            let status = pool.eventually("it gives up", |status| status.failed.is_some()).await;
            assert!(status.failed.is_some_and(|why| why.contains("failed to fork")));
            assert!(matches!(waiting.remove(0).outcome().await, Outcome::Lost(Lost { started: true, .. })));
            for execution in waiting {
                let failed = Lost { started: false, cause: LostCause::PoolFailed };
                assert_eq!(execution.outcome().await, Outcome::Lost(failed));
            }
            assert!(matches!(pool.runtime.execute("x").await, Err(SubmitError::PoolFailed { .. })));
            assert!(matches!(pool.runtime.session().await, Err(SubmitError::PoolFailed { .. })));

            tokio::time::sleep(Duration::from_secs(3_600)).await;
            let times = began;
            let mut began = times.lock().unwrap().clone();
            tokio::time::sleep(Duration::from_secs(3_700)).await;
            assert_eq!(times.lock().unwrap().len(), began.len() + 1, "one is tried after `probe_after`");
            assert!(began.len() <= 1 + (intensity + 1) * max_sessions, "{} starts", began.len());
            // The first start and the first attempt after a death are at once; then the waits double.
            began.dedup();
            assert_eq!(began.len(), intensity, "rounds of attempts that a wait lies between");
            for (nth, pair) in began.windows(2).enumerate() {
                let full = (min_backoff * 2_u32.pow(u32::try_from(nth).unwrap())).min(max_backoff);
                let waited = pair[1] - pair[0];
                assert!(
                    waited >= full / 2 && waited <= full + Duration::from_millis(1),
                    "wait {nth}: {waited:?}"
                );
            }
            pool.close().await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn f55_slow_flapping_below_the_intensity_goes_on() {
    guarded(async {
        let workers = ScriptedSpawner::new(|mut stage: Stage| async move {
            stage.ready().await;
            tokio::time::sleep(Duration::from_secs(9)).await;
            Exit::Code(1)
        });
        let policy = {
            let mut policy = RestartPolicy::default();
            policy.window = Duration::from_secs(30);
            policy
        };
        let pool = Pool::start_with(workers, |it| it.restart(policy)).await;
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        let status = pool.status().await;
        assert_eq!(status.failed, None);
        assert!(status.crashed > 100, "{status:?}");
        pool.close().await;
    })
    .await;
}

/// Fault 6, in service: workers that are never ready die at the limit, which is as long as a worker that was a success
/// lives. They are none: the pool gives up.
#[tokio::test(start_paused = true)]
async fn f06_workers_that_are_never_ready_fail_a_pool_that_serves() {
    for max_sessions in [1, 4] {
        guarded(async {
            let workers = ScriptedSpawner::new(|stage: Stage| async move {
                if stage.number() > 1 {
                    let _held = stage;
                    return std::future::pending().await;
                }
                serve(stage).await
            });
            let pool = Pool::start_with(workers, |it| it.max_sessions(max_sessions)).await;
            assert!(matches!(pool.outcome("die 9").await, Outcome::Lost(Lost { started: true, .. })));
            let begun = Instant::now();
            let waiting = pool.runtime.execute(Request::python("waits").no_deadline()).await.unwrap();
            let failed = Lost { started: false, cause: LostCause::PoolFailed };
            assert_eq!(waiting.outcome().await, Outcome::Lost(failed));
            let took = begun.elapsed();
            assert!(took >= Duration::from_secs(60) && took <= Duration::from_secs(75), "{took:?}");
            let why = pool.status().await.failed.unwrap();
            assert!(why.contains("not ready after 10s"), "{why}");
            pool.close().await;
        })
        .await;
    }
}

/// Two slots that back off for different times are both filled again, each in its time.
#[tokio::test(start_paused = true)]
async fn every_slot_that_backs_off_comes_back() {
    guarded(async {
        let failing = Arc::new(AtomicUsize::new(0));
        let left = Arc::clone(&failing);
        let workers = ScriptedSpawner::new(move |stage: Stage| {
            let dies = left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_ok();
            async move { if dies { Exit::Code(1) } else { serve(stage).await } }
        });
        let pool = Pool::start_with(workers, |it| it.max_sessions(4).min_idle(4)).await;
        pool.eventually("all are idle", |status| status.idle == 4).await;
        failing.store(4, Relaxed);
        for _ in 0..4 {
            pool.outcome("die 9").await;
        }
        let status = pool.eventually("all are idle again", |status| status.idle == 4).await;
        assert_eq!((status.backing_off, status.failed), (0, None));
        pool.close().await;
    })
    .await;
}

/// Row 54: in a pool that has failed, a worker that somebody leases serves its holder, and nobody waits for it in vain.
#[tokio::test(start_paused = true)]
async fn nobody_waits_in_a_failed_pool_for_a_worker_that_is_leased() {
    guarded(async {
        let workers = ScriptedSpawner::new(|stage: Stage| async move {
            if stage.number() == 1 { serve(stage).await } else { Exit::Code(1) }
        });
        let pool = Pool::start_with(workers, |it| it.max_sessions(2)).await;
        let session = pool.runtime.session().await.unwrap();
        let outcome = pool.outcome("waits").await;
        assert_eq!(outcome, Outcome::Lost(Lost { started: false, cause: LostCause::PoolFailed }));
        assert!(matches!(pool.runtime.execute("x").await, Err(SubmitError::PoolFailed { .. })));
        assert!(session.run("x").await.unwrap().outcome.is_completed());
        drop(session);
        pool.close().await;
    })
    .await;
}
