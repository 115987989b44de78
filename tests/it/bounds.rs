//! What is bounded in memory, and that what is dropped for it is counted (P4, P11, P16; fault rows 29, 45, 48).

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use ostler::{
    Event, Execution, Exit, Outcome, Request, Runtime, SubmitError, Value, WorkerSpec,
    config::{ITEM_MIN, QUESTIONS_MAX, WINDOW},
    protocol::{Display, ExecutionId, FromWorker, InputRequest, Mime, MimeData, Output, Stream},
    testing::{ScriptedSpawner, Stage},
};

use crate::{
    support::{Pool, guarded},
    workers::{Then, first_does, silent},
};

/// What may be on its way beside what the window holds: pipes and read buffers.
const SLACK: usize = 512 << 10;

/// How many of these a worker gets rid of while its caller takes nothing.
async fn gets_rid_of(
    message: impl Fn(ExecutionId, u64) -> FromWorker + Send + Sync + 'static,
) -> (usize, usize) {
    let (message, sent) = (Arc::new(message), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&sent);
    let floods = move |mut stage: Stage, id| {
        let (message, sent) = (Arc::clone(&message), Arc::clone(&counted));
        async move {
            for number in 0.. {
                // It ends where there is no bound.
                if number > 40_000 {
                    break;
                }
                let frame = stage.frame(&message(id, number));
                stage.send_bytes(&frame).await;
                sent.fetch_add(1, Relaxed);
            }
            std::future::pending::<Then>().await
        }
    };
    let frame_len = 64;
    let pool = Pool::start(first_does(floods)).await;
    let execution = pool.runtime.execute("floods").await.unwrap();
    tokio::time::sleep(Duration::from_secs(20)).await;
    let count = sent.load(Relaxed);
    drop(execution);
    pool.close().await;
    (count, SLACK / frame_len)
}

#[tokio::test(start_paused = true)]
async fn however_little_a_thing_holds_its_caller_pays_for_its_place() {
    guarded(async {
        let most = WINDOW / ITEM_MIN;
        let piece = |data: &'static [u8]| {
            move |id, number| {
                FromWorker::Output(Output::new(id, Stream::Stdout, number, Bytes::from_static(data)))
            }
        };
        for (what, (count, in_pipes)) in [
            ("empty output", gets_rid_of(piece(b"")).await),
            ("output of a byte", gets_rid_of(piece(b"x")).await),
            ("displays of nothing", gets_rid_of(|id, _| Display::new(id, Mime::default()).into()).await),
            ("questions", gets_rid_of(|id, number| InputRequest::new(id, number, "").into()).await),
        ] {
            assert!(count <= most + in_pipes, "{what}: {count}, with a window for {most}");
            assert!(count >= most / 2, "{what}: {count}, with a window for {most}");
        }
    })
    .await;
}

/// Prompts are bytes too.
#[tokio::test(start_paused = true)]
async fn questions_are_paid_for_by_what_they_say() {
    guarded(async {
        let prompt = "x".repeat(64 << 10);
        let (count, _) =
            gets_rid_of(move |id, number| InputRequest::new(id, number, prompt.clone()).into()).await;
        assert!((8..=24).contains(&count), "{count} prompts of 64 KiB in a window of 1 MiB");
    })
    .await;
}

/// A display takes the whole window, of which the reader holds some for what the pipes may bring; they are silent.
#[tokio::test(start_paused = true)]
async fn a_display_larger_than_the_window_arrives_while_nothing_is_printed() {
    guarded(async {
        let shows = |mut stage: Stage, id| async move {
            let mime = Mime(vec![("text/plain".into(), MimeData::Text("x".repeat(2 * WINDOW)))]);
            // So that the reader has paid for the next read of a pipe.
            tokio::time::sleep(Duration::from_secs(1)).await;
            stage.send(&Display::new(id, mime).into()).await;
            stage.completed(id, "shown").await;
            Ok(stage)
        };
        let pool = Pool::start(first_does(shows)).await;
        let report = pool.runtime.run("shows").await.unwrap();
        assert!(report.outcome.is_completed(), "{}", report.outcome);
        assert_eq!(report.displays.len(), 1);
        pool.close().await;
    })
    .await;
}

