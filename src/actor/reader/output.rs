//! A pipe that a worker prints to.

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt;

use crate::{actor::credit::CHUNK, protocol::Stream, worker::Pipe};

/// A first read from a pipe that is mostly silent; one that brings as much asks for a whole chunk next.
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
            Ok(read) => self.next_read = if read >= READ_MIN { CHUNK } else { READ_MIN },
        }
    }

    /// Reads what it holds at this moment. At the end the pipe is let go.
    pub(super) fn read_held(&mut self) {
        let Some(pipe) = &mut self.pipe else { return };
        if pipe.read_held(&mut self.buffer).is_err() {
            self.pipe = None;
        }
    }

    /// What was read, if anything, and the bytes that it keeps in memory: never more than twice its length.
    pub(super) fn take(&mut self) -> Option<(Bytes, usize)> {
        let (len, capacity) = (self.buffer.len(), self.buffer.capacity());
        if len == 0 {
            return None;
        }
        if len >= capacity / 2 {
            return Some((std::mem::take(&mut self.buffer).freeze(), capacity));
        }
        let data = Bytes::copy_from_slice(&self.buffer);
        self.buffer.clear();
        if capacity > READ_MIN && self.next_read == READ_MIN {
            self.buffer = BytesMut::new(); // It is mostly silent.
        }
        Some((data, len))
    }
}
