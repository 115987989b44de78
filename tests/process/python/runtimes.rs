//! Handles: who keeps the pool alive, and where it may be used (E8, E10, F11, f57, P10).

use std::time::Duration;

use ostler::{Outcome, Request, Runtime, SubmitError, WorkerSpec};

use super::{completed, one};
use crate::support::{
    processes::{alive, nothing_left, pool_tag},
    wait::{SOON, eventually, guarded},
};

/// E10, the first of three steps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_and_stop() {
    guarded(async {
        let runtime = one().start().await.unwrap();
        let tag = pool_tag(runtime.status().await.sessions[0].pid.unwrap());
        runtime.shutdown(Duration::from_secs(1)).await;
        nothing_left(&tag, Duration::ZERO).await;
        runtime.shutdown(Duration::from_secs(1)).await;
        assert_eq!(runtime.run("1").await.unwrap_err(), SubmitError::ShuttingDown);
    })
    .await;
}

/// F11.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pool_stops_when_the_last_handle_is_dropped_not_when_a_clone_is() {
    guarded(async {
        let runtime = one().start().await.unwrap();
        let pid = runtime.status().await.sessions[0].pid.unwrap();
        let tag = pool_tag(pid);
        drop(runtime.clone());
        let session = runtime.session().await.unwrap();
        drop(runtime);
        completed(&session.run("1").await.unwrap());
        assert!(alive(pid));
        drop(session);
        nothing_left(&tag, SOON).await;
    })
    .await;
}

/// E8: no tokio runtime is needed to let go.
#[test]
fn handles_may_be_dropped_outside_a_tokio_runtime() {
    let tokio = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let (runtime, execution, tag) = tokio.block_on(guarded(async {
        let runtime = one().start().await.unwrap();
        let tag = pool_tag(runtime.status().await.sessions[0].pid.unwrap());
        let execution = runtime.execute("import time; time.sleep(60)").await.unwrap();
        (runtime, execution, tag)
    }));
    drop(execution);
    drop(runtime);
    tokio.block_on(guarded(nothing_left(&tag, SOON)));
}

/// P10, f56: what runs may end within the grace; what waits is lost unstarted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f56_shutdown_lets_what_runs_end_and_refuses_the_rest() {
    guarded(async {
        let runtime = one().start().await.unwrap();
        let mut running = runtime.execute("import time; time.sleep(0.2); 'done'").await.unwrap();
        while !matches!(running.next().await, Some(ostler::Event::Started { .. })) {}
        let waiting = runtime.execute("1").await.unwrap();
        let (_, running, waiting) =
            tokio::join!(runtime.shutdown(Duration::from_secs(20)), running.outcome(), waiting.outcome());
        assert_eq!(running.to_string(), "'done'");
        let Outcome::Lost(lost) = waiting else { panic!("{waiting}") };
        assert!(!lost.started, "{lost}");
        assert_eq!(lost.cause, ostler::LostCause::ShuttingDown);
    })
    .await;
}

/// P10: a grace that is over ends what runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_ends_within_its_grace_and_a_second() {
    guarded(async {
        let runtime = one().start().await.unwrap();
        let mut running = runtime.execute("sum(range(10**12))").await.unwrap();
        while !matches!(running.next().await, Some(ostler::Event::Started { .. })) {}
        let pid = runtime.status().await.sessions[0].pid.unwrap();
        let begun = std::time::Instant::now();
        runtime.shutdown(Duration::from_millis(200)).await;
        let took = begun.elapsed();
        println!("shutdown of a worker that holds the interpreter, grace 200 ms: {took:?}");
        assert!(took < Duration::from_secs(5), "{took:?}");
        assert!(!alive(pid));
        let outcome = running.outcome().await;
        assert!(matches!(&outcome, Outcome::Lost(lost) if lost.started), "{outcome}");
    })
    .await;
}

/// A dropped `start` leaves nothing either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f57_a_start_that_is_given_up_leaves_nothing() {
    guarded(async {
        let mark = format!("mark-{}-given-up", std::process::id());
        let spec = WorkerSpec::python().env("MARK", &mark);
        let workers = || {
            let processes = std::fs::read_dir("/proc").unwrap().flatten();
            processes
                .filter(|it| {
                    std::fs::read(it.path().join("environ")).is_ok_and(|env| {
                        env.split(|byte| *byte == 0)
                            .any(|variable| variable == format!("MARK={mark}").as_bytes())
                    })
                })
                .count()
        };
        for wait in [0, 1, 5, 10, 20, 50] {
            let builder = Runtime::builder(spec.clone()).warmup("import time; time.sleep(60)");
            let given_up = tokio::time::timeout(Duration::from_millis(wait), builder.start()).await;
            assert!(given_up.is_err());
        }
        eventually("the workers are gone", SOON, || workers() == 0).await;
    })
    .await;
}

/// Fault 96: two folders whose names differ in a byte that is no UTF-8. Code is told names as text, so the one is refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f96_a_working_folder_whose_name_is_no_text_is_refused_and_never_another() {
    use std::os::unix::ffi::OsStrExt;
    let root = tempfile::tempdir().unwrap();
    let meant = root.path().join(std::ffi::OsStr::from_bytes(b"data-\xff"));
    let other = root.path().join("data-\u{fffd}");
    for folder in [&meant, &other] {
        std::fs::create_dir(folder).unwrap();
    }
    let runtime = Runtime::builder(WorkerSpec::python()).max_sessions(1).start().await.unwrap();
    let request = |folder| Request::python("open('written', 'w').close()").cwd(folder);
    let refused = runtime.run(request(&meant)).await.unwrap_err();
    assert!(matches!(&refused, SubmitError::Unfit { why } if why.contains("data-\\xFF")), "{refused}");
    assert!(!other.join("written").exists());
    // Nothing is lost by it.
    completed(&runtime.run(request(&other)).await.unwrap());
    assert!(other.join("written").exists());
    runtime.shutdown(Duration::ZERO).await;
    // The folder of the workers is passed as it is.
    let spec = WorkerSpec::python().cwd(&meant);
    let runtime = Runtime::builder(spec).max_sessions(1).start().await.unwrap();
    completed(&runtime.run("open('written', 'w').close()").await.unwrap());
    assert!(meant.join("written").exists());
    runtime.shutdown(Duration::ZERO).await;
}
