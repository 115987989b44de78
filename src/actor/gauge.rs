//! What a session shows of itself to whoever asks the supervisor, without a message for each change.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::status::{SessionState, Vitals};

/// What can be seen of one session. Written by the session, read by the supervisor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    pub(crate) state: SessionState,
    /// What brought it into this state.
    pub(crate) cause: &'static str,
    pub(crate) pid: Option<u32>,
    pub(crate) vitals: Option<Vitals>,
    pub(crate) unresponsive: bool,
}

impl Shown {
    /// What is shown before anything is known.
    pub(crate) const fn none(state: SessionState, cause: &'static str) -> Self {
        Self { state, cause, pid: None, vitals: None, unresponsive: false }
    }
}

/// Shows a session.
#[derive(Debug)]
pub(crate) struct Gauge(Mutex<Shown>);

impl Gauge {
    pub(crate) const fn new(pid: Option<u32>) -> Self {
        let mut shown = Shown::none(SessionState::Creating, "start");
        shown.pid = pid;
        Self(Mutex::new(shown))
    }

    pub(crate) fn get(&self) -> Shown {
        *self.lock()
    }

    pub(crate) fn moved(&self, state: SessionState, cause: &'static str, pid: Option<u32>) {
        let mut shown = self.lock();
        (shown.state, shown.cause, shown.pid) = (state, cause, pid);
    }

    pub(crate) fn seen(&self, vitals: Option<Vitals>, unresponsive: bool) {
        let mut shown = self.lock();
        (shown.vitals, shown.unresponsive) = (vitals, unresponsive);
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
