//! What a session tells the execution that it runs.

use tokio::time::Instant;

use super::State;
use crate::{
    actor::{credit::Credit, messages::Progress},
    outcome::Event,
    protocol::Stream,
};

impl State {
    /// Nothing goes to a caller that is not paid for: what was dropped is told with the next thing that is, or at the end.
    pub(super) fn event(&mut self, event: Event, credit: Credit) {
        self.memory.printed = Some(Instant::now());
        if let Event::Dropped { bytes } = &event {
            self.dropped += bytes;
        }
        // What code has left running comes once, with its end.
        if !credit.is_some() && !matches!(event, Event::Left { .. }) {
            return;
        }
        if let Event::Output { stream: Stream::Stderr, data } = &event {
            self.tail.push(data);
        }
        self.tell_dropped();
        self.progress.push(Progress::Event(event, credit));
    }

    pub(super) fn tell_dropped(&mut self) {
        let bytes = std::mem::take(&mut self.dropped);
        if bytes > 0 {
            self.progress.push(Progress::Event(Event::Dropped { bytes }, Credit::none()));
        }
    }

    /// Tells the execution what has gathered for it.
    pub(super) fn report(&mut self) {
        if self.progress.is_empty() {
            return;
        }
        let progress = std::mem::take(&mut self.progress);
        if let Some(charge) = &self.current {
            charge.tell(progress);
        }
    }
}
