//! The round trip of one small execution, beside the least that any host could do: a blocking loop over a pipe pair
//! with a minimal Python worker, which has no stream, no cancel, no limits and no error but a crash.
//!
//! Both run in the same process and take turns, round by round; what counts is the ratio. Pin it to one core to leave
//! the cost of waking another one out: `taskset -c 0 cargo bench --bench round_trip`.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]
#![expect(
    clippy::disallowed_methods,
    reason = "the limit is a process of its own, and a wall clock measures both"
)]

#[path = "limit/mod.rs"]
mod limit;

use std::time::{Duration, Instant};

use limit::Limit;
use ostler::{Request, Runtime, Session, Value, WorkerSpec};

const ROUNDS: usize = 8;
const CALLS: usize = 1_000;
const CODES: [&str; 3] = ["1+1", "x = 1", "print('hi')"];

async fn ours(session: &Session, code: &str) -> Result<(), Box<dyn std::error::Error>> {
    let outcome = session.execute(Request::python(code)).await?.outcome().await;
    if outcome.is_completed() { Ok(()) } else { Err(outcome.to_string().into()) }
}

fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    sorted[(sorted.len() - 1) * percent / 100].as_secs_f64() * 1e6
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let python = ostler::python_info("python3")?.executable;
    let runtime =
        Runtime::builder(WorkerSpec::python_at(&python)).min_idle(0).max_sessions(1).start().await?;
    let session = runtime.session().await?;
    assert_eq!(session.run("1+1").await?.value(), Some(&Value::from(2)));
    let mut limit = Limit::start(&python)?;
    println!("{ROUNDS} rounds of {CALLS} calls each, in turns; microseconds");
    for code in CODES {
        let (mut bare, mut full) = (Vec::new(), Vec::new());
        for round in 0..=ROUNDS {
            for (host, times) in [(0, &mut bare), (1, &mut full)] {
                for _ in 0..CALLS {
                    let start = Instant::now();
                    if host == 0 {
                        limit.call(code)?;
                    } else {
                        ours(&session, code).await?;
                    }
                    // The first round warms both up.
                    if round > 0 {
                        times.push(start.elapsed());
                    }
                }
            }
        }
        bare.sort();
        full.sort();
        let [l50, l99, o50, o99] =
            [percentile(&bare, 50), percentile(&bare, 99), percentile(&full, 50), percentile(&full, 99)];
        println!(
            "{code:12} limit p50 {l50:6.1} p99 {l99:6.1}   ostler p50 {o50:6.1} p99 {o99:6.1}   ratio p50 {:.2} p99 {:.2}",
            o50 / l50,
            o99 / l99
        );
    }
    runtime.shutdown(Duration::from_secs(1)).await;
    Ok(())
}
