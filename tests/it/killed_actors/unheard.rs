//! Actors that die when their worker was given the code, and before they hear whether it started (P5).

use std::sync::{Arc, OnceLock};

use super::*;
use crate::workers::{given, serve};

/// Wherever its execution was when its actor died: whoever says that it did not start has kept it from its worker, and
/// its place is free (P5).
#[tokio::test(start_paused = true)]
async fn f42_the_actor_of_an_execution_dies_on_its_way_and_its_place_is_free() {
    let mut kept = 0;
    for steps in 0..40 {
        kept += guarded(async {
            let pool = Pool::start(polite()).await;
            let runtime = pool.runtime.clone();
            let dies = tokio::spawn(async move {
                // It is given its place when that of the first is free, and nobody waits for that.
                let first = runtime.execute("first").await.unwrap();
                let execution = runtime.execute("sleep 3600000").await.unwrap();
                turns(steps).await;
                actor_of(&execution).kill();
                assert!(first.outcome().await.is_completed());
                execution.outcome().await
            });
            let Outcome::Lost(lost) = dies.await.unwrap() else { panic!("its actor died") };
            pool.works_on_worker(1).await;
            let was_given = given(&pool.workers, "sleep 3600000") > 0;
            assert!(lost.started || !was_given, "after {steps} steps: {lost}");
            pool.close().await;
            usize::from(!was_given)
        })
        .await;
    }
    assert!((1..40).contains(&kept), "{kept} of 40 died before their worker was given them");
}

/// P5: a worker that was given the code may have run it before it was killed. It has told so, and nobody heard it.
#[tokio::test(start_paused = true)]
async fn f43_what_the_worker_of_a_dead_session_actor_was_given_is_not_given_to_another() {
    guarded(async {
        let killed = Arc::new(OnceLock::<ActorCell>::new());
        let session = Arc::clone(&killed);
        let workers = ScriptedSpawner::new(move |mut stage| {
            let session = Arc::clone(&session);
            async move {
                stage.ready().await;
                while let Some(execute) = stage.next_execute().await {
                    if stage.number() == 1 {
                        session.get().expect("it is known").kill();
                    }
                    stage.started(execute.id).await;
                    stage.completed(execute.id, stage.number() as u64).await;
                }
                ostler::Exit::Code(0)
            }
        });
        let pool = Pool::start(workers).await;
        killed.set(sessions_of(&pool).remove(0)).unwrap();
        assert_eq!(pool.outcome("once").await, gone(true, "session"));
        pool.works_on_worker(2).await;
        assert_eq!(given(&pool.workers, "once"), 1);
        assert_eq!(pool.status().await.totals.requeued, 0);
        pool.close().await;
    })
    .await;
}

/// What its worker was not given as a whole it cannot have run.
#[tokio::test(start_paused = true)]
async fn f43_what_was_not_wholly_written_goes_to_another_worker_when_the_session_actor_dies() {
    guarded(async {
        let workers = ScriptedSpawner::new(|mut stage| async move {
            if stage.number() > 1 {
                return serve(stage).await;
            }
            stage.ready().await;
            std::future::pending().await
        });
        let pool = Pool::start(workers.pipe_len(256)).await;
        let request = Request::python("worker").arg("long", "x".repeat(10_000).as_str());
        let execution = pool.runtime.execute(request).await.unwrap();
        settle().await;
        sessions_of(&pool)[0].kill();
        assert_eq!(execution.outcome().await.value(), Some(&2.into()));
        assert_eq!(pool.status().await.totals.requeued, 1);
        pool.close().await;
    })
    .await;
}

/// The same of a JSON-RPC server, to the byte: a line is whole without its end, for it may be read up to the end of the
/// stream.
#[tokio::test(start_paused = true)]
async fn f43_a_call_whose_last_byte_was_not_written_goes_to_another_server_when_the_session_actor_dies() {
    let call = || Request::rpc("work", ostler::Value::from(vec![ostler::Value::from("x".repeat(300))]));
    let (bytes, id, ..) = guarded(server_of(64 << 10, call())).await;
    let around = bytes - id.to_string().len();
    // Ids grow longer meanwhile, by a digit at most.
    for room in bytes - 4..bytes + 3 {
        let (_, id, outcome, requeued) = guarded(server_of(room, call())).await;
        let len = around + id.to_string().len();
        let expected = if room < len - 1 { ("completed", 1) } else { ("lost", 0) };
        assert_eq!((outcome.kind(), requeued), expected, "room for {room} of {len}: {outcome}");
    }
}

/// A server that reads nothing, and whose session actor dies when it was given as much of a call as its pipe holds; the next
/// one answers. Returns the bytes of the call if any was read, its id, its outcome, and how many were requeued.
async fn server_of(room: usize, call: Request) -> (usize, u64, Outcome, u64) {
    let spec = ostler::WorkerSpec::json_rpc("server");
    let workers = ScriptedSpawner::new(move |mut stage| async move {
        if stage.number() == 1 && room < 64 << 10 {
            std::future::pending::<()>().await;
        }
        while let Some(line) = stage.recv_line().await {
            let id = line
                .split("\"id\":")
                .nth(1)
                .and_then(|rest| rest.split([',', '}']).next())
                .unwrap()
                .to_owned();
            stage.send_bytes(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":1}}\n").as_bytes()).await;
        }
        ostler::Exit::Code(0)
    });
    let workers = workers.server(&spec).pipe_len(room);
    let builder = ostler::Runtime::builder(spec).max_sessions(1).spawner(workers.clone());
    let runtime = builder.start().await.unwrap();
    let execution = runtime.execute(call.no_deadline()).await.unwrap();
    let id = execution.id().get();
    settle().await;
    if room < 64 << 10 {
        let mut sessions = supervisor_of(&runtime).get_children();
        sessions.remove(0).kill();
    }
    let outcome = execution.outcome().await;
    let requeued = runtime.status().await.totals.requeued;
    let lines = workers.log().into_iter().filter_map(|entry| match entry.fact {
        ostler::testing::Fact::ReceivedLine(line) => Some(line.len() + 1),
        _other => None,
    });
    let len = lines.max().unwrap_or_default();
    runtime.shutdown(Duration::ZERO).await;
    (len, id, outcome, requeued)
}
