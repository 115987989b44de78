//! The bound on output in flight: bytes of credit that the reader takes before it passes output on, that travel with
//! it through both mailboxes, and that come back when the caller has taken the event.
//!
//! The window belongs to an execution. Renewing it lets the reader go on while an earlier caller still sits on what
//! it was given; a shedding window never makes the reader wait: what nobody has room for is dropped and counted.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::config::WINDOW;

/// Bytes read from a pipe at once, and the unit in which they are paid for.
pub(crate) const CHUNK: usize = 64 << 10;

/// Room for some bytes, given back when this is dropped. Output that costs nothing carries an empty one.
#[derive(Debug, Default)]
#[must_use = "the room is given back when this is dropped"]
pub(crate) struct Credit(Option<OwnedSemaphorePermit>);

impl Credit {
    /// For what is bounded otherwise, such as the bytes of a fence.
    pub(crate) const fn free() -> Self {
        Self(None)
    }

    /// Takes the room for `bytes` out of this one.
    pub(crate) fn split(&mut self, bytes: usize) -> Self {
        Self(self.0.as_mut().and_then(|permit| permit.split(bytes.min(permit.num_permits()))))
    }
}

#[derive(Clone, Debug)]
struct View {
    room: Arc<Semaphore>,
    shed: bool,
}

impl View {
    fn new(shed: bool) -> Self {
        Self { room: Arc::new(Semaphore::new(WINDOW)), shed }
    }
}

/// The session's end: it renews the window.
#[derive(Debug)]
pub(crate) struct Window(watch::Sender<View>);

/// The reader's end: it pays.
#[derive(Debug)]
pub(crate) struct Credits(watch::Receiver<View>);

/// A window that sheds, until the first execution, and the reader's end of it.
pub(crate) fn window() -> (Window, Credits) {
    let (sender, receiver) = watch::channel(View::new(true));
    (Window(sender), Credits(receiver))
}

impl Window {
    /// A new execution: the reader waits for its caller. What is as good as new is kept: renewing wakes the reader.
    pub(crate) fn open(&self) {
        let reusable = |view: &View| !view.shed && view.room.available_permits() + 2 * CHUNK >= WINDOW;
        if !reusable(&self.0.borrow()) {
            self.0.send_replace(View::new(false));
        }
    }

    /// Nobody is waited for from here on.
    pub(crate) fn shed(&self) {
        if !self.0.borrow().shed {
            self.0.send_replace(View::new(true));
        }
    }
}

impl Credits {
    /// Takes room for `bytes` if there is some.
    pub(crate) fn try_take(&mut self, bytes: usize) -> Option<Credit> {
        let room = Arc::clone(&self.0.borrow_and_update().room);
        room.try_acquire_many_owned(permits(bytes)).ok().map(|permit| Credit(Some(permit)))
    }

    /// Waits for room for `bytes` (at most a whole window), or tells at once that there is none and nobody to wait
    /// for: `None`. Cancel safe.
    pub(crate) async fn take(&mut self, bytes: usize) -> Option<Credit> {
        let permits = permits(bytes);
        loop {
            let view = self.0.borrow_and_update().clone();
            if let Ok(permit) = Arc::clone(&view.room).try_acquire_many_owned(permits) {
                return Some(Credit(Some(permit)));
            }
            if view.shed {
                return None;
            }
            tokio::select! {
                biased;
                permit = view.room.acquire_many_owned(permits) => {
                    return permit.ok().map(|permit| Credit(Some(permit)));
                }
                changed = self.0.changed() => if changed.is_err() { return None },
            }
        }
    }
}

/// More than a window is never asked for: it could not be had.
fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes.min(WINDOW)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    #[tokio::test]
    async fn a_full_window_makes_the_reader_wait_until_the_caller_takes_or_the_window_is_renewed() {
        let (window, mut credits) = window();
        window.open();
        let held = credits.take(WINDOW).await.expect("the window was empty");
        {
            let mut waiting = Box::pin(credits.take(1));
            let mut context = Context::from_waker(Waker::noop());
            assert!(waiting.as_mut().poll(&mut context).is_pending(), "the window is full");
            drop(held);
            assert!(waiting.await.is_some());
        }

        let _held = credits.take(WINDOW).await.expect("the caller took everything");
        window.shed();
        let fresh = credits.take(WINDOW).await;
        assert!(fresh.is_some(), "a renewed window has room");
        assert!(credits.take(1).await.is_none(), "a shedding window does not wait");
    }

    #[tokio::test]
    async fn credit_can_be_split_and_comes_back_in_parts() {
        let (window, mut credits) = window();
        window.open();
        let mut whole = credits.take(WINDOW).await.expect("room");
        let part = whole.split(10);
        drop(part);
        assert!(credits.take(10).await.is_some());
        drop(whole);
        assert!(credits.take(WINDOW).await.is_some());
    }
}
