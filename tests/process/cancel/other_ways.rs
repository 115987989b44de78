//! The other ways in which an execution is told to stop.

use std::time::Duration;

use ostler::{CancelStage, Cancelled, Event, Outcome, Phase, Request, TimedOut, Transport};
use tokio::time::Instant;

use super::{LONG, SHORT, kept, pool, ready, replaced};
use crate::support::wait::{SOON, guarded, pool_is};

/// f47: whoever lets go of the handle wants no answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f47_dropping_the_handle_cancels_and_the_session_goes_on() {
    guarded(async {
        let runtime = pool(Transport::Socket, LONG).await;
        let session = runtime.session().await.unwrap();
        session.run("kept = 41").await.unwrap();
        let mut execution = session.execute("print('ready')\nwhile True: pass").await.unwrap();
        ready(&mut execution).await;
        drop(execution);
        assert!(kept(&session).await);
        assert_eq!(runtime.status().await.totals.cancelled, 1);

        // Dropping a future that waits for the outcome is the same.
        let execution = session.execute("while True: pass").await.unwrap();
        let waited = tokio::time::timeout(Duration::from_millis(20), execution.outcome()).await;
        assert!(waited.is_err());
        assert!(kept(&session).await);
        assert_eq!(runtime.status().await.totals.cancelled, 2);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_detached_execution_runs_to_its_end_without_its_handle() {
    guarded(async {
        let runtime = pool(Transport::Socket, LONG).await;
        let session = runtime.session().await.unwrap();
        let request = Request::python("import time; time.sleep(0.05); kept = 41").detached();
        drop(session.execute(request).await.unwrap());
        assert!(kept(&session).await);
    })
    .await;
}

/// P1, P6: the deadline is told when it passes; the worker that holds the interpreter is replaced after the grace.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_is_told_at_once_and_the_worker_is_replaced_if_it_must_be() {
    guarded(async {
        let runtime = pool(Transport::Socket, SHORT).await;
        let session = runtime.session().await.unwrap();
        let after = Duration::from_secs(1);
        let begun = Instant::now();
        let request = Request::python("sum(range(10**12))").deadline(after);
        let outcome = session.execute(request).await.unwrap().outcome().await;
        let took = begun.elapsed();
        println!("a deadline of {after:?} was told after {took:?}");
        assert_eq!(outcome.without_activity(), Outcome::TimedOut(TimedOut::new(after, Phase::Running)));
        assert!(took >= after && took < after + SOON, "{took:?}");
        pool_is(&runtime, "the worker was killed and replaced", |pool| {
            pool.spawned == 2 || pool.crashed == 1
        })
        .await;
        replaced(&runtime, session).await;
    })
    .await;
}

/// B20: the path at 1 ms.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_of_a_millisecond_is_kept_wherever_the_request_is() {
    guarded(async {
        let runtime = pool(Transport::Socket, LONG).await;
        for _ in 0..50 {
            let request = Request::python("while True: pass").deadline(Duration::from_millis(1));
            let outcome = runtime.run(request).await.unwrap().outcome;
            assert!(matches!(outcome, Outcome::TimedOut(_)), "{outcome}");
        }
        assert_eq!(runtime.run("1").await.unwrap().outcome.to_string(), "1");
        assert_eq!(runtime.status().await.spawned, 1, "its worker obeyed each time");
    })
    .await;
}

/// f49, f52.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f49_what_waits_is_cancelled_without_a_worker_and_what_has_ended_is_not_found() {
    guarded(async {
        let runtime = pool(Transport::Socket, LONG).await;
        let mut running = runtime.execute("print('ready')\nwhile True: pass").await.unwrap();
        ready(&mut running).await;
        let waiting = runtime.execute("1").await.unwrap();
        runtime.cancel(waiting.id()).await.unwrap();
        let outcome = waiting.outcome().await;
        assert_eq!(outcome, Outcome::Cancelled(Cancelled::new(CancelStage::Queued, None)));

        let after = Duration::from_millis(50);
        let report = runtime.run(Request::python("1").deadline(after)).await.unwrap();
        assert_eq!(report.outcome, Outcome::TimedOut(TimedOut::new(after, Phase::Queued)));

        let id = running.id();
        running.cancel();
        running.cancel();
        assert!(matches!(running.outcome().await, Outcome::Cancelled(_)));
        assert_eq!(runtime.cancel(id).await.unwrap_err().0, id);
    })
    .await;
}

/// f50: a cancel that races the end of the code gives one of the two, and the worker is fine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f50_a_cancel_that_races_the_end_gives_one_of_the_two() {
    guarded(async {
        let runtime = pool(Transport::Socket, LONG).await;
        let session = runtime.session().await.unwrap();
        session.run("kept = 41").await.unwrap();
        let (mut completed, mut cancelled) = (0, 0);
        for i in 0..200 {
            let execution = session.execute("sum(range(1000))").await.unwrap();
            let canceller = execution.canceller();
            let (outcome, ()) = tokio::join!(execution.outcome(), async {
                tokio::time::sleep(Duration::from_micros(10 * i)).await;
                canceller.cancel();
            });
            match outcome {
                Outcome::Completed(_) => completed += 1,
                Outcome::Cancelled(it) if it.stage != CancelStage::Kill => cancelled += 1,
                other => panic!("{other:?}"),
            }
            assert!(kept(&session).await, "after race {i}");
        }
        println!("of 200 races, {completed} completed and {cancelled} were cancelled");
    })
    .await;
}

/// An interrupt is Ctrl-C: the code may go on, and nothing is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupt_is_a_keyboard_interrupt_that_code_may_survive() {
    let code = "import time\ntry:\n    print('ready')\n    time.sleep(600)\nexcept KeyboardInterrupt:\n    answer = 'went on'\nanswer";
    guarded(async {
        let runtime = pool(Transport::Socket, SHORT).await;
        let mut execution = runtime.execute(code).await.unwrap();
        ready(&mut execution).await;
        execution.interrupt();
        assert_eq!(execution.outcome().await.to_string(), "'went on'");

        let mut execution = runtime.execute("print('ready')\nwhile True: pass").await.unwrap();
        ready(&mut execution).await;
        execution.interrupt();
        let mut last = None;
        while let Some(event) = execution.next().await {
            last = Some(event);
        }
        assert!(!matches!(last, Some(Event::Dropped { .. })), "an interrupt discards nothing");
        let outcome = execution.outcome().await;
        assert!(outcome.to_string().ends_with("KeyboardInterrupt"), "{outcome}");
        assert_eq!(runtime.status().await.spawned, 1);
    })
    .await;
}
