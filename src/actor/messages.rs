//! Every message of every actor, on one page, with its sender.
//!
//! ```text
//!  caller ──Submit──> supervisor ──Assign──> session <──Read, Exited── reader
//!    ▲                    ▲ ▲                  │ │
//!    └─events, outcome─ execution <──Progress──┘ └──FromSession──> supervisor
//! ```
//! Mailboxes are unbounded, so whoever fills one holds a permit: a place in the queue for a request, bytes of credit for
//! all that a worker says. Messages stay small; payloads travel as `Bytes` or boxed.

use std::sync::Arc;

use bytes::Bytes;
use ractor::ActorRef;
use smallvec::SmallVec;
use tokio::{
    sync::{oneshot, watch},
    task::AbortHandle,
};

use crate::{
    actor::{
        assignment::{Assignment, ExitNotice, PendingStateJob, Returning},
        credit::Credit,
        mailbox::Sender,
        obligation::Obligation,
        question::Question,
        sink::{Feed, LastEvent, Sink},
    },
    config::WorkerSpec,
    error::{ReloadError, SpawnError, SubmitError},
    machine::{
        rpc,
        session::{Broken, Ending, Timer},
        supervisor::LeaseId,
    },
    outcome::{Activity, Death, DeathCause, Event, Failure, Generation, LostCause, SessionRestored},
    protocol::{DecodeError, ExecutionId, FromWorker, RpcError, ToWorker, Value, rpc::Incoming},
    request::{Affinity, Label, Limits, Tenant},
    status::{ExecutionStatus, PoolStatus},
    worker::{Inspection, Launched, Order, Worker},
};

/// Told to the supervisor.
#[derive(Debug)]
pub(crate) enum SupervisorMsg {
    /// Runtime, session handle: run this.
    Submit(Box<Submission>),
    /// Runtime: a session of my own, please.
    Lease(Box<LeaseRequest>),
    /// Session handle: a copy of my session, please.
    Fork(Box<ForkRequest>),
    /// Session handle: I am done with it.
    Release(LeaseId),
    /// Runtime: the state of this session is kept under a name from now on.
    Name(LeaseId),
    /// Keeper: this came of the restore of a session in a worker of this generation. The state of after so many of its
    /// executions is back.
    Restored { lease: LeaseId, generation: Generation, fate: Result<(u64, Box<SessionRestored>), String> },
    /// Keeper, session handle: the state of the session was saved, after so many of its executions; `None`: it was not.
    /// `state_job`: the supervisor had asked for it.
    Saved { lease: LeaseId, covers: Option<u64>, state_job: bool },
    /// Runtime: stop this execution. Answers whether there is one.
    Cancel { id: ExecutionId, reason: Option<String>, found: oneshot::Sender<bool> },
    /// Execution: take me out of the queue.
    Withdraw(ExecutionId),
    /// Execution: my worker died before it started me.
    Requeue(Returning),
    /// Execution: I am over, and no session will say so.
    Forget(ExecutionId),
    /// Helper task: the worker of this slot was started, or could not be.
    Spawned { slot: usize, generation: Generation, result: Box<Result<Worker, SpawnError>> },
    /// Helper task: the process of a script was started, for its execution.
    Launched { slot: usize, generation: Generation, worker: Box<Worker>, assignment: Box<Assignment> },
    /// Session: see [`SessionNotice`].
    FromSession { slot: usize, generation: Generation, notice: SessionNotice },
    /// Itself, when it is told that a session actor has ended: behind whatever that session had still to say.
    SessionGone { slot: usize, generation: Generation, why: String },
    /// Own timers.
    Elapsed(Wait),
    /// Runtime: workers are made from another spec now; replace those that live. The reply comes when the first new one
    /// is ready, or is not.
    Reload { spec: Box<WorkerSpec>, done: oneshot::Sender<Result<(), ReloadError>> },
    /// Runtime: whatever kept workers from living is mended.
    Reset,
    /// Runtime: how is it?
    Status(oneshot::Sender<PoolStatus>),
    /// Runtime: what runs?
    List(oneshot::Sender<Vec<ExecutionStatus>>),
    /// Runtime, or the drop of its last handle. The reply comes when nothing is left.
    Shutdown { grace: std::time::Duration, done: Option<oneshot::Sender<()>> },
}

