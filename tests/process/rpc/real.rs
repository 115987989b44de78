//! MCP servers that others wrote: one from PyPI, one from npm. `.ci/mcp/install` puts them where they are looked for.
//!
//! Without them these tests say so and pass, but in CI: there `OSTLER_MCP_SERVERS` names their folder, and they must be
//! in it.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use ostler::{CallError, Event, Outcome, Request, Runtime, Value, WorkerSpec};
use rustix::process::Signal;
use serde_json::json;
use tokio::task::JoinSet;

use crate::support::{
    processes,
    wait::{guarded, guarded_for, pool_is},
};

/// Where the servers are, if they are installed.
fn installed() -> Option<PathBuf> {
    let given = std::env::var_os("OSTLER_MCP_SERVERS").map(PathBuf::from);
    let folder = given.clone().unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/mcp"));
    let there = folder.join("installed").exists();
    assert!(there || given.is_none(), "no servers in {}; run .ci/mcp/install", folder.display());
    if !there {
        println!("skipped: the servers are not installed; run .ci/mcp/install");
    }
    there.then_some(folder)
}

/// `mcp-server-time`, in Python.
fn clock(folder: &Path) -> WorkerSpec {
    WorkerSpec::mcp(folder.join("python/bin/mcp-server-time")).arg("--local-timezone=UTC")
}

/// `server-everything`, in JavaScript.
fn everything(folder: &Path) -> WorkerSpec {
    let script = folder.join("node_modules/@modelcontextprotocol/server-everything/dist/index.js");
    WorkerSpec::mcp("node").arg(script)
}

fn tool(name: &str, arguments: serde_json::Value) -> Request {
    Request::rpc("tools/call", json!({"name": name, "arguments": arguments}))
}

/// The text that a tool answers with.
fn text(answer: &Value) -> &str {
    let content = answer.get("content").and_then(Value::as_list).and_then(<[_]>::first);
    content.and_then(|first| first.get("text")).and_then(Value::as_str).unwrap_or_else(|| panic!("{answer}"))
}

/// Kills a process of the pool while it is under load.
async fn kill_one(runtime: &Runtime) {
    let status = pool_is(runtime, "two servers are busy", |pool| pool.busy == 2).await;
    let pid = status.sessions.iter().find_map(|session| session.pid).unwrap();
    assert!(processes::signal(pid, Signal::KILL));
}

