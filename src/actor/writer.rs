//! Frames to a worker, in order, without ever waiting: what its pipe does not take now follows by a task.

use std::{
    future::poll_fn,
    io::ErrorKind,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::AcqRel},
    },
};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

use crate::{actor::timers::Task, config::OUTBOX_MAX, worker::Outbox};

/// The worker does not read, or will not any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Its pipe is closed. Its exit follows.
    Closed,
    /// `OUTBOX_MAX` bytes wait already.
    Full,
}

/// The only writer of one worker's channel.
#[derive(Debug)]
pub(crate) struct Writer {
    outbox: Arc<dyn Outbox>,
    waiting: Arc<AtomicUsize>,
    overflow: Option<Overflow>,
}

#[derive(Debug)]
struct Overflow {
    /// Bounded in bytes by `waiting`.
    frames: mpsc::UnboundedSender<Bytes>,
    _task: Task,
}

impl std::fmt::Debug for dyn Outbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outbox(..)")
    }
}

impl Writer {
    pub(crate) fn new(outbox: Arc<dyn Outbox>) -> Self {
        Self { outbox, waiting: Arc::default(), overflow: None }
    }

    /// Takes a whole frame or nothing. Returns whether all of it was written at once.
    pub(crate) fn write(&mut self, mut frame: Bytes) -> Result<bool, Refusal> {
        let waiting = self.waiting.load(std::sync::atomic::Ordering::Acquire);
        if waiting == 0 {
            match self.outbox.try_write(&frame) {
                Ok(written) => frame.advance(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return Err(Refusal::Closed),
            }
            if frame.is_empty() {
                return Ok(true);
            }
        } else if waiting + frame.len() > OUTBOX_MAX {
            return Err(Refusal::Full);
        }
        self.waiting.fetch_add(frame.len(), AcqRel);
        let overflow = self.overflow.get_or_insert_with(|| overflow(&self.outbox, &self.waiting));
        overflow.frames.send(frame).map_err(|_closed| Refusal::Closed)?;
        Ok(false)
    }
}

fn overflow(outbox: &Arc<dyn Outbox>, waiting: &Arc<AtomicUsize>) -> Overflow {
    #[expect(
        clippy::disallowed_methods,
        reason = "bounded in bytes: `Writer::write` refuses past OUTBOX_MAX"
    )]
    let (frames, mut queue) = mpsc::unbounded_channel::<Bytes>();
    let (outbox, waiting) = (Arc::clone(outbox), Arc::clone(waiting));
    let task = Task::spawn(async move {
        while let Some(mut frame) = queue.recv().await {
            while !frame.is_empty() {
                match outbox.try_write(&frame) {
                    Ok(written) => {
                        frame.advance(written);
                        waiting.fetch_sub(written, AcqRel);
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => {
                        if poll_fn(|context| outbox.poll_writable(context)).await.is_err() {
                            return;
                        }
                    }
                    Err(_) => return,
                }
            }
        }
    });
    Overflow { frames, _task: task }
}
