//! The standard input of a script, as a stream of bytes.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{io::AsyncWrite, net::unix::pipe};

/// The standard input of a script. Writing waits while the script reads more slowly; it fails with
/// [`BrokenPipe`](io::ErrorKind::BrokenPipe) once nobody reads any more. Dropping it, or shutting it down, is the end of
/// the input.
#[derive(Debug)]
pub struct ScriptInput(Option<pipe::Sender>);

impl ScriptInput {
    pub(crate) fn new(pipe: pipe::Sender) -> Self {
        Self(Some(pipe))
    }

    fn poll<T>(
        &mut self,
        write: impl FnOnce(Pin<&mut pipe::Sender>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        match &mut self.0 {
            Some(pipe) => write(Pin::new(pipe)),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }
}

impl AsyncWrite for ScriptInput {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll(|pipe| pipe.poll_write(context, bytes))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll(|pipe| pipe.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0 = None;
        Poll::Ready(Ok(()))
    }
}
