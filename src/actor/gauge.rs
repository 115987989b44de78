//! What a session shows of itself to whoever asks the supervisor, without a message for each change.

use std::sync::{Mutex, PoisonError};

use crate::status::SessionState;

/// The state and the process id of one session. Written by the session, read by the supervisor.
#[derive(Debug)]
pub(crate) struct Gauge(Mutex<(SessionState, Option<u32>)>);

impl Gauge {
    pub(crate) const fn new(pid: Option<u32>) -> Self {
        Self(Mutex::new((SessionState::Creating, pid)))
    }

    pub(crate) fn set(&self, state: SessionState, pid: Option<u32>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (state, pid);
    }

    pub(crate) fn get(&self) -> (SessionState, Option<u32>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
