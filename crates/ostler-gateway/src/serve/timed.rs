//! A connection that neither waits for ever for what its peer sends, nor for its peer to read.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use crate::config::{HEAD_TIMEOUT, IDLE_TIMEOUT, WRITE_TIMEOUT};

/// How many requests of a connection are being answered: then it is neither idle nor in the head of a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Answering(Arc<AtomicUsize>);

/// A request is being answered until this is dropped.
#[derive(Debug)]
pub(super) struct Busy(Answering);

impl Answering {
    pub(super) fn begin(&self) -> Busy {
        self.0.fetch_add(1, Relaxed);
        Busy(self.clone())
    }

    fn is_busy(&self) -> bool {
        self.0.load(Relaxed) > 0
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

/// Where a connection is between two answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Between {
    /// A request is being answered; its handler limits the time of its body.
    Answering,
    /// Nothing of the next request has come.
    Idle,
    /// Its head has begun.
    Head,
}

/// A stream with limits of time.
pub(super) struct Timed<S> {
    stream: S,
    answering: Answering,
    between: Between,
    /// When the peer has sent too little.
    patience: Pin<Box<Sleep>>,
    /// When the peer has read too little, while something waits to be written.
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Timed<S> {
    pub(super) fn new(stream: S, answering: Answering) -> Self {
        // A connection is opened to ask something.
        let patience = Box::pin(sleep(HEAD_TIMEOUT));
        Self { stream, answering, between: Between::Head, patience, stalled: None }
    }

    /// Goes where the connection is, and sets the time that the peer has from there.
    fn go(&mut self, to: Between) {
        if self.between == to {
            return;
        }
        self.between = to;
        let limit = match to {
            Between::Answering => return,
            Between::Idle => IDLE_TIMEOUT,
            Between::Head => HEAD_TIMEOUT,
        };
        self.patience.as_mut().reset(Instant::now() + limit);
    }

    fn written<T>(&mut self, context: &mut Context<'_>, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.stalled = None;
            return wrote;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(WRITE_TIMEOUT)));
        ready!(stalled.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer does not read")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Timed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.answering.is_busy() {
            this.go(Between::Answering);
        } else if this.between == Between::Answering {
            this.go(Between::Idle);
        }
        let filled = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if read.is_ready() {
            if buffer.filled().len() > filled && this.between == Between::Idle {
                this.go(Between::Head);
            }
            return read;
        }
        if this.between == Between::Answering {
            return Poll::Pending;
        }
        ready!(this.patience.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer sends no whole request")))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Timed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, wrote)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.written(context, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    /// Why the next read fails.
    async fn cut(stream: &mut Timed<tokio::io::DuplexStream>) -> io::ErrorKind {
        let mut byte = [0];
        let read = tokio::time::timeout(IDLE_TIMEOUT * 10, stream.read(&mut byte)).await;
        read.expect("it is cut in time").expect_err("nothing comes").kind()
    }

    /// G22: half a head is cut in its time, and so is silence; what is being answered is not.
    #[tokio::test(start_paused = true)]
    async fn a_peer_has_so_long_for_a_head_and_so_long_between_two_requests() {
        let answering = Answering::default();
        let (mut peer, ours) = duplex(1 << 10);
        let mut ours = Timed::new(ours, answering.clone());
        let mut byte = [0];
        peer.write_all(b"G").await.unwrap();
        ours.read_exact(&mut byte).await.unwrap();
        let begun = Instant::now();
        assert_eq!(cut(&mut ours).await, io::ErrorKind::TimedOut);
        assert_eq!(
            begun.elapsed().as_secs(),
            HEAD_TIMEOUT.as_secs(),
            "from the first byte of the connection"
        );
        let busy = answering.begin();
        let waiting = tokio::time::timeout(IDLE_TIMEOUT * 10, ours.read(&mut byte)).await;
        assert!(waiting.is_err(), "an answer takes as long as it takes");
        drop(busy);
        let begun = Instant::now();
        assert_eq!(cut(&mut ours).await, io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), IDLE_TIMEOUT.as_secs());
    }

    /// G24: a peer that does not read holds what it asked for only so long.
    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_is_cut() {
        let (mut peer, ours) = duplex(4);
        let mut ours = Timed::new(ours, Answering::default());
        ours.write_all(b"abcd").await.unwrap();
        let begun = Instant::now();
        assert_eq!(ours.write(b"e").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(begun.elapsed().as_secs(), WRITE_TIMEOUT.as_secs());
        peer.read_u8().await.unwrap();
        assert_eq!(ours.write(b"e").await.unwrap(), 1);
    }
}
