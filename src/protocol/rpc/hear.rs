//! What a server says, from the text of one message or of a batch of them.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::cut::shown;
use super::encode::OWN;
use super::plain;
use super::{BATCH_MAX, Framing, Id, RpcError, Said};
use crate::protocol::{ExecutionId, FRAME_LEN_MAX, HeapSize, Value};

/// What marks a text as a message, whole or not.
const MARK: &[u8] = b"\"jsonrpc\"";

/// Reads one text. A batch is several messages; a blank line is none.
pub(crate) fn hear(framing: Framing, text: &[u8], said: &mut Vec<Said>) {
    let text = text.trim_ascii();
    if text.is_empty() {
        return;
    }
    let stray = |why: &dyn fmt::Display| {
        // Where lines are messages, programs print beside them; in frames there is nothing but messages.
        match framing {
            Framing::Lines if !has_mark(text) => Said::Stray,
            Framing::Lines | Framing::ContentLength => {
                Said::Broken(format!("not JSON as expected: {why}; it begins {}", shown(text)))
            }
        }
    };
    let json = match std::str::from_utf8(text) {
        Ok(json) => json,
        Err(error) => return said.push(stray(&error)),
    };
    if json.starts_with('[') {
        match serde_json::from_str::<Batch<'_>>(json) {
            Ok(Batch(batch)) if !batch.is_empty() => hear_batch(&batch, json.len(), said),
            Ok(_empty) => said.push(stray(&"an empty batch")),
            Err(error) => said.push(stray(&error)),
        }
        return;
    }
    said.push(message(json).unwrap_or_else(|why| stray(&why)));
}

/// Together they take no more memory than one message may.
fn hear_batch(batch: &[&RawValue], len: usize, said: &mut Vec<Said>) {
    let (limit, mut held) = (FRAME_LEN_MAX + len, 0);
    for one in batch {
        let one = message(one.get()).unwrap_or(Said::Stray);
        held += one.heap_size();
        said.push(one);
        if held > limit {
            said.push(Said::Broken(format!(
                "a batch that takes {held} bytes in memory, the limit is {limit}"
            )));
            return;
        }
    }
}

/// The messages of a batch, none of them looked into, and not too many.
struct Batch<'a>(Vec<&'a RawValue>);

impl<'de: 'a, 'a> Deserialize<'de> for Batch<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Count;
        impl<'de> Visitor<'de> for Count {
            type Value = Vec<&'de RawValue>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a batch of at most {BATCH_MAX} messages")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut batch: A) -> Result<Self::Value, A::Error> {
                let mut messages = Vec::new();
                while let Some(message) = batch.next_element()? {
                    if messages.len() == BATCH_MAX {
                        return Err(A::Error::invalid_length(BATCH_MAX + 1, &self));
                    }
                    messages.push(message);
                }
                Ok(messages)
            }
        }
        from.deserialize_seq(Count).map(Batch)
    }
}

fn has_mark(text: &[u8]) -> bool {
    text.windows(MARK.len()).any(|window| window == MARK)
}

/// The members of a message, none of them looked into.
#[derive(Deserialize)]
struct Members<'a> {
    #[serde(borrow, default)]
    jsonrpc: Option<&'a RawValue>,
    /// Null is something else than nothing.
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<&'a RawValue>,
    #[serde(borrow, default)]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<&'a RawValue>,
}

fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// Reads one message.
///
/// # Errors
/// Why this is none.
fn message(json: &str) -> Result<Said, String> {
    if !json.starts_with('{') {
        return Err("expected an object".into());
    }
    let members: Members<'_> = match serde_json::from_str(json) {
        Ok(members) => members,
        Err(error) if error.is_data() => {
            return Ok(Said::Wrong { call: None, what: format!("{error} in {}", shown(json.as_bytes())) });
        }
        Err(error) => return Err(error.to_string()),
    };
    let id = members.id.map(|id| id_of(id.get()));
    let call = if let Some(Id::Call(call)) = id { Some(call) } else { None };
    let wrong = |what: String| Ok(Said::Wrong { call, what });
    match members.jsonrpc.map(RawValue::get) {
        Some("\"2.0\"") => {}
        // A line of a log may be an object too.
        None if call.is_none() || members.result.is_none() && members.error.is_none() => {
            return Err("expected a member `jsonrpc`".into());
        }
        version => {
            let got = version.unwrap_or("nothing");
            return wrong(format!("member `jsonrpc`: expected \"2.0\", got {got}"));
        }
    }
    match (members.method, id) {
        (Some(method), id) => Ok(said_by(method, &members, id.is_some())),
        (None, Some(id)) => Ok(answer(id, &members)),
        (None, None) => wrong("expected a member `method` or `id`, got neither".into()),
    }
}

fn said_by(method: &RawValue, members: &Members<'_>, asks: bool) -> Said {
    let wrong = |what: String| Said::Wrong { call: None, what };
    let Ok(method) = serde_json::from_str::<String>(method.get()) else {
        return wrong(format!("member `method`: expected text, got {}", shown(method.get().as_bytes())));
    };
    let params = match members.params.map(plain::read).transpose() {
        Ok(params) => params.unwrap_or_default(),
        Err(why) => return wrong(format!("`{method}`: member `params`: {why}")),
    };
    match members.id {
        Some(id) if asks => Said::Request { id: id.get().into(), method, params },
        Some(_) | None => Said::Notification { method, params },
    }
}

fn answer(id: Id, members: &Members<'_>) -> Said {
    let call = if let Id::Call(call) = id { Some(call) } else { None };
    let read = match (members.result, members.error) {
        (Some(_), Some(_)) => Err("expected a member `result` or `error`, got both".to_owned()),
        (None, None) => Err("expected a member `result` or `error`, got neither".to_owned()),
        (Some(result), None) => plain::read(result).map(Ok).map_err(|why| format!("member `result`: {why}")),
        (None, Some(error)) => error_of(error).map(Err).map_err(|why| format!("member `error`: {why}")),
    };
    match read {
        Ok(answer) => Said::Answer { id, answer },
        Err(what) => Said::Wrong { call, what },
    }
}

fn error_of(error: &RawValue) -> Result<RpcError, String> {
    let error = plain::read(error)?;
    let code = error.get("code").and_then(Value::as_i64);
    let code = code.ok_or("expected a map with a whole number `code`")?;
    let message = error.get("message").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(RpcError { code, message, data: error.get("data").cloned() })
}

fn id_of(json: &str) -> Id {
    if json == "null" {
        return Id::Null;
    }
    if let Ok(call) = json.parse::<ExecutionId>() {
        return Id::Call(call);
    }
    let own = serde_json::from_str::<String>(json).ok();
    let own = own.and_then(|text| text.strip_prefix(OWN)?.parse().ok());
    own.map_or_else(|| Id::Foreign(shown(json.as_bytes())), Id::Own)
}
