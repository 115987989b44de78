//! P5: what proves that code did not start, and what does not. The workers write their ledger themselves, when they run
//! the code, so that nobody's word is taken for it.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use ostler::{
    Exit, Lost, LostCause, Outcome, Request, Stream,
    protocol::{Display, ExecutionId, FromWorker, InputRequest, Mime},
    testing::{ScriptedSpawner, Stage},
};

use crate::{
    support::{Pool, guarded},
    workers::serve,
};

/// What a worker does to its channel when it is given code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spoils {
    /// Nothing: what it says is heard.
    Not,
    Garbage,
    /// It dies within a frame, or stalls in it until it is killed.
    CutsFrame,
    Closes,
    /// It is the answer of another one.
    Mistakes,
}

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    AtOnce,
    /// Not by itself.
    WhenKilled,
}

/// Workers of which the first spoils its channel, runs the code, and ends. Returns how often code ran, and what was told.
async fn spoilt(spoils: Spoils, ends: Ends, says: bool) -> (usize, Outcome, u64) {
    let ledger = Arc::new(AtomicUsize::new(0));
    let ran = Arc::clone(&ledger);
    let workers = ScriptedSpawner::new(move |mut stage: Stage| {
        let ran = Arc::clone(&ran);
        async move {
            stage.ready().await;
            while let Some(execute) = stage.next_execute().await {
                if stage.number() > 1 {
                    stage.started(execute.id).await;
                    ran.fetch_add(1, Relaxed);
                    stage.completed(execute.id, stage.number() as u64).await;
                    continue;
                }
                match spoils {
                    Spoils::Not => {}
                    Spoils::Garbage => stage.send_bytes(b"\xff\xff\xff\xff").await,
                    Spoils::CutsFrame => stage.send_bytes(b"\x00\x10\x00\x00half").await,
                    Spoils::Closes => stage.close_channel(),
                    Spoils::Mistakes => stage.started(ExecutionId(execute.id.get() + 1000)).await,
                }
                if says && spoils != Spoils::Closes {
                    stage.started(execute.id).await;
                }
                ran.fetch_add(1, Relaxed);
                if ends == Ends::WhenKilled {
                    std::future::pending::<()>().await;
                }
                return Exit::Code(3);
            }
            Exit::Code(0)
        }
    });
    let pool = Pool::start(workers).await;
    let request = Request::python("side effect").no_deadline();
    let outcome = pool.runtime.run(request).await.unwrap().outcome;
    let requeued = pool.status().await.totals.requeued;
    pool.works_on_worker(2).await;
    pool.close().await;
    // One of them was run by `works_on_worker`.
    (ledger.load(Relaxed) - 1, outcome, requeued)
}

/// Whatever was lost with the channel may have been `started`.
#[tokio::test(start_paused = true)]
async fn p5_silence_on_a_spoilt_channel_proves_nothing() {
    for spoils in [Spoils::Garbage, Spoils::CutsFrame, Spoils::Closes, Spoils::Mistakes] {
        for ends in [Ends::AtOnce, Ends::WhenKilled] {
            for says in [true, false] {
                let (ran, outcome, requeued) = guarded(spoilt(spoils, ends, says)).await;
                let told = format!("{spoils:?}, ends {ends:?}, says {says}: {outcome}");
                assert_eq!((ran, requeued), (1, 0), "{told}");
                assert!(matches!(outcome, Outcome::Lost(Lost { started: true, .. })), "{told}");
            }
        }
    }
}

/// A worker that read its code, and says nothing of it before it ends.
#[tokio::test(start_paused = true)]
async fn p5_a_death_without_a_word_is_proof_and_a_start_that_was_heard_is_none() {
    for (says, expected) in [(false, (2, 1)), (true, (1, 0))] {
        // Who says nothing has not run the code, if it keeps to the protocol; this one lies, to be seen.
        let (ran, outcome, requeued) = guarded(spoilt(Spoils::Not, Ends::AtOnce, says)).await;
        assert_eq!((ran, requeued), expected, "says {says}: {outcome}");
    }
}

