//! One execution and several readers: each begins where it likes and hears every event once, and none of them holds up the
//! worker, or another one.

use std::{sync::Arc, time::Duration};

use ostler::{Event, EventLog, LogReader, Logged, Outcome, Request, Stream, config::WINDOW};

use crate::{
    support::{Pool, guarded},
    workers::{first_does, polite},
};

/// What a reader was told of the output, and the numbers of all that it was told.
async fn read(mut reader: LogReader) -> (String, Vec<u64>) {
    let (mut text, mut numbers) = (String::new(), Vec::new());
    while let Some(entry) = reader.next().await {
        numbers.push(entry.seq());
        if let Logged::Event { event, .. } = &entry
            && let Event::Output { data, .. } = &**event
        {
            text.push_str(std::str::from_utf8(data).unwrap());
        }
    }
    (text, numbers)
}

/// A pool whose worker prints so many numbered lines.
async fn printing(lines: u32) -> Pool {
    Pool::start(first_does(move |mut stage, id| async move {
        for line in 0..lines {
            stage.output(id, Stream::Stdout, format!("{line:07}\n").into_bytes()).await;
        }
        stage.completed(id, "printed").await;
        Ok(stage)
    }))
    .await
}

#[tokio::test(start_paused = true)]
async fn readers_begin_where_they_like_and_come_back() {
    guarded(async {
        let pool = printing(1_000).await;
        let log = pool.runtime.execute("prints").await.unwrap().into_log(16 << 20);
        let idle = log.read(0);
        let mut dropped = log.read(0);
        for _ in 0..400 {
            dropped.next().await.unwrap();
        }
        let (all, resumed) = tokio::join!(read(log.read(0)), read(log.read(dropped.position())));
        let expected: String = (0..1_000).map(|line| format!("{line:07}\n")).collect();
        // `started` is 1, the outcome is 1,002.
        assert_eq!(all, (expected.clone(), (1..=1_002).collect()));
        assert_eq!(resumed, (expected[399 * 8..].to_owned(), (401..=1_002).collect()));
        assert!(log.ended().await.0.is_completed());
        // One that begins behind the end, and one that waited all the time.
        assert_eq!(read(log.read(1_001)).await.1, [1_002]);
        assert_eq!(read(log.read(1_002)).await.1, [0; 0]);
        assert_eq!(read(idle).await.0, expected);
        assert_eq!(log.snapshot(1_000).len(), 2);
        pool.close().await;
    })
    .await;
}

/// More than a window and more than the log, and nobody reads: the worker goes on to its end all the same.
#[tokio::test(start_paused = true)]
async fn a_reader_that_does_not_read_stops_nobody_and_is_told_what_it_missed() {
    guarded(async {
        const LINES: u32 = 300_000;
        assert!(LINES as usize * 8 > 2 * WINDOW);
        let pool = printing(LINES).await;
        let log = pool.runtime.execute("floods").await.unwrap().into_log(1 << 20);
        let late = log.read(0);
        assert!(log.ended().await.0.is_completed(), "nobody has read");
        assert!(log.held() < (1 << 20) + 4_096, "{}", log.held());
        let told = log.snapshot(0);
        let missed: Vec<_> = told.iter().filter(|entry| matches!(entry, Logged::Missed { .. })).collect();
        let [Logged::Missed { first, last, bytes }] = missed[..] else { panic!("{missed:?}") };
        let (text, numbers) = read(late).await;
        assert_eq!(text.len() as u64 + bytes, u64::from(LINES) * 8, "what is dropped is counted");
        assert_eq!(numbers.len() as u64 + (last - first), u64::from(LINES) + 2, "one entry stands for them");
        assert!(text.starts_with("0000000\n0000001\n") && text.ends_with("0299999\n"), "both ends are there");
        pool.close().await;
    })
    .await;
}

/// Until nobody can read it any more; and a detached one goes on even then.
#[tokio::test(start_paused = true)]
async fn an_execution_runs_as_long_as_somebody_has_its_log() {
    guarded(async {
        let pool = Pool::start(polite()).await;
        let log = pool.runtime.execute("sleep 3600000").await.unwrap().into_log(1 << 20);
        let mut reader = log.read(0);
        drop(log);
        assert!(matches!(reader.next().await, Some(Logged::Event { seq: 1, .. })), "a reader is enough");
        drop(reader);
        pool.eventually("it is cancelled", |status| status.totals.cancelled == 1).await;
        let detached = Request::python("print 10").detached();
        drop(pool.runtime.execute(detached).await.unwrap().into_log(1 << 20));
        pool.eventually("it completes", |status| status.totals.completed == 1).await;
        let log: EventLog = pool.runtime.execute("sleep 3600000").await.unwrap().into_log(1 << 20);
        log.canceller().cancel();
        let (outcome, _) = log.ended().await;
        assert!(matches!(*outcome, Outcome::Cancelled(_)), "{outcome:?}");
        let (again, duration) = log.outcome().unwrap();
        assert!(Arc::ptr_eq(&outcome, &again) && duration <= Duration::from_secs(1));
        pool.close().await;
    })
    .await;
}
