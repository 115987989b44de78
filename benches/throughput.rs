//! What a pool gets done: requests per second beside the limit and beside a process per request, messages per second of
//! one session, and the round trip of one session while sixteen others keep the processors busy.
//!
//! Acceptance rows B1, B2, B8 and B9, and row b of the targets. Ratios count; run it on a quiet machine.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(
    clippy::disallowed_methods,
    reason = "the limit is a process of its own, and a wall clock measures both"
)]

#[path = "limit/mod.rs"]
mod limit;

use std::{
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use limit::Limit;
use ostler::{Event, Request, Runtime, WorkerSpec};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const ROUNDS: usize = 4;
const IN_FLIGHT: usize = 64;
const REQUESTS: usize = 4_000;
const BUSY: usize = 16;
const DISPLAYS: usize = 20_000;
const CALLS: usize = 1_000;

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn per_second(count: usize, begun: Instant) -> f64 {
    count as f64 / begun.elapsed().as_secs_f64()
}

async fn pool(python: &Path, workers: usize) -> Result<Runtime> {
    let builder = Runtime::builder(WorkerSpec::python_at(python)).min_idle(workers).max_sessions(workers);
    let runtime = builder.start().await?;
    while runtime.status().await.idle < workers {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(runtime)
}

/// Stateless requests, each in a fresh namespace, so many at a time.
async fn stateless(runtime: &Runtime, requests: usize) -> Result<f64> {
    let begun = Instant::now();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..IN_FLIGHT {
        let runtime = runtime.clone();
        let share = (requests + caller) / IN_FLIGHT; // Together exactly as many as were asked for.
        callers.spawn(async move {
            for _ in 0..share {
                let outcome = runtime.execute("1+1").await?.outcome().await;
                if !outcome.is_completed() {
                    return Err(outcome.to_string().into());
                }
            }
            Result::Ok(share)
        });
    }
    let mut done = 0;
    while let Some(caller) = callers.join_next().await {
        done += caller??;
    }
    Ok(per_second(done, begun))
}

/// A thread for each worker, which does nothing else.
fn bare(workers: &mut [Limit], requests: usize) -> Result<f64> {
    let (begun, share) = (Instant::now(), requests / workers.len());
    let count = share * workers.len();
    std::thread::scope(|scope| {
        let callers: Vec<_> = workers
            .iter_mut()
            .map(|worker| scope.spawn(move || (0..share).try_for_each(|_| worker.call("1+1"))))
            .collect();
        callers
            .into_iter()
            .try_for_each(|caller| caller.join().map_err(|_| "a caller panicked")?.map_err(Into::into))
    })
    .map(|()| per_second(count, begun))
}

/// Row b of the targets, and B8: the same work by a process per request.
async fn requests(python: &Path) -> Result<()> {
    for count in [2, 8] {
        let runtime = pool(python, count).await?;
        let mut limits = (0..count).map(|_| Limit::start(python)).collect::<std::io::Result<Vec<_>>>()?;
        let (mut ours, mut least, mut spawned) = (Vec::new(), Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            let rates = [
                tokio::task::block_in_place(|| bare(&mut limits, 4 * REQUESTS))?,
                stateless(&runtime, REQUESTS).await?,
                tokio::task::block_in_place(|| process_per_request(python, 40))?,
            ];
            if round > 0 {
                least.push(rates[0]);
                ours.push(rates[1]);
                spawned.push(rates[2]);
            }
        }
        let (least, ours, spawned) = (median(least), median(ours), median(spawned));
        println!(
            "{count} workers, {IN_FLIGHT} in flight   limit {least:7.0}/s   ostler {ours:7.0}/s   ratio {:.2}   a process per request {spawned:5.0}/s   B8 {:.0} x",
            ours / least,
            ours / spawned
        );
        runtime.shutdown(Duration::from_secs(1)).await;
    }
    Ok(())
}

fn process_per_request(python: &Path, requests: usize) -> Result<f64> {
    let begun = Instant::now();
    for _ in 0..requests {
        if !Command::new(python).args(["-I", "-c", "1+1"]).status()?.success() {
            return Err("python did not run".into());
        }
    }
    Ok(per_second(requests, begun))
}

/// B9, from a pool that is ready.
async fn a_hundred(python: &Path) -> Result<()> {
    let runtime = pool(python, 2).await?;
    let begun = Instant::now();
    stateless(&runtime, 100).await?;
    println!("B9: 100 requests in {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
    runtime.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

/// B2: every `display` is a message of its own.
async fn messages(python: &Path) -> Result<()> {
    let runtime = pool(python, 1).await?;
    let session = runtime.session().await?;
    let mut rates = Vec::new();
    for _ in 0..=ROUNDS {
        let begun = Instant::now();
        let code = format!("for i in range({DISPLAYS}): display(i)");
        let mut execution = session.execute(Request::python(code)).await?;
        let mut seen = 0;
        while let Some(event) = execution.next().await {
            seen += usize::from(matches!(event, Event::Display(_)));
        }
        assert_eq!(seen, DISPLAYS);
        rates.push(per_second(seen, begun));
    }
    println!("B2: {:.0} messages/s of one session", median(rates));
    drop(session);
    runtime.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

/// B1, and row i of the targets: others compute, on every processor there is.
async fn under_load(python: &Path) -> Result<()> {
    let runtime = pool(python, BUSY + 1).await?;
    let mut busy = Vec::new();
    for _ in 0..BUSY {
        let session = runtime.session().await?;
        let execution = session.execute(Request::python("while True: pass").no_deadline()).await?;
        busy.push((session, execution));
    }
    let session = runtime.session().await?;
    let mut limit = Limit::start(python)?;
    let (mut ours, mut least) = (Vec::new(), Vec::new());
    for _ in 0..CALLS {
        let begun = Instant::now();
        tokio::task::block_in_place(|| limit.call("1+1"))?;
        least.push(begun.elapsed());
        let begun = Instant::now();
        let outcome = session.execute("1+1").await?.outcome().await;
        assert!(outcome.is_completed(), "{outcome}");
        ours.push(begun.elapsed());
    }
    let [least, ours] = [least, ours].map(|mut times| {
        times.sort();
        [50, 99].map(|percent| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3)
    });
    println!(
        "B1: round trip with {BUSY} busy sessions, ms: limit p50 {:.2} p99 {:.2}   ostler p50 {:.2} p99 {:.2}",
        least[0], least[1], ours[0], ours[1]
    );
    drop((busy, session));
    runtime.shutdown(Duration::from_secs(1)).await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    let python = ostler::python_info("python3")?.executable;
    requests(&python).await?;
    a_hundred(&python).await?;
    messages(&python).await?;
    under_load(&python).await
}
