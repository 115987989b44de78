//! Our ends of a worker's descriptors, behind the traits of the seam.

use std::{
    io,
    os::fd::OwnedFd,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, BytesMut};
use rustix::io::Errno;
use tokio::{
    io::{AsyncRead, ReadBuf},
    net::{
        UnixStream,
        unix::{OwnedWriteHalf, pipe},
    },
};

use super::{Outbox, Pipe, process::Stdin};

/// The reading end of a pipe.
#[derive(Debug)]
pub(super) struct OutputPipe(pipe::Receiver);

impl OutputPipe {
    pub(super) fn new(pipe: OwnedFd) -> io::Result<Self> {
        pipe::Receiver::from_owned_fd(pipe).map(Self)
    }
}

impl AsyncRead for OutputPipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, into)
    }
}

impl Pipe for OutputPipe {
    /// Asks the descriptor itself: the runtime may not have heard yet of what was written a moment ago.
    fn read_held(&mut self, into: &mut BytesMut) -> io::Result<usize> {
        let held = rustix::io::ioctl_fionread(&self.0)?;
        let held = usize::try_from(held).expect("a pipe holds less than the address space");
        let start = into.len();
        into.resize(start + held, 0);
        let mut read = 0;
        let result = loop {
            if read == held {
                break Ok(read);
            }
            match rustix::io::read(&self.0, &mut into[start + read..]) {
                Ok(0) | Err(Errno::AGAIN) => break Ok(read),
                Ok(more) => read += more,
                Err(Errno::INTR) => {}
                Err(error) => break Err(error.into()),
            }
        };
        into.truncate(start + read);
        result
    }
}

/// Our side of a worker's frames, and its fd 1 if they do not travel there.
pub(super) struct Frames {
    pub(super) reader: Box<dyn AsyncRead + Send + Unpin>,
    pub(super) outbox: Arc<dyn Outbox>,
    pub(super) stdout: Option<OutputPipe>,
}

/// Connects to a worker. `first` is written before any frame; what the channel does not take now follows by a task.
pub(super) fn connect(stdin: Stdin, stdout: OwnedFd, first: Bytes) -> io::Result<Frames> {
    let stdout = OutputPipe::new(stdout)?;
    Ok(match stdin {
        Stdin::Socket(socket) => {
            socket.set_nonblocking(true)?;
            let (reader, end) = UnixStream::from_std(socket)?.into_split();
            let outbox = Channel::open(End::Socket(end), first);
            Frames { reader: Box::new(reader), outbox, stdout: Some(stdout) }
        }
        Stdin::Pipe(stdin) => {
            let end = pipe::Sender::from_owned_fd(stdin)?;
            let outbox = Channel::open(End::Pipe(end), first);
            Frames { reader: Box::new(stdout), outbox, stdout: None }
        }
    })
}

/// The writing end of a worker's frames.
#[derive(Debug)]
struct Channel {
    end: End,
    /// What must be written before any frame.
    first: Mutex<Bytes>,
}

#[derive(Debug)]
enum End {
    Socket(OwnedWriteHalf),
    Pipe(pipe::Sender),
}

impl Channel {
    fn open(end: End, first: Bytes) -> Arc<Self> {
        let channel = Arc::new(Self { end, first: Mutex::new(first) });
        match channel.write_first() {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let channel = Arc::clone(&channel);
                // Ends with the worker, at the latest: then nobody holds the other end.
                tokio::spawn(async move {
                    while let Err(error) = channel.write_first() {
                        if error.kind() != io::ErrorKind::WouldBlock || channel.end.writable().await.is_err()
                        {
                            return;
                        }
                    }
                });
            }
            // It is dead already; its exit says so.
            Err(_) => {}
        }
        channel
    }

    /// Writes what is left of `first`.
    ///
    /// # Errors
    /// `WouldBlock` if something is still left.
    fn write_first(&self) -> io::Result<()> {
        let mut first = self.first();
        while !first.is_empty() {
            let written = self.end.try_write(&first)?;
            first.advance(written);
        }
        Ok(())
    }

    fn first(&self) -> MutexGuard<'_, Bytes> {
        self.first.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outbox for Channel {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        self.write_first()?;
        self.end.try_write(bytes)
    }

    fn poll_writable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.end {
            End::Socket(socket) => socket.as_ref().poll_write_ready(context),
            End::Pipe(pipe) => pipe.poll_write_ready(context),
        }
    }
}

impl End {
    fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Socket(socket) => socket.try_write(bytes),
            Self::Pipe(pipe) => pipe.try_write(bytes),
        }
    }

    async fn writable(&self) -> io::Result<()> {
        match self {
            Self::Socket(socket) => socket.writable().await,
            Self::Pipe(pipe) => pipe.writable().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read, os::unix::net::UnixStream as StdUnixStream, time::Duration};

    use tokio::time::timeout;

    use super::*;

    const HANG: Duration = Duration::from_secs(60);

    /// More than a socket buffer holds, to a worker that does not read yet.
    #[tokio::test]
    async fn what_comes_first_is_written_before_any_frame_and_holds_up_nobody() {
        let (ours, mut theirs) = StdUnixStream::pair().unwrap();
        let first = Bytes::from(vec![b'f'; 4 << 20]);
        let (stdout, _writer) = io::pipe().unwrap();
        let frames = connect(Stdin::Socket(ours), stdout.into(), first.clone()).unwrap();
        assert_eq!(frames.outbox.try_write(b"frame").unwrap_err().kind(), io::ErrorKind::WouldBlock);

        let read = tokio::task::spawn_blocking(move || {
            let mut read = Vec::new();
            theirs.read_to_end(&mut read).map(|_| read).unwrap()
        });
        let mut rest = b"frame".as_slice();
        while !rest.is_empty() {
            match frames.outbox.try_write(rest) {
                Ok(written) => rest = &rest[written..],
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    let writable = std::future::poll_fn(|context| frames.outbox.poll_writable(context));
                    timeout(HANG, writable).await.unwrap().unwrap();
                }
            }
        }
        drop(frames);
        let read = timeout(HANG, read).await.unwrap().unwrap();
        assert_eq!(read.len(), first.len() + "frame".len());
        assert!(read.starts_with(&first) && read.ends_with(b"frame"));
    }

    #[tokio::test]
    async fn a_worker_that_is_gone_is_no_error_until_something_is_written() {
        let (ours, theirs) = StdUnixStream::pair().unwrap();
        drop(theirs);
        let (stdout, _writer) = io::pipe().unwrap();
        let frames = connect(Stdin::Socket(ours), stdout.into(), Bytes::from_static(b"first")).unwrap();
        let refused = async {
            loop {
                match frames.outbox.try_write(b"frame") {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => tokio::task::yield_now().await,
                    answer => break answer,
                }
            }
        };
        assert_eq!(timeout(HANG, refused).await.unwrap().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
