//! A call in flight: its assignment, and the room that its events have.
//!
//! The stream is everybody's, so nobody is waited for: an event that its caller has no room for is dropped, and counted
//! with its bytes.

use std::sync::Arc;

use smallvec::smallvec;

use crate::{
    actor::{
        assignment::Assignment,
        credit::{Credit, Credits, Window, price, window},
        messages::Progress,
        obligation::Ledger,
    },
    machine::{
        session::Ending,
        unstarted::{Unstarted, WrittenForGood},
    },
    outcome::Event,
};

pub(super) struct Flight {
    pub(super) assignment: Assignment,
    /// How far the writer is when its request is whole, if that was not written at once.
    pub(super) sent_at: Option<u64>,
    /// Made when the first event comes: most calls have none.
    room: Option<(Window, Credits)>,
    dropped: u64,
}

impl Flight {
    pub(super) fn new(assignment: Assignment) -> Self {
        Self { assignment, sent_at: None, room: None, dropped: 0 }
    }

    /// Whether its request has been written since it was taken, when so many bytes are.
    pub(super) fn is_sent(&self, written: u64) -> bool {
        self.sent_at.is_some_and(|end| end <= written)
    }

    /// Proof that its request was never wholly written by a writer that has stopped there.
    pub(super) fn unwritten(&self, written: Option<WrittenForGood>) -> Option<Unstarted> {
        let partly = || Unstarted::unwritten(written?, self.sent_at?);
        self.assignment.ungiven().or_else(partly)
    }

    /// Passes an event on, if its caller has room for it, and says whether it had.
    pub(super) fn pass_on(&mut self, event: Event, ledger: &Arc<Ledger>) -> bool {
        let output = event.output();
        let (_, credits) = self.room.get_or_insert_with(|| window(ledger));
        let Some(credit) = credits.try_take(price(event.heap_size())) else {
            credits.discard(output);
            self.dropped += output as u64;
            return false;
        };
        self.tell_dropped();
        self.assignment.tell(smallvec![Progress::Event(event, credit.carrying(output))]);
        true
    }

    fn tell_dropped(&mut self) {
        let bytes = std::mem::take(&mut self.dropped);
        if bytes > 0 {
            self.assignment.tell(smallvec![Progress::Event(Event::Dropped { bytes }, Credit::none())]);
        }
    }

    /// The last word about it.
    pub(super) fn end(mut self, ending: Ending) {
        self.tell_dropped();
        self.assignment.tell(smallvec![Progress::Ended(ending)]);
        self.assignment.discharge();
    }
}
