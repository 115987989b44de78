//! How an execution ended, as fields of a JSON object.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::Bundle;
use crate::{
    outcome::{Activity, CancelStage, Failure, Outcome, Phase, Stack},
    protocol::{Exception, TraceFrame, Value},
};

/// How an execution ended: `outcome` (`completed`, `failed`, `cancelled`, `timed_out`, `lost`), `duration` in seconds,
/// `message` in one line, and as it applies `exit_code`, `stage`, `phase`, `started`, `activity` and `exception` (`type`,
/// `message`, `frames`, `traceback`); with its value, also `value`, `repr` and `mime`.
#[derive(Debug, Serialize)]
pub struct End<'a> {
    outcome: &'static str,
    duration: f64,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repr: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mime: Option<Bundle<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exception: Option<Raised<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stage: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    phase: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    activity: Option<Doing<'a>>,
}

#[derive(Debug, Serialize)]
struct Raised<'a> {
    #[serde(rename = "type")]
    type_name: &'a str,
    message: &'a str,
    /// The calls that led to it, outermost first.
    frames: Vec<Frame<'a>>,
    /// As the language shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    traceback: Option<&'a str>,
}

/// One call of a traceback.
#[derive(Debug, Serialize)]
struct Frame<'a> {
    file: &'a str,
    line: u64,
    name: &'a str,
}

impl<'a> From<&'a TraceFrame> for Frame<'a> {
    fn from(frame: &'a TraceFrame) -> Self {
        Self { file: &frame.file, line: frame.line, name: &frame.name }
    }
}

impl<'a> From<&'a Exception> for Raised<'a> {
    fn from(exception: &'a Exception) -> Self {
        Self {
            type_name: &exception.type_name,
            message: &exception.message,
            frames: exception.frames.iter().map(Frame::from).collect(),
            traceback: exception.text.as_deref(),
        }
    }
}

/// What a worker was doing: `running_for` and `silent_for` in seconds, `processors`, `memory` in bytes, `stacks` (`thread`,
/// `main`, `calls`, the most recent first) and `children` (command lines by process id).
#[derive(Debug, Serialize)]
pub struct Doing<'a> {
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

impl<'a> From<&'a Activity> for Doing<'a> {
    fn from(activity: &'a Activity) -> Self {
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

impl<'a> End<'a> {
    /// How it ended, and how long it took, without its value.
    #[must_use]
    pub fn new(outcome: &'a Outcome, duration: Duration) -> Self {
        let mut end = End {
            outcome: outcome.kind(),
            duration: seconds(duration),
            message: outcome.headline(),
            value: None,
            repr: None,
            mime: None,
            exception: None,
            exit_code: None,
            stage: None,
            phase: None,
            started: None,
            activity: outcome.activity().map(Doing::from),
        };
        match outcome {
            Outcome::Completed(_) => end.exit_code = Some(0),
            Outcome::Failed(Failure::Exit { code, .. }) => end.exit_code = Some(*code),
            Outcome::Failed(Failure::Exception(exception)) => end.exception = Some((&**exception).into()),
            Outcome::Failed(_) => {}
            Outcome::Cancelled(cancelled) => end.stage = Some(stage_name(cancelled.stage)),
            Outcome::TimedOut(timed_out) => end.phase = Some(phase_name(timed_out.phase)),
            Outcome::Lost(lost) => end.started = Some(lost.started),
        }
        end
    }

    /// With the value of a completed execution, in all its formats.
    #[must_use]
    pub fn with_value(mut self, outcome: &'a Outcome) -> Self {
        if let Outcome::Completed(completion) = outcome {
            self.value = completion.value.as_ref();
            self.repr = completion.repr.as_deref();
            self.mime = completion.mime.as_ref().map(Bundle);
        }
        self
    }
}

/// A time in seconds; more than microseconds are noise.
#[must_use]
pub fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e6
}

fn stage_name(stage: CancelStage) -> &'static str {
    match stage {
        CancelStage::Queued => "queued",
        CancelStage::Interrupt => "interrupt",
        CancelStage::Force => "force",
        CancelStage::Abandoned => "abandoned",
        CancelStage::Kill => "kill",
    }
}

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Queued => "queued",
        Phase::Assigned => "assigned",
        Phase::Running => "running",
    }
}
