//! Servers in a pool: the same queue, restarts, recycling, affinity and leases as other workers.

use std::{collections::BTreeSet, time::Duration};

use ostler::{Outcome, RecyclePolicy, Request, RpcError, Runtime, StateError, SubmitError, Value};
use tokio::task::JoinSet;

use super::{framed, map, mcp, one, plain};
use crate::support::{
    processes,
    wait::{SOON, guarded, pool_is},
};

/// The processes that answer so many calls at once.
async fn pids(runtime: &Runtime, calls: usize) -> BTreeSet<u64> {
    let mut all = JoinSet::new();
    for _ in 0..calls {
        let runtime = runtime.clone();
        all.spawn(async move {
            runtime.call("sleep", map("s", 0.05)).await.unwrap();
            runtime.call("pid", Value::None).await.unwrap().as_u64().unwrap()
        });
    }
    all.join_all().await.into_iter().collect()
}

#[tokio::test]
async fn a_second_server_is_started_only_when_the_first_has_no_room() {
    guarded(async {
        let runtime = Runtime::builder(mcp()).max_sessions(3).min_idle(0).in_flight(4).start().await.unwrap();
        assert_eq!(pids(&runtime, 4).await.len(), 1);
        assert_eq!(runtime.status().await.spawned, 1);
        pids(&runtime, 40).await;
        let status = runtime.status().await;
        assert!((2..=3).contains(&status.spawned), "{status:?}");
    })
    .await;
}

#[tokio::test]
async fn the_limits_of_the_pool_hold_for_servers_too() {
    guarded(async {
        let runtime = one(mcp()).in_flight(2).queue(1).start().await.unwrap();
        let sleep = || runtime.execute(Request::rpc("sleep", map("s", 60)));
        let held = [sleep().await.unwrap(), sleep().await.unwrap(), sleep().await.unwrap()];
        let full = sleep().await.unwrap_err();
        assert!(matches!(full, SubmitError::QueueFull { len: 1, limit: 1, .. }), "{full}");
        let status = pool_is(&runtime, "two run, one waits", |pool| pool.queued == 1).await;
        assert_eq!((status.busy, status.totals.in_flight), (1, 3));
        drop(held);
    })
    .await;
}

/// B16: neither a server with something to do nor what waits is hurt by the replacement.
#[tokio::test]
async fn worn_servers_are_replaced_when_they_are_idle_and_lose_nothing() {
    guarded(async {
        let mut recycle = RecyclePolicy::default();
        (recycle.max_executions, recycle.jitter) = (Some(10), 0.0);
        let runtime = one(mcp()).in_flight(4).recycle(recycle).start().await.unwrap();
        let mut all = JoinSet::new();
        for n in 0..60_i64 {
            let runtime = runtime.clone();
            all.spawn(async move { runtime.call("echo", map("n", n)).await.unwrap() == map("n", n) });
        }
        assert!(all.join_all().await.into_iter().all(|same| same));
        let status = runtime.status().await;
        assert!(status.recycled >= 4 && status.crashed == 0, "{status:?}");
    })
    .await;
}

#[tokio::test]
async fn a_request_prefers_the_server_that_knows_its_affinity() {
    guarded(async {
        let runtime = Runtime::builder(mcp()).max_sessions(2).min_idle(2).start().await.unwrap();
        pool_is(&runtime, "both are ready", |pool| pool.idle == 2).await;
        let mut homes = BTreeSet::new();
        for _ in 0..10 {
            for affinity in ["a", "b"] {
                let request = Request::rpc("pid", Value::None).affinity(affinity);
                homes.insert((affinity, runtime.call_with(request).await.unwrap().as_u64().unwrap()));
            }
        }
        assert_eq!(homes.len(), 2, "each has a home: {homes:?}");
    })
    .await;
}

