//! What the session of a server sends, and what waits until there is room for it: a server that others use too is not
//! ended because two of its callers have much to say at once.

use std::collections::VecDeque;

use bytes::Bytes;
use ractor::ActorRef;

use super::State;
use crate::{
    actor::{
        messages::SessionMsg,
        writer::{Refusal, Writer},
    },
    config::{IN_FLIGHT_BYTES, OUTBOX_MAX, REPLIES_MAX},
    log::trace,
    machine::{rpc::Input, session::Broken},
    protocol::ExecutionId,
};

/// What waits for room with the writer, in order.
#[derive(Default)]
pub(super) struct SendQueue {
    waiting: VecDeque<Waiting>,
    /// The bytes of [`Waiting::Outgoing`]: at most `OUTBOX_MAX`.
    said: usize,
    /// How many bytes had left at the last look.
    left: u64,
    /// Answers to the server's own questions that it has not read: how far the writer is behind each, and its price.
    replies: VecDeque<(u64, usize)>,
    /// The price of all of them.
    owed: usize,
}

enum Waiting {
    /// The request of a call: its flight holds the bytes.
    Call(ExecutionId),
    /// Something that the session says.
    Outgoing(Bytes),
}

impl State {
    /// Sends a request behind those that wait.
    pub(super) fn send(&mut self, id: ExecutionId) {
        self.send_queue.waiting.push_back(Waiting::Call(id));
        self.send_what_waits();
    }

    /// Says something, behind what was said before. It is short as a rule, and room is kept for it: it waits for no
    /// request.
    pub(super) fn say(&mut self, message: Bytes) {
        if self.send_queue.said > 0 {
            return self.hold(message);
        }
        match self.writer.as_mut().map(|writer| writer.write(message.clone())) {
            Some(Ok(_)) | None => {}
            Some(Err(Refusal::Full)) => self.hold(message),
            Some(Err(Refusal::Closed)) => self.refused(Refusal::Closed),
        }
    }

    /// Answers a question of the server. One that asks on and on and reads no answer is ended.
    pub(super) fn reply(&mut self, message: Bytes, price: usize) {
        let Some(writer) = &self.writer else { return };
        let (written, line) = (writer.written(), &mut self.send_queue);
        while let Some((_, price)) = line.replies.front().filter(|(end, _)| *end <= written) {
            line.owed -= price;
            line.replies.pop_front();
        }
        line.owed += price;
        line.replies.push_back((writer.taken() + (line.said + message.len()) as u64, price));
        if line.owed > REPLIES_MAX {
            return self.refused(Refusal::Full);
        }
        self.say(message);
    }

    fn hold(&mut self, message: Bytes) {
        if self.send_queue.said + message.len() > OUTBOX_MAX {
            return self.refused(Refusal::Full);
        }
        self.send_queue.said += message.len();
        self.send_queue.waiting.push_back(Waiting::Outgoing(message));
    }

    fn send_what_waits(&mut self) {
        while let Some(next) = self.send_queue.waiting.front() {
            let len = match next {
                Waiting::Call(id) => self.flights.get(id).map(|flight| flight.assignment.len()),
                Waiting::Outgoing(message) => Some(message.len()),
            };
            let len = len.unwrap_or_default();
            if self.writer.as_ref().is_some_and(|writer| !writer.has_room(len)) {
                return;
            }
            match self.send_queue.waiting.pop_front() {
                Some(Waiting::Call(id)) => self.send_now(id),
                Some(Waiting::Outgoing(message)) => {
                    self.send_queue.said -= len;
                    if let Some(Err(refusal)) = self.writer.as_mut().map(|writer| writer.write(message)) {
                        self.refused(refusal);
                    }
                }
                None => {}
            }
        }
    }

    fn send_now(&mut self, id: ExecutionId) {
        let (Some(flight), Some(writer)) = (self.flights.get_mut(&id), &mut self.writer) else { return };
        trace!(
            slot = self.shell.post.slot,
            pid = self.shell.pid,
            execution = id.get(),
            message = "call",
            "to the worker"
        );
        let message = flight.assignment.give();
        // A line is whole without its end: who reads one up to the end of the stream has it.
        let whole = message.trim_ascii_end().len() as u64;
        let whole_at = writer.taken() + whole;
        match writer.write(message) {
            Ok(true) => self.machine.step(Input::Sent(id), &mut self.effects),
            Ok(false) => flight.sent_at = Some(whole_at),
            // It will never be written.
            Err(refusal) => {
                flight.assignment.take_back();
                self.refused(refusal);
            }
        }
    }

    fn refused(&mut self, refusal: Refusal) {
        let broken = match refusal {
            // Its exit follows, or it lives on without hearing us.
            Refusal::Closed => Broken::Closed,
            Refusal::Full => Broken::NotReading,
        };
        self.machine.step(Input::Broken(broken), &mut self.effects);
    }

    /// The writer has got something done, or may have: there may be room.
    pub(super) fn wrote(&mut self, myself: &ActorRef<SessionMsg>) {
        self.see_what_was_sent(myself);
        self.send_what_waits();
        self.perform_all(myself);
    }

    /// Tells the machine which requests have been written since they were taken.
    pub(super) fn see_what_was_sent(&mut self, myself: &ActorRef<SessionMsg>) {
        let Some(written) = self.writer.as_ref().map(Writer::written) else { return };
        let sent: Vec<_> =
            self.flights.iter().filter(|(_, flight)| flight.is_sent(written)).map(|(id, _)| *id).collect();
        for id in sent {
            if let Some(flight) = self.flights.get_mut(&id) {
                flight.sent_at = None;
            }
            self.step(myself, Input::Sent(id));
        }
    }

    /// What was not given to the writer is taken back, and the server hears nothing of it.
    pub(super) fn cancel(&mut self, myself: &ActorRef<SessionMsg>, id: ExecutionId) {
        let before = self.send_queue.waiting.len();
        self.send_queue.waiting.retain(|waiting| !matches!(waiting, Waiting::Call(other) if *other == id));
        let withdrawn = self.send_queue.waiting.len() < before;
        self.step(myself, if withdrawn { Input::Withdrawn(id) } else { Input::Cancel(id) });
    }

    /// Whether somebody waits for the server to read, here or in the queue of the pool, and it has read nothing since this
    /// was last asked.
    pub(super) fn is_stuck(&mut self) -> bool {
        let (taken, unwritten) = self.writer.as_ref().map_or((0, 0), |it| (it.taken(), it.unwritten()));
        let left = taken - unwritten as u64;
        let before = std::mem::replace(&mut self.send_queue.left, left);
        (unwritten >= IN_FLIGHT_BYTES || !self.send_queue.waiting.is_empty()) && left == before
    }
}
