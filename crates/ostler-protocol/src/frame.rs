//! Where one message ends and the next begins: `[length: 4 bytes, big endian][payload]`.
//!
//! No byte is interpreted here beyond the length, and no error is got over: after the first one the position in the
//! stream is unknown, so the decoder repeats it for ever.

use std::fmt;

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
/// # use ostler_protocol::{Decoder, FRAME_LEN_MAX};
/// let mut decoder = Decoder::new(FRAME_LEN_MAX);
/// decoder.buffer().extend_from_slice(b"\x00\x00\x00\x02hi\x00\x00");  // or a read straight into it
/// assert_eq!(decoder.next()?.as_deref(), Some(&b"hi"[..]));
/// assert_eq!(decoder.next()?, None);
/// assert_eq!(decoder.pending(), 2);
/// # Ok::<(), ostler_protocol::FrameError>(())
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
            Some(len) if len <= self.limit && in_hand < HEADER_LEN + len && HEADER_LEN + len > BLOCK_LEN => {
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
        if self.buffer.capacity() > in_hand {
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
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// A frame is announced that is longer than allowed.
    TooLong {
        /// The length announced.
        len: usize,
        /// The longest payload allowed.
        limit: usize,
        /// What was in hand, if it is text: the usual mistake is a worker that prints on its protocol channel.
        printed: Option<String>,
    },
    /// A frame of no bytes is announced.
    Empty,
    /// The stream ended inside a frame.
    Truncated {
        /// The bytes in hand, the length included.
        got: usize,
        /// The bytes of the whole frame, if its length was in hand.
        expected: Option<usize>,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { len, limit, printed } => {
                write!(f, "frame of {len} bytes announced, expected 1 to {limit}: ")?;
                match printed {
                    None => f.write_str("the length is 4 bytes, most significant first"),
                    Some(text) => {
                        write!(
                            f,
                            "these bytes are text, so the worker printed on its protocol channel: {text:?}"
                        )
                    }
                }
            }
            Self::Empty => f.write_str(
                "frame of 0 bytes announced, expected at least 1: a message is a map with a `type`",
            ),
            Self::Truncated { got, expected: None } => {
                write!(
                    f,
                    "stream ended inside a frame: got {got} bytes of it, expected at least {HEADER_LEN}"
                )
            }
            Self::Truncated { got, expected: Some(total) } => {
                write!(f, "stream ended inside a frame: got {got} bytes of it, expected {total}")
            }
        }
    }
}

impl std::error::Error for FrameError {}

