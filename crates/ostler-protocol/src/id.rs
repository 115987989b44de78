//! The name of one execution, as it travels in every message about it.

use std::fmt;
use std::str::FromStr;

/// Names one execution (or one question to a session) for the whole life of a worker.
///
/// On the wire it is a string: the canonical decimal form, without sign, leading zeros or blanks. A worker repeats
/// what it was given and need not look inside; whatever else comes back was never issued by this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExecutionId(pub u64);

impl ExecutionId {
    /// Returns the number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Reads the canonical form.
    pub(super) fn from_decimal(digits: &[u8]) -> Option<Self> {
        match digits {
            [] | [b'0', _, ..] => None,
            [_, ..] => digits.iter().try_fold(0_u64, |number, byte| {
                let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
                number.checked_mul(10)?.checked_add(digit.into())
            }),
        }
        .map(Self)
    }
}

impl fmt::Display for ExecutionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl From<u64> for ExecutionId {
    fn from(number: u64) -> Self {
        Self(number)
    }
}

impl FromStr for ExecutionId {
    type Err = ParseIdError;

    /// Accepts the canonical form only, so that two different texts never name one execution.
    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        Self::from_decimal(text.as_bytes()).ok_or(ParseIdError)
    }
}

/// The text is not the canonical decimal form of an execution id.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ParseIdError;

impl fmt::Display for ParseIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an execution id: expected a decimal number without sign or leading zeros")
    }
}

impl std::error::Error for ParseIdError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_from_what_it_prints() {
        for number in [0, 1, 9, 10, 4_294_967_296, u64::MAX] {
            assert_eq!(ExecutionId(number).to_string().parse(), Ok(ExecutionId(number)));
        }
    }

    #[test]
    fn only_the_canonical_form_is_an_id() {
        for text in ["", "00", "01", "+1", "-1", " 1", "1 ", "1_0", "0x1", "18446744073709551616", "١", "abc"]
        {
            assert_eq!(text.parse::<ExecutionId>(), Err(ParseIdError), "{text:?}");
        }
    }
}
