//! Values that travel between a host and code: what every language has.

use bytes::Bytes;

use super::error::Fault;
use super::reader::Reader;
use super::token::Token;
use super::wire::Wire;
use super::writer::Writer;

/// A plain value: arguments of code, and the value of its last expression.
///
/// It prints as Python would print it, cut at a few thousand characters.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub enum Value {
    /// No value.
    #[default]
    None,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number past [`i64::MAX`]; below it, equal numbers are the same variant after decoding.
    UInt(u64),
    /// A floating point number.
    Float(f64),
    /// A number that none of these holds as it was written, as its text in JSON: a whole one beyond 64 bits, or one with
    /// more digits than a [`Float`](Self::Float) has. Only JSON-RPC servers say and hear it; elsewhere it travels as text.
    Number(Box<str>),
    /// Text.
    Str(String),
    /// Bytes.
    Bytes(Bytes),
    /// A list or tuple.
    List(Vec<Self>),
    /// A dictionary, in its order.
    Map(Vec<(Self, Self)>),
}

impl Value {
    /// Returns how many bytes it takes; a number counts as eight.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::None | Self::Bool(_) => 1,
            Self::Int(_) | Self::UInt(_) | Self::Float(_) => 8,
            Self::Number(text) => text.len(),
            Self::Str(text) => text.len(),
            Self::Bytes(bytes) => bytes.len(),
            Self::List(items) => items.iter().map(Self::weight).sum(),
            Self::Map(entries) => entries.iter().map(|(key, value)| key.weight() + value.weight()).sum(),
        }
    }

    /// Returns whether there is no value.
    #[must_use]
    pub const fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Returns the boolean, if it is one.
    #[must_use]
    pub const fn as_bool(&self) -> Option<bool> {
        if let Self::Bool(value) = self { Some(*value) } else { None }
    }

    /// Returns the whole number, if it is one that fits.
    #[must_use]
    pub fn as_i64(&self) -> Option<i64> {
        if let Self::UInt(value) = self {
            return i64::try_from(*value).ok();
        }
        if let Self::Int(value) = self { Some(*value) } else { None }
    }

    /// Returns the whole number, if it is one that fits.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        if let Self::UInt(value) = self {
            return Some(*value);
        }
        if let Self::Int(value) = self { u64::try_from(*value).ok() } else { None }
    }

    /// Returns the number, rounded if it is a whole one past 53 bits or a [`Number`](Self::Number).
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "said in the documentation")]
    pub fn as_f64(&self) -> Option<f64> {
        if let Self::Int(value) = self {
            return Some(*value as f64);
        }
        if let Self::UInt(value) = self {
            return Some(*value as f64);
        }
        if let Self::Number(text) = self {
            return text.parse().ok();
        }
        if let Self::Float(value) = self { Some(*value) } else { None }
    }

    /// Returns the text, if it is text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::Str(text) = self { Some(text) } else { None }
    }

    /// Returns the bytes, if it is bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> Option<&Bytes> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    /// Returns the entries, if it is a list.
    #[must_use]
    pub fn as_list(&self) -> Option<&[Self]> {
        if let Self::List(list) = self { Some(list) } else { None }
    }

    /// Returns the entries, if it is a map.
    #[must_use]
    pub fn as_map(&self) -> Option<&[(Self, Self)]> {
        if let Self::Map(map) = self { Some(map) } else { None }
    }

    /// Returns what a map holds under the text `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Self> {
        let (_, value) = self.as_map()?.iter().find(|(name, _)| name.as_str() == Some(key))?;
        Some(value)
    }
}

impl Wire for Value {
    const EXPECTED: &'static str = "a value: nil, boolean, number, string, bytes, list or map";

    fn write(&self, to: &mut Writer<'_>) {
        match self {
            Self::None => to.nil(),
            Self::Bool(value) => to.bool(*value),
            Self::Int(value) => to.int(*value),
            Self::UInt(value) => to.uint(*value),
            Self::Float(value) => to.float(*value),
            Self::Number(text) => to.str(text),
            Self::Str(text) => to.str(text),
            Self::Bytes(bytes) => to.bin(bytes),
            Self::List(list) => list.write(to),
            Self::Map(map) => to.map(map.len(), |to| {
                for (key, value) in map {
                    key.write(to);
                    value.write(to);
                }
            }),
        }
    }

    fn read(from: &mut Reader<'_>, token: Token<'_>) -> Result<Self, Fault> {
        Ok(match token {
            Token::Nil => Self::None,
            Token::Bool(value) => Self::Bool(value),
            Token::UInt(value) => value.into(),
            Token::Int(value) => Self::Int(value),
            Token::Float(value) => Self::Float(value),
            Token::Str(text) => Self::Str(text.as_str()?.to_owned()),
            Token::Bin(bytes) => Self::Bytes(from.bytes(bytes)),
            Token::List(_) => Self::List(Vec::read(from, token)?),
            Token::Map(len) => Self::Map(read_map(from, len)?),
            Token::Ext => return Err(Self::mismatch(token)),
        })
    }
}

fn read_map(from: &mut Reader<'_>, len: usize) -> Result<Vec<(Value, Value)>, Fault> {
    from.charge::<(Value, Value)>(len)?;
    let mut map = Vec::with_capacity(len);
    from.nested(|from| {
        for _ in 0..len {
            let token = from.token()?;
            let key = Value::read(from, token)?;
            let token = from.token()?;
            map.push((key, Value::read(from, token)?));
        }
        Ok(map)
    })
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        i64::try_from(value).map_or(Self::UInt(value), Self::Int)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Str(text.to_owned())
    }
}

impl From<&[u8]> for Value {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(Bytes::copy_from_slice(bytes))
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Into::into)
    }
}

impl<T: Into<Self>> From<Vec<T>> for Value {
    fn from(list: Vec<T>) -> Self {
        Self::List(list.into_iter().map(Into::into).collect())
    }
}

impl<K: Into<Self>, V: Into<Self>> FromIterator<(K, V)> for Value {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        Self::Map(entries.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

macro_rules! from {
    ($($type:ty => $variant:ident,)+) => {$(
        impl From<$type> for Value {
            fn from(value: $type) -> Self {
                Self::$variant(value.into())
            }
        }
    )+};
}

from! {
    bool => Bool,
    i32 => Int,
    u32 => Int,
    i64 => Int,
    f64 => Float,
    String => Str,
    Bytes => Bytes,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_numbers_are_equal_values() {
        assert_eq!(Value::from(7_u64), Value::from(7_i64));
        assert_eq!(Value::from(1_u64 << 63), Value::UInt(1 << 63));
        assert_eq!((Value::UInt(7).as_i64(), Value::Int(7).as_u64()), (Some(7), Some(7)));
        assert_eq!((Value::UInt(u64::MAX).as_i64(), Value::Int(-1).as_u64()), (None, None));
        assert_eq!((Value::Int(2).as_f64(), Value::Float(0.5).as_f64()), (Some(2.0), Some(0.5)));
    }

    #[test]
    fn what_a_value_is_not_it_does_not_give() {
        let value: Value = [("name", 1), ("name", 2)].into_iter().collect();
        assert_eq!(value.get("name"), Some(&Value::Int(1)));
        assert_eq!((value.get("other"), Value::from("name").get("name")), (None, None));
        assert_eq!((value.as_str(), value.as_bool(), value.as_list()), (None, None, None));
        assert_eq!(Value::from(None::<i32>), Value::None);
    }
}
