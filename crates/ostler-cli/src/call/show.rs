//! What a user sees of calls: their results in the order in which they were asked for, or events as they come.

use std::{collections::BTreeMap, time::Duration};

use ostler::{
    ExecutionId, Failure, Outcome, PlainJson, RpcError, Stream, Value,
    json::{self, End as Ending, What},
};
use serde::{Serialize, Serializer};

use crate::{
    args::CallArgs,
    call::source::Call,
    exit::Exit,
    output::Console,
    run::verdict::{self, End, Ended},
};

/// What a call tells.
#[derive(Debug)]
pub(crate) enum Told {
    /// The server reported something.
    Notification { id: ExecutionId, label: String, method: String, params: Value },
    /// It is over. `ran`: which execution it was, and how long it took, if it was accepted.
    Ended { place: usize, call: Call, ended: Ended, ran: Option<(ExecutionId, Duration)> },
}

/// Shows what calls tell.
pub(crate) struct Show {
    console: Console,
    json: bool,
    quiet: bool,
    /// A single result may take more than one line.
    alone: bool,
    /// The place of the next one to be shown.
    next: usize,
    /// Those that came before their turn.
    early: BTreeMap<usize, (Call, Ended)>,
    ended: Vec<(usize, Ended)>,
}

impl Show {
    pub(crate) fn new(args: &CallArgs, all: usize, console: Console) -> Self {
        let (early, ended) = (BTreeMap::new(), Vec::new());
        let alone = all == 1 && args.calls.is_none();
        Self { console, json: args.json, quiet: args.quiet, alone, next: 0, early, ended }
    }

    pub(crate) async fn take(&mut self, told: Told) {
        match told {
            Told::Notification { id, label, method, params } => {
                let what = Event::Notification { method: &method, params: Json(&params) };
                let line = json::line(&Line::new(Some(id), &label, what));
                self.console.write(Stream::Stdout, line).await;
            }
            Told::Ended { place, call, ended, ran } => {
                self.ended.push((place, ended.clone()));
                if self.json {
                    return self.event(&call, &ended, ran).await;
                }
                self.early.insert(place, (call, ended));
                while let Some((call, ended)) = self.early.remove(&self.next) {
                    self.next += 1;
                    self.result(&call, &ended).await;
                }
            }
        }
    }

    async fn event(&self, call: &Call, ended: &Ended, ran: Option<(ExecutionId, Duration)>) {
        let what = match &ended.end {
            End::Outcome(outcome) => Event::Outcome {
                method: &call.method,
                result: outcome.value().map(Json),
                error: error(outcome).map(Error::new),
                end: What::Outcome(Box::new(Ending::new(
                    outcome,
                    ran.map(|(_, duration)| duration).unwrap_or_default(),
                ))),
            },
            End::Refused(message) => Event::Refused { method: &call.method, message },
        };
        let line = Line::new(ran.map(|(id, _)| id), &call.label, what);
        self.console.write(Stream::Stdout, json::line(&line)).await;
    }

    async fn result(&self, call: &Call, ended: &Ended) {
        let why = match &ended.end {
            End::Outcome(Outcome::Completed(completion)) => {
                let value = completion.value.as_ref().unwrap_or(&Value::None);
                return self.console.write(Stream::Stdout, text(value, self.alone)).await;
            }
            End::Outcome(outcome @ Outcome::Failed(Failure::Rpc(_))) => {
                format!("the server answered with an error: {outcome}")
            }
            End::Outcome(outcome) => outcome.to_string(),
            End::Refused(why) => format!("not called: {why}"),
        };
        if !self.quiet || matches!(&ended.end, End::Outcome(Outcome::Failed(_))) {
            let method =
                if call.label == call.method { String::new() } else { format!(" `{}`:", call.method) };
            self.console.say(format!("ostler: {}:{method} {why}", call.label)).await;
        }
    }

    /// How all of them ended, in the order in which they were asked for.
    pub(crate) fn ended(mut self) -> Vec<Ended> {
        self.ended.sort_by_key(|(place, _)| *place);
        self.ended.into_iter().map(|(_, ended)| ended).collect()
    }
}

/// Says at the end what became of several calls.
pub(crate) async fn conclusion(
    args: &CallArgs,
    console: &Console,
    ended: &[Ended],
    all: usize,
    duration: Duration,
    exit: Exit,
) {
    if args.json {
        let counts = verdict::counts(ended, all, duration, exit);
        console.write(Stream::Stdout, json::line(&counts)).await;
    } else if all > 1 && !args.quiet && !console.is_closed() {
        console.say(verdict::text(ended, all, "calls", duration)).await;
    }
}

/// A result is JSON, so it can be said as JSON; for a person over several lines.
fn text(value: &Value, alone: bool) -> String {
    let value = Json(value);
    let text = if alone { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
    text.unwrap_or_default() + "\n"
}

/// A value as JSON. The numbers that JSON lacks are told as text.
#[derive(Clone, Copy, Debug)]
struct Json<'a>(&'a Value);

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Float(value) if value.is_nan() => to.serialize_str("NaN"),
            Value::Float(value) if value.is_infinite() => {
                to.serialize_str(if *value < 0.0 { "-Infinity" } else { "Infinity" })
            }
            Value::List(list) => to.collect_seq(list.iter().map(Json)),
            Value::Map(map) => to.collect_map(map.iter().map(|(key, value)| (Json(key), Json(value)))),
            Value::None
            | Value::Bool(_)
            | Value::Int(_)
            | Value::UInt(_)
            | Value::Float(_)
            | Value::Number(_)
            | Value::Str(_)
            | Value::Bytes(_)
            | _ => PlainJson(self.0).serialize(to),
        }
    }
}

fn error(outcome: &Outcome) -> Option<&RpcError> {
    if let Outcome::Failed(Failure::Rpc(error)) = outcome { Some(error) } else { None }
}

/// An event of a call.
#[derive(Debug, Serialize)]
struct Line<'a> {
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    label: &'a str,
    #[serde(flatten)]
    what: Event<'a>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Event<'a> {
    Notification {
        method: &'a str,
        params: Json<'a>,
    },
    Outcome {
        method: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        result: Option<Json<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        error: Option<Error<'a>>,
        #[serde(flatten)]
        end: What<'a>,
    },
    Refused {
        method: &'a str,
        message: &'a str,
    },
}

#[derive(Debug, Serialize)]
struct Error<'a> {
    code: i64,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Json<'a>>,
}

impl<'a> Error<'a> {
    fn new(error: &'a RpcError) -> Self {
        Self { code: error.code, message: &error.message, data: error.data.as_ref().map(Json) }
    }
}

impl<'a> Line<'a> {
    fn new(id: Option<ExecutionId>, label: &'a str, what: Event<'a>) -> Self {
        let event = match &what {
            Event::Notification { .. } => "notification",
            Event::Outcome { .. } => "outcome",
            Event::Refused { .. } => "refused",
        };
        Self { event, id: id.map(|id| id.get()), label, what }
    }
}
