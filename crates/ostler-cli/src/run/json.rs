//! The events of `--json`: one object a line. Their names are an interface; the help of `ostler run` lists them.

use std::{collections::BTreeMap, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use ostler::{Activity, ExecutionId, Failure, Outcome, Phase, Rung, Stack, Stream};
use serde::Serialize;

use crate::words;

/// An event of an execution.
#[derive(Debug, Serialize)]
pub(crate) struct Line<'a> {
    event: &'static str,
    id: u64,
    label: &'a str,
    #[serde(flatten)]
    what: What<'a>,
}

/// What happened to an execution.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum What<'a> {
    /// It started.
    Started { pid: Option<u32>, generation: u64 },
    /// It printed text.
    Text { stream: &'static str, text: &'a str },
    /// It printed what is not UTF-8.
    Bytes { stream: &'static str, base64: String },
    /// Output was discarded.
    Dropped { bytes: u64 },
    /// It ended.
    Outcome(Box<End<'a>>),
}

/// How an execution ended.
#[derive(Debug, Serialize)]
pub(crate) struct End<'a> {
    outcome: &'static str,
    duration: f64,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rung: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    activity: Option<Doing<'a>>,
}

/// What the worker was doing.
#[derive(Debug, Serialize)]
struct Doing<'a> {
    running_for: Option<f64>,
    silent_for: Option<f64>,
    processors: Option<f64>,
    memory: Option<u64>,
    stacks: Vec<Thread<'a>>,
    children: BTreeMap<u32, &'a str>,
}

/// One thread, the most recent call first.
#[derive(Debug, Serialize)]
struct Thread<'a> {
    thread: &'a str,
    main: bool,
    calls: Vec<String>,
}

impl<'a> Doing<'a> {
    fn new(activity: &'a Activity) -> Self {
        let thread = |stack: &'a Stack| Thread {
            thread: &stack.thread,
            main: stack.main,
            calls: stack.calls.iter().map(ToString::to_string).collect(),
        };
        Self {
            running_for: activity.running_for.map(seconds),
            silent_for: activity.silent_for.map(seconds),
            processors: activity.load.map(|load| load.processors()),
            memory: activity.vitals.map(|vitals| vitals.memory),
            stacks: activity.stacks.iter().map(thread).collect(),
            children: activity.children.iter().map(|child| (child.pid, child.command.as_str())).collect(),
        }
    }
}

impl<'a> Line<'a> {
    pub(crate) fn new(id: ExecutionId, label: &'a str, what: What<'a>) -> Self {
        let event = match &what {
            What::Started { .. } => "started",
            What::Text { .. } | What::Bytes { .. } => "output",
            What::Dropped { .. } => "dropped",
            What::Outcome(_) => "outcome",
        };
        Self { event, id: id.get(), label, what }
    }
}

/// A value as one line, with its end.
pub(crate) fn line(value: &impl Serialize) -> Vec<u8> {
    let mut line =
        serde_json::to_vec(value).expect("the events hold strings, numbers and maps with string keys");
    line.push(b'\n');
    line
}

impl<'a> What<'a> {
    pub(crate) fn output(stream: Stream, data: &'a [u8]) -> Self {
        let stream = stream_name(stream);
        match std::str::from_utf8(data) {
            Ok(text) => Self::Text { stream, text },
            Err(_) => Self::Bytes { stream, base64: BASE64.encode(data) },
        }
    }

    pub(crate) fn outcome(told: &'a Outcome, duration: Duration) -> Self {
        let mut end = End {
            outcome: told.kind(),
            duration: seconds(duration),
            message: words::line(told),
            exit_code: None,
            rung: None,
            phase: None,
            started: None,
            activity: told.activity().map(Doing::new),
        };
        match told {
            Outcome::Completed(_) => end.exit_code = Some(0),
            Outcome::Failed(Failure::Exit { code, .. }) => end.exit_code = Some(*code),
            Outcome::Failed(_) => {}
            Outcome::Cancelled(cancelled) => end.rung = Some(rung_name(cancelled.rung)),
            Outcome::TimedOut(timed_out) => end.phase = Some(phase_name(timed_out.phase)),
            Outcome::Lost(lost) => end.started = Some(lost.started),
        }
        Self::Outcome(Box::new(end))
    }
}

