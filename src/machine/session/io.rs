//! What a session hears, and what it asks for.

use std::time::Duration;

use crate::{
    machine::{
        budget::MemoryLimits,
        session::Question,
        unstarted::{ChannelEnd, Loss, Unstarted},
    },
    outcome::{Activity, CancelStage, Completion, Death, DeathCause, Event, Exit, Failure, LostCause},
    protocol::{DecodeError, ExecutionId, FromWorker, Level, ToWorker},
    status::Vitals,
};

/// The limits of one session.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) ready_timeout: Duration,
    /// What its start has left of that.
    pub(crate) ready_in: Duration,
    pub(crate) warmup_timeout: Duration,
    pub(crate) grace: Duration,
    pub(crate) heartbeat_timeout: Duration,
    pub(crate) memory: MemoryLimits,
}

/// Everything that can happen to a session.
#[derive(Debug)]
pub(crate) enum Input {
    /// The worker said something.
    Frame(FromWorker),
    /// The worker printed, on a pipe of its own.
    Output(Event),
    /// A frame came whole, but cannot be understood.
    Undecodable(DecodeError),
    /// The channel is of no use any more.
    Broken(Broken),
    /// The worker is dead and reaped, and its channel was read to this end. `unwritten`: it was never given the whole of what
    /// it executes.
    Exited { exit: Exit, stderr: String, channel: ChannelEnd, unwritten: Option<Unstarted> },
    /// The supervisor hands over an execution.
    Assign(ExecutionId),
    /// The supervisor hands over a question. It takes the place of an execution.
    Ask(ExecutionId, Question),
    /// What was assigned may use this much processor time.
    Meter(Duration),
    /// What the operating system says of the worker, as it was asked with [`Effect::Measure`].
    Measured(Option<Vitals>),
    /// Stop this execution, if it is the one that runs.
    Cancel(ExecutionId),
    /// Raise `KeyboardInterrupt` in this execution; it is not a cancel, and nothing follows if the code goes on.
    Interrupt(ExecutionId),
    /// A message for the code of this execution, such as an answer to `input()`.
    Send(ExecutionId, ToWorker),
    /// A wait has ended.
    Elapsed(Timer),
    /// Once a second: what the operating system says of the worker, if it says anything.
    Look(Option<Vitals>),
    /// What the worker was doing, as it was asked with [`Effect::Examine`].
    Examined(Box<Activity>),
    /// End the worker: politely when it is idle, at once when it is not. Of a leased one, what its code left running
    /// has the grace to come to its end; the code of others had that before it was answered.
    Stop { leased: bool },
    /// End the worker at once.
    Kill(DeathCause),
}

impl Input {
    /// Names it, as the cause of a transition.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Frame(frame) => frame.type_name(),
            Self::Output(_) => "output",
            Self::Undecodable(_) => "undecodable frame",
            Self::Broken(_) => "broken channel",
            Self::Exited { .. } => "exit",
            Self::Assign(_) => "assignment",
            Self::Ask(..) => "question",
            Self::Meter(_) | Self::Measured(_) | Self::Elapsed(Timer::Budget) => "processor time",
            Self::Cancel(_) => "cancel",
            Self::Interrupt(_) => "interrupt",
            Self::Send(..) => "message",
            Self::Elapsed(Timer::Start) => "start timeout",
            Self::Elapsed(Timer::Force) => "forced interrupt",
            Self::Elapsed(Timer::Grace) => "end of grace",
            Self::Elapsed(Timer::Proof) => "no proof",
            Self::Elapsed(Timer::Exit) => "no exit",
            Self::Look(_) => "health check",
            Self::Elapsed(Timer::Examine) | Self::Examined(_) => "examination",
            Self::Stop { .. } => "stop",
            Self::Kill(_) => "kill",
        }
    }
}

/// Why a channel is of no use any more.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The worker closed it.
    Closed,
    /// Something that is no frame arrived; `printed` is all that came before the first frame, if none came.
    Garbage { what: String, printed: Option<String> },
    /// The worker does not read what it is sent.
    NotReading,
}

/// The waits of a session. At most one of each kind is armed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Timer {
    /// For `ready`, and then for the end of the warmup.
    Start,
    /// For the next forced interrupt of what is being cancelled.
    Force,
    /// For the look at what it is doing.
    Examine,
    /// For the end of its grace.
    Grace,
    /// For the proof that the worker is idle after it answered wrongly.
    Proof,
    /// For the next look at the processor time that was used.
    Budget,
    /// For the end of the process, after its channel closed or it was asked to go.
    Exit,
}

/// What is to be done.
#[derive(Debug, PartialEq)]
pub(crate) enum Effect {
    /// Send this to the worker.
    Write(ToWorker),
    /// Send the request that was assigned, or the warmup.
    Execute(ExecutionId),
    /// Ring the worker and interrupt its children.
    Interrupt,
    /// Send it SIGINT, for what listens to nothing else: behind the message that says why.
    Signal,
    /// See what the worker is doing.
    Examine,
    /// See how much processor time the worker has used.
    Measure,
    /// The execution used more than it may.
    Exceeded(ExecutionId, Failure),
    /// Kill the worker and its group.
    Kill,
    Arm(Timer, Duration),
    Disarm(Timer),
    /// From here on output is discarded when nobody takes it.
    Shed,
    /// The execution's code is about to run.
    Started(ExecutionId),
    /// A part of the answer to the question that runs.
    Answer(ExecutionId, Box<FromWorker>),
    /// Something for the caller of the execution that runs.
    Event(ExecutionId, Event),
    /// Output while nothing runs.
    Background(Event),
    /// For the supervisor: what this execution left may still run. It is told before the worker is free.
    Left(ExecutionId, Vec<String>),
    /// The execution is over; nothing more will be told about it.
    Ended(ExecutionId, Ending),
    /// The execution cannot run here and was not sent: why.
    Returned(ExecutionId, LostCause),
    /// For the supervisor: warmed, and free.
    Ready,
    /// For the supervisor: free again, after this execution.
    Idle(ExecutionId),
    /// For the supervisor: dead.
    Terminated(Box<Death>),
    /// Worth a line in the log and a counter.
    Noted(Noted),
}

/// How an execution ended, seen from its worker.
#[derive(Debug, PartialEq)]
pub(crate) enum Ending {
    Completed(Box<Completion>),
    Failed(Failure),
    /// It stopped because it was told to.
    Stopped(CancelStage),
    Lost(Loss),
}

/// Things that are survived, and counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    /// A frame of an execution that had ended.
    Late(ExecutionId),
    /// A message type that this host does not know.
    UnknownType(String),
    /// The worker complains about something that it was sent.
    Complaint(String),
    /// A line of the worker's own log.
    Log { level: Level, message: String },
}
