//! The table "How long may it take?" of the crate documentation, row by row: whatever the workers do, no call takes
//! longer than it says (E14, F15).

use std::{fs, path::Path, time::Duration};

use ostler::{
    Exit, Outcome, ReloadError, Request, SessionEvent, StartError, SubmitError, WorkerSpec,
    actor::Host,
    testing::{ScriptedSpawner, Stage},
};
use tokio::time::Instant;

use crate::{
    support::{Pool, guarded, settings},
    workers::{first_does, polite, serve, silent},
};

const GRACE: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(5);
const SECOND: Duration = Duration::from_secs(1);

/// Runs a call, and returns what it gave and how long that took.
async fn timed<T>(call: impl Future<Output = T>) -> (T, Duration) {
    let begun = Instant::now();
    let given = call.await;
    (given, begun.elapsed())
}

/// A pool of one worker that runs its first execution for ever, and obeys nobody.
async fn stuck() -> (Pool, ostler::Execution) {
    let pool = Pool::start_with(first_does(silent), |it| it.grace(GRACE).queue(1)).await;
    let stuck = pool.runtime.execute(Request::python("stuck").no_deadline()).await.unwrap();
    pool.eventually("it runs", |status| status.busy == 1).await;
    (pool, stuck)
}

#[tokio::test(start_paused = true)]
async fn a_start_takes_no_longer_than_ready_and_warmup_may() {
    guarded(async {
        let (ready, warmup) = (3 * SECOND, 7 * SECOND);
        let limits = |workers: &ScriptedSpawner| {
            settings(workers).ready_timeout(ready).warmup_timeout(warmup).warmup("never ends")
        };
        let hangs_in_warmup = ScriptedSpawner::new(|mut stage: Stage| async move {
            tokio::time::sleep(3 * SECOND - Duration::from_millis(1)).await;
            stage.ready().await;
            std::future::pending::<Exit>().await
        });
        let hangs_at_once = ScriptedSpawner::new(|stage: Stage| async move {
            let _held = stage;
            std::future::pending::<Exit>().await
        });
        for (workers, least) in [(hangs_in_warmup, ready + warmup - SECOND), (hangs_at_once, ready)] {
            let (error, took) = timed(limits(&workers).start()).await;
            assert!(matches!(error, Err(StartError::Worker(_))), "{error:?}");
            assert!(took >= least && took <= ready + warmup, "{took:?}");
            assert_eq!(workers.live(), 0);
        }
    })
    .await;
}

