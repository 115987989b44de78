//! Ends the workers of a host that was killed, and what they started, and removes their scratch folders.
//!
//! A worker ends itself and its group when its channel does. Code in C that never lets go of the interpreter keeps it
//! from noticing, and what left the group has nobody left to sweep it. So each pool has a small process of its own that
//! waits for the end of a pipe whose other end only this process holds; and, where there is `setpriv`, for the signal by which
//! the kernel tells of a parent's death: a copy of this process that something forked in it holds the pipe, too.
//!
//! Code runs as the same user and may kill it. So it is watched, and replaced.

use std::{
    collections::{BTreeMap, VecDeque},
    env,
    ffi::OsString,
    process,
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    cleanup::Cleanup,
    process::{Launch, Stdin},
    program,
    scratch::Scratch,
    spawner::Power,
    sweep::Footprint,
    threads::Threads,
};
use crate::error::SpawnError;

const SCRIPT: &str = include_str!("reaper.sh");

/// So many that died are replaced within …
const REPLACED_MAX: usize = 5;
/// … this time; then there is none until that is over and a worker starts.
const REPLACED_WITHIN: Duration = Duration::from_secs(60);

/// The reaper of a pool, and those that it had before.
#[derive(Debug, Default)]
pub(super) struct Reapers {
    now: Option<Reaper>,
    /// When the last ones were found dead.
    deaths: VecDeque<Instant>,
    /// How many were.
    lost: u64,
}

impl Reapers {
    /// Whether one is to be started.
    pub(super) fn is_vacant(&mut self) -> bool {
        while self.deaths.front().is_some_and(|death| death.elapsed() > REPLACED_WITHIN) {
            self.deaths.pop_front();
        }
        self.now.is_none() && self.deaths.len() < REPLACED_MAX
    }

    pub(super) fn take(&mut self, reaper: Reaper) {
        self.now = Some(reaper);
    }

    /// Gives away the one that there is, whose death is then no loss.
    pub(super) fn dismiss(&mut self) -> Option<Reaper> {
        self.now.take()
    }

    /// This one is dead. Whether it was the one that is needed.
    pub(super) fn has_lost(&mut self, pid: u32) -> bool {
        let lost = self.now.take_if(|now| now.pid == pid).is_some();
        if lost {
            self.deaths.push_back(Instant::now());
            self.lost += 1;
        }
        lost
    }

    /// How many died while they were needed.
    pub(super) fn lost(&self) -> u64 {
        self.lost
    }
}

/// The process that waits. It is killed, and not let go, when its pool has ended and nothing is left of it.
#[derive(Debug)]
pub(super) struct Reaper {
    pid: u32,
    _power: Power,
    _until_we_die: Stdin,
}

impl Reaper {
    /// Starts the one of the pool whose workers' tags begin with `pool` and a dot. `on_death` is told its id when it is dead,
    /// on the thread that sees all deaths. Called on the thread that starts processes.
    pub(super) fn start(pool: &str, on_death: impl FnOnce(u32) + Send + 'static) -> Result<Self, SpawnError> {
        let unknown = |source| SpawnError::System {
            action: "find the temporary folder for",
            program: "/bin/sh".into(),
            source,
        };
        let mut args: Vec<_> = ["-c", SCRIPT, "ostler-reaper", pool].map(OsString::from).into();
        args.push(Scratch::home().map_err(unknown)?.into_os_string());
        args.extend([process::id().to_string(), SCRIPT.to_owned()].map(OsString::from));
        let path = env::var_os("PATH").map(|path| ("PATH".into(), path));
        let launch = Launch {
            program: "/bin/sh".into(),
            args,
            // Without a tag: it must not find itself.
            env: BTreeMap::from_iter(path),
            cwd: "/".into(),
            socket: false,
        };
        let footprint = Footprint { tag: format!("{pool}.reaper"), scratch: None };
        let (process, ends) = launch
            .start(&Cleanup::default())
            .map_err(|error| program::not_started(&launch.program, error))?;
        let (pid, process) = (process.id(), Arc::new(process));
        let watched = Threads::get().and_then(|threads| {
            threads.watch().add_and(Arc::clone(&process), footprint, move |_| on_death(pid))
        });
        // Ends it if it is not watched.
        let power = Power::over(process);
        watched.map_err(|error| program::system("watch a process", &launch.program, error))?;
        Ok(Self { pid, _power: power, _until_we_die: ends.stdin })
    }
}
