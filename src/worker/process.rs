//! Worker processes: how they are started, signalled and collected. No file elsewhere names `Command`, signals or `wait`.
//!
//! A worker leads its own process group. The group is signalled only while the worker is not yet collected: until
//! then its id cannot have become a stranger's. A worker that was forked is collected by its parent, a zygote or a keeper,
//! and only when told to; so the same holds for it as long as that lives.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io, mem,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{
        Pid, PidfdFlags, Resource, Rlimit, Signal, WaitId, WaitIdOptions, WaitIdStatus, kill_process_group,
        pidfd_open, pidfd_send_signal, prlimit, waitid,
    },
};

use super::{
    branch::Keeper,
    children::{self, naming::Naming},
    cleanup::{Cleanup, Pending},
    oom, sweep, vitals, zygote,
};
use crate::outcome::Exit;

mod orphan;

pub(super) use orphan::Orphan;

/// A process to start. Nothing in it is looked up any more: the program is a path.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) program: PathBuf,
    pub(super) args: Vec<OsString>,
    /// All of it; nothing is inherited.
    pub(super) env: BTreeMap<OsString, OsString>,
    pub(super) cwd: PathBuf,
    /// Whether fd 0 is a socket, which the process also writes to, or a pipe.
    pub(super) socket: bool,
}

/// Our ends of a process's three descriptors.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) stdin: Stdin,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// Our end of a process's fd 0.
#[derive(Debug)]
pub(super) enum Stdin {
    Socket(UnixStream),
    Pipe(OwnedFd),
}

impl Launch {
    /// Starts the process in a group of its own, with three descriptors and no core dumps.
    ///
    /// It takes `posix_spawn`'s way, which costs the same whatever the memory of this process is; a `pre_exec` would
    /// make that a fork.
    pub(super) fn start(&self, cleanup: &Cleanup) -> io::Result<(Process, Ends)> {
        let (socket, stdin) = match self.socket {
            true => {
                let (ours, theirs) = UnixStream::pair()?;
                (Some(ours), Stdio::from(OwnedFd::from(theirs)))
            }
            false => (None, Stdio::piped()),
        };
        let spawned = self.spawn([stdin, Stdio::piped(), Stdio::piped()], true, cleanup);
        let (process, mut child) = spawned.map_err(|(error, _ran)| error)?;
        let stdin = match (socket, child.stdin.take()) {
            (Some(socket), _) => Stdin::Socket(socket),
            (None, stdin) => Stdin::Pipe(stdin.expect("stdin was set to piped above").into()),
        };
        let stdout = child.stdout.take().expect("stdout was set to piped above").into();
        let stderr = child.stderr.take().expect("stderr was set to piped above").into();
        Ok((process, Ends { stdin, stdout, stderr }))
    }

    /// The same with these three streams. `leads`: in a group of its own, and not in that of this process.
    ///
    /// # Errors
    /// There is no process; and whether there was one.
    pub(super) fn start_with(
        &self,
        streams: [Stdio; 3],
        leads: bool,
        cleanup: &Cleanup,
    ) -> Result<Process, (io::Error, bool)> {
        Ok(self.spawn(streams, leads, cleanup)?.0)
    }

    fn spawn(
        &self,
        [stdin, stdout, stderr]: [Stdio; 3],
        leads: bool,
        cleanup: &Cleanup,
    ) -> Result<(Process, Child), (io::Error, bool)> {
        #[expect(clippy::disallowed_methods, reason = "the one place that starts processes")]
        let mut command = Command::new(&self.program);
        if leads {
            command.process_group(0);
        }
        let mut child = command
            .args(&self.args)
            .env_clear()
            .envs(&self.env)
            .current_dir(&self.cwd)
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .map_err(|error| (error, false))?;
        match Process::adopt(child.id(), None, cleanup.clone()) {
            Ok(process) => Ok((Process { leads, ..process }, child)),
            Err(error) => {
                // It cannot be watched, so it cannot stay. It was started just now: its id is still its own.
                let _ = child.kill();
                let _ = child.wait();
                Err((error, true))
            }
        }
    }
}

