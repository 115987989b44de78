//! Many requests: none lost, none mixed up (B3, B5, B6, B10).

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering::Relaxed},
    time::Duration,
};

use ostler::{Request, Value};

use super::{completed, one, shows};
use crate::support::{
    processes::{pool_tag, tagged},
    wait::{guarded, guarded_for},
};

/// B3.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_executions_on_one_session_lose_none() {
    guarded(async {
        let runtime = one().session_queue(50).start().await.unwrap();
        let session = runtime.session().await.unwrap();
        session.run("n = 0").await.unwrap();
        let mut executions = Vec::new();
        for _ in 0..50 {
            executions.push(session.execute("n += 1\nprint(n)\nn").await.unwrap());
        }
        for (i, execution) in (1..).zip(executions) {
            let report = execution.report().await;
            assert_eq!(report.value(), Some(&Value::from(i)));
            assert_eq!(report.stdout_text(), format!("{i}\n"));
        }
    })
    .await;
}

/// B5, first of three.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_executions_on_one_session() {
    guarded(async {
        let runtime = one().start().await.unwrap();
        let session = runtime.session().await.unwrap();
        session.run("n = 0").await.unwrap();
        for i in 1..=1000 {
            assert_eq!(shows(&session, "n += 1\nn").await, i.to_string());
        }
    })
    .await;
}

/// B5, last of three; P3: each gets its own answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_concurrent_requests_on_a_pool_of_ten() {
    guarded_for(Duration::from_secs(180), async {
        let runtime = one().max_sessions(10).min_idle(4).queue(1000).start().await.unwrap();
        let requests = (0..1000).map(|n| Request::python("print(n)\nn * n").arg("n", n).no_deadline());
        for (n, report) in (0_i64..).zip(runtime.run_all(requests).await) {
            let report = report.unwrap();
            completed(&report);
            assert_eq!(report.value(), Some(&Value::from(n * n)));
            assert_eq!(report.stdout_text(), format!("{n}\n"));
        }
        let totals = runtime.status().await.totals;
        assert_eq!((totals.accepted, totals.completed, totals.in_flight), (1000, 1000, 0));
    })
    .await;
}

/// B10.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_requests_one_at_a_time_use_one_process() {
    guarded(async {
        let runtime = one().max_sessions(4).start().await.unwrap();
        let (mut pids, mut ids) = (BTreeSet::new(), BTreeSet::new());
        for n in 0..100 {
            let report = runtime.run(Request::python("import os; n, os.getpid()").arg("n", n)).await.unwrap();
            let value = report.value().and_then(Value::as_list).unwrap().to_vec();
            assert_eq!(value[0], Value::from(n));
            pids.insert(value[1].as_u64());
            ids.insert(report.id);
        }
        assert_eq!((pids.len(), ids.len()), (1, 100));
        let spawned = runtime.status().await.spawned;
        assert!(spawned <= 2, "{spawned} workers were started: one that worked, and one in reserve");
    })
    .await;
}

/// B6: starting and dying workers count, at any sample.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_leases_never_use_more_workers_than_the_limit() {
    const LIMIT: usize = 5;
    guarded_for(Duration::from_secs(180), async {
        let builder = one().max_sessions(LIMIT).min_idle(2).lease_timeout(Duration::from_secs(120));
        let runtime = builder.start().await.unwrap();
        let tag = pool_tag(runtime.status().await.sessions[0].pid.unwrap());
        let done = std::sync::Arc::new(AtomicBool::new(false));
        let watch = tokio::task::spawn_blocking({
            let done = done.clone();
            move || {
                let mut most = 0;
                while !done.load(Relaxed) {
                    most = most.max(tagged(&tag).len());
                }
                most
            }
        });
        let mut callers = Vec::new();
        for _ in 0..50 {
            let runtime = runtime.clone();
            callers.push(tokio::spawn(async move {
                let session = runtime.session().await.unwrap();
                completed(&session.run("import time; time.sleep(0.02)").await.unwrap());
            }));
        }
        for caller in callers {
            caller.await.unwrap();
        }
        done.store(true, Relaxed);
        let most = watch.await.unwrap();
        println!("most workers alive at once: {most} of {LIMIT}");
        assert!(most <= LIMIT, "{most} workers were alive at once");
    })
    .await;
}
