//! Workers that a zygote forked: as those that were started, and what becomes of them when it dies.

use bytes::BytesMut;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{python::ready, *};
use crate::{
    protocol::{Execute, ExecutionId, ToWorker},
    worker::scratch::Scratch,
};

mod leftovers;

fn preloading(modules: &[&str]) -> ProcessSpawner {
    ProcessSpawner::new(WorkerSpec::python().preload(modules.iter().copied()))
}

/// A worker that is ready.
async fn worker(spawner: &ProcessSpawner) -> Worker {
    worker_tagged(spawner, &tag()).await
}

async fn worker_tagged(spawner: &ProcessSpawner, tag: &str) -> Worker {
    let mut worker = soon("spawn", spawner.spawn(tag)).await.unwrap();
    assert_eq!(Some(ready(&mut worker).await), worker.pid.map(u64::from));
    worker
}

/// The parent of a process, and its state.
fn parent(pid: u32) -> (u32, char) {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let mut fields = stat.rsplit_once(") ").unwrap().1.split(' ');
    let state = fields.next().unwrap().chars().next().unwrap();
    (fields.next().unwrap().parse().unwrap(), state)
}

/// The zygote that this worker is from.
fn zygote_of(worker: &Worker) -> u32 {
    let (zygote, _) = parent(worker.pid.unwrap());
    assert_ne!(zygote, std::process::id(), "it was not forked by a zygote");
    zygote
}

fn was_forked(worker: &Worker) -> bool {
    parent(worker.pid.unwrap()).0 != std::process::id()
}

fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(pid.cast_signed()).unwrap();
    pidfd_send_signal(pidfd_open(pid, PidfdFlags::empty()).unwrap(), signal).unwrap();
}

/// Runs code that completes, and returns its value as text.
async fn run(worker: &mut Worker, code: &str) -> String {
    start_code(worker, code).await;
    let mut decoder = Decoder::new(FRAME_LEN_MAX);
    loop {
        let told = frame(worker, &mut decoder).await;
        assert!(!matches!(told, FromWorker::Error(_)), "{code}: {told:?}");
        if let FromWorker::Result(result) = told {
            return result.value.map(|value| value.to_string()).unwrap_or_default();
        }
    }
}

async fn start_code(worker: &Worker, code: &str) {
    let execute = Execute::new(ExecutionId(1), code);
    let mut bytes = BytesMut::new();
    worker.codec.encode(&ToWorker::Execute(execute), &mut bytes).unwrap();
    soon("a writable channel", std::future::poll_fn(|context| worker.outbox.poll_writable(context)))
        .await
        .unwrap();
    assert_eq!(worker.outbox.try_write(&bytes).unwrap(), bytes.len());
}

async fn is_gone(pid: u32) {
    eventually("it is gone, and no zombie", || !exists(pid)).await;
}

/// F4: exact, as that of a worker of our own; and the zygote keeps no zombie.
#[tokio::test]
async fn the_exit_of_a_forked_worker_is_told_exactly() {
    let spawner = preloading(&[]);
    for (code, expected) in [
        ("import os; os._exit(0)", Exit::Code(0)),
        ("import os; os._exit(3)", Exit::Code(3)),
        ("import os; os._exit(255)", Exit::Code(255)),
        ("import os; os.abort()", Exit::Signal(6)),
        ("import os; os.kill(os.getpid(), 15)", Exit::Signal(15)),
        ("import os; os.kill(os.getpid(), 9)", Exit::Signal(9)),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", Exit::Signal(11)),
    ] {
        let mut worker = worker(&spawner).await;
        assert!(was_forked(&worker));
        start_code(&worker, code).await;
        assert_eq!(soon("exit", &mut worker.exit).await, expected, "after `{code}`");
        is_gone(worker.pid.unwrap()).await;
    }
    let worker = worker(&spawner).await;
    worker.control.kill();
    worker.control.kill();
    assert_eq!(soon("exit", worker.exit).await, Exit::Signal(9));
    worker.control.kill();
    worker.control.interrupt();
    is_gone(worker.pid.unwrap()).await;
}

