//! Workers that were forked, their zygotes, and what becomes of each when the other dies.

use std::{fs, time::Duration};

use ostler::{DeathCause, Exit, LostCause, Runtime, RuntimeBuilder, SpawnError, StartError, WorkerSpec};
use rustix::process::Signal;

use super::{death, line, lost, pid, subhost::Host};
use crate::{
    python::{completed, shows},
    support::{
        processes::{alive, nothing_left, pool_tag, signal, tagged},
        wait::{SOON, eventually, guarded, guarded_for, pool_is},
    },
};

fn forking() -> RuntimeBuilder {
    Runtime::builder(WorkerSpec::python().preload(["json"])).max_sessions(2)
}

fn parent(pid: u32) -> u32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(") ").unwrap().1.split(' ').nth(1).unwrap().parse().unwrap()
}

/// The zygote of a worker, which must have one.
fn zygote_of(worker: u32) -> u32 {
    let zygote = parent(worker);
    assert_ne!(zygote, std::process::id(), "{worker} was not forked");
    zygote
}

/// F4: dead, told, and replaced: exact, and by another forked one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f13_a_forked_worker_that_dies_is_told_exactly_and_replaced() {
    guarded(async {
        let runtime = forking().max_sessions(1).start().await.unwrap();
        let zygote = zygote_of(pid(&runtime).await);
        for (code, exit) in [
            ("import os; os._exit(3)", Exit::Code(3)),
            ("import ctypes; ctypes.string_at(0)", Exit::Signal(11)),
            ("import os; os.kill(os.getpid(), 9)", Exit::Signal(9)),
        ] {
            let (death, started) = death(runtime.run(code).await.unwrap().outcome);
            assert_eq!((death.cause, death.exit, started), (DeathCause::Itself, exit, true), "{code}");
            if exit == Exit::Signal(11) {
                assert!(death.stderr.contains("Segmentation fault"), "{}", death.stderr);
            }
        }
        let mut execution = runtime.execute("print('ready')\nwhile True: pass").await.unwrap();
        line(&mut execution).await;
        let worker = pid(&runtime).await;
        assert_eq!(zygote_of(worker), zygote);
        assert!(signal(worker, Signal::KILL));
        let (death, _) = death(execution.outcome().await);
        assert_eq!((death.cause, death.exit), (DeathCause::Itself, Exit::Signal(9)));
        completed(&runtime.run("1").await.unwrap());
        eventually("no zombie is left", SOON, || fs::metadata(format!("/proc/{worker}")).is_err()).await;
    })
    .await;
}

/// Sessions go on where they were; new workers come, and soon from a new zygote.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_zygote_disturbs_no_session() {
    guarded(async {
        let runtime = forking().min_idle(0).start().await.unwrap();
        let session = runtime.session().await.unwrap();
        completed(&session.run("x = 41").await.unwrap());
        let zygote = zygote_of(session.pid().unwrap());
        let mut busy = session.execute("import time\nprint('ready')\ntime.sleep(0.2)\nx + 1").await.unwrap();
        line(&mut busy).await;
        assert!(signal(zygote, Signal::KILL));
        let other = runtime.session().await.unwrap();
        assert_eq!(shows(&other, "6 * 7").await, "42");
        assert_eq!(busy.outcome().await.to_string(), "42");
        drop(other);
        let forked_anew = async {
            loop {
                let session = runtime.session().await.unwrap();
                let parent = parent(session.pid().unwrap());
                if parent != std::process::id() {
                    return parent;
                }
            }
        };
        assert_ne!(forked_anew.await, zygote);
        // Nobody knows how an orphan ended, if somebody else collected it; that it did is certain.
        let lost = lost(session.run("import os; os._exit(3)").await.unwrap().outcome);
        let LostCause::Died(death) = lost.cause else { panic!("{lost:?}") };
        assert!(matches!(death.exit, Exit::Unknown | Exit::Code(3)), "{death}");
        runtime.shutdown(Duration::from_secs(1)).await;
    })
    .await;
}

