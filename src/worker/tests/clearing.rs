//! What is left of a worker that ended: nothing.

use std::{future::poll_fn, task::Poll};

use super::*;

/// Leaves the group and the session; its parent ends, so that nobody knows it but by its environment.
const DAEMON: &str = "setsid sh -c 'echo $$; exec sleep 1000' & read go; exit 0";

async fn has_ended(tag: &str, pid: u32) {
    eventually("the worker is collected", || !exists(pid)).await;
    eventually("nobody carries the tag", || tagged(tag).is_empty()).await;
    eventually("the scratch folder is removed", || !scratch(tag).exists()).await;
}

/// f38, P9: a child that left the group is found by its tag.
#[tokio::test]
async fn f38_a_daemonised_grandchild_is_swept_by_its_tag() {
    let tag = tag();
    let mut worker = start_tagged(sh(DAEMON), &tag).await;
    let daemon: u32 = line(&mut worker).await.parse().unwrap();
    // It may just be replacing its program, and show none for a moment.
    eventually("it carries the tag", || tagged(&tag).contains(&daemon)).await;
    worker.control.kill();
    assert_eq!(soon("exit", &mut worker.exit).await, Exit::Signal(9));
    has_ended(&tag, worker.pid.unwrap()).await;
}

#[tokio::test]
async fn others_are_not_swept() {
    let tag = tag();
    let mut neighbour = start_tagged(sh("echo up; read go; echo alive"), &format!("{tag}0")).await;
    assert_eq!(line(&mut neighbour).await, "up");
    let spawner = ProcessSpawner::new(sh("exit 0"));
    let worker = soon("spawn", spawner.spawn(&tag)).await.unwrap();
    soon("exit", worker.exit).await;
    soon("cleared", spawner.cleared()).await;
    hang_up(&mut neighbour);
    assert_eq!(line(&mut neighbour).await, "alive");
}

/// E11: dropping a worker is enough.
#[tokio::test]
async fn a_dropped_worker_leaves_nothing() {
    let tag = tag();
    let mut worker = start_tagged(sh(DAEMON), &tag).await;
    line(&mut worker).await;
    let pid = worker.pid.unwrap();
    drop(worker);
    has_ended(&tag, pid).await;
}

/// Nobody waits for the exit, and the power over it is kept: the death is collected all the same.
#[tokio::test]
async fn a_worker_that_ends_unobserved_is_collected() {
    let tag = tag();
    let worker = start_tagged(sh("exit 0"), &tag).await;
    let (pid, _control) = (worker.pid.unwrap(), worker.control);
    drop((worker.exit, worker.frames, worker.outbox));
    has_ended(&tag, pid).await;
}

/// f60: with the runtime in which it lived, a worker ends; also one that is just being started.
#[tokio::test]
async fn f60_a_dropped_runtime_leaves_nothing() {
    let (alive, starting) = (tag(), tag());
    let (first, second) = (alive.clone(), starting.clone());
    let pid = tokio::task::spawn_blocking(move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let pid = runtime.block_on(async {
            let mut worker = start_tagged(sh(DAEMON), &first).await;
            line(&mut worker).await;
            let pid = worker.pid.unwrap();
            tokio::spawn(async move { (worker.exit.await, worker.control, worker.frames) });
            tokio::spawn(ProcessSpawner::new(sh(DAEMON)).spawn(&second));
            pid
        });
        runtime.shutdown_background();
        pid
    });
    let pid = soon("the runtime's end", pid).await.unwrap();
    has_ended(&alive, pid).await;
    eventually("nobody carries the tag", || tagged(&starting).is_empty()).await;
    eventually("the scratch folder is removed", || !scratch(&starting).exists()).await;
}

#[tokio::test]
async fn a_start_that_nobody_waits_for_leaves_nothing() {
    let spawner = ProcessSpawner::new(sh(DAEMON));
    for _ in 0..20 {
        let tag = tag();
        let mut start = spawner.spawn(&tag);
        // Asked for once, and then dropped, whether it is under way or done.
        let asked = poll_fn(|context| Poll::Ready(start.as_mut().poll(context))).await;
        drop((asked, start));
        soon("cleared", spawner.cleared()).await;
        eventually("nobody carries the tag", || tagged(&tag).is_empty()).await;
        eventually("the scratch folder is removed", || !scratch(&tag).exists()).await;
    }
}

/// Where a shutdown ends: what was killed, what it left and its folder are gone.
#[tokio::test]
async fn a_settled_spawner_has_cleared_everything_away() {
    let spawner = ProcessSpawner::new(sh(
        "mkdir -p a/b; echo x > a/b/c; chmod 000 a/b; setsid sleep 1000 & echo up; read go",
    ));
    let tags: Vec<_> = (0..5).map(|_| tag()).collect();
    for tag in &tags {
        let mut worker = soon("spawn", spawner.spawn(tag)).await.unwrap();
        assert_eq!(line(&mut worker).await, "up");
        assert!(scratch(tag).exists());
    }
    soon("cleared", spawner.cleared()).await;
    for tag in &tags {
        assert_eq!(tagged(tag), Vec::<u32>::new());
        assert!(!scratch(tag).exists());
    }
}

#[tokio::test]
async fn a_living_worker_does_not_keep_its_spawner_from_settling() {
    let spawner = ProcessSpawner::new(sh("read go"));
    let _worker = soon("spawn", spawner.spawn(&tag())).await.unwrap();
    soon("settled", spawner.settled()).await;
}

/// The reapers of a pool.
fn reapers(pool: &str) -> Vec<String> {
    let arguments = format!("\0ostler-reaper\0{pool}\0");
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| fs::read_to_string(entry.path().join("cmdline")).ok());
    lines.filter(|line| line.contains(&arguments)).collect()
}

/// One that lived until the last thread has let go of the spawner would find its host dead if that exits first, as a program
/// does behind its shutdown, and look for leftovers for a second.
#[tokio::test]
async fn a_settled_spawner_has_no_reaper() {
    let pool = format!("settled-{}", std::process::id());
    let spawner = ProcessSpawner::new(sh("read go"));
    let mut worker = soon("spawn", spawner.spawn(&format!("{pool}.0"))).await.unwrap();
    eventually("there is one", || !reapers(&pool).is_empty()).await;
    hang_up(&mut worker);
    soon("exit", worker.exit).await;
    soon("cleared", spawner.cleared()).await;
    soon("settled", spawner.settled()).await;
    eventually("it ends with the pool", || reapers(&pool).is_empty()).await;
    assert_eq!(spawner.reapers_lost(), 0, "that was none");
}
