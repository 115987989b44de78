//! Sessions that are leased: one caller, one worker, its own line; the limit holds; who leaves is replaced (B6, D4, F10).

use std::{sync::Arc, time::Duration};

use ostler::{
    Exit, Lost, LostCause, Outcome, SessionEvent, Stream, SubmitError,
    protocol::ToWorker,
    testing::{Entry, Fact, ScriptedSpawner, Stage},
};
use tokio::{sync::Barrier, task::JoinSet, time::Instant};

use crate::{
    support::{Pool, guarded},
    workers::{first_does, polite, serve},
};

/// B6: starting and dying workers count until they are reaped.
#[tokio::test(start_paused = true)]
async fn fifty_leases_never_make_more_workers_than_ten() {
    guarded(async {
        let workers = polite()
            .before_start(|number| async move {
                tokio::time::sleep(Duration::from_millis(number as u64 % 7)).await;
                Ok(())
            })
            .reaped_after(Duration::from_millis(30));
        let pool =
            Pool::start_with(workers, |it| it.max_sessions(10).lease_timeout(Duration::from_secs(60))).await;
        let mut callers = JoinSet::new();
        for caller in 0..50_u64 {
            let runtime = pool.runtime.clone();
            callers.spawn(async move {
                let session = runtime.session().await.unwrap();
                let sleep = format!("sleep {}", caller % 13);
                assert!(session.run(sleep.as_str()).await.unwrap().outcome.is_completed());
                session.run("worker").await.unwrap().value().cloned()
            });
        }
        let served = callers.join_all().await;
        let mut workers: Vec<_> =
            served.iter().map(|worker| worker.as_ref().and_then(ostler::Value::as_i64)).collect();
        workers.sort_unstable();
        workers.dedup();
        assert_eq!(workers.len(), 50, "no worker served two callers");
        assert_eq!(pool.workers.peak(), 10);
        pool.close().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_session_keeps_its_worker_and_its_worker_is_replaced_when_the_lease_ends() {
    guarded(async {
        let pool = Pool::start(polite()).await;
        let session = pool.runtime.session().await.unwrap();
        assert_eq!((session.pid(), session.slot(), session.generation().0), (Some(1), 0, 1));
        for _ in 0..3 {
            assert_eq!(session.run("worker").await.unwrap().value(), Some(&1.into()));
        }
        assert!(matches!(
            pool.runtime.session().await,
            Err(SubmitError::NoSession { sessions: 1, limit: 1, .. })
        ));
        drop(session);
        let session = pool.runtime.session().await.unwrap();
        assert_eq!((session.pid(), session.generation().0), (Some(2), 2));
        drop(session);
        pool.works_on_worker(3).await;
        assert_eq!(pool.status().await.crashed, 0, "who was asked to end did not crash");
        pool.close().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_was_submitted_runs_to_its_end_when_the_lease_is_dropped() {
    guarded(async {
        let pool = Pool::start(polite()).await;
        let session = pool.runtime.session().await.unwrap();
        let running = session.execute("sleep 1000").await.unwrap();
        let waiting = session.execute("worker").await.unwrap();
        drop(session);
        assert!(running.outcome().await.is_completed());
        assert_eq!(waiting.outcome().await.value(), Some(&1.into()));
        pool.works_on_worker(2).await;
        pool.close().await;
    })
    .await;
}

/// D4, and E13: the text of the refusal.
#[tokio::test(start_paused = true)]
async fn executions_wait_in_the_line_of_their_session_and_the_one_too_many_is_refused() {
    for line in [0, 1, 3] {
        guarded(async {
            let pool = Pool::start_with(polite(), |it| it.session_queue(line)).await;
            let session = pool.runtime.session().await.unwrap();
            let mut accepted = vec![session.execute("sleep 100").await.unwrap()];
            for _ in 0..line {
                accepted.push(session.execute("sleep 100").await.unwrap());
            }
            assert_eq!(pool.status().await.queued, line);
            let refused = session.execute("one too many").await.expect_err("the line is full");
            assert_eq!(refused, SubmitError::SessionQueueFull { limit: line });
            assert_eq!(
                refused.to_string(),
                format!(
                    "the session is busy and its queue is full: {line} of {line} executions wait; await one of them \
                     first, or raise `session_queue`"
                )
            );
            let begun = Instant::now();
            for execution in accepted {
                assert!(execution.outcome().await.is_completed());
            }
            assert_eq!(begun.elapsed(), Duration::from_millis(100) * u32::try_from(line + 1).unwrap(), "one by one");
            pool.close().await;
        })
        .await;
    }
}

/// D4: whoever comes at the same moment runs one after another; a worker that is given two at once would say so.
#[tokio::test(start_paused = true)]
async fn a_thousand_races_for_one_session_run_one_by_one() {
    guarded(async {
        let pool = Pool::start_with(polite(), |it| it.session_queue(1_000)).await;
        let session = Arc::new(pool.runtime.session().await.unwrap());
        let start = Arc::new(Barrier::new(1_000));
        let mut racers = JoinSet::new();
        for racer in 0..1_000_u32 {
            let (session, start) = (Arc::clone(&session), Arc::clone(&start));
            racers.spawn(async move {
                start.wait().await;
                let code = format!("racer {racer}");
                assert_eq!(session.run(code.as_str()).await.unwrap().value(), Some(&code.as_str().into()));
            });
        }
        racers.join_all().await;
        assert_eq!(pool.workers.spawned(), 1);
        drop(session);
        pool.close().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_queue_of_nothing_still_gives_out_an_idle_session() {
    guarded(async {
        let pool = Pool::start_with(polite(), |it| it.queue(0)).await;
        assert!(pool.outcome("now").await.is_completed());
        let session = pool.runtime.session().await.unwrap();
        assert!(matches!(pool.runtime.session().await, Err(SubmitError::QueueFull { limit: 0, .. })));
        assert!(matches!(pool.runtime.execute("x").await, Err(SubmitError::QueueFull { limit: 0, .. })));
        drop(session);
        pool.close().await;
    })
    .await;
}

/// Whoever does not wait any longer leaves the line: the session goes to the next one.
#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_waiting_gets_no_session() {
    guarded(async {
        let pool = Pool::start_with(polite(), |it| it.lease_timeout(Duration::from_secs(3))).await;
        let session = pool.runtime.session().await.unwrap();
        let begun = Instant::now();
        let refused = pool.runtime.session().await.expect_err("it is taken");
        assert_eq!(begun.elapsed(), Duration::from_secs(3));
        assert_eq!(
            refused.to_string(),
            "no session became free within 3s: 1 of 1 sessions are in use; release one, or raise `max_sessions`"
        );
        let impatient = tokio::time::timeout(Duration::from_secs(1), pool.runtime.session()).await;
        assert!(impatient.is_err());
        assert_eq!(pool.status().await.queued, 0);
        drop(session);
        pool.works_on_worker(2).await;
        pool.close().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_session_that_runs_nothing_for_its_timeout_is_ended() {
    guarded(async {
        let timeout = Duration::from_secs(10);
        let pool = Pool::start_with(polite(), |it| it.session_timeout(timeout)).await;
        let mut session = pool.runtime.session().await.unwrap();
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(9)).await;
            assert!(
                session.run("sleep 20000").await.unwrap().outcome.is_completed(),
                "what runs is not idle"
            );
        }
        let begun = Instant::now();
        let ended = session.next_event().await;
        assert_eq!(
            ended,
            Some(SessionEvent::Ended { why: "it ran nothing for `session_timeout`".into(), killed: false })
        );
        assert_eq!(begun.elapsed(), timeout);
        assert_eq!(session.next_event().await, None);
        let refused = session.execute("x").await.expect_err("it has ended");
        assert_eq!(
            refused.to_string(),
            "the session has ended: it ran nothing for `session_timeout`; lease a new one"
        );
        pool.works_on_worker(2).await;
        drop(session);
        pool.close().await;
    })
    .await;
}

/// Its holder hears of the end when the worker is dead: behind what that prints meanwhile, and with whether it was killed.
#[tokio::test(start_paused = true)]
async fn a_closed_session_tells_its_end_when_its_worker_has_ended() {
    guarded(async {
        let workers = ScriptedSpawner::new(|mut stage: Stage| async move {
            stage.ready().await;
            while let Some(message) = stage.recv().await {
                if let ToWorker::Shutdown(shutdown) = message {
                    tokio::time::sleep(Duration::from_millis(600 * stage.number() as u64)).await;
                    stage.print(Stream::Stdout, format!("{:?}", shutdown.timeout)).await;
                    break;
                }
            }
            Exit::Code(0)
        });
        let pool = Pool::start(workers).await;
        for (took, printed, killed) in [(600, Some("Some(1.0)"), false), (1_000, None, true)] {
            let mut session = pool.runtime.session().await.unwrap();
            let begun = Instant::now();
            session.close();
            if let Some(printed) = printed {
                let (stream, data) = (Stream::Stdout, printed.into());
                assert_eq!(session.next_event().await, Some(SessionEvent::Background { stream, data }));
            }
            let why = "it was released".into();
            assert_eq!(session.next_event().await, Some(SessionEvent::Ended { why, killed }));
            assert_eq!(begun.elapsed(), Duration::from_millis(took));
            assert_eq!(session.next_event().await, None);
            assert!(matches!(session.execute("x").await, Err(SubmitError::SessionEnded { .. })));
        }
        let workers = pool.workers.clone();
        pool.close().await;
        let told = |entry: Entry| match entry.fact {
            Fact::Received(ToWorker::Shutdown(shutdown)) => shutdown.timeout,
            _ => None,
        };
        // The last one was nobody's: nothing of its code may take any time.
        let timeouts: Vec<f64> = workers.log().into_iter().filter_map(told).collect();
        assert_eq!(timeouts, [1.0, 1.0, 0.0]);
    })
    .await;
}

/// The worker of a lease dies: what ran and what waited is told, and so is the holder; its state is gone with it.
#[tokio::test(start_paused = true)]
async fn a_leased_session_whose_worker_dies_has_ended() {
    guarded(async {
        let pool = Pool::start(first_does(|stage, _id| async move {
            let _held = stage;
            tokio::time::sleep(Duration::from_secs(1)).await;
            Err(Exit::Signal(9))
        }))
        .await;
        let mut session = pool.runtime.session().await.unwrap();
        let running = session.execute("dies").await.unwrap();
        let waiting = session.execute("waits").await.unwrap();
        let Outcome::Lost(Lost { started: true, cause: LostCause::Died(death) }) = running.outcome().await
        else {
            panic!("its worker died")
        };
        assert_eq!(death.exit, Exit::Signal(9));
        let ended = Lost { started: false, cause: LostCause::SessionEnded };
        assert_eq!(waiting.outcome().await, Outcome::Lost(ended));
        assert!(
            matches!(session.next_event().await, Some(SessionEvent::Ended { why, .. }) if why.contains("SIGKILL"))
        );
        assert!(matches!(session.execute("x").await, Err(SubmitError::SessionEnded { .. })));
        pool.works_on_worker(2).await;
        drop(session);
        pool.close().await;
    })
    .await;
}

/// What a thread prints between two executions belongs to the session, and to neither of them.
#[tokio::test(start_paused = true)]
async fn background_output_goes_to_the_holder_of_the_session() {
    guarded(async {
        let workers = ScriptedSpawner::new(|mut stage: Stage| async move {
            stage.ready().await;
            for _ in 0..2 {
                let id = stage.next_execute().await.expect("two requests come").id;
                stage.started(id).await;
                stage.print(Stream::Stdout, "mine").await;
                stage.completed(id, "done").await;
                tokio::time::sleep(Duration::from_millis(10)).await;
                stage.print(Stream::Stdout, "nobody's").await;
            }
            serve(stage).await
        });
        let pool = Pool::start(workers).await;
        let mut session = pool.runtime.session().await.unwrap();
        for _ in 0..2 {
            assert_eq!(session.run("x").await.unwrap().stdout_text(), "mine");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        for _ in 0..2 {
            let data = "nobody's".into();
            assert_eq!(
                session.next_event().await,
                Some(SessionEvent::Background { stream: Stream::Stdout, data })
            );
        }
        drop(session);
        pool.close().await;
    })
    .await;
}

/// B10: one at a time, one process, and each answer has its own id.
#[tokio::test(start_paused = true)]
async fn a_hundred_requests_one_at_a_time_use_one_worker() {
    guarded(async {
        let pool = Pool::start_with(polite(), |it| it.max_sessions(4)).await;
        let mut ids = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let report = pool.runtime.run("worker").await.unwrap();
            assert_eq!(report.value(), Some(&1.into()));
            assert!(ids.insert(report.id));
        }
        pool.close().await;
    })
    .await;
}

/// A lease is given a worker that has served nobody, where there is one.
#[tokio::test(start_paused = true)]
async fn a_lease_prefers_a_fresh_worker() {
    guarded(async {
        let workers = first_does(|mut stage, id| async move {
            stage.completed(id, "used").await;
            Ok(stage)
        });
        let pool = Pool::start_with(workers, |it| it.max_sessions(2).min_idle(2)).await;
        pool.eventually("both are idle", |status| status.idle == 2).await;
        assert!(pool.outcome("uses the first").await.is_completed());
        let session = pool.runtime.session().await.unwrap();
        assert_eq!(session.pid(), Some(2));
        drop(session);
        pool.close().await;
    })
    .await;
}

/// Who wants a whole session waits its turn behind those that came before, and before those that came after.
#[tokio::test(start_paused = true)]
async fn a_lease_waits_its_turn() {
    guarded(async {
        let pool = Pool::start(polite()).await;
        let second = "sleep 1000";
        let mut before = vec![pool.runtime.execute(second).await.unwrap()];
        before.push(pool.runtime.execute(second).await.unwrap());
        let (runtime, begun) = (pool.runtime.clone(), Instant::now());
        let lease = tokio::spawn(async move { runtime.session().await.unwrap() });
        pool.eventually("it waits", |status| status.queued == 2).await;
        let after = pool.runtime.execute(second).await.unwrap();
        let session = lease.await.unwrap();
        assert_eq!(begun.elapsed().as_secs(), 2, "{:?}", begun.elapsed());
        drop(session);
        assert!(after.outcome().await.is_completed());
        assert_eq!(begun.elapsed().as_secs(), 3, "{:?}", begun.elapsed());
        for execution in before {
            assert!(execution.outcome().await.is_completed());
        }
        pool.close().await;
    })
    .await;
}
