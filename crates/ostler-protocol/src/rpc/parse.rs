//! What a server says, from the text of one message or of a batch of them.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::cut::shown;
use super::encode::OWN;
use super::{BATCH_MAX, Framing, Id, Incoming, RpcError};
use super::{number, read};
use crate::{ExecutionId, FRAME_LEN_MAX, HeapSize, Value, excerpt};

/// What marks a text as a message, whole or not.
const MARK: &[u8] = b"\"jsonrpc\"";

/// What some write before the first text.
const BYTE_ORDER_MARK: &[u8] = "\u{FEFF}".as_bytes();

/// Reads one text. A batch is several messages; a blank line is none.
pub fn parse_messages(framing: Framing, text: &[u8], said: &mut Vec<Incoming>) {
    let text = text.trim_ascii();
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    if text.is_empty() {
        return;
    }
    let stray = |why: &dyn fmt::Display| {
        // Where lines are messages, programs print beside them; in frames there is nothing but messages.
        match framing {
            Framing::Lines if !has_mark(text) => Incoming::NotAMessage,
            Framing::Lines | Framing::ContentLength => {
                Incoming::Broken(format!("not JSON as expected: {why}; it begins {}", shown(text)))
            }
        }
    };
    let json = match std::str::from_utf8(text) {
        Ok(json) => json,
        Err(error) => return said.push(stray(&error)),
    };
    if let Some(spelled) = number::spell_out(json) {
        return parse_messages(framing, spelled.as_bytes(), said);
    }
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
fn hear_batch(batch: &[&RawValue], len: usize, said: &mut Vec<Incoming>) {
    let (limit, mut held) = (FRAME_LEN_MAX + len, 0);
    for one in batch {
        let one = message(one.get()).unwrap_or(Incoming::NotAMessage);
        held += one.heap_size();
        said.push(one);
        if held > limit {
            said.push(Incoming::Broken(format!(
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

/// The members of a message, none of them looked into. Of two with one name the last counts.
#[derive(Default)]
struct Members<'a> {
    jsonrpc: Option<&'a RawValue>,
    /// Null is something else than nothing.
    id: Option<&'a RawValue>,
    method: Option<&'a RawValue>,
    params: Option<&'a RawValue>,
    /// Null is something else than nothing.
    result: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
}

impl<'a> Members<'a> {
    fn of(json: &'a str) -> Result<Self, serde_json::Error> {
        let mut all = Self::default();
        read::members(json, |name, value| {
            let given = Some(value).filter(|value| value.get() != "null");
            match name {
                "jsonrpc" => all.jsonrpc = given,
                "id" => all.id = Some(value),
                "method" => all.method = given,
                "params" => all.params = given,
                "result" => all.result = Some(value),
                "error" => all.error = given,
                _unknown => {}
            }
        })?;
        Ok(all)
    }
}

/// Reads one message.
///
/// # Errors
/// Why this is none.
fn message(json: &str) -> Result<Incoming, String> {
    if !json.starts_with('{') {
        return Err("expected an object".into());
    }
    let members = Members::of(json).map_err(|error| error.to_string())?;
    let id = members.id.map(|id| id_of(id.get()));
    let call = if let Some(Id::Call(call)) = id { Some(call) } else { None };
    let wrong = |what: String| Ok(Incoming::Wrong { call, what });
    match members.jsonrpc.map(RawValue::get) {
        Some("\"2.0\"" | "\"2\"" | "2.0" | "2") => {}
        // A line of a log may be an object too.
        None if call.is_none() || members.result.is_none() && members.error.is_none() => {
            return Err("expected a member `jsonrpc`".into());
        }
        version => {
            let got = version.unwrap_or("nothing");
            return wrong(format!("member `jsonrpc`: expected \"2.0\", got {got}"));
        }
    }
    let answers = members.result.is_some() || members.error.is_some();
    match (members.method, id) {
        // Some repeat the method in the answer.
        (Some(_), Some(id)) if call.is_some() && answers => Ok(answer(id, &members)),
        (Some(method), id) => Ok(said_by(method, &members, id.is_some_and(|id| id != Id::Null))),
        (None, Some(id)) => Ok(answer(id, &members)),
        (None, None) if answers => Ok(answer(Id::Null, &members)),
        (None, None) => wrong("expected a member `method` or `id`, got neither".into()),
    }
}

fn said_by(method: &RawValue, members: &Members<'_>, asks: bool) -> Incoming {
    let wrong = |what: String| Incoming::Wrong { call: None, what };
    let Some(method) = read::text(method.get()) else {
        return wrong(format!("member `method`: expected text, got {}", shown(method.get().as_bytes())));
    };
    let params = match members.params.map(read::read).transpose() {
        Ok(params) => params.unwrap_or_default(),
        Err(why) => return wrong(format!("`{method}`: member `params`: {why}")),
    };
    match members.id {
        Some(id) if asks => Incoming::Request { id: id.get().into(), method, params },
        Some(_) | None => Incoming::Notification { method, params },
    }
}

fn answer(id: Id, members: &Members<'_>) -> Incoming {
    let call = if let Id::Call(call) = id { Some(call) } else { None };
    let read = match (members.result, members.error.map(error_of)) {
        (Some(result), Some(error)) if result.get() != "null" => {
            Err(format!("expected a member `result` or `error`, got both; the error is: {error}"))
        }
        (Some(_) | None, Some(error)) => Ok(Err(error)),
        (Some(result), None) => read::read(result).map(Ok).map_err(|why| format!("member `result`: {why}")),
        (None, None) => Err("expected a member `result` or `error`, got neither".to_owned()),
    };
    match read {
        Ok(answer) => Incoming::Answer { id, answer },
        Err(what) => Incoming::Wrong { call, what },
    }
}

/// What the server has to say is told, in whichever form it says it.
fn error_of(error: &RawValue) -> RpcError {
    let json = error.get();
    let (mut code, mut message, mut data) = (None, None, None);
    let read = read::members(json, |name, value| match name {
        "code" => code = Some(value.get()),
        "message" => message = Some(value.get()),
        "data" => data = Some(value),
        _more => {}
    });
    let said = |json: &str| read::text(json).unwrap_or_else(|| excerpt(json.to_owned()));
    if read.is_err() {
        return RpcError::new(RpcError::NO_CODE, said(json));
    }
    let message = message.filter(|message| *message != "null").map_or_else(|| excerpt(json.to_owned()), said);
    // What cannot be read is told as it came.
    let data = data.map(|data| read::read(data).unwrap_or_else(|_| Value::from(data.get())));
    match code.map(|code| (number::code(code), code)) {
        Some((Some(code), _)) => RpcError { code, message, data },
        None | Some((None, "null")) => RpcError { code: RpcError::NO_CODE, message, data },
        Some((None, code)) => {
            RpcError { code: RpcError::NO_CODE, message: format!("{}: {message}", said(code)), data }
        }
    }
}

/// The numbers of calls are ours: a server that says one of them in its own way means it.
fn id_of(json: &str) -> Id {
    if json == "null" {
        return Id::Null;
    }
    let text = read::text(json);
    if let Some(call) = number::whole(text.as_deref().unwrap_or(json)) {
        return Id::Call(ExecutionId(call));
    }
    let own = text.and_then(|text| text.strip_prefix(OWN)?.parse().ok());
    own.map_or_else(|| Id::Foreign(shown(json.as_bytes())), Id::Own)
}
