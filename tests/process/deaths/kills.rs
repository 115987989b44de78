//! Workers that are killed, or kill themselves.

use std::time::{Duration, Instant};

use ostler::{
    DeathCause, Event, Exit, Outcome, Phase, Request, Runtime, RuntimeBuilder, Stream, TimedOut, WorkerSpec,
};
use rustix::process::Signal;

use super::{Folder, death, line, pid};
use crate::{
    python::completed,
    support::{
        processes::{alive, nothing_left, pool_tag, signal},
        wait::{SOON, guarded, pool_is},
    },
};

fn one() -> RuntimeBuilder {
    Runtime::builder(WorkerSpec::python()).max_sessions(1)
}

/// One death, one new worker, and the next request does not notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f11_a_worker_killed_while_idle_is_replaced_before_the_next_request() {
    guarded(async {
        let runtime = one().start().await.unwrap();
        for round in 1..=5 {
            signal(pid(&runtime).await, Signal::KILL);
            // At once: the request may be given to the corpse, and is then given to the next worker.
            completed(&runtime.run("1").await.unwrap());
            let pool = pool_is(&runtime, "it is counted", |pool| pool.crashed == round).await;
            assert_eq!(pool.spawned, round + 1, "one new worker for each death");
        }
        assert_eq!(runtime.status().await.totals.lost, 0);
    })
    .await;
}

/// P5: its code had not started, so another worker gets it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f12_a_request_whose_worker_died_before_it_started_goes_to_another() {
    guarded(async {
        let runtime = one().start().await.unwrap();
        let worker = pid(&runtime).await;
        signal(worker, Signal::STOP);
        let mut execution = runtime.execute("import os\nprint('ran')\nos.getpid()").await.unwrap();
        while runtime.list().await.first().is_none_or(|it| it.phase == Phase::Queued) {
            tokio::task::yield_now().await;
        }
        signal(worker, Signal::KILL);
        assert_eq!(line(&mut execution).await, "ran");
        let outcome = execution.outcome().await;
        assert_ne!(outcome.to_string(), worker.to_string());
        assert!(outcome.is_completed(), "{outcome}");
        assert_eq!(runtime.status().await.totals.requeued, 1);
    })
    .await;
}

/// P7: what was printed comes first, in order, and then how it died, within 100 ms.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f13_a_worker_killed_while_it_runs_is_told_at_once_with_what_it_printed() {
    guarded(async {
        let runtime = one().start().await.unwrap();
        let mut notices = Vec::new();
        for _ in 0..10 {
            let code = "import sys\nfor i in range(20_000): print(i)\nprint('ready', file=sys.stderr)\nwhile True: pass";
            let mut execution = runtime.execute(code).await.unwrap();
            let (mut printed, mut worker) = (Vec::new(), None);
            while let Some(event) = execution.next().await {
                match event {
                    Event::Started { pid, .. } => worker = pid,
                    Event::Output { stream: Stream::Stdout, data } => printed.extend_from_slice(&data),
                    Event::Output { stream: Stream::Stderr, .. } => break,
                    other => panic!("{other:?}"),
                }
            }
            let killed = Instant::now();
            signal(worker.unwrap(), Signal::KILL);
            while let Some(event) = execution.next().await {
                let Event::Output { data, .. } = event else { panic!("{event:?}") };
                printed.extend_from_slice(&data);
            }
            let (death, started) = death(execution.outcome().await);
            notices.push(killed.elapsed());
            assert_eq!((death.cause, death.exit, started), (DeathCause::Itself, Exit::Signal(9), true));
            let expected: String = (0..20_000).map(|i| format!("{i}\n")).collect();
            assert!(printed == expected.as_bytes(), "{} bytes of {}", printed.len(), expected.len());
        }
        notices.sort();
        println!("death notice, 10 times: {:?} to {:?}", notices[0], notices[9]);
        assert!(notices[0] < Duration::from_millis(100), "{notices:?}");
        assert!(notices[4] < Duration::from_secs(1), "{notices:?}");
    })
    .await;
}

/// The signal has a name, the interpreter's last words are told, and no core file is written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f16_a_crash_is_told_by_its_signal_and_writes_no_core_file() {
    const CRASHES: [(&str, Exit, &str); 7] = [
        ("import ctypes; ctypes.string_at(0)", Exit::Signal(11), "Fatal Python error: Segmentation fault"),
        ("import os; os.abort()", Exit::Signal(6), "Fatal Python error: Aborted"),
        (
            "import os, signal; os.kill(os.getpid(), signal.SIGBUS)",
            Exit::Signal(7),
            "Fatal Python error: Bus error",
        ),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", Exit::Signal(9), ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", Exit::Signal(15), ""),
        ("import os; os._exit(3)", Exit::Code(3), ""),
        ("import os; os.write(2, b'last words'); os._exit(0)", Exit::Code(0), "last words"),
    ];
    guarded(async {
        let folder = Folder::new();
        let spec = WorkerSpec::python().cwd(folder.path());
        let runtime = Runtime::builder(spec).max_sessions(1).start().await.unwrap();
        for (code, exit, words) in CRASHES {
            let (death, started) = death(runtime.run(code).await.unwrap().outcome);
            assert_eq!((&death.cause, death.exit, started), (&DeathCause::Itself, exit, true), "{code}");
            assert!(death.stderr.contains(words), "{code}: {death:?}");
            assert!(death.to_string().contains(&exit.to_string()), "{death}");
        }
        let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().flatten().collect();
        assert!(files.is_empty(), "{files:?}");
        let limit = runtime.run("import resource; resource.getrlimit(resource.RLIMIT_CORE)").await.unwrap();
        assert_eq!(limit.outcome.to_string(), "(0, 0)");
    })
    .await;
}

/// A stopped process answers no interrupt: the deadline is told all the same, and the worker is replaced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f20_a_stopped_worker_times_out_and_is_replaced() {
    guarded(async {
        let runtime = one().grace(Duration::from_millis(200)).start().await.unwrap();
        let after = Duration::from_secs(2);
        let request = Request::python("print('ready')\nwhile True: pass").deadline(after);
        let mut execution = runtime.execute(request).await.unwrap();
        let worker = pid(&runtime).await;
        line(&mut execution).await;
        signal(worker, Signal::STOP);
        assert_eq!(
            execution.outcome().await.without_activity(),
            Outcome::TimedOut(TimedOut::new(after, Phase::Running))
        );
        completed(&runtime.run("1").await.unwrap());
        assert!(!alive(worker));
    })
    .await;
}

/// One crash never touches another session, nor another pool in the same process (P8, f74).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f74_two_pools_in_one_process_know_nothing_of_each_other() {
    guarded(async {
        let (first, second) = (one().start().await.unwrap(), one().start().await.unwrap());
        let tag = pool_tag(pid(&first).await);
        assert_ne!(tag, pool_tag(pid(&second).await));
        let session = second.session().await.unwrap();
        session.run("kept = 1").await.unwrap();
        for _ in 0..5 {
            death(first.run("import os; os._exit(1)").await.unwrap().outcome);
        }
        first.shutdown(Duration::ZERO).await;
        nothing_left(&tag, SOON).await;
        completed(&session.run("kept").await.unwrap());
        assert_eq!(second.status().await.crashed, 0);
    })
    .await;
}
