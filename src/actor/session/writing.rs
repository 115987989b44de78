//! What a session gives its worker, and what that proves when the worker, or the session, is gone.

use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;

use super::State;
use crate::{
    actor::writer::Refusal,
    log::{trace, warn},
    machine::{
        session::{Broken, Input},
        unstarted::Unstarted,
    },
    protocol::{ExecutionId, ToWorker},
};

/// Partial writes of one session after which they are logged.
const PARTIAL_WRITES_LOGGED_AT: u64 = 100;

impl State {
    pub(super) fn write_message(&mut self, message: &ToWorker) {
        trace!(
            slot = self.shell.post.slot,
            pid = self.shell.pid,
            message = message.type_name(),
            "to the worker"
        );
        match self.codec.encode(message, &mut self.scratch) {
            Ok(()) => {
                let frame = self.scratch.split().freeze();
                let _ = self.write(frame);
            }
            Err(error) => warn!(slot = self.shell.post.slot, %error, "message to the worker not sent"),
        }
    }

    pub(super) fn execute(&mut self, id: ExecutionId) {
        let frame = match &mut self.current {
            Some(assignment) if assignment.id == id => Some(assignment.give()),
            Some(_) | None => self.warmup.take(),
        };
        if self.current.is_some() {
            self.window.open();
        }
        if let Some(frame) = frame {
            trace!(
                slot = self.shell.post.slot,
                pid = self.shell.pid,
                execution = id.get(),
                message = "execute",
                "to the worker"
            );
            self.given_at = self.writer.taken() + frame.len() as u64;
            if !self.write(frame)
                && let Some(assignment) = &mut self.current
            {
                assignment.take_back();
            }
        }
    }

    /// Returns whether the writer has taken it.
    fn write(&mut self, frame: Bytes) -> bool {
        let taken = self.writer.write(frame);
        match taken {
            Ok(true) => {}
            Ok(false) => {
                self.partial_writes += 1;
                self.shell.post.ledger.partial_writes.fetch_add(1, Relaxed);
                if self.partial_writes == PARTIAL_WRITES_LOGGED_AT {
                    let (slot, pid, writes) = (self.shell.post.slot, self.shell.pid, self.partial_writes);
                    warn!(slot, pid, writes, "the worker reads more slowly than it is written to");
                }
            }
            // Its exit follows, or it lives on without hearing us.
            Err(Refusal::Closed) => self.machine.step(Input::Broken(Broken::Closed), &mut self.effects),
            Err(Refusal::Full) => self.machine.step(Input::Broken(Broken::NotReading), &mut self.effects),
        }
        taken.is_ok()
    }

    /// Gives its worker nothing more, and returns proof that it was not given the whole of what it is to execute.
    pub(super) fn unwritten(&self) -> Option<Unstarted> {
        let assignment = self.current.as_ref()?;
        assignment.ungiven().or_else(|| Unstarted::unwritten(self.writer.stop(), self.given_at))
    }
}

impl Drop for State {
    /// With an execution assigned to its session this actor ends before its time, and `started` may be on its way to it: what the
    /// worker was given is not told as unrun. Only a worker that died and was read to its end proves that.
    fn drop(&mut self) {
        let unwritten = self.unwritten();
        if let Some(assignment) = &mut self.current {
            assignment.prove(unwritten);
        }
    }
}
