//! JSON-RPC servers whose session actor or supervisor dies, whose callers leave, and who do not read: every call ends
//! once, and says truly whether its server was given it (P1, P5, P16, fault rows 42 to 44).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ostler::{
    CancelStage, Cancelled, DeathCause, Execution, Exit, Lost, LostCause, Outcome, Phase, Request, Runtime,
    RuntimeBuilder, TimedOut, Value, WorkerSpec,
    testing::{Fact, ScriptedSpawner, Stage, actor_of, supervisor_of},
};
use tokio::{sync::watch, time::Instant};

use crate::support::{Pool, guarded, turns};

mod cancels;
mod many;
mod room;

/// Room for a few calls in a pipe, so that others wait to be written.
const SMALL_PIPE: usize = 256;
/// Longer than any test waits for.
const LONG: Duration = Duration::from_secs(3_600);

/// Opened by a test: from then on its servers do what they held back.
#[derive(Clone)]
struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    fn new() -> Self {
        Self(Arc::new(watch::Sender::new(false)))
    }

    fn open(&self) {
        self.0.send_replace(true);
    }

    async fn opened(&self) {
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

/// The id and the method of a call; `None` for what has no number.
fn call_of(line: &str) -> Option<(u64, String)> {
    let message: serde_json::Value = serde_json::from_str(line).unwrap();
    Some((message["id"].as_u64()?, message["method"].as_str()?.to_owned()))
}

async fn answers(stage: &mut Stage, id: u64) {
    let answer = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{}}}\n", stage.number());
    stage.send_bytes(answer.as_bytes()).await;
}

/// What an MCP server must answer: its `initialize`, and `ping`.
async fn obliges(stage: &mut Stage, line: &str) {
    let message: serde_json::Value = serde_json::from_str(line).unwrap();
    if let Some(id) = message["id"].as_str() {
        let result = serde_json::json!({"protocolVersion": ostler::config::MCP_VERSIONS[0]});
        let answer = serde_json::json!({"jsonrpc": "2.0", "id": id, "result": result});
        stage.send_bytes(format!("{answer}\n").as_bytes()).await;
    }
}

/// Answers with its own number, but never what is called `hang`.
async fn serves(mut stage: Stage) -> Exit {
    while let Some(line) = stage.recv_line().await {
        match call_of(&line) {
            Some((_, method)) if method == "hang" => {}
            Some((id, _)) => answers(&mut stage, id).await,
            None => obliges(&mut stage, &line).await,
        }
    }
    Exit::Code(0)
}

/// The first server reads nothing before the gate is open, and never answers; the others serve.
fn first_is_deaf(gate: &Gate) -> ScriptedSpawner {
    let gate = gate.clone();
    servers(move |mut stage| {
        let gate = gate.clone();
        async move {
            if stage.number() > 1 {
                return serves(stage).await;
            }
            gate.opened().await;
            while stage.recv_line().await.is_some() {}
            Exit::Code(0)
        }
    })
}

fn spec() -> WorkerSpec {
    WorkerSpec::json_rpc("scripted")
}

fn servers<F>(script: impl Fn(Stage) -> F + Send + Sync + 'static) -> ScriptedSpawner
where
    F: Future<Output = Exit> + Send + 'static,
{
    ScriptedSpawner::new(script).server(&spec()).pipe_len(SMALL_PIPE)
}

async fn pool(workers: ScriptedSpawner, change: impl FnOnce(RuntimeBuilder) -> RuntimeBuilder) -> Pool {
    pool_of(spec(), workers, change).await
}

async fn pool_of(
    spec: WorkerSpec,
    workers: ScriptedSpawner,
    change: impl FnOnce(RuntimeBuilder) -> RuntimeBuilder,
) -> Pool {
    let runtime = Runtime::builder(spec)
        .max_sessions(1)
        .grace(Duration::from_secs(1))
        .deadline(LONG)
        .seed(1)
        .spawner(workers.clone());
    let runtime = change(runtime).start().await.expect("the first server is ready");
    Pool { runtime, workers }
}

async fn call(pool: &Pool, method: impl Into<String>) -> Execution {
    pool.runtime.execute(Request::rpc(method, Value::None)).await.unwrap()
}

/// Lets everything that is on its way arrive.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn kill_session(pool: &Pool) {
    let sessions = supervisor_of(&pool.runtime).get_children();
    sessions.first().expect("it has a session").kill();
}

/// Which servers have read which method, in order.
fn read(workers: &ScriptedSpawner) -> BTreeMap<String, Vec<usize>> {
    let mut read = BTreeMap::<_, Vec<_>>::new();
    for entry in workers.log() {
        if let Fact::ReceivedLine(line) = &entry.fact
            && let Some((_, method)) = call_of(line)
        {
            read.entry(method).or_default().push(entry.worker);
        }
    }
    read
}

