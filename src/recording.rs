//! Recordings: everything that passed between a session and its worker, in a file, for the question what happened.
//!
//! ```text
//! "ostler recording" NUL, version: 1 byte, codec: 1 byte, length of the tag: 4 bytes, the tag
//! then pieces: microseconds since the start: 8 bytes, channel: 1 byte, length: 4 bytes, the bytes
//! ```
//! Numbers are big endian. The bytes of a channel are a stream: pieces begin and end anywhere in it. The times tell the
//! order, not the places in the file. A file may end inside a piece, if its host was killed.

use std::{fs, io, path::Path, time::Duration};

use bytes::{Buf, Bytes};

use crate::protocol::{Codec, Decoder, FRAME_LEN_MAX, FromWorker, Stream, ToWorker};

#[cfg(test)]
mod tests;

pub(crate) const MAGIC: &[u8] = b"ostler recording\0";
pub(crate) const VERSION: u8 = 1;

/// Which stream of bytes a piece belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    ToWorker = 0,
    FromWorker = 1,
    Stdout = 2,
    Stderr = 3,
    /// Not a stream: how the worker ended, in words.
    Exit = 4,
    /// Not a stream: how many bytes are missing here.
    Missing = 5,
}

impl Channel {
    fn of(byte: u8) -> Option<Self> {
        let all = [Self::ToWorker, Self::FromWorker, Self::Stdout, Self::Stderr, Self::Exit, Self::Missing];
        all.into_iter().find(|channel| *channel as u8 == byte)
    }
}

/// What a recording begins with.
pub(crate) fn header(codec: Codec, tag: &str) -> Vec<u8> {
    let codec = match codec {
        Codec::MessagePack => 1,
        Codec::Json => 2,
    };
    let len = u32::try_from(tag.len()).unwrap_or(u32::MAX).to_be_bytes();
    [MAGIC, &[VERSION, codec], &len, tag.as_bytes()].concat()
}

/// What stands before the bytes of a piece.
pub(crate) fn piece_header(at: Duration, channel: Channel, len: u32) -> [u8; 13] {
    let mut header = [0; 13];
    let micros = u64::try_from(at.as_micros()).unwrap_or(u64::MAX);
    header[..8].copy_from_slice(&micros.to_be_bytes());
    header[8] = channel as u8;
    header[9..].copy_from_slice(&len.to_be_bytes());
    header
}

/// The life of one worker, as [`PoolConfig::record`](crate::PoolConfig::record) wrote it down.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Recording {
    /// How its worker was told from all others of the machine.
    pub tag: String,
    /// How its messages were encoded.
    pub codec: Codec,
    /// What passed, in order.
    pub entries: Vec<Entry>,
}

/// One thing that passed.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Time since the worker was started.
    pub at: Duration,
    /// What it was.
    pub what: Passed,
}

/// What passed between a session and its worker.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Passed {
    /// The session said this.
    ToWorker(Box<ToWorker>),
    /// The worker said this.
    FromWorker(Box<FromWorker>),
    /// The worker printed, on a pipe of its own.
    Output {
        /// Where to.
        stream: Stream,
        /// What.
        data: Bytes,
    },
    /// A frame that is no message: why not.
    Malformed(String),
    /// The worker ended, in words.
    Exited(String),
    /// The disk was slower than the worker: so many bytes are not in the recording, and what follows may be malformed.
    Missing(u64),
}

/// Why a file is no recording that can be read.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum RecordingError {
    /// It cannot be read at all.
    #[error("the recording `{file}` cannot be read")]
    Unreadable {
        /// Which file.
        file: String,
        /// Why.
        source: io::Error,
    },
    /// It is something else.
    #[error("`{file}` is no recording: it does not begin as one")]
    Foreign {
        /// Which file.
        file: String,
    },
    /// Another version of Ostler wrote it.
    #[error(
        "the recording `{file}` has version {got}, this program reads version {expected}; use the one that wrote it"
    )]
    Version {
        /// Which file.
        file: String,
        /// Ours.
        expected: u8,
        /// Its.
        got: u8,
    },
}

