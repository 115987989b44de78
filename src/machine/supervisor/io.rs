//! What a pool hears, and what it asks for.

use std::time::Duration;

use crate::{
    error::SubmitError,
    machine::{queue::Asked, slot::LeaseId},
    outcome::{Death, DeathCause, Generation, LostCause},
    protocol::ExecutionId,
    request::{Affinity, Tenant},
};

/// What an execution wants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Want {
    /// The session that its caller leases, or any.
    pub(crate) lease: Option<LeaseId>,
    pub(crate) tenant: Option<Tenant>,
    pub(crate) affinity: Option<Affinity>,
    pub(crate) deadline: Option<Duration>,
    /// What it takes in memory while it waits, unless its caller holds that anyway.
    pub(crate) bytes: usize,
    pub(crate) sort: Sort,
    /// It is a script, for a process of its own.
    pub(crate) script: bool,
    /// It was asked for with an effect, and comes before what waits in the session's queue.
    pub(crate) state_job: bool,
    /// The generation of the session that it may run in, if not any.
    pub(crate) expects: Option<Generation>,
}

/// What an execution is to the state of its session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Sort {
    /// It may change it.
    #[default]
    Code,
    /// It asks for it, or for a copy.
    Save,
    /// It brings one back.
    Restore,
}

/// What a session is to be asked for by those who keep its state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum StateJob {
    /// Save it, and say so with `Saved`.
    Save,
    /// Bring its state back, and say so with `Restored`. Its old worker died of this.
    Restore { generation: Generation, why: String },
}

/// Names a state of a session: it is what so many executions have made of it, the last of them in this worker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment {
    pub(crate) generation: Generation,
    pub(crate) ran: u64,
}

/// Everything that can happen to a pool.
#[derive(Debug)]
pub(crate) enum Input {
    /// The pool begins.
    Begin,
    /// A caller submits an execution.
    Submit(ExecutionId, Want),
    /// An execution wants to leave the queue.
    Withdraw(ExecutionId),
    /// An execution whose worker died before it started it: in that session, if it is for one.
    Requeue { execution: ExecutionId, lease: Option<LeaseId>, asked: Asked, expects: Option<Generation> },
    /// An execution has its outcome, and is in no session.
    Forget(ExecutionId),
    /// A caller wants a session of its own, on behalf of this tenant.
    Lease(LeaseId, Option<Tenant>),
    /// The holder of a lease wants a copy of its session, as another lease.
    Fork { of: LeaseId, lease: LeaseId },
    /// A lease is over, or the one who waited for it left.
    Release(LeaseId),
    /// The state of a session is kept under a name from now on.
    Name(LeaseId),
    /// What came of the restore of a session in a new worker, of this generation: the state of after so many executions
    /// is back.
    Restored { lease: LeaseId, generation: Generation, fate: Result<u64, String> },
    /// The state of a session was saved, after so many of its executions; `None`: it was not. `state_job`: it was asked for.
    Saved { lease: LeaseId, covers: Option<u64>, state_job: bool },
    /// What a worker runs is stopped, for it takes too much memory.
    Strained { slot: usize, generation: Generation },
    /// What a worker runs has left something running, and is over next.
    Left { slot: usize, generation: Generation },
    /// A leased session ran nothing for as long as it may.
    LeaseExpired(LeaseId),
    /// The session of a worker ended without it: the worker is being killed, and `Terminated` follows.
    Abandoned { slot: usize, generation: Generation, why: String },
    /// A worker could not be started.
    NotSpawned { slot: usize, generation: Generation, why: String },
    /// A worker is warmed and free.
    Ready { slot: usize, generation: Generation },
    /// A worker is free after an execution.
    Idle { slot: usize, generation: Generation, execution: ExecutionId },
    /// A worker is dead and reaped.
    Terminated { slot: usize, generation: Generation, death: Box<Death> },
    /// A worker that is idle holds this much memory, in bytes.
    Measured { slot: usize, generation: Generation, memory: u64 },
    /// Workers are made from another spec from now on: replace those that live.
    Reload,
    /// Forget what died, and start workers again.
    Reset,
    /// A wait has ended: look at the slots again.
    Tick,
    /// Serve what runs for at most this long, and end.
    Shutdown { grace: Duration },
    /// The time for that is over.
    ShutdownElapsed,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(crate) enum Effect {
    /// Start a worker in this slot.
    Start {
        slot: usize,
        generation: Generation,
    },
    /// Start the process of this script in this slot.
    Launch {
        slot: usize,
        generation: Generation,
        execution: ExecutionId,
    },
    /// Await a copy of another session in this slot, for this lease.
    Branch {
        slot: usize,
        generation: Generation,
        lease: LeaseId,
    },
    /// Give this execution to the session in this slot.
    Assign {
        slot: usize,
        execution: ExecutionId,
    },
    /// Tell this execution that it is out of the queue, as it asked.
    Withdrawn(ExecutionId),
    /// Tell this execution where it is: it asked too late.
    AlreadyAssigned {
        slot: usize,
        execution: ExecutionId,
    },
    /// Tell this waiting execution that it will not run.
    Lose(ExecutionId, LostCause),
    /// It was accepted.
    Accept(ExecutionId),
    /// It was not accepted.
    Refuse(ExecutionId, SubmitError),
    /// Stop this execution, which nobody waits for any more.
    Cancel {
        slot: usize,
        execution: ExecutionId,
    },
    /// Hand the session in this slot to this lease.
    Grant {
        lease: LeaseId,
        slot: usize,
    },
    /// This lease will not be granted.
    Deny(LeaseId, SubmitError),
    /// Hand the new session in this slot to the holder of this lease, and have its state brought back.
    Regrant {
        lease: LeaseId,
        slot: usize,
    },
    /// That was done, and what so many executions made is lost: tell the holder.
    Announce {
        lease: LeaseId,
        unsaved: u64,
    },
    /// Have something done to the state of this session.
    Tend(LeaseId, StateJob),
    /// Tell the holder that its session has ended.
    LeaseEnded(LeaseId, String),
    /// End the worker in this slot: politely, or at once.
    Stop {
        slot: usize,
    },
    Kill {
        slot: usize,
        cause: DeathCause,
    },
    /// End the session in this slot without its worker, which cannot be killed.
    Desert {
        slot: usize,
    },
    /// Call with `Tick` after this wait.
    Tick(Duration),
    /// Call with `LeaseExpired` after this wait, unless armed again.
    ArmLease(LeaseId, Duration),
    DisarmLease(LeaseId),
    /// Call with `ShutdownElapsed` after this wait.
    ArmShutdown(Duration),
    /// The pool serves its first session.
    Started,
    /// The pool starts no more workers, but one now and then to see whether it would live.
    Failed(String),
    /// That one lives: the pool serves again.
    Recovered,
    /// The worker in this slot is replaced.
    Renewed {
        slot: usize,
        reason: RecycleReason,
    },
    /// What became of the first worker of the newest spec.
    Reloaded(Result<(), String>),
    /// No worker is left; the supervisor may end.
    Stopped,
}

/// Why a worker that lives is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecycleReason {
    Executions,
    Age,
    Memory,
    Spec,
    Unused,
    /// An execution has ended and left something running in it.
    Left,
    /// It is idle, and has run code of another tenant than the one who waits.
    Tenant,
}
