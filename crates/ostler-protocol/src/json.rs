//! The JSON codec: the same maps, written as text.
//!
//! Messages are read and written as MessagePack, and this turns one into the other: JSON token by token, so that nothing
//! large is built of what a stranger sent, and MessagePack by way of a [`Value`], whose form in JSON `value_serde.rs` has.
//! What JSON lacks travels as an object with one marked key: `{"$bytes": "base64"}`, `{"$float": "nan" | "inf" | "-inf"}`, and `{"$map": [[key, value], …]}` for a map that
//! has a key that is no string, or one that begins with `$`.

use std::fmt;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use bytes::{BufMut, Bytes, BytesMut};
use rmp::Marker;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::error::Fault;
use super::reader::Reader;
use super::token::{Text, Token};
use super::wire::Wire;
use super::writer::Writer;
use super::{DecodeError, Value};

pub(super) const BYTES: &str = "$bytes";
pub(super) const FLOAT: &str = "$float";
pub(super) const MAP: &str = "$map";

/// Writes the padding, and does not ask for it.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Turns JSON into MessagePack, at most three times as long.
pub(super) fn read(text: &[u8]) -> Result<Bytes, DecodeError> {
    let mut out = BytesMut::with_capacity(text.len());
    let mut json = serde_json::Deserializer::from_slice(text);
    let read = ToPack { out: &mut out, marked: true }.deserialize(&mut json).and_then(|()| json.end());
    match read {
        Ok(()) => Ok(out.freeze()),
        Err(error) => Err(DecodeError::Malformed { reason: format!("not JSON as expected: {error}") }),
    }
}

/// Turns whatever a deserializer holds into MessagePack.
pub(super) struct ToPack<'a> {
    pub(super) out: &'a mut BytesMut,
    /// Whether objects with one marked key stand for what JSON lacks.
    pub(super) marked: bool,
}

impl ToPack<'_> {
    fn part(&mut self) -> ToPack<'_> {
        ToPack { out: self.out, marked: self.marked }
    }

    fn writer(&mut self) -> Writer<'_> {
        Writer::new(self.out)
    }

    /// Begins a list or map whose length is not known yet, and returns where.
    fn open(&mut self, marker: Marker) -> usize {
        let start = self.out.len();
        self.out.put_u8(marker.to_u8());
        self.out.put_u32(0);
        start
    }

    /// Fills in the length of what began at `start`.
    fn close(&mut self, start: usize, len: usize) {
        // Text that holds more than `u32::MAX` entries is longer than any frame.
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        self.out[start + 1..start + 5].copy_from_slice(&len.to_be_bytes());
    }
}

impl<'de> DeserializeSeed<'de> for ToPack<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ToPack<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(mut self) -> Result<(), E> {
        self.writer().nil();
        Ok(())
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        self.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(mut self, value: bool) -> Result<(), E> {
        self.writer().bool(value);
        Ok(())
    }

    fn visit_u64<E>(mut self, value: u64) -> Result<(), E> {
        self.writer().uint(value);
        Ok(())
    }

    fn visit_i64<E>(mut self, value: i64) -> Result<(), E> {
        self.writer().int(value);
        Ok(())
    }

    fn visit_f64<E>(mut self, value: f64) -> Result<(), E> {
        self.writer().float(value);
        Ok(())
    }

    fn visit_str<E>(mut self, value: &str) -> Result<(), E> {
        self.writer().str(value);
        Ok(())
    }

    fn visit_bytes<E>(mut self, value: &[u8]) -> Result<(), E> {
        self.writer().bin(value);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        let start = self.open(Marker::Array32);
        let mut len = 0;
        while list.next_element_seed(self.part())?.is_some() {
            len += 1;
        }
        self.close(start, len);
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        let start = self.open(Marker::Map32);
        let mut len = 0;
        while map.next_key_seed(self.part())?.is_some() {
            map.next_value_seed(self.part())?;
            len += 1;
        }
        self.close(start, len);
        if self.marked
            && len == 1
            && let Some(meant) = unmark(&self.out[start..])
        {
            self.out.truncate(start);
            meant.write(self.out);
        }
        Ok(())
    }
}

/// What an object with one marked key stands for.
enum Marked {
    Bytes(Vec<u8>),
    Float(f64),
    /// The entries of a map, and how many they are.
    Map(usize, Vec<u8>),
}

impl Marked {
    fn write(&self, out: &mut BytesMut) {
        let mut writer = Writer::new(out);
        match self {
            Self::Bytes(bytes) => writer.bin(bytes),
            Self::Float(value) => writer.float(*value),
            Self::Map(len, entries) => {
                writer.map(*len, |_| ());
                out.put_slice(entries);
            }
        }
    }
}

