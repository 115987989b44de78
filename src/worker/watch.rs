//! Sees every worker die, and collects it, whether or not anybody still asks.

use std::{
    collections::HashMap,
    fmt, io,
    os::fd::{AsRawFd, OwnedFd},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};

use rustix::{buffer::spare_capacity, event::epoll};
use tokio::sync::oneshot;

use super::{
    process::Process,
    sweep::{Footprint, Remains},
};
use crate::outcome::Exit;

/// Deaths that are taken up in one turn.
const DEATHS_PER_TURN: usize = 64;
/// Between two attempts to collect a dead process that cannot be collected yet.
const PAUSE: Duration = Duration::from_millis(1);

/// The living workers of this process, and the thread that waits for their ends.
pub(super) struct Watch {
    epoll: OwnedFd,
    /// By the number of the pidfd: it is open, so unique, as long as its entry is here.
    living: Mutex<HashMap<u64, Living>>,
    sweep: mpsc::Sender<Remains>,
}

/// What is done with the exit. It waits for nobody.
type Notice = Box<dyn FnOnce(Exit) + Send>;

struct Living {
    process: Arc<Process>,
    notice: Notice,
    footprint: Option<Footprint>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl Watch {
    /// Watches nothing yet. What dead workers leave behind is sent to `sweep`.
    pub(super) fn new(sweep: mpsc::Sender<Remains>) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, living: Mutex::default(), sweep })
    }

    /// Watches `process` until it is collected. The receiver resolves then. `footprint` is what it leaves behind, if that is
    /// its own.
    pub(super) fn add(
        &self,
        process: Arc<Process>,
        footprint: impl Into<Option<Footprint>>,
    ) -> io::Result<oneshot::Receiver<Exit>> {
        let (exit, receiver) = oneshot::channel();
        self.add_and(process, footprint, move |told| _ = exit.send(told))?;
        Ok(receiver)
    }

    /// The same, with what is done when it is collected, on this thread.
    pub(super) fn add_and(
        &self,
        process: Arc<Process>,
        footprint: impl Into<Option<Footprint>>,
        notice: impl FnOnce(Exit) + Send + 'static,
    ) -> io::Result<()> {
        let (footprint, notice) = (footprint.into(), Box::new(notice));
        let key = key(&process);
        let pidfd = Arc::clone(&process);
        self.living().insert(key, Living { process, notice, footprint });
        let added =
            epoll::add(&self.epoll, pidfd.pidfd(), epoll::EventData::new_u64(key), epoll::EventFlags::IN);
        if let Err(error) = added {
            self.living().remove(&key);
            return Err(error.into());
        }
        Ok(())
    }

    /// Runs for ever.
    pub(super) fn run(&self) {
        let mut events = Vec::<epoll::Event>::with_capacity(DEATHS_PER_TURN);
        loop {
            events.clear();
            // Interrupted by a signal of the host: nothing was missed.
            let _ = epoll::wait(&self.epoll, spare_capacity(&mut events), None);
            for event in &events {
                self.on_death(event.data.u64());
            }
        }
    }

    fn on_death(&self, key: u64) {
        let Some(process) = self.living().get(&key).map(|living| Arc::clone(&living.process)) else { return };
        let Some((exit, pending)) = process.collect() else {
            // Dead, but a debugger has not let go of it. It is reported again at once; that must not keep a core busy.
            return thread::sleep(PAUSE);
        };
        // Others may hold the pidfd open; it would be reported again and again.
        let _ = epoll::delete(&self.epoll, process.pidfd());
        let Some(living) = self.living().remove(&key) else { return };
        let Living { process: watched, notice, footprint } = living;
        // Whoever hears of the end, or of the clearing, may count descriptors.
        let (group, born) = (process.id(), process.born());
        drop((process, watched));
        notice(exit);
        if let Some(footprint) = footprint {
            let _ = self.sweep.send(Remains { footprint, group, born, pending });
        }
    }

    fn living(&self) -> MutexGuard<'_, HashMap<u64, Living>> {
        self.living.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(process: &Process) -> u64 {
    u64::from(process.pidfd().as_raw_fd().unsigned_abs())
}
