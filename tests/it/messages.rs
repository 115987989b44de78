//! Bytes and messages between a session and its worker (A3 to A7, A12, B3, B5, B15, C10, E2, E8): exact, whole, in
//! order, through pipes of any size, with any number of sessions.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use ostler::{
    Codec, Event, Request, Stream, Transport, Value, WorkerSpec,
    config::OUTBOX_MAX,
    protocol::{Execute, FromWorker, ToWorker},
    testing::{Fact, ScriptedSpawner, Stage},
};
use tokio::task::JoinSet;

use crate::{
    support::{Pool, guarded, turns},
    workers::{deaf, first_does, polite},
};

/// A12, C2 and C10: nothing lost, doubled or reordered, and the outcome behind all of it.
#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_messages_arrive_exactly() {
    const MESSAGES: u32 = 100_000;
    guarded(async {
        let pool = Pool::start(polite()).await;
        let code = format!("print {MESSAGES}");
        let mut execution = pool.runtime.execute(code.as_str()).await.unwrap();
        assert!(matches!(execution.next().await, Some(Event::Started { .. })), "first");
        let mut next = 0;
        while let Some(event) = execution.next().await {
            let Event::Output { data, .. } = event else { panic!("only output comes: {event:?}") };
            assert_eq!(data, next.to_string().as_bytes());
            next += 1;
        }
        assert_eq!(next, MESSAGES);
        assert_eq!(execution.outcome().await.value(), Some(&code.as_str().into()));
        pool.close().await;
    })
    .await;
}

/// A3 and A4: sizes around what pipes, blocks and frames hold, each way, through pipes down to a single byte.
#[tokio::test(start_paused = true)]
async fn messages_of_any_size_pass_through_pipes_of_any_size() {
    for (pipe_len, most) in [(1, 10_000), (7, 70_000), (4_096, 200_000), (65_536, 1 << 20)] {
        guarded(async {
            let workers = polite().pipe_len(pipe_len).transport(Transport::Stdio);
            let pool = Pool::start(workers).await;
            for size in [1, 2, 100, 1_146, 4_095, 4_097, 65_535, 65_536, 65_537, 100_000, 1 << 20] {
                if size > most {
                    break;
                }
                let code: String = ('a'..='z').cycle().take(size).collect();
                assert_eq!(
                    pool.outcome(&code).await.value(),
                    Some(&code.as_str().into()),
                    "{size} over {pipe_len}"
                );
            }
            assert!(pool.status().await.totals.partial_writes > 0);
            pool.close().await;
        })
        .await;
    }
}

/// A2: the other codec, through the same actors.
#[tokio::test(start_paused = true)]
async fn json_works_as_messagepack_does() {
    guarded(async {
        let workers = polite().codec(Codec::Json);
        let spec = WorkerSpec::python().codec(Codec::Json);
        let runtime = ostler::Runtime::builder(spec).spawner(workers.clone()).start().await.unwrap();
        let report = runtime.run("print 3").await.unwrap();
        assert_eq!((report.stdout_text().as_ref(), report.value()), ("012", Some(&"print 3".into())));
        runtime.shutdown(Duration::ZERO).await;
        assert_eq!(workers.live(), 0);
    })
    .await;
}

/// A7: 64 who send at once, through a pipe that takes less than a frame: each frame arrives whole.
#[tokio::test(start_paused = true)]
async fn frames_of_many_senders_are_never_interleaved() {
    const SENDERS: u64 = 64;
    guarded(async {
        let workers = first_does(|mut stage: Stage, id| async move {
            let mut seen = BTreeMap::new();
            while seen.len() < 64 {
                if let Some(ToWorker::InputResponse(answer)) = stage.recv().await {
                    seen.insert(answer.request, answer.value);
                }
            }
            for (request, line) in seen {
                let expected = request.to_string().repeat(1_000);
                assert_eq!(line.as_deref(), Some(expected.as_str()));
            }
            stage.completed(id, "all whole").await;
            Ok(stage)
        });
        let pool = Pool::start(workers.pipe_len(100)).await;
        let execution = pool.runtime.execute("listens").await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let mut senders = JoinSet::new();
        for sender in 0..SENDERS {
            let canceller = execution.canceller();
            senders.spawn(async move {
                // While what was sent before is on its way: a frame that overtook it would be seen inside it.
                turns(7 * usize::try_from(sender).unwrap()).await;
                canceller.input(sender, Some(sender.to_string().repeat(1_000)));
            });
        }
        senders.join_all().await;
        assert_eq!(execution.outcome().await.value(), Some(&"all whole".into()));
        pool.close().await;
    })
    .await;
}

