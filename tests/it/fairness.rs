//! What a noisy tenant costs a quiet one: on a paused clock, so the figures are the same on every machine.

use std::time::Duration;

use ostler::{Request, SubmitError};
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    support::{Pool, guarded},
    workers::polite,
};

/// Executions take this long, give or take a half.
const MEAN_MS: f64 = 100.0;
/// Requests of the quiet tenant.
const REQUESTS: usize = 200;

/// A Poisson process: the wait until the next one comes.
fn gap(chance: &mut StdRng, mean_ms: f64) -> Duration {
    let even: f64 = chance.random_range(f64::EPSILON..1.0);
    Duration::from_secs_f64(-even.ln() * mean_ms / 1_000.0)
}

fn request(chance: &mut StdRng, tenant: &str) -> Request {
    let ms = chance.random_range(0.5 * MEAN_MS..1.5 * MEAN_MS).round();
    Request::python(format!("sleep {ms}")).tenant(tenant).no_deadline()
}

/// The 99th percentile of the time from submission to outcome of a tenant that takes a tenth of the pool, beside one that
/// takes so many tenths. And how many requests of that one were refused.
async fn p99(sessions: usize, noise: f64, names: [&'static str; 2]) -> (Duration, usize) {
    let pool = Pool::start_with(polite(), |it| it.max_sessions(sessions).min_idle(sessions)).await;
    pool.eventually("all are idle", |status| status.idle == sessions).await;
    let tenth_ms = MEAN_MS * 10.0 / sessions as f64;
    let noisy = {
        let (runtime, mut chance) = (pool.runtime.clone(), StdRng::seed_from_u64(1));
        tokio::spawn(async move {
            let (mut held, mut refused) = (JoinSet::new(), 0);
            loop {
                tokio::time::sleep(gap(&mut chance, tenth_ms / noise)).await;
                match runtime.execute(request(&mut chance, names[0])).await {
                    Ok(execution) => drop(held.spawn(execution.outcome())),
                    Err(SubmitError::TenantFull { .. }) => refused += 1,
                    Err(SubmitError::ShuttingDown) => return refused,
                    Err(error) => panic!("{error}"),
                }
                while held.try_join_next().is_some() {}
            }
        })
    };
    let mut chance = StdRng::seed_from_u64(2);
    let mut quiet = JoinSet::new();
    for _ in 0..REQUESTS {
        tokio::time::sleep(gap(&mut chance, tenth_ms)).await;
        let (runtime, request) = (pool.runtime.clone(), request(&mut chance, names[1]));
        quiet.spawn(async move {
            let begun = Instant::now();
            match runtime.run(request).await {
                Ok(report) => assert!(report.outcome.is_completed(), "{}", report.outcome),
                // Only where both are one tenant.
                Err(error) => assert!(names[0] == names[1], "{error}"),
            }
            begun.elapsed()
        });
    }
    let mut times = quiet.join_all().await;
    times.sort();
    pool.runtime.shutdown(Duration::from_secs(1)).await;
    (times[REQUESTS * 99 / 100], noisy.await.unwrap())
}

/// Ten times the load of the other, which is more than the whole pool can do, is less than twice the time on a pool of
/// four. The fewer sessions, the more: whoever comes waits until one is free, and nothing that runs is stopped for it.
#[tokio::test(start_paused = true)]
async fn a_noisy_tenant_at_ten_times_the_load_does_not_double_the_p99_of_another() {
    for (sessions, limit) in [(2, 2.5), (4, 2.0)] {
        guarded(async {
            let (before, _) = p99(sessions, 1.0, ["noisy", "quiet"]).await;
            let (after, refused) = p99(sessions, 10.0, ["noisy", "quiet"]).await;
            let (alone, _) = p99(sessions, 10.0, ["one", "one"]).await;
            let ratio = after.as_secs_f64() / before.as_secs_f64();
            let without = alone.as_secs_f64() / before.as_secs_f64();
            println!(
                "{sessions} sessions: p99 {before:?} -> {after:?}, {ratio:.2} times; as one tenant {without:.1} times; \
                 {refused} of the noisy one refused"
            );
            assert!(without > 3.0, "the same without tenants shows nothing: {without}");
            assert!(ratio < limit, "{ratio}");
        })
        .await;
    }
}
