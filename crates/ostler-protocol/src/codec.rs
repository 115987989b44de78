//! Messages to frames and payloads to messages, in either codec.

use std::fmt;
use std::str::FromStr;

use bytes::{BufMut, Bytes, BytesMut};

use super::error::Fault;
use super::frame::HEADER_LEN;
use super::message::Message;
use super::reader::Reader;
use super::record::words;
use super::token::{Text, Token};
use super::writer::Writer;
use super::{DecodeError, EncodeError, ExecutionId, FRAME_LEN_MAX, FromWorker, ToWorker, json};

words! {
    /// How messages are written (A2). The host chooses, the worker repeats it in `ready`.
    Codec, "`msgpack` or `json`" {
        /// MessagePack: the usual one.
        MessagePack = "msgpack",
        /// JSON objects in the same frames: for languages without MessagePack, and for reading along.
        Json = "json",
    }
}

impl Codec {
    /// Appends `message` to `out` as one whole frame.
    ///
    /// # Errors
    /// [`EncodeError`] if it does not fit into a frame; `out` is as it was then.
    pub fn encode(self, message: &ToWorker, out: &mut BytesMut) -> Result<(), EncodeError> {
        self.encode_frame(message, FRAME_LEN_MAX, out)
    }

    /// Reads the payload of one frame. Large bytes in the message share its memory.
    ///
    /// # Errors
    /// [`DecodeError`], whose variants say what it means for the worker. No payload makes it panic.
    pub fn decode(self, payload: Bytes) -> Result<FromWorker, DecodeError> {
        self.decode_payload(payload)
    }

    /// Does for a worker what [`Codec::encode`] does for a host.
    ///
    /// # Errors
    /// As [`Codec::encode`].
    pub fn encode_from_worker(self, message: &FromWorker, out: &mut BytesMut) -> Result<(), EncodeError> {
        self.encode_frame(message, FRAME_LEN_MAX, out)
    }

    /// Does for a worker what [`Codec::decode`] does for a host.
    ///
    /// # Errors
    /// As [`Codec::decode`].
    pub fn decode_to_worker(self, payload: Bytes) -> Result<ToWorker, DecodeError> {
        self.decode_payload(payload)
    }

    /// A frame with this JSON in it, converted to this codec and otherwise unchecked: for tests of what peers do with
    /// wrong messages.
    ///
    /// # Errors
    /// The text is no JSON.
    pub fn frame_of(self, json: &str) -> Result<Bytes, DecodeError> {
        let payload = match self {
            Self::MessagePack => json::read(json.as_bytes())?,
            Self::Json => Bytes::copy_from_slice(json.as_bytes()),
        };
        let mut frame = BytesMut::new();
        frame.put_u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
        frame.put(payload);
        Ok(frame.freeze())
    }

    fn encode_frame<M: Message>(
        self,
        message: &M,
        limit: usize,
        out: &mut BytesMut,
    ) -> Result<(), EncodeError> {
        let start = out.len();
        out.put_bytes(0, HEADER_LEN);
        let written = match self {
            Self::MessagePack => write_map(message, out),
            Self::Json => {
                let mut map = BytesMut::new();
                write_map(message, &mut map).and_then(|()| {
                    let map = map.freeze();
                    // Only a string or a map whose length MessagePack cannot announce does not read back.
                    json::write(&map, out).map_err(|_fault| EncodeError::TooLong { len: map.len(), limit })
                })
            }
        };
        let len = out.len() - start - HEADER_LEN;
        let announced = u32::try_from(len).ok().filter(|_| len <= limit);
        match (written, announced) {
            (Ok(()), Some(announced)) => {
                out[start..start + HEADER_LEN].copy_from_slice(&announced.to_be_bytes());
                Ok(())
            }
            (Ok(()), None) => {
                out.truncate(start);
                Err(EncodeError::TooLong { len, limit })
            }
            (Err(error), _) => {
                out.truncate(start);
                Err(error)
            }
        }
    }

    fn decode_payload<M: Message>(self, payload: Bytes) -> Result<M, DecodeError> {
        match self {
            Self::MessagePack => read_map(&payload),
            Self::Json => read_map(&json::read(&payload)?),
        }
    }
}

impl FromStr for Codec {
    type Err = UnknownCodec;

    fn from_str(word: &str) -> Result<Self, UnknownCodec> {
        let known = [Self::MessagePack, Self::Json].into_iter().find(|codec| codec.as_str() == word);
        known.ok_or_else(|| UnknownCodec { word: word.to_owned() })
    }
}