/// Calls until it is answered, and returns the answer and how often the call was lost. Only what was in flight may be.
async fn until_answered(runtime: &Runtime, request: Request) -> (Value, usize) {
    let mut lost = 0;
    loop {
        match runtime.call_with(request.clone()).await {
            Ok(answer) => return (answer, lost),
            Err(CallError::Unanswered(outcome)) => {
                assert!(matches!(&*outcome, Outcome::Lost(lost) if lost.started), "{outcome}");
                lost += 1;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_server_from_pypi_serves_under_load_and_comes_back_when_it_is_killed() {
    let Some(folder) = installed() else { return };
    guarded(async {
        const ZONES: [&str; 4] = ["Asia/Tokyo", "Europe/Paris", "America/Lima", "Africa/Cairo"];
        let runtime =
            Runtime::builder(clock(&folder)).max_sessions(2).min_idle(2).in_flight(4).start().await.unwrap();
        pool_is(&runtime, "both are ready", |pool| pool.idle == 2).await;
        let mut calls = JoinSet::new();
        for n in 0..200 {
            let (runtime, zone) = (runtime.clone(), ZONES[n % 4]);
            calls.spawn(async move {
                let request = tool("get_current_time", json!({"timezone": zone}));
                let (answer, lost) = until_answered(&runtime, request).await;
                assert!(text(&answer).contains(zone), "asked for {zone}, got {answer}");
                lost
            });
        }
        kill_one(&runtime).await;
        let lost: usize = calls.join_all().await.iter().sum();
        let status = runtime.status().await;
        println!("200 calls, {lost} lost with a killed server, {} requeued", status.totals.requeued);
        assert!(lost <= 4 && status.totals.lost == lost as u64, "no more than were in flight there: {lost}");
        assert_eq!((status.crashed, status.totals.completed), (1, 200));
        let error = runtime.call_with(tool("get_current_time", json!({"timezone": "No/Where"}))).await;
        println!("what it says of a wrong zone: {error:?}");
    })
    .await;
}

#[tokio::test]
async fn a_server_from_npm_serves_under_load_and_comes_back_when_it_is_killed() {
    let Some(folder) = installed() else { return };
    guarded(async {
        let spec = everything(&folder);
        let runtime = Runtime::builder(spec).max_sessions(2).min_idle(2).in_flight(8).start().await.unwrap();
        pool_is(&runtime, "both are ready", |pool| pool.idle == 2).await;
        let mut calls = JoinSet::new();
        for n in 0..200_i64 {
            let runtime = runtime.clone();
            calls.spawn(async move {
                let (sum, lost) = until_answered(&runtime, tool("get-sum", json!({"a": n, "b": 1000}))).await;
                assert!(text(&sum).contains(&format!(" {}", n + 1000)), "{n}: {sum}");
                let (echo, again) =
                    until_answered(&runtime, tool("echo", json!({"message": n.to_string()}))).await;
                assert_eq!(text(&echo), format!("Echo: {n}"));
                lost + again
            });
        }
        kill_one(&runtime).await;
        let lost: usize = calls.join_all().await.iter().sum();
        let status = runtime.status().await;
        println!("400 calls, {lost} lost with a killed server, {} requeued", status.totals.requeued);
        assert!(lost <= 8, "no more than were in flight there: {lost}");
        assert_eq!((status.crashed, status.totals.completed), (1, 400));
    })
    .await;
}

#[tokio::test]
async fn progress_cancel_and_questions_work_with_a_server_that_others_wrote() {
    let Some(folder) = installed() else { return };
    guarded(async {
        let spec = everything(&folder).capabilities(json!({"sampling": {}}));
        let runtime = Runtime::builder(spec).max_sessions(1).start().await.unwrap();
        let long = |seconds| tool("trigger-long-running-operation", json!({"duration": seconds, "steps": 4}));
        let mut working = runtime.execute(long(1)).await.unwrap();
        let mut steps = Vec::new();
        while let Some(event) = working.next().await {
            if let Event::Notification { method, params } = event
                && method == "notifications/progress"
            {
                steps.push(params.get("progress").and_then(Value::as_u64).unwrap());
            }
        }
        assert_eq!(steps, [1, 2, 3, 4]);
        assert!(working.outcome().await.is_completed());

        // Such servers do not answer what was cancelled, but they answer a ping: it is kept.
        let endless = runtime.execute(long(1000)).await.unwrap();
        endless.cancel();
        let outcome = endless.outcome().await;
        assert!(matches!(outcome, Outcome::Cancelled(_)), "{outcome}");

        let ask = tool("trigger-sampling-request", json!({"prompt": "a prompt", "maxTokens": 5}));
        let mut asking = runtime.execute(ask.allow_input(true)).await.unwrap();
        while let Some(event) = asking.next().await {
            if let Event::Asked(question) = event {
                assert_eq!(question.method, "sampling/createMessage");
                let content = json!({"type": "text", "text": "an answer of ours"});
                let answer = json!({"role": "assistant", "model": "none", "content": content});
                asking.answer(question.request, Ok(answer.into()));
            }
        }
        let outcome = asking.outcome().await;
        assert!(text(outcome.value().unwrap()).contains("an answer of ours"), "{outcome}");
        assert_eq!(runtime.status().await.spawned, 1);
    })
    .await;
}

/// B8 to B10: one process, and so many times the throughput of a process per request.
#[tokio::test]
async fn a_hundred_requests_to_a_real_server_use_one_process() {
    let Some(folder) = installed() else { return };
    guarded_for(Duration::from_secs(300), async {
        for (name, spec) in [("mcp-server-time", clock(&folder)), ("server-everything", everything(&folder))]
        {
            let runtime = Runtime::builder(spec.clone()).max_sessions(1).start().await.unwrap();
            let mut pids = BTreeSet::new();
            let began = Instant::now();
            for _ in 0..100 {
                let mut call = runtime.execute(Request::rpc("ping", Value::None)).await.unwrap();
                while let Some(event) = call.next().await {
                    if let Event::Started { pid, .. } = event {
                        pids.insert(pid.unwrap());
                    }
                }
                assert!(call.outcome().await.is_completed());
            }
            let pooled = began.elapsed();
            assert_eq!((pids.len(), runtime.status().await.spawned), (1, 1));
            runtime.shutdown(Duration::from_secs(1)).await;

            let mut single = Duration::ZERO;
            for _ in 0..3 {
                let began = Instant::now();
                let one = Runtime::builder(spec.clone()).max_sessions(1).start().await.unwrap();
                one.call("ping", Value::None).await.unwrap();
                single += began.elapsed();
                one.shutdown(Duration::from_secs(1)).await;
            }
            let ratio = single.as_secs_f64() / 3.0 / (pooled.as_secs_f64() / 100.0);
            println!("{name}: 100 requests in {pooled:?}, {ratio:.0} times a process per request");
        }
    })
    .await;
}
