//! Frames to a worker, in order, without ever waiting: what its pipe does not take now follows by a task.

use std::{
    future::poll_fn,
    io::{self, ErrorKind},
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicUsize,
            Ordering::{AcqRel, Acquire, SeqCst},
        },
    },
};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

use crate::{
    actor::timers::Task,
    config::{FRAME_LEN_MAX, OUTBOX_MAX},
    machine::unstarted::WrittenForGood,
    worker::Outbox,
};

/// The worker does not read, or will not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Its pipe is closed. Its exit follows.
    Closed,
    /// `OUTBOX_MAX` bytes wait already.
    Full,
}

/// The only writer of one worker's channel.
pub(crate) struct Writer {
    outbox: Arc<dyn Outbox>,
    pending: Arc<Pending>,
    overflow: Option<Overflow>,
    /// All bytes that were taken so far.
    taken: u64,
    /// By how much what was written last into an empty outbox is longer than that may be: a restore, whose bytes its
    /// caller holds anyway.
    excess: usize,
    /// Called once, when the rest of a frame that was taken cannot be written.
    closed: Arc<dyn Fn() + Send + Sync>,
    /// Called for every frame that was not written at once, when it is.
    wrote: Option<Arc<dyn Fn() + Send + Sync>>,
}

/// What was taken and is not written yet.
#[derive(Debug, Default)]
struct Pending {
    /// In bytes.
    waiting: AtomicUsize,
    /// What is left of the frame that is being written at this moment.
    in_hand: AtomicUsize,
    /// Nothing more may be written.
    stopped: AtomicBool,
}

#[derive(Debug)]
struct Overflow {
    /// Bounded in bytes by `Pending::waiting`.
    frames: mpsc::UnboundedSender<Bytes>,
    _task: Task,
}

impl Writer {
    pub(crate) fn new(outbox: Arc<dyn Outbox>, closed: impl Fn() + Send + Sync + 'static) -> Self {
        let (pending, closed) = (Arc::default(), Arc::new(closed));
        Self { outbox, pending, overflow: None, taken: 0, excess: 0, closed, wrote: None }
    }

    /// Has this called for every frame that was not written at once, when it is.
    pub(crate) fn telling(self, wrote: impl Fn() + Send + Sync + 'static) -> Self {
        Self { wrote: Some(Arc::new(wrote)), ..self }
    }

    /// Takes a whole frame or nothing. Returns whether all of it was written at once.
    pub(crate) fn write(&mut self, mut frame: Bytes) -> Result<bool, Refusal> {
        let (waiting, whole) = (self.pending.waiting.load(Acquire), frame.len() as u64);
        if waiting == 0 {
            self.excess = frame.len().saturating_sub(OUTBOX_MAX);
            match self.outbox.try_write(&frame) {
                Ok(written) => frame.advance(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return Err(Refusal::Closed),
            }
            if frame.is_empty() {
                self.taken += whole;
                return Ok(true);
            }
        } else if waiting + frame.len() > OUTBOX_MAX + self.excess {
            return Err(Refusal::Full);
        }
        self.taken += whole;
        self.pending.waiting.fetch_add(frame.len(), AcqRel);
        let overflow = self.overflow.take().unwrap_or_else(|| self.overflow());
        let sent = overflow.frames.send(frame);
        self.overflow = Some(overflow);
        sent.map(|()| false).map_err(|_closed| Refusal::Closed)
    }
}

impl Writer {
    /// Whether a frame of this length, of at most `FRAME_LEN_MAX`, is taken now, and short ones behind it. If not, a frame
    /// is under way that is told when it is written.
    pub(crate) fn has_room(&self, len: usize) -> bool {
        let waiting = self.pending.waiting.load(Acquire);
        waiting == 0 || waiting + len <= FRAME_LEN_MAX
    }

    /// Bytes that were taken, and have not been written yet.
    pub(crate) fn unwritten(&self) -> usize {
        self.pending.waiting.load(Acquire)
    }