/// The spawner is slow, and then the worker is: the time to ready is one for both.
#[tokio::test(start_paused = true)]
async fn a_slow_spawner_takes_from_the_time_of_its_worker() {
    guarded(async {
        let workers = ScriptedSpawner::new(|stage: Stage| async move {
            let _held = stage;
            std::future::pending::<Exit>().await
        });
        let slow = workers.before_start(|_number| async {
            tokio::time::sleep(2 * SECOND).await;
            Ok(())
        });
        let (error, took) = timed(settings(&slow).ready_timeout(3 * SECOND).start()).await;
        assert!(error.is_err());
        assert_eq!(took, 3 * SECOND);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn to_submit_takes_no_time_whether_it_is_accepted_or_not() {
    guarded(async {
        let (pool, stuck) = stuck().await;
        let notices = Host::new(|_notice| Ok(()));
        let (waits, took) = timed(pool.runtime.execute("waits")).await;
        assert!(waits.is_ok() && took.is_zero(), "{took:?}");
        let (refused, took) = timed(pool.runtime.execute("too many")).await;
        assert!(matches!(refused, Err(SubmitError::QueueFull { .. })) && took.is_zero(), "{took:?}");
        let (refused, took) = timed(pool.runtime.execute_for("too many", notices)).await;
        assert!(matches!(refused, Err(SubmitError::QueueFull { .. })) && took.is_zero(), "{took:?}");
        drop((waits, stuck));
        pool.close().await;

        let pool = Pool::start_with(first_does(silent), |it| it.session_queue(1)).await;
        let session = pool.runtime.session().await.unwrap();
        let mut held = Vec::new();
        for _ in 0..2 {
            let (accepted, took) = timed(session.execute("stuck")).await;
            assert!(took.is_zero(), "{took:?}");
            held.push(accepted.unwrap());
        }
        let (refused, took) = timed(session.execute("too many")).await;
        assert!(matches!(refused, Err(SubmitError::SessionQueueFull { .. })) && took.is_zero(), "{took:?}");
        drop((held, session));
        pool.close().await;
    })
    .await;
}

/// Also while the code obeys nobody.
#[tokio::test(start_paused = true)]
async fn an_outcome_takes_no_longer_than_deadline_and_grace() {
    let limit = DEADLINE + GRACE + Duration::from_millis(250);
    let request = || Request::python("stuck").deadline(DEADLINE);
    let is_late = |outcome: &Outcome| matches!(outcome, Outcome::TimedOut(late) if late.after == DEADLINE);
    for way in ["run", "run_all", "session.run", "outcome", "report", "next", "cancelled"] {
        guarded(async {
            let pool = Pool::start_with(first_does(silent), |it| it.grace(GRACE)).await;
            let runtime = &pool.runtime;
            let begun = Instant::now();
            let outcome = match way {
                "run" => runtime.run(request()).await.unwrap().outcome,
                "run_all" => runtime.run_all([request()]).await.remove(0).unwrap().outcome,
                "session.run" => runtime.session().await.unwrap().run(request()).await.unwrap().outcome,
                "outcome" => runtime.execute(request()).await.unwrap().outcome().await,
                "report" => runtime.execute(request()).await.unwrap().report().await.outcome,
                "next" => {
                    let mut execution = runtime.execute(request()).await.unwrap();
                    while execution.next().await.is_some() {}
                    execution.outcome().await
                }
                _ => {
                    let execution = runtime.execute(request()).await.unwrap();
                    execution.cancel();
                    let (outcome, took) = timed(execution.outcome()).await;
                    assert!(took <= GRACE + Duration::from_millis(250), "{took:?}");
                    assert!(matches!(outcome, Outcome::Cancelled(_)), "{outcome}");
                    return pool.close().await;
                }
            };
            let took = begun.elapsed();
            assert!(is_late(&outcome), "{way}: {outcome}");
            assert!(took >= DEADLINE && took <= limit, "{way}: {took:?}");
            pool.close().await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn to_lease_a_session_takes_no_longer_than_the_lease_timeout() {
    guarded(async {
        let pool = Pool::start_with(polite(), |it| it.lease_timeout(3 * SECOND)).await;
        let _held = pool.runtime.session().await.unwrap();
        let (refused, took) = timed(pool.runtime.session()).await;
        assert!(matches!(refused, Err(SubmitError::NoSession { .. })), "{refused:?}");
        assert_eq!(took, 3 * SECOND);
        drop(_held);
        pool.close().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_event_of_a_session_takes_no_longer_than_the_session_timeout() {
    guarded(async {
        let pool = Pool::start_with(polite(), |it| it.session_timeout(4 * SECOND)).await;
        let mut session = pool.runtime.session().await.unwrap();
        let (event, took) = timed(session.next_event()).await;
        assert!(matches!(event, Some(SessionEvent::Ended { .. })), "{event:?}");
        assert_eq!(took, 4 * SECOND);
        drop(session);
        pool.close().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_reload_says_in_time_that_there_was_no_place_for_it_and_goes_on() {
    guarded(async {
        let pool = Pool::start_with(polite(), |it| {
            it.lease_timeout(3 * SECOND).ready_timeout(2 * SECOND).warmup_timeout(4 * SECOND)
        })
        .await;
        let session = pool.runtime.session().await.unwrap();
        let (told, took) = timed(pool.runtime.reload(WorkerSpec::python())).await;
        let after = 10 * SECOND;
        assert_eq!(
            (told.unwrap_err().to_string(), took),
            (ReloadError::Pending { after }.to_string(), after)
        );
        drop(session);
        pool.works_on_worker(2).await;
        let (told, took) = timed(pool.runtime.reload(WorkerSpec::python())).await;
        assert!(told.is_ok() && took <= after, "{told:?} {took:?}");
        pool.close().await;
    })
    .await;
}

/// A worker that nobody can end, as one in an uninterruptible wait of the kernel, holds up nobody.
#[tokio::test(start_paused = true)]
async fn a_shutdown_takes_no_longer_than_its_grace_and_a_second() {
    guarded(async {
        let workers = ScriptedSpawner::new(serve).reaped_after(Duration::from_secs(3_600));
        let pool = Pool::start_with(workers, |it| it.max_sessions(2)).await;
        let running = pool.runtime.execute(Request::python("sleep 99999999").no_deadline()).await.unwrap();
        pool.eventually("it runs", |status| status.busy == 1).await;
        let ((), took) = timed(pool.runtime.shutdown(2 * SECOND)).await;
        assert!(took >= 2 * SECOND && took <= 3 * SECOND, "{took:?}");
        assert!(matches!(running.outcome().await, Outcome::Lost(_)));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn to_look_and_to_cancel_take_no_time() {
    guarded(async {
        let (pool, stuck) = stuck().await;
        let runtime = &pool.runtime;
        let (status, took) = timed(runtime.status()).await;
        assert!(status.busy == 1 && took.is_zero());
        let (list, took) = timed(runtime.list()).await;
        assert!(list.len() == 1 && took.is_zero());
        let (told, took) = timed(runtime.cancel(stuck.id())).await;
        assert!(told.is_ok() && took.is_zero());
        assert!(matches!(stuck.outcome().await, Outcome::Cancelled(_)));
        runtime.shutdown(GRACE).await;
        let ((status, list), took) = timed(async { (runtime.status().await, runtime.list().await) }).await;
        assert!(status.shutting_down && list.is_empty() && took.is_zero());
    })
    .await;
}

/// No async function of a handle is missing in the table.
#[test]
fn every_async_function_has_its_row() {
    let read = |file: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap();
    let page = read("src/lib.rs");
    for (file, owner) in [
        ("src/runtime.rs", "Runtime"),
        ("src/runtime/builder.rs", "RuntimeBuilder"),
        ("src/session.rs", "Session"),
        ("src/execution.rs", "Execution"),
    ] {
        for part in read(file).split("pub async fn ").skip(1) {
            let name: String = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let row = format!("[`{owner}::{name}`]");
            let known = page.lines().any(|line| line.starts_with("//! | ") && line.contains(&row));
            assert!(known, "`{owner}::{name}` has no row in the table of src/lib.rs");
        }
    }
}

/// The longest time there is means for ever, and ends nobody.
#[tokio::test(start_paused = true)]
async fn a_deadline_beyond_all_time_is_none() {
    guarded(async {
        let pool = Pool::start_with(polite(), |it| it.deadline(Duration::MAX)).await;
        assert!(pool.runtime.run("x").await.unwrap().outcome.is_completed());
        let request = Request::python("sleep 1000").deadline(Duration::MAX);
        assert!(pool.runtime.run(request).await.unwrap().outcome.is_completed());
        pool.close().await;
    })
    .await;
}