/// A time in seconds; more than microseconds are noise.
pub(crate) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e6
}

/// Cuts what is printed at whole characters, so that a character which comes in two pieces is text all the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Characters {
    rest: Vec<u8>,
}

impl Characters {
    /// Takes bytes, and returns what can be shown of them now.
    pub(crate) fn take(&mut self, data: &[u8]) -> Vec<u8> {
        let mut data = [&self.rest, data].concat();
        let begun = begun_character(&data);
        self.rest = data.split_off(data.len() - begun);
        data
    }

    /// The beginning of a character that never came to its end.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.rest)
    }
}

/// How many bytes at the end are the beginning of one character.
fn begun_character(data: &[u8]) -> usize {
    for (behind, byte) in data.iter().rev().take(3).enumerate() {
        let len = match byte {
            0x80..=0xBF => continue,
            0xC2..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xF4 => 4,
            _ => return 0,
        };
        return if behind + 1 < len { behind + 1 } else { 0 };
    }
    0
}

fn stream_name(stream: Stream) -> &'static str {
    match stream {
        Stream::Stdout => "stdout",
        Stream::Stderr => "stderr",
    }
}

fn rung_name(rung: Rung) -> &'static str {
    match rung {
        Rung::Queued => "queued",
        Rung::Interrupt => "interrupt",
        Rung::Force => "force",
        Rung::Abandoned => "abandoned",
        Rung::Kill => "kill",
    }
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Queued => "queued",
        Phase::Assigned => "assigned",
        Phase::Running => "running",
    }
}

#[cfg(test)]
mod tests {
    use ostler::{Cancelled, Lost, LostCause, TimedOut};

    use super::*;

    fn text(what: What<'_>) -> String {
        String::from_utf8(line(&Line::new(ExecutionId(7), "a.py", what))).unwrap()
    }

    #[test]
    fn output_is_text_where_it_can_be() {
        let expected =
            "{\"event\":\"output\",\"id\":7,\"label\":\"a.py\",\"stream\":\"stdout\",\"text\":\"hé\\n\"}\n";
        assert_eq!(text(What::output(Stream::Stdout, "hé\n".as_bytes())), expected);
        let expected =
            "{\"event\":\"output\",\"id\":7,\"label\":\"a.py\",\"stream\":\"stderr\",\"base64\":\"/w==\"}\n";
        assert_eq!(text(What::output(Stream::Stderr, b"\xFF")), expected);
    }

    #[test]
    fn each_outcome_says_what_applies_to_it() {
        let after = Duration::from_millis(1500);
        let cancelled = Outcome::Cancelled(Cancelled::new(Rung::Kill, None));
        let timed_out = Outcome::TimedOut(TimedOut::new(after, Phase::Running));
        let lost = Outcome::Lost(Lost { started: true, cause: LostCause::PoolFailed });
        for (outcome, expected) in [
            (cancelled, "\"outcome\":\"cancelled\",\"duration\":1.5,"),
            (timed_out, "\"phase\":\"running\"}"),
            (lost, "\"started\":true}"),
        ] {
            let line = text(What::outcome(&outcome, after));
            assert!(line.starts_with("{\"event\":\"outcome\",\"id\":7,\"label\":\"a.py\","), "{line}");
            assert!(line.contains(expected), "{line}");
        }
    }

    #[test]
    fn a_character_in_two_pieces_is_one_character() {
        let mut characters = Characters::default();
        let (first, second) = "a€".as_bytes().split_at(3);
        assert_eq!(characters.take(first), b"a");
        assert_eq!(characters.take(second), "€".as_bytes());
        assert_eq!(characters.finish(), b"");
    }

    #[test]
    fn bytes_that_are_no_character_are_not_kept_back() {
        let mut characters = Characters::default();
        assert_eq!(characters.take(b"\xFF\x80\x80\x80"), b"\xFF\x80\x80\x80");
        assert_eq!(characters.take(b"x\xF0\x9F"), b"x");
        assert_eq!(characters.finish(), b"\xF0\x9F");
    }
}