/// Descriptors for a worker that is forked: our ends, and its own. `socket`: see [`Launch`].
pub(super) fn descriptors(socket: bool) -> io::Result<(Ends, [OwnedFd; 3])> {
    let (stdin, fd0) = match socket {
        true => {
            let (ours, theirs) = UnixStream::pair()?;
            (Stdin::Socket(ours), OwnedFd::from(theirs))
        }
        false => {
            let (theirs, ours) = io::pipe()?;
            (Stdin::Pipe(ours.into()), theirs.into())
        }
    };
    let ((stdout, fd1), (stderr, fd2)) = (io::pipe()?, io::pipe()?);
    let ends = Ends { stdin, stdout: stdout.into(), stderr: stderr.into() };
    Ok((ends, [fd0, fd1.into(), fd2.into()]))
}

/// A started process that leads its own group.
#[derive(Debug)]
pub(super) struct Process {
    pid: Pid,
    pidfd: OwnedFd,
    /// When it was started, see `sweep::born`.
    born: u64,
    /// Whether its group is its own, and ends with it.
    leads: bool,
    /// What forked it, unless it is a child of ours.
    parent: Option<Parent>,
    /// Locked while its group is signalled, so that nobody collects it meanwhile.
    life: Mutex<Life>,
    cleanup: Cleanup,
}

/// A parent that is not this process, and collects its child only by our word.
#[derive(Debug)]
pub(super) enum Parent {
    Zygote(zygote::Parent),
    Keeper(Keeper),
}

impl Parent {
    fn is_alive(&self) -> bool {
        match self {
            Self::Zygote(zygote) => zygote.is_alive(),
            Self::Keeper(keeper) => keeper.is_alive(),
        }
    }

    /// Has a child collected that is dead.
    fn collect(&self, pid: u32) {
        match self {
            Self::Zygote(zygote) => zygote.collect(pid),
            Self::Keeper(keeper) => keeper.let_go(),
        }
    }
}

#[derive(Debug)]
enum Life {
    /// And whether it is held: its end is for somebody else to look at first, and it is collected when it was killed by us.
    Alive(bool),
    /// Killed by us, and not collected yet.
    Dying(Pending),
    Collected,
}

