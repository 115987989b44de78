//! The descendants of workers: they hold pipes, leave groups, and outlive nobody (P9).

use std::time::{Duration, Instant};

use ostler::{CancelStage, Event, Exit, Runtime, RuntimeBuilder, Session, WorkerSpec};
use rustix::process::Signal;

use super::{death, line, pid};
use crate::{
    python::completed,
    support::{
        processes::{alive, nothing_left, pool_tag, signal, tagged},
        wait::{SOON, eventually, guarded},
    },
};

/// Two processes that leave the group and the session, and hold the pipes; then the number of the second is printed.
const DAEMON: &str = "
import os
def daemon():
    end, other = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.write(other, b'%d' % os.getpid())
            import time
            time.sleep(600)
        os._exit(0)
    os.wait()
    return os.read(end, 20).decode()
print(daemon())
";

fn one() -> RuntimeBuilder {
    Runtime::builder(WorkerSpec::python()).max_sessions(1)
}

/// Runs code that prints a process id, and returns that.
async fn child(session: &Session, code: &str) -> u32 {
    let report = session.run(code).await.unwrap();
    completed(&report);
    report.stdout_text().trim().parse().unwrap()
}

/// P7: seen by its exit, not by the end of its output, which a child holds open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f37_a_grandchild_that_holds_the_pipes_delays_nothing() {
    guarded(async {
        let runtime = one().start().await.unwrap();
        for group in ["False", "True"] {
            let code = format!(
                "import os, subprocess\nchild = subprocess.Popen(['sleep', '600'], start_new_session={group})\n\
                 print(child.pid)\ninput()\nos._exit(3)"
            );
            let mut execution = runtime.execute(code).await.unwrap();
            let child: u32 = line(&mut execution).await.parse().unwrap();
            while let Some(event) = execution.next().await {
                if let Event::Input(input) = event {
                    assert!(alive(child));
                    execution.input(input.request, "die");
                    break;
                }
            }
            let begun = Instant::now();
            let (death, _) = death(execution.outcome().await);
            let told = begun.elapsed();
            let gone = eventually("the child is dead", SOON, || !alive(child)).await;
            println!("own session: {group}; death told after {told:?}, the child gone {gone:?} later");
            assert_eq!(death.exit, Exit::Code(3));
        }
    })
    .await;
}

/// f38: what left the group is found by its tag, within 1 s.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f38_a_daemon_is_swept_when_its_worker_ends() {
    guarded(async {
        let runtime = one().start().await.unwrap();
        let mut figures = Vec::new();
        for end in ["killed", "released"] {
            let session = runtime.session().await.unwrap();
            let daemon = child(&session, DAEMON).await;
            assert!(alive(daemon));
            if end == "killed" {
                signal(session.pid().unwrap(), Signal::KILL);
            }
            drop(session);
            figures.push((end, eventually("the daemon is gone", SOON, || !alive(daemon)).await));
        }
        println!("a daemon was gone after: {figures:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f38_shutdown_returns_when_the_last_descendant_is_gone() {
    guarded(async {
        let runtime = one().start().await.unwrap();
        let tag = pool_tag(pid(&runtime).await);
        let session = runtime.session().await.unwrap();
        child(&session, DAEMON).await;
        child(&session, "import subprocess\nprint(subprocess.Popen(['sleep', '600']).pid)").await;
        assert_eq!(tagged(&tag).len(), 3, "a worker, its child and a daemon");
        runtime.shutdown(Duration::from_secs(1)).await;
        nothing_left(&tag, Duration::ZERO).await;
    })
    .await;
}

/// A cancel that ends in a kill takes the children along.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_worker_takes_its_group_along() {
    guarded(async {
        let runtime = one().grace(Duration::from_millis(100)).start().await.unwrap();
        let code = "import subprocess, signal\nignore = lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)\n\
                    child = subprocess.Popen(['sleep', '600'], preexec_fn=ignore)\nprint(child.pid)\nsum(range(10**12))";
        let mut execution = runtime.execute(code).await.unwrap();
        let child: u32 = line(&mut execution).await.parse().unwrap();
        // Long enough for the sum to have begun; a worker that obeys instead is kept, and its child with it.
        tokio::time::sleep(Duration::from_millis(50)).await;
        execution.cancel();
        let outcome = execution.outcome().await;
        assert!(matches!(&outcome, ostler::Outcome::Cancelled(it) if it.stage == CancelStage::Kill), "{outcome}");
        eventually("the child is dead", SOON, || !alive(child)).await;
    })
    .await;
}

/// P10: neither signals that are ignored nor an exit that hangs keep a shutdown waiting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f36_a_worker_that_ignores_every_signal_ends_with_the_shutdown() {
    const STUBBORN: &str = "import atexit, signal, time\nfor name in ('SIGTERM', 'SIGINT', 'SIGHUP', 'SIGURG', 'SIGUSR1'):\n    \
                            signal.signal(getattr(signal, name), signal.SIG_IGN)\natexit.register(time.sleep, 600)\n";
    guarded(async {
        for rest in ["", "print('ready')\nwhile True: pass"] {
            let runtime = one().grace(Duration::from_millis(200)).start().await.unwrap();
            let tag = pool_tag(pid(&runtime).await);
            let mut execution = runtime.execute(format!("{STUBBORN}{rest}")).await.unwrap();
            line(&mut execution).await;
            let begun = Instant::now();
            runtime.shutdown(Duration::from_millis(200)).await;
            let took = begun.elapsed();
            println!("shutdown with a grace of 200 ms, busy: {}: {took:?}", !rest.is_empty());
            assert!(took < SOON, "{took:?}");
            nothing_left(&tag, Duration::ZERO).await;
        }
    })
    .await;
}
