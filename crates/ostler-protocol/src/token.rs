//! What a payload is made of.

use super::error::{Fault, shorten};

/// One token of a payload: a scalar, or the opening of a list or map.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Token<'a> {
    Nil,
    Bool(bool),
    /// A number that is not negative, however it was written.
    UInt(u64),
    /// A negative number.
    Int(i64),
    Float(f64),
    Str(Text<'a>),
    Bin(&'a [u8]),
    List(usize),
    Map(usize),
    /// An extension type: none is part of the protocol.
    Ext,
}

impl Token<'_> {
    /// Says for an error message what came.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Nil => "nil".to_owned(),
            Self::Bool(value) => format!("the boolean {value}"),
            Self::UInt(value) => format!("the integer {value}"),
            Self::Int(value) => format!("the integer {value}"),
            Self::Float(value) => format!("the float {value:?}"),
            Self::Str(text) => format!("the string {:?}", text.shortened()),
            Self::Bin(bytes) => format!("{} bytes", bytes.len()),
            Self::List(len) => format!("a list of {len}"),
            Self::Map(len) => format!("a map of {len}"),
            Self::Ext => "an extension type".to_owned(),
        }
    }
}

/// A string that nobody has checked yet: most are compared with a few words, for which their bytes are enough.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Text<'a>(pub(super) &'a [u8]);

impl<'a> Text<'a> {
    /// Returns the text, which must be UTF-8.
    pub(super) fn as_str(self) -> Result<&'a str, Fault> {
        str::from_utf8(self.0).map_err(|error| Fault::malformed(format!("a string is not UTF-8: {error}")))
    }

    /// Whether it is this word.
    #[inline]
    pub(super) fn is(self, word: &str) -> bool {
        self.0 == word.as_bytes()
    }

    /// Returns it for an error message, cut to a readable length.
    pub(super) fn shortened(self) -> String {
        shorten(&String::from_utf8_lossy(self.0))
    }
}
