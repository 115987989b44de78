//! Where one message ends and the next begins: `[length: 4 bytes, big endian][payload]`.
//!
//! No byte is interpreted here beyond the length, and no error is got over: after the first one the position in the
//! stream is unknown, so the decoder repeats it for ever.

use bytes::{Bytes, BytesMut};

/// The longest payload of a frame, unless a [`Decoder`] is told a lower limit.
pub const FRAME_LEN_MAX: usize = 64 << 20;

/// The bytes that announce the length of a payload.
pub(super) const HEADER_LEN: usize = 4;

/// What one read asks for, and the size of the blocks that frames share.
const BLOCK_LEN: usize = 64 << 10;

/// Less free room than this is not worth a read.
const ROOM_MIN: usize = 4 << 10;

/// Cuts a stream of bytes into frames (A1, A3, A4).
///
/// ```
/// # use ostler::protocol::{Decoder, FRAME_LEN_MAX};
/// let mut decoder = Decoder::new(FRAME_LEN_MAX);
/// decoder.buffer().extend_from_slice(b"\x00\x00\x00\x02hi\x00\x00");  // or a read straight into it
/// assert_eq!(decoder.next()?.as_deref(), Some(&b"hi"[..]));
/// assert_eq!(decoder.next()?, None);
/// assert_eq!(decoder.pending(), 2);
/// # Ok::<(), ostler::protocol::FrameError>(())
/// ```
#[derive(Debug)]
pub struct Decoder {
    buffer: BytesMut,
    limit: usize,
    fault: Option<FrameError>,
}

impl Decoder {
    /// Creates a decoder that refuses payloads longer than `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { buffer: BytesMut::new(), limit, fault: None }
    }

    /// Returns the buffer to append to, with room for a read: append, then take frames until there are none.
    ///
    /// The room grows with what has come, not with what is announced: four bytes cannot make 64 MiB be reserved.
    pub fn buffer(&mut self) -> &mut BytesMut {
        let in_hand = self.buffer.len();
        match self.announced() {
            Some(len) if HEADER_LEN + len > BLOCK_LEN && len <= self.limit => {
                self.make_room_for(HEADER_LEN + len);
            }
            Some(_) | None if self.buffer.capacity() - in_hand < ROOM_MIN => self.buffer.reserve(BLOCK_LEN),
            Some(_) | None => (),
        }
        &mut self.buffer
    }

    /// Takes the next whole frame and returns its payload, a slice of the buffer; `None` until more bytes come.
    ///
    /// # Errors
    /// [`FrameError`] if the length is zero or past the limit: before anything is reserved for it (A11), and again at
    /// each later call.
    #[expect(clippy::should_implement_trait, reason = "`None` is not the end: more bytes may come")]
    pub fn next(&mut self) -> Result<Option<Bytes>, FrameError> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        let Some(len) = self.announced() else { return Ok(None) };
        if len == 0 {
            return Err(self.poison(FrameError::Empty));
        }
        if len > self.limit {
            let printed = printed_text(&self.buffer);
            return Err(self.poison(FrameError::TooLong { len, limit: self.limit, printed }));
        }
        if self.buffer.len() - HEADER_LEN < len {
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(HEADER_LEN + len).freeze();
        if HEADER_LEN + len > BLOCK_LEN && self.buffer.len() < len {
            // The rest moves out, so that a small frame never keeps the memory of a large one alive.
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
        Ok(Some(frame.split_off(HEADER_LEN)))
    }

    /// Returns how many bytes of an incomplete frame are in hand.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// Returns the bytes in hand that belong to no frame yet: after an error, the best evidence of what came instead.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        &self.buffer
    }

    /// Says whether the stream may end here.
    ///
    /// # Errors
    /// [`FrameError::Truncated`] if a frame is incomplete, or the error that came before.
    pub fn finish(&self) -> Result<(), FrameError> {
        match &self.fault {
            Some(fault) => Err(fault.clone()),
            None if self.buffer.is_empty() => Ok(()),
            None => {
                let expected = self.announced().map(|len| HEADER_LEN + len);
                Err(FrameError::Truncated { got: self.buffer.len(), expected })
            }
        }
    }

    /// The length of the payload that comes next, as announced.
    fn announced(&self) -> Option<usize> {
        let header = self.buffer.first_chunk::<HEADER_LEN>()?;
        // Where a length does not fit, it is past every limit.
        Some(usize::try_from(u32::from_be_bytes(*header)).unwrap_or(usize::MAX))
    }

    /// Grows towards a frame of `total` bytes: twice what is in hand, and never past its end, so that the memory of a
    /// large frame is shared with nothing.
    fn make_room_for(&mut self, total: usize) {
        let in_hand = self.buffer.len();
        if self.buffer.capacity() > in_hand || in_hand >= total {
            return;
        }
        let mut grown = BytesMut::with_capacity(total.min(2 * in_hand.max(BLOCK_LEN)));
        grown.extend_from_slice(&self.buffer);
        self.buffer = grown;
    }

    fn poison(&mut self, fault: FrameError) -> FrameError {
        self.fault = Some(fault.clone());
        fault
    }
}

/// A stream that is not made of frames, or no longer. There is no way back: the worker's generation ends.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// A frame is announced that is longer than allowed.
    #[error("frame of {len} bytes announced, expected 1 to {limit}{hint}", hint = hint(printed.as_deref()))]
    TooLong {
        /// The length announced.
        len: usize,
        /// The longest payload allowed.
        limit: usize,
        /// What was in hand, if it is text: the usual mistake is a worker that prints on its protocol channel.
        printed: Option<String>,
    },
    /// A frame of no bytes is announced.
    #[error("frame of 0 bytes announced, expected at least 1: a message is a map with a `type`")]
    Empty,
    /// The stream ended inside a frame.
    #[error("stream ended inside a frame: got {got} bytes of it, expected {}", total(*expected))]
    Truncated {
        /// The bytes in hand, the length included.
        got: usize,
        /// The bytes of the whole frame, if its length was in hand.
        expected: Option<usize>,
    },
}

fn hint(printed: Option<&str>) -> String {
    printed.map_or_else(
        || ": the length is 4 bytes, most significant first".to_owned(),
        |text| format!(": these bytes are text, so the worker printed on its protocol channel: {text:?}"),
    )
}

fn total(expected: Option<usize>) -> String {
    expected.map_or_else(|| format!("at least {HEADER_LEN}"), |total| total.to_string())
}

/// Returns what is in hand as text, if it begins like text where a length should be.
fn printed_text(bytes: &[u8]) -> Option<String> {
    const SHOWN: usize = 200;
    let is_text = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t' | 0x1b);
    let header = bytes.first_chunk::<HEADER_LEN>()?;
    header.iter().all(is_text).then(|| String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]).into_owned())
}
