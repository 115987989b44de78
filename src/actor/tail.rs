//! The end of what a worker wrote to stderr, for the story of its death.

use std::collections::VecDeque;

use crate::config::STDERR_TAIL;

/// Keeps the last `STDERR_TAIL` bytes and counts the rest.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    bytes: VecDeque<u8>,
    dropped: u64,
}

impl Tail {
    pub(crate) const fn new() -> Self {
        Self { bytes: VecDeque::new(), dropped: 0 }
    }

    pub(crate) fn push(&mut self, data: &[u8]) {
        let kept = &data[data.len().saturating_sub(STDERR_TAIL)..];
        let over = (self.bytes.len() + kept.len()).saturating_sub(STDERR_TAIL);
        self.bytes.drain(..over);
        self.bytes.extend(kept);
        self.dropped += (over + data.len() - kept.len()) as u64;
    }

    /// What is kept, decoded lossily.
    pub(crate) fn text(&mut self) -> String {
        let text = String::from_utf8_lossy(self.bytes.make_contiguous()).into_owned();
        match self.dropped {
            0 => text,
            dropped => format!("[{dropped} earlier bytes dropped]\n{text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fault 32.
    #[test]
    fn the_tail_keeps_the_end_and_counts_the_rest() {
        let mut tail = Tail::new();
        tail.push(b"first");
        tail.push(&vec![b'x'; STDERR_TAIL]);
        tail.push(b"last");
        let text = tail.text();
        assert!(text.starts_with("[9 earlier bytes dropped]\nxxx"), "{}", &text[..60]);
        assert!(text.ends_with("xlast"));
        assert_eq!(tail.bytes.len(), STDERR_TAIL);
    }
}
