//! Workers that break the protocol (fault rows 21 to 27 and 33 to 36, C12): that worker's generation ends with a typed
//! cause, no other session notices, and the next request works.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use ostler::{
    CancelStage, Cancelled, DeathCause, ExecutionId, Exit, Failure, Lost, LostCause, Outcome, Phase, Request,
    Stream, TimedOut,
    config::CLOSED_LIMIT,
    protocol::{ExecutionResult, FromWorker, Output},
    testing::Stage,
};
use tokio::time::Instant;

use crate::{
    death_faults::died,
    support::{Pool, guarded},
    workers::{Then, babbler, deaf, first_does, liar, miscounter, serve, silent, stutterer, zombie},
};

/// The first worker does this deed, and is killed for it: returns what the host says it did.
async fn is_killed_for<F>(deed: impl Fn(Stage, ExecutionId) -> F + Clone + Send + Sync + 'static) -> String
where
    F: Future<Output = Then> + Send + 'static,
{
    let pool = Pool::start(first_does(deed)).await;
    let outcome = pool.outcome("runs").await;
    let Outcome::Lost(Lost { started: true, cause: LostCause::Died(death) }) = outcome else {
        panic!("its worker was killed: {outcome}")
    };
    assert_eq!(death.exit, Exit::Signal(9), "{death}");
    let DeathCause::Protocol(what) = death.cause else { panic!("{death}") };
    pool.works_on_worker(2).await;
    assert_eq!(pool.status().await.crashed, 1);
    pool.close().await;
    what
}

fn framed(payload: &[u8]) -> Vec<u8> {
    let mut frame = BytesMut::new();
    frame.put_u32(u32::try_from(payload.len()).expect("a short payload"));
    frame.extend_from_slice(payload);
    frame.to_vec()
}

/// Also P12 and A11. Each row: the bytes that a worker sends while it runs code, and what the host calls them.
#[tokio::test(start_paused = true)]
async fn f21_f22_f23_bytes_that_are_no_message_end_the_worker() {
    let nested = framed(&[&b"\x82\xa4type\xa6output\xa1x"[..], &[0x91; 100], &[0xc0]].concat());
    for (bytes, closes, expected) in [
        (
            b"\x00\x00\x00\x0aabc".to_vec(),
            true,
            "stream ended inside a frame: got 7 bytes of it, expected 14",
        ),
        (b"\xff\xff\xff\xff".to_vec(), false, "frame of 4294967295 bytes announced, expected 1 to 67108864"),
        (b"\x04\x00\x00\x01".to_vec(), false, "frame of 67108865 bytes announced"),
        (b"\x00\x00\x00\x00".to_vec(), false, "frame of 0 bytes announced"),
        (framed(b"\xc1"), false, "malformed payload"),
        (framed(b"\x93\x01\x02\x03"), false, "malformed payload: expected a map"),
        (framed(b"\x81\xa4type\xa6\xff\xfe\xfd\xfc\xfb\xfa"), false, "malformed payload"),
        (nested, false, "malformed payload"),
        (framed(b"\x82\xa4type\xa6result\xa2id"), false, "malformed payload"),
    ] {
        guarded(async {
            let sent = bytes.clone();
            let what = is_killed_for(move |mut stage, _id| {
                let sent = sent.clone();
                async move {
                    stage.send_bytes(&sent).await;
                    if closes {
                        stage.close_channel();
                    }
                    std::future::pending::<()>().await;
                    Ok(stage)
                }
            })
            .await;
            assert!(what.starts_with(expected), "{bytes:x?}: {what}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn f23_text_between_frames_is_named_as_what_it_is() {
    guarded(async {
        let what = is_killed_for(babbler).await;
        assert!(
            what.contains("the worker printed on its protocol channel: \"hello from print()\\n\""),
            "{what}"
        );
    })
    .await;
}

/// A frame that stops half way is given up after the stall limit; one that pauses for less loses nothing (A6).
#[tokio::test(start_paused = true)]
async fn f23_a_frame_that_stalls_for_ever_ends_the_worker_and_one_that_pauses_does_not() {
    guarded(async {
        let begun = Instant::now();
        let what = is_killed_for(|mut stage, _id| async move {
            stage.send_bytes(b"\x00\x00\x00\x0aabc").await;
            std::future::pending::<()>().await;
            Ok(stage)
        })
        .await;
        assert_eq!(what, "a frame stalled: 7 bytes of it came, and no more for 30s");
        assert_eq!(begun.elapsed(), Duration::from_secs(30));

        let pool = Pool::start(first_does(|mut stage, id| async move {
            let frame = stage.frame(&FromWorker::Result(ExecutionResult::new(id, 0.5)));
            for byte in frame.chunks(1) {
                stage.send_bytes(byte).await;
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Ok(stage)
        }))
        .await;
        assert!(pool.outcome("pauses").await.is_completed());
        pool.works_on_worker(1).await;
        pool.close().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn f24_a_second_result_changes_nothing_and_ends_only_its_worker() {
    guarded(async {
        let pool = Pool::start_with(first_does(stutterer), |it| it.max_sessions(2).min_idle(2)).await;
        pool.eventually("both are idle", |status| status.idle == 2).await;
        let first = pool.runtime.execute("first").await.unwrap();
        let neighbour = pool.runtime.execute("sleep 1000").await.unwrap();
        assert_eq!(first.outcome().await.value(), Some(&"once".into()));
        assert_eq!(neighbour.outcome().await.value(), Some(&"sleep 1000".into()));
        let status =
            pool.eventually("it is replaced", |status| status.idle == 2 && status.spawned == 3).await;
        assert_eq!(status.crashed, 1);
        pool.close().await;
    })
    .await;
}

/// A late piece of output is nobody's: not of the one that ended, and never of the next. It is counted.
#[tokio::test(start_paused = true)]
async fn f25_a_late_frame_is_dropped_and_counted() {
    guarded(async {
        let pool = Pool::start(first_does(|mut stage, id| async move {
            stage.wait_for_cancel(id).await;
            stage.cancelled(id).await;
            let next = stage.next_execute().await.expect("a second request comes").id;
            stage.started(next).await;
            stage.output(next, Stream::Stdout, "mine").await;
            stage.send(&FromWorker::Output(Output::new(id, Stream::Stdout, 0_u64, &b"late"[..]))).await;
            stage.completed(next, "second").await;
            Ok(stage)
        }))
        .await;
        let first = pool.runtime.execute("first").await.unwrap();
        first.cancel();
        assert!(matches!(first.outcome().await, Outcome::Cancelled(_)));
        let report = pool.runtime.run("second").await.unwrap();
        assert_eq!((report.stdout_text().as_ref(), report.value()), ("mine", Some(&"second".into())));
        assert_eq!(pool.status().await.totals.late_frames, 1);
        pool.works_on_worker(1).await;
        pool.close().await;
    })
    .await;
}

/// A worker that answers for an id that only looks like one of ours ends the same way.
#[tokio::test(start_paused = true)]
async fn f26_an_id_that_was_never_issued_ends_only_that_worker() {
    guarded(async {
        let what = is_killed_for(liar).await;
        assert!(what.ends_with("which it was never given"), "{what}");
        let what = is_killed_for(|mut stage, _id| async move {
            let mut payload = BytesMut::from(&b"\x82\xa4type\xa7started\xa2id\xa3"[..]);
            payload.extend_from_slice(b"007");
            stage.send_bytes(&framed(&payload)).await;
            Ok(stage)
        })
        .await;
        assert!(what.starts_with("id `007` was never issued"), "{what}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn f27_a_gap_or_a_repeat_in_the_output_ends_the_worker() {
    for second in [0, 2, u64::MAX] {
        guarded(async {
            let what = is_killed_for(move |stage, id| miscounter(stage, id, second)).await;
            assert!(what.ends_with(&format!("out of sequence: expected number 1, got {second}")), "{what}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn f33_a_worker_that_closes_its_channel_and_lives_on_is_killed() {
    guarded(async {
        let pool = Pool::start(first_does(zombie)).await;
        let begun = Instant::now();
        assert_eq!(pool.outcome("runs").await, died(true, DeathCause::ChannelClosed, Exit::Signal(9)));
        assert!(begun.elapsed() <= CLOSED_LIMIT + Duration::from_millis(10), "{:?}", begun.elapsed());
        pool.works_on_worker(2).await;
        pool.close().await;
    })
    .await;
}

/// A request that is larger than what the pipe takes: nobody waits for the worker but this request, which times out.
#[tokio::test(start_paused = true)]
async fn f34_a_worker_that_stops_reading_costs_one_request_its_deadline() {
    guarded(async {
        let pool = Pool::start(first_does(deaf)).await;
        let session = pool.runtime.session().await.unwrap();
        let first = session.execute(Request::python("x").deadline(Duration::from_secs(5))).await.unwrap();
        let big = "#".repeat(1 << 20);
        let second = session.execute(Request::python(big).deadline(Duration::from_secs(3))).await.unwrap();
        let begun = Instant::now();
        let after = Duration::from_secs(3);
        assert_eq!(second.outcome().await, Outcome::TimedOut(TimedOut::new(after, Phase::Queued)));
        assert_eq!(begun.elapsed(), after);
        let after = Duration::from_secs(5);
        assert_eq!(
            first.outcome().await.without_activity(),
            Outcome::TimedOut(TimedOut::new(after, Phase::Running))
        );
        drop(session);
        pool.works_on_worker(2).await;
        pool.close().await;
    })
    .await;
}

/// The same, with the large request as the one that it does not read.
#[tokio::test(start_paused = true)]
async fn f34_a_large_request_that_is_not_read_times_out_and_never_started() {
    guarded(async {
        let workers = ostler::testing::ScriptedSpawner::new(|mut stage: Stage| async move {
            if stage.number() > 1 {
                return serve(stage).await;
            }
            stage.ready().await;
            let _held = stage;
            std::future::pending().await
        });
        let pool = Pool::start(workers).await;
        let big = Request::python("#".repeat(1 << 20)).deadline(Duration::from_secs(3));
        let begun = Instant::now();
        let after = Duration::from_secs(3);
        let outcome = pool.runtime.run(big).await.unwrap().outcome;
        assert_eq!(outcome.without_activity(), Outcome::TimedOut(TimedOut::new(after, Phase::Assigned)));
        assert_eq!(begun.elapsed(), after, "told at the deadline");
        pool.works_on_worker(2).await;
        assert!(begun.elapsed() <= after + Duration::from_millis(1_250), "and the worker within the grace");
        assert!(pool.status().await.totals.partial_writes > 0);
        pool.close().await;
    })
    .await;
}

/// A worker that closes what it reads from will never run anything: that is found when something is written, or when
/// the rest of it cannot be.
#[tokio::test(start_paused = true)]
async fn f34_a_worker_that_closes_its_input_is_replaced_and_the_request_runs_elsewhere() {
    for reads_for in [100, 300] {
        guarded(async {
            let workers = ostler::testing::ScriptedSpawner::new(move |mut stage: Stage| async move {
                if stage.number() > 1 {
                    return serve(stage).await;
                }
                stage.ready().await;
                tokio::time::sleep(Duration::from_millis(reads_for)).await;
                stage.close_input();
                std::future::pending::<()>().await;
                drop(stage);
                Exit::Code(0)
            });
            let pool = Pool::start(workers).await;
            tokio::time::sleep(Duration::from_millis(200)).await;
            let begun = Instant::now();
            let code = "#".repeat(1 << 20);
            assert_eq!(pool.outcome(&code).await.value(), Some(&code.as_str().into()));
            assert!(begun.elapsed() <= CLOSED_LIMIT + Duration::from_millis(110), "{:?}", begun.elapsed());
            assert_eq!(pool.status().await.totals.requeued, 1);
            pool.close().await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn f35_code_that_ignores_its_cancel_is_killed_at_the_end_of_the_grace() {
    guarded(async {
        let pool = Pool::start(first_does(silent)).await;
        let execution = pool.runtime.execute("runs").await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let begun = Instant::now();
        execution.cancel_because("enough");
        let reason = Some("enough".to_owned());
        assert_eq!(
            execution.outcome().await.without_activity(),
            Outcome::Cancelled(Cancelled::new(CancelStage::Kill, reason))
        );
        assert_eq!(begun.elapsed(), Duration::from_secs(1), "the grace");
        pool.works_on_worker(2).await;
        pool.close().await;
    })
    .await;
}

/// Idle workers that ignore the request to end, too.
#[tokio::test(start_paused = true)]
async fn f36_a_worker_that_ignores_the_request_to_end_is_killed_at_shutdown() {
    guarded(async {
        let workers = ostler::testing::ScriptedSpawner::new(|mut stage: Stage| async move {
            stage.ready().await;
            while stage.recv().await.is_some() {}
            std::future::pending().await
        });
        let pool = Pool::start(workers).await;
        let begun = Instant::now();
        let (runtime, workers) = (pool.runtime, pool.workers);
        runtime.shutdown(Duration::from_secs(3)).await;
        assert!(begun.elapsed() <= Duration::from_secs(4), "{:?}", begun.elapsed());
        assert_eq!(workers.live(), 0);
    })
    .await;
}

/// C12: a whole message with a wrong field fails the one execution; the worker proves itself idle and is kept.
#[tokio::test(start_paused = true)]
async fn a_message_with_a_missing_field_fails_its_execution_and_the_worker_is_kept() {
    guarded(async {
        let pool = Pool::start(first_does(|mut stage, id| async move {
            stage.send_bytes(&without_time(id)).await;
            stage.wait_for_cancel(id).await;
            Ok(stage)
        }))
        .await;
        let Outcome::Failed(Failure::Protocol { what }) = pool.outcome("runs").await else {
            panic!("the message had no time")
        };
        assert_eq!(what, "`result` message: field `execution_time`: expected a number, got nothing");
        pool.works_on_worker(1).await;
        pool.close().await;
    })
    .await;
}

/// A `result` without its `execution_time`.
pub(crate) fn without_time(id: ExecutionId) -> Vec<u8> {
    let id = id.to_string();
    let mut payload = BytesMut::from(&b"\x82\xa4type\xa6result\xa2id"[..]);
    payload.put_u8(0xa0 | u8::try_from(id.len()).expect("a short id"));
    payload.extend_from_slice(id.as_bytes());
    framed(&payload)
}

/// C12: repeated offence ends the worker.
#[tokio::test(start_paused = true)]
async fn a_worker_that_keeps_sending_wrong_fields_is_ended() {
    guarded(async {
        let pool = Pool::start(first_does(|mut stage, id| async move {
            let mut id = id;
            loop {
                stage.send_bytes(&without_time(id)).await;
                id = stage.next_execute().await.expect("the pool goes on").id;
                stage.started(id).await;
            }
        }))
        .await;
        for _ in 0..2 {
            assert!(matches!(pool.outcome("runs").await, Outcome::Failed(Failure::Protocol { .. })));
        }
        let Outcome::Lost(Lost { cause: LostCause::Died(death), .. }) = pool.outcome("runs").await else {
            panic!("the third is one too many")
        };
        assert!(death.to_string().contains("3 messages with wrong fields"), "{death}");
        pool.works_on_worker(2).await;
        assert!(pool.runtime.list().await.is_empty());
        pool.close().await;
    })
    .await;
}
