//! What a server is sent.

use std::fmt;

use bytes::Bytes;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::plain::{self, PlainJson};
use super::{Framing, Outgoing, Place, RpcError, Style, Tokens};
use crate::{ExecutionId, Value};

/// A call that cannot be written: what is wrong with its parameters.
#[derive(Clone, PartialEq, Eq)]
pub struct CallError(String);

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CallError {}

/// Writes a call, or with `notify` a notification, as one framed message. Also returns what its caller calls its progress.
pub fn encode_call(
    style: Style,
    framing: Framing,
    id: ExecutionId,
    notify: bool,
    method: &str,
    params: &Value,
) -> Result<(Bytes, Tokens), CallError> {
    if !matches!(params, Value::None | Value::Map(_) | Value::List(_)) {
        return Err(CallError(format!(
            "expected a map, a list or nothing as the parameters, got `{params}`"
        )));
    }
    let mut tokens = Tokens::default();
    let params = match style {
        Style::Mcp if !notify => Params::Mcp { params, call: id },
        Style::Lsp if !notify => Params::Lsp { params, call: id },
        Style::Plain | Style::Mcp | Style::Lsp => Params::Plain(params),
    };
    params.tokens(&mut tokens);
    let message = Message { id: (!notify).then_some(id), method, params };
    let text = serde_json::to_vec(&message).map_err(|error| CallError(error.to_string()))?;
    Ok((framed(framing, text), tokens))
}

/// Writes something that a session says by itself. What cannot be written is answered for as an error.
pub fn encode(style: Style, framing: Framing, saying: &Outgoing) -> Option<Bytes> {
    let text = match saying {
        Outgoing::Ask { own, method, params } => message(Some(*own), method, params.as_deref()),
        Outgoing::Note { method, params } => message(None, method, params.as_deref()),
        Outgoing::Cancel(id) => {
            let (method, key) = match style {
                Style::Plain => return None,
                Style::Mcp => ("notifications/cancelled", "requestId"),
                Style::Lsp => ("$/cancelRequest", "id"),
            };
            message(None, method, Some(&format!("{{\"{key}\":{id}}}")))
        }
        Outgoing::Reply { id, answer } => reply(id, answer),
    };
    Some(framed(framing, text))
}

/// How the ids of a session's own requests begin: no number, so that none is that of a call.
pub(super) const OWN: &str = "ostler-";

/// `params` is JSON.
fn message(own: Option<u64>, method: &str, params: Option<&str>) -> Vec<u8> {
    let id = own.map(|own| format!("\"id\":\"{OWN}{own}\",")).unwrap_or_default();
    let method = serde_json::Value::from(method);
    let params = params.map(|params| format!(",\"params\":{params}")).unwrap_or_default();
    format!("{{\"jsonrpc\":\"2.0\",{id}\"method\":{method}{params}}}").into_bytes()
}

fn reply(id: &str, answer: &Result<Value, RpcError>) -> Vec<u8> {
    let said = match answer {
        Ok(value) => plain::text(value).map(|text| format!("\"result\":{text}")),
        Err(error) => {
            let data = error.data.as_ref().map(plain::text).transpose();
            data.and_then(|data| {
                let message = serde_json::to_string(&error.message)?;
                let data = data.map(|data| format!(",\"data\":{data}")).unwrap_or_default();
                Ok(format!("\"error\":{{\"code\":{},\"message\":{message}{data}}}", error.code))
            })
        }
    };
    let said = said.unwrap_or_else(|error| {
        let why = serde_json::Value::from(format!("the answer cannot be written as JSON: {error}"));
        format!("\"error\":{{\"code\":-32603,\"message\":{why}}}")
    });
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},{said}}}").into_bytes()
}

fn framed(framing: Framing, mut text: Vec<u8>) -> Bytes {
    match framing {
        Framing::Lines => {
            text.push(b'\n');
            text.into()
        }
        Framing::ContentLength => {
            let mut framed = format!("Content-Length: {}\r\n\r\n", text.len()).into_bytes();
            framed.append(&mut text);
            framed.into()
        }
    }
}

/// A call, on its way out.
struct Message<'a> {
    id: Option<ExecutionId>,
    method: &'a str,
    params: Params<'a>,
}

impl Serialize for Message<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("jsonrpc", "2.0")?;
        if let Some(id) = self.id {
            map.serialize_entry("id", &id.get())?;
        }
        map.serialize_entry("method", self.method)?;
        if !matches!(self.params, Params::Plain(Value::None) | Params::Lsp { params: Value::None, .. }) {
            map.serialize_entry("params", &self.params)?;
        }
        map.end()
    }
}

/// The parameters of a call, with our tokens in the place of the caller's.
enum Params<'a> {
    Plain(&'a Value),
    Mcp { params: &'a Value, call: ExecutionId },
    Lsp { params: &'a Value, call: ExecutionId },
}

const META: &str = "_meta";
const PROGRESS_TOKEN: &str = "progressToken";

impl Params<'_> {
    /// Notes what the caller calls its progress.
    fn tokens(&self, tokens: &mut Tokens) {
        let mut note = |place, token: Option<&Value>| {
            tokens.0.extend(token.map(|token| (place, token.clone())));
        };
        match self {
            Self::Plain(_) => {}
            Self::Mcp { params, .. } => {
                note(Place::Progress, params.get(META).and_then(|meta| meta.get(PROGRESS_TOKEN)));
            }
            Self::Lsp { params, .. } => {
                note(Place::Work, params.get("workDoneToken"));
                note(Place::Partial, params.get("partialResultToken"));
            }
        }
    }
}

impl Serialize for Params<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let (params, call, mcp) = match self {
            Self::Plain(params) => return PlainJson(params).serialize(to),
            Self::Mcp { params, call } => (*params, *call, true),
            Self::Lsp { params, call } => (*params, *call, false),
        };
        if params.as_list().is_some() {
            return PlainJson(params).serialize(to);
        }
        let entries = params.as_map().unwrap_or_default();
        let mut map = to.serialize_map(None)?;
        for (key, value) in entries {
            match plain::name(key)? {
                META if mcp => {}
                name @ "workDoneToken" if !mcp => {
                    let ours = Place::Work.ours(call);
                    map.serialize_entry(name, &PlainJson(&ours))?;
                }
                name @ "partialResultToken" if !mcp => {
                    let ours = Place::Partial.ours(call);
                    map.serialize_entry(name, &PlainJson(&ours))?;
                }
                name => map.serialize_entry(name, &PlainJson(value))?,
            }
        }
        if mcp {
            map.serialize_entry(META, &Meta { given: params.get(META), call })?;
        }
        map.end()
    }
}

/// `_meta`, with our token.
struct Meta<'a> {
    given: Option<&'a Value>,
    call: ExecutionId,
}

impl Serialize for Meta<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        for (key, value) in self.given.and_then(Value::as_map).unwrap_or_default() {
            let name = plain::name(key)?;
            if name != PROGRESS_TOKEN {
                map.serialize_entry(name, &PlainJson(value))?;
            }
        }
        map.serialize_entry(PROGRESS_TOKEN, &self.call.get())?;
        map.end()
    }
}
