//! Where the events of an execution go: to a handle, or into the mailbox of a host that is made of actors.

use std::{fmt, sync::Arc};

use tokio::sync::mpsc;

use crate::{
    actor::credit::Credit,
    outcome::{Event, Outcome},
    protocol::ExecutionId,
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
/// its execution, and a worker that prints faster than its caller reads is made to wait.
#[derive(Debug)]
pub struct Delivery {
    event: Event,
    _credit: Credit,
}

impl Delivery {
    pub(crate) fn new(event: Event, credit: Credit) -> Self {
        Self { event, _credit: credit }
    }

    /// The event; its bytes no longer count.
    #[must_use]
    pub fn take(self) -> Event {
        self.event
    }

    /// A look at the event.
    #[must_use]
    pub fn event(&self) -> &Event {
        &self.event
    }
}

/// A function that puts a notice into a host's mailbox. It must not block.
#[derive(Clone)]
pub struct Host(Arc<dyn Fn(Notice) -> Result<(), HostGone> + Send + Sync>);

/// The host's mailbox is closed: nobody will ever read what it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
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
    /// The channel has no bound of its own: what is in it holds credit.
    Handle(mpsc::UnboundedSender<Delivery>),
    Host(Host),
    /// Nobody wants them any more.
    Closed,
}

impl Sink {
    /// Passes an event on. When nobody takes it, its credit comes back at once.
    pub(crate) fn deliver(&mut self, execution: ExecutionId, event: Event, credit: Credit) {
        let event = Delivery::new(event, credit);
        let taken = match self {
            Self::Handle(events) => events.send(event).is_ok(),
            Self::Host(host) => host.tell(Notice::Event { execution, event }).is_ok(),
            Self::Closed => true,
        };
        if !taken {
            *self = Self::Closed;
        }
    }
}
