//! A bounded byte pipe in memory, with what the runtime asks of a real one.

use std::{
    collections::VecDeque,
    future::poll_fn,
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::BytesMut;
use tokio::io::{AsyncRead, ReadBuf};

use crate::worker::{Outbox, Pipe};

/// The end that is read. Dropping it breaks the pipe.
#[derive(Debug)]
pub(super) struct Reading(Arc<Shared>);

/// The end that is written. Dropping it is the end of the stream.
#[derive(Debug)]
pub(super) struct Writing(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: VecDeque<u8>,
    unread: bool,
    ended: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// A pipe that holds at most `capacity` bytes.
pub(super) fn pipe(capacity: usize) -> (Writing, Reading) {
    let shared = Arc::new(Shared { capacity, state: Mutex::default() });
    (Writing(Arc::clone(&shared)), Reading(shared))
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Moves bytes to the reader, and lets the writer know that there is room.
    fn take(&mut self, most: usize, mut into: impl FnMut(&[u8])) -> usize {
        let taken = most.min(self.held.len());
        let (front, back) = self.held.as_slices();
        let first = taken.min(front.len());
        into(&front[..first]);
        into(&back[..taken - first]);
        self.held.drain(..taken);
        if taken > 0 {
            wake(&mut self.writer);
        }
        taken
    }
}

fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

impl Writing {
    /// Writes what there is room for; `WouldBlock` when there is none.
    fn write_some(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut state = self.0.state();
        if state.unread {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = self.0.capacity - state.held.len();
        if room == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let written = room.min(bytes.len());
        state.held.extend(&bytes[..written]);
        wake(&mut state.reader);
        Ok(written)
    }

    fn poll_room(&self, context: &Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.state();
        if state.unread {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if state.held.len() < self.0.capacity {
            return Poll::Ready(Ok(()));
        }
        state.writer = Some(context.waker().clone());
        Poll::Pending
    }

    /// Writes all of it, as the reader makes room.
    pub(super) async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write_some(bytes) {
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    poll_fn(|context| self.poll_room(context)).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Outbox for Writing {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.write_some(bytes)
    }

    fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_room(context)
    }
}

impl AsyncRead for Reading {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut state = self.0.state();
        if state.held.is_empty() && !state.ended && into.remaining() > 0 {
            state.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        state.take(into.remaining(), |part| into.put_slice(part));
        Poll::Ready(Ok(()))
    }
}

impl Pipe for Reading {
    fn read_held(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        Ok(self.0.state().take(usize::MAX, |part| into.extend_from_slice(part)))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.unread = true;
        wake(&mut state.writer);
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.ended = true;
        wake(&mut state.reader);
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn a_full_pipe_takes_no_more_until_it_is_read() {
        let (writing, mut reading) = pipe(4);
        assert_eq!(writing.try_write(b"abcdef").unwrap(), 4);
        assert_eq!(writing.try_write(b"ef").unwrap_err().kind(), io::ErrorKind::WouldBlock);
        let mut read = [0; 3];
        assert_eq!(reading.read(&mut read).await.unwrap(), 3);
        assert_eq!(&read, b"abc");
        assert_eq!(writing.try_write(b"ef").unwrap(), 2);
        let mut held = BytesMut::new();
        assert_eq!(reading.read_held(&mut held).unwrap(), 3);
        assert_eq!(&held[..], b"def");
        assert_eq!(reading.read_held(&mut held).unwrap(), 0);
    }

    #[tokio::test]
    async fn each_end_learns_that_the_other_is_gone() {
        let (writing, mut reading) = pipe(4);
        writing.try_write(b"ab").unwrap();
        drop(writing);
        let mut rest = Vec::new();
        assert_eq!(reading.read_to_end(&mut rest).await.unwrap(), 2);

        let (writing, reading) = pipe(4);
        let blocked = writing.write_all(b"abcdef");
        tokio::pin!(blocked);
        assert!(matches!(futures_now(blocked.as_mut()), Poll::Pending));
        drop(reading);
        assert_eq!(blocked.await.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }

    fn futures_now<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }
}
