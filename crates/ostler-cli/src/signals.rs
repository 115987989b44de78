//! What the operating system tells the program to do.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::process::{Pid, PidfdFlags, Signal as Sig, pidfd_open, pidfd_send_signal};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::Instant,
};

use crate::exit::Exit;

/// How urgently the program is to stop. Each follows from the ones before it, and none is taken back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Not at all.
    #[default]
    No,
    /// Start nothing more, and let what runs end within the grace: TERM or HUP.
    Drain(u8),
    /// Cancel what runs: the first Ctrl-C, or a closed stdout.
    Cancel(Exit),
    /// Kill what runs: a second signal.
    Kill(Exit),
}

impl Stop {
    /// The exit code of a program that was stopped so.
    pub(crate) fn exit(self) -> Option<Exit> {
        match self {
            Self::No => None,
            Self::Drain(signal) => Some(Exit::Signal(signal)),
            Self::Cancel(exit) | Self::Kill(exit) => Some(exit),
        }
    }
}

/// `timeout` and others signal a process and then its group: what comes twice within this time was sent once.
const ONE_SIGNAL: Duration = Duration::from_millis(1);

/// The number of SIGINT on every system.
const INT: u8 = 2;
/// The number of SIGTERM on every system.
const TERM: u8 = 15;
/// The number of SIGHUP on every system.
const HUP: u8 = 1;

/// Has a write beyond `ulimit -f` fail, where the signal would end the program at once. Its workers have what they would have
/// without: a handler, which is what this is, is not inherited.
pub(crate) fn survive_large_files() -> io::Result<()> {
    signal(SignalKind::from_raw(Sig::XFSZ.as_raw())).map(drop)
}

/// The signals that the program listens to.
#[derive(Debug)]
pub(crate) struct Signals {
    /// None when it was ignored at the start: the program runs in the background, and Ctrl-C means another one.
    interrupt: Option<Signal>,
    terminate: Signal,
    hangup: Option<Signal>,
    /// SIGUSR1 and SIGUSR2, which mean nothing to the program itself.
    users: [Option<Signal>; 2],
    /// Whether a hangup reaches what runs by itself.
    shares_terminal: bool,
}

impl Signals {
    /// What Ctrl-C sends.
    pub(crate) const INTERRUPT: u8 = INT;

    /// What asks a process to end.
    pub(crate) const TERMINATE: u8 = TERM;

    /// Listens from now on.
    pub(crate) fn listen() -> io::Result<Self> {
        Ok(Self {
            interrupt: unless_ignored(INT, SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: unless_ignored(HUP, SignalKind::hangup())?,
            users: [None, None],
            shares_terminal: false,
        })
    }

    /// Listens from now on to what the only file that runs would hear without this program, to pass it on.
    pub(crate) fn hear_for_another(&mut self) -> io::Result<()> {
        self.users = [
            unless_ignored(number(Sig::USR1), SignalKind::user_defined1())?,
            unless_ignored(number(Sig::USR2), SignalKind::user_defined2())?,
        ];
        Ok(())
    }

    /// What a closed terminal sends, more than once.
    pub(crate) const HANGUP: u8 = HUP;

    /// Resolves at the next signal, with its number. Cancel safe.
    pub(crate) async fn next(&mut self) -> u8 {
        let Self { interrupt, terminate, hangup, users: [first, second], shares_terminal: _ } = self;
        tokio::select! {
            () = heard(first) => number(Sig::USR1),
            () = heard(second) => number(Sig::USR2),
            () = heard(interrupt) => INT,
            () = heard(hangup) => HUP,
            _ = terminate.recv() => TERM,
        }
    }

    /// Leaves Ctrl-C to what shares the terminal: it is typed for that, and heard there.
    pub(crate) fn leave_interrupts(&mut self) {
        // The handler stays, so that this program does not end of it.
        self.interrupt = None;
        self.shares_terminal = true;
    }

    /// Turns signals into how urgently to stop.
    pub(crate) fn watch(mut self) -> Stopping {
        let stopping = Stopping { told: watch::Sender::new(Stop::No), script: Arc::default() };
        let told = stopping.clone();
        tokio::spawn(async move {
            let mut last = None;
            loop {
                let signal = self.next().await;
                if told.is_for_script(signal, self.shares_terminal) {
                    continue;
                }
                let now = Instant::now();
                let again = |(same, at): (u8, Instant)| same == signal && now.duration_since(at) < ONE_SIGNAL;
                if !last.replace((signal, now)).is_some_and(again) {
                    told.change(|stop| after(stop, signal));
                }
            }
        });
        stopping
    }
}

/// How urgently the program is to stop, for everyone who wants to know. Values only: a lock that is held over a wait
/// would stop the program from hearing the next signal.
#[derive(Clone, Debug)]
pub(crate) struct Stopping {
    told: watch::Sender<Stop>,
    /// The only file that runs, to which signals are passed on.
    script: Arc<Mutex<Option<(u32, OwnedFd)>>>,
}

impl Stopping {
    /// The only file that runs does so in this process.
    pub(crate) fn runs(&self, pid: u32) {
        let found = i32::try_from(pid).ok().and_then(Pid::from_raw);
        // One that is gone hears nothing.
        let found = found.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        *self.script.lock().unwrap_or_else(PoisonError::into_inner) = found.map(|pidfd| (pid, pidfd));
    }