#[tokio::test]
async fn forked_workers_speak_both_transports_and_start_where_others_do() {
    for transport in [Transport::Socket, Transport::Stdio] {
        let spec = WorkerSpec::python().transport(transport).preload(["json"]).env("TOKEN", "t");
        let (spawner, tag) = (ProcessSpawner::new(spec), tag());
        let mut worker = worker_tagged(&spawner, &tag).await;
        assert!(was_forked(&worker));
        let seen =
            run(&mut worker, "import os, sys; [os.getcwd(), os.environ['TOKEN'], 'json' in sys.modules]")
                .await;
        assert!(seen.contains(scratch(&tag).to_str().unwrap()) && seen.contains("'t'"), "{seen}");
        assert!(seen.ends_with("True]"), "{seen}");
        drop(worker);
        eventually("the scratch folder is removed", || !scratch(&tag).exists()).await;
    }
}

/// Its workers go on, whatever happens to them is still seen, and starts work: without it, and then with another.
#[tokio::test]
async fn a_killed_zygote_costs_no_worker_and_no_start() {
    let (spawner, doomed) = (preloading(&[]), tag());
    let mut workers =
        [worker(&spawner).await, worker_tagged(&spawner, &doomed).await, worker(&spawner).await];
    let zygote = zygote_of(&workers[0]);
    run(&mut workers[1], "import subprocess; subprocess.Popen(['sleep', '1000']); 1").await;
    send(zygote, Signal::KILL);
    is_gone(zygote).await;
    for worker in &mut workers {
        assert_eq!(run(worker, "6 * 7").await, "42");
    }
    let [mut first, mut second, third] = workers;
    second.control.kill();
    // Another parent may have collected it.
    let exit = soon("exit", &mut second.exit).await;
    assert!(matches!(exit, Exit::Unknown | Exit::Signal(9)), "{exit}");
    eventually("its child is swept", || tagged(&doomed).is_empty()).await;
    start_code(&third, "import os; os._exit(3)").await;
    let exit = soon("exit", third.exit).await;
    assert!(matches!(exit, Exit::Unknown | Exit::Code(3)), "{exit}");

    let mut plain = worker(&spawner).await;
    assert_eq!(run(&mut plain, "6 * 7").await, "42");
    let reborn = async {
        loop {
            let worker = worker(&spawner).await;
            if was_forked(&worker) {
                return worker;
            }
        }
    };
    let mut reborn = soon("another zygote", reborn).await;
    assert_eq!(run(&mut reborn, "6 * 7").await, "42");
    assert_ne!(zygote_of(&reborn), zygote);
    assert_eq!(run(&mut first, "6 * 7").await, "42");
}

/// f74: a host that inherits orphans, as the first process of a container does, learns their exits, too.
#[tokio::test]
async fn f74_a_host_that_inherits_the_workers_of_a_killed_zygote_collects_them() {
    if !is_alone("zygote::f74_a_host_that_inherits_the_workers_of_a_killed_zygote_collects_them", &[]).await {
        return;
    }
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
    let spawner = preloading(&[]);
    let [one, other] = [worker(&spawner).await, worker(&spawner).await];
    let zygote = zygote_of(&one);
    send(zygote, Signal::KILL);
    eventually("they are ours", || parent(one.pid.unwrap()).0 == std::process::id()).await;
    start_code(&one, "import os; os._exit(3)").await;
    assert_eq!(soon("exit", one.exit).await, Exit::Code(3));
    other.control.kill();
    assert_eq!(soon("exit", other.exit).await, Exit::Signal(9));
    for pid in [one.pid.unwrap(), other.pid.unwrap(), zygote] {
        is_gone(pid).await;
    }
}

/// One that does not answer is killed, and does not take its workers with it.
#[tokio::test]
async fn a_zygote_that_hangs_is_replaced() {
    let spawner = preloading(&[]);
    let mut old = worker(&spawner).await;
    let zygote = zygote_of(&old);
    send(zygote, Signal::STOP);
    // Its workers can be ended, and their ends be seen, without it.
    let late = soon("spawn", spawner.spawn(&tag())).await.unwrap();
    assert!(!was_forked(&late));
    is_gone(zygote).await;
    assert_eq!(run(&mut old, "6 * 7").await, "42");
}

