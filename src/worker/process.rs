//! Processes: the only file that starts, signals and reaps them.
//!
//! One long-lived thread starts every worker of this host, because a worker's parent-death signal is tied to the
//! thread that started it. The same thread buries what was dropped before it was reaped, and sweeps up children that
//! left their worker's group. There is no `pre_exec`: that would make the host fork, which costs tens of milliseconds
//! in a large host; `posix_spawn` does not.

use std::{
    ffi::OsString,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::PathBuf,
    process::{Command, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::{
    io::Errno,
    process::{
        Pid, PidfdFlags, Resource, Rlimit, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open,
        pidfd_send_signal, prlimit, waitid,
    },
};
use tokio::{io::unix::AsyncFd, sync::oneshot};

use crate::{
    outcome::Exit,
    worker::{
        Control,
        undertaker::{self, Remains, Task},
    },
};

/// A process to be started.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) program: PathBuf,
    pub(super) args: Vec<OsString>,
    pub(super) env: Vec<(OsString, OsString)>,
    pub(super) cwd: PathBuf,
    /// Given to the process as fd 0; a pipe otherwise.
    pub(super) stdin: Option<OwnedFd>,
    /// What it leaves behind in the environment and on disk.
    pub(super) traces: Traces,
}

/// How the children of a process are found, and what is removed behind it.
#[derive(Clone, Debug)]
pub(super) struct Traces {
    pub(super) tag: String,
    pub(super) scratch: Option<PathBuf>,
}

/// A started process and our ends of its pipes.
#[derive(Debug)]
pub(super) struct Started {
    pub(super) process: Arc<Process>,
    pub(super) stdin: Option<OwnedFd>,
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
}

/// One process, the leader of its own group. The last one to drop it buries it.
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    pidfd: Arc<OwnedFd>,
    /// Held while the group is signalled: after the reaping its id may be a stranger's.
    reaped: Mutex<bool>,
    traces: Traces,
}

/// Starts a process on the thread that outlives all others.
pub(super) async fn start(order: Order) -> io::Result<Started> {
    let (reply, started) = oneshot::channel();
    undertaker::send(Task::Start(Box::new(order), reply));
    started.await.unwrap_or_else(|_gone| Err(io::Error::other("the thread that starts processes has ended")))
}

/// Runs on that thread.
pub(super) fn start_now(order: Order) -> io::Result<Started> {
    let Order { program, args, env, cwd, stdin, traces } = order;
    #[expect(clippy::disallowed_methods, reason = "this is the file that starts processes")]
    let mut command = Command::new(program);
    command.args(args).env_clear().envs(env).current_dir(cwd).process_group(0);
    command.stdin(stdin.map_or_else(Stdio::piped, Stdio::from)).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let pid = Pid::from_child(&child);
    let pidfd = Arc::new(pidfd_open(pid, PidfdFlags::empty())?);
    // No core dumps: they would hold what the code worked on. A process that is dead already needs none.
    let _ = prlimit(Some(pid), Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    Ok(Started {
        process: Arc::new(Process { pid, pidfd, reaped: Mutex::new(false), traces }),
        stdin: stdin.map(OwnedFd::from),
        stdout: stdout.map(OwnedFd::from),
        stderr: stderr.map(OwnedFd::from),
    })
}

impl Process {
    pub(super) fn id(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    fn reaped(&self) -> MutexGuard<'_, bool> {
        self.reaped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when the process is dead, its group killed and its status collected.
    pub(super) async fn exit(self: Arc<Self>) -> Exit {
        #[expect(
            deprecated,
            reason = "its successor is unsafe; an OwnedFd keeps to one descriptor, which is all it asks"
        )]
        let watch = AsyncFd::with_interest(Arc::clone(&self.pidfd), tokio::io::Interest::READABLE);
        match watch {
            // Readable means dead.
            Ok(dead) => drop(dead.readable().await),
            Err(error) => {
                tracing::warn!(pid = self.id(), %error, "the end of the worker cannot be waited for");
            }
        }
        let exit = bury(self.pid, self.pidfd.as_fd());
        *self.reaped() = true;
        undertaker::send(Task::Sweep(self.traces.clone()));
        exit.unwrap_or(Exit::Unknown)
    }

    /// Signals the group and, should it have left its group, the leader.
    fn signal(&self, signal: Signal) {
        let reaped = self.reaped();
        if !*reaped {
            // Errors mean that it is dead already.
            let _ = kill_process_group(self.pid, signal);
            let _ = pidfd_send_signal(&*self.pidfd, signal);
        }
    }

    fn has_children(&self) -> bool {
        let pid = self.id();
        std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))
            .is_ok_and(|children| !children.is_empty())
    }
}

/// Kills what is left of a dead leader's group while its id is still taken, and collects its status.
pub(super) fn bury(pid: Pid, pidfd: impl AsFd) -> Option<Exit> {
    let _ = kill_process_group(pid, Signal::KILL);
    match waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG) {
        Ok(None) => None,
        Ok(Some(status)) => Some(match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Unknown,
        }),
        // Somebody else in this process reaps every child.
        Err(Errno::CHILD) => Some(Exit::Unknown),
        Err(_) => None,
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !*self.reaped() {
            let remains =
                Remains { pid: self.pid, pidfd: Arc::clone(&self.pidfd), traces: self.traces.clone() };
            undertaker::send(Task::Bury(remains));
        }
    }
}

/// Power over a process; see [`Control`].
#[derive(Debug)]
pub(super) struct Handle(pub(super) Arc<Process>);

impl Control for Handle {
    fn interrupt(&self) {
        // The doorbell: ignored by default, so it is harmless to a worker that does not know it.
        let _ = pidfd_send_signal(&*self.0.pidfd, Signal::URG);
        if self.0.has_children() {
            let reaped = self.0.reaped();
            if !*reaped {
                let _ = kill_process_group(self.0.pid, Signal::INT);
            }
        }
    }

    fn kill(&self) {
        self.0.signal(Signal::KILL);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a short-lived helper to its end, on the calling thread, for at most `limit`: its output and its stderr.
pub(super) fn run(
    program: &std::path::Path,
    args: &[&str],
    input: &[u8],
    limit: std::time::Duration,
) -> io::Result<(Vec<u8>, String, bool)> {
    use std::io::{Read, Write};
    #[expect(clippy::disallowed_methods, reason = "this is the file that starts processes")]
    let mut command = Command::new(program);
    command.args(args).process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
    let pid = Pid::from_child(&child);
    let (stdin, mut stdout, mut stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (mut output, mut errors) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        // What it does not read it does not need.
        scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(input)));
        scope.spawn(|| stderr.as_mut().map(|stderr| stderr.read_to_end(&mut errors)));
        scope.spawn(|| stdout.as_mut().map(|stdout| stdout.read_to_end(&mut output)));
        if !undertaker::wait_dead(&pidfd, limit) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    });
    let status = child.wait()?;
    Ok((output, String::from_utf8_lossy(&errors).into_owned(), status.success()))
}
