//! The bound on what is in flight: room in bytes of memory, taken before a thing is passed on, that travels with it and
//! comes back when it has been taken, or dropped. It is the one place where the price of things is known.
//!
//! What goes to a caller is paid for from the window of its execution. Renewing that lets the reader go on while an
//! earlier caller still sits on what it was given; a shedding window never makes the reader wait: what nobody has room
//! for is dropped and counted. All else that a worker says is paid for from its inbox, which is free again as soon as the
//! session has handled it: so a timer, which waits in the same mailbox, never waits behind more than that.

use std::sync::{
    Arc,
    atomic::{
        AtomicU32, AtomicUsize,
        Ordering::{AcqRel, Acquire, Relaxed},
    },
};

use tokio::sync::{Semaphore, watch};

use crate::{
    actor::obligation::Ledger,
    config::{ITEM_MIN, WINDOW},
};

/// Bytes read from a pipe at once.
pub(crate) const CHUNK: usize = 64 << 10;

/// What a thing costs that keeps so many bytes elsewhere: those, and its own places in the queues on its way.
pub(crate) const fn price(held: usize) -> usize {
    ITEM_MIN.saturating_add(held)
}

/// Some memory, in bytes, and where it is counted what nobody took.
#[derive(Debug)]
pub(crate) struct Room {
    free: Semaphore,
    /// What was taken beyond all that was free. What comes back pays this first.
    debt: AtomicUsize,
    ledger: Arc<Ledger>,
}

impl Room {
    pub(crate) fn new(bytes: usize, ledger: Arc<Ledger>) -> Arc<Self> {
        Arc::new(Self { free: Semaphore::new(bytes), debt: AtomicUsize::new(0), ledger })
    }

    /// Takes room for `bytes` if there is some. More than a window is never asked for: it could not be had.
    pub(crate) fn try_take(self: &Arc<Self>, bytes: usize) -> Option<Credit> {
        let bytes = affordable(bytes);
        self.free.try_acquire_many(bytes).ok()?.forget();
        Some(Credit::new(self, bytes as usize))
    }

    /// Waits for room for `bytes`. Cancel safe.
    pub(crate) async fn take(self: &Arc<Self>, bytes: usize) -> Credit {
        let bytes = affordable(bytes);
        if let Ok(permit) = self.free.acquire_many(bytes).await {
            permit.forget();
        }
        Credit::new(self, bytes as usize)
    }

    /// Takes room for what is in memory already, whether there is some or not: nothing more can be had until that is
    /// paid.
    fn overdraw(self: &Arc<Self>, bytes: usize) -> Credit {
        let there = u32::try_from(self.free.available_permits().min(bytes)).unwrap_or(u32::MAX);
        // Nobody else takes any.
        let taken = self.free.try_acquire_many(there).map_or(0, |permit| {
            permit.forget();
            there as usize
        });
        self.debt.fetch_add(bytes - taken, AcqRel);
        Credit::new(self, bytes)
    }

    /// Counts output that nobody has room for.
    pub(crate) fn discard(&self, output: usize) {
        self.ledger.dropped_bytes.fetch_add(output as u64, Relaxed);
    }

    fn give_back(&self, bytes: usize) {
        let mut paid = 0;
        if self.debt.load(Acquire) > 0 {
            let pay = |debt: usize| {
                paid = debt.min(bytes);
                Some(debt - paid)
            };
            let _ = self.debt.fetch_update(AcqRel, Acquire, pay);
        }
        self.free.add_permits(bytes - paid);
    }
}

/// Room for one thing on its way, given back when this is dropped. If the thing is output, its bytes count as dropped
/// unless somebody took them.
#[derive(Debug, Default)]
#[must_use = "the room is given back when this is dropped"]
pub(crate) struct Credit {
    room: Option<Arc<Room>>,
    bytes: usize,
    /// Bytes of output that nobody has taken yet.
    output: AtomicU32,
}

impl Credit {
    fn new(room: &Arc<Room>, bytes: usize) -> Self {
        Self { room: Some(Arc::clone(room)), bytes, output: AtomicU32::new(0) }
    }

