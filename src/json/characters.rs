//! Bytes that come in pieces, cut where characters end.

/// Cuts what is printed at whole characters, so that a character which comes in two pieces is text all the same.
#[derive(Clone, Debug, Default)]
pub struct Characters {
    rest: Vec<u8>,
}

impl Characters {
    /// Takes bytes, and returns what can be shown of them now.
    pub fn take(&mut self, data: &[u8]) -> Vec<u8> {
        let mut data = [&self.rest, data].concat();
        let begun = begun_character(&data);
        self.rest = data.split_off(data.len() - begun);
        data
    }

    /// The beginning of a character that never came to its end.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.rest)
    }
}

/// How many bytes at the end are the beginning of one character.
fn begun_character(data: &[u8]) -> usize {
    for (behind, byte) in data.iter().rev().take(3).enumerate() {
        let len = match byte {
            0x80..=0xBF => continue,
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            _ => return 0,
        };
        return if behind + 1 < len { behind + 1 } else { 0 };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_in_two_pieces_is_one_character() {
        let mut characters = Characters::default();
        let (first, second) = "a€".as_bytes().split_at(3);
        assert_eq!(characters.take(first), b"a");
        assert_eq!(characters.take(second), "€".as_bytes());
        assert_eq!(characters.finish(), b"");
    }

    #[test]
    fn bytes_that_are_no_character_are_not_kept_back() {
        let mut characters = Characters::default();
        assert_eq!(characters.take(b"\xFF\x80\x80\x80"), b"\xFF\x80\x80\x80");
        assert_eq!(characters.take(b"x\xF0\x9F"), b"x");
        assert_eq!(characters.finish(), b"\xF0\x9F");
    }
}
