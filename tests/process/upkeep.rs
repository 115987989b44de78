//! Workers that are looked after and replaced while the pool serves.

use std::time::{Duration, Instant};

use ostler::{
    DeathCause, LostCause, Outcome, RecyclePolicy, ReloadError, Request, Runtime, RuntimeBuilder,
    SessionState, WorkerSpec,
};
use rustix::process::Signal;

use crate::{
    deaths::line,
    python::completed,
    support::{
        processes::{nothing_left, pool_tag, signal},
        wait::{SOON, guarded, pool_is},
    },
};

fn pool(sessions: usize) -> RuntimeBuilder {
    Runtime::builder(WorkerSpec::python()).max_sessions(sessions).min_idle(sessions)
}

async fn pids(runtime: &Runtime) -> Vec<u32> {
    runtime.status().await.sessions.iter().filter_map(|session| session.pid).collect()
}

/// B18 and F5: no message is missed from it, but the kernel says that it is stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f19_f20_a_stopped_worker_is_killed_and_replaced_whether_it_runs_something_or_not() {
    guarded(async {
        let runtime = pool(2).start().await.unwrap();
        pool_is(&runtime, "both are ready", |pool| pool.idle == 2).await;
        let code = "import time\nprint('runs', flush=True)\ntime.sleep(600)";
        let mut running = runtime.execute(Request::python(code).no_deadline()).await.unwrap();
        assert_eq!(line(&mut running).await, "runs");
        for pid in pids(&runtime).await {
            assert!(signal(pid, Signal::STOP));
        }
        let Outcome::Lost(lost) = running.outcome().await else { panic!("not lost") };
        assert!(
            matches!(&lost.cause, LostCause::Died(death) if death.cause == DeathCause::Stopped),
            "{lost}"
        );
        let status = pool_is(&runtime, "both are replaced", |pool| pool.idle == 2 && pool.crashed == 2).await;
        assert_eq!(status.deaths.get("stopped"), Some(&2), "{status:?}");
        let told = status.sessions[0].last_death.as_deref().unwrap_or_default();
        assert!(told.contains("stopped"), "{told}");
        completed(&runtime.run("1").await.unwrap());
    })
    .await;
}

/// F5: the call holds the interpreter for seconds; nothing is asked of it, and nothing happens to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f5_a_long_call_of_c_code_is_not_a_death() {
    guarded(async {
        let runtime = pool(1).heartbeat_timeout(Duration::from_secs(2)).start().await.unwrap();
        let execution =
            runtime.execute(Request::python("sum(range(4 * 10**8))").no_deadline()).await.unwrap();
        let status =
            pool_is(&runtime, "it is shown", |pool| pool.sessions.iter().any(|it| it.unresponsive)).await;
        assert_eq!(status.sessions[0].state, SessionState::Busy);
        assert!(
            status.sessions[0].vitals.is_some_and(|seen| seen.memory > 1 << 20 && !seen.cpu_time.is_zero())
        );
        let outcome = execution.outcome().await;
        assert!(outcome.is_completed(), "{outcome}");
        assert_eq!(runtime.status().await.spawned, 1);
    })
    .await;
}

/// F8's neighbour, fault 68: between executions, and nobody notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f68_a_worker_that_holds_too_much_memory_is_replaced_between_executions() {
    guarded(async {
        let mut recycle = RecyclePolicy::default();
        recycle.max_memory = Some(96 << 20);
        let runtime = pool(1).recycle(recycle).start().await.unwrap();
        let before = pids(&runtime).await;
        completed(&runtime.run("import sys\nsys.kept = bytearray(128 << 20)").await.unwrap());
        let status = pool_is(&runtime, "it is replaced", |pool| pool.recycled == 1 && pool.idle == 1).await;
        assert_ne!(pids(&runtime).await, before);
        assert_eq!((status.crashed, status.totals.lost), (0, 0));
        completed(&runtime.run("import sys\nassert not hasattr(sys, 'kept')").await.unwrap());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f68_a_worker_serves_no_more_executions_than_it_may() {
    guarded(async {
        let mut recycle = RecyclePolicy::default();
        (recycle.max_executions, recycle.jitter) = (Some(2), 0.0);
        let runtime = pool(1).recycle(recycle).start().await.unwrap();
        let reports = runtime.run_all(vec!["import os\nos.getpid()"; 6]).await;
        let mut served: Vec<_> =
            reports.into_iter().map(|report| report.unwrap().outcome.to_string()).collect();
        served.sort();
        let same = |pair: &[String]| pair[0] == pair[1];
        assert!(
            served.chunks(2).all(same) && !served.windows(3).any(|three| three[0] == three[2]),
            "{served:?}"
        );
        assert_eq!(runtime.status().await.crashed, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_rolls_the_pool_under_load_and_loses_nothing() {
    guarded(async {
        let runtime = pool(2).surge(1).start().await.unwrap();
        let calls = (0..4).map(|_| {
            let runtime = runtime.clone();
            tokio::spawn(async move {
                let mut answers = Vec::new();
                for _ in 0..100 {
                    let report = runtime.run("import os\nos.environ.get('EDITION', 'old')").await.unwrap();
                    answers.push(report.outcome.to_string());
                }
                answers
            })
        });
        let calls: Vec<_> = calls.collect();
        runtime.reload(WorkerSpec::python().env("EDITION", "new")).await.unwrap();
        for call in calls {
            let answers = call.await.unwrap();
            assert!(answers.iter().all(|answer| answer == "'old'" || answer == "'new'"), "{answers:?}");
        }
        let status =
            pool_is(&runtime, "both are replaced", |pool| pool.recycled == 2 && pool.idle == 2).await;
        assert_eq!((status.totals.lost, status.crashed, status.totals.completed), (0, 0, 400));
        for _ in 0..4 {
            assert_eq!(
                runtime.run("import os\nos.environ['EDITION']").await.unwrap().outcome.to_string(),
                "'new'"
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_to_a_spec_that_does_not_live_says_so_and_the_old_workers_serve_on() {
    guarded(async {
        let runtime = pool(1).surge(1).start().await.unwrap();
        let before = pids(&runtime).await;
        let broken = WorkerSpec::command("false");
        let told = runtime.reload(broken).await.expect_err("it cannot live");
        let ReloadError::NotReady { why } = &told else { panic!("{told}") };
        assert!(!why.is_empty() && told.to_string().contains("serve on"), "{told}");
        completed(&runtime.run("1").await.unwrap());
        assert_eq!(pids(&runtime).await[..1], before[..]);
        assert!(runtime.status().await.trouble.is_some());
        runtime.reload(WorkerSpec::python()).await.unwrap();
        pool_is(&runtime, "it is mended", |pool| pool.trouble.is_none() && pool.recycled == 1).await;
    })
    .await;
}

/// Full strength again; the figure is printed, since it belongs to the machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_workers_that_are_killed_at_once_are_all_replaced() {
    guarded(async {
        let runtime = pool(8).start().await.unwrap();
        pool_is(&runtime, "all are ready", |pool| pool.idle == 8).await;
        let all = pids(&runtime).await;
        let (tag, begun) = (pool_tag(all[0]), Instant::now());
        assert!(all.iter().all(|pid| signal(*pid, Signal::KILL)));
        pool_is(&runtime, "all are back", |pool| pool.idle == 8 && pool.crashed == 8).await;
        println!("8 of 8 are back after {:?}", begun.elapsed());
        completed(&runtime.run("1").await.unwrap());
        runtime.shutdown(SOON).await;
        nothing_left(&tag, Duration::ZERO).await;
    })
    .await;
}
