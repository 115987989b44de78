//! What each frame is to the reader: a fence or none, for a caller or not, and what it keeps in memory.

use crate::{
    actor::credit::CHUNK,
    protocol::{FromWorker, HeapSize},
};

/// Frames that must come after everything that was printed before them.
pub(super) fn is_fence(frame: &FromWorker) -> bool {
    matches!(
        frame,
        FromWorker::Result(_) | FromWorker::Error(_) | FromWorker::Display(_) | FromWorker::InputRequest(_)
    )
}

/// The bytes of output in a frame, if it goes to a caller.
pub(super) fn to_caller(frame: &FromWorker) -> Option<usize> {
    match frame {
        FromWorker::Output(output) => Some(output.data.len()),
        FromWorker::Display(display) => Some(display.data.weight()),
        FromWorker::InputRequest(_) => Some(0),
        // One of them ends an execution.
        FromWorker::Result(_) | FromWorker::Error(_) => None,
        // The machine bounds these, and answers or counts the rest.
        FromWorker::Started(_)
        | FromWorker::CheckpointData(_)
        | FromWorker::Restored(_)
        | FromWorker::Forked(_)
        | FromWorker::VarsResult(_)
        | FromWorker::Ready(_)
        | FromWorker::Heartbeat(_)
        | FromWorker::CancelAck(_)
        | FromWorker::ProtocolError(_)
        | FromWorker::Log(_)
        | FromWorker::ResetResult(_)
        | FromWorker::CompleteResult(_)
        | FromWorker::GetResult(_)
        | FromWorker::SetResult(_)
        | FromWorker::InspectResult(_)
        | FromWorker::Bye => None,
    }
}

/// What a frame keeps in memory. Bytes in it are slices of the block that it was read with: those of a small frame are
/// copied, for many share a block, and a large one has its block for itself.
pub(super) fn held(frame: &mut FromWorker, payload: usize) -> usize {
    if payload < CHUNK / 2 {
        frame.detach();
        frame.heap_size()
    } else {
        frame.heap_size().max(payload).max(CHUNK)
    }
}