    /// All bytes that were taken so far.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// How many of them may be written. A frame that is being written at this moment counts as a whole, so that what
    /// lies beyond was certainly not written.
    pub(crate) fn written(&self) -> u64 {
        // In this order: see `write_all`.
        let in_hand = self.pending.in_hand.load(SeqCst) as u64;
        (self.taken - self.pending.waiting.load(Acquire) as u64 + in_hand).min(self.taken)
    }

    /// Writes nothing more, and returns what [`written`](Self::written) says for good: the task that writes either has
    /// a frame in hand when that is asked, or sees that it may not take one.
    pub(crate) fn stop(&self) -> WrittenForGood {
        self.pending.stopped.store(true, SeqCst);
        WrittenForGood(self.written())
    }

    /// What its pipe did not take at once, and all that comes after it.
    fn overflow(&self) -> Overflow {
        #[expect(
            clippy::disallowed_methods,
            reason = "bounded in bytes: `Writer::write` refuses past OUTBOX_MAX"
        )]
        let (frames, mut queue) = mpsc::unbounded_channel::<Bytes>();
        let (outbox, pending) = (Arc::clone(&self.outbox), Arc::clone(&self.pending));
        let (closed, wrote) = (Arc::clone(&self.closed), self.wrote.clone());
        let task = Task::spawn(async move {
            while let Some(frame) = queue.recv().await {
                if write_all(&*outbox, frame, &pending).await.is_err() {
                    return closed();
                }
                if let Some(wrote) = &wrote {
                    wrote();
                }
            }
        });
        Overflow { frames, _task: task }
    }
}

/// What is written is in hand before, and waits no more when it is not in hand any more.
async fn write_all(outbox: &dyn Outbox, mut frame: Bytes, pending: &Pending) -> io::Result<()> {
    while !frame.is_empty() {
        pending.in_hand.store(frame.len(), SeqCst);
        if pending.stopped.load(SeqCst) {
            pending.in_hand.store(0, SeqCst);
            return Err(ErrorKind::BrokenPipe.into());
        }
        let written = outbox.try_write(&frame);
        if let Ok(written) = &written {
            frame.advance(*written);
            pending.waiting.fetch_sub(*written, AcqRel);
        }
        pending.in_hand.store(0, SeqCst);
        match written {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                poll_fn(|context| outbox.poll_writable(context)).await?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Mutex,
        task::{Context, Poll, Waker},
    };

    use super::*;

    /// A pipe with room for so many bytes, and what waits for more.
    #[derive(Default)]
    struct Narrow(Mutex<(usize, Vec<u8>, Option<Waker>)>);

    impl Narrow {
        fn widen(&self, room: usize) {
            let mut this = self.0.lock().expect("nobody panics under it");
            this.0 += room;
            if let Some(waker) = this.2.take() {
                waker.wake();
            }
        }

        fn holds(&self) -> usize {
            self.0.lock().expect("nobody panics under it").1.len()
        }
    }

    impl Outbox for Narrow {
        fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
            let mut this = self.0.lock().expect("nobody panics under it");
            let taken = this.0.min(bytes.len());
            if taken == 0 {
                return Err(ErrorKind::WouldBlock.into());
            }
            this.0 -= taken;
            this.1.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
            let mut this = self.0.lock().expect("nobody panics under it");
            if this.0 > 0 {
                return Poll::Ready(Ok(()));
            }
            this.2 = Some(context.waker().clone());
            Poll::Pending
        }
    }

    /// P5: what `stop` tells is for good. A pipe that has room again must not be given the rest.
    #[tokio::test(start_paused = true)]
    async fn nothing_is_written_behind_a_stop() {
        for stops in [false, true] {
            let pipe = Arc::new(Narrow::default());
            pipe.widen(4);
            let mut writer = Writer::new(Arc::clone(&pipe) as Arc<dyn Outbox>, || {});
            assert_eq!(writer.write(Bytes::from_static(b"ten bytes.")), Ok(false));
            tokio::task::yield_now().await;
            if stops {
                assert_eq!(writer.stop(), WrittenForGood(4));
            }
            pipe.widen(100);
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
            assert_eq!(pipe.holds(), if stops { 4 } else { 10 });
            assert_eq!(writer.stop(), WrittenForGood(if stops { 4 } else { 10 }));
        }
    }
}
