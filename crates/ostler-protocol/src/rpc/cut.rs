//! Cuts a stream of bytes into the texts of messages.

use bytes::{Buf, Bytes, BytesMut};

use super::Framing;

/// What one read asks for.
const BLOCK_LEN: usize = 64 << 10;
/// Less free room than this is not worth a read.
const ROOM_MIN: usize = 4 << 10;
/// The bytes that a header may have.
const HEADER_MAX: usize = 4 << 10;
/// The bytes that are shown of what is wrong.
const SHOWN: usize = 200;

/// Cuts as the framing says. After an error there is no way back.
#[derive(Debug)]
pub struct Cutter {
    buffer: BytesMut,
    framing: Framing,
    limit: usize,
    /// Bytes that were looked through for the end of a line or header already.
    seen: usize,
}

impl Cutter {
    /// Refuses messages longer than `limit` bytes.
    pub fn new(framing: Framing, limit: usize) -> Self {
        Self { buffer: BytesMut::new(), framing, limit, seen: 0 }
    }

    /// The buffer to append to, with room for a read. It grows with what has come, not with what is announced.
    pub fn buffer(&mut self) -> &mut BytesMut {
        if self.buffer.capacity() - self.buffer.len() < ROOM_MIN {
            self.buffer.reserve(BLOCK_LEN);
        }
        &mut self.buffer
    }

    /// The next whole text, without what frames it; `None` until more bytes come.
    ///
    /// # Errors
    /// What is wrong with the framing, in words.
    pub fn next_message(&mut self) -> Result<Option<Bytes>, String> {
        match self.framing {
            Framing::Lines => self.line(),
            Framing::ContentLength => self.counted(),
        }
    }

    /// What is left when the stream has ended: a text without an end.
    pub fn rest(&mut self) -> Bytes {
        self.seen = 0;
        self.buffer.split().freeze()
    }

    fn line(&mut self) -> Result<Option<Bytes>, String> {
        let end = self.buffer[self.seen..].iter().position(|byte| *byte == b'\n');
        let Some(end) = end.map(|end| self.seen + end) else {
            self.seen = self.buffer.len();
            if self.seen > self.limit {
                let begins = shown(&self.buffer);
                return Err(format!(
                    "a line of more than {} bytes, the limit; it begins {begins}",
                    self.limit
                ));
            }
            return Ok(None);
        };
        self.seen = 0;
        if end > self.limit {
            let begins = shown(&self.buffer);
            return Err(format!("a line of {end} bytes, the limit is {}; it begins {begins}", self.limit));
        }
        let mut line = self.buffer.split_to(end + 1).freeze();
        line.truncate(end);
        self.let_go();
        Ok(Some(line))
    }

    fn counted(&mut self) -> Result<Option<Bytes>, String> {
        self.skip_blank_lines();
        let Some(start) = self.header_end() else {
            self.seen = self.buffer.len();
            // What is no header says so in its first line.
            let first = <[u8]>::split(&self.buffer, |byte| *byte == b'\n').next().unwrap_or_default();
            let is_other = first.starts_with(b"{") || !first.contains(&b':');
            if self.seen > HEADER_MAX || first.len() < self.seen && is_other {
                return Err(format!("expected a header with `Content-Length`, got {}", shown(&self.buffer)));
            }
            return Ok(None);
        };
        let len = content_length(&self.buffer[..start])?;
        if len > self.limit {
            return Err(format!("a message of {len} bytes announced, the limit is {}", self.limit));
        }
        if self.buffer.len() - start < len {
            // So that the header is found at once when more has come.
            self.seen = start;
            return Ok(None);
        }
        self.seen = 0;
        let text = self.buffer.split_to(start + len).freeze().slice(start..);
        self.let_go();
        Ok(Some(text))
    }

    /// Some end their messages with a line that they do not count.
    fn skip_blank_lines(&mut self) {
        if self.seen == 0 {
            let blank = self.buffer.iter().take_while(|byte| b"\r\n".contains(byte)).count();
            self.buffer.advance(blank);
        }
    }

    /// Where the empty line behind a header ends. Its lines end in CR LF, and in LF alone where somebody forgot.
    fn header_end(&self) -> Option<usize> {
        let from = self.seen.saturating_sub(b"\n\r\n".len());
        let ends = (from..self.buffer.len()).filter(|at| self.buffer[*at] == b'\n');
        ends.filter_map(|end| {
            let behind = &self.buffer[end + 1..];
            [&b"\n"[..], b"\r\n"]
                .iter()
                .find(|line| behind.starts_with(line))
                .map(|line| end + 1 + line.len())
        })
        .next()
    }

    /// A small text never keeps the memory of a large one alive.
    fn let_go(&mut self) {
        if self.buffer.is_empty() && self.buffer.capacity() > 2 * BLOCK_LEN {
            self.buffer = BytesMut::new();
        }
    }
}

fn content_length(header: &[u8]) -> Result<usize, String> {
    let wrong = || format!("expected a header with `Content-Length` and a number, got {}", shown(header));
    let header_text = String::from_utf8_lossy(header);
    let mut fields = header_text.lines().filter_map(|line| line.split_once(':'));
    let value = fields
        .find(|(name, _)| name.trim_start_matches('\u{FEFF}').trim().eq_ignore_ascii_case("content-length"));
    value.and_then(|(_, len)| len.trim().parse().ok()).ok_or_else(wrong)
}

/// The beginning of what came, to be shown.
pub(super) fn shown(bytes: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]))
}