/// Whatever an execution does that its caller could see is a sign that it has begun, also without `started`.
#[tokio::test(start_paused = true)]
async fn p5_output_a_display_and_a_question_are_signs_of_a_start() {
    for sign in ["output", "display", "question", "heartbeat", "printed", "stderr", "result of another"] {
        guarded(async {
            let ledger = Arc::new(AtomicUsize::new(0));
            let ran = Arc::clone(&ledger);
            let workers = ScriptedSpawner::new(move |mut stage: Stage| {
                let ran = Arc::clone(&ran);
                async move {
                    if stage.number() > 1 {
                        return serve(stage).await;
                    }
                    stage.ready().await;
                    let Some(execute) = stage.next_execute().await else { return Exit::Code(0) };
                    let id = execute.id;
                    ran.fetch_add(1, Relaxed);
                    match sign {
                        "output" => stage.output(id, Stream::Stdout, "it runs").await,
                        "display" => {
                            let display = Display::new(id, Mime::default());
                            stage.send(&FromWorker::Display(display)).await;
                        }
                        "question" => {
                            stage.send(&FromWorker::InputRequest(InputRequest::new(id, 0_u64, "?"))).await;
                        }
                        "heartbeat" => stage.heartbeat(None, Some(id)).await,
                        "printed" => stage.print(Stream::Stdout, "it runs").await,
                        "stderr" => stage.print(Stream::Stderr, "it runs").await,
                        _other => stage.completed(ExecutionId(id.get() + 1000), 1_i64).await,
                    }
                    Exit::Signal(11)
                }
            });
            let pool = Pool::start(workers).await;
            let outcome = pool.outcome("side effect").await;
            assert!(matches!(outcome, Outcome::Lost(Lost { started: true, .. })), "{sign}: {outcome}");
            assert_eq!(ledger.load(Relaxed), 1, "{sign}");
            assert_eq!(pool.status().await.totals.requeued, 0, "{sign}");
            pool.works_on_worker(2).await;
            pool.close().await;
        })
        .await;
    }
}

/// What an earlier execution has said and printed says nothing of the next.
#[tokio::test(start_paused = true)]
async fn p5_what_was_before_is_no_sign_and_the_request_runs_elsewhere() {
    guarded(async {
        let workers = ScriptedSpawner::new(|mut stage: Stage| async move {
            if stage.number() > 1 {
                return serve(stage).await;
            }
            stage.ready().await;
            let first = stage.next_execute().await.expect("the pool asks").id;
            stage.started(first).await;
            stage.print(Stream::Stdout, "printed").await;
            stage.output(first, Stream::Stdout, "said").await;
            stage.completed(first, 1_i64).await;
            stage.next_execute().await;
            stage.output(first, Stream::Stdout, "late").await;
            Exit::Signal(9)
        });
        let pool = Pool::start(workers).await;
        assert!(pool.outcome("first").await.is_completed());
        assert_eq!(pool.outcome("worker").await.value(), Some(&2.into()));
        assert_eq!(pool.status().await.totals.requeued, 1);
        pool.close().await;
    })
    .await;
}

/// The same of a leased session that is restored: what its worker may have begun is not run again in the next one.
#[tokio::test(start_paused = true)]
async fn p5_what_a_leased_session_may_have_begun_is_lost_with_its_worker() {
    guarded(async {
        let workers = ScriptedSpawner::new(|mut stage: Stage| async move {
            if stage.number() > 1 {
                return serve(stage).await;
            }
            stage.ready().await;
            let execute = stage.next_execute().await.expect("the session asks");
            stage.close_channel();
            drop(execute);
            Exit::Signal(9)
        });
        let pool = Pool::start_with(workers, |it| it.on_death(ostler::OnDeath::Restore)).await;
        let session = pool.runtime.session().await.unwrap();
        let outcome = session.run("side effect").await.unwrap().outcome;
        let Outcome::Lost(Lost { started: true, cause: LostCause::Died(_) }) = outcome else {
            panic!("{outcome}")
        };
        assert_eq!(pool.status().await.totals.requeued, 0);
        drop(session);
        pool.close().await;
    })
    .await;
}
