//! What is left of a zygote and of its workers: nothing.

use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::*;

/// f38, P9: a child of a forked worker is found by its tag, whether it runs a program of its own or not.
#[tokio::test]
async fn f38_what_a_forked_worker_started_is_swept_with_it_and_nothing_else() {
    let (spawner, doomed, spared) = (preloading(&[]), tag(), tag());
    const DAEMONS: &str = "
import os, subprocess, time
def daemon():
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0: time.sleep(1000)
        os._exit(0)
    os.wait()
daemon()
subprocess.Popen(['setsid', 'sleep', '1000'])
subprocess.Popen(['sleep', '1000'])
1";
    let mut workers = [worker_tagged(&spawner, &doomed).await, worker_tagged(&spawner, &spared).await];
    for worker in &mut workers {
        run(worker, DAEMONS).await;
    }
    eventually("all are tagged", || tagged(&doomed).len() == 4 && tagged(&spared).len() == 4).await;
    let [mut worker, mut other] = workers;
    worker.control.kill();
    assert_eq!(soon("exit", &mut worker.exit).await, Exit::Signal(9));
    eventually("nobody carries the tag", || tagged(&doomed).is_empty()).await;
    assert_eq!(run(&mut other, "6 * 7").await, "42");
    assert_eq!(tagged(&spared).len(), 4);
    drop(other);
    eventually("nobody carries the tag", || tagged(&spared).is_empty()).await;
}

/// F7: where a shutdown ends, there is no zygote any more; where a spawner is dropped, soon.
#[tokio::test]
async fn nothing_is_left_of_a_zygote() {
    let spawner = preloading(&[]);
    let worker = worker(&spawner).await;
    let zygote = zygote_of(&worker);
    worker.control.kill();
    soon("exit", worker.exit).await;
    drop(worker.control);
    soon("settled", spawner.settled()).await;
    assert!(!exists(zygote), "a settled spawner has ended its zygote");

    let spawner = preloading(&[]);
    let worker = self::worker(&spawner).await;
    let (zygote, pid) = (zygote_of(&worker), worker.pid.unwrap());
    drop(spawner);
    assert!(exists(zygote), "it has a worker");
    drop(worker);
    is_gone(pid).await;
    is_gone(zygote).await;
}

/// f60: with the runtime in which it was kept, a zygote ends, and so do its workers.
#[tokio::test]
async fn f60_a_dropped_runtime_leaves_no_zygote() {
    let ended = tokio::task::spawn_blocking(move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let spawner = Arc::new(preloading(&[]));
        let pids = runtime.block_on(async {
            let worker = worker(&spawner).await;
            let pids = [zygote_of(&worker), worker.pid.unwrap()];
            tokio::spawn(async move { (worker.exit.await, worker.control, worker.frames) });
            let starting = Arc::clone(&spawner);
            tokio::spawn(async move { starting.spawn(&tag()).await });
            pids
        });
        runtime.shutdown_background();
        (pids, spawner)
    });
    let (pids, spawner) = soon("the runtime's end", ended).await.unwrap();
    for pid in pids {
        is_gone(pid).await;
    }
    // In another runtime it has another one.
    assert!(was_forked(&worker(&spawner).await));
}

#[tokio::test]
async fn a_fork_that_nobody_waits_for_leaves_nothing() {
    let spawner = preloading(&[]);
    let zygote = zygote_of(&worker(&spawner).await);
    for turn in 0..50 {
        let tag = tag();
        // Dropped before it began, while it is under way, or done.
        let start = timeout(Duration::from_micros(turn * 50), spawner.spawn(&tag));
        drop(start.await);
        soon("cleared", spawner.cleared()).await;
        eventually("nobody carries the tag", || tagged(&tag).is_empty()).await;
        eventually("the scratch folder is removed", || !scratch(&tag).exists()).await;
    }
    let children = || fs::read_to_string(format!("/proc/{zygote}/task/{zygote}/children")).unwrap();
    // That which was forked ahead.
    eventually("the zygote has one child", || children().split_whitespace().count() == 1).await;
}

/// F7.
#[tokio::test]
async fn f7_two_hundred_forked_workers_leave_no_descriptor_no_zombie_and_no_folder() {
    if !is_alone(
        "zygote::leftovers::f7_two_hundred_forked_workers_leave_no_descriptor_no_zombie_and_no_folder",
        &[],
    )
    .await
    {
        return;
    }
    let spawner = preloading(&[]);
    let first = worker(&spawner).await;
    let zygote = zygote_of(&first);
    let open = |pid: &str| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
        files.filter_map(|file| fs::read_link(file.path()).ok()).collect::<Vec<_>>()
    };
    let mut expected = None;
    let mut tags = Vec::new();
    for cycle in 0..200 {
        let tag = tag();
        let mut worker = soon("spawn", spawner.spawn(&tag)).await.unwrap();
        match cycle % 3 {
            0 => worker.control.kill(),
            1 => hang_up(&mut worker),
            _ => drop(ready(&mut worker).await),
        }
        if cycle % 3 == 2 {
            worker.control.kill();
        }
        let Worker { pid, frames, outbox, exit, control, stdout, stderr, .. } = worker;
        // Its channel is closed only with both halves.
        drop((frames, outbox));
        soon("exit", exit).await;
        is_gone(pid.unwrap()).await;
        drop((control, stdout, stderr));
        soon("cleared", spawner.cleared()).await;
        tags.push(tag);
        // The first cycle opens what is kept. The zygote has one more when it has forked ahead.
        let now = open("self");
        let expected = expected.get_or_insert_with(|| now.clone());
        assert_eq!(expected.len(), now.len(), "descriptors after cycle {cycle}: {expected:?}, {now:?}");
        let its = || open(&zygote.to_string());
        eventually("it has what it had", || its().len() == 5).await;
    }
    let children = || fs::read_to_string(format!("/proc/{zygote}/task/{zygote}/children")).unwrap();
    let is_first = |pid: &str| pid == first.pid.unwrap().to_string();
    eventually("two children, one ahead", || {
        children().split_whitespace().count() == 2 && children().split_whitespace().any(is_first)
    })
    .await;
    drop((first, spawner));
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let no_child = || waitid(WaitId::All, look).is_err_and(|error| error == rustix::io::Errno::CHILD);
    eventually("no child, no zygote and no reaper", no_child).await;
    assert!(tags.iter().all(|tag| !scratch(tag).exists()));
}

/// f72: it holds nothing of ours, and nothing of its siblings.
#[tokio::test]
async fn f72_a_forked_worker_has_no_descriptor_of_the_host_or_of_others() {
    let spawner = preloading(&[]);
    let (mut one, mut other) = (worker(&spawner).await, worker(&spawner).await);
    let code = "
import os
def is_shared(fd):
    try: return os.readlink(f'/proc/self/fd/{fd}').startswith(('socket:', 'pipe:'))
    except OSError: return False
sorted({os.readlink(f'/proc/self/fd/{fd}') for fd in os.listdir('/proc/self/fd') if is_shared(fd)})";
    let [first, second] = [run(&mut one, code).await, run(&mut other, code).await];
    let files = |text: &str| text.trim_matches(['[', ']']).split(", ").map(String::from).collect::<Vec<_>>();
    let (first, second) = (files(&first), files(&second));
    assert_eq!((first.len(), second.len()), (3, 3), "{first:?} {second:?}");
    assert!(first.iter().all(|file| !second.contains(file)), "{first:?} {second:?}");
}
