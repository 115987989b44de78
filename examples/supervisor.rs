//! A supervisor binary: it keeps a pool under load, kills its own workers, and prints the pool's life.
//!
//! `cargo run --example supervisor`

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{collections::BTreeMap, time::Duration};

use ostler::{Outcome, PoolStatus, Request, Runtime, WorkerSpec};

const WORK: &str = "import time\ntime.sleep(0.005)\nsum(range(n))";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let runtime = Runtime::builder(WorkerSpec::python()).min_idle(2).max_sessions(4).start().await?;
    let load = tokio::spawn(load(runtime.clone(), 200));

    for round in 1..=5 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let status = runtime.status().await;
        println!("round {round}: {}", line(&status));
        if let Some(pid) = status.sessions.first().and_then(|session| session.pid) {
            println!("  killing worker {pid}");
            kill(pid).await?;
        }
    }

    let outcomes = load.await?;
    println!("outcomes: {outcomes:?}");
    assert_eq!(outcomes.values().sum::<u64>(), 200, "every request has exactly one outcome");
    let totals = runtime.status().await.totals;
    assert_eq!(totals.accepted, 200);
    assert_eq!(totals.in_flight, 0);
    runtime.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

/// Eight callers share the requests.
async fn load(runtime: Runtime, requests: u64) -> BTreeMap<&'static str, u64> {
    let mut callers = Vec::new();
    for caller in 0..8 {
        let runtime = runtime.clone();
        callers.push(tokio::spawn(async move {
            let mut outcomes = Vec::new();
            for n in (caller..requests).step_by(8) {
                let request = Request::python(WORK).arg("n", n).label(format!("sum-{n}"));
                match runtime.run(request).await {
                    Ok(report) => {
                        if let Outcome::Lost(lost) = &report.outcome {
                            println!("  {}: {lost}", report.label.as_deref().unwrap_or_default());
                        }
                        outcomes.push(report.outcome.kind());
                    }
                    Err(error) => println!("  refused: {error}"),
                }
            }
            outcomes
        }));
    }
    let mut counts = BTreeMap::new();
    for caller in callers {
        for kind in caller.await.unwrap_or_default() {
            *counts.entry(kind).or_default() += 1;
        }
    }
    counts
}

fn line(status: &PoolStatus) -> String {
    let PoolStatus { idle, busy, starting, backing_off, queued, spawned, crashed, .. } = status;
    format!(
        "{idle} idle, {busy} busy, {starting} starting, {backing_off} backing off, {queued} queued; \
         {spawned} spawned, {crashed} crashed"
    )
}

/// Kills one worker, by its own id, from a worker of another pool: the library starts processes, not this program.
async fn kill(pid: u32) -> Result<(), Box<dyn std::error::Error>> {
    let killer = Runtime::builder(WorkerSpec::python()).start().await?;
    killer.run(Request::python("import os, signal; os.kill(pid, signal.SIGKILL)").arg("pid", pid)).await?;
    Ok(())
}