#[tokio::test]
async fn the_death_of_a_worker_is_seen_though_its_zygote_hangs() {
    let spawner = preloading(&[]);
    let worker = worker(&spawner).await;
    send(zygote_of(&worker), Signal::STOP);
    start_code(&worker, "import os; os._exit(3)").await;
    assert_eq!(soon("exit", worker.exit).await, Exit::Code(3));
}

#[tokio::test]
async fn a_module_that_cannot_be_preloaded_is_named_and_the_start_fails() {
    for _ in 0..2 {
        let spawner = preloading(&["json", "no_such_module"]);
        let (one, other) = tokio::join!(spawner.spawn(&tag()), spawner.spawn(&tag()));
        let error = one.and(other).unwrap_err();
        let SpawnError::Preload { module, .. } = &error else { panic!("{error:?}") };
        assert_eq!(module, "no_such_module");
        assert!(
            error.to_string().contains("ModuleNotFoundError: No module named 'no_such_module'; install it"),
            "{error}"
        );
        soon("cleared", spawner.cleared()).await;
    }
}

/// Modules of the test's own.
fn with_module(source: &str) -> (Scratch, ProcessSpawner) {
    let folder = Scratch::new(&format!("{}-modules", tag())).unwrap();
    fs::write(folder.path().join("of_ours.py"), source).unwrap();
    let spec = WorkerSpec::python().env("PYTHONPATH", folder.path()).preload(["of_ours"]);
    (folder, ProcessSpawner::new(spec))
}

#[tokio::test]
async fn a_module_that_ends_the_interpreter_is_named_with_its_last_words() {
    let (_folder, spawner) = with_module("import os; print('far too much to tell ' * 9999)\nos.abort()");
    let error = soon("spawn", spawner.spawn(&tag())).await.unwrap_err();
    let SpawnError::Preload { module, why, .. } = &error else { panic!("{error:?}") };
    assert_eq!(module, "of_ours");
    assert!(why.contains("signal 6") && why.contains("Fatal Python error: Aborted"), "{why}");
    assert!(why.len() < 5000, "{} bytes", why.len());
}

#[tokio::test]
async fn a_zygote_with_threads_is_not_forked_and_workers_start_without_it() {
    let (_folder, spawner) = with_module(
        "import threading\nthreading.Thread(target=threading.Event().wait, name='busy', daemon=True).start()",
    );
    for _ in 0..2 {
        let mut worker = worker(&spawner).await;
        assert!(!was_forked(&worker));
        assert_eq!(run(&mut worker, "6 * 7").await, "42");
    }
}

/// A reload takes effect with the next start; the old zygote ends with its last worker.
#[tokio::test]
async fn another_spec_has_another_zygote() {
    let spawner = preloading(&[]);
    let mut old = worker(&spawner).await;
    spawner.reload(WorkerSpec::python().preload(["decimal"]));
    let mut new = worker(&spawner).await;
    assert_eq!(run(&mut new, "import sys; 'decimal' in sys.modules").await, "True");
    let zygote = zygote_of(&old);
    assert_ne!(zygote, zygote_of(&new));
    assert_eq!(run(&mut old, "6 * 7").await, "42");
    drop(old);
    is_gone(zygote).await;
    soon("cleared", spawner.cleared()).await;
    assert_eq!(run(&mut new, "6 * 7").await, "42");
    let next = worker(&spawner).await;
    assert_eq!(zygote_of(&next), zygote_of(&new), "what was swept behind the old one was not the new one");
}

#[tokio::test]
async fn starts_that_come_before_the_zygote_is_ready_wait_for_it() {
    let spawner = Arc::new(preloading(&["decimal"]));
    let mut starting = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let spawner = Arc::clone(&spawner);
        starting.spawn(async move { worker(&spawner).await });
    }
    let workers = soon("all of them", starting.join_all()).await;
    let zygote = zygote_of(&workers[0]);
    assert!(workers.iter().all(|worker| zygote_of(worker) == zygote));
}