    /// Whether a signal is none of this program's business: SIGUSR1, SIGUSR2, and a hangup that the script handles, to
    /// which it may mean something else than the end. The script is told, unless it was by whoever told us.
    fn is_for_script(&self, signal: u8, shares_terminal: bool) -> bool {
        let script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        let is_users = [number(Sig::USR1), number(Sig::USR2)].contains(&signal);
        let is_its = |(pid, _): &(u32, OwnedFd)| is_users || signal == HUP && is_handled(*pid, HUP);
        let told = script.as_ref().filter(|script| is_its(script));
        if let (Some((_, pidfd)), Some(signal), false) =
            (told, Sig::from_named_raw(i32::from(signal)), signal == HUP && shares_terminal)
        {
            // Refused only if it is dead.
            let _ = pidfd_send_signal(pidfd, signal);
        }
        is_users || told.is_some()
    }

    /// At this moment.
    pub(crate) fn now(&self) -> Stop {
        *self.told.borrow()
    }

    /// Tells something else.
    pub(crate) fn change(&self, change: impl FnOnce(Stop) -> Stop) {
        self.told.send_modify(|stop| *stop = change(*stop));
    }

    /// Resolves when it is what is wanted.
    pub(crate) async fn when(&self, wanted: impl Fn(Stop) -> bool) {
        // The channel is open: its sender is right here.
        let _ = self.told.subscribe().wait_for(|stop| wanted(*stop)).await;
    }

    /// Resolves when the program is to stop, however urgently.
    pub(crate) async fn told(&self) {
        self.when(|stop| stop != Stop::No).await;
    }
}

/// What a signal makes of what was told before.
fn after(stop: Stop, signal: u8) -> Stop {
    match (stop, signal) {
        (Stop::No, INT) => Stop::Cancel(Exit::Signal(INT)),
        (Stop::No, _) => Stop::Drain(signal),
        // A terminal that closes says so more than once: the kernel to the program, and the shell to its jobs.
        (Stop::Drain(_) | Stop::Cancel(_) | Stop::Kill(_), HUP) => stop,
        (Stop::Drain(first), _) => Stop::Kill(Exit::Signal(first)),
        (Stop::Cancel(exit) | Stop::Kill(exit), _) => Stop::Kill(exit),
    }
}

/// The number of a signal, which is small everywhere.
fn number(signal: Sig) -> u8 {
    signal.as_raw().to_le_bytes()[0]
}

/// Listens to a signal, unless it was ignored at the start.
fn unless_ignored(number: u8, kind: SignalKind) -> io::Result<Option<Signal>> {
    match ignored() & (1 << (number - 1)) {
        0 => signal(kind).map(Some),
        _ => Ok(None),
    }
}

async fn heard(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => {
            signal.recv().await;
        }
        None => std::future::pending().await,
    }
}

/// The signals that were ignored when the program was started, as bits. `nohup` and background jobs ask so for them to
/// stay ignored. Where the system does not tell, none.
fn ignored() -> u64 {
    disposed("self", "SigIgn:")
}

/// Whether a process handles this signal. Where the system does not tell, it does not.
pub(crate) fn is_handled(pid: u32, signal: u8) -> bool {
    disposed(&pid.to_string(), "SigCgt:") & (1 << (signal - 1)) != 0
}

/// The signals of a process that are disposed of so, as bits.
fn disposed(pid: &str, how: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(how));
    line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_signal_kills_and_none_takes_anything_back() {
        let exit = Exit::Signal(INT);
        for (stop, signal, expected) in [
            (Stop::No, INT, Stop::Cancel(exit)),
            (Stop::Cancel(exit), INT, Stop::Kill(exit)),
            (Stop::Kill(exit), INT, Stop::Kill(exit)),
            (Stop::No, TERM, Stop::Drain(TERM)),
            (Stop::Drain(TERM), HUP, Stop::Drain(TERM)),
            (Stop::No, HUP, Stop::Drain(HUP)),
            (Stop::Drain(HUP), HUP, Stop::Drain(HUP)),
            (Stop::Drain(TERM), TERM, Stop::Kill(Exit::Signal(TERM))),
            (Stop::Drain(TERM), INT, Stop::Kill(Exit::Signal(TERM))),
            (Stop::Cancel(exit), HUP, Stop::Cancel(exit)),
            (Stop::Cancel(exit), TERM, Stop::Kill(exit)),
        ] {
            assert_eq!(after(stop, signal), expected, "{stop:?} then {signal}");
        }
    }
}