fn gone(started: bool, actor: &'static str) -> Outcome {
    Outcome::Lost(Lost { started, cause: LostCause::ActorGone(actor) })
}

/// The next call is answered by this server.
async fn served_by(pool: &Pool, number: u64) {
    assert_eq!(pool.runtime.call("next", Value::None).await.unwrap(), Value::from(number));
}

/// What fits into the pipe was sent; the rest was not, and goes to the next server.
#[tokio::test(start_paused = true)]
async fn f43_the_session_of_a_server_dies_and_only_what_was_not_written_goes_on() {
    guarded(async {
        let pool = pool(first_is_deaf(&Gate::new()), |it| it).await;
        let mut calls = Vec::new();
        for n in 0..12 {
            calls.push(call(&pool, format!("call-{n:02}")).await);
        }
        settle().await;
        let begun = Instant::now();
        kill_session(&pool);
        let mut sent = 0;
        for (n, call) in calls.into_iter().enumerate() {
            match call.outcome().await {
                outcome @ Outcome::Lost(_) => {
                    assert_eq!(outcome, gone(true, "session"));
                    assert_eq!(n, sent, "what was written was written in order");
                    sent += 1;
                }
                outcome => assert_eq!(outcome.value(), Some(&2.into()), "call {n}: {outcome}"),
            }
        }
        assert!((2..6).contains(&sent), "{sent} were written into {SMALL_PIPE} bytes");
        assert!(begun.elapsed() <= Duration::from_secs(1), "{:?}", begun.elapsed());
        assert_eq!(pool.status().await.totals.requeued, 12 - sent as u64);
        assert!(read(&pool.workers).values().all(|by| by.as_slice() == [2]), "each once");
        served_by(&pool, 2).await;
        pool.close().await;
    })
    .await;
}

/// It dies before it has looked what its writer got done meanwhile.
#[tokio::test(start_paused = true)]
async fn f43_what_was_written_after_its_session_last_looked_is_not_given_to_another_server() {
    guarded(async {
        let gate = Gate::new();
        let pool = pool(first_is_deaf(&gate), |it| it).await;
        let mut calls = Vec::new();
        for n in 0..12 {
            calls.push(call(&pool, format!("call-{n:02}")).await);
        }
        settle().await;
        gate.open();
        settle().await;
        assert_eq!(read(&pool.workers).len(), 12, "the first server has read all of them");
        kill_session(&pool);
        for call in calls {
            assert_eq!(call.outcome().await, gone(true, "session"));
        }
        assert!(read(&pool.workers).values().all(|by| by.as_slice() == [1]), "nobody read them twice");
        served_by(&pool, 2).await;
        pool.close().await;
    })
    .await;
}

