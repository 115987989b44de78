//! A mailbox for what lives as short as one request: its actor, and the stream of its events.
//!
//! A channel of tokio or a ractor actor reserves kilobytes and a handful of queues before the first message. Here an
//! empty mailbox is one small allocation, which is what a waiting line of thousands wants. It has no bound of its own:
//! what is sent to it is paid for with credit, or is sent a known number of times.

use std::{
    collections::VecDeque,
    fmt,
    future::poll_fn,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use tokio::task::coop::poll_proceed;

/// Nobody will ever read what is sent here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// The end that is written to.
pub(crate) struct Sender<T>(Arc<Shared<T>>);

/// The end that is read. Dropping it drops what was not read.
pub(crate) struct Mailbox<T>(Arc<Shared<T>>);

struct Shared<T>(Mutex<State<T>>);

struct State<T> {
    queue: VecDeque<T>,
    reader: Option<Waker>,
    senders: usize,
    closed: bool,
    /// See [`Sender::mark`].
    marked: bool,
}

/// An empty mailbox, and its one sender so far.
pub(crate) fn mailbox<T>() -> (Sender<T>, Mailbox<T>) {
    let state = State { queue: VecDeque::new(), reader: None, senders: 1, closed: false, marked: false };
    let shared = Arc::new(Shared(Mutex::new(state)));
    (Sender(Arc::clone(&shared)), Mailbox(shared))
}

impl<T> Shared<T> {
    /// Nothing that may panic is done under the lock.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Sender<T> {
    /// Puts a message behind those that wait.
    ///
    /// # Errors
    /// The mailbox is closed; the message is dropped.
    pub(crate) fn cast(&self, message: T) -> Result<(), Gone> {
        let reader = {
            let mut state = self.0.lock();
            if state.closed {
                drop(state); // The message is dropped without the lock: it may cast in its turn.
                return Err(Gone);
            }
            state.queue.push_back(message);
            state.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
        Ok(())
    }
}

impl<T> Sender<T> {
    /// Marks the mailbox, in one step with finding it open: whoever closes it sees the mark, or no mark is made.
    ///
    /// # Errors
    /// The mailbox is closed.
    pub(crate) fn mark(&self) -> Result<(), Gone> {
        let mut state = self.0.lock();
        if state.closed {
            return Err(Gone);
        }
        state.marked = true;
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.lock().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let reader = {
            let mut state = self.0.lock();
            state.senders -= 1;
            if state.senders == 0 { state.reader.take() } else { None }
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

impl<T> Mailbox<T> {
    /// The next message; `None` when there are no more and nobody is left to send one. Cancel safe.
    pub(crate) async fn recv(&mut self) -> Option<T> {
        poll_fn(|context| self.poll_recv(context)).await
    }

    fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Option<T>> {
        let turn = ready!(poll_proceed(context));
        let mut state = self.0.lock();
        let message = state.queue.pop_front();
        if message.is_none() && state.senders > 0 {
            if !state.reader.as_ref().is_some_and(|reader| reader.will_wake(context.waker())) {
                state.reader = Some(context.waker().clone());
            }
            return Poll::Pending;
        }
        turn.made_progress();
        Poll::Ready(message)
    }

    /// Whether a sender has marked it.
    pub(crate) fn is_marked(&self) -> bool {
        self.0.lock().marked
    }

    /// Whether a sender has marked it; the mark is taken away.
    pub(crate) fn take_mark(&mut self) -> bool {
        std::mem::take(&mut self.0.lock().marked)
    }

    /// Refuses what is sent from now on, and drops what waits.
    pub(crate) fn close(&mut self) {
        let unread = {
            let mut state = self.0.lock();
            state.closed = true;
            std::mem::take(&mut state.queue)
        };
        drop(unread); // Without the lock, as above.
    }
}

impl<T> Drop for Mailbox<T> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<T> fmt::Debug for Sender<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sender(..)")
    }
}

impl<T> fmt::Debug for Mailbox<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mailbox(..)")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    /// Paused time: it passes at once when nobody is woken.
    const HANG: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn what_is_sent_is_read_in_order_and_then_the_end() {
        let (sender, mut mailbox) = mailbox();
        let other = sender.clone();
        sender.cast(1).unwrap();
        other.cast(2).unwrap();
        drop(sender);
        assert_eq!((mailbox.recv().await, mailbox.recv().await), (Some(1), Some(2)));
        let reader = tokio::spawn(async move { mailbox.recv().await });
        tokio::task::yield_now().await;
        drop(other);
        let read = timeout(HANG, reader).await.expect("the last sender wakes the reader");
        assert_eq!(read.unwrap(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_waits_is_woken_by_a_message() {
        let (sender, mut mailbox) = mailbox();
        let reader = tokio::spawn(async move { mailbox.recv().await });
        tokio::task::yield_now().await;
        sender.cast("message").unwrap();
        let read = timeout(HANG, reader).await.expect("the message wakes the reader");
        assert_eq!(read.unwrap(), Some("message"));
    }

    /// A message may hold a sender of its own mailbox, and use it when it is dropped.
    #[test]
    fn a_closed_mailbox_refuses_and_drops_what_waits() {
        struct Reply(Sender<Option<Self>>);
        impl Drop for Reply {
            fn drop(&mut self) {
                assert_eq!(self.0.cast(None), Err(Gone));
            }
        }
        let (sender, mailbox) = mailbox();
        sender.cast(Some(Reply(sender.clone()))).unwrap();
        drop(mailbox);
        assert_eq!(sender.cast(Some(Reply(sender.clone()))), Err(Gone));
    }
}
