//! What executions, sessions and checkpoints are called, and which names callers may give.

use std::fmt;

use crate::wire::{bearer::random_hex, problem::Problem};

/// Most letters of the name of a session.
pub(crate) const NAME_MAX: usize = 80;
/// Most letters of an `Idempotency-Key`.
pub(crate) const KEY_MAX: usize = 200;

/// A kind of thing that has handles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Execution,
    Session,
    Checkpoint,
}

impl Kind {
    fn letter(self) -> char {
        match self {
            Self::Execution => 'e',
            Self::Session => 's',
            Self::Checkpoint => 'c',
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Execution => "execution",
            Self::Session => "session",
            Self::Checkpoint => "checkpoint",
        })
    }
}

/// A new handle: a letter and 128 random bits, so that nobody guesses one.
pub(crate) fn new(kind: Kind) -> std::io::Result<String> {
    Ok(format!("{}-{}", kind.letter(), random_hex::<16>()?))
}

/// Whether a text could be a handle of this kind.
pub(crate) fn is_one(kind: Kind, text: &str) -> bool {
    let digits = text.strip_prefix(kind.letter()).and_then(|rest| rest.strip_prefix('-'));
    digits.is_some_and(|digits| digits.len() == 32 && digits.bytes().all(|it| it.is_ascii_hexdigit()))
}

/// Checks the name of a session: it becomes a part of the name of a folder.
pub(crate) fn check_name(name: &str) -> Result<(), Problem> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    let good =
        !name.is_empty() && name.len() <= NAME_MAX && !name.starts_with('.') && name.bytes().all(plain);
    // A name that reads as a handle would be found as one.
    if good && !is_one(Kind::Session, name) {
        return Ok(());
    }
    let shown: String = name.chars().take(NAME_MAX).collect();
    Err(Problem::bad_request(
        "name",
        "bad-name",
        format!(
            "{shown:?} cannot name a session: give 1 to {NAME_MAX} lower-case letters, digits, `-`, `_` and `.`, not \
             beginning with `.`"
        ),
    ))
}

/// Checks an `Idempotency-Key`.
pub(crate) fn check_key(key: &str) -> Result<(), Problem> {
    if !key.is_empty() && key.len() <= KEY_MAX && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    Err(Problem::bad_request(
        "Idempotency-Key",
        "bad-key",
        format!("the header `Idempotency-Key` must have 1 to {KEY_MAX} visible ASCII letters and no space"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_of_their_kind_and_no_two_are_the_same() {
        let (first, second) = (new(Kind::Session).unwrap(), new(Kind::Session).unwrap());
        assert_ne!(first, second);
        assert!(is_one(Kind::Session, &first) && !is_one(Kind::Execution, &first), "{first}");
    }

    /// G25: what comes near a path is no name.
    #[test]
    fn only_plain_names_are_names() {
        for name in ["a", "analysis-2", "a.b_c", "s-1"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        let (long, handle) = ("a".repeat(NAME_MAX + 1), format!("s-{}", "0".repeat(32)));
        let wrong = [
            "",
            "..",
            ".a",
            "a/../b",
            "A",
            "a b",
            "%2e%2e%2f",
            "a\0",
            "аnalysis",
            "a\n",
            "é",
            &long,
            &handle,
        ];
        for name in wrong {
            assert_eq!(check_name(name).unwrap_err().status(), 400, "{name:?}");
        }
    }

    #[test]
    fn a_key_is_visible_text() {
        assert!(check_key("8e03978e-40d5-43e8-bc93-6894a57f9324").is_ok());
        for key in ["", "a b", "é", &"k".repeat(KEY_MAX + 1)] {
            assert!(check_key(key).is_err(), "{key:?}");
        }
    }
}
