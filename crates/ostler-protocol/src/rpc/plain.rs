//! Values as the JSON that others write: nothing in it is marked, and what JSON lacks cannot be said.

use serde::ser::{Error, Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::{number, read};
use crate::Value;

/// Serializes a value as the JSON that others read: a [`Value::Number`] with all its digits, and nothing marked. What JSON
/// lacks is an error: bytes, infinite numbers, keys that are no text.
#[derive(Clone, Copy, Debug)]
pub struct PlainJson<'a>(pub &'a Value);

impl Serialize for PlainJson<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Float(value) if !value.is_finite() => {
                Err(S::Error::custom(format!("JSON has no number `{value}`")))
            }
            Value::Bytes(_) => {
                Err(S::Error::custom("JSON has no bytes; encode them as text, such as base64"))
            }
            Value::List(list) => to.collect_seq(list.iter().map(PlainJson)),
            Value::Map(map) => {
                let mut out = to.serialize_map(Some(map.len()))?;
                for (key, value) in map {
                    out.serialize_entry(name(key)?, &PlainJson(value))?;
                }
                out.end()
            }
            Value::Number(number) => {
                RawValue::from_string(number.clone().into()).map_err(S::Error::custom)?.serialize(to)
            }
            Value::None
            | Value::Bool(_)
            | Value::Int(_)
            | Value::UInt(_)
            | Value::Float(_)
            | Value::Str(_) => self.0.serialize(to),
        }
    }
}

/// A key of a map, which JSON wants to be text.
pub(super) fn name<E: Error>(key: &Value) -> Result<&str, E> {
    key.as_str().ok_or_else(|| E::custom(format!("expected text as the key in JSON, got `{key}`")))
}

pub(super) fn text(value: &Value) -> Result<String, serde_json::Error> {
    serde_json::to_string(&PlainJson(value))
}

impl Value {
    /// Reads JSON that others wrote: nothing in it is marked, no number is rounded, and of two entries with one key the last
    /// counts.
    ///
    /// # Errors
    /// It is no JSON, or is nested deeper than 64 lists and maps.
    pub fn from_json(json: &str) -> Result<Self, serde_json::Error> {
        read::read(serde_json::from_str(json)?).map_err(Error::custom)
    }
}

/// As it is written in a document of the caller's. A number is whole if it is written so.
impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::None,
            serde_json::Value::Bool(value) => Self::Bool(value),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(whole), _) => Self::Int(whole),
                (None, Some(whole)) => Self::UInt(whole),
                (None, None) => number::value(&number.to_string()),
            },
            serde_json::Value::String(text) => Self::Str(text),
            serde_json::Value::Array(list) => list.into(),
            serde_json::Value::Object(map) => map.into_iter().collect(),
        }
    }
}

/// What JSON can say of a value: it has no bytes, no infinite numbers, and only text as keys. A [`Value::Number`] is an
/// error where `serde_json` would round it.
impl TryFrom<Value> for serde_json::Value {
    type Error = serde_json::Error;

    fn try_from(value: Value) -> Result<Self, serde_json::Error> {
        Ok(match value {
            Value::Number(text) => {
                let number = serde_json::from_str::<serde_json::Number>(&text).ok();
                let exact = number.filter(|number| number.to_string() == *text);
                Self::Number(exact.ok_or_else(|| {
                    let value = "`serde_json::Value` cannot hold the number";
                    Self::Error::custom(format!("{value} {text}; take its text, or `PlainJson`"))
                })?)
            }
            Value::List(list) => Self::Array(list.into_iter().map(Self::try_from).collect::<Result<_, _>>()?),
            Value::Map(map) => {
                let entry = |(key, value)| Ok((name(&key)?.to_owned(), Self::try_from(value)?));
                Self::Object(map.into_iter().map(entry).collect::<Result<_, serde_json::Error>>()?)
            }
            Value::None
            | Value::Bool(_)
            | Value::Int(_)
            | Value::UInt(_)
            | Value::Float(_)
            | Value::Str(_)
            | Value::Bytes(_) => serde_json::to_value(PlainJson(&value))?,
        })
    }
}
