//! What has gathered for the execution that a session runs, until it is told in one message.

use smallvec::SmallVec;
use tokio::time::Instant;

use crate::{
    actor::{assignment::Assignment, credit::Credit, messages::Progress, tail::Tail},
    outcome::Event,
    protocol::Stream,
};

#[derive(Default)]
pub(crate) struct Telling {
    progress: SmallVec<[Progress; 2]>,
    /// Bytes of output that nobody had room for, and that were not told yet.
    dropped: u64,
    /// When its code last printed.
    pub(crate) printed: Option<Instant>,
}

impl Telling {
    pub(crate) fn push(&mut self, progress: Progress) {
        self.progress.push(progress);
    }

    /// Nothing goes to a caller that is not paid for: what was dropped is told with the next thing that is, or at the end.
    /// What was printed to stderr is kept in `tail`, too.
    pub(crate) fn event(&mut self, event: Event, credit: Credit, tail: &mut Tail) {
        self.printed = Some(Instant::now());
        if let Event::Dropped { bytes } = &event {
            self.dropped += bytes;
        }
        // What code has left running comes once, with its end.
        if !credit.is_some() && !matches!(event, Event::Left { .. }) {
            return;
        }
        if let Event::Output { stream: Stream::Stderr, data } = &event {
            tail.push(data);
        }
        self.tell_dropped();
        self.push(Progress::Event(event, credit));
    }

    pub(crate) fn tell_dropped(&mut self) {
        let bytes = std::mem::take(&mut self.dropped);
        if bytes > 0 {
            self.push(Progress::Event(Event::Dropped { bytes }, Credit::none()));
        }
    }

    /// Tells the execution, if there is one.
    pub(crate) fn report(&mut self, to: Option<&Assignment>) {
        if self.progress.is_empty() {
            return;
        }
        let progress = std::mem::take(&mut self.progress);
        if let Some(assignment) = to {
            assignment.tell(progress);
        }
    }
}