const PRINTED: usize = 3 * WINDOW / 4;

/// Prints on a pipe and in frames, and ends when it is told to go on, or cancelled.
async fn prints(mut stage: Stage, id: ExecutionId) -> Then {
    for _ in 0..PRINTED / 2 / 4096 {
        stage.output(id, Stream::Stdout, vec![b'x'; 4096]).await;
        stage.print(Stream::Stderr, vec![b'y'; 4096]).await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    stage.completed(id, "done").await;
    Ok(stage)
}

async fn taken(execution: &mut Execution, most: usize) -> usize {
    let mut taken = 0;
    while taken < most
        && let Some(event) = execution.next().await
    {
        if let Event::Output { data, .. } = event {
            taken += data.len();
        }
    }
    taken
}

/// P16: whatever a caller does with its handle, each byte is taken or counted.
#[tokio::test(start_paused = true)]
async fn f47_f48_output_that_a_handle_discards_is_counted() {
    guarded(async {
        for (what, part) in [("nothing", 0), ("a part", PRINTED / 3), ("all", usize::MAX)] {
            for leaves in
                ["drops the handle", "wants only the outcome", "cancels and drops it", "is detached"]
            {
                let pool = Pool::start(first_does(prints)).await;
                let mut request = Request::python("prints");
                if leaves == "is detached" {
                    request = request.detached();
                }
                let mut execution = pool.runtime.execute(request).await.unwrap();
                let taken = taken(&mut execution, part).await;
                tokio::time::sleep(Duration::from_millis(100)).await;
                match leaves {
                    "wants only the outcome" => drop(execution.outcome().await),
                    "cancels and drops it" => {
                        execution.cancel();
                        drop(execution);
                    }
                    _ => drop(execution),
                }
                let status = pool.eventually("it is over", |pool| pool.totals.in_flight == 0).await;
                tokio::time::sleep(Duration::from_secs(2)).await;
                let dropped = usize::try_from(pool.status().await.totals.dropped_bytes).unwrap();
                assert_eq!(taken + dropped, PRINTED, "takes {what}, {leaves}: {taken} taken; {status:?}");
                pool.close().await;
            }
        }
    })
    .await;
}

async fn pool(change: impl FnOnce(ostler::RuntimeBuilder) -> ostler::RuntimeBuilder) -> Pool {
    Pool::start_with(first_does(silent), change).await
}

fn large(bytes: usize) -> Request {
    Request::python("#".repeat(bytes))
}

/// Row 45: what waits is bounded in bytes, in the queue and in the queues of sessions together.
#[tokio::test(start_paused = true)]
async fn f45_requests_that_wait_are_bounded_in_bytes() {
    const MIB: usize = 1 << 20;
    guarded(async {
        let pool = pool(|builder| builder.max_sessions(2).min_idle(2).queue_bytes(4 * MIB)).await;
        let session = pool.runtime.session().await.unwrap();
        // One that need not wait may be of any size.
        let runs = pool.runtime.execute(large(6 * MIB)).await.unwrap();
        let in_session = session.execute(large(6 * MIB)).await.unwrap();
        let first = pool.runtime.execute(large(2 * MIB)).await.unwrap();
        let in_line = session.execute(large(MIB)).await.unwrap();
        for refused in [
            pool.runtime.execute(large(3 * MIB)).await.map(drop),
            session.execute(large(3 * MIB)).await.map(drop),
        ] {
            let Err(SubmitError::QueueBytes { waiting, len, limit, .. }) = &refused else {
                panic!("{refused:?}");
            };
            assert!(*waiting > 3 * MIB && *len > 3 * MIB && *limit == 4 * MIB, "{refused:?}");
            let text = refused.unwrap_err().to_string();
            assert!(text.contains("`queue_bytes`"), "{text}");
        }
        // Whoever leaves gives its bytes back.
        for (left, next) in [(first, true), (in_line, false)] {
            left.cancel();
            assert!(matches!(left.outcome().await, Outcome::Cancelled(_)));
            let fits = match next {
                true => pool.runtime.execute(large(2 * MIB)).await,
                false => session.execute(large(MIB)).await,
            };
            fits.unwrap().cancel();
        }
        drop((runs, in_session, session));
        pool.runtime.shutdown(Duration::ZERO).await;
    })
    .await;
}

/// The server of the next tests.
async fn served<F>(
    change: impl FnOnce(ostler::RuntimeBuilder) -> ostler::RuntimeBuilder,
    script: impl Fn(Stage) -> F + Send + Sync + 'static,
) -> Runtime
where
    F: Future<Output = Exit> + Send + 'static,
{
    let spec = WorkerSpec::json_rpc("server");
    let workers = ScriptedSpawner::new(script).server(&spec);
    let builder = Runtime::builder(spec).max_sessions(1).spawner(workers);
    change(builder).start().await.unwrap()
}

/// Calls too: a server has so many bytes of them in flight, and the rest waits in the queue.
#[tokio::test(start_paused = true)]
async fn f45_calls_that_wait_are_bounded_in_bytes() {
    const MIB: usize = 1 << 20;
    guarded(async {
        let runtime = served(
            |builder| builder.in_flight(64).queue_bytes(8 * MIB),
            |mut stage: Stage| async move {
                while stage.recv_line().await.is_some() {}
                Exit::Code(0)
            },
        )
        .await;
        let mut waiting = Vec::new();
        let refused = loop {
            assert!(waiting.len() < 30, "30 calls of 4 MiB each were taken");
            let params = [("text", Value::from("x".repeat(4 * MIB)))].into_iter().collect::<Value>();
            match runtime.execute(Request::rpc("work", params)).await {
                Ok(execution) => waiting.push(execution),
                Err(error) => break error,
            }
        };
        assert!(matches!(refused, SubmitError::QueueBytes { .. }), "{refused}");
        assert!((5..=7).contains(&waiting.len()), "{} calls of 4 MiB were taken", waiting.len());
        drop(waiting);
        runtime.shutdown(Duration::ZERO).await;
    })
    .await;
}

/// What a server asks is remembered until it is answered: so many, and no more. Every one too many is answered at once,
/// and so is one that its caller has no room for.
#[tokio::test(start_paused = true)]
async fn questions_of_a_server_have_a_bound_and_each_is_answered() {
    const ASKED: usize = QUESTIONS_MAX + 50;
    guarded(async {
        let answers = Arc::new(AtomicUsize::new(0));
        for (params, most_open) in [("{}".to_owned(), QUESTIONS_MAX), (format!("{:?}", vec!["x"; 10_000]), 8)] {
            answers.store(0, Relaxed);
            let counted = Arc::clone(&answers);
            let runtime = served(
                |builder| builder,
                move |mut stage: Stage| {
                    let (answers, params) = (Arc::clone(&counted), params.clone());
                    async move {
                        let Some(call) = stage.recv_line().await else { return Exit::Code(0) };
                        for number in 0..ASKED {
                            let asks = format!(
                                "{{\"jsonrpc\":\"2.0\",\"id\":\"q{number}\",\"method\":\"ask\",\"params\":{{\"text\":{params}}}}}\n"
                            );
                            stage.send_bytes(asks.as_bytes()).await;
                        }
                        assert!(call.contains("work"), "{call}");
                        while let Some(line) = stage.recv_line().await {
                            answers.fetch_add(usize::from(line.contains("error")), Relaxed);
                        }
                        Exit::Code(0)
                    }
                },
            )
            .await;
            let request = Request::rpc("work", Value::Map(Vec::new())).allow_input(true);
            let mut execution = runtime.execute(request).await.unwrap();
            tokio::time::sleep(Duration::from_secs(5)).await;
            let open = ASKED - answers.load(Relaxed);
            assert!(open > 0 && open <= most_open, "{open} are open, at most {most_open} may be");
            let mut asked = 0;
            while asked < open {
                if let Some(Event::Asked(_)) = execution.next().await {
                    asked += 1;
                }
            }
            drop(execution);
            runtime.shutdown(Duration::ZERO).await;
        }
    })
    .await;
}