    /// For what costs nothing: it is no news of a worker's, or comes a known number of times.
    pub(crate) const fn none() -> Self {
        Self { room: None, bytes: 0, output: AtomicU32::new(0) }
    }

    /// Whether it was paid.
    pub(crate) const fn is_some(&self) -> bool {
        self.room.is_some()
    }

    /// For a thing with so many bytes of output in it.
    pub(crate) fn carrying(mut self, output: usize) -> Self {
        *self.output.get_mut() = u32::try_from(output).unwrap_or(u32::MAX);
        self
    }

    /// Somebody has seen the output.
    pub(crate) fn taken(&self) {
        self.output.store(0, Relaxed);
    }

    /// Takes the room for `bytes` out of this one, and gives the rest back.
    pub(crate) fn cut(mut self, bytes: usize) -> Self {
        if let Some(room) = &self.room
            && bytes < self.bytes
        {
            room.give_back(self.bytes - bytes);
            self.bytes = bytes;
        }
        self
    }
}

impl Drop for Credit {
    fn drop(&mut self) {
        let Some(room) = &self.room else { return };
        let output = *self.output.get_mut();
        if output > 0 {
            room.ledger.dropped_bytes.fetch_add(output.into(), Relaxed);
        }
        room.give_back(self.bytes);
    }
}

#[derive(Clone, Debug)]
struct View {
    room: Arc<Room>,
    shed: bool,
}

/// The session's end: it renews the window.
#[derive(Debug)]
pub(crate) struct Window(watch::Sender<View>);

/// The reader's end: it pays.
#[derive(Debug)]
pub(crate) struct Credits(watch::Receiver<View>);

/// A window that sheds, until the first execution, and the reader's end of it.
pub(crate) fn window(ledger: &Arc<Ledger>) -> (Window, Credits) {
    let room = Room::new(WINDOW, Arc::clone(ledger));
    let (view, receiver) = watch::channel(View { room, shed: true });
    (Window(view), Credits(receiver))
}

impl Window {
    /// A new execution: the reader waits for its caller. What is as good as new is kept: renewing wakes the reader.
    pub(crate) fn open(&self) {
        let reusable =
            |view: &View| !view.shed && view.room.free.available_permits() + 2 * price(CHUNK) >= WINDOW;
        if !reusable(&self.0.borrow()) {
            self.renew(false);
        }
    }

    /// Nobody is waited for from here on.
    pub(crate) fn shed(&self) {
        if !self.0.borrow().shed {
            self.renew(true);
        }
    }

    fn renew(&self, shed: bool) {
        let ledger = Arc::clone(&self.0.borrow().room.ledger);
        self.0.send_replace(View { room: Room::new(WINDOW, ledger), shed });
    }
}

impl Credits {
    /// Takes room for `bytes` if there is some.
    pub(crate) fn try_take(&mut self, bytes: usize) -> Option<Credit> {
        self.0.borrow_and_update().room.try_take(bytes)
    }

    /// Takes room for what is in memory already: see [`Room::overdraw`].
    pub(crate) fn overdraw(&mut self, bytes: usize) -> Credit {
        self.0.borrow_and_update().room.overdraw(bytes)
    }

    /// Whether something is not paid yet.
    pub(crate) fn is_in_debt(&mut self) -> bool {
        self.0.borrow_and_update().room.debt.load(Acquire) > 0
    }

    /// Counts output that nobody has room for.
    pub(crate) fn discard(&mut self, output: usize) {
        self.0.borrow_and_update().room.discard(output);
    }

    /// Waits for room for `bytes` (at most a whole window), or tells at once that there is none and nobody to wait
    /// for: `None`. Cancel safe.
    pub(crate) async fn take(&mut self, bytes: usize) -> Option<Credit> {
        loop {
            let view = self.0.borrow_and_update().clone();
            if let Some(credit) = view.room.try_take(bytes) {
                return Some(credit);
            }
            if view.shed {
                return None;
            }
            tokio::select! {
                biased;
                credit = view.room.take(bytes) => return Some(credit),
                changed = self.0.changed() => if changed.is_err() { return None },
            }
        }
    }
}

/// More than a window is never asked for: it could not be had.
fn affordable(bytes: usize) -> u32 {
    u32::try_from(bytes.min(WINDOW)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
