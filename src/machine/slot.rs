//! One place in the pool.

use std::time::Instant;

use smallvec::{SmallVec, smallvec};

use crate::{
    outcome::Generation,
    protocol::ExecutionId,
    request::{Affinity, Tenant},
};

/// Names a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LeaseId(pub(crate) u64);

/// A place, its worker, and how many it has had.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) generation: Generation,
    pub(crate) place: Place,
    pub(crate) worker: Record,
    /// How the last worker of this place ended, if it died unasked.
    pub(crate) last_death: Option<String>,
    /// Whose its next worker is, if the last one was leased and died: the place is nobody else's until then.
    pub(crate) heir: Option<LeaseId>,
}

/// What is remembered of a worker.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    /// When it was started.
    pub(crate) since: Instant,
    /// How many workers the pool had had when it was started, with it.
    pub(crate) birth: u64,
    /// Which of the pool's specs it was made from.
    pub(crate) edition: u32,
    /// Executions that it has answered.
    pub(crate) served: u32,
    /// Its part of the jitter, in 0..=1.
    pub(crate) chance: f64,
    /// Whether it holds more memory than it may.
    pub(crate) heavy: bool,
    /// Whether what it served, of a caller that leases no session, has left something running.
    pub(crate) left: bool,
    /// That of the execution that it served last.
    pub(crate) affinity: Option<Affinity>,
    pub(crate) owner: Owner,
}

/// Whose code a worker has run: what that left behind is there for all that follows.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Owner {
    /// Only the warmup has run in it.
    #[default]
    Nobody,
    /// Of this tenant; `None`: of requests that name none.
    Tenant(Option<Tenant>),
}

/// Executions of one worker, when it was given each of them, and what that takes in memory.
pub(crate) type Runs = SmallVec<[(ExecutionId, Instant, usize); 1]>;

/// What is in the place.
#[derive(Clone, Debug)]
pub(crate) enum Place {
    Empty,
    /// Its worker is being started or warmed.
    Starting,
    /// A copy of a leased session is on its way, for this lease.
    Branching {
        lease: LeaseId,
        /// How many executions made what it holds.
        ran: u64,
    },
    Idle {
        since: Instant,
    },
    /// With one execution, or with several if its worker is shared.
    Busy {
        runs: Runs,
    },
    /// A script: its process is the worker, and serves nobody else.
    Script {
        execution: ExecutionId,
        since: Instant,
    },
    Leased {
        lease: LeaseId,
    },
    /// Its worker is ending.
    Retiring,
    /// Its session is gone, and its worker is being killed. `ran`: with code in it.
    Doomed {
        ran: bool,
        why: String,
    },
    BackingOff {
        until: Instant,
    },
}

impl Place {
    /// Whether its worker has no session yet.
    pub(crate) fn is_coming(&self) -> bool {
        matches!(self, Self::Starting | Self::Branching { .. })
    }
}

impl Slot {
    /// An empty place, of a pool that begins now.
    pub(crate) fn new(now: Instant) -> Self {
        let worker = Record {
            since: now,
            birth: 0,
            edition: 0,
            served: 0,
            chance: 0.0,
            heavy: false,
            left: false,
            affinity: None,
            owner: Owner::Nobody,
        };
        Self { generation: Generation(0), place: Place::Empty, worker, last_death: None, heir: None }
    }

    /// Whether a worker of it is alive, or about to be, or not yet reaped.
    pub(crate) fn has_worker(&self) -> bool {
        match self.place {
            Place::Starting
            | Place::Branching { .. }
            | Place::Idle { .. }
            | Place::Busy { .. }
            | Place::Script { .. }
            | Place::Leased { .. }
            | Place::Retiring
            | Place::Doomed { .. } => true,
            Place::Empty | Place::BackingOff { .. } => false,
        }
    }

    /// It runs this, beside what it runs.
    pub(crate) fn runs_also(&mut self, run: (ExecutionId, Instant, usize)) {
        if let Place::Busy { runs } = &mut self.place {
            runs.push(run);
        } else {
            self.place = Place::Busy { runs: smallvec![run] };
        }
    }

    /// What runs in it, leases aside.
    pub(crate) fn runs(&self) -> &[(ExecutionId, Instant, usize)] {
        match &self.place {
            Place::Busy { runs } => runs,
            Place::Empty
            | Place::Starting
            | Place::Branching { .. }
            | Place::Idle { .. }
            | Place::Script { .. }
            | Place::Leased { .. }
            | Place::Retiring
            | Place::Doomed { .. }
            | Place::BackingOff { .. } => &[],
        }
    }

    /// Whether it is somebody's, also while his worker is replaced.
    pub(crate) fn is_leased(&self) -> bool {
        self.heir.is_some() || matches!(self.place, Place::Leased { .. })
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.idle_since().is_some()
    }

    /// Since when it has been free, if it is.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        match self.place {
            Place::Idle { since } => Some(since),
            Place::Empty
            | Place::Starting
            | Place::Branching { .. }
            | Place::Busy { .. }
            | Place::Script { .. }
            | Place::Leased { .. }
            | Place::Retiring
            | Place::Doomed { .. }
            | Place::BackingOff { .. } => None,
        }
    }
}
