//! Workers that live on, but do not listen or speak any more.

use std::time::Duration;

use ostler::{DeathCause, Exit, Outcome, Phase, Request, Runtime, TimedOut, WorkerSpec};

use super::{bad, death, pid};
use crate::{
    python::completed,
    support::{
        processes::{alive, nothing_left, pool_tag},
        wait::{SOON, eventually, guarded},
    },
};

/// A worker that closes its channel is of no use; it is killed, whatever it still does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f33_a_worker_that_closes_its_channel_is_killed() {
    let script = "ready()\nid = execute()['id']\nsend(type='started', id=id)\nos.close(1)\nos.close(0)\ntime.sleep(600)";
    guarded(async {
        let runtime = Runtime::builder(bad(script)).max_sessions(1).start().await.unwrap();
        let worker = pid(&runtime).await;
        let (death, started) = death(runtime.run("anything").await.unwrap().outcome);
        assert_eq!((&death.cause, death.exit, started), (&DeathCause::ChannelClosed, Exit::Signal(9), true));
        assert!(!alive(worker));
    })
    .await;
}

/// The same from code that runs in the shipped worker, and means no harm.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f33_code_that_closes_every_descriptor_loses_its_worker_and_nothing_else() {
    guarded(async {
        let runtime = Runtime::builder(WorkerSpec::python()).max_sessions(1).start().await.unwrap();
        let tag = pool_tag(pid(&runtime).await);
        for code in [
            "import os; os.closerange(3, 256)",
            "import os; os.closerange(3, 256); print('still here')",
            "import os, time; os.closerange(3, 256); time.sleep(600)",
            "import os\nos.closerange(3, 256)\nwhile True: pass",
        ] {
            let worker = pid(&runtime).await;
            let report = runtime.run(code).await.unwrap();
            let (death, started) = death(report.outcome);
            assert!(started, "{code}");
            assert!(
                matches!(death.cause, DeathCause::ChannelClosed | DeathCause::Itself),
                "{code}: {death:?}"
            );
            assert!(!alive(worker), "{code}");
            completed(&runtime.run("1").await.unwrap());
        }
        runtime.shutdown(Duration::from_secs(1)).await;
        nothing_left(&tag, SOON).await;
    })
    .await;
}

/// A body larger than any pipe, for a worker that never reads: it times out, and the worker is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f34_a_worker_that_stops_reading_times_out_and_is_killed() {
    guarded(async {
        let builder = Runtime::builder(bad("ready()\ntime.sleep(600)")).max_sessions(1);
        let runtime = builder.grace(Duration::from_millis(100)).start().await.unwrap();
        let worker = pid(&runtime).await;
        let after = Duration::from_millis(300);
        let request = Request::python("x".repeat(4 << 20)).deadline(after);
        let outcome = runtime.run(request).await.unwrap().outcome;
        assert_eq!(outcome.without_activity(), Outcome::TimedOut(TimedOut::new(after, Phase::Assigned)));
        eventually("it was killed", SOON, || !alive(worker)).await;
        runtime.shutdown(Duration::ZERO).await;
    })
    .await;
}

/// A reader that is slow is no such case.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_reads_slowly_gets_every_byte() {
    let script = "ready()\nslow = take\ndef take(size):\n    data = b''\n    while len(data) < size:\n        \
                  time.sleep(0.001)\n        data += slow(min(size - len(data), 65536))\n    return data\n\
                  message = execute()\nid = message['id']\nsend(type='started', id=id)\n\
                  send(type='result', id=id, execution_time=0.1, value=len(message['code']))\nexecute()";
    guarded(async {
        let runtime = Runtime::builder(bad(script)).max_sessions(1).start().await.unwrap();
        let report = runtime.run("x".repeat(4 << 20)).await.unwrap();
        completed(&report);
        assert_eq!(report.value().and_then(ostler::Value::as_u64), Some(4 << 20));
        assert!(runtime.status().await.totals.partial_writes > 0, "the pipe was full at some time");
    })
    .await;
}

/// The answer stands; whoever is handed to the corpse is handed on to the next worker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f15_an_answer_stands_although_its_worker_dies_right_after_it() {
    let mayfly = "ready()\nid = execute()['id']\nsend(type='started', id=id)\n\
                  send(type='result', id=id, execution_time=0.1, value=os.getpid())\nos._exit(0)";
    guarded(async {
        let runtime = Runtime::builder(bad(mayfly)).max_sessions(1).start().await.unwrap();
        let mut pids = std::collections::BTreeSet::new();
        for _ in 0..20 {
            let report = runtime.run("anything").await.unwrap();
            completed(&report);
            pids.insert(report.value().and_then(ostler::Value::as_u64));
        }
        assert_eq!(pids.len(), 20, "each was answered by a worker of its own");
        let totals = runtime.status().await.totals;
        assert_eq!((totals.completed, totals.lost), (20, 0));
    })
    .await;
}

/// C12, P12: bytes that are no frames end that worker, with a typed error and no large allocation.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f22_a_length_beyond_the_limit_ends_the_worker() {
    let script = "ready()\nid = execute()['id']\nsend(type='started', id=id)\nos.write(1, b'\\xff' * 64)\ntime.sleep(600)";
    guarded(async {
        let runtime = Runtime::builder(bad(script)).max_sessions(1).start().await.unwrap();
        let (death, started) = death(runtime.run("anything").await.unwrap().outcome);
        assert!(started);
        let DeathCause::Protocol(what) = &death.cause else { panic!("{death:?}") };
        assert!(what.contains("4294967295"), "{what}");
    })
    .await;
}
