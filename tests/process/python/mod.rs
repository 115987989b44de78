//! What code may rely on when it runs in the shipped worker.

mod ends;
mod errors;
mod input;
mod left;
mod namespace;
mod numbers;
mod output;
mod preload;
mod reactor;
mod recordings;
mod runtimes;
mod state;
mod transports;
mod values;
mod warmup;

use ostler::{Report, Runtime, RuntimeBuilder, Session, WorkerSpec};

/// A pool of one worker.
pub(crate) fn one() -> RuntimeBuilder {
    Runtime::builder(WorkerSpec::python()).max_sessions(1)
}

/// Runs code that must complete, and returns what it printed.
pub(crate) async fn prints(session: &Session, code: &str) -> String {
    let report = session.run(code).await.unwrap();
    completed(&report);
    report.stdout_text().into_owned()
}

/// Runs code that must complete, and returns its value as Python shows it.
pub(crate) async fn shows(session: &Session, code: &str) -> String {
    let report = session.run(code).await.unwrap();
    completed(&report);
    report.outcome.to_string()
}

/// Says how a report ended, if not well.
pub(crate) fn completed(report: &Report) {
    assert!(report.outcome.is_completed(), "{}; its stderr: {}", report.outcome, report.stderr_text());
}
