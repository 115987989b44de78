//! The thread that starts every worker, buries those that nobody waits for any more, and sweeps up behind the dead.

use std::{
    fs, io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    sync::{Arc, OnceLock, mpsc},
    thread,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, getuid, pidfd_open, pidfd_send_signal},
};
use tokio::sync::oneshot;

use crate::worker::process::{Order, Started, Traces, bury, start_now};

/// How often the dead that would not die at once are looked at again.
const AGAIN_AFTER: Duration = Duration::from_millis(5);
/// How often `/proc` is read for one sweep, while it still finds somebody: a child may fork while it is looked for.
const SWEEPS_MAX: usize = 5;

/// What the thread is asked to do.
pub(super) enum Task {
    Start(Box<Order>, oneshot::Sender<io::Result<Started>>),
    /// Kill it, reap it and sweep up.
    Bury(Remains),
    /// It is reaped: sweep up.
    Sweep(Traces),
    /// Say when everything before this is done.
    Settle(oneshot::Sender<()>),
}

/// A process that nobody waits for.
pub(super) struct Remains {
    pub(super) pid: Pid,
    pub(super) pidfd: Arc<OwnedFd>,
    pub(super) traces: Traces,
}

/// Hands a task to the thread, which is started by the first one and lives as long as this process.
pub(super) fn send(task: Task) {
    static TASKS: OnceLock<mpsc::Sender<Task>> = OnceLock::new();
    let tasks = TASKS.get_or_init(|| {
        let (sender, tasks) = mpsc::channel();
        let spawned = thread::Builder::new().name("ostler-spawn".into()).spawn(move || work(&tasks));
        if let Err(error) = spawned {
            tracing::error!(%error, "the thread that starts workers cannot be started");
        }
        sender
    });
    // The thread never ends; if it could not be started, whoever waits for a reply sees it dropped.
    let _ = tasks.send(task);
}

fn work(tasks: &mpsc::Receiver<Task>) {
    let mut dying: Vec<Remains> = Vec::new();
    let mut traces: Vec<Traces> = Vec::new();
    let mut waiting: Vec<oneshot::Sender<()>> = Vec::new();
    loop {
        let next = if dying.is_empty() && traces.is_empty() {
            tasks.recv().ok()
        } else if traces.is_empty() {
            tasks.recv_timeout(AGAIN_AFTER).ok()
        } else {
            // Everybody who died in the meantime is swept up behind in one go.
            tasks.try_recv().ok()
        };
        match next {
            Some(Task::Start(order, reply)) => {
                let _ = reply.send(start_now(*order));
                continue;
            }
            Some(Task::Bury(remains)) => {
                let _ = pidfd_send_signal(&*remains.pidfd, Signal::KILL);
                dying.push(remains);
            }
            Some(Task::Sweep(dead)) => {
                traces.push(dead);
                continue;
            }
            Some(Task::Settle(reply)) => waiting.push(reply),
            None => {}
        }
        dying.retain(|remains| {
            let buried = bury(remains.pid, remains.pidfd.as_fd()).is_some();
            if buried {
                traces.push(remains.traces.clone());
            }
            !buried
        });
        sweep(&std::mem::take(&mut traces));
        if dying.is_empty() {
            // Whoever asked may have left.
            for reply in waiting.drain(..) {
                let _ = reply.send(());
            }
        }
    }
}

/// Resolves when everything that was asked for before is done, or after a second: a process in an uninterruptible
/// wait of the kernel cannot be buried.
pub(super) async fn settled() {
    let (reply, settled) = oneshot::channel();
    send(Task::Settle(reply));
    // Both errors mean that there is nothing more to wait for.
    drop(tokio::time::timeout(Duration::from_secs(1), settled).await);
}

/// Whether the process behind `pidfd` is dead within `limit`. Blocks.
pub(super) fn wait_dead(pidfd: &OwnedFd, limit: Duration) -> bool {
    let timeout = Timespec::try_from(limit).ok();
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    poll(&mut fds, timeout.as_ref()).is_ok_and(|ready| ready > 0)
}

/// Ends processes that carry one of these tags in their environment, wherever they went, and removes scratch folders.
fn sweep(dead: &[Traces]) {
    if dead.is_empty() {
        return;
    }
    let marks: Vec<Vec<u8>> =
        dead.iter().map(|traces| format!("OSTLER_TAG={}", traces.tag).into_bytes()).collect();
    for _ in 0..SWEEPS_MAX {
        if !kill_marked(&marks) {
            break;
        }
    }
    for scratch in dead.iter().filter_map(|traces| traces.scratch.as_ref()) {
        match fs::remove_dir_all(scratch) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(folder = %scratch.display(), %error, "scratch folder not removed"),
        }
    }
}

/// Kills every process of this user that carries one of `marks`; whether there was one.
fn kill_marked(marks: &[Vec<u8>]) -> bool {
    let Ok(processes) = fs::read_dir("/proc") else { return false };
    let user = getuid().as_raw();
    let mut found = false;
    for process in processes.flatten() {
        let Some(pid) =
            process.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw)
        else {
            continue;
        };
        if process.metadata().is_ok_and(|process| process.uid() != user) || !is_marked(&process.path(), marks)
        {
            continue;
        }
        // Held and then looked at again: the number cannot have become a stranger's in between.
        let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
        if is_marked(&process.path(), marks) && pidfd_send_signal(&pidfd, Signal::KILL).is_ok() {
            wait_dead(&pidfd, Duration::from_millis(20));
            found = true;
        }
    }
    found
}

fn is_marked(process: &std::path::Path, marks: &[Vec<u8>]) -> bool {
    let Ok(environment) = fs::read(process.join("environ")) else { return false };
    environment
        .split(|byte| *byte == 0)
        .any(|variable| variable.starts_with(b"OSTLER_TAG=") && marks.iter().any(|mark| mark == variable))
}
