//! Everything that one execution printed, and how it ended.

use std::{borrow::Cow, io};

use bytes::Bytes;

use crate::{
    outcome::{Display, Outcome, SessionRestored},
    protocol::{ExecutionId, Stream, Value},
    request::Label,
};

mod collect;
mod spill;
#[cfg(test)]
mod tests;

pub(crate) use collect::Collector;
use spill::Spilled;

/// Everything that one execution printed, and how it ended.
///
/// Of output that is longer than the pool's `max_report_bytes`, the beginning and the end are kept. The middle is
/// [dropped](Self::dropped) and counted, or kept in a file if the request asked for it
/// ([`Request::spill`](crate::Request::spill)); [`page`](Self::page) reads any part of it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// The execution.
    pub id: ExecutionId,
    /// The label of its request.
    pub label: Option<Label>,
    /// How it ended.
    pub outcome: Outcome,
    /// What it wrote to stdout: all of it, or its beginning.
    pub stdout: Bytes,
    /// What it wrote to stderr: all of it, or its beginning.
    pub stderr: Bytes,
    /// What it displayed.
    pub displays: Vec<Display>,
    /// What its session told before it: that its worker had died, and what is back in a new one.
    pub restored: Option<Box<SessionRestored>>,
    /// What its code left running when it ended; see [`Event::Left`](crate::Event::Left).
    pub left: Vec<String>,
    /// Bytes of output that are nowhere in this report: over the limit, or discarded after a cancel.
    pub dropped: u64,
    /// The rest of stdout and of stderr.
    rest: [Rest; 2],
}

/// What is known of a stream beyond its beginning.
#[derive(Clone, Debug, Default, PartialEq)]
struct Rest {
    /// Bytes that were printed in all.
    total: u64,
    /// The last of them, unless they are in the beginning.
    tail: Bytes,
    /// What follows the beginning, on disk.
    spilled: Option<Spilled>,
}

impl Report {
    /// The value of the last expression, if the code completed and had one that can be expressed.
    #[must_use]
    pub fn value(&self) -> Option<&Value> {
        self.outcome.value()
    }

    /// What it wrote to stdout, as text; what is not UTF-8 is replaced, and what is left out is said in brackets.
    #[must_use]
    pub fn stdout_text(&self) -> Cow<'_, str> {
        self.text(Stream::Stdout)
    }

    /// What it wrote to stderr, as text; as [`stdout_text`](Self::stdout_text).
    #[must_use]
    pub fn stderr_text(&self) -> Cow<'_, str> {
        self.text(Stream::Stderr)
    }

    /// How many bytes it wrote to a stream.
    #[must_use]
    pub fn printed(&self, stream: Stream) -> u64 {
        self.rest(stream).total
    }

    /// The end of what it wrote to a stream, if that is longer than its beginning.
    #[must_use]
    pub fn tail(&self, stream: Stream) -> &Bytes {
        &self.rest(stream).tail
    }

    /// Up to `len` bytes that it wrote to a stream, from the byte numbered `from`; fewer at the end of a part that is kept
    /// in one place, and none at the end of the stream. Reads from a file if it must, and blocks for that long.
    ///
    /// # Errors
    /// These bytes were dropped, or the file cannot be read.
    pub fn page(&self, stream: Stream, from: u64, len: usize) -> io::Result<Bytes> {
        let (head, rest) = (self.head(stream), self.rest(stream));
        let part = |bytes: &Bytes, start: u64| {
            let start = usize::try_from(from - start).map_or(bytes.len(), |start| start.min(bytes.len()));
            bytes.slice(start..bytes.len().min(start.saturating_add(len)))
        };
        let tail = rest.total - rest.tail.len() as u64;
        if from < head.len() as u64 {
            Ok(part(head, 0))
        } else if from >= tail {
            Ok(part(&rest.tail, tail))
        } else if let Some(spilled) = rest.spilled.as_ref().filter(|spilled| spilled.holds(from)) {
            spilled.read(from, len)
        } else {
            Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!(
                    "byte {from} of {stream} was dropped; raise `max_report_bytes`, or ask for a larger `spill`"
                ),
            ))
        }
    }

    fn head(&self, stream: Stream) -> &Bytes {
        match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        }
    }

    fn rest(&self, stream: Stream) -> &Rest {
        match stream {
            Stream::Stdout => &self.rest[0],
            Stream::Stderr => &self.rest[1],
        }
    }

    fn text(&self, stream: Stream) -> Cow<'_, str> {
        let (head, rest) = (self.head(stream), self.rest(stream));
        let beginning = String::from_utf8_lossy(head);
        if rest.tail.is_empty() {
            return beginning;
        }
        let left_out = rest.total - (head.len() + rest.tail.len()) as u64;
        let end = String::from_utf8_lossy(&rest.tail);
        if left_out == 0 {
            return Cow::Owned(format!("{beginning}{end}"));
        }
        Cow::Owned(format!("{beginning}\n[... {left_out} bytes left out ...]\n{end}"))
    }
}
