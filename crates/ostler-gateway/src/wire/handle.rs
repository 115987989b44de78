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

    /// What to do for one, where there is none.
    pub(crate) fn made_by(self) -> &'static str {
        match self {
            Self::Execution => "`POST /v1/run` starts one",
            Self::Session => {
                "`POST /v1/sessions` with {\"name\": …} makes one, and `GET /v1/sessions` lists those that there are"
            }
            Self::Checkpoint => "`POST /v1/sessions/SESSION/checkpoint` makes one",
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

/// Hexadecimal digits of a handle that are random: 96 bits, which nobody guesses.
const RANDOM_DIGITS: usize = 24;

/// Makes handles, and knows those that it has made, also when a later server has the same key: the last 32 bits of a handle are
/// a keyed hash of the rest and of its owner.
pub(crate) struct HandleKey([u8; 32]);

impl fmt::Debug for HandleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HandleKey")
    }
}

impl HandleKey {
    pub(crate) fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// A new handle of this owner: a letter and 32 hexadecimal digits.
    pub(crate) fn make(&self, kind: Kind, owner: &str) -> std::io::Result<String> {
        let random = random_hex::<{ RANDOM_DIGITS / 2 }>()?;
        Ok(format!("{}-{random}{}", kind.letter(), self.mark(kind, owner, &random)))
    }

    /// Whether this handle was made with this key for this owner. One of 4 billion others passes for one, too.
    pub(crate) fn made(&self, kind: Kind, owner: &str, handle: &str) -> bool {
        is_one(kind, handle) && {
            let (random, mark) = handle[2..].split_at(RANDOM_DIGITS);
            mark == self.mark(kind, owner, random)
        }
    }

    fn mark(&self, kind: Kind, owner: &str, random: &str) -> String {
        let text = format!("{}{random}{owner}", kind.letter());
        blake3::keyed_hash(&self.0, text.as_bytes()).to_hex()[..32 - RANDOM_DIGITS].to_owned()
    }
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
        let key = HandleKey::new([1; 32]);
        let [first, second] = [(); 2].map(|()| key.make(Kind::Session, "a").unwrap());
        assert_ne!(first, second);
        assert!(
            key.made(Kind::Session, "a", &first) && HandleKey::new([1; 32]).made(Kind::Session, "a", &first)
        );
        assert!(
            !key.made(Kind::Session, "b", &first)
                && !HandleKey::new([2; 32]).made(Kind::Session, "a", &first)
        );
        assert!(
            !key.made(Kind::Execution, "a", &first.replace('s', "e")) && !key.made(Kind::Session, "a", "s-1")
        );
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
