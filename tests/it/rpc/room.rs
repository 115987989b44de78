//! Requests and answers that are larger than what may wait to be written at once (fault row 34).

use ostler::{Event, config::OUTBOX_MAX};

use super::*;

/// Two of them are too much at once.
const LARGE: usize = 33 << 20;
const PIPE: usize = 64 << 10;

fn large() -> Value {
    assert!((OUTBOX_MAX / 2..OUTBOX_MAX).contains(&LARGE));
    Value::from(vec![Value::from("x".repeat(LARGE))])
}

async fn large_call(pool: &Pool, method: &str) -> Execution {
    pool.runtime.execute(Request::rpc(method, large())).await.unwrap()
}

/// Its server reads something every 20 seconds, and so is never one that does not read.
#[tokio::test(start_paused = true)]
async fn large_calls_at_once_wait_for_room_and_all_are_answered() {
    guarded(async {
        let workers = servers(|mut stage| async move {
            loop {
                tokio::time::sleep(Duration::from_secs(20)).await;
                let Some(line) = stage.recv_line().await else { return Exit::Code(0) };
                let (id, _) = call_of(&line).expect("a call");
                answers(&mut stage, id).await;
            }
        });
        // More than one server is given at once; the rest waits in the queue.
        let pool = pool(workers.pipe_len(PIPE), |it| it.queue_bytes(4 * LARGE)).await;
        let calls = [
            large_call(&pool, "one").await,
            large_call(&pool, "two").await,
            large_call(&pool, "three").await,
            call(&pool, "small").await,
        ];
        for call in calls {
            let outcome = call.outcome().await;
            assert_eq!(outcome.value(), Some(&1.into()), "{outcome}");
        }
        let status = pool.status().await;
        assert_eq!((status.spawned, status.crashed, status.totals.requeued), (1, 0, 0));
        pool.close().await;
    })
    .await;
}

/// What waits for a server that does not read has a limit, and so has the time. What it was not given goes to another one.
#[tokio::test(start_paused = true)]
async fn f34_a_server_that_never_reads_is_ended_when_a_call_waits_for_room() {
    guarded(async {
        let pool = pool(first_is_deaf(&Gate::new()).pipe_len(PIPE), |it| it).await;
        let begun = Instant::now();
        let small = call(&pool, "small").await;
        let half_written = large_call(&pool, "half written").await;
        let waits = large_call(&pool, "waits").await;
        match small.outcome().await {
            Outcome::Lost(Lost { started: true, cause: LostCause::Died(death) }) => {
                assert_eq!(death.cause, DeathCause::NotReading);
            }
            other => panic!("{other}"),
        }
        let limit = Duration::from_secs(30);
        assert!((limit..limit + Duration::from_secs(3)).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        for call in [half_written, waits] {
            let outcome = call.outcome().await;
            assert_eq!(outcome.value(), Some(&2.into()), "{outcome}");
        }
        pool.close().await;
    })
    .await;
}

/// What waits for room can be taken back: its server never hears of it, and it is told so.
#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_room_is_cancelled_at_once() {
    guarded(async {
        let gate = Gate::new();
        let pool = pool(first_is_deaf(&gate).pipe_len(PIPE), |it| it).await;
        let before = large_call(&pool, "before").await;
        let waits = large_call(&pool, "waits").await;
        settle().await;
        let begun = Instant::now();
        waits.cancel();
        let outcome = waits.outcome().await;
        assert!(
            matches!(&outcome, Outcome::Cancelled(Cancelled { stage: CancelStage::Queued, .. })),
            "{outcome}"
        );
        assert!(begun.elapsed().is_zero(), "at once: {:?}", begun.elapsed());
        gate.open();
        settle().await;
        assert_eq!(read(&pool.workers).keys().collect::<Vec<_>>(), ["before"]);
        drop(before);
        pool.close().await;
    })
    .await;
}

/// The answers of a caller wait in the same way, and a short one does not overtake them.
#[tokio::test(start_paused = true)]
async fn large_answers_at_once_wait_for_room() {
    guarded(async {
        let workers = servers(|mut stage| async move {
            while let Some(line) = stage.recv_line().await {
                let (id, _) = call_of(&line).expect("a call");
                for question in ["a", "b", "c"] {
                    let asks = format!("{{\"jsonrpc\":\"2.0\",\"id\":\"{question}\",\"method\":\"ask\"}}\n");
                    stage.send_bytes(asks.as_bytes()).await;
                }
                tokio::time::sleep(Duration::from_secs(5)).await;
                for question in ["a", "b", "c"] {
                    let answer = stage.recv_line().await.expect("an answer");
                    assert!(answer.contains(&format!("\"id\":\"{question}\"")), "in order: {question}");
                    assert_eq!(answer.len() > LARGE, question != "c");
                }
                answers(&mut stage, id).await;
            }
            Exit::Code(0)
        });
        let pool = pool(workers.pipe_len(PIPE), |it| it).await;
        let request = Request::rpc("asks", Value::None).allow_input(true);
        let mut execution = pool.runtime.execute(request).await.unwrap();
        while let Some(event) = execution.next().await {
            if let Event::Asked(question) = event {
                let answer = if question.request < 3 { large() } else { Value::None };
                execution.answer(question.request, Ok(answer));
            }
        }
        let outcome = execution.outcome().await;
        assert_eq!(outcome.value(), Some(&1.into()), "{outcome}");
        pool.close().await;
    })
    .await;
}

/// A call that had to wait has started when it is written, and its caller hears that then.
#[tokio::test(start_paused = true)]
async fn a_call_that_had_to_wait_starts_when_it_is_written() {
    guarded(async {
        let gate = Gate::new();
        let pool = pool(first_is_deaf(&gate), |it| it).await;
        let mut calls = Vec::new();
        for n in 0..12 {
            calls.push(call(&pool, format!("call-{n:02}")).await);
        }
        // Between two looks at the server.
        tokio::time::sleep(Duration::from_millis(1_300)).await;
        gate.open();
        let begun = Instant::now();
        for call in &mut calls {
            let event = call.next().await;
            assert!(matches!(event, Some(Event::Started { .. })), "{event:?}");
        }
        assert!(begun.elapsed().is_zero(), "{:?}", begun.elapsed());
        drop(calls);
        pool.close().await;
    })
    .await;
}
