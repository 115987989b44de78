//! Cancels and deadlines of calls on a server that others use too.

use std::time::{Duration, Instant};

use ostler::{CancelStage, Cancelled, Execution, Outcome, Phase, Request, Runtime, TimedOut, Value};

use super::{framed, map, mcp, one, plain};
use crate::support::wait::guarded;

async fn started(runtime: &Runtime, request: Request) -> Execution {
    let mut execution = runtime.execute(request).await.unwrap();
    execution.next().await.expect("it starts");
    execution
}

fn stage(outcome: Outcome) -> CancelStage {
    match outcome {
        Outcome::Cancelled(Cancelled { stage, .. }) => stage,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_cancel_reaches_the_server_in_the_words_of_its_protocol() {
    guarded(async {
        for spec in [mcp(), framed()] {
            let runtime = one(spec).grace(Duration::from_secs(20)).start().await.unwrap();
            let neighbour = started(&runtime, Request::rpc("sleep", map("s", 1))).await;
            let execution = started(&runtime, Request::rpc("sleep", map("s", 60))).await;
            let id = execution.id().get();
            execution.cancel();
            assert_eq!(stage(execution.outcome().await), CancelStage::Interrupt);
            let seen = runtime.call("seen", Value::None).await.unwrap();
            assert_eq!(seen.get("cancelled"), Some(&Value::from(vec![Value::from(id)])));
            assert!(neighbour.outcome().await.is_completed());
            assert_eq!(runtime.status().await.spawned, 1);
        }
    })
    .await;
}

/// The others on it, and its state, outlive a call that does not stop; and the grace is not waited for, since the server
/// has shown that it heard.
#[tokio::test]
async fn a_call_that_does_not_stop_is_abandoned_and_its_late_answer_is_dropped() {
    guarded(async {
        let runtime = one(mcp()).grace(Duration::from_secs(60)).start().await.unwrap();
        runtime.call("count", Value::None).await.unwrap();
        let execution = started(&runtime, Request::rpc("stubborn", map("s", 3.0))).await;
        execution.cancel();
        let told = Instant::now();
        assert_eq!(stage(execution.outcome().await), CancelStage::Abandoned);
        let took = told.elapsed();
        println!("abandoned after {took:?}");
        assert!(took < Duration::from_secs(30), "{took:?}");
        assert_eq!(runtime.call("count", Value::None).await.unwrap(), Value::from(2), "the same server");
        let late = async {
            while runtime.status().await.totals.late_frames == 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        late.await;
        let status = runtime.status().await;
        assert_eq!((status.spawned, status.crashed, status.totals.late_frames), (1, 0, 1));
    })
    .await;
}

#[tokio::test]
async fn a_server_that_hears_nothing_is_killed_for_a_call_that_is_alone_on_it() {
    guarded(async {
        let runtime = one(mcp()).grace(Duration::from_millis(200)).start().await.unwrap();
        let execution = started(&runtime, Request::rpc("block", map("s", 60))).await;
        execution.cancel();
        assert_eq!(stage(execution.outcome().await), CancelStage::Kill);
        assert_eq!(runtime.call("echo", map("a", 1)).await.unwrap(), map("a", 1));
        assert_eq!(runtime.status().await.spawned, 2);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_hears_nothing_is_killed_at_its_limit_when_others_are_on_it() {
    guarded(async {
        let runtime = one(mcp())
            .grace(Duration::from_millis(200))
            .heartbeat_timeout(Duration::from_secs(2))
            .start()
            .await
            .unwrap();
        let block = started(&runtime, Request::rpc("block", map("s", 60))).await;
        let neighbour = started(&runtime, Request::rpc("echo", map("a", 1))).await;
        block.cancel();
        assert_eq!(stage(block.outcome().await), CancelStage::Abandoned);
        let Outcome::Lost(lost) = neighbour.outcome().await else { panic!("its server was killed") };
        assert!(lost.started && lost.to_string().contains("answered nothing"), "{lost}");
        assert_eq!(runtime.call("echo", map("a", 1)).await.unwrap(), map("a", 1));
    })
    .await;
}

/// P1: told at the deadline; the server goes on.
#[tokio::test]
async fn a_deadline_is_told_when_it_passes_and_the_server_goes_on() {
    guarded(async {
        for spec in [mcp(), framed()] {
            let runtime = one(spec).start().await.unwrap();
            let late = Duration::from_secs(1);
            let request = Request::rpc("sleep", map("s", 60)).deadline(late);
            let Outcome::TimedOut(TimedOut { after, phase, .. }) =
                runtime.execute(request).await.unwrap().outcome().await
            else {
                panic!("it sleeps longer");
            };
            assert_eq!((after, phase), (late, Phase::Running));
            assert_eq!(runtime.call("echo", map("a", 1)).await.unwrap(), map("a", 1));
            assert_eq!(runtime.status().await.spawned, 1);
        }
    })
    .await;
}

/// What cannot be told to stop is stopped with its server, when nobody else is on it.
#[tokio::test]
async fn a_plain_server_is_killed_at_the_end_of_the_grace() {
    guarded(async {
        let runtime = one(plain()).grace(Duration::from_millis(200)).start().await.unwrap();
        let execution = started(&runtime, Request::rpc("sleep", map("s", 60))).await;
        drop(execution);
        assert_eq!(runtime.call("count", Value::None).await.unwrap(), Value::from(1));
        let stubborn = started(&runtime, Request::rpc("stubborn", map("s", 60))).await;
        stubborn.cancel_because("enough");
        let outcome = stubborn.outcome().await;
        assert!(outcome.to_string().ends_with("(enough)"), "{outcome}");
        assert_eq!(stage(outcome), CancelStage::Kill);
    })
    .await;
}
