//! What a session does beside its executions: output that belongs to none, answers to questions, and notes for the log.

use std::sync::atomic::Ordering::Relaxed;

use super::State;
use crate::{
    actor::{credit::Credit, messages::SessionNotice},
    log::{debug, info, warn},
    machine::session::Noted,
    outcome::Event,
    protocol::{ExecutionId, FromWorker, Level, Stream},
    session::SessionEvent,
    status::SessionState,
};

impl State {
    /// Output while nothing runs belongs to the session, never to what runs next.
    pub(super) fn background(&mut self, event: Event, credit: Credit) {
        let (stream, data) = match event {
            Event::Output { stream, data } => (stream, data),
            Event::Dropped { .. }
            | Event::SessionRestored(_)
            | Event::Started { .. }
            | Event::Display(_)
            | Event::Input(_)
            | Event::Notification { .. }
            | Event::Asked(_)
            | Event::Left { .. } => return,
        };
        if stream == Stream::Stderr || self.machine.state() == SessionState::Creating {
            self.shell.tail.push(&data);
        }
        if let Some(feed) = self.shell.background.as_ref().filter(|_| credit.is_some()) {
            credit.taken();
            feed.offer(SessionEvent::Background { stream, data });
        }
    }

    /// Code has ended, and something of it runs on.
    pub(super) fn left(&mut self, execution: ExecutionId, what: Vec<String>) {
        let (slot, pid) = (self.shell.post.slot, self.shell.pid);
        info!(slot, pid, %execution, ?what, "code has ended and left something running");
        if let Some(feed) = &self.shell.background {
            feed.offer(SessionEvent::Left { execution, what });
        }
        self.shell.notify(SessionNotice::Left);
    }

    /// A part of the answer to the question that runs goes to who asked.
    pub(super) fn answered(&mut self, id: ExecutionId, message: FromWorker) {
        let assignment = self.current.as_ref().filter(|assignment| assignment.id == id);
        if let Some(question) = assignment.and_then(|assignment| assignment.question.as_ref()) {
            question.gather(message, self.machine.speaker());
        }
    }

    pub(super) fn note(&mut self, noted: Noted) {
        if let Noted::Late(_) = noted {
            self.shell.post.ledger.late_frames.fetch_add(1, Relaxed);
        }
        if !self.shell.notes.admit() {
            return;
        }
        let (slot, pid) = (self.shell.post.slot, self.shell.pid);
        match noted {
            Noted::Late(id) => debug!(slot, pid, execution = %id, "late frame dropped"),
            Noted::UnknownType(name) => warn!(slot, pid, name, "message of an unknown type"),
            Noted::Complaint(what) => warn!(slot, pid, what, "the worker complains"),
            Noted::Log { level, message } => match level {
                Level::Error | Level::Warn => warn!(slot, pid, "worker: {message}"),
                Level::Info => info!(slot, pid, "worker: {message}"),
                Level::Debug => debug!(slot, pid, "worker: {message}"),
            },
        }
    }
}
