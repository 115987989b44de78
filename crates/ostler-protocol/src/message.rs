//! Every message of the protocol, in one enum for each direction.

use super::answers::{
    CheckpointData, CompleteResult, Forked, GetResult, InspectResult, ResetResult, Restored, SetResult,
    VarsResult,
};
use super::exception::ExecutionError;
use super::from_worker::{
    CancelAck, Display, ExecutionResult, Heartbeat, InputRequest, Log, Output, Ready, Started,
};
use super::record::messages;
use super::to_worker::{
    Cancel, Checkpoint, Complete, Execute, Fork, Get, Init, InputResponse, Inspect, Ping, ProtocolError,
    Reset, Restore, Set, Shutdown, Vars,
};
use super::{ExecutionId, error::Fault, reader::Reader, token::Text, writer::Writer};

/// One direction of the protocol.
pub(super) trait Message: Sized {
    /// Writes the whole map, `type` first.
    fn write(&self, to: &mut Writer<'_>);

    /// Reads the `count` entries after the type; `None` if there is no such type.
    fn read(type_name: Text<'_>, from: &mut Reader<'_>, count: usize) -> Result<Option<Self>, Fault>;
}

messages! {
    /// What a host says to a worker.
    ToWorker {
        /// Settles the session, right after `ready` was accepted.
        Init(Init) = "init",
        /// Runs code.
        Execute(Execute) = "execute",
        /// Stops one execution.
        Cancel(Cancel) = "cancel",
        /// Answers an `input_request`.
        InputResponse(InputResponse) = "input_response",
        /// Asks for a heartbeat.
        Ping(Ping) = "ping",
        /// Empties the namespace.
        Reset(Reset) = "reset",
        /// Lists the names of the session.
        Vars(Vars) = "vars",
        /// Asks what could stand at a place in code.
        Complete(Complete) = "complete",
        /// Reads names of the session.
        Get(Get) = "get",
        /// Binds names of the session.
        Set(Set) = "set",
        /// Asks what stands at a place in code.
        Inspect(Inspect) = "inspect",
        /// Saves the namespace.
        Checkpoint(Checkpoint) = "checkpoint",
        /// Brings a saved namespace back.
        Restore(Restore) = "restore",
        /// Forks the worker.
        Fork(Fork) = "fork",
        /// Ends the worker.
        Shutdown(Shutdown) = "shutdown",
        /// Says that a message was not understood.
        ProtocolError(ProtocolError) = "protocol_error",
    }
    empty {
        /// Interrupts whatever runs, as Ctrl-C in a terminal does.
        Interrupt = "interrupt",
    }
}

messages! {
    /// What a worker says to its host.
    FromWorker {
        /// The worker is there.
        Ready(Ready) = "ready",
        /// From here on the execution counts as started.
        Started(Started) = "started",
        /// A piece of output.
        Output(Output) = "output",
        /// A rich result.
        Display(Display) = "display",
        /// Code asks for a line of input.
        InputRequest(InputRequest) = "input_request",
        /// The execution ended well.
        Result(ExecutionResult) = "result",
        /// The execution ended otherwise.
        Error(ExecutionError) = "error",
        /// A sign of life, with figures.
        Heartbeat(Heartbeat) = "heartbeat",
        /// Whether a cancel met what it named.
        CancelAck(CancelAck) = "cancel_ack",
        /// A message was not understood.
        ProtocolError(ProtocolError) = "protocol_error",
        /// A line for the log of the worker.
        Log(Log) = "log",
        /// The namespace is empty.
        ResetResult(ResetResult) = "reset_result",
        /// The names of the session.
        VarsResult(VarsResult) = "vars_result",
        /// What could stand at a place in code.
        CompleteResult(CompleteResult) = "complete_result",
        /// The values of names.
        GetResult(GetResult) = "get_result",
        /// The names are bound.
        SetResult(SetResult) = "set_result",
        /// What stands at a place in code.
        InspectResult(InspectResult) = "inspect_result",
        /// A part of a saved namespace.
        CheckpointData(Box<CheckpointData>) = "checkpoint_data",
        /// A saved namespace is back.
        Restored(Restored) = "restored",
        /// A copy of the worker is on its way.
        Forked(Forked) = "forked",
    }
    empty {
        /// The worker is about to exit.
        Bye = "bye",
    }
}

impl ToWorker {
    /// Returns the execution that the message is about, if it is about one.
    #[must_use]
    pub const fn execution_id(&self) -> Option<ExecutionId> {
        match self {
            Self::Execute(message) => Some(message.id),
            Self::Cancel(message) => Some(message.id),
            Self::InputResponse(message) => Some(message.id),
            Self::Reset(message) => Some(message.id),
            Self::Vars(message) => Some(message.id),
            Self::Complete(message) => Some(message.id),
            Self::Get(message) => Some(message.id),
            Self::Set(message) => Some(message.id),
            Self::Inspect(message) => Some(message.id),
            Self::Checkpoint(message) => Some(message.id),
            Self::Restore(message) => Some(message.id),
            Self::Fork(message) => Some(message.id),
            Self::ProtocolError(message) => message.id,
            Self::Init(_) | Self::Ping(_) | Self::Shutdown(_) | Self::Interrupt => None,
        }
    }
}

impl FromWorker {
    /// Returns the execution that the message is about, if it is about one.
    ///
    /// A heartbeat is about the worker, also when it says what runs.
    #[must_use]
    pub fn execution_id(&self) -> Option<ExecutionId> {
        match self {
            Self::Started(message) => Some(message.id),
            Self::Output(message) => Some(message.id),
            Self::Display(message) => Some(message.id),
            Self::InputRequest(message) => Some(message.id),
            Self::Result(message) => Some(message.id),
            Self::Error(message) => Some(message.id),
            Self::CancelAck(message) => Some(message.id),
            Self::ProtocolError(message) => message.id,
            Self::ResetResult(message) => Some(message.id),
            Self::VarsResult(message) => Some(message.id),
            Self::CompleteResult(message) => Some(message.id),
            Self::GetResult(message) => Some(message.id),
            Self::SetResult(message) => Some(message.id),
            Self::InspectResult(message) => Some(message.id),
            Self::CheckpointData(message) => Some(message.id),
            Self::Restored(message) => Some(message.id),
            Self::Forked(message) => Some(message.id),
            Self::Ready(_) | Self::Heartbeat(_) | Self::Log(_) | Self::Bye => None,
        }
    }
}