/// Returns what is in hand as text, if it begins like text where a length should be.
fn printed_text(bytes: &[u8]) -> Option<String> {
    const SHOWN: usize = 200;
    let is_text = |byte: &u8| matches!(byte, b' '..=b'~' | b'\n' | b'\r' | b'\t' | 0x1b);
    let header = bytes.first_chunk::<HEADER_LEN>()?;
    header.iter().all(is_text).then(|| String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Appends as a socket would: as much as there is room for.
    fn read_into(decoder: &mut Decoder, stream: &mut &[u8]) {
        let buffer = decoder.buffer();
        let room = buffer.capacity() - buffer.len();
        assert!(room > 0, "a read into no room looks like the end of the stream");
        let (now, later) = stream.split_at(room.min(stream.len()));
        buffer.extend_from_slice(now);
        *stream = later;
    }

    fn frames(decoder: &mut Decoder, mut stream: &[u8]) -> Result<Vec<Bytes>, FrameError> {
        let mut frames = Vec::new();
        while !stream.is_empty() {
            read_into(decoder, &mut stream);
            while let Some(frame) = decoder.next()? {
                frames.push(frame);
            }
        }
        Ok(frames)
    }

    fn framed(payloads: &[&[u8]]) -> Vec<u8> {
        let mut stream = Vec::new();
        for payload in payloads {
            stream.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes());
            stream.extend_from_slice(payload);
        }
        stream
    }

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|n| u8::try_from(n % 251).unwrap()).collect()
    }

    /// A1: four bytes, the most significant first, and then exactly so many.
    #[test]
    fn the_length_is_big_endian() {
        let mut decoder = Decoder::new(FRAME_LEN_MAX);
        decoder.buffer().extend_from_slice(&[0, 0, 0, 0x7C]);
        decoder.buffer().extend_from_slice(&[0x85; 123]);
        assert_eq!(decoder.next(), Ok(None));
        decoder.buffer().extend_from_slice(&[0x85, 0, 0, 1, 0]);
        assert_eq!(decoder.next().unwrap().unwrap(), [0x85; 124][..]);
        assert_eq!(decoder.next(), Ok(None));
        assert_eq!(decoder.pending(), 4);
    }

    /// A3: and up to the limit itself.
    #[test]
    fn payloads_of_every_size_arrive_exact() {
        const KIB: usize = 1 << 10;
        for len in
            [1, 2, 64 * KIB - 5, 64 * KIB - 4, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 100_000, KIB * KIB]
        {
            let payload = pattern(len);
            let stream = framed(&[&payload, b"next", &payload]);
            let got = frames(&mut Decoder::new(FRAME_LEN_MAX), &stream).unwrap();
            assert_eq!(got, [&payload[..], b"next", &payload], "{len}");
        }
        let longest = pattern(FRAME_LEN_MAX);
        let got = frames(&mut Decoder::new(FRAME_LEN_MAX), &framed(&[&longest])).unwrap();
        assert!(got == [&longest[..]], "the longest payload arrives");
    }

    /// A4: wherever a read ends, and if every read brings one byte.
    #[test]
    fn frames_arrive_however_the_stream_is_cut() {
        let stream = framed(&[b"a", &[0, 0, 0, 9], b"third", &pattern(300)]);
        let whole = frames(&mut Decoder::new(FRAME_LEN_MAX), &stream).unwrap();
        assert_eq!(whole.len(), 4);
        for cut in 0..=stream.len() {
            let mut decoder = Decoder::new(FRAME_LEN_MAX);
            let (left, right) = stream.split_at(cut);
            let mut got = frames(&mut decoder, left).unwrap();
            got.extend(frames(&mut decoder, right).unwrap());
            assert_eq!(got, whole, "cut at {cut}");
            assert_eq!(decoder.finish(), Ok(()));
        }
        let mut decoder = Decoder::new(FRAME_LEN_MAX);
        let got: Vec<_> = stream.iter().flat_map(|byte| frames(&mut decoder, &[*byte]).unwrap()).collect();
        assert_eq!(got, whole);
    }

    #[test]
    fn frames_of_one_read_share_its_memory() {
        let got = frames(&mut Decoder::new(FRAME_LEN_MAX), &framed(&[b"one", b"two"])).unwrap();
        assert_eq!(got[0].as_ptr() as usize + 3 + HEADER_LEN, got[1].as_ptr() as usize);
    }

    /// A11, fault 22: the bytes `FF FF FF FF` cost nothing.
    #[test]
    fn a_length_past_the_limit_is_refused_before_anything_is_reserved() {
        for (len, limit) in [(u32::MAX, FRAME_LEN_MAX), ((64 << 20) + 1, FRAME_LEN_MAX), (101, 100)] {
            let mut decoder = Decoder::new(limit);
            decoder.buffer().extend_from_slice(&len.to_be_bytes());
            let expected = FrameError::TooLong { len: len as usize, limit, printed: None };
            assert_eq!(decoder.next(), Err(expected));
            decoder.buffer();
            assert!(decoder.buffer.capacity() <= 2 * BLOCK_LEN);
        }
        assert_eq!(frames(&mut Decoder::new(100), &framed(&[&[7; 100]])).unwrap().len(), 1);
    }

    #[test]
    fn memory_grows_with_what_has_come_and_not_with_what_is_announced() {
        let mut decoder = Decoder::new(FRAME_LEN_MAX);
        decoder.buffer().extend_from_slice(&u32::try_from(FRAME_LEN_MAX).unwrap().to_be_bytes());
        let mut rest = &pattern(8 << 20)[..];
        while !rest.is_empty() {
            assert_eq!(decoder.next(), Ok(None));
            let in_hand = decoder.pending();
            read_into(&mut decoder, &mut rest);
            assert!(decoder.buffer.capacity() <= 2 * in_hand.max(BLOCK_LEN), "{in_hand} in hand");
        }
    }

    /// Otherwise one short piece of output that a caller keeps would keep megabytes.
    #[test]
    fn what_follows_a_large_frame_does_not_keep_its_memory() {
        let mut decoder = Decoder::new(FRAME_LEN_MAX);
        let stream = framed(&[&pattern(1 << 20), b"small"]);
        let mut rest = &stream[..];
        while !rest.is_empty() {
            read_into(&mut decoder, &mut rest);
        }
        assert!(decoder.buffer.capacity() > BLOCK_LEN);
        assert!(decoder.next().unwrap().is_some());
        assert!(decoder.buffer.capacity() < BLOCK_LEN);
        assert_eq!(decoder.next().unwrap().unwrap(), b"small"[..]);
    }

    /// Fault 23: there is no way to find the next frame again.
    #[test]
    fn an_error_is_repeated_for_ever() {
        let mut decoder = Decoder::new(FRAME_LEN_MAX);
        decoder.buffer().extend_from_slice(&framed(&[b"good", b"", b"good"]));
        assert_eq!(decoder.next().unwrap().unwrap(), b"good"[..]);
        for _ in 0..3 {
            assert_eq!(decoder.next(), Err(FrameError::Empty));
            decoder.buffer().extend_from_slice(&framed(&[b"good"]));
        }
        assert_eq!(decoder.finish(), Err(FrameError::Empty));
    }

    /// A10, fault 8: a traceback on the protocol channel is shown, not measured.
    #[test]
    fn text_instead_of_a_length_is_shown() {
        let mut decoder = Decoder::new(FRAME_LEN_MAX);
        decoder.buffer().extend_from_slice("Traceback (most recent call last):\n  é".as_bytes());
        assert_eq!(
            decoder.next().unwrap_err().to_string(),
            "frame of 1416782179 bytes announced, expected 1 to 67108864: these bytes are text, so the worker \
             printed on its protocol channel: \"Traceback (most recent call last):\\n  é\""
        );
        assert!(decoder.unread().starts_with(b"Traceback"));
        let mut decoder = Decoder::new(FRAME_LEN_MAX);
        decoder.buffer().extend_from_slice(&[0xFF, 0, 0, 0]);
        assert_eq!(
            decoder.next().unwrap_err().to_string(),
            "frame of 4278190080 bytes announced, expected 1 to 67108864: the length is 4 bytes, most significant first"
        );
    }

    /// Faults 14 and 21.
    #[test]
    fn an_end_inside_a_frame_says_how_much_is_missing() {
        for (stream, expected) in
            [(&[0, 0][..], None), (&[0, 0, 0, 9], Some(13)), (&[0, 0, 0, 2, 7], Some(6))]
        {
            let mut decoder = Decoder::new(FRAME_LEN_MAX);
            decoder.buffer().extend_from_slice(stream);
            assert_eq!(decoder.next(), Ok(None));
            assert_eq!(decoder.finish(), Err(FrameError::Truncated { got: stream.len(), expected }));
        }
        let truncated = FrameError::Truncated { got: 940, expected: Some(1146) };
        assert_eq!(truncated.to_string(), "stream ended inside a frame: got 940 bytes of it, expected 1146");
    }
}