/// B21: what waits to be written to a worker that does not read has a limit, and that is the end of the worker.
#[tokio::test(start_paused = true)]
async fn a_worker_that_is_sent_more_than_may_wait_and_does_not_read_is_given_up() {
    const ANSWER: usize = 16 << 20;
    guarded(async {
        let pool = Pool::start(first_does(deaf)).await;
        let execution = pool.runtime.execute("does not read").await.unwrap();
        for sent in 0..=OUTBOX_MAX / ANSWER {
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert_eq!(pool.status().await.totals.in_flight, 1, "after {sent} answers of {ANSWER} bytes");
            execution.input(0, "x".repeat(ANSWER));
        }
        let outcome = execution.outcome().await;
        assert!(outcome.to_string().contains("the worker stopped reading"), "{outcome}");
        pool.works_on_worker(2).await;
        pool.close().await;
    })
    .await;
}

/// E2: many executions at once on several sessions, each printing its own name: nobody hears another's.
#[tokio::test(start_paused = true)]
async fn every_execution_hears_only_itself() {
    guarded(async {
        let workers = ScriptedSpawner::new(|mut stage: Stage| async move {
            stage.ready().await;
            while let Some(Execute { id, code, .. }) = stage.next_execute().await {
                stage.started(id).await;
                for _ in 0..20 {
                    stage.output(id, Stream::Stdout, code.clone()).await;
                    stage.print(Stream::Stdout, code.as_bytes()).await;
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                stage.completed(id, code).await;
            }
            ostler::Exit::Code(0)
        });
        let pool = Pool::start_with(workers, |it| it.max_sessions(8)).await;
        let mut callers = JoinSet::new();
        for caller in 0..100_u32 {
            let runtime = pool.runtime.clone();
            callers.spawn(async move {
                let name = format!("<{caller}>");
                let report = runtime.run(name.as_str()).await.unwrap();
                assert_eq!(report.value(), Some(&name.as_str().into()));
                assert_eq!(report.stdout_text(), name.repeat(40));
            });
        }
        callers.join_all().await;
        pool.close().await;
    })
    .await;
}

/// B3 and B5, as far as no process is needed: on one session, on a pool, and on a new session each time.
#[tokio::test(start_paused = true)]
async fn a_thousand_executions_on_one_session_on_a_pool_and_on_new_sessions() {
    guarded(async {
        let pool = Pool::start_with(polite(), |it| it.max_sessions(10).queue(1_000)).await;
        let session = pool.runtime.session().await.unwrap();
        for number in 0..1_000_u32 {
            let code = number.to_string();
            assert_eq!(session.run(code.as_str()).await.unwrap().value(), Some(&code.as_str().into()));
        }
        drop(session);
        let codes: Vec<String> = (0..1_000_u32).map(|number| number.to_string()).collect();
        for (code, report) in codes.iter().zip(pool.runtime.run_all(codes.clone()).await) {
            assert_eq!(report.unwrap().value(), Some(&code.as_str().into()));
        }
        for _ in 0..1_000 {
            let session = pool.runtime.session().await.unwrap();
            assert!(session.run("x").await.unwrap().outcome.is_completed());
        }
        pool.close().await;
    })
    .await;
}

/// B15: warmups never wait for each other, and nobody for them in vain.
#[tokio::test(start_paused = true)]
async fn a_hundred_sessions_with_warmup_one_after_another_and_at_once() {
    guarded(async {
        let pool = Pool::start_with(polite(), |it| it.warmup("sleep 20").max_sessions(1)).await;
        for _ in 0..100 {
            let session = pool.runtime.session().await.unwrap();
            assert!(session.run("x").await.unwrap().outcome.is_completed());
        }
        pool.close().await;

        let pool = Pool::start_with(polite(), |it| it.warmup("sleep 20").max_sessions(100)).await;
        let mut callers = JoinSet::new();
        let together = Arc::new(tokio::sync::Barrier::new(100));
        for _ in 0..100 {
            let (runtime, together) = (pool.runtime.clone(), Arc::clone(&together));
            callers.spawn(async move {
                let session = runtime.session().await.unwrap();
                together.wait().await;
                assert!(session.run("x").await.unwrap().outcome.is_completed());
            });
        }
        callers.join_all().await;
        assert_eq!(pool.workers.peak(), 100);
        pool.close().await;
    })
    .await;
}

/// What a caller asks for is what the worker is sent (C1).
#[tokio::test(start_paused = true)]
async fn a_request_reaches_the_worker_as_it_was_made() {
    guarded(async {
        let pool = Pool::start(polite()).await;
        let request = Request::python("code")
            .arg("names", vec!["a", "b"])
            .arg("nothing", Value::None)
            .filename("cell.py")
            .cwd("/somewhere")
            .allow_input(false)
            .silent(true)
            .mime(true);
        pool.runtime.run(request.clone()).await.unwrap();
        let session = pool.runtime.session().await.unwrap();
        session.run(Request::python("code").sys_path(["dir", "lib"])).await.unwrap();
        drop(session);
        let log = pool.workers.log();
        let mut sent = log.iter().filter_map(|entry| match &entry.fact {
            Fact::Received(ToWorker::Execute(execute)) => Some(execute),
            _other => None,
        });
        let first = sent.next().unwrap();
        assert!(first.fresh && first.silent && first.mime && !first.allow_stdin);
        assert_eq!(first.filename.as_deref(), Some("cell.py"));
        assert_eq!(first.cwd.as_deref(), Some("/somewhere"));
        let args = [("names".to_owned(), vec!["a", "b"].into()), ("nothing".to_owned(), Value::None)];
        assert_eq!(first.args, args);
        let second = sent.next().unwrap();
        assert!(!second.fresh, "a leased session keeps its namespace");
        assert_eq!(second.sys_path, ["dir", "lib"]);
        pool.close().await;
    })
    .await;
}

/// An unknown type is answered and survived; a known one that makes no sense now is noted.
#[tokio::test(start_paused = true)]
async fn a_message_of_an_unknown_type_is_answered_and_survived() {
    guarded(async {
        let pool = Pool::start(first_does(|mut stage: Stage, id| async move {
            stage.send_bytes(b"\x00\x00\x00\x0c\x81\xa4type\xa5novel").await;
            let Some(ToWorker::ProtocolError(answer)) = stage.recv().await else { panic!("it is answered") };
            assert_eq!(answer.what, "unknown type `novel`");
            stage.send(&FromWorker::Bye).await;
            stage.completed(id, "survived").await;
            Ok(stage)
        }))
        .await;
        assert_eq!(pool.outcome("runs").await.value(), Some(&"survived".into()));
        pool.works_on_worker(1).await;
        pool.close().await;
    })
    .await;
}

/// E8: the same on many threads, by the clock on the wall.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_actors_work_on_many_threads_as_on_one() {
    guarded(async {
        let pool = Pool::start_with(polite(), |it| it.max_sessions(4).queue(1_000)).await;
        let codes: Vec<String> = (0..400_u32).map(|number| format!("print {}", number % 20)).collect();
        for report in pool.runtime.run_all(codes).await {
            let report = report.unwrap();
            assert!(report.outcome.is_completed());
        }
        let mut callers = JoinSet::new();
        for caller in 0..40_u32 {
            let runtime = pool.runtime.clone();
            callers.spawn(async move {
                if caller.is_multiple_of(4) {
                    let session = runtime.session().await.unwrap();
                    assert!(session.run("x").await.unwrap().outcome.is_completed());
                } else {
                    let execution = runtime.execute("sleep 1000").await.unwrap();
                    execution.cancel();
                    assert!(!execution.outcome().await.is_completed());
                }
            });
        }
        callers.join_all().await;
        pool.close().await;
    })
    .await;
}
