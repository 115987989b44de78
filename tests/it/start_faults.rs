//! Workers that never become ready, and what the pool says of them (fault rows 5 to 10).

use std::time::Duration;

use ostler::{
    Death, DeathCause, Exit, Lost, LostCause, Outcome, RestartPolicy, SessionState, StartError, Stream,
    SubmitError, Transport,
    protocol::{ErrorKind, Exception, ExecutionError, FromWorker, Ready},
    testing::{ScriptedSpawner, Stage},
};
use tokio::time::Instant;

use crate::{
    support::{Pool, guarded, settings},
    workers::serve,
};

/// Starts a pool that cannot start, and returns why; nothing is left of it.
async fn refused(workers: ScriptedSpawner) -> StartError {
    let error = settings(&workers).start().await.expect_err("no worker becomes ready");
    assert_eq!(workers.live(), 0, "after {error}");
    assert_eq!(workers.spawned(), 1, "a pool that does not start does not try again: {error}");
    error
}

fn death(error: StartError) -> Death {
    match error {
        StartError::Worker(death) => *death,
        other => panic!("not the death of a worker: {other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn f05_dies_before_ready_and_its_stderr_is_told() {
    guarded(async {
        let workers = ScriptedSpawner::new(|mut stage: Stage| async move {
            stage.print(Stream::Stderr, "ModuleNotFoundError: No module named 'numpy'\n").await;
            Exit::Code(3)
        });
        let death = death(refused(workers).await);
        assert_eq!((&death.cause, death.exit), (&DeathCause::Itself, Exit::Code(3)));
        assert_eq!(death.stderr, "ModuleNotFoundError: No module named 'numpy'\n");
    })
    .await;
}

/// In service: the pool gives up after the intensity, and who waits is told.
#[tokio::test(start_paused = true)]
async fn f05_workers_that_die_before_ready_fail_a_pool_that_serves() {
    guarded(async {
        let workers = ScriptedSpawner::new(|stage| async move {
            if stage.number() == 1 { serve(stage).await } else { Exit::Code(3) }
        });
        let pool = Pool::start_with(workers, |it| it.restart(RestartPolicy::default())).await;
        assert!(matches!(pool.outcome("die 11").await, Outcome::Lost(Lost { started: true, .. })));
        let waiting = pool.outcome("never runs").await;
        assert_eq!(waiting, Outcome::Lost(Lost { started: false, cause: LostCause::PoolFailed }));
        let refused = pool.runtime.run("neither").await.expect_err("the pool has failed");
        assert!(
            matches!(&refused, SubmitError::PoolFailed { why } if why.contains("exit code 3")),
            "{refused}"
        );
        let intensity = usize::try_from(RestartPolicy::default().intensity).unwrap();
        assert_eq!(pool.workers.spawned(), 1 + intensity + 1, "the first, and as many as may die, and one");
        pool.close().await;
    })
    .await;
}

/// Also B16.
#[tokio::test(start_paused = true)]
async fn f06_never_ready_is_killed_at_the_limit() {
    guarded(async {
        let begun = Instant::now();
        let mute = ScriptedSpawner::new(|stage: Stage| async move {
            let _held = stage;
            std::future::pending().await
        });
        let death = death(refused(mute).await);
        assert_eq!(death.cause, DeathCause::NotReady { after: Duration::from_secs(10) });
        assert_eq!((death.exit, begun.elapsed()), (Exit::Signal(9), Duration::from_secs(10)));
    })
    .await;
}

async fn ready_with_version(mut stage: Stage, version: u32) -> Exit {
    stage.send(&FromWorker::Ready(Ready::new(version, 1_u32, ostler::Codec::MessagePack, "script"))).await;
    std::future::pending().await
}

/// Also A10 and P15.
#[tokio::test(start_paused = true)]
async fn f07_another_protocol_version_is_refused_with_both_numbers() {
    guarded(async {
        let error = refused(ScriptedSpawner::new(|stage| ready_with_version(stage, 7))).await;
        let text = error.to_string();
        assert!(
            text.contains("speaks protocol version 7, this host speaks 1; install matching versions"),
            "{text}"
        );
        assert_eq!(death(error).cause, DeathCause::Version { expected: 1, got: 7 });
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn f07_another_protocol_version_in_service_fails_the_pool_at_once() {
    guarded(async {
        let workers = ScriptedSpawner::new(|stage| async move {
            if stage.number() == 1 { serve(stage).await } else { ready_with_version(stage, 7).await }
        });
        let pool = Pool::start(workers).await;
        pool.outcome("die 9").await;
        let status = pool.eventually("the pool fails", |status| status.failed.is_some()).await;
        assert!(status.failed.is_some_and(|why| why.contains("version 7, this host speaks 1")));
        assert_eq!(pool.workers.spawned(), 2, "no retry storm");
        pool.close().await;
    })
    .await;
}

/// A program that prints where its first frame is expected. What it prints is shown as it is, also when it comes in
/// pieces, and when its first four bytes announce a frame of 1.4 GB.
#[tokio::test(start_paused = true)]
async fn f08_text_before_ready_is_shown_verbatim() {
    let text = "Traceback (most recent call last):\n  File \"worker.py\", line 1\nSyntaxError: caf\u{e9}\n";
    for pieces in [vec![text], text.split_inclusive('\n').collect()] {
        guarded(async {
            let pieces: Vec<String> = pieces.into_iter().map(str::to_owned).collect();
            let workers = ScriptedSpawner::new(move |mut stage: Stage| {
                let pieces = pieces.clone();
                async move {
                    for piece in pieces {
                        stage.send_bytes(piece.as_bytes()).await;
                        tokio::task::yield_now().await;
                    }
                    Exit::Code(1)
                }
            });
            let death = death(refused(workers.transport(Transport::Stdio)).await);
            assert_eq!(death.cause, DeathCause::Printed(text.to_owned()));
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn f08_a_flood_of_text_before_ready_is_cut() {
    guarded(async {
        let workers = ScriptedSpawner::new(|mut stage: Stage| async move {
            loop {
                stage.send_bytes(&[b'a', 0xff]).await;
            }
        });
        let DeathCause::Printed(text) = death(refused(workers).await).cause else { panic!("it printed") };
        assert_eq!(text.chars().count(), 4 << 10);
        assert!(text.starts_with("a\u{fffd}a\u{fffd}"), "decoded lossily");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn f09_a_second_ready_ends_the_worker() {
    for busy in [false, true] {
        guarded(async {
            let workers = ScriptedSpawner::new(move |mut stage: Stage| async move {
                if stage.number() == 1 {
                    stage.ready().await;
                }
                if stage.number() == 1 && busy {
                    let execute = stage.next_execute().await.expect("a request comes");
                    stage.started(execute.id).await;
                }
                serve(stage).await
            });
            let pool = Pool::start(workers).await;
            if busy {
                let Outcome::Lost(lost) = pool.outcome("runs").await else { panic!("its worker was killed") };
                let cause = DeathCause::Protocol("it said `ready` twice".into());
                assert!(lost.started, "{lost}");
                assert!(matches!(&lost.cause, LostCause::Died(death) if death.cause == cause), "{lost}");
            }
            pool.eventually("the worker is replaced", |status| status.spawned == 2 && status.idle == 1).await;
            pool.works_on_worker(2).await;
            pool.close().await;
        })
        .await;
    }
}

/// What a worker does with its warmup, and the cause of death that follows.
#[tokio::test(start_paused = true)]
async fn f10_a_warmup_that_does_not_succeed_is_the_start_error() {
    let after = Duration::from_secs(60);
    for (warmup, cause, exit) in [
        ("die 11", DeathCause::Itself, Exit::Signal(11)),
        ("raise no such table", DeathCause::Warmup("ValueError: no such table".into()), Exit::Signal(9)),
        (
            "sleep 3600000",
            DeathCause::Warmup(format!("it took longer than `warmup_timeout`, {after:?}")),
            Exit::Signal(9),
        ),
    ] {
        guarded(async {
            let workers = ScriptedSpawner::new(serve);
            let error =
                settings(&workers).warmup(warmup).warmup_timeout(after).start().await.expect_err(warmup);
            let death = death(error);
            assert_eq!((death.cause, death.exit), (cause, exit), "{warmup}");
            assert_eq!((workers.live(), workers.spawned()), (0, 1), "{warmup}");
        })
        .await;
    }
}

/// Also D3: a request that comes during a slow warmup waits for its end, and never meets an unwarmed worker. The warmup
/// has a limit of its own, which begins when the worker is ready.
#[tokio::test(start_paused = true)]
async fn f10_a_request_waits_for_the_end_of_the_warmup() {
    guarded(async {
        let pool =
            Pool::start_with(ScriptedSpawner::new(serve), |it| it.min_idle(0).warmup("sleep 30000")).await;
        let begun = Instant::now();
        let early = pool.runtime.execute("worker").await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(pool.status().await.sessions[0].state, SessionState::Warming);
        assert_eq!(early.outcome().await.value(), Some(&1.into()));
        assert_eq!(begun.elapsed(), Duration::from_secs(30), "longer than a worker may take to be ready");
        pool.close().await;
    })
    .await;
}

/// A warmup that was asked to stop by somebody else, or that breaks the protocol, never makes an idle session.
#[tokio::test(start_paused = true)]
async fn f10_a_warmup_without_a_clear_end_is_no_start() {
    for kind in [ErrorKind::Cancelled, ErrorKind::Exit, ErrorKind::Exception] {
        guarded(async {
            let sent = kind.clone();
            let workers = ScriptedSpawner::new(move |mut stage: Stage| {
                let kind = sent.clone();
                async move {
                    stage.ready().await;
                    let warmup = stage.next_execute().await.expect("the warmup comes");
                    let mut error = ExecutionError::new(warmup.id, 0.5, kind);
                    error.exit_code = Some(2);
                    error.exception = Some(Box::new(Exception::new("SystemExit", "2")));
                    stage.send(&FromWorker::Error(error)).await;
                    std::future::pending().await
                }
            });
            let error = settings(&workers).warmup("anything").start().await.expect_err("it did not succeed");
            assert!(matches!(death(error).cause, DeathCause::Warmup(_)), "{kind:?}");
            assert_eq!(workers.live(), 0);
        })
        .await;
    }
}
