//! What one request costs the host in processor time, with scripted workers in memory: by the number of workers, of those
//! who wait, and of idle leases. `cargo bench --bench scale --features testing`

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

use std::{fs, time::Duration};

use ostler::{
    Exit, Request, Runtime, WorkerSpec,
    testing::{ScriptedSpawner, Stage},
};

type Any = Box<dyn std::error::Error>;
const REQUESTS: u32 = 20_000;
const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Processor time of this process: user and system, in steps of 10 ms.
fn processor() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    let ticks: u64 = fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// Answers at once, but for what is to take a day.
async fn worker(mut stage: Stage) -> Exit {
    stage.ready().await;
    while let Some(execute) = stage.next_execute().await {
        stage.started(execute.id).await;
        if &*execute.code == "day" {
            stage.wait_for_cancel(execute.id).await;
            stage.cancelled(execute.id).await;
        } else {
            stage.completed(execute.id, 1).await;
        }
    }
    Exit::Code(0)
}

/// The cost of a request in a pool of `workers`, beside `leased` idle leases, when `waiting` others wait.
async fn cost(workers: usize, leased: usize, waiting: usize) -> Result<Duration, Any> {
    let runtime = Runtime::builder(WorkerSpec::python())
        .spawner(ScriptedSpawner::new(worker))
        .max_sessions(workers + leased)
        .min_idle(workers + leased)
        .max_starting(workers + leased)
        .start_rate(1 << 20)
        .queue(waiting + 1)
        .deadline(DAY)
        .start()
        .await?;
    let mut leases = Vec::new();
    for _ in 0..leased {
        leases.push(runtime.session().await?);
    }
    while runtime.status().await.idle < workers {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // One session serves; where some are to wait, it is leased, and all others are busy.
    let session = runtime.session().await?;
    let mut others = Vec::new();
    for _ in 0..if waiting > 0 { workers - 1 + waiting } else { 0 } {
        others.push(runtime.execute(Request::python("day")).await?);
    }
    let begun = processor();
    for _ in 0..REQUESTS {
        if waiting > 0 {
            session.execute("1").await?.outcome().await;
        } else {
            runtime.execute("1").await?.outcome().await;
        }
    }
    let spent = (processor() - begun) / REQUESTS;
    drop((others, session, leases));
    runtime.shutdown(Duration::ZERO).await;
    Ok(spent)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Any> {
    let few = cost(8, 0, 0).await?;
    for (workers, leased, waiting) in
        [(8, 0, 0), (64, 0, 0), (256, 0, 0), (1_000, 0, 0), (8, 1_000, 0), (8, 0, 100), (8, 0, 10_000)]
    {
        let spent = cost(workers, leased, waiting).await?;
        let ratio = spent.as_secs_f64() / few.as_secs_f64();
        let micros = spent.as_secs_f64() * 1e6;
        println!(
            "{workers:5} workers, {leased:5} idle leases, {waiting:6} waiting: {micros:7.1} us of host CPU per request, {ratio:5.2} x"
        );
    }
    Ok(())
}
