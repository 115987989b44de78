//! The events of one execution with their numbers, for several readers.
//!
//! The log takes every event at once, so no reader makes the worker wait, and none makes another one wait. It holds the
//! beginning and the end of what happened; what does not fit falls out of the middle, is counted, and each reader that
//! misses it is told.

mod entries;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

use self::entries::Entries;
use crate::{
    execution::{Canceller, Execution},
    outcome::{Event, LostCause, Outcome},
    protocol::ExecutionId,
    request::Label,
};

/// One thing that a reader of an [`EventLog`] is told.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Logged {
    /// Something happened. Output ends at whole characters.
    Event {
        /// Its number. The first event is 1, and each one that follows is one more.
        seq: u64,
        /// What.
        event: Arc<Event>,
    },
    /// The log no longer holds these.
    Missed {
        /// The number of the first.
        first: u64,
        /// The number of the last.
        last: u64,
        /// Bytes of output in everything that the log has dropped until now.
        bytes: u64,
    },
    /// The execution ended. The last entry.
    Ended {
        /// Its number.
        seq: u64,
        /// How.
        outcome: Arc<Outcome>,
        /// The time from the submission to the outcome.
        duration: Duration,
    },
}

impl Logged {
    /// The number of the entry; the last one of those that are missing. Reading after it goes on behind this entry.
    #[must_use]
    pub fn seq(&self) -> u64 {
        match self {
            Self::Event { seq, .. } | Self::Ended { seq, .. } | Self::Missed { last: seq, .. } => *seq,
        }
    }
}

/// The numbered events of one execution, kept while it runs and afterwards: see [`Execution::into_log`].
///
/// Clones and readers share the log. When the last of them is dropped before the outcome, the execution is cancelled,
/// unless its request was [`detached`](crate::Request::detached).
#[derive(Clone)]
pub struct EventLog {
    entries: Arc<Mutex<Entries>>,
    /// The number of the newest entry.
    newest: watch::Receiver<u64>,
    canceller: Canceller,
    label: Option<Label>,
}

impl fmt::Debug for EventLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventLog").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl Execution {
    /// Keeps the events of this execution in a log, each with a number, for any number of readers. The log takes them as
    /// they come, so the worker never waits for a reader. It holds at most about `max_bytes` of memory: the first half of
    /// it for the beginning, the rest for the end. What does not fit is dropped from the middle.
    ///
    /// `max_bytes` counts what an event holds and [`ITEM_MIN`](crate::config::ITEM_MIN) for its place. The two newest
    /// entries stay, whatever they hold. It must be called in a tokio runtime.
    #[must_use]
    pub fn into_log(self, max_bytes: usize) -> EventLog {
        let entries = Arc::new(Mutex::new(Entries::new(max_bytes)));
        let (told, newest) = watch::channel(0);
        let (canceller, label) = (self.canceller(), self.label().cloned());
        drop(tokio::spawn(keep(self, Arc::clone(&entries), told)));
        EventLog { entries, newest, canceller, label }
    }
}

/// Puts events into the log until the outcome, or until nobody can read it.
async fn keep(mut execution: Execution, entries: Arc<Mutex<Entries>>, told: watch::Sender<u64>) {
    let began = Instant::now();
    loop {
        let event = tokio::select! {
            event = execution.next() => event,
            () = told.closed() => return,
        };
        let Some(event) = event else { break };
        let newest = lock(&entries).push(event);
        told.send_replace(newest);
    }
    let outcome = execution.outcome().await;
    let newest = lock(&entries).end(outcome, began.elapsed());
    told.send_replace(newest);
}

fn lock(entries: &Mutex<Entries>) -> MutexGuard<'_, Entries> {
    // Each change is whole when it is made.
    entries.lock().unwrap_or_else(PoisonError::into_inner)
}

impl EventLog {
    /// Names the execution among all of this process.
    #[must_use]
    pub fn id(&self) -> ExecutionId {
        self.canceller.id()
    }

    /// The label of its request.
    #[must_use]
    pub fn label(&self) -> Option<&Label> {
        self.label.as_ref()
    }

    /// A handle that can stop and answer the execution.
    #[must_use]
    pub fn canceller(&self) -> &Canceller {
        &self.canceller
    }

    /// A reader of everything behind the entry numbered `after`; 0 is the beginning. A number that there is not yet waits
    /// for what follows it.
    #[must_use]
    pub fn read(&self, after: u64) -> LogReader {
        LogReader { log: self.clone(), after, ended: false }
    }

    /// Everything that the log holds behind the entry numbered `after`, without waiting.
    #[must_use]
    pub fn snapshot(&self, after: u64) -> Vec<Logged> {
        let entries = lock(&self.entries);
        let mut found = Vec::new();
        let mut after = after;
        while let Some(entry) = entries.after(after) {
            after = entry.seq();
            found.push(entry);
        }
        found
    }

    /// The number of the newest entry; 0 if there is none.
    #[must_use]
    pub fn newest(&self) -> u64 {
        *self.newest.borrow()
    }

    /// How the execution ended, and the time from its submission to that; `None` while it waits or runs.
    #[must_use]
    pub fn outcome(&self) -> Option<(Arc<Outcome>, Duration)> {
        lock(&self.entries).outcome()
    }

    /// The bytes of memory that it holds, as `max_bytes` of [`Execution::into_log`] counts them.
    #[must_use]
    pub fn held(&self) -> usize {
        lock(&self.entries).held()
    }

    /// Waits for the outcome, at most until the deadline plus the grace. Cancel safe.
    pub async fn ended(&self) -> (Arc<Outcome>, Duration) {
        let mut newest = self.newest.clone();
        loop {
            if let Some(ended) = self.outcome() {
                return ended;
            }
            if newest.changed().await.is_err() {
                // Its task ends with an outcome, or with its tokio runtime.
                return self.outcome().unwrap_or_else(|| (Arc::new(gone()), Duration::ZERO));
            }
        }
    }
}

fn gone() -> Outcome {
    Outcome::Lost(crate::Lost { started: true, cause: LostCause::ActorGone("execution") })
}

/// One reader's place in an [`EventLog`].
#[derive(Debug)]
pub struct LogReader {
    log: EventLog,
    after: u64,
    ended: bool,
}

impl LogReader {
    /// The next entry; `None` behind the last one. Waits until there is one, at most until the deadline plus the grace.
    /// Cancel safe: no entry is lost.
    pub async fn next(&mut self) -> Option<Logged> {
        while !self.ended {
            // Marked as seen before the look: what comes behind the look is a change.
            self.log.newest.borrow_and_update();
            if let Some(entry) = self.ready() {
                return Some(entry);
            }
            if self.log.newest.changed().await.is_err() {
                return self.ready();
            }
        }
        None
    }

    /// The next entry, if it is there.
    pub fn ready(&mut self) -> Option<Logged> {
        if self.ended {
            return None;
        }
        let entry = lock(&self.log.entries).after(self.after)?;
        self.after = entry.seq();
        self.ended = matches!(entry, Logged::Ended { .. });
        Some(entry)
    }

    /// The number of the last entry that it was told.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.after
    }
}
