//! Processes that are not children of ours.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid,
};

use crate::worker::descriptor_limit;

/// A process that is not a child of ours, held so that its id cannot become another's meanwhile.
#[derive(Debug)]
pub(in crate::worker) struct Orphan(OwnedFd);

impl Orphan {
    /// `None` if there is no such process any more. An error is only that this process may open nothing.
    pub(in crate::worker) fn hold(pid: u32) -> io::Result<Option<Self>> {
        let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(None) };
        match pidfd_open(pid, PidfdFlags::empty()).map_err(io::Error::from) {
            Ok(pidfd) => Ok(Some(Self(pidfd))),
            Err(error) if descriptor_limit::is_one(&error) => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Ends it.
    pub(in crate::worker) fn kill(&self) {
        let _ = pidfd_send_signal(&self.0, Signal::KILL);
    }

    /// Collects it, if it is dead and has become a child of ours. False if it is a child of ours that is not dead.
    pub(in crate::worker) fn collect(&self) -> bool {
        let dead = waitid(WaitId::PidFd(self.0.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        !matches!(dead, Ok(None))
    }

    /// Readable once it is dead.
    pub(in crate::worker) fn pidfd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
