//! Our ends of a worker's pipes.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    pin::Pin,
    task::{Context, Poll},
};

use bytes::BytesMut;
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::{
        UnixStream,
        unix::{
            OwnedWriteHalf,
            pipe::{Receiver, Sender},
        },
    },
};

use crate::worker::{Outbox, Pipe};

/// What a worker writes to fd 1 or 2.
#[derive(Debug)]
pub(super) struct OutputPipe(Receiver);

impl OutputPipe {
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        Receiver::from_owned_fd(fd).map(Self)
    }
}

impl AsyncRead for OutputPipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl Pipe for OutputPipe {
    fn read_held(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        // Asked of the kernel, not of tokio, whose knowledge of what is readable is a turn old.
        let held = usize::try_from(rustix::io::ioctl_fionread(self.0.as_fd())?).unwrap_or(0);
        if held == 0 {
            return Ok(0);
        }
        let start = into.len();
        into.resize(start + held, 0);
        let mut end = start;
        while end < into.len() {
            match rustix::io::read(self.0.as_fd(), &mut into[end..]) {
                Ok(0) | Err(rustix::io::Errno::AGAIN) => break,
                Ok(read) => end += read,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    into.truncate(end);
                    return Err(error.into());
                }
            }
        }
        into.truncate(end);
        Ok(end - start)
    }
}

/// Frames to a worker over the socket.
#[derive(Debug)]
pub(super) struct SocketOutbox(pub(super) OwnedWriteHalf);

impl Outbox for SocketOutbox {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let socket: &UnixStream = self.0.as_ref();
        socket.poll_write_ready(context)
    }
}

/// Frames to a worker over its stdin.
#[derive(Debug)]
pub(super) struct StdinOutbox(Sender);

impl StdinOutbox {
    pub(super) fn new(fd: OwnedFd) -> io::Result<Self> {
        Sender::from_owned_fd(fd).map(Self)
    }
}

impl Outbox for StdinOutbox {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_write(bytes)
    }

    fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_write_ready(context)
    }
}
