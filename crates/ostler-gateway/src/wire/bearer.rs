//! Tokens: how they are made, presented and compared. A token is never kept or logged: only its hash is.

use crate::wire::problem::Problem;

/// Bytes of a new token: 256 bits.
const TOKEN_LEN: usize = 32;

/// What is kept of a token. It is compared in constant time, and the hash of a guess says nothing of how much of it is right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TokenHash(blake3::Hash);

impl TokenHash {
    pub(crate) fn of(token: &str) -> Self {
        Self(blake3::hash(token.as_bytes()))
    }

    /// From 64 hexadecimal digits.
    pub(crate) fn from_hex(text: &str) -> Option<Self> {
        blake3::Hash::from_hex(text).ok().map(Self)
    }
}

/// A new token, in hexadecimal digits.
///
/// # Errors
/// The kernel gives no random numbers.
pub(crate) fn new_token() -> std::io::Result<String> {
    random_hex::<TOKEN_LEN>()
}

/// So many random bytes.
pub(crate) fn random<const LEN: usize>() -> std::io::Result<[u8; LEN]> {
    let mut bytes = [0; LEN];
    let mut filled = 0;
    while filled < LEN {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(bytes)
}

/// So many random bytes, in hexadecimal digits.
pub(crate) fn random_hex<const LEN: usize>() -> std::io::Result<String> {
    Ok(random::<LEN>()?.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The token that a request presents, in its header `Authorization`.
pub(crate) fn presented(authorization: Option<&str>) -> Result<Option<&str>, Problem> {
    let Some(value) = authorization else { return Ok(None) };
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") && !token.trim().is_empty() => {
            Ok(Some(token.trim()))
        }
        Some(_) | None => Err(Problem::unauthorized(
            "the header `Authorization` is no bearer token; send `Authorization: Bearer TOKEN`",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_has_256_bits_and_no_two_are_the_same() {
        let (first, second) = (new_token().unwrap(), new_token().unwrap());
        assert_eq!(first.len(), 64);
        assert_ne!(first, second);
        assert_eq!(TokenHash::of(&first), TokenHash::of(&first));
        assert_ne!(TokenHash::of(&first), TokenHash::of(&second));
    }

    #[test]
    fn only_a_bearer_token_is_taken() {
        assert_eq!(presented(None).unwrap(), None);
        assert_eq!(presented(Some("Bearer abc")).unwrap(), Some("abc"));
        assert_eq!(presented(Some("bearer  abc ")).unwrap(), Some("abc"));
        for wrong in ["abc", "Basic abc", "Bearer ", "Bearer", ""] {
            assert!(presented(Some(wrong)).is_err(), "{wrong:?}");
        }
    }
}
