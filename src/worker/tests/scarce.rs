//! What the operating system refuses, and ids that it gives out anew.

use std::collections::BTreeMap;

use rustix::{
    event::{PollFd, PollFlags, poll},
    process::{Resource, Rlimit, WaitId, WaitIdOptions, getrlimit, setrlimit, waitid},
};

use super::*;
use crate::worker::{
    cleanup::Cleanup,
    process::{Launch, Process},
};

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count() - 1
}

/// This process may hold so many descriptors more than it does.
fn leave_room_for(more: u64) {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let highest = fs::read_dir("/proc/self/fd").unwrap().flatten();
    let highest = highest.filter_map(|entry| entry.file_name().to_str()?.parse::<u64>().ok()).max().unwrap();
    // The limit is one of numbers, not of a count: the gaps below the highest are still free.
    let gaps = highest + 1 - descriptors() as u64;
    let current = if more >= gaps { highest + 1 + more - gaps } else { descriptors() as u64 + more };
    setrlimit(Resource::Nofile, Rlimit { current: Some(current), maximum }).unwrap();
}

/// Fault 2: at whichever of its descriptors a start is refused, it is a typed error, and nothing of it is left. Each transport
/// in a process of its own: what is looked for behind the reaper of another pool takes descriptors for a moment.
#[tokio::test]
async fn f02_a_start_without_descriptors_is_refused_and_leaves_none_half_made() {
    const TEST: &str = "scarce::f02_a_start_without_descriptors_is_refused_and_leaves_none_half_made";
    const TRANSPORT: &str = "OSTLER_TEST_TRANSPORT";
    for (name, transport) in [("socket", Transport::Socket), ("stdio", Transport::Stdio)] {
        let ours = env::var(TRANSPORT).map_or(true, |told| told == name);
        if ours && is_alone(TEST, &[(TRANSPORT, name)]).await {
            is_refused_at_each(transport).await;
            return drop_all_children().await;
        }
    }
}

async fn is_refused_at_each(transport: Transport) {
    let plenty = getrlimit(Resource::Nofile);
    let spawner = ProcessSpawner::new(sh("echo up; read go").transport(transport));
    // The first worker opens what this process keeps.
    drop(soon("spawn", spawner.spawn(&tag())).await.unwrap());
    soon("cleared", spawner.cleared()).await;
    let (before, mut refused) = (descriptors(), 0);
    for more in 0.. {
        let tag = tag();
        leave_room_for(more);
        let started = soon("spawn", spawner.spawn(&tag)).await;
        setrlimit(Resource::Nofile, plenty).unwrap();
        match started {
            Ok(worker) => {
                worker.control.kill();
                assert_eq!(soon("exit", worker.exit).await, Exit::Signal(9));
                break;
            }
            Err(error) => {
                assert!(matches!(error, SpawnError::System { .. }), "with {more} to spare: {error:?}");
                let told = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                assert!(told.contains("Too many open files"), "with {more} to spare: {error}: {told}");
                refused += 1;
            }
        }
        soon("cleared", spawner.cleared()).await;
        assert_eq!(descriptors(), before, "with {more} to spare");
        assert_eq!(tagged(&tag), Vec::<u32>::new(), "with {more} to spare");
        assert!(!scratch(&tag).exists(), "with {more} to spare");
    }
    println!("{transport:?}: refused {refused} times before there was enough");
    assert!(refused > 3, "{refused}");
}

/// Only the reapers of the spawners were left, and they end with them.
async fn drop_all_children() {
    let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    let no_child = || waitid(WaitId::All, look).is_err_and(|error| error == rustix::io::Errno::CHILD);
    eventually("no child", no_child).await;
}

/// A process in a group of its own, which nobody watches.
fn launch(script: &str) -> Process {
    let launch = Launch {
        program: "/bin/sh".into(),
        args: ["-c", script].map(Into::into).into(),
        env: BTreeMap::new(),
        cwd: "/".into(),
        socket: false,
    };
    let (process, _ends) = launch.start(&Cleanup::default()).unwrap();
    process
}

fn has_died(process: &Process) -> bool {
    let mut pidfd = [PollFd::from_borrowed_fd(process.pidfd(), PollFlags::IN)];
    poll(&mut pidfd, Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 20_000_000 })).unwrap() > 0
}

/// Another process with this id and this group, if we may ask the kernel for one.
fn stranger(pid: u32) -> Option<Process> {
    for _ in 0..200 {
        fs::write("/proc/sys/kernel/ns_last_pid", (pid - 1).to_string()).ok()?;
        let process = launch("exec sleep 1000");
        if process.id() == pid {
            return Some(process);
        }
        process.end();
    }
    None
}

/// Fault 67: once a worker is collected, its id may be a stranger's. Nothing is sent there any more.
#[tokio::test]
async fn f67_a_stranger_that_got_the_id_of_a_dead_worker_is_left_alone() {
    let process = launch("exit 3");
    let pid = process.id();
    eventually("it is dead", || has_died(&process)).await;
    assert_eq!(process.look(|id| id), Some(pid), "dead, and not collected yet: its id is its own");
    let (exit, pending) = process.collect().unwrap();
    assert_eq!(exit, Exit::Code(3));
    drop(pending);
    assert_eq!(process.look(|id| id), None);
    assert!(!exists(pid));

    let stranger = stranger(pid);
    println!("another process has its id: {}", stranger.is_some());
    process.interrupt(None);
    process.kill();
    // Whoever collects again, collects nobody: neither the stranger nor its group.
    assert_eq!(process.collect().map(|(exit, _)| exit), Some(Exit::Unknown));
    assert_eq!(process.look(|id| id), None);
    if let Some(stranger) = stranger {
        assert!(!has_died(&stranger), "a stranger was killed");
        stranger.end();
    }
}

/// Faults 2 and 38: to sweep takes descriptors, too. What a worker left is cleared away when there are some again.
#[tokio::test]
async fn f38_what_is_left_while_there_is_no_descriptor_is_swept_afterwards() {
    if !is_alone("scarce::f38_what_is_left_while_there_is_no_descriptor_is_swept_afterwards", &[]).await {
        return;
    }
    let tag = tag();
    let script = "mkdir a; echo x > a/b; setsid sh -c 'echo up; exec sleep 1000' & read go; exit 0";
    let mut worker = start_tagged(sh(script), &tag).await;
    assert_eq!(line(&mut worker).await, "up");
    let plenty = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(3), maximum: plenty.maximum }).unwrap();
    worker.control.kill();
    let exit = soon("exit", &mut worker.exit).await;
    // Long enough for the sweep to have found that it cannot look.
    tokio::time::sleep(Duration::from_millis(300)).await;
    setrlimit(Resource::Nofile, plenty).unwrap();
    assert_eq!(exit, Exit::Signal(9));
    eventually("nobody carries the tag", || tagged(&tag).is_empty()).await;
    eventually("the scratch folder is removed", || !scratch(&tag).exists()).await;
}