/// Reads an object of one entry. One that carries a mark but does not hold what the mark says is what it looks like.
fn unmark(object: &[u8]) -> Option<Marked> {
    let mut reader = Reader::over(object);
    reader.token().ok()?;
    let Token::Str(key) = reader.token().ok()? else { return None };
    if !key.0.starts_with(b"$") {
        return None;
    }
    let value = reader.token().ok()?;
    match value {
        Token::Str(text) if key.is(BYTES) => BASE64.decode(text.0).ok().map(Marked::Bytes),
        Token::Str(Text(b"nan")) if key.is(FLOAT) => Some(Marked::Float(f64::NAN)),
        Token::Str(Text(b"inf")) if key.is(FLOAT) => Some(Marked::Float(f64::INFINITY)),
        Token::Str(Text(b"-inf")) if key.is(FLOAT) => Some(Marked::Float(f64::NEG_INFINITY)),
        Token::List(len) if key.is(MAP) => {
            pairs(object, &mut reader, len).map(|entries| Marked::Map(len, entries))
        }
        Token::Str(_) | Token::List(_) | Token::Nil | Token::Bool(_) | Token::UInt(_) | Token::Int(_) => None,
        Token::Float(_) | Token::Bin(_) | Token::Map(_) | Token::Ext => None,
    }
}

/// Takes the pairs out of their lists: what is left are the entries of a map.
fn pairs(object: &[u8], reader: &mut Reader<'_>, len: usize) -> Option<Vec<u8>> {
    let mut entries = Vec::new();
    for _ in 0..len {
        let Token::List(2) = reader.token().ok()? else { return None };
        let start = reader.position();
        for _ in 0..2 {
            let token = reader.token().ok()?;
            reader.skip(token).ok()?;
        }
        entries.extend_from_slice(&object[start..reader.position()]);
    }
    Some(entries)
}

/// Writes MessagePack that a [`Writer`] made as JSON, by way of the [`Value`] that it stands for.
pub(super) fn write(map: &Bytes, out: &mut BytesMut) -> Result<(), Fault> {
    let mut reader = Reader::new(map);
    let token = reader.token()?;
    let value = Value::read(&mut reader, token)?;
    reader.finish()?;
    serde_json::to_writer(out.writer(), &value).expect("memory takes every value");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn there_and_back(text: &str) -> String {
        let mut out = BytesMut::new();
        write(&read(text.as_bytes()).unwrap(), &mut out).unwrap();
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn json_comes_back_as_it_was() {
        for text in [
            "null",
            "[true,false]",
            "[0,-1,18446744073709551615,-9223372036854775808]",
            "[0.1,1.0,-0.0,1e+300,5e-324]",
            r#""línea \"\n\u0000 🦀""#,
            r#"{"a":{"b":[{}]}}"#,
            r#"{"$bytes":"aGk="}"#,
            r#"[{"$float":"nan"},{"$float":"inf"},{"$float":"-inf"}]"#,
            r#"{"$map":[[1,2],[null,{"$bytes":""}],[{"$map":[["$x",0]]},3]]}"#,
        ] {
            assert_eq!(there_and_back(text), text);
        }
    }

    #[test]
    fn an_object_is_marked_only_if_it_holds_what_the_mark_says() {
        for text in [
            r#"{"$bytes":"%"}"#,
            r#"{"$bytes":1}"#,
            r#"{"$float":"Infinity"}"#,
            r#"{"$map":[[1]]}"#,
            r#"{"$map":1}"#,
            r#"{"$other":1}"#,
            r#"{"$bytes":"aGk=","b":1}"#,
        ] {
            let packed = read(text.as_bytes()).unwrap();
            assert!(matches!(Reader::over(&packed).token(), Ok(Token::Map(_))), "{text}");
        }
    }

    /// A dictionary of the user's that looks like a mark travels as pairs, so that it cannot be taken for one.
    #[test]
    fn an_ordinary_map_is_never_taken_for_a_mark() {
        assert_eq!(there_and_back(r#"{"$bytes":"%"}"#), r#"{"$map":[["$bytes","%"]]}"#);
    }

    #[test]
    fn padding_is_written_and_not_asked_for() {
        assert_eq!(there_and_back(r#"{"$bytes":"aGk"}"#), r#"{"$bytes":"aGk="}"#);
    }

    #[test]
    fn what_json_becomes_is_at_most_three_times_as_long() {
        for text in ["[[],[],[]]", "[1e1,2e1,3e1]", "[0e0]", r#"{"":{}}"#, "{}", "[[[[[[[[[[]]]]]]]]]]"] {
            let len = read(text.as_bytes()).unwrap().len();
            assert!(len <= 3 * text.len(), "{text} takes {len}");
        }
    }
}
