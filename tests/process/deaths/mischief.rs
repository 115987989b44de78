//! f73: code that makes its own surroundings unusable.

use std::time::Duration;

use ostler::{CancelStage, Event, Outcome, Runtime, RuntimeBuilder, Transport, WorkerSpec};

use crate::support::wait::guarded;

fn one(transport: Transport) -> RuntimeBuilder {
    let spec = WorkerSpec::python().transport(transport);
    Runtime::builder(spec).max_sessions(1).grace(Duration::from_secs(30))
}

const MISCHIEF: [&str; 25] = [
    "import os; os.close(0)",
    "import os; os.close(1)",
    "import os; os.close(2)",
    "import os; os.closerange(0, 3)",
    "import os; os.dup2(os.open('/dev/null', os.O_WRONLY), 1)",
    "import os; os.dup2(os.open('/dev/full', os.O_WRONLY), 1); print('x' * 100_000)",
    "import sys; sys.stdout = None",
    "import sys; sys.stdout.close()",
    "import sys; sys.stdout.detach()",
    "import sys; sys.stdout = sys.stderr = sys.stdin = 'no stream'",
    "import sys; del sys.stdout, sys.stderr",
    "import builtins; builtins.print = None; builtins.input = None",
    "import builtins; del builtins.len, builtins.type, builtins.str, builtins.Exception",
    "import os; os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')",
    "import os; os.chdir('/')",
    "import os\ntry: os.setsid()\nexcept PermissionError: pass",
    "import os; os.environ.clear()",
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); signal.signal(signal.SIGURG, signal.SIG_IGN)",
    "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())",
    "import sys; sys.modules.clear()",
    "import sys; del sys.modules['__main__']; sys.path.clear(); sys.meta_path.clear()",
    "import sys; sys.setrecursionlimit(60)",
    "import sys; sys.settrace(lambda *a: 1 / 0); sys.setprofile(lambda *a: 1 / 0)",
    "import gc, threading; gc.disable(); gc.set_debug(gc.DEBUG_STATS)",
    "import os, time\ntime.time = time.monotonic = lambda: 1 / 0\nos.read = os.write = os.getpid = None",
];

/// Whatever one execution did to its session, the next one works, or the worker is replaced and says why.
async fn survives(transport: Transport) {
    let runtime = one(transport).start().await.unwrap();
    let (mut repaired, mut replaced) = (0, Vec::new());
    for code in MISCHIEF {
        let session = runtime.session().await.unwrap();
        let report = session.run(code).await.unwrap();
        if let Outcome::Lost(lost) = &report.outcome {
            replaced.push(format!("{code}: {lost}"));
            continue;
        }
        let report = match session.run("print('works')\n6 * 7").await {
            Ok(report) => report,
            Err(error) => {
                replaced.push(format!("{code}: {error}"));
                continue;
            }
        };
        match &report.outcome {
            Outcome::Completed(_) => {
                assert_eq!(
                    (&*report.stdout_text(), &*report.outcome.to_string()),
                    ("works\n", "42"),
                    "after {code}"
                );
                repaired += 1;
            }
            Outcome::Lost(lost) => replaced.push(format!("{code}: {lost}")),
            other => panic!("after {code}: {other}"),
        }
    }
    println!("{transport:?}: {repaired} sessions went on; replaced: {replaced:#?}");
    assert!(repaired >= MISCHIEF.len() - 3, "{replaced:#?}");
    let report = runtime.run("print('works')").await.unwrap();
    assert_eq!(report.stdout_text(), "works\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f73_a_session_survives_what_code_does_to_it() {
    guarded(survives(Transport::Socket)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f73_a_session_survives_on_the_stdio_transport() {
    guarded(survives(Transport::Stdio)).await;
}

/// Signals that code has ignored or blocked still cancel the next execution.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f73_ignored_signals_do_not_stop_a_later_cancel() {
    guarded(async {
        let runtime = one(Transport::Socket).start().await.unwrap();
        let session = runtime.session().await.unwrap();
        for code in MISCHIEF.iter().filter(|code| code.contains("import signal")) {
            session.run(*code).await.unwrap();
            let mut execution = session.execute("print('ready')\nwhile True: pass").await.unwrap();
            while !matches!(execution.next().await, Some(Event::Output { .. })) {}
            execution.cancel();
            let outcome = execution.outcome().await;
            assert!(
                matches!(&outcome, Outcome::Cancelled(it) if it.stage != CancelStage::Kill),
                "after {code}: {outcome}"
            );
        }
    })
    .await;
}
