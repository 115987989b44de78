//! The control socket of a zygote.

use std::{
    ffi::OsString,
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::{
        fd::{BorrowedFd, OwnedFd},
        unix::{ffi::OsStrExt, net::UnixStream as StdUnixStream},
    },
};

use bytes::{Buf, BytesMut};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, Interest},
    net::UnixStream,
};

use crate::{
    protocol::Decoder,
    worker::{Pipe, pipes::OutputPipe},
};

/// Bytes of one message of a zygote.
const MESSAGE_MAX: usize = 1 << 20;
/// Bytes kept of what it prints.
const SAID_MAX: usize = 2 << 10;

/// The control socket, and what the zygote prints.
#[derive(Debug)]
pub(in crate::worker) struct Link {
    socket: UnixStream,
    decoder: Decoder,
    stderr: Option<OutputPipe>,
    /// The end of what it printed.
    printed: BytesMut,
}

impl Link {
    pub(super) fn new(socket: StdUnixStream, stderr: OwnedFd) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: UnixStream::from_std(socket)?,
            decoder: Decoder::new(MESSAGE_MAX),
            stderr: Some(OutputPipe::new(stderr)?),
            printed: BytesMut::new(),
        })
    }

    /// Of a process that prints nothing.
    pub(in crate::worker) fn quiet(socket: UnixStream) -> Self {
        Self { socket, decoder: Decoder::new(MESSAGE_MAX), stderr: None, printed: BytesMut::new() }
    }

    /// The socket alone. What came and was not heard is lost.
    pub(in crate::worker) fn into_socket(self) -> UnixStream {
        self.socket
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes).await
    }

    /// Sends a frame whose fields are these, and descriptors with it.
    pub(in crate::worker) async fn send(
        &mut self,
        fields: impl IntoIterator<Item = OsString>,
        descriptors: &[BorrowedFd<'_>],
    ) -> io::Result<()> {
        let fields: Vec<_> = fields.into_iter().collect();
        let payload = fields.iter().map(|field| field.as_bytes()).collect::<Vec<_>>().join(&0);
        let len = u32::try_from(payload.len()).map_err(io::Error::other)?;
        let frame = [&len.to_be_bytes(), &*payload].concat();
        // The descriptors travel with the first byte.
        let send = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty() {
                ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
            }
            Ok(sendmsg(&self.socket, &[IoSlice::new(&frame)], &mut ancillary, SendFlags::NOSIGNAL)?)
        };
        let sent = self.socket.async_io(Interest::WRITABLE, send).await?;
        self.write(&frame[sent..]).await
    }

    /// The next message: its first word, and the rest. What it prints meanwhile is read too, or it would wait for that.
    pub(in crate::worker) async fn hear(&mut self) -> io::Result<(String, String)> {
        loop {
            if let Some(frame) = self.decoder.next().map_err(io::Error::other)? {
                let text = String::from_utf8_lossy(&frame);
                let (kind, rest) = text.split_once(' ').unwrap_or((&text, ""));
                return Ok((kind.into(), rest.into()));
            }
            let printing = async {
                match &mut self.stderr {
                    Some(stderr) => stderr.read_buf(&mut self.printed).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                read = self.socket.read_buf(self.decoder.buffer()) => {
                    if read? == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                }
                read = printing => match read {
                    Ok(0) | Err(_) => self.stderr = None,
                    Ok(_) => self.forget(),
                },
            }
        }
    }

    /// The end of what it has printed by now.
    pub(super) fn said(&mut self) -> String {
        if let Some(stderr) = &mut self.stderr {
            // What cannot be read is missing from an explanation.
            let _ = stderr.read_held(&mut self.printed);
        }
        self.forget();
        String::from_utf8_lossy(&self.printed).into_owned()
    }

    fn forget(&mut self) {
        let excess = self.printed.len().saturating_sub(SAID_MAX);
        self.printed.advance(excess);
    }
}