/// f72, P9: whatever a forked worker and its children do, nothing outlives a killed host; nor does the zygote.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f72_forked_workers_and_their_children_do_not_outlive_a_killed_host() {
    const FAMILY: &str = "import os, subprocess, time\n\
        child = lambda **how: subprocess.Popen(['sleep', '1000'], **how).pid\n\
        def forked():\n    pid = os.fork()\n    if not pid:\n        os.setsid()\n        time.sleep(1000)\n    return pid\n\
        print(child(), child(env={}), child(start_new_session=True), forked())\n";
    for (what, role, rest) in [
        ("an idle worker", "forked idles", ""),
        ("a busy loop", "forked runs", "while True: pass"),
        ("code in C", "forked runs", "sum(range(10**12))"),
        ("a dead zygote", "forked runs", "os.kill(os.getppid(), 9)\nsum(range(10**12))"),
        ("a stopped zygote", "forked runs", "os.kill(os.getppid(), 19)\nsum(range(10**12))"),
    ] {
        guarded(async {
            let mut host = Host::start(role, &format!("{FAMILY}{rest}"), "");
            let worker = host.says("worker").parse::<u32>().unwrap();
            let mut family = vec![worker];
            family.extend(host.says("line").split(' ').map(|pid| pid.parse::<u32>().unwrap()));
            assert!(family.len() == 5 && family.iter().all(|pid| alive(*pid)), "{family:?}");
            let tag = pool_tag(worker);
            host.kill();
            let gone = eventually("all are gone", SOON, || !family.iter().any(|pid| alive(*pid))).await;
            eventually("the zygote is gone", SOON, || tagged(&tag).is_empty()).await;
            host.output_ends();
            println!("host killed, {what}: all that was forked gone after {gone:?}");
        })
        .await;
    }
}

/// F7: many leases, each with a worker of its own, and nothing is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f7_a_hundred_leases_of_forked_workers_leave_nothing() {
    guarded_for(Duration::from_secs(300), async {
        let runtime = forking().min_idle(1).start().await.unwrap();
        let first = pid(&runtime).await;
        let (tag, zygote) = (pool_tag(first), zygote_of(first));
        for turn in 0..100 {
            let session = runtime.session().await.unwrap();
            assert_eq!(zygote_of(session.pid().unwrap()), zygote);
            assert_eq!(shows(&session, &format!("x = {turn}\nx + 1")).await, (turn + 1).to_string());
        }
        pool_is(&runtime, "the last one has been replaced", |pool| pool.sessions.len() == 1).await;
        let children = || fs::read_to_string(format!("/proc/{zygote}/task/{zygote}/children")).unwrap();
        let count = || children().split_whitespace().count();
        eventually("a worker, and one that was forked ahead", SOON, || count() == 2).await;
        runtime.shutdown(Duration::from_secs(1)).await;
        nothing_left(&tag, Duration::ZERO).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_pool_leaves_no_zygote() {
    guarded(async {
        let runtime = forking().start().await.unwrap();
        let tag = pool_tag(pid(&runtime).await);
        let mut execution = runtime.execute("print('ready')\nwhile True: pass").await.unwrap();
        line(&mut execution).await;
        drop((runtime, execution));
        nothing_left(&tag, SOON).await;
    })
    .await;
}

/// f5: the error of the start names the module; so does a reload, and the old workers serve on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f5_a_module_that_is_not_there_fails_the_start_and_is_named() {
    guarded(async {
        let missing = || WorkerSpec::python().preload(["json", "no_such_module"]);
        let error = Runtime::builder(missing()).min_idle(2).start().await.unwrap_err();
        let StartError::Spawn(SpawnError::Preload { module, why, .. }) = &error else { panic!("{error:?}") };
        assert_eq!(module, "no_such_module");
        assert_eq!(why, "ModuleNotFoundError: No module named 'no_such_module'");
        let runtime = forking().start().await.unwrap();
        let error = runtime.reload(missing()).await.unwrap_err().to_string();
        assert!(error.contains("failed to preload module `no_such_module`"), "{error}");
        completed(&runtime.run("1").await.unwrap());
        runtime.reload(WorkerSpec::python().preload(["decimal"])).await.unwrap();
        let session = runtime.session().await.unwrap();
        assert_eq!(shows(&session, "import sys; 'decimal' in sys.modules").await, "True");
    })
    .await;
}

#[tokio::test]
async fn a_spec_that_cannot_be_forked_is_refused_before_anything_starts() {
    for (spec, expected) in [
        (
            WorkerSpec::command("sh").preload(["json"]),
            "invalid setting `preload`: expected the shipped Python worker, got `sh`",
        ),
        (
            WorkerSpec::python().preload(["a..b"]),
            "expected the name of a module, such as `numpy.linalg`, got `a..b`",
        ),
        (WorkerSpec::python().preload([""]), "expected the name of a module"),
        (WorkerSpec::python().preload(["a\0b"]), "expected the name of a module"),
    ] {
        let error = Runtime::builder(spec).start().await.unwrap_err();
        assert!(matches!(error, StartError::Config(_)), "{error:?}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}