/// What a session tells its supervisor.
#[derive(Debug)]
pub(crate) enum SessionNotice {
    /// Warmed, and free.
    Ready,
    /// Free again; this execution is over.
    Idle(ExecutionId),
    /// What it ran has left something running, and is over next.
    Left,
    /// What it runs is stopped, for it takes too much memory.
    Strained,
    /// It is free, and holds this much memory, in bytes.
    Measured(u64),
    /// Its worker is dead and reaped.
    Terminated(Box<Death>),
}

/// The waits of the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Tick,
    Look,
    Lease(LeaseId),
    Shutdown,
}

/// A request on its way into the pool.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) job: Job,
    pub(crate) lease: Option<LeaseId>,
    pub(crate) obligation: Obligation,
    pub(crate) sink: Sink,
    pub(crate) accepted: oneshot::Sender<Result<Accepted, SubmitError>>,
}

/// The actor of a request that was taken in: its mailbox, and its end.
#[derive(Debug)]
pub(crate) struct Accepted {
    pub(crate) execution: Sender<ExecutionMsg>,
    #[cfg_attr(not(feature = "testing"), expect(dead_code, reason = "tests kill it"))]
    pub(crate) task: AbortHandle,
}

/// What a worker is sent, encoded once, by the caller.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) id: ExecutionId,
    pub(crate) label: Option<Label>,
    pub(crate) tenant: Option<Tenant>,
    pub(crate) affinity: Option<Affinity>,
    pub(crate) frame: Bytes,
    pub(crate) deadline: Option<std::time::Duration>,
    pub(crate) limits: Limits,
    /// It is a question, and no code.
    pub(crate) question: Option<Question>,
    /// The supervisor has asked for it.
    pub(crate) state_job: bool,
    /// The generation of its session that it may run in, if not any.
    pub(crate) expects: Option<Generation>,
    /// It is for a JSON-RPC server: how it is made.
    pub(crate) terms: rpc::Terms,
    /// It is a script, and no code for a worker.
    pub(crate) script: Option<Arc<Launched>>,
}

/// A caller that waits for a session of its own.
#[derive(Debug)]
pub(crate) struct LeaseRequest {
    pub(crate) lease: LeaseId,
    pub(crate) tenant: Option<Tenant>,
    pub(crate) events: Feed,
    /// Where it is told what is to be done to the state of the session.
    pub(crate) duties: Sender<PendingStateJob>,
    pub(crate) granted: oneshot::Sender<Result<watch::Receiver<Granted>, SubmitError>>,
}

/// The holder of a lease that wants a copy of its session.
#[derive(Debug)]
pub(crate) struct ForkRequest {
    pub(crate) of: LeaseId,
    pub(crate) request: LeaseRequest,
    /// What the worker is to be told, once there is a slot for the copy.
    pub(crate) order: oneshot::Sender<Order>,
}

/// A session, handed to a caller. There is another one when the session goes on in a new worker.
#[derive(Clone, Debug)]
pub(crate) struct Granted {
    pub(crate) slot: usize,
    pub(crate) generation: Generation,
    pub(crate) pid: Option<u32>,
    pub(crate) session: ActorRef<SessionMsg>,
}