#[tokio::test]
async fn a_leased_server_serves_its_holder_alone_and_then_nobody() {
    guarded(async {
        let runtime = one(mcp()).start().await.unwrap();
        let session = runtime.session().await.unwrap();
        for n in 1..=3 {
            assert_eq!(session.call("count", Value::None).await.unwrap(), Value::from(n));
        }
        let error = session.call("fail", map("a", 1)).await.unwrap_err();
        assert!(error.to_string().contains("it failed (code 13)"), "{error}");
        let other = tokio::spawn({
            let runtime = runtime.clone();
            async move { runtime.call("count", Value::None).await.unwrap() }
        });
        pool_is(&runtime, "the other one waits", |pool| pool.queued == 1).await;
        let state = session.checkpoint().await.unwrap_err();
        assert!(matches!(state, StateError::Refused { .. }), "{state}");
        drop(session);
        assert_eq!(other.await.unwrap(), Value::from(1), "a server of its own");
        assert_eq!(runtime.status().await.spawned, 2);
    })
    .await;
}

/// A lease takes a whole server: it is not overtaken for ever by those who need only a part of one.
#[tokio::test]
async fn a_lease_is_granted_under_load_without_end() {
    guarded(async {
        let runtime = one(mcp()).start().await.unwrap();
        let load: Vec<_> = (0..4)
            .map(|_| {
                let runtime = runtime.clone();
                tokio::spawn(async move { while runtime.call("sleep", map("s", 0.01)).await.is_ok() {} })
            })
            .collect();
        pool_is(&runtime, "there is load", |pool| pool.totals.completed > 20).await;
        let session = runtime.session().await.unwrap();
        assert_eq!(session.call("count", Value::None).await.unwrap(), Value::from(1));
        load.iter().for_each(tokio::task::JoinHandle::abort);
    })
    .await;
}

#[tokio::test]
async fn a_reload_rolls_servers_over_and_keeps_their_dialect() {
    guarded(async {
        let runtime = one(mcp()).start().await.unwrap();
        runtime.reload(mcp().arg("--new")).await.unwrap();
        let arguments = runtime.call("environment", Value::None).await.unwrap();
        assert_eq!(arguments, Value::from(vec!["--mcp", "--new"]));
        for other in [plain(), framed(), ostler::WorkerSpec::command("x")] {
            let refused = runtime.reload(other).await.unwrap_err().to_string();
            assert!(refused.contains("another dialect") || refused.contains("codec"), "{refused}");
        }
    })
    .await;
}

/// P9, P10: servers end at the end of what they read, and nothing of them is left.
#[tokio::test]
async fn a_shutdown_leaves_nothing_of_a_server() {
    guarded(async {
        for spec in [plain(), mcp(), framed()] {
            let runtime = one(spec).start().await.unwrap();
            let pid = runtime.call("pid", Value::None).await.unwrap().as_u64().unwrap();
            let tag = processes::pool_tag(u32::try_from(pid).unwrap());
            let running = runtime.execute(Request::rpc("sleep", map("s", 0.2))).await.unwrap();
            let ending = tokio::spawn({
                let runtime = runtime.clone();
                async move { runtime.shutdown(Duration::from_secs(10)).await }
            });
            assert!(matches!(running.outcome().await, Outcome::Completed(_)), "what runs is served");
            ending.await.unwrap();
            processes::nothing_left(&tag, SOON).await;
            let gone = runtime.call("pid", Value::None).await.unwrap_err();
            assert!(!gone.was_sent(), "{gone}");
        }
    })
    .await;
}

#[tokio::test]
async fn settings_that_only_code_knows_are_refused_for_servers() {
    guarded(async {
        let refused = [
            (one(mcp()).warmup("import math"), "`warmup`"),
            (one(mcp()).record("/tmp/x"), "`record`"),
            (one(mcp()).state_dir("/tmp/x"), "`state_dir`"),
            (one(mcp()).soft_memory(1), "`soft_memory`"),
            (one(mcp()).on_death(ostler::OnDeath::Restore), "`on_death`"),
            (one(mcp()).in_flight(0), "`in_flight`"),
            (one(mcp().transport(ostler::Transport::Socket)), "`transport`"),
            (one(mcp().max_message(0)), "`max_message`"),
            (one(mcp().capabilities(5)), "`capabilities`"),
            (one(plain().first_ask("x", Value::Float(f64::NAN))), "`first_ask`"),
        ];
        for (builder, named) in refused {
            let error = builder.start().await.unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
        let refused = one(plain().first_ask("no-such", Value::None)).start().await.unwrap_err().to_string();
        let expected = RpcError::new(-32601, "no method no-such").to_string();
        assert!(refused.contains(&expected), "{refused}");
    })
    .await;
}
