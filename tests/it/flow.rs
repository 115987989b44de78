//! Output and memory (fault rows 29 and 48, P4, P11): a caller that does not read holds up its own worker and nothing
//! else; what is dropped is counted.

use std::time::Duration;

use ostler::{
    Event, Exit, Outcome, SessionEvent, Stream, Transport,
    config::CLOSED_LIMIT,
    protocol::{FromWorker, Heartbeat},
    testing::{ScriptedSpawner, Stage},
};
use tokio::time::Instant;

use crate::{
    support::{Pool, guarded},
    workers::{Then, chatty, first_does},
};

const WINDOW: usize = ostler::config::WINDOW;
const PIECE: usize = 4 << 10;

/// What a worker managed to send, as it counts itself.
#[derive(Clone, Default)]
struct Sent(std::sync::Arc<std::sync::atomic::AtomicUsize>);

impl Sent {
    fn add(&self, bytes: usize) {
        self.0.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
    }

    fn bytes(&self) -> usize {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

/// Sends without end, on frames or on the plain pipe, until it is told to stop; then it obeys.
async fn flood(mut stage: Stage, id: ostler::ExecutionId, sent: Sent, frames: bool) -> Then {
    let stop = loop {
        if frames {
            stage.output(id, Stream::Stdout, vec![b'x'; PIECE]).await;
        } else {
            stage.print(Stream::Stdout, vec![b'x'; PIECE]).await;
        }
        sent.add(PIECE);
        // Looks for a cancel between two pieces, as an interpreter looks for a signal.
        tokio::select! {
            biased;
            stop = stage.recv() => break stop,
            () = std::future::ready(()) => {}
        }
    };
    assert!(matches!(stop, Some(ostler::protocol::ToWorker::Cancel(_))), "{stop:?}");
    stage.cancelled(id).await;
    Ok(stage)
}

/// Also the other halves of row 29: memory is bounded by the window, and a cancel gets through.
#[tokio::test(start_paused = true)]
async fn f29_a_caller_that_does_not_read_blocks_its_own_worker_and_nothing_else() {
    for frames in [true, false] {
        guarded(async {
            let sent = Sent::default();
            let counted = sent.clone();
            let workers = first_does(move |stage, id| flood(stage, id, counted.clone(), frames));
            let pool = Pool::start_with(workers, |it| it.max_sessions(2).min_idle(2)).await;
            pool.eventually("both are idle", |status| status.idle == 2).await;
            let unread = pool.runtime.execute("floods").await.unwrap();
            tokio::time::sleep(Duration::from_secs(5)).await;
            let in_flight = sent.bytes();
            assert!(in_flight >= WINDOW, "the window is used: {in_flight}");
            assert!(
                in_flight <= WINDOW + (512 << 10),
                "what is in flight is the window and the pipes: {in_flight}"
            );

            let begun = Instant::now();
            for _ in 0..100 {
                assert!(pool.outcome("print 10").await.is_completed());
            }
            assert!(begun.elapsed() < Duration::from_millis(10), "the other session: {:?}", begun.elapsed());

            let begun = Instant::now();
            unread.cancel();
            assert!(matches!(unread.outcome().await, Outcome::Cancelled(_)));
            assert!(begun.elapsed() <= Duration::from_secs(1), "within the grace: {:?}", begun.elapsed());
            pool.eventually("its worker is kept", |status| status.idle == 2 && status.spawned == 2).await;
            pool.close().await;
        })
        .await;
    }
}

/// The caller reads slowly: all arrives, in order, and none is dropped.
#[tokio::test(start_paused = true)]
async fn f29_a_slow_caller_gets_everything_in_order() {
    guarded(async {
        let pool = Pool::start(first_does(|mut stage, id| async move {
            for piece in 0..2_000_u32 {
                stage.output(id, Stream::Stdout, piece.to_be_bytes().repeat(PIECE / 4)).await;
            }
            stage.completed(id, "printed").await;
            Ok(stage)
        }))
        .await;
        let mut execution = pool.runtime.execute("prints").await.unwrap();
        let mut next = 0_u32;
        while let Some(event) = execution.next().await {
            if let Event::Output { data, .. } = event {
                assert_eq!(data[..4], next.to_be_bytes());
                next += 1;
                if next.is_multiple_of(100) {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
            }
        }
        assert_eq!(next, 2_000);
        assert!(execution.outcome().await.is_completed());
        assert_eq!(pool.status().await.totals.dropped_bytes, 0);
        pool.close().await;
    })
    .await;
}

/// Row 48: the outcome alone can be awaited; what is printed does not hold the worker.
#[tokio::test(start_paused = true)]
async fn f48_who_only_wants_the_outcome_gets_it_behind_any_output() {
    guarded(async {
        let pool = Pool::start(first_does(|mut stage, id| async move {
            for _ in 0..4 * WINDOW / PIECE {
                stage.output(id, Stream::Stdout, vec![b'x'; PIECE]).await;
            }
            stage.completed(id, "printed").await;
            Ok(stage)
        }))
        .await;
        assert_eq!(
            pool.runtime.execute("prints").await.unwrap().outcome().await.value(),
            Some(&"printed".into())
        );
        pool.close().await;
    })
    .await;
}

/// A worker that prints without end and does not obey: the cancel ends within its grace all the same.
#[tokio::test(start_paused = true)]
async fn a_cancel_gets_through_a_full_window_and_what_is_dropped_is_counted() {
    guarded(async {
        let pool = Pool::start(first_does(chatty)).await;
        let mut execution = pool.runtime.execute("floods").await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let begun = Instant::now();
        execution.cancel();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let (mut taken, mut dropped) = (0, 0);
        while let Some(event) = execution.next().await {
            match event {
                Event::Output { data, .. } => taken += data.len(),
                Event::Dropped { bytes } => dropped += bytes,
                _other => {}
            }
        }
        assert!(matches!(execution.outcome().await, Outcome::Cancelled(_)));
        assert!(begun.elapsed() <= Duration::from_secs(2));
        assert!((WINDOW..=3 * WINDOW).contains(&taken), "{taken}");
        assert!(dropped > 0, "it printed for a second without a reader");
        let totals = pool.eventually("the worker is replaced", |status| status.idle == 1).await.totals;
        assert!(totals.dropped_bytes >= dropped, "{totals:?}");
        pool.works_on_worker(2).await;
        pool.close().await;
    })
    .await;
}

/// What the reader decided while nobody was waited for says nothing about the next execution. And every byte is either
/// delivered or counted, whoever it belongs to.
#[tokio::test(start_paused = true)]
async fn output_of_the_next_execution_is_not_dropped_for_what_was_dropped_before() {
    guarded(async {
        let pool = Pool::start(first_does(|mut stage, id| async move {
            stage.wait_for_cancel(id).await;
            stage.print(Stream::Stdout, vec![b'x'; 3 * WINDOW]).await;
            stage.cancelled(id).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
            stage.print(Stream::Stdout, "in the background").await;
            let next = stage.next_execute().await.expect("a second request comes").id;
            stage.started(next).await;
            stage.print(Stream::Stdout, "hello").await;
            tokio::time::sleep(Duration::from_millis(10)).await;
            stage.completed(next, "second").await;
            Ok(stage)
        }))
        .await;
        let mut unread = pool.runtime.execute("floods").await.unwrap();
        unread.cancel();
        pool.eventually("it has obeyed", |status| status.totals.cancelled == 1).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        let report = pool.runtime.run("second").await.unwrap();
        assert_eq!((report.stdout_text().as_ref(), report.dropped), ("hello", 0));

        let mut delivered = 0;
        while let Some(event) = unread.next().await {
            if let Event::Output { data, .. } = event {
                delivered += data.len();
            }
        }
        let dropped = usize::try_from(pool.status().await.totals.dropped_bytes).unwrap();
        assert_eq!(delivered + dropped, 3 * WINDOW + "in the background".len());
        pool.close().await;
    })
    .await;
}

/// A channel that closes while its last frame waits for room is noticed once there is room.
#[tokio::test(start_paused = true)]
async fn a_channel_that_closes_behind_a_full_window_is_noticed() {
    guarded(async {
        let pool = Pool::start(first_does(|mut stage, id| async move {
            for _ in 0..2 * WINDOW / PIECE {
                stage.output(id, Stream::Stdout, vec![b'x'; PIECE]).await;
            }
            stage.close_channel();
            std::future::pending::<()>().await;
            Ok(stage)
        }))
        .await;
        let execution = pool.runtime.execute("prints").await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let begun = Instant::now();
        let outcome = execution.outcome().await;
        assert!(outcome.to_string().contains("the worker closed its channel and lived on"), "{outcome}");
        assert!(begun.elapsed() <= CLOSED_LIMIT + Duration::from_millis(10), "{:?}", begun.elapsed());
        pool.close().await;
    })
    .await;
}

/// Nothing runs, and a thread of the worker prints more than anybody keeps: it is counted, wherever it is dropped.
#[tokio::test(start_paused = true)]
async fn background_output_that_nobody_takes_is_counted() {
    const PRINTED: usize = 2 * WINDOW;
    guarded(async {
        let workers = ScriptedSpawner::new(|mut stage: Stage| async move {
            stage.ready().await;
            tokio::time::sleep(Duration::from_millis(10)).await;
            stage.print(Stream::Stdout, vec![b'x'; PRINTED]).await;
            stage.next_execute().await;
            Exit::Code(0)
        });
        let pool = Pool::start(workers).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(pool.status().await.totals.dropped_bytes, PRINTED as u64);
        pool.close().await;
    })
    .await;
}

/// B21: a holder that does not look at its session's events is kept a window of them, and no more.
#[tokio::test(start_paused = true)]
async fn background_output_that_its_holder_does_not_take_is_bounded_in_bytes() {
    const PRINTED: usize = 8 * WINDOW;
    guarded(async {
        let workers = ScriptedSpawner::new(|mut stage: Stage| async move {
            stage.ready().await;
            tokio::time::sleep(Duration::from_millis(10)).await;
            for _ in 0..PRINTED / PIECE {
                stage.print(Stream::Stdout, vec![b'x'; PIECE]).await;
            }
            stage.next_execute().await;
            Exit::Code(0)
        });
        let pool = Pool::start(workers).await;
        let mut session = pool.runtime.session().await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let dropped = usize::try_from(pool.status().await.totals.dropped_bytes).unwrap();
        let mut kept = 0;
        while let Ok(Some(event)) = tokio::time::timeout(Duration::from_secs(1), session.next_event()).await {
            let SessionEvent::Background { data, .. } = event else { panic!("{event:?}") };
            kept += data.len();
        }
        assert_eq!(kept + dropped, PRINTED);
        assert!((WINDOW / 2..=WINDOW).contains(&kept), "{kept} bytes were kept");
        drop(session);
        pool.close().await;
    })
    .await;
}

/// On stdio there is one pipe for everything. While it is paused for output, a busy worker's figures wait behind it,
/// and its end does not.
#[tokio::test(start_paused = true)]
async fn on_stdio_a_full_window_hides_neither_the_end_of_the_worker_nor_its_last_output() {
    guarded(async {
        let workers = first_does(|mut stage: Stage, id| async move {
            let end = Instant::now() + Duration::from_secs(1);
            let flood = async {
                loop {
                    stage.output(id, Stream::Stdout, vec![b'x'; PIECE]).await;
                    stage.send(&FromWorker::Heartbeat(Heartbeat::new(1_u64, 0.0, 0_u64))).await;
                }
            };
            let _: Result<(), _> = tokio::time::timeout_at(end, flood).await;
            Err(Exit::Signal(9))
        });
        let pool = Pool::start_with(workers.transport(Transport::Stdio), |it| it).await;
        let execution = pool.runtime.execute("floods").await.unwrap();
        let begun = Instant::now();
        pool.eventually("its death is seen", |status| status.crashed == 1).await;
        assert!(begun.elapsed() <= Duration::from_millis(1_100), "{:?}", begun.elapsed());
        assert!(matches!(execution.outcome().await, Outcome::Lost(lost) if lost.started));
        pool.close().await;
    })
    .await;
}
