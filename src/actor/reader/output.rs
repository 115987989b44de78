//! A pipe that a worker prints to.

use bytes::BytesMut;
use tokio::io::AsyncReadExt;

use crate::{actor::credit::CHUNK, protocol::Stream, worker::Pipe};

/// A first read from a pipe that is mostly silent; one that fills its buffer asks for a whole chunk next.
const READ_MIN: usize = 4 << 10;

pub(super) struct Output {
    pub(super) stream: Stream,
    pub(super) pipe: Option<Box<dyn Pipe>>,
    pub(super) buffer: BytesMut,
    pub(super) next_read: usize,
}

impl Output {
    pub(super) fn new(stream: Stream, pipe: Option<Box<dyn Pipe>>) -> Self {
        Self { stream, pipe, buffer: BytesMut::new(), next_read: READ_MIN }
    }

    pub(super) fn is_open(&self) -> bool {
        self.pipe.is_some()
    }

    /// Reads once; at the end the pipe is let go. Pending for ever when there is no pipe. Cancel safe.
    pub(super) async fn read(&mut self) {
        let Some(pipe) = &mut self.pipe else { return std::future::pending().await };
        if self.buffer.capacity() < READ_MIN {
            self.buffer.reserve(self.next_read);
        }
        let room = self.buffer.capacity().min(CHUNK);
        match pipe.take(room as u64).read_buf(&mut self.buffer).await {
            Ok(0) | Err(_) => self.pipe = None,
            Ok(read) => self.next_read = if read == room { CHUNK } else { READ_MIN },
        }
    }
}