/// There is no codec of this name.
#[derive(Clone, PartialEq, Eq)]
pub struct UnknownCodec {
    /// The name.
    pub word: String,
}

impl fmt::Display for UnknownCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unknown codec `{}`: expected `msgpack` or `json`", self.word)
    }
}

impl std::error::Error for UnknownCodec {}

fn write_map<M: Message>(message: &M, out: &mut BytesMut) -> Result<(), EncodeError> {
    let mut writer = Writer::new(out);
    message.write(&mut writer);
    if writer.is_too_deep() { Err(EncodeError::TooDeep) } else { Ok(()) }
}

fn read_map<M: Message>(payload: &Bytes) -> Result<M, DecodeError> {
    let mut reader = Reader::new(payload);
    let (type_name, count) = match open(&mut reader) {
        Ok(opened) => opened,
        Err(fault) => return Err(explain(payload, Text(b""), fault)),
    };
    let fault = match reader.nested(|fields| M::read(type_name, fields, count)) {
        Ok(Some(message)) => match reader.finish() {
            Ok(()) => return Ok(message),
            Err(fault) => fault,
        },
        Ok(None) => match check(payload) {
            Ok(id) => {
                let id = id.and_then(|text| ExecutionId::from_decimal(text.0));
                return Err(DecodeError::UnknownType { type_name: type_name.shortened(), id });
            }
            Err(fault) => fault,
        },
        Err(fault) => fault,
    };
    Err(explain(payload, type_name, fault))
}

/// Reads up to the type, which comes first, and returns it with the count of the fields that follow.
fn open<'a>(reader: &mut Reader<'a>) -> Result<(Text<'a>, usize), Fault> {
    let token = reader.token()?;
    let Token::Map(count) = token else {
        return Err(Fault::malformed(format!("expected a map, got {}", token.describe())));
    };
    let Some(rest) = count.checked_sub(1) else {
        return Err(Fault::malformed(
            "expected a map whose first key is `type`, got an empty one".to_owned(),
        ));
    };
    let key = reader.key()?;
    if !key.is("type") {
        return Err(Fault::malformed(format!("expected `type` as the first key, got {:?}", key.shortened())));
    }
    let token = reader.token()?;
    let Token::Str(type_name) = token else {
        return Err(Fault::malformed(format!("expected the type as a string, got {}", token.describe())));
    };
    Ok((type_name, rest))
}

/// Reads a payload to its end without understanding it, and returns the text of its id. The slow path of errors: only
/// a payload that is whole may be blamed on one execution.
fn check(payload: &Bytes) -> Result<Option<Text<'_>>, Fault> {
    let mut reader = Reader::new(payload);
    let (type_name, count) = open(&mut reader)?;
    type_name.as_str()?;
    let mut id = None;
    reader.nested(|fields| {
        for _ in 0..count {
            let key = fields.key()?;
            let token = fields.token()?;
            if let (true, Token::Str(text)) = (key.is("id"), token) {
                id = Some(text);
            }
            key.as_str()?;
            fields.skip(token)?;
        }
        Ok(())
    })?;
    reader.finish()?;
    Ok(id)
}

#[cold]
fn explain(payload: &Bytes, type_name: Text<'_>, fault: Fault) -> DecodeError {
    let field = match fault {
        Fault::Malformed(reason) => return DecodeError::Malformed { reason: *reason },
        Fault::Foreign(id) => match check(payload) {
            Ok(_id) => return DecodeError::ForeignId { id: *id },
            Err(fault) => return malformed_by(fault),
        },
        Fault::Field(field) => field,
    };
    let id = match check(payload) {
        Ok(id) => id,
        Err(fault) => return malformed_by(fault),
    };
    let id = match id.map(|text| (text, ExecutionId::from_decimal(text.0))) {
        None => None,
        Some((_, Some(id))) => Some(id),
        Some((text, None)) => return DecodeError::ForeignId { id: text.shortened() },
    };
    let mut path = field.path;
    path.reverse();
    DecodeError::Field {
        type_name: type_name.shortened(),
        id,
        field: path.join("."),
        expected: field.expected,
        got: field.got,
    }
}

/// [`check`] finds no other faults.
fn malformed_by(fault: Fault) -> DecodeError {
    let reason = match fault {
        Fault::Malformed(reason) | Fault::Foreign(reason) => *reason,
        Fault::Field(field) => field.got,
    };
    DecodeError::Malformed { reason }
}
