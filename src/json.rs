//! The JSON form of what an execution tells: one object for each event, and one for its outcome. `ostler run --json` prints
//! it, and services send it on. Names of events and fields never change their meaning; new ones may come.
//!
//! | `event` | fields, besides `seq`, `id` and `label` where they are known |
//! |---|---|
//! | `session_restored` | `generation`, `restored`, `lost` (`name`, `type`, `reason`), `passed_over`, `unsaved`, `from_checkpoint`, `why` |
//! | `started` | `pid`, `generation` |
//! | `output` | `stream` (`stdout`, `stderr`), and `text`, or `base64` of what is not UTF-8 |
//! | `display` | `mime`, a map from MIME types to text or to `{"base64": …}`; `display_id`, `update` |
//! | `input` | `request`, `prompt`, `password` |
//! | `notification` | `method`, `params` |
//! | `asked` | `request`, `method`, `params` |
//! | `left` | `what` |
//! | `dropped` | `bytes` |
//! | `missed` | `first`, `last`: the numbers of events that a log no longer holds; `bytes` of output in all that it dropped |
//! | `outcome` | see [`End`] |

mod characters;
mod end;

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use serde::{Serialize, Serializer, ser::SerializeMap as _};

pub use self::{
    characters::Characters,
    end::{Doing, End, seconds},
};
use crate::{
    event_log::Logged,
    outcome::{Display, Event, InputRequest, LostName, Question, SessionRestored},
    protocol::{ExecutionId, Mime, MimeData, Stream, Value},
};

/// One event as a JSON object.
#[derive(Debug, Serialize)]
pub struct Line<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<Id<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<&'a str>,
    #[serde(flatten)]
    what: What<'a>,
}

/// What an execution is called: by its number in this process, or by a handle that a service gave it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Id<'a> {
    /// The number.
    Number(u64),
    /// The handle.
    Handle(&'a str),
}

impl From<ExecutionId> for Id<'_> {
    fn from(id: ExecutionId) -> Self {
        Self::Number(id.get())
    }
}

impl<'a> From<&'a str> for Id<'a> {
    fn from(handle: &'a str) -> Self {
        Self::Handle(handle)
    }
}

/// What happened.
#[derive(Debug, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum What<'a> {
    /// Its session went on in a new worker before it.
    SessionRestored(Restored<'a>),
    /// It started.
    Started {
        /// The worker's process id.
        pid: Option<u32>,
        /// Which worker of its slot.
        generation: u64,
    },
    /// It printed text.
    Text {
        /// Where to.
        stream: &'static str,
        /// What.
        text: &'a str,
    },
    /// It printed what is not UTF-8.
    Bytes {
        /// Where to.
        stream: &'static str,
        /// What.
        base64: String,
    },
    /// It showed a rich value.
    Display {
        /// By MIME type.
        mime: Bundle<'a>,
        /// The place that a later one replaces.
        #[serde(skip_serializing_if = "Option::is_none")]
        display_id: Option<&'a str>,
        /// Whether it replaces an earlier one.
        update: bool,
    },
    /// It waits for a line of input.
    Input {
        /// Which request.
        request: u64,
        /// What to show.
        prompt: &'a str,
        /// Whether the answer must not be shown.
        password: bool,
    },
    /// A JSON-RPC server reported something.
    Notification {
        /// What about.
        method: &'a str,
        /// What.
        params: &'a Value,
    },
    /// A JSON-RPC server asks something.
    Asked {
        /// Which question.
        request: u64,
        /// What for.
        method: &'a str,
        /// With what.
        params: &'a Value,
    },
    /// Its code left something running.
    Left {
        /// What.
        what: &'a [String],
    },
    /// Output was discarded.
    Dropped {
        /// How much.
        bytes: u64,
    },
    /// A log no longer holds these events.
    Missed {
        /// The number of the first.
        first: u64,
        /// The number of the last.
        last: u64,
        /// Bytes of output that the log dropped in all.
        bytes: u64,
    },
    /// It ended.
    Outcome(Box<End<'a>>),
}

/// What came back of a session, as [`SessionRestored`] says.
#[derive(Debug, Serialize)]
pub struct Restored<'a> {
    generation: u64,
    restored: &'a [String],
    lost: Vec<LostLine<'a>>,
    passed_over: &'a [String],
    unsaved: u64,
    from_checkpoint: bool,
    why: &'a str,
}

#[derive(Debug, Serialize)]
struct LostLine<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    type_name: Option<&'a str>,
    reason: &'a str,
}

