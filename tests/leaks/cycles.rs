//! Starting and ending, again and again.

use std::time::{Duration, Instant};

use ostler::{CancelStage, Outcome};
use rustix::process::Signal;

use crate::{
    counts::{Counts, SLACK, memory, pool, settled, started},
    support::{
        processes::{nothing_left, signal},
        wait::SOON,
    },
};

/// B4.
pub(crate) async fn twenty_rapid_starts_and_stops_leave_nothing() {
    let before = settled().await;
    for round in 0..20 {
        let (runtime, tag) = started(pool(2).min_idle(2).warmup("import json")).await;
        match round % 4 {
            0 => runtime.shutdown(Duration::from_secs(1)).await,
            1 => runtime.shutdown(Duration::ZERO).await,
            2 => drop(runtime),
            _ => {
                let session = runtime.session().await.unwrap();
                drop(runtime);
                drop(session.execute("while True: pass").await.unwrap());
            }
        }
        if round % 4 < 2 {
            nothing_left(&tag, Duration::ZERO).await;
        } else {
            nothing_left(&tag, SOON).await;
        }
    }
    before.are_back().await;
}

/// B5, the second of three; F7.
pub(crate) async fn a_thousand_sessions_in_a_row_leave_nothing() {
    const SESSIONS: u32 = 1000;
    let before = settled().await;
    let (runtime, tag) = started(pool(3).min_idle(2)).await;
    let (begun, mut middle) = (Instant::now(), None);
    for n in 0..SESSIONS {
        let session = runtime.session().await.unwrap();
        let report = session.run("seen = globals().get('seen', 0) + 1; seen").await.unwrap();
        assert!(report.outcome.is_completed(), "session {n}: {}", report.outcome);
        if n == SESSIONS / 2 {
            middle = Some(memory());
        }
    }
    let grown = memory().saturating_sub(middle.unwrap());
    println!(
        "   {SESSIONS} sessions: {:?} each; memory of the last half: {grown} bytes",
        begun.elapsed() / SESSIONS
    );
    assert!(grown < SLACK, "{grown} bytes");
    assert_eq!(runtime.status().await.crashed, 0);
    runtime.shutdown(Duration::from_secs(1)).await;
    nothing_left(&tag, Duration::ZERO).await;
    before.are_back().await;
}

pub(crate) async fn kills_and_cancels_leave_nothing() {
    let before = settled().await;
    let (runtime, tag) = started(pool(2).grace(Duration::from_millis(100))).await;
    for _ in 0..10 {
        let session = runtime.session().await.unwrap();
        signal(session.pid().unwrap(), Signal::KILL);
        drop(session);

        let session = runtime.session().await.unwrap();
        let execution = session.execute("import time\nwhile True: time.sleep(1)").await.unwrap();
        execution.cancel();
        assert!(matches!(execution.outcome().await, Outcome::Cancelled(_)));
        drop(session);

        // Another one: on a busy machine the grace may have ended the first.
        let session = runtime.session().await.unwrap();
        let mut execution =
            session.execute("import os\nos.write(1, b'x')\nsum(range(10**12))").await.unwrap();
        while !matches!(execution.next().await, Some(ostler::Event::Output { .. }) | None) {}
        execution.cancel();
        let outcome = execution.outcome().await;
        assert!(matches!(&outcome, Outcome::Cancelled(it) if it.stage != CancelStage::Queued), "{outcome}");
    }
    runtime.shutdown(Duration::from_secs(1)).await;
    nothing_left(&tag, Duration::ZERO).await;
    before.are_back().await;
}

/// B14.
pub(crate) async fn warmup_adds_no_thread_and_no_memory() {
    let figures = async |warmup: Option<&str>| {
        let mut builder = pool(1);
        if let Some(code) = warmup {
            builder = builder.warmup(code);
        }
        let (runtime, _) = started(builder).await;
        let code = "import os, threading\nlen(os.listdir('/proc/self/task')), threading.active_count()";
        let report = runtime.run(code).await.unwrap();
        let host = Counts::now();
        runtime.shutdown(Duration::from_secs(1)).await;
        (host, report.outcome.to_string())
    };
    settled().await;
    let without = figures(None).await;
    let resident = memory();
    for _ in 0..10 {
        assert_eq!(figures(Some("import math\nx = [0] * 1000")).await, without);
    }
    let grown = memory().saturating_sub(resident);
    assert!(grown < SLACK, "{grown} bytes");
}
