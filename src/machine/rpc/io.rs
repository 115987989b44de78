//! What the session of a JSON-RPC server hears, and what it asks for.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::{
    config::JsonRpc,
    machine::{
        budget::MemoryLimits,
        session::{Broken, Ending},
        unstarted::Unstarted,
    },
    outcome::{Death, DeathCause, Event, Exit, LostCause},
    protocol::{
        ExecutionId, RpcError, Value,
        rpc::{Incoming, Outgoing, Tokens},
    },
    status::Vitals,
};

/// The limits of one session.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) server: Arc<JsonRpc>,
    pub(crate) ready_timeout: Duration,
    /// What its start has left of that.
    pub(crate) ready_in: Duration,
    pub(crate) grace: Duration,
    pub(crate) heartbeat_timeout: Duration,
    pub(crate) memory: MemoryLimits,
}

/// How a request is made.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Terms {
    /// It is a notification: there is no answer to it.
    pub(crate) notify: bool,
    /// Its caller answers what the server asks.
    pub(crate) answers: bool,
    /// What its caller calls its progress.
    pub(crate) tokens: Tokens,
}

/// Everything that can happen to the session of a server.
#[derive(Debug)]
pub(crate) enum Input {
    /// The server said something.
    Incoming(Incoming),
    /// The channel is of no use any more.
    Broken(Broken),
    /// The server is dead and reaped. `unwritten`: the calls that it was never given the whole of.
    Exited { exit: Exit, stderr: String, unwritten: BTreeMap<ExecutionId, Unstarted> },
    /// The supervisor hands over an execution.
    Assign(ExecutionId, Terms),
    /// All of this execution's request was written: the server may act on it from here on.
    Sent(ExecutionId),
    /// Stop this execution, if it is in flight.
    Cancel(ExecutionId),
    /// The same for one whose request still waits for room, and was taken from there.
    Withdrawn(ExecutionId),
    /// The caller of this execution answers a question.
    Reply { id: ExecutionId, request: u64, answer: Result<Value, RpcError> },
    /// There was no room for this question with its caller.
    NotAsked(u64),
    /// A wait has ended.
    Elapsed(Timer),
    /// Once a second: what the operating system says of the server, if it says anything.
    Look(Option<Vitals>),
    /// Once a second: whether something waits for room, and nothing was written since the last time.
    Stuck(bool),
    /// End the server: politely when it is idle, at once when it is not.
    Stop,
    /// End the server at once.
    Kill(DeathCause),
}

impl Input {
    /// Names it, as the cause of a transition.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Incoming(Incoming::Answer { .. }) => "answer",
            Self::Incoming(Incoming::Notification { .. }) => "notification",
            Self::Incoming(Incoming::Request { .. }) => "request of the server",
            Self::Incoming(Incoming::Wrong { .. } | Incoming::Broken(_)) => "wrong message",
            Self::Incoming(Incoming::NotAMessage) => "stray line",
            Self::Broken(_) => "broken channel",
            Self::Exited { .. } => "exit",
            Self::Assign(..) => "assignment",
            Self::Sent(_) => "request written",
            Self::Cancel(_) | Self::Withdrawn(_) => "cancel",
            Self::Reply { .. } | Self::NotAsked(_) => "message",
            Self::Elapsed(Timer::Start) => "start timeout",
            Self::Elapsed(Timer::Grace(_) | Timer::Heard(_)) => "end of grace",
            Self::Elapsed(Timer::Exit) => "no exit",
            Self::Look(_) | Self::Stuck(_) => "health check",
            Self::Stop => "stop",
            Self::Kill(_) => "kill",
        }
    }
}

/// The waits of a session. At most one of each is armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Timer {
    /// For the answers to what the server is asked before it is offered.
    Start,
    /// For the answer to a call that was cancelled.
    Grace(ExecutionId),
    /// The same, and the server has heard of the cancel.
    Heard(ExecutionId),
    /// For the end of the process, after its channel closed or it was asked to go.
    Exit,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(crate) enum Effect {
    /// Send the request that was assigned, and say so with [`Input::Sent`] when it is written.
    Send(ExecutionId),
    /// Say this to the server.
    Say(Outgoing),
    /// Close what the server reads from: it is asked to go.
    Close,
    /// Kill the server and its group.
    Kill,
    Arm(Timer, Duration),
    Disarm(Timer),
    /// The server may act on the execution's request from here on.
    Started(ExecutionId),
    /// Something for the caller of an execution.
    Event(ExecutionId, Event),
    /// Something for the holder of the session, if it is leased.
    Background {
        method: String,
        params: Value,
    },
    /// The execution is over; nothing more will be told about it.
    Ended(ExecutionId, Ending),
    /// The execution cannot run here and was not sent: why.
    Returned(ExecutionId, LostCause),
    /// For the supervisor: ready to be asked.
    Ready,
    /// For the supervisor: done with this execution.
    Idle(ExecutionId),
    /// For the supervisor: dead.
    Terminated(Box<Death>),
    /// Worth a line in the log and a counter.
    Noted(Noted),
}

/// Things that are survived, and counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    /// An answer to something that had ended.
    Late(Option<ExecutionId>),
    /// A line that is no message.
    NotAMessage,
    /// A message with something wrong about it, which concerns no execution.
    Complaint(String),
    /// A question that nobody could be asked.
    Unasked(String),
}
