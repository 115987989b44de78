//! The ends of hosts: what becomes of workers when theirs is killed, forgets them, or was started oddly.

use std::time::{Duration, Instant};

use ostler::{LostCause, Runtime, WorkerSpec};

use super::{lost, pid, subhost::Host};
use crate::{
    python::completed,
    support::{
        processes::{alive, nothing_left, pool_tag},
        wait::{SOON, eventually, guarded},
    },
};

/// What a worker may be doing when its host is killed.
const RUNNING: [(&str, &str); 6] = [
    ("a busy loop", "print('ready')\nwhile True: pass"),
    ("a sleep", "import time\nprint('ready')\ntime.sleep(600)"),
    (
        "code in C",
        "import itertools, os\nsum(itertools.chain(map(os.write, [1], [b'ready\\n']), range(10**12)))",
    ),
    ("output", "print('ready')\nwhile True: print('more')"),
    ("input", "input()"),
    (
        "ignored signals",
        "import signal\nfor it in (1, 2, 15, 23): signal.signal(it, signal.SIG_IGN)\nprint('ready')\nwhile True: pass",
    ),
];

/// P9: within 1 s, also inside C code; and nobody holds what the host had open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f72_a_busy_worker_does_not_outlive_a_killed_host() {
    for (what, code) in RUNNING {
        guarded(async {
            let mut host = Host::start("runs", code, "");
            let worker: u32 = host.says("worker").parse().unwrap();
            assert!(alive(worker));
            host.kill();
            let killed = Instant::now();
            eventually("the worker is gone", SOON, || !alive(worker)).await;
            let gone = killed.elapsed();
            host.output_ends();
            println!(
                "host killed, worker in {what}: gone after {gone:?}, output ended after {:?}",
                killed.elapsed()
            );
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f72_an_idle_worker_does_not_outlive_a_killed_host() {
    guarded(async {
        let mut host = Host::start("idles", "", "");
        let worker: u32 = host.says("worker").parse().unwrap();
        host.kill();
        eventually("the worker is gone", SOON, || !alive(worker)).await;
        host.output_ends();
    })
    .await;
}

/// P9: nor does what it started, whether or not it stayed in the group or kept its environment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f72_the_children_of_a_worker_do_not_outlive_a_killed_host() {
    const FAMILY: &str = "import subprocess\nchild = lambda **how: subprocess.Popen(['sleep', '1000'], **how).pid\n\
                          print(child(), child(env={}), child(start_new_session=True))\n";
    for (what, role, rest) in [
        ("an idle worker", "idles", ""),
        ("a busy loop", "runs", "while True: pass"),
        ("a wait", "runs", "import time; time.sleep(600)"),
        ("code in C", "runs", "sum(range(10**12))"),
        ("ignored signals", "runs", "import signal\nsignal.signal(23, signal.SIG_IGN)\nwhile True: pass"),
    ] {
        guarded(async {
            let mut host = Host::start(role, &format!("{FAMILY}{rest}"), "");
            let mut family = vec![host.says("worker").parse::<u32>().unwrap()];
            family.extend(host.says("line").split(' ').map(|pid| pid.parse::<u32>().unwrap()));
            assert!(family.len() == 4 && family.iter().all(|pid| alive(*pid)), "{family:?}");
            host.kill();
            let gone = eventually("all are gone", SOON, || !family.iter().any(|pid| alive(*pid))).await;
            println!("host killed, {what}: it and its children gone after {gone:?}");
        })
        .await;
    }
}

/// A host that itself inherited a descriptor does not pass it on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f72_a_worker_inherits_three_descriptors_and_no_more() {
    let code = "import os\nsorted({os.readlink(f'/proc/self/fd/{fd}') for fd in os.listdir('/proc/self/fd') \
                if os.path.exists(f'/proc/self/fd/{fd}')} & {'/proc/version'})";
    let mut host = Host::start("prints", code, "exec 7</proc/version; ");
    assert_eq!(host.says("value"), "[]");
    assert!(host.ended_well());
}

/// P9: a host that exits right after its runtime was dropped, with much left to clear.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f60_nothing_is_left_of_a_host_that_drops_its_runtime_and_exits() {
    guarded(async {
        let code = "import os\nfor n in range(2_000): open(f'file {n}', 'w').close()\nos.getcwd()";
        let mut host = Host::start("prints", code, "");
        let said = host.says("value");
        let folder = std::path::Path::new(said.trim_matches('\''));
        assert!(host.ended_well());
        eventually("its scratch folder is gone", SOON, || !folder.exists()).await;
    })
    .await;
}

