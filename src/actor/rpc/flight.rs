//! A call in flight: its charge, and the room that its events have.
//!
//! The stream is everybody's, so nobody is waited for: an event that its caller has no room for is dropped, and counted
//! with its bytes.

use smallvec::smallvec;

use crate::{
    actor::{
        charge::Charge,
        credit::{Credit, Credits, Window, window},
        messages::Progress,
    },
    machine::session::Ending,
    outcome::Event,
};

/// What an event takes at least, so that many small ones have a bound too.
const EVENT_MIN: usize = 256;

pub(super) struct Flight {
    pub(super) charge: Charge,
    /// How far the writer is when its request is written, if it was not written at once.
    pub(super) sent_at: Option<u64>,
    /// Made when the first event comes: most calls have none.
    room: Option<(Window, Credits)>,
    dropped: u64,
}

impl Flight {
    pub(super) fn new(charge: Charge) -> Self {
        Self { charge, sent_at: None, room: None, dropped: 0 }
    }

    /// Whether its request has been written since it was taken, when so many bytes are.
    pub(super) fn is_sent(&self, written: u64) -> bool {
        self.sent_at.is_some_and(|end| end <= written)
    }

    /// Passes an event on, if its caller has room for it.
    pub(super) fn pass_on(&mut self, event: Event) {
        let bytes = weight(&event);
        let (_, credits) = self.room.get_or_insert_with(window);
        match credits.try_take(bytes) {
            Some(credit) => {
                self.tell_dropped();
                self.charge.tell(smallvec![Progress::Event(event, credit)]);
            }
            None => self.dropped += bytes as u64,
        }
    }

    fn tell_dropped(&mut self) {
        let bytes = std::mem::take(&mut self.dropped);
        if bytes > 0 {
            self.charge.tell(smallvec![Progress::Event(Event::Dropped { bytes }, Credit::free())]);
        }
    }

    /// The last word about it.
    pub(super) fn end(mut self, ending: Ending) {
        self.tell_dropped();
        self.charge.tell(smallvec![Progress::Ended(ending)]);
        self.charge.discharge();
    }
}

/// What is as good as output of a program: the bytes that it holds.
fn weight(event: &Event) -> usize {
    let bytes = match event {
        Event::Notification { method, params } => method.len() + params.weight(),
        Event::Asked(question) => question.method.len() + question.params.weight(),
        Event::SessionRestored(_)
        | Event::Started { .. }
        | Event::Output { .. }
        | Event::Display(_)
        | Event::Left { .. }
        | Event::Input(_)
        | Event::Dropped { .. } => 0,
    };
    bytes.max(EVENT_MIN)
}
