//! Load, and somebody who kills (P1, P3, P8, P16).

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use ostler::{LostCause, Outcome, Request, RestartPolicy, Runtime, SessionState, SessionStatus, Value};
use rand::{Rng, SeedableRng, rngs::StdRng};
use rustix::process::Signal;

use crate::{
    counts::{pool, settled, started},
    support::processes::{nothing_left, signal},
};

const EXECUTIONS: u32 = 10_000;
const WORKERS: usize = 8;
const CALLERS: u32 = 32;
/// One of so many executions is followed by a kill: on a busy machine, too, more is done than is undone.
const KILL_EVERY: u32 = 20;
const KILLS_MIN: u32 = EXECUTIONS / KILL_EVERY / 2;
const SEED: u64 = 7;
const AGAIN_AFTER: Duration = Duration::from_millis(1);

type Counts = BTreeMap<&'static str, u64>;

/// Each has exactly one outcome, and none hangs; the totals add up, and nothing is left over.
pub(crate) async fn ten_thousand_executions_survive_a_killer() {
    let before = settled().await;
    let mut policy = RestartPolicy::default();
    (policy.min_backoff, policy.max_backoff) = (Duration::from_millis(1), Duration::from_millis(20));
    policy.intensity = u32::MAX;
    let builder = pool(WORKERS).min_idle(WORKERS).restart(policy).queue(CALLERS as usize);
    let (runtime, tag) = started(builder).await;

    let begun = Instant::now();
    let next = Arc::new(AtomicU32::new(0));
    let done = Arc::new(AtomicBool::new(false));
    let killer = tokio::spawn(kill(runtime.clone(), Arc::clone(&next), Arc::clone(&done)));
    let callers: Vec<_> =
        (0..CALLERS).map(|_| tokio::spawn(call(runtime.clone(), Arc::clone(&next)))).collect();
    let mut counts = Counts::new();
    for caller in callers {
        for (kind, count) in caller.await.unwrap() {
            *counts.entry(kind).or_default() += count;
        }
    }
    done.store(true, Relaxed);
    let killed = killer.await.unwrap();
    let status = runtime.status().await;
    println!(
        "   {counts:?} with {killed} kills in {:?}; {} workers started",
        begun.elapsed(),
        status.spawned
    );

    let totals = status.totals;
    assert_eq!(counts.values().sum::<u64>(), u64::from(EXECUTIONS));
    assert_eq!((totals.accepted, totals.in_flight), (u64::from(EXECUTIONS), 0));
    assert_eq!(totals.completed, counts["completed"]);
    let lost =
        ["lost, started", "lost, not started"].map(|kind| counts.get(kind).copied().unwrap_or_default());
    assert_eq!(totals.lost, lost.iter().sum::<u64>());
    assert!(killed >= KILLS_MIN, "{killed} kills: the killer does not keep up");
    assert!(lost[0] > 0, "nobody was hit: the killer does not kill");
    assert!(status.crashed >= lost[0], "{status:?}");
    runtime.shutdown(Duration::from_secs(1)).await;
    nothing_left(&tag, Duration::ZERO).await;
    drop(runtime);
    before.are_back().await;
}

/// Kills a random worker, idle or busy, each time that some more executions have begun, and says how many it killed.
async fn kill(runtime: Runtime, begun: Arc<AtomicU32>, done: Arc<AtomicBool>) -> u32 {
    let (mut chance, mut killed) = (StdRng::seed_from_u64(SEED), 0);
    while !done.load(Relaxed) {
        tokio::time::sleep(AGAIN_AFTER).await;
        if killed >= begun.load(Relaxed) / KILL_EVERY {
            continue;
        }
        let sessions = runtime.status().await.sessions;
        let serves = |session: &&SessionStatus| {
            matches!(session.state, SessionState::Ready | SessionState::Busy | SessionState::Idle)
        };
        let pids: Vec<u32> = sessions.iter().filter(serves).filter_map(|session| session.pid).collect();
        if !pids.is_empty() && signal(pids[chance.random_range(0..pids.len())], Signal::KILL) {
            killed += 1;
        }
    }
    killed
}

/// Runs one request after another until there are enough, and counts how they end.
async fn call(runtime: Runtime, next: Arc<AtomicU32>) -> Counts {
    let mut counts = Counts::new();
    loop {
        let n = next.fetch_add(1, Relaxed);
        if n >= EXECUTIONS {
            return counts;
        }
        let request = Request::python("print(n)\nn * 2").arg("n", n).no_deadline();
        let report = runtime.run(request).await.unwrap();
        let kind = match &report.outcome {
            Outcome::Completed(_) => {
                assert_eq!(report.value(), Some(&Value::from(n * 2)), "an answer to another request");
                assert_eq!(report.stdout_text(), format!("{n}\n"));
                "completed"
            }
            Outcome::Lost(lost) => {
                // Twice given to a worker that was dead by then: nobody saw it die under this execution.
                assert!(matches!(&lost.cause, LostCause::Died(_)) || !lost.started, "{lost}");
                if lost.started { "lost, started" } else { "lost, not started" }
            }
            other => panic!("execution {n}: {other:?}"),
        };
        *counts.entry(kind).or_default() += 1;
    }
}