/// Cancels land all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f71_a_host_that_was_started_with_signals_ignored_cancels_all_the_same() {
    for code in [
        "print('ready')\nwhile True: pass",
        "import subprocess\nprint('ready')\nsubprocess.run(['sleep', '600'])",
    ] {
        let mut host = Host::start("cancels", code, "trap '' INT HUP TERM URG; ");
        let outcome = host.says("outcome");
        assert!(outcome.starts_with("cancelled: the code stopped at"), "{outcome}");
        assert!(host.ended_well());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f74_a_host_that_collects_all_children_still_learns_of_deaths() {
    let mut host = Host::start("reaps", "", "");
    for _ in 0..20 {
        let death = host.says("death");
        assert!(death.contains("exit code 3") || death.contains("exit status unknown"), "{death}");
    }
    assert!(host.ended_well());
}

/// Guards answer, and the worker dies with the runtime that watched it.
#[test]
fn f60_a_tokio_runtime_dropped_under_an_execution_leaves_an_answer_and_no_worker() {
    let outer = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (execution, runtime, worker, tag) = std::thread::spawn(|| {
        let inner =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let started = inner.block_on(guarded(async {
            let runtime = Runtime::builder(WorkerSpec::python()).max_sessions(1).start().await.unwrap();
            let worker = pid(&runtime).await;
            let mut execution = runtime.execute("print('ready')\nwhile True: pass").await.unwrap();
            super::line(&mut execution).await;
            (execution, runtime, worker, pool_tag(worker))
        }));
        drop(inner);
        started
    })
    .join()
    .unwrap();
    outer.block_on(guarded(async {
        let lost = lost(execution.outcome().await);
        assert!(lost.started, "{lost}");
        assert!(matches!(lost.cause, LostCause::ActorGone(_)), "{lost}");
        eventually("the worker is gone", SOON, || !alive(worker)).await;
        nothing_left(&tag, SOON).await;
        assert!(runtime.run("1").await.is_err());
        runtime.shutdown(Duration::ZERO).await;
    }));
}

/// f61: a parent-death signal is tied to a thread; that thread must not be one of the caller's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f61_a_worker_outlives_the_thread_that_asked_for_it() {
    guarded(async {
        let tokio = tokio::runtime::Handle::current();
        let builder = Runtime::builder(WorkerSpec::python()).max_sessions(1);
        let runtime = tokio::task::spawn_blocking(move || {
            std::thread::spawn(move || tokio.block_on(builder.start())).join().unwrap().unwrap()
        });
        let runtime = runtime.await.unwrap();
        let worker = pid(&runtime).await;
        // Code has run, so the signal is armed.
        completed(&runtime.run("1").await.unwrap());
        assert_eq!(pid(&runtime).await, worker);
        let report = runtime.run("import os; os.getpid()").await.unwrap();
        assert_eq!(report.outcome.to_string(), worker.to_string());
    })
    .await;
}

/// Dropping a whole host's worth of handles at once is as good as a shutdown.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handles_dropped_in_any_order_leave_nothing() {
    guarded(async {
        for order in 0..6 {
            let runtime = Runtime::builder(WorkerSpec::python()).max_sessions(2).start().await.unwrap();
            let tag = pool_tag(pid(&runtime).await);
            let session = runtime.session().await.unwrap();
            let execution = session.execute("while True: pass").await.unwrap();
            let canceller = execution.canceller();
            let mut handles: Vec<Box<dyn Send>> =
                vec![Box::new(runtime), Box::new(session), Box::new(execution)];
            for _ in 0..3 {
                drop(handles.remove(order % handles.len()));
            }
            // A canceller keeps nothing alive.
            nothing_left(&tag, SOON).await;
            canceller.cancel();
        }
    })
    .await;
}