impl Process {
    /// Takes over a process that was started just now, and is not collected before we say so.
    pub(super) fn adopt(id: u32, parent: Option<Parent>, cleanup: Cleanup) -> io::Result<Self> {
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidData)?;
        let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
        if parent.as_ref().is_some_and(|parent| !parent.is_alive()) {
            // Whoever inherited its children may have collected this one before we held it.
            return Err(io::ErrorKind::NotFound.into());
        }
        oom::watch();
        let none = Rlimit { current: Some(0), maximum: Some(0) };
        // Refused only if it is dead already.
        let _ = prlimit(Some(pid), Resource::Core, none);
        let process = Self {
            pid,
            pidfd,
            born: sweep::born(id),
            leads: true,
            parent,
            life: Mutex::new(Life::Alive(false)),
            cleanup,
        };
        // Somebody else may have collected it, and what was read is a stranger's.
        let born = if process.is_dead() { 0 } else { process.born };
        Ok(Self { born, ..process })
    }

    /// Its process id.
    pub(super) fn id(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }

    /// When it was started, see `sweep::born`.
    pub(super) fn born(&self) -> u64 {
        self.born
    }

    /// Readable once it is dead.
    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Looks at it by its id. `None` once it is collected: what was seen may be a stranger's. Nothing is locked meanwhile,
    /// so a look that takes long holds up no kill.
    pub(super) fn look<T>(&self, look: impl FnOnce(u32) -> T) -> Option<T> {
        let seen = look(self.id());
        (!matches!(*self.life(), Life::Collected)).then_some(seen)
    }

    /// Ends it and its group. Does nothing once it is collected.
    pub(super) fn kill(&self) {
        let mut life = self.life();
        match *life {
            Life::Alive(_) => *life = Life::Dying(self.cleanup.one_more()),
            Life::Dying(_) => {}
            Life::Collected => return,
        }
        if self.leads && self.is_kept() {
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
        // It may have moved itself to another group.
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// Leaves it and its group as they are when it ends by itself, until it is killed.
    #[cfg(feature = "conform")]
    pub(super) fn hold(&self) {
        if let Life::Alive(held) = &mut *self.life() {
            *held = true;
        }
    }

    /// Whether it is dead, collected or not.
    pub(super) fn is_dead(&self) -> bool {
        self.poll_death(Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))
    }

    /// Whether it is dead, or all of it is on its way there and runs nothing of its own any more.
    pub(super) fn is_ending(&self) -> bool {
        self.is_dead() || self.look(vitals::is_ending).unwrap_or(true)
    }

    /// Waits until it is dead, for so long.
    fn poll_death(&self, within: Option<&Timespec>) -> bool {
        let mut death = [PollFd::new(&self.pidfd, PollFlags::IN)];
        poll(&mut death, within).is_ok_and(|dead| dead > 0)
    }

    /// Whether its id is its own, if we have not collected it. Once its parent is gone, another parent may collect it as
    /// soon as it is dead; ids come round after all others only, so one that lives has its own for a moment longer.
    fn is_kept(&self) -> bool {
        self.parent.as_ref().is_none_or(Parent::is_alive) || !self.is_dead()
    }

    /// Rings the process, and interrupts what it has started in its group: code in C that waits for a child does not
    /// hear the bell. Children that are being asked for their `naming` are interrupted when that is over.
    pub(super) fn interrupt(&self, naming: Option<&Naming>) {
        // Ignored by default, so harmless to a program that does not know it.
        let _ = pidfd_send_signal(&self.pidfd, Signal::URG);
        if naming.is_some_and(|naming| naming.interrupt_after(self.pid)) {
            return;
        }
        // Before anything is locked, for they may be many.
        let children = children::to_interrupt(self.id());
        let life = self.life();
        if !children.is_empty() && !matches!(*life, Life::Collected) && self.is_kept() {
            children::interrupt(self.pid, &children);
        }
    }

    /// Sends a signal to it and its group, as a terminal does.
    pub(super) fn signal(&self, signal: Signal) {
        let life = self.life();
        if matches!(*life, Life::Collected) {
            return;
        }
        if self.leads && self.is_kept() {
            let _ = kill_process_group(self.pid, signal);
        } else {
            let _ = pidfd_send_signal(&self.pidfd, signal);
        }
    }

    /// Sends a signal to it alone, which knows it: to any other, it is death.
    pub(super) fn alert(&self, signal: Signal) {
        let _ = pidfd_send_signal(&self.pidfd, signal);
    }

    /// Once the process is dead: kills what is left of its group, then collects it. `None` while it lives.
    ///
    /// The order matters: as long as the process is not collected, its group's id is its own.
    pub(super) fn collect(&self) -> Option<(Exit, Pending)> {
        let mut life = self.life();
        if matches!(*life, Life::Alive(true)) {
            return None;
        }
        let id = || WaitId::PidFd(self.pidfd.as_fd());
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let exit = match (waitid(id(), look), &self.parent) {
            (Ok(None), _) => return None,
            (Ok(Some(status)), _) => {
                if self.leads {
                    let _ = kill_process_group(self.pid, Signal::KILL);
                }
                let _ = waitid(id(), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
                exit(&status)
            }
            (Err(_), Some(_)) if !self.is_dead() => return None,
            (Err(_), Some(parent)) => self.have_collected(parent),
            // Another part of this program collects every child. The group's id may be free by now, so what was in
            // the group is left to the sweep.
            (Err(_), None) => Exit::Unknown,
        };
        let by_us = matches!(*life, Life::Dying(_));
        let exit = match exit {
            Exit::Signal(9) if !by_us && oom::struck() => Exit::OutOfMemory,
            exit @ (Exit::Code(_) | Exit::Signal(_) | Exit::OutOfMemory | Exit::Unknown) => exit,
        };
        let pending = match mem::replace(&mut *life, Life::Collected) {
            Life::Dying(pending) => pending,
            Life::Alive(_) | Life::Collected => self.cleanup.one_more(),
        };
        Some((exit, pending))
    }

    /// Has its parent collect it, once it is dead. Until then everybody may read how it ended.
    fn have_collected(&self, parent: &Parent) -> Exit {
        let exit = vitals::exit(self.id()).unwrap_or(Exit::Unknown);
        if !parent.is_alive() {
            // So somebody else may have collected it, and what was read may be a stranger's. Its group is left to the
            // sweep, too.
            return Exit::Unknown;
        }
        let _ = kill_process_group(self.pid, Signal::KILL);
        parent.collect(self.id());
        exit
    }

    /// Ends it and waits until it is collected. For a process that nobody watches.
    pub(super) fn end(&self) {
        self.kill();
        self.poll_death(None);
        self.collect();
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn exit(status: &WaitIdStatus) -> Exit {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Exit::Code(code),
        (None, Some(signal)) => Exit::Signal(signal),
        (None, None) => Exit::Unknown,
    }
}