/// Told to a session.
#[derive(Debug)]
pub(crate) enum SessionMsg {
    /// Reader: this came in one go.
    Read(Box<Read>),
    /// Reader: the worker is dead and reaped. Its last message.
    Exited(ExitNotice),
    /// Writer: the worker has closed what it reads from, with more on its way.
    Unwritable,
    /// Writer of a JSON-RPC server: something that had to wait has been written.
    Written,
    /// Supervisor: run this.
    Assign(Box<Assignment>),
    /// Supervisor: background output goes here from now on.
    Leased(Feed),
    /// Supervisor: your holder has gone, or is refused from now on. Told him when the worker is dead.
    Released(LastEvent),
    /// Execution: stop it, if it still runs.
    Cancel(ExecutionId),
    /// Execution: raise `KeyboardInterrupt` in it.
    Interrupt(ExecutionId),
    /// Execution: send SIGTERM to its script.
    Terminate(ExecutionId),
    /// Execution: pass this on to its code.
    Send(ExecutionId, Box<ToWorker>),
    /// Session handle, execution: what is the worker doing?
    Inspect(Asker),
    /// Helper task: this is what was seen of the worker.
    Inspected(Box<Inspection>),
    /// Reader of a JSON-RPC server: this came in one go.
    Heard(Box<Heard>),
    /// Execution: its caller answers a question of the server.
    Reply { id: ExecutionId, request: u64, answer: Result<Value, RpcError> },
    /// Own timers, with a JSON-RPC server.
    Due(rpc::Timer),
    /// Own timers.
    Elapsed(Timer),
    /// Supervisor: see how the worker is.
    Look,
    /// Supervisor: I know that your worker is dead, and hand you nothing more. The last message.
    Buried,
    /// Supervisor: end the worker, politely if it is idle.
    Stop,
    /// Supervisor: end it at once.
    Kill(DeathCause),
}

/// What one turn of the reader of a JSON-RPC server brought, in order, and the room that it takes until it is dropped.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) said: Vec<Incoming>,
    /// Lines that were no messages, and what was written to stderr.
    pub(crate) printed: Bytes,
    pub(crate) broken: Option<Broken>,
    pub(crate) room: Credit,
}

/// What one turn of the reader brought, and the room that it takes in the inbox until it is handled.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) batch: Batch,
    pub(crate) room: Credit,
}

/// In order.
pub(crate) type Batch = SmallVec<[Item; 2]>;

/// One thing that was read.
#[derive(Debug)]
pub(crate) enum Item {
    /// The credit is that of the caller that it goes to, if it goes to one.
    Frame(FromWorker, Credit),
    /// Bytes from a pipe, or bytes that were dropped.
    Output(Event, Credit),
    Undecodable(DecodeError),
    Broken(Broken),
}

/// Told to an execution.
#[derive(Debug)]
pub(crate) enum ExecutionMsg {
    /// Session: this happened, in order.
    Progress(SmallVec<[Progress; 2]>),
    /// Supervisor: you were given to this session when you asked to leave the queue.
    Assigned(ActorRef<SessionMsg>),
    /// Supervisor: the session that you are about to run in was restored.
    Restored(Box<SessionRestored>),
    /// Supervisor: you are out of the queue.
    Withdrawn,
    /// Supervisor: you will not run.
    Refused(LostCause),
    /// Handle, or supervisor on behalf of one: stop.
    Cancel { reason: Option<String> },
    /// Handle: raise `KeyboardInterrupt`.
    Interrupt,
    /// Handle: send SIGTERM to it, if it is a script.
    Terminate,
    /// Handle: the answer to an input request; `None` is the end of the input.
    Input { request: u64, value: Option<String> },
    /// Handle: the answer to a question of a JSON-RPC server.
    Reply { request: u64, answer: Result<Value, RpcError> },
    /// Handle: what is my worker doing?
    Inspect(Asker),
    /// Helper task: what the worker was doing at the deadline, if its session could say.
    Seen(Option<Box<Activity>>),
}

/// Wants to know what a worker is doing. Dropped when nobody can say.
pub(crate) type Asker = oneshot::Sender<Box<Activity>>;

/// What a session tells an execution.
#[derive(Debug)]
pub(crate) enum Progress {
    Started {
        session: ActorRef<SessionMsg>,
        pid: Option<u32>,
        generation: Generation,
    },
    Event(Event, Credit),
    /// It used more than it may, and how it has failed by that.
    Exceeded(Failure),
    Ended(Ending),
}

/// Calls back with the text of a spawn error, which cannot be cloned.
pub(crate) fn spawn_failure(error: &SpawnError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Keeps the runtime's own parts alive while a handle is.
pub(crate) type Keep = Arc<crate::runtime::Shared>;

#[cfg(feature = "cluster")]
mod cluster {
    //! With ractor's `cluster` feature a message must say that it does not leave the machine; ours do not.
    impl ractor::Message for super::SupervisorMsg {}
    impl ractor::Message for super::SessionMsg {}
}
