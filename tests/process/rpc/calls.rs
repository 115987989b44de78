//! Calls and their answers.

use std::{collections::BTreeSet, time::Duration};

use ostler::{CallError, Failure, Outcome, Request, RpcError, Runtime, SubmitError, Value, WorkerSpec};
use tokio::task::JoinSet;

use super::{framed, map, mcp, one, plain};
use crate::support::wait::guarded;

/// B8 to B10, F12: one process answers 100 requests, each with its own id, in every dialect.
#[tokio::test]
async fn one_process_answers_a_hundred_requests_each_with_its_own_id() {
    guarded(async {
        for spec in [plain(), mcp(), framed()] {
            let runtime = one(spec).start().await.unwrap();
            let mut pids = BTreeSet::new();
            let mut ids = BTreeSet::new();
            for n in 0..100 {
                pids.insert(runtime.call("pid", Value::None).await.unwrap().as_u64().unwrap());
                ids.insert(runtime.call("id", Value::None).await.unwrap().as_u64().unwrap());
                assert_eq!(runtime.call("echo", map("n", n)).await.unwrap().get("n"), Some(&Value::from(n)));
            }
            assert_eq!((pids.len(), ids.len()), (1, 100));
            runtime.shutdown(Duration::from_secs(1)).await;
        }
    })
    .await;
}

/// E2: answers out of order reach those who asked.
#[tokio::test]
async fn many_requests_are_in_flight_on_one_process_and_every_answer_finds_its_caller() {
    guarded(async {
        let runtime = one(mcp()).in_flight(32).start().await.unwrap();
        let mut calls = JoinSet::new();
        for n in 0..32_i64 {
            let runtime = runtime.clone();
            calls.spawn(async move {
                // Those that come first are answered last.
                let seconds = 0.3 - 0.005 * n as f64;
                runtime.call("sleep", map("s", seconds)).await.unwrap();
                (n, runtime.call("echo", map("n", n)).await.unwrap())
            });
        }
        let began = std::time::Instant::now();
        while let Some(call) = calls.join_next().await {
            let (n, answer) = call.unwrap();
            assert_eq!(answer.get("n"), Some(&Value::from(n)));
        }
        println!("32 sleeps of up to 0.3 s took {:?}", began.elapsed());
        let status = runtime.status().await;
        assert_eq!((status.spawned, status.totals.completed), (1, 64));
    })
    .await;
}

/// Together they are more than may wait to be written at once, and each is read slowly: the server parses it first.
#[tokio::test]
async fn large_requests_at_once_are_all_answered_by_one_process() {
    guarded(async {
        for spec in [plain(), framed()] {
            // One is given to the server at a time; the others wait in the queue.
            let runtime = one(spec).queue_bytes(128 << 20).start().await.unwrap();
            let mut calls = JoinSet::new();
            for _ in 0..3 {
                let (runtime, large) = (runtime.clone(), "x".repeat(33 << 20));
                calls.spawn(async move { runtime.call("pid", map("large", large)).await.unwrap() });
            }
            let pids: BTreeSet<_> = calls.join_all().await.iter().map(Value::as_u64).collect();
            let status = runtime.status().await;
            assert_eq!((pids.len(), status.spawned, status.crashed), (1, 1, 0), "{status:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn an_error_of_the_server_is_typed() {
    guarded(async {
        let runtime = one(plain()).start().await.unwrap();
        let error = runtime.call("fail", map("a", 1)).await.unwrap_err();
        let data = Some(map("why", "{'a': 1}"));
        assert_eq!(error, CallError::Rpc(RpcError { code: 13, message: "it failed".into(), data }));
        assert!(error.was_sent());
        assert_eq!(
            error.to_string(),
            "the server answered with an error: it failed (code 13): {\"why\":\"{'a': 1}\"}"
        );
        let outcome = runtime.run(Request::rpc("no-such", Value::None)).await.unwrap().outcome;
        let unknown = RpcError::new(-32601, "no method no-such");
        assert_eq!(outcome, Outcome::Failed(Failure::Rpc(Box::new(unknown))));
    })
    .await;
}

#[tokio::test]
async fn what_a_pool_cannot_carry_out_is_refused_and_no_worker_sees_it() {
    guarded(async {
        let servers = one(mcp()).start().await.unwrap();
        let python = Runtime::builder(WorkerSpec::python()).start().await.unwrap();
        let unfit = |error: SubmitError| match error {
            SubmitError::Unfit { why } => why,
            other => panic!("{other}"),
        };
        let why = unfit(servers.execute("1 + 1").await.unwrap_err());
        assert!(why.contains("make it with `Request::rpc`"), "{why}");
        let why = unfit(python.execute(Request::rpc("echo", Value::None)).await.unwrap_err());
        assert!(why.contains("no JSON-RPC servers"), "{why}");
        let why = unfit(servers.execute(Request::rpc("echo", 5)).await.unwrap_err());
        assert!(why.contains("expected a map, a list or nothing"), "{why}");
        let bytes = Value::Bytes(vec![1].into());
        let why = unfit(servers.execute(Request::rpc("echo", map("b", bytes))).await.unwrap_err());
        assert!(why.contains("JSON has no bytes"), "{why}");
        let limited = Request::rpc("echo", Value::None).max_cpu(Duration::from_secs(1));
        assert!(unfit(servers.execute(limited).await.unwrap_err()).contains("max_cpu"));
        assert_eq!(servers.status().await.totals.accepted, 0);
    })
    .await;
}
