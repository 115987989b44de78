//! Values in serde's terms, for callers who keep them in documents of their own.
//!
//! In a human-readable format, what it may lack is marked as in the JSON codec.

use base64::Engine;
use bytes::BytesMut;
use serde::de::{DeserializeSeed, Deserializer, Error};
use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};

use super::Value;
use super::error::Fault;
use super::json::{self, BASE64, ToPack};
use super::reader::Reader;
use super::wire::Wire;

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let readable = to.is_human_readable();
        match self {
            Self::None => to.serialize_unit(),
            Self::Bool(value) => to.serialize_bool(*value),
            Self::Int(value) => to.serialize_i64(*value),
            Self::UInt(value) => to.serialize_u64(*value),
            Self::Float(value) if readable && !value.is_finite() => {
                marked(json::FLOAT, special_float(*value), to)
            }
            Self::Float(value) => to.serialize_f64(*value),
            Self::Number(text) => to.serialize_str(text),
            Self::Str(text) => to.serialize_str(text),
            Self::Bytes(bytes) if readable => marked(json::BYTES, &BASE64.encode(bytes), to),
            Self::Bytes(bytes) => to.serialize_bytes(bytes),
            Self::List(list) => to.collect_seq(list),
            Self::Map(map) if readable && !map.iter().all(|(key, _)| is_plain(key)) => {
                marked(json::MAP, map, to)
            }
            Self::Map(map) => to.collect_map(map.iter().map(|(key, value)| (key, value))),
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let mut packed = BytesMut::new();
        let marked = from.is_human_readable();
        ToPack { out: &mut packed, marked }.deserialize(from)?;
        let packed = packed.freeze();
        let mut reader = Reader::new(&packed);
        let value = reader.token().and_then(|token| Self::read(&mut reader, token));
        value.map_err(|fault| match fault {
            Fault::Malformed(reason) | Fault::Foreign(reason) => D::Error::custom(*reason),
            Fault::Field(field) => {
                D::Error::custom(format!("expected {}, got {}", field.expected, field.got))
            }
        })
    }
}

const fn special_float(value: f64) -> &'static str {
    if value.is_nan() {
        "nan"
    } else if value > 0.0 {
        "inf"
    } else {
        "-inf"
    }
}

fn is_plain(key: &Value) -> bool {
    key.as_str().is_some_and(|key| !key.starts_with('$'))
}

fn marked<S: Serializer, T: Serialize + ?Sized>(key: &str, value: &T, to: S) -> Result<S::Ok, S::Error> {
    let mut map = to.serialize_map(Some(1))?;
    map.serialize_entry(key, value)?;
    map.end()
}