impl Recording {
    /// Reads a recording, also one that is still being written, or was cut short. Blocks while the file is read; all of it
    /// is held in memory.
    ///
    /// # Errors
    /// The file cannot be read, is something else, or has another version.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, RecordingError> {
        let path = path.as_ref();
        let file = || path.display().to_string();
        let bytes = fs::read(path).map_err(|source| RecordingError::Unreadable { file: file(), source })?;
        Self::parse(Bytes::from(bytes), file)
    }

    fn parse(mut bytes: Bytes, file: impl Fn() -> String) -> Result<Self, RecordingError> {
        let foreign = || RecordingError::Foreign { file: file() };
        if !bytes.starts_with(MAGIC) || bytes.len() < MAGIC.len() + 6 {
            return Err(foreign());
        }
        bytes.advance(MAGIC.len());
        let got = bytes.get_u8();
        if got != VERSION {
            return Err(RecordingError::Version { file: file(), expected: VERSION, got });
        }
        let codec = match bytes.get_u8() {
            1 => Codec::MessagePack,
            2 => Codec::Json,
            _unknown => return Err(foreign()),
        };
        let tag_len = usize::try_from(bytes.get_u32()).unwrap_or(usize::MAX);
        if bytes.len() < tag_len {
            return Err(foreign());
        }
        let tag = String::from_utf8_lossy(&bytes.split_to(tag_len)).into_owned();
        let mut pieces: Vec<_> = std::iter::from_fn(|| piece(&mut bytes)).collect();
        // Whoever noted a piece may have been held up between its time and its writing.
        pieces.sort_by_key(|(at, ..)| *at);
        let mut playing = Playing::new(codec);
        for (at, channel, data) in pieces {
            playing.play(at, channel, data);
        }
        Ok(Self { tag, codec, entries: playing.entries })
    }
}

/// The next whole piece; what is cut off, or of a kind that this version does not know, is the end.
fn piece(bytes: &mut Bytes) -> Option<(Duration, Channel, Bytes)> {
    if bytes.len() < 13 {
        return None;
    }
    let at = Duration::from_micros(bytes.get_u64());
    let channel = Channel::of(bytes.get_u8())?;
    let len = usize::try_from(bytes.get_u32()).ok()?;
    (bytes.len() >= len).then(|| (at, channel, bytes.split_to(len)))
}

/// Turns streams of bytes back into messages.
struct Playing {
    codec: Codec,
    to_worker: Decoder,
    from_worker: Decoder,
    entries: Vec<Entry>,
}

impl Playing {
    fn new(codec: Codec) -> Self {
        let decoder = || Decoder::new(FRAME_LEN_MAX);
        Self { codec, to_worker: decoder(), from_worker: decoder(), entries: Vec::new() }
    }

    fn play(&mut self, at: Duration, channel: Channel, data: Bytes) {
        let words = || String::from_utf8_lossy(&data).into_owned();
        let what = match channel {
            Channel::ToWorker | Channel::FromWorker => return self.frames(at, channel, &data),
            Channel::Stdout => Passed::Output { stream: Stream::Stdout, data },
            Channel::Stderr => Passed::Output { stream: Stream::Stderr, data },
            Channel::Exit => Passed::Exited(words()),
            Channel::Missing => Passed::Missing(words().parse().unwrap_or(0)),
        };
        self.entries.push(Entry { at, what });
    }

    fn frames(&mut self, at: Duration, channel: Channel, data: &[u8]) {
        let codec = self.codec;
        let ours = channel == Channel::ToWorker;
        let decoder = if ours { &mut self.to_worker } else { &mut self.from_worker };
        // A broken stream tells its fault once; what follows in it cannot be understood.
        let was_broken = decoder.next().is_err();
        decoder.buffer().extend_from_slice(data);
        loop {
            let frame = match decoder.next() {
                Ok(Some(frame)) => frame,
                Ok(None) => return,
                Err(fault) => {
                    if !was_broken {
                        self.entries.push(Entry { at, what: Passed::Malformed(fault.to_string()) });
                    }
                    return;
                }
            };
            let what = if ours {
                codec.decode_to_worker(frame).map(|message| Passed::ToWorker(Box::new(message)))
            } else {
                codec.decode(frame).map(|message| Passed::FromWorker(Box::new(message)))
            };
            let what = what.unwrap_or_else(|error| Passed::Malformed(error.to_string()));
            self.entries.push(Entry { at, what });
        }
    }
}
