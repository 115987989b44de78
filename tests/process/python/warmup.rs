//! Warmup: what a worker runs before it is offered (B12 to B15, D3).

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use ostler::{SessionState, StartError};
use tracing::{
    Event, Metadata, Subscriber,
    field::Field,
    span::{Attributes, Id, Record},
};

use super::{completed, one, shows};
use crate::support::{
    processes::{nothing_left, pool_tag},
    wait::{SOON, guarded, guarded_for, pool_is},
};

/// B12, D2: started, warmed, and ready; idle after the first use.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_warmed_pool_starts_at_once_and_its_names_and_modules_are_there() {
    guarded(async {
        let begun = Instant::now();
        let runtime = one().warmup("import json\nready = 'warm'").start().await.unwrap();
        let took = begun.elapsed();
        println!("start with warmup: {took:?}");
        assert!(took < SOON, "{took:?}");
        assert_eq!(runtime.status().await.sessions[0].state, SessionState::Ready);
        let session = runtime.session().await.unwrap();
        assert_eq!(shows(&session, "ready, json.dumps([1])").await, "('warm', '[1]')");
        assert_eq!(runtime.status().await.sessions[0].state, SessionState::Idle);
    })
    .await;
}

/// D3: a request that comes during a slow warmup waits for its end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_gets_in_while_a_worker_warms_up() {
    guarded(async {
        let slow = "import sys, time\ntime.sleep(0.3)\nsys.warmed = True";
        let runtime = one().min_idle(0).warmup(slow).start().await.unwrap();
        let execution = runtime.execute("import sys; sys.warmed").await.unwrap();
        pool_is(&runtime, "the worker warms up", |pool| {
            pool.sessions.iter().any(|session| session.state == SessionState::Warming)
        })
        .await;
        assert_eq!(execution.outcome().await.to_string(), "True");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f10_a_warmup_that_fails_is_the_error_of_the_start() {
    guarded(async {
        for (warmup, expected) in [
            ("1 / 0", "ZeroDivisionError: division by zero"),
            ("raise SystemExit(3)", "the code asked to exit with code 3"),
            ("import os; os._exit(7)", "exit code 7"),
            ("input()", "EOFError"),
        ] {
            let error = one().warmup(warmup).start().await.unwrap_err();
            assert!(matches!(error, StartError::Worker(_)), "{error:?}");
            assert!(error.to_string().contains(expected), "{warmup}: {error}");
        }
        let builder = one().warmup("while True: pass").warmup_timeout(Duration::from_millis(200));
        let error = builder.start().await.unwrap_err();
        assert!(error.to_string().contains("it took longer than `warmup_timeout`, 200ms"), "{error}");
    })
    .await;
}

/// B4: start, warm, stop, twenty times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_rapid_starts_and_stops_leave_nothing() {
    guarded(async {
        let (mut slowest, mut tags) = (Duration::ZERO, Vec::new());
        for round in 0..20 {
            let begun = Instant::now();
            let runtime = one().warmup("x = 1").start().await.unwrap();
            slowest = slowest.max(begun.elapsed());
            tags.push(pool_tag(runtime.status().await.sessions[0].pid.unwrap()));
            if round % 2 == 0 {
                runtime.shutdown(Duration::from_secs(1)).await;
            }
        }
        println!("slowest of 20 starts with warmup: {slowest:?}");
        for tag in tags {
            nothing_left(&tag, SOON).await;
        }
    })
    .await;
}

/// B15, first half.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_warmed_sessions_one_after_another_never_deadlock() {
    guarded_for(Duration::from_secs(180), async {
        let runtime = one().max_sessions(3).min_idle(2).warmup("seen = 0").start().await.unwrap();
        for _ in 0..100 {
            let session = runtime.session().await.unwrap();
            assert_eq!(shows(&session, "seen += 1\nseen").await, "1");
        }
    })
    .await;
}

/// B15, second half: all ask at once, over a small pool.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_warmed_sessions_at_once_never_deadlock() {
    guarded_for(Duration::from_secs(180), async {
        let builder = one().max_sessions(3).min_idle(2).warmup("seen = 0");
        let runtime = builder.lease_timeout(Duration::from_secs(120)).start().await.unwrap();
        let mut callers = Vec::new();
        for _ in 0..100 {
            let runtime = runtime.clone();
            callers.push(tokio::spawn(async move {
                let session = runtime.session().await.unwrap();
                let report = session.run("seen += 1\nassert seen == 1").await.unwrap();
                completed(&report);
            }));
        }
        for caller in callers {
            caller.await.unwrap();
        }
        assert!(runtime.status().await.crashed == 0);
    })
    .await;
}

/// When the sessions of this thread began to warm up, and when they were ready.
#[derive(Clone, Default)]
struct Warmups(Arc<Mutex<(Option<Instant>, Vec<Duration>)>>);

impl Subscriber for Warmups {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event() && metadata.target().starts_with("ostler")
    }

    fn event(&self, event: &Event<'_>) {
        event.record(&mut |field: &Field, value: &dyn fmt::Debug| {
            let (now, mut times) = (Instant::now(), self.0.lock().unwrap());
            match (field.name(), &*format!("{value:?}")) {
                ("message", "session creating -> warming") => times.0 = Some(now),
                ("message", "session warming -> ready") => {
                    let begun = times.0.take().unwrap();
                    times.1.push(now - begun);
                }
                _ => {}
            }
        });
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

/// B13: measured from the transitions; the figure is printed, and the limit is one for any machine.
#[tokio::test(flavor = "current_thread")]
async fn warmup_of_simple_code_takes_next_to_nothing() {
    const STARTS: usize = 50;
    let warmups = Warmups::default();
    let _heard = tracing::subscriber::set_default(warmups.clone());
    guarded(async {
        for _ in 0..STARTS {
            let runtime = one().warmup("import math\nx = math.pi").start().await.unwrap();
            runtime.shutdown(Duration::ZERO).await;
        }
    })
    .await;
    let mut times = warmups.0.lock().unwrap().1.clone();
    times.sort();
    let most = *times.last().unwrap();
    println!("{STARTS} warmups: median {:?}, most {most:?}", times[STARTS / 2]);
    assert_eq!(times.len(), STARTS);
    // A guard, for a machine that does much else; the figure is the one that is printed.
    assert!(most < Duration::from_secs(10), "{most:?}");
}
