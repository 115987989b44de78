//! Values as the JSON that others write: nothing in it is marked, and what JSON lacks cannot be said.

use bytes::{Bytes, BytesMut};
use serde::de::DeserializeSeed;
use serde::ser::{Error, Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use super::super::json::ToPack;
use super::super::reader::Reader;
use super::super::wire::Wire;
use super::super::{Value, error::Fault};

/// Serializes a value as plain JSON.
pub(super) struct Plain<'a>(pub(super) &'a Value);

impl Serialize for Plain<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Float(value) if !value.is_finite() => {
                Err(S::Error::custom(format!("JSON has no number `{value}`")))
            }
            Value::Bytes(_) => {
                Err(S::Error::custom("JSON has no bytes; encode them as text, such as base64"))
            }
            Value::List(list) => to.collect_seq(list.iter().map(Plain)),
            Value::Map(map) => {
                let mut out = to.serialize_map(Some(map.len()))?;
                for (key, value) in map {
                    out.serialize_entry(name(key)?, &Plain(value))?;
                }
                out.end()
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
    serde_json::to_string(&Plain(value))
}

/// Reads a part of a message.
pub(super) fn read(json: &RawValue) -> Result<Value, String> {
    let mut packed = BytesMut::with_capacity(json.get().len());
    let mut from = serde_json::Deserializer::from_str(json.get());
    ToPack { out: &mut packed, marked: false }.deserialize(&mut from).map_err(|error| error.to_string())?;
    let packed: Bytes = packed.freeze();
    let mut reader = Reader::new(&packed);
    reader.token().and_then(|token| Value::read(&mut reader, token)).map_err(|fault| match fault {
        Fault::Malformed(reason) | Fault::Foreign(reason) => *reason,
        Fault::Field(field) => format!("expected {}, got {}", field.expected, field.got),
    })
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
                (None, None) => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            serde_json::Value::String(text) => Self::Str(text),
            serde_json::Value::Array(list) => list.into(),
            serde_json::Value::Object(map) => map.into_iter().collect(),
        }
    }
}

/// What JSON can say of a value: it has no bytes, no infinite numbers, and only text as keys.
impl TryFrom<Value> for serde_json::Value {
    type Error = serde_json::Error;

    fn try_from(value: Value) -> Result<Self, serde_json::Error> {
        serde_json::to_value(Plain(&value))
    }
}
