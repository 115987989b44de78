//! Leases a session: its variables persist from one execution to the next, also through an interrupt.
//!
//! `cargo run --example stateful_session`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::time::Duration;

use ostler::{Outcome, Request, Runtime, SubmitError, Value, WorkerSpec};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime =
        Runtime::builder(WorkerSpec::python()).max_sessions(2).warmup("import math").start().await?;
    let session = runtime.session().await?;

    session.run("x = 41").await?;
    let report = session.run("x + 1").await?;
    println!("x + 1 = {}", report.outcome);
    assert_eq!(report.value(), Some(&Value::from(42)));

    // The deadline passes; the code is interrupted, and the variables are still there.
    let slow = Request::python("while True: pass").deadline(Duration::from_millis(200));
    let report = session.run(slow).await?;
    println!("{}", report.outcome);
    assert!(matches!(report.outcome, Outcome::TimedOut(_)));
    assert_eq!(session.run("x").await?.value(), Some(&Value::from(41)));

    // A crash ends the session, and says so. The pool carries on.
    let report = session.run("import os; os._exit(3)").await?;
    println!("{}", report.outcome);
    assert!(matches!(report.outcome, Outcome::Lost(_)));
    let refused = session.run("x").await;
    println!("{}", refused.as_ref().expect_err("the session has ended"));
    assert!(matches!(refused, Err(SubmitError::SessionEnded { .. })));
    assert!(runtime.run("1 + 1").await?.outcome.is_completed());

    runtime.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