/// Nothing can be written any more, which proves that nothing was.
#[tokio::test(start_paused = true)]
async fn a_call_that_a_server_closed_its_input_to_goes_to_another() {
    guarded(async {
        for lives in [Duration::from_millis(20), LONG] {
            let workers = servers(move |mut stage| async move {
                if stage.number() > 1 {
                    return serves(stage).await;
                }
                stage.close_input();
                tokio::time::sleep(lives).await;
                Exit::Code(1)
            });
            let pool = pool(workers, |it| it).await;
            settle().await;
            let calls = [call(&pool, "one").await, call(&pool, "two").await];
            for call in calls {
                let outcome = call.outcome().await;
                assert_eq!(outcome.value(), Some(&2.into()), "{outcome}");
            }
            assert_eq!(pool.status().await.totals.requeued, 2);
            pool.close().await;
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn f44_the_supervisor_of_servers_dies_and_every_call_is_told() {
    guarded(async {
        let pool = pool(first_is_deaf(&Gate::new()), |it| it.in_flight(12)).await;
        let mut calls = Vec::new();
        for n in 0..16 {
            calls.push(call(&pool, format!("call-{n:02}")).await);
        }
        settle().await;
        supervisor_of(&pool.runtime).kill();
        let mut ends = BTreeMap::<_, usize>::new();
        for call in calls {
            match call.outcome().await {
                Outcome::Lost(Lost { started, cause: LostCause::ActorGone(actor) }) => {
                    *ends.entry((started, actor)).or_default() += 1;
                }
                other => panic!("{other}"),
            }
        }
        // Those that were in flight and not written want to go back into the queue, which is no more.
        assert!(!ends.contains_key(&(false, "session")), "{ends:?}");
        assert!(ends[&(true, "session")] >= 2 && ends[&(false, "supervisor")] >= 4, "{ends:?}");
        settle().await;
        assert_eq!(pool.workers.live(), 0);
        assert_eq!(read(&pool.workers).len(), 0);
        pool.close().await;
    })
    .await;
}

/// A caller that leaves is cancelled, one whose actor dies too: nobody else on that server notices.
#[tokio::test(start_paused = true)]
async fn f42_callers_that_leave_give_back_their_places() {
    guarded(async {
        let spec = WorkerSpec::mcp("scripted");
        let workers = ScriptedSpawner::new(serves).server(&spec);
        let pool = pool_of(spec, workers, |it| it.in_flight(4)).await;
        let stays = call(&pool, "hang").await;
        let (left, killed, called) = (call(&pool, "hang").await, call(&pool, "hang").await, {
            let runtime = pool.runtime.clone();
            tokio::spawn(async move { runtime.call("hang", Value::None).await })
        });
        settle().await;
        let waits = call(&pool, "waits").await;
        settle().await;
        assert_eq!((pool.status().await.queued, read(&pool.workers).len()), (1, 1), "four are in flight");
        let begun = Instant::now();
        drop(left);
        actor_of(&killed).kill();
        called.abort();
        assert_eq!(killed.outcome().await, gone(true, "execution"));
        assert_eq!(waits.outcome().await.value(), Some(&1.into()));
        assert!(begun.elapsed() <= Duration::from_secs(1), "{:?}", begun.elapsed());
        pool.eventually("three are given up", |pool| pool.totals.in_flight == 1).await;
        assert_eq!(pool.workers.spawned(), 1, "the server goes on for the one that stays");
        stays.cancel();
        assert!(matches!(stays.outcome().await, Outcome::Cancelled(_)));
        pool.close().await;
    })
    .await;
}

/// Told when it passes, wherever the call is, with the place named; who was not sent is never read by anybody.
#[tokio::test(start_paused = true)]
async fn a_deadline_says_where_the_call_was() {
    guarded(async {
        let pool = pool(first_is_deaf(&Gate::new()), |it| it.in_flight(8)).await;
        let late = Duration::from_secs(5);
        let mut calls = Vec::new();
        for n in 0..10 {
            let request = Request::rpc(format!("call-{n:02}"), Value::None).deadline(late);
            calls.push(pool.runtime.execute(request).await.unwrap());
        }
        let begun = Instant::now();
        let mut phases = Vec::new();
        for call in calls {
            match call.outcome().await {
                Outcome::TimedOut(TimedOut { after, phase, .. }) if after == late => phases.push(phase),
                other => panic!("{other}"),
            }
        }
        assert!(begun.elapsed() <= late + Duration::from_millis(10), "{:?}", begun.elapsed());
        let count = |wanted| phases.iter().filter(|phase| **phase == wanted).count();
        assert!(count(Phase::Running) >= 2 && count(Phase::Assigned) >= 3, "{phases:?}");
        assert_eq!(count(Phase::Queued), 2, "{phases:?}");
        pool.eventually("the deaf server is given up", |pool| pool.spawned == 2).await;
        served_by(&pool, 2).await;
        assert_eq!(read(&pool.workers).keys().collect::<Vec<_>>(), ["next"]);
        pool.close().await;
    })
    .await;
}

/// Wherever its call was when its actor died: whoever says that it did not start has kept it from its server, and its
/// place is free.
#[tokio::test(start_paused = true)]
async fn f42_the_actor_of_a_call_dies_on_its_way_and_its_place_is_free() {
    let mut kept = 0;
    for steps in 0..40 {
        kept += guarded(async {
            let spec = WorkerSpec::mcp("scripted");
            let workers = ScriptedSpawner::new(serves).server(&spec);
            let pool = pool_of(spec, workers, |it| it.in_flight(1)).await;
            let runtime = pool.runtime.clone();
            let dies = tokio::spawn(async move {
                // It is given its place when that of the first is free, and nobody waits for that.
                let first = runtime.execute(Request::rpc("first", Value::None)).await.unwrap();
                let execution = runtime.execute(Request::rpc("hang", Value::None)).await.unwrap();
                turns(steps).await;
                actor_of(&execution).kill();
                assert!(first.outcome().await.is_completed());
                execution.outcome().await
            });
            let Outcome::Lost(lost) = dies.await.unwrap() else { panic!("its actor died") };
            served_by(&pool, 1).await;
            let was_read = read(&pool.workers).contains_key("hang");
            assert!(lost.started || !was_read, "after {steps} steps: {lost}");
            pool.close().await;
            usize::from(!was_read)
        })
        .await;
    }
    assert!((1..40).contains(&kept), "{kept} of 40 died before their request was written");
}
