//! How an execution ends (fault rows 45, 47, 49 and 52, C9, P1, P6): cancelled, timed out, dropped, refused; queued,
//! running, or over.

use std::time::Duration;

use ostler::{
    CancelStage, Cancelled, Exit, Failure, Outcome, Phase, Request, SubmitError, TimedOut,
    protocol::{ErrorKind, Exception, ExecutionError, FromWorker, ToWorker},
    testing::{Fact, ScriptedSpawner, Stage},
};
use tokio::time::Instant;

use crate::{
    support::{Pool, guarded, settings},
    workers::{first_does, polite, silent},
};

fn cancelled(stage: CancelStage) -> Outcome {
    Outcome::Cancelled(Cancelled::new(stage, None))
}

/// Also E13: the text of the refusal.
#[tokio::test(start_paused = true)]
async fn f45_the_queue_refuses_the_one_too_many_at_once() {
    guarded(async {
        let pool = Pool::start_with(polite(), |it| it.queue(256)).await;
        let mut accepted = vec![pool.runtime.execute("sleep 1").await.unwrap()];
        for _ in 0..256 {
            accepted.push(pool.runtime.execute("waits").await.unwrap());
        }
        let begun = Instant::now();
        for _ in 0..1_000 {
            let refused = pool.runtime.execute("x").await.expect_err("the queue is full");
            assert_eq!(refused, SubmitError::QueueFull { len: 256, limit: 256, retry_after: None });
        }
        assert!(begun.elapsed().is_zero());
        assert_eq!(
            SubmitError::QueueFull { len: 256, limit: 256, retry_after: None }.to_string(),
            "the queue is full: 256 of 256 requests wait; submit again when some have ended, or raise `queue`"
        );
        assert_eq!(pool.status().await.queued, 256);
        for execution in accepted {
            assert!(execution.outcome().await.is_completed());
        }
        assert_eq!(pool.status().await.totals.accepted, 257, "what was refused is counted nowhere");
        pool.close().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn f47_dropping_the_handle_cancels_and_a_detached_execution_goes_on() {
    for detached in [false, true] {
        guarded(async {
            let pool = Pool::start(polite()).await;
            let request = Request::python("sleep 30000");
            let request = if detached { request.detached() } else { request };
            let running = pool.runtime.execute(request.clone()).await.unwrap();
            let queued = pool.runtime.execute(request).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
            let begun = Instant::now();
            drop((running, queued));
            let totals = pool.eventually_within(Duration::from_secs(61), "both are over", |status| {
                status.totals.in_flight == 0
            });
            let totals = totals.await.totals;
            if detached {
                assert_eq!(
                    (totals.completed, totals.timed_out),
                    (1, 1),
                    "two of 30 s, within a deadline of 60 s"
                );
            } else {
                assert_eq!(totals.cancelled, 2);
                assert!(begun.elapsed() < Duration::from_millis(10), "{:?}", begun.elapsed());
            }
            pool.close().await;
        })
        .await;
    }
}

/// A worker that obeys is kept, with its state; it is not offered before it has said so.
#[tokio::test(start_paused = true)]
async fn a_cancel_that_is_obeyed_keeps_the_worker() {
    guarded(async {
        let pool = Pool::start(first_does(|mut stage, id| async move {
            stage.wait_for_cancel(id).await;
            tokio::time::sleep(Duration::from_millis(30)).await;
            stage.cancelled(id).await;
            Ok(stage)
        }))
        .await;
        let execution = pool.runtime.execute("runs").await.unwrap();
        let next = pool.runtime.execute("worker").await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let begun = Instant::now();
        execution.cancel_because("changed my mind");
        let reason = Some("changed my mind".to_owned());
        assert_eq!(
            execution.outcome().await,
            Outcome::Cancelled(Cancelled::new(CancelStage::Interrupt, reason))
        );
        assert_eq!(next.outcome().await.value(), Some(&1.into()));
        assert_eq!(begun.elapsed(), Duration::from_millis(30));
        pool.close().await;
    })
    .await;
}

/// The escalation, as the worker sees it: asked, then forced again and again, each with an interrupt, until it obeys.
#[tokio::test(start_paused = true)]
async fn a_cancel_that_is_not_obeyed_is_forced() {
    guarded(async {
        let pool = Pool::start(first_does(|mut stage, id| async move {
            let asked = Instant::now();
            let mut seen = Vec::new();
            for _ in 0..3 {
                stage.interrupted().await;
                seen.push((stage.wait_for_cancel(id).await.force, asked.elapsed().as_millis()));
            }
            assert_eq!(seen, [(false, 0), (true, 50), (true, 250)]);
            stage.cancelled(id).await;
            Ok(stage)
        }))
        .await;
        let execution = pool.runtime.execute("runs").await.unwrap();
        execution.cancel();
        assert_eq!(execution.outcome().await, cancelled(CancelStage::Force));
        pool.works_on_worker(1).await;
        let interrupts = pool.workers.log().iter().filter(|entry| entry.fact == Fact::Interrupted).count();
        assert_eq!(interrupts, 3, "and none after it obeyed");
        pool.close().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn f49_cancel_of_a_queued_a_finished_and_an_unknown_execution() {
    guarded(async {
        let pool = Pool::start(polite()).await;
        let running = pool.runtime.execute("sleep 1000").await.unwrap();
        let queued = pool.runtime.execute("never runs").await.unwrap();
        let begun = Instant::now();
        pool.runtime.cancel(queued.id()).await.expect("it is queued");
        let id = queued.id();
        assert_eq!(queued.outcome().await, cancelled(CancelStage::Queued));
        assert!(begun.elapsed().is_zero());
        let unknown = pool.runtime.cancel(id).await.expect_err("it has ended");
        assert_eq!(
            unknown.to_string(),
            format!("no execution {id} is queued or running: it has ended, or never was")
        );
        assert!(pool.runtime.cancel(ostler::ExecutionId(u64::MAX)).await.is_err());

        let canceller = running.canceller();
        assert!(running.outcome().await.is_completed());
        canceller.cancel();
        pool.works_on_worker(1).await;
        let executed =
            |entry: &ostler::testing::Entry| matches!(entry.fact, Fact::Received(ToWorker::Execute(_)));
        assert_eq!(
            pool.workers.log().iter().filter(|entry| executed(entry)).count(),
            2,
            "the queued one never ran"
        );
        pool.close().await;
    })
    .await;
}

/// Row 52, and the deadlines of one that was assigned and of one that runs: each is told at the deadline.
#[tokio::test(start_paused = true)]
async fn f52_a_deadline_is_told_when_it_passes_wherever_the_execution_is() {
    for (phase, code) in
        [(Phase::Queued, "queued"), (Phase::Assigned, "ignored"), (Phase::Running, "started")]
    {
        guarded(async {
            let workers = ScriptedSpawner::new(|mut stage: Stage| async move {
                stage.ready().await;
                while let Some(execute) = stage.next_execute().await {
                    if execute.code == "ignored" {
                        silent(stage, execute.id).await.map_or_else(|exit| exit, |_| Exit::Code(0));
                        return Exit::Code(0);
                    }
                    stage.started(execute.id).await;
                    stage.wait_for_cancel(execute.id).await;
                    stage.cancelled(execute.id).await;
                }
                Exit::Code(0)
            });
            let pool = Pool::start(workers).await;
            let before = match phase {
                Phase::Queued => Some(pool.runtime.execute("before").await.unwrap()),
                Phase::Assigned | Phase::Running => None,
            };
            let after = Duration::from_millis(700);
            let begun = Instant::now();
            let execution = pool.runtime.execute(Request::python(code).deadline(after)).await.unwrap();
            assert_eq!(
                execution.outcome().await.without_activity(),
                Outcome::TimedOut(TimedOut::new(after, phase))
            );
            assert_eq!(begun.elapsed(), after);
            drop(before);
            pool.close().await;
        })
        .await;
    }
}

/// B20: the path of a timeout with the shortest one there is.
#[tokio::test(start_paused = true)]
async fn a_deadline_of_a_millisecond_and_of_nothing_is_kept() {
    for after in [Duration::ZERO, Duration::from_millis(1)] {
        guarded(async {
            let pool = Pool::start(polite()).await;
            for _ in 0..50 {
                let begun = Instant::now();
                let slow = pool.runtime.execute(Request::python("sleep 1000").deadline(after)).await.unwrap();
                let queued = pool.runtime.execute(Request::python("x").deadline(after)).await.unwrap();
                assert!(matches!(slow.outcome().await, Outcome::TimedOut(_)));
                assert!(begun.elapsed() <= after + Duration::from_millis(1));
                assert!(matches!(queued.outcome().await, Outcome::TimedOut(_) | Outcome::Completed(_)));
            }
            pool.works_on_worker(1).await;
            pool.close().await;
        })
        .await;
    }
}

/// The caller is told at the deadline; the worker has the grace to prove that it is idle, and is not offered before.
#[tokio::test(start_paused = true)]
async fn a_worker_is_not_offered_between_a_deadline_and_its_proof() {
    guarded(async {
        let pool = Pool::start(first_does(|mut stage, id| async move {
            stage.wait_for_cancel(id).await;
            tokio::time::sleep(Duration::from_millis(600)).await;
            stage.completed(id, "too late").await;
            Ok(stage)
        }))
        .await;
        let begun = Instant::now();
        let request = Request::python("runs").deadline(Duration::from_secs(2));
        let late = pool.runtime.execute(request).await.unwrap();
        let next = pool.runtime.execute("worker").await.unwrap();
        assert!(matches!(late.outcome().await, Outcome::TimedOut(_)));
        assert_eq!(begun.elapsed(), Duration::from_secs(2));
        assert_eq!(next.outcome().await.value(), Some(&1.into()), "kept, for it answered within the grace");
        assert_eq!(begun.elapsed(), Duration::from_millis(2_600));
        pool.close().await;
    })
    .await;
}

/// Ctrl-C is not a cancel: the code may go on, and nothing follows if it does.
#[tokio::test(start_paused = true)]
async fn an_interrupt_reaches_the_code_and_nothing_else_follows() {
    guarded(async {
        let pool = Pool::start(first_does(|mut stage, id| async move {
            stage.interrupted().await;
            assert!(matches!(stage.recv().await, Some(ToWorker::Interrupt)));
            stage.interrupted().await;
            let mut error = ExecutionError::new(id, 0.5, ErrorKind::Exception);
            error.exception = Some(Box::new(Exception::new("KeyboardInterrupt", "")));
            stage.send(&FromWorker::Error(error)).await;
            Ok(stage)
        }))
        .await;
        let execution = pool.runtime.execute("runs").await.unwrap();
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_secs(5)).await;
            execution.interrupt();
        }
        let Outcome::Failed(Failure::Exception(exception)) = execution.outcome().await else {
            panic!("it ended in an exception")
        };
        assert_eq!(exception.type_name, "KeyboardInterrupt");
        pool.works_on_worker(1).await;
        pool.close().await;
    })
    .await;
}

/// C4, and what each kind of `error` means to the caller.
#[tokio::test(start_paused = true)]
async fn each_kind_of_error_has_its_outcome() {
    let exit = |code, message: Option<&str>| {
        Outcome::Failed(Failure::Exit { code, message: message.map(str::to_owned) })
    };
    let protocol = |what: &str| Outcome::Failed(Failure::Protocol { what: what.into() });
    let raised = || Outcome::Failed(Failure::Exception(Box::new(Exception::new("SystemExit", "bye"))));
    for (kind, exit_code, expected) in [
        (ErrorKind::Exception, None, raised()),
        (ErrorKind::Syntax, None, raised()),
        (ErrorKind::Other("novel".into()), None, raised()),
        (ErrorKind::Exit, Some(1), exit(1, Some("bye"))),
        (ErrorKind::Exit, Some(3), exit(3, None)),
        (ErrorKind::Exit, Some(-1), exit(-1, None)),
        (ErrorKind::Exit, Some(i64::MAX), exit(1, None)),
        (ErrorKind::Request, None, protocol("bye")),
        (
            ErrorKind::Cancelled,
            None,
            protocol("it said that the execution was cancelled, and nobody had asked"),
        ),
    ] {
        guarded(async {
            let (sent, code) = (kind.clone(), exit_code);
            let pool = Pool::start(first_does(move |mut stage, id| {
                let kind = sent.clone();
                async move {
                    let mut error = ExecutionError::new(id, 0.5, kind);
                    error.exit_code = code;
                    error.exception = Some(Box::new(Exception::new("SystemExit", "bye")));
                    stage.send(&FromWorker::Error(error)).await;
                    Ok(stage)
                }
            }))
            .await;
            assert_eq!(pool.outcome("runs").await, expected, "{kind:?} {exit_code:?}");
            pool.works_on_worker(1).await;
            pool.close().await;
        })
        .await;
    }
}

/// E15: the reports come in the order of the requests, whatever ends first; what fails or is refused touches no other.
#[tokio::test(start_paused = true)]
async fn run_all_returns_reports_in_order_and_keeps_failures_apart() {
    guarded(async {
        let pool = Pool::start_with(polite(), |it| it.max_sessions(3).queue(20)).await;
        let codes = ["sleep 300", "a", "raise no", "die 11", "sleep 100", "b"];
        let reports = pool.runtime.run_all(codes).await;
        let seen: Vec<_> = reports.iter().map(|report| report.as_ref().unwrap().outcome.kind()).collect();
        assert_eq!(seen, ["completed", "completed", "failed", "lost", "completed", "completed"]);
        for (code, report) in codes.iter().zip(&reports).filter(|(code, _)| !code.contains("no")) {
            let value = report.as_ref().unwrap().value();
            assert!(value.is_none() || value == Some(&(*code).into()), "{code}: {value:?}");
        }
        let many = pool.runtime.run_all((0..40).map(|_| "sleep 10")).await;
        let refused = many
            .iter()
            .filter(|report| matches!(report, Err(SubmitError::QueueFull { limit: 20, .. })))
            .count();
        assert!(refused > 0 && many.len() == 40);
        assert!(many.iter().flatten().all(|report| report.outcome.is_completed()));
        pool.close().await;
    })
    .await;
}

/// Dropping it ends what it began.
#[tokio::test(start_paused = true)]
async fn dropping_run_all_cancels_what_has_no_outcome() {
    guarded(async {
        let pool = Pool::start(polite()).await;
        let runs = pool.runtime.run_all(["sleep 3600000", "queued", "queued"]);
        assert!(tokio::time::timeout(Duration::from_secs(1), runs).await.is_err());
        let totals = pool.eventually("all are cancelled", |status| status.totals.in_flight == 0).await.totals;
        assert_eq!((totals.accepted, totals.cancelled), (3, 3));
        pool.close().await;
    })
    .await;
}

/// A request that fits into no frame is refused where it is made.
#[tokio::test(start_paused = true)]
async fn a_request_that_is_too_large_is_refused_and_no_worker_sees_it() {
    guarded(async {
        let pool = Pool::start(polite()).await;
        let limit = ostler::config::FRAME_LEN_MAX;
        let refused = pool.runtime.run("#".repeat(limit)).await.expect_err("it is too large");
        assert!(matches!(refused, SubmitError::TooLarge { len, limit: it } if len > limit && it == limit));
        pool.works_on_worker(1).await;
        pool.close().await;
    })
    .await;
}

/// P13 holds by construction: everything here ran by tokio's clock, which a jump of the wall clock does not touch.
#[tokio::test(start_paused = true)]
async fn no_deadline_means_none() {
    guarded(async {
        let runtime = settings(&polite()).deadline(None).start().await.unwrap();
        let year = Request::python("sleep 31536000");
        assert!(runtime.run(year).await.unwrap().outcome.is_completed());
        runtime.shutdown(Duration::ZERO).await;
    })
    .await;
}
