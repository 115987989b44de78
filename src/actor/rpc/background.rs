//! What the session of a server does beside its calls: what was printed, looks, and notes for the log.

use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use ractor::ActorRef;

use super::State;
use crate::{
    actor::messages::{Asker, SessionMsg},
    log::{debug, warn},
    machine::rpc::{Input, Noted},
    outcome::Activity,
    protocol::{Stream, Value},
    session::SessionEvent,
    worker::Inspection,
};

impl State {
    /// What is printed belongs to the server, never to a call: nobody knows which one wrote it.
    pub(super) fn print(&mut self, data: Bytes) {
        if data.is_empty() {
            return;
        }
        self.shell.tail.push(&data);
        if let Some(feed) = &self.shell.background {
            feed.offer(SessionEvent::Background { stream: Stream::Stderr, data });
        }
    }

    /// A notification that belongs to no call goes to the holder of the session, if it has one.
    pub(super) fn background(&mut self, method: String, params: Value) {
        let event = SessionEvent::Notification { method, params };
        if !self.shell.background.as_ref().is_some_and(|feed| feed.offer(event)) {
            self.shell.post.ledger.unclaimed.fetch_add(1, Relaxed);
        }
    }

    /// Has the machine look at the server, and shows what was seen.
    pub(super) fn look(&mut self, myself: &ActorRef<SessionMsg>) {
        self.wrote(myself);
        let stuck = self.is_stuck();
        self.step(myself, Input::Stuck(stuck));
        let vitals = self.shell.look();
        self.step(myself, Input::Look(vitals));
        self.shell.seen(vitals, self.machine.is_unresponsive());
    }

    /// What the server is doing, as far as it can be seen from outside. A helper task waits for that.
    pub(super) fn inspect(&self, asker: Asker) {
        let examination = self.shell.control.examine();
        drop(tokio::spawn(async move {
            let Inspection { vitals, stacks, children } = examination.await;
            // Who asked may have left.
            let _ = asker.send(Box::new(Activity { vitals, stacks, children, ..Activity::default() }));
        }));
    }

    pub(super) fn note(&mut self, noted: Noted) {
        let (slot, pid) = (self.shell.post.slot, self.shell.pid);
        match noted {
            Noted::Late(id) => {
                self.shell.post.ledger.late_frames.fetch_add(1, Relaxed);
                let execution = id.map(|id| id.get());
                debug!(slot, pid, execution, "late frame dropped");
            }
            Noted::NotAMessage => {
                self.shell.post.ledger.stray_lines.fetch_add(1, Relaxed);
            }
            Noted::Complaint(what) if self.shell.notes.admit() => {
                warn!(slot, pid, what, "the worker complains");
            }
            Noted::Unasked(method) if self.shell.notes.admit() => {
                debug!(slot, pid, method, "question of a server refused");
            }
            Noted::Complaint(_) | Noted::Unasked(_) => {}
        }
    }
}
