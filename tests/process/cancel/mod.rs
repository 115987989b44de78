//! Cancelling code that does not expect it: the matrix of B17, P6.

mod other_ways;
mod rows;
mod sigint;

use std::{pin::pin, time::Duration};

use ostler::{
    CancelStage, Event, Execution, Failure, Outcome, Request, Runtime, Session, SubmitError, Transport,
    WorkerSpec, config::FORCE_AFTER,
};
use tokio::time::Instant;

use self::rows::{ROWS, Row};
use crate::support::wait::{SOON, guarded};

/// For rows that stop at an interrupt: so long that only a worker that ignores it is killed.
const LONG: Duration = Duration::from_secs(30);
/// When Ctrl-C is pressed again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
/// For rows that end by a kill.
const SHORT: Duration = Duration::from_millis(300);

/// Waits until the code says, by printing `ready` or by asking for input, that it is where it is to be stopped.
async fn ready(execution: &mut Execution) {
    let mut printed = Vec::new();
    while let Some(event) = execution.next().await {
        match event {
            Event::Input(_) => return,
            Event::Output { data, .. } => {
                printed.extend_from_slice(&data);
                if printed.windows(6).any(|bytes| bytes == b"ready\n") {
                    return;
                }
            }
            Event::Started { .. } | Event::Display(_) | Event::Dropped { .. } => {}
            other => panic!("an event that this test does not know: {other:?}"),
        }
    }
    panic!("the code ended before it was ready; it printed {:?}", String::from_utf8_lossy(&printed));
}

async fn pool(transport: Transport, grace: Duration) -> Runtime {
    let spec = WorkerSpec::python().transport(transport);
    Runtime::builder(spec).max_sessions(1).grace(grace).start().await.unwrap()
}

/// The session still has what it had before.
async fn kept(session: &Session) -> bool {
    session.run("kept + 1").await.is_ok_and(|report| report.outcome.to_string() == "42")
}

/// Where an interrupt is enough it takes no force, however long the machine takes. It may take a second one: a signal
/// that comes in the instant before a system call blocks is not seen by Python.
async fn interrupt(row: &Row, transport: Transport) {
    let runtime = pool(transport, LONG).await;
    let session = runtime.session().await.unwrap();
    session.run("kept = 41").await.unwrap();
    let mut execution = session.execute(row.code).await.unwrap();
    ready(&mut execution).await;
    let canceller = execution.canceller();
    let mut outcome = pin!(execution.outcome());
    let outcome = loop {
        canceller.interrupt();
        if let Ok(outcome) = tokio::time::timeout(AGAIN_AFTER, &mut outcome).await {
            break outcome;
        }
    };
    let Outcome::Failed(Failure::Exception(exception)) = &outcome else {
        panic!("{}: {outcome:?}", row.name)
    };
    assert_eq!(exception.type_name, "KeyboardInterrupt", "{}", row.name);
    assert!(kept(&session).await, "{}: the session lost its state", row.name);
}

/// Cancels one row, and says how that went.
async fn cancel(row: &Row, transport: Transport) {
    let killed = row.stage == CancelStage::Kill;
    let runtime = pool(transport, if killed { SHORT } else { LONG }).await;
    let session = runtime.session().await.unwrap();
    session.run("kept = 41").await.unwrap();
    let mut execution = session.execute(row.code).await.unwrap();
    ready(&mut execution).await;

    let begun = Instant::now();
    execution.cancel_because("the test says so");
    let outcome = execution.outcome().await;
    let took = begun.elapsed();
    let Outcome::Cancelled(cancelled) = &outcome else { panic!("{}: {outcome:?}", row.name) };
    println!("{:<42} {transport:?}: {:?} after {took:?}", row.name, cancelled.stage);
    assert_eq!(cancelled.reason.as_deref(), Some("the test says so"));

    if killed {
        assert_eq!(cancelled.stage, CancelStage::Kill, "{}", row.name);
        assert!(took >= SHORT && took < SHORT + SOON, "{}: {took:?}", row.name);
        replaced(&runtime, session).await;
    } else {
        // On a busy machine the first interrupt may take longer than the second waits.
        let late = cancelled.stage == CancelStage::Force && took >= FORCE_AFTER;
        assert!(cancelled.stage == row.stage || late, "{}: {outcome}, expected {:?}", row.name, row.stage);
        assert!(took < SOON, "{}: {took:?}", row.name);
        assert!(kept(&session).await, "{}: the session lost its state", row.name);
    }
}

/// A session whose worker was killed has ended, and the next one has another worker.
async fn replaced(runtime: &Runtime, session: Session) {
    let refused = session.run("kept").await.unwrap_err();
    assert!(matches!(refused, SubmitError::SessionEnded { .. }), "{refused}");
    let (pid, generation) = (session.pid(), session.generation());
    drop(session);
    let next = runtime.session().await.unwrap();
    assert_ne!(next.pid(), pid);
    assert!(next.generation() > generation, "{} after {generation}", next.generation());
    assert!(!kept(&next).await);
}

/// B17.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f35_code_stops_at_the_stage_that_it_deserves() {
    for row in &ROWS {
        guarded(cancel(row, Transport::Socket)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_that_does_not_resist_is_stopped_by_interrupts_alone() {
    for row in ROWS.iter().filter(|row| row.stage == CancelStage::Interrupt) {
        guarded(interrupt(row, Transport::Socket)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_stops_on_the_stdio_transport_too() {
    for row in ROWS.iter().filter(|row| row.on_stdio_too) {
        guarded(cancel(row, Transport::Stdio)).await;
        if row.stage == CancelStage::Interrupt {
            guarded(interrupt(row, Transport::Stdio)).await;
        }
    }
}

/// P6: the worker of a cancelled execution is offered again only when it is idle; nothing of the old one is left in
/// the answer of the next.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_cancels_in_a_row_confuse_nobody() {
    guarded(async {
        let runtime = pool(Transport::Socket, LONG).await;
        let session = runtime.session().await.unwrap();
        session.run("kept = 41").await.unwrap();
        for i in 0..100 {
            let mut execution = session.execute("while True: print('noise')").await.unwrap();
            while !matches!(execution.next().await, Some(Event::Output { .. })) {}
            execution.cancel();
            let next = session.execute(Request::python("print(i)\nkept + 1").arg("i", i)).await.unwrap();
            let outcome = execution.outcome().await;
            assert!(matches!(&outcome, Outcome::Cancelled(it) if it.stage != CancelStage::Kill), "{outcome}");
            let report = next.report().await;
            assert_eq!(report.stdout_text(), format!("{i}\n"));
            assert_eq!(report.outcome.to_string(), "42");
        }
    })
    .await;
}
