//! One place in the pool.

use std::time::Instant;

use crate::{machine::supervisor::LeaseId, outcome::Generation, protocol::ExecutionId};

/// A place, and how many workers it has had.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) generation: Generation,
    /// How many workers the pool had had when this one was started, with it.
    pub(crate) birth: u64,
    pub(crate) place: Place,
}

/// What is in the place.
#[derive(Debug)]
pub(crate) enum Place {
    Empty,
    /// Its worker is being started or warmed.
    Starting {
        since: Instant,
    },
    Idle {
        since: Instant,
        proven: bool,
    },
    Busy {
        since: Instant,
        proven: bool,
        execution: ExecutionId,
    },
    Leased {
        lease: LeaseId,
        since: Instant,
        proven: bool,
    },
    /// Its worker is ending.
    Retiring,
    /// Its session is gone, and its worker is being killed. `ran`: with code in it.
    Doomed {
        since: Instant,
        proven: bool,
        ran: bool,
        why: String,
    },
    BackingOff {
        until: Instant,
    },
}

impl Slot {
    pub(crate) fn new() -> Self {
        Self { generation: Generation(0), birth: 0, place: Place::Empty }
    }

    /// Whether a worker of it is alive, or about to be, or not yet reaped.
    pub(crate) fn has_worker(&self) -> bool {
        match self.place {
            Place::Starting { .. }
            | Place::Idle { .. }
            | Place::Busy { .. }
            | Place::Leased { .. }
            | Place::Retiring
            | Place::Doomed { .. } => true,
            Place::Empty | Place::BackingOff { .. } => false,
        }
    }

    /// Whether its worker serves whoever waits next, now or when it is free. A lease keeps its worker from all others.
    pub(crate) fn serves(&self) -> bool {
        match self.place {
            Place::Starting { .. } | Place::Idle { .. } | Place::Busy { .. } => true,
            Place::Empty
            | Place::Leased { .. }
            | Place::Retiring
            | Place::Doomed { .. }
            | Place::BackingOff { .. } => false,
        }
    }

    /// Since when its worker has lived, and whether it has answered an execution; `None` if it was asked to end.
    pub(crate) fn history(&self) -> Option<(Instant, bool)> {
        match self.place {
            Place::Starting { since } => Some((since, false)),
            Place::Idle { since, proven }
            | Place::Busy { since, proven, .. }
            | Place::Leased { since, proven, .. }
            | Place::Doomed { since, proven, .. } => Some((since, proven)),
            Place::Empty | Place::Retiring | Place::BackingOff { .. } => None,
        }
    }
}