impl<'a> From<&'a SessionRestored> for Restored<'a> {
    fn from(news: &'a SessionRestored) -> Self {
        let lost = |it: &'a LostName| LostLine {
            name: &it.name,
            type_name: it.type_name.as_deref(),
            reason: &it.reason,
        };
        Self {
            generation: news.generation.0,
            restored: &news.restored,
            lost: news.lost.iter().map(lost).collect(),
            passed_over: &news.passed_over,
            unsaved: news.unsaved,
            from_checkpoint: news.from_checkpoint,
            why: &news.why,
        }
    }
}

/// A rich value by MIME type: text as it is, bytes as `{"base64": …}`.
#[derive(Clone, Copy, Debug)]
pub struct Bundle<'a>(pub &'a Mime);

impl Serialize for Bundle<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Binary {
            base64: String,
        }
        let mut map = to.serialize_map(Some(self.0.0.len()))?;
        for (name, data) in &self.0.0 {
            match data {
                MimeData::Text(text) => map.serialize_entry(name, text)?,
                MimeData::Binary(bytes) => {
                    map.serialize_entry(name, &Binary { base64: BASE64.encode(bytes) })?;
                }
            }
        }
        map.end()
    }
}

impl<'a> Line<'a> {
    /// What happened to an execution of this name.
    pub fn new(id: impl Into<Id<'a>>, label: Option<&'a str>, what: What<'a>) -> Self {
        Self { seq: None, event: what.name(), id: Some(id.into()), label, what }
    }

    /// An entry of a log, with its number: that of the last event for events that are missing.
    pub fn logged(id: impl Into<Id<'a>>, label: Option<&'a str>, entry: &'a Logged) -> Self {
        Self { seq: Some(entry.seq()), ..Self::new(id, label, What::from(entry)) }
    }

    /// The object, with the end of its line.
    ///
    /// # Panics
    /// Never: it holds strings, numbers, and maps with string keys.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        line(self)
    }
}

/// A value as one line of JSON, with its end.
///
/// # Panics
/// It has a map whose keys are no strings.
pub fn line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).expect("it holds strings, numbers and maps with string keys");
    line.push(b'\n');
    line
}

impl What<'_> {
    /// What the event is called.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::SessionRestored(_) => "session_restored",
            Self::Started { .. } => "started",
            Self::Text { .. } | Self::Bytes { .. } => "output",
            Self::Display { .. } => "display",
            Self::Input { .. } => "input",
            Self::Notification { .. } => "notification",
            Self::Asked { .. } => "asked",
            Self::Left { .. } => "left",
            Self::Dropped { .. } => "dropped",
            Self::Missed { .. } => "missed",
            Self::Outcome(_) => "outcome",
        }
    }
}

impl<'a> What<'a> {
    /// What was printed: cut it at whole [`Characters`] first.
    #[must_use]
    pub fn output(stream: Stream, data: &'a [u8]) -> Self {
        let stream = match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        };
        match std::str::from_utf8(data) {
            Ok(text) => Self::Text { stream, text },
            Err(_) => Self::Bytes { stream, base64: BASE64.encode(data) },
        }
    }
}

impl<'a> From<&'a Event> for What<'a> {
    fn from(event: &'a Event) -> Self {
        match event {
            Event::SessionRestored(news) => Self::SessionRestored(Restored::from(&**news)),
            Event::Started { pid, generation } => Self::Started { pid: *pid, generation: generation.0 },
            Event::Output { stream, data } => Self::output(*stream, data),
            Event::Display(display) => {
                let Display { mime, id, update } = &**display;
                Self::Display { mime: Bundle(mime), display_id: id.as_deref(), update: *update }
            }
            Event::Input(InputRequest { request, prompt, password }) => {
                Self::Input { request: *request, prompt, password: *password }
            }
            Event::Notification { method, params } => Self::Notification { method, params },
            Event::Asked(Question { request, method, params }) => {
                Self::Asked { request: *request, method, params }
            }
            Event::Left { what } => Self::Left { what },
            Event::Dropped { bytes } => Self::Dropped { bytes: *bytes },
        }
    }
}

impl<'a> From<&'a Logged> for What<'a> {
    fn from(entry: &'a Logged) -> Self {
        match entry {
            Logged::Event { event, .. } => Self::from(&**event),
            Logged::Missed { first, last, bytes } => {
                Self::Missed { first: *first, last: *last, bytes: *bytes }
            }
            Logged::Ended { outcome, duration, .. } => {
                Self::Outcome(Box::new(End::new(outcome, *duration).with_value(outcome)))
            }
        }
    }
}

#[cfg(test)]
mod tests;
