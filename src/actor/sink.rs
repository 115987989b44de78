//! Where events go: those of an execution to a handle, or into the mailbox of a host that is made of actors; those of
//! a leased session to its holder.

use std::{fmt, sync::Arc};

use tokio::sync::mpsc;

use crate::{
    actor::{
        credit::{Credit, Room, price},
        mailbox::Sender,
        obligation::Ledger,
    },
    config::WINDOW,
    outcome::{Event, Outcome},
    protocol::{ExecutionId, HeapSize},
    session::SessionEvent,
};

/// What a host is told about an execution, in its own mailbox.
#[derive(Debug)]
#[non_exhaustive]
pub enum Notice {
    /// Something happened while it runs.
    Event {
        /// Which execution.
        execution: ExecutionId,
        /// What happened, and the room that it takes in the execution's window.
        event: Delivery,
    },
    /// It ended. Exactly one of these comes for each accepted execution, and nothing comes after it.
    Ended {
        /// Which execution.
        execution: ExecutionId,
        /// How it ended.
        outcome: Outcome,
    },
}

/// An event on its way. As long as it is not dropped or [taken](Self::take), its bytes count against the window of
/// its execution, and a worker that prints faster than its caller reads is made to wait. Output that is dropped without
/// having been looked at counts in the pool's [`dropped_bytes`](crate::Totals::dropped_bytes).
#[derive(Debug)]
pub struct Delivery {
    event: Event,
    credit: Credit,
}

impl Delivery {
    pub(crate) fn new(event: Event, credit: Credit) -> Self {
        Self { event, credit }
    }

    /// The event; its bytes no longer count.
    #[must_use]
    pub fn take(self) -> Event {
        self.credit.taken();
        self.event
    }

    /// A look at the event.
    #[must_use]
    pub fn event(&self) -> &Event {
        self.credit.taken();
        &self.event
    }
}

/// A function that puts a notice into a host's mailbox. It must not block.
#[derive(Clone)]
pub struct Host(Arc<dyn Fn(Notice) -> Result<(), HostGone> + Send + Sync>);

/// The host's mailbox is closed: nobody will ever read what it was told.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the host's mailbox is closed")]
pub struct HostGone;

impl Host {
    /// Notices go where `tell` puts them. It is called from the runtime's actors and must return at once.
    pub fn new(tell: impl Fn(Notice) -> Result<(), HostGone> + Send + Sync + 'static) -> Self {
        Self(Arc::new(tell))
    }

    /// Notices go into the mailbox of `actor`, as its own message type.
    #[must_use]
    pub fn actor<M: ractor::Message + From<Notice>>(actor: ractor::ActorRef<M>) -> Self {
        Self::new(move |notice| actor.cast(M::from(notice)).map_err(|_closed| HostGone))
    }

    pub(crate) fn tell(&self, notice: Notice) -> Result<(), HostGone> {
        (self.0)(notice)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Host(..)")
    }
}

/// Where events go.
#[derive(Debug)]
pub(crate) enum Sink {
    /// What is in it holds credit.
    Handle(Sender<Delivery>),
    Host(Host),
    /// Nobody wants them any more.
    Closed,
}

impl Sink {
    /// Passes an event on. When nobody takes it, its credit comes back at once.
    pub(crate) fn deliver(&mut self, execution: ExecutionId, event: Event, credit: Credit) {
        let event = Delivery::new(event, credit);
        let taken = match self {
            Self::Handle(events) => events.cast(event).is_ok(),
            Self::Host(host) => host.tell(Notice::Event { execution, event }).is_ok(),
            Self::Closed => true,
        };
        if !taken {
            *self = Self::Closed;
        }
    }
}

/// Events of a session that may wait to be taken; more are dropped and counted in the pool's totals.
const FEED_MAX: usize = 256;

/// Where the events of a leased session go. What waits is bounded in number, and in bytes: by a window.
#[derive(Clone, Debug)]
pub(crate) struct Feed {
    events: mpsc::Sender<Fed>,
    room: Arc<Room>,
}

/// An event of a session, and the room that it takes until it is dropped.
#[derive(Debug)]
pub(crate) struct Fed {
    event: SessionEvent,
    credit: Credit,
}

impl Fed {
    pub(crate) fn take(self) -> SessionEvent {
        self.credit.taken();
        self.event
    }
}

/// A feed, and its holder's end.
pub(crate) fn feed(ledger: &Arc<Ledger>) -> (Feed, mpsc::Receiver<Fed>) {
    let (events, taken) = mpsc::channel(FEED_MAX);
    (Feed { events, room: Room::new(WINDOW, Arc::clone(ledger)) }, taken)
}

impl Feed {
    /// Passes an event on if there is room, and says whether there was. Output for which there is none is counted.
    pub(crate) fn offer(&self, event: SessionEvent) -> bool {
        let (held, output) = match &event {
            SessionEvent::Background { data, .. } => (data.len(), data.len()),
            SessionEvent::Notification { method, params } => (method.heap_size() + params.heap_size(), 0),
            SessionEvent::Left { what, .. } => (what.heap_size(), 0),
            // Our own news.
            SessionEvent::Restored(_) | SessionEvent::Ended { .. } => {
                return self.events.try_send(Fed { event, credit: Credit::none() }).is_ok();
            }
        };
        let Some(credit) = self.room.try_take(price(held)) else {
            self.room.discard(output);
            return false;
        };
        self.events.try_send(Fed { event, credit: credit.carrying(output) }).is_ok()
    }
}

/// That a leased session has ended. Told when this is dropped, with whatever keeps it: when its worker is dead, or at once
/// where there is none.
#[derive(Debug)]
pub(crate) struct LastEvent {
    events: Feed,
    why: String,
    killed: bool,
}

impl LastEvent {
    pub(crate) fn new(events: Feed, why: String) -> Self {
        Self { events, why, killed: false }
    }

    /// The worker has not ended by itself.
    pub(crate) fn is_killed(&mut self) {
        self.killed = true;
    }
}

impl Drop for LastEvent {
    fn drop(&mut self) {
        let (why, killed) = (std::mem::take(&mut self.why), self.killed);
        self.events.offer(SessionEvent::Ended { why, killed });
    }
}
