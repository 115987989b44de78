//! Output that does not fit into memory, in a file without a name: whatever ends this process, it is gone.

use std::{fs::File, io, os::unix::fs::FileExt, sync::Arc};

use crate::blocking::apart;
use bytes::{Bytes, BytesMut};

/// Gathered before it is written.
const PIECE: usize = 1 << 20;

/// A file that grows.
#[derive(Debug)]
pub(super) struct Spill {
    /// Where in the stream the file begins.
    start: u64,
    /// Made when there is something to write; `None` before that.
    file: Option<Arc<File>>,
    len: u64,
    /// What could not be written is missing, and so is all that would follow.
    failed: bool,
    pending: BytesMut,
}

impl Spill {
    pub(super) fn new(start: u64) -> Self {
        Self { start, file: None, len: 0, failed: false, pending: BytesMut::new() }
    }

    /// Adds bytes. Waits while a piece is written, by a thread that may block.
    pub(super) async fn write(&mut self, data: &[u8]) {
        if self.failed {
            return;
        }
        self.pending.extend_from_slice(data);
        if self.pending.len() >= PIECE {
            let (file, piece, at) = (self.file.take(), self.pending.split().freeze(), self.len);
            let written = apart(move || append(file, &piece, at)).await;
            self.note(written.unwrap_or_else(|| Err(io::Error::other("the thread that wrote it panicked"))));
        }
    }

    /// Writes the last piece, which is small.
    pub(super) fn finish(mut self) -> Option<Spilled> {
        if !self.failed && !self.pending.is_empty() {
            let written = append(self.file.take(), &self.pending, self.len);
            self.note(written);
        }
        let file = self.file?;
        Some(Spilled { file, start: self.start, len: self.len })
    }

    fn note(&mut self, written: io::Result<(Arc<File>, u64)>) {
        match written {
            Ok((file, len)) => (self.file, self.len) = (Some(file), len),
            Err(error) => {
                crate::log::warn!(%error, "output that does not fit the report is dropped: its file cannot be written");
                self.failed = true;
            }
        }
    }
}

/// Writes `piece` behind the first `at` bytes. Returns the file, and how long it is now.
fn append(file: Option<Arc<File>>, piece: &[u8], at: u64) -> io::Result<(Arc<File>, u64)> {
    let file = file.map_or_else(|| tempfile::tempfile().map(Arc::new), Ok)?;
    file.write_all_at(piece, at)?;
    Ok((file, at + piece.len() as u64))
}

/// A part of a stream, on disk. Its bytes are read when they are asked for.
#[derive(Clone, Debug)]
pub(super) struct Spilled {
    file: Arc<File>,
    start: u64,
    len: u64,
}

impl PartialEq for Spilled {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.file, &other.file)
    }
}

impl Spilled {
    /// The number of the first byte of the stream that is not in the file any more.
    pub(super) fn end(&self) -> u64 {
        self.start + self.len
    }

    pub(super) fn holds(&self, at: u64) -> bool {
        (self.start..self.end()).contains(&at)
    }

    /// Up to `len` bytes of the stream, from the one numbered `from`, which it holds.
    pub(super) fn read(&self, from: u64, len: usize) -> io::Result<Bytes> {
        let len = usize::try_from(self.end() - from).map_or(len, |held| held.min(len));
        let mut bytes = BytesMut::zeroed(len);
        self.file.read_exact_at(&mut bytes, from - self.start)?;
        Ok(bytes.freeze())
    }
}
