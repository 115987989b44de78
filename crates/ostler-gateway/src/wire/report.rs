//! What is known of an execution, as one object or as text.

use std::{borrow::Cow, sync::Arc, time::Duration};

use ostler::{
    Event, Logged, Outcome, Restored as Woken, Stream,
    json::{Bundle, End, Restored},
};
use serde::Serialize;
use utoipa::ToSchema;

/// What is known of an execution at one moment.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Report<'a> {
    /// Its handle.
    pub(crate) execution: &'a str,
    /// `running`, which it is also while it waits for a worker, `waiting_for_input` or `ended`.
    pub(crate) state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) session: Option<&'a str>,
    /// The worker of its slot in which it runs, once it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) label: Option<&'a str>,
    pub(crate) accepted_at: &'a str,
    stdout: String,
    stderr: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    displays: Vec<Shown<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    session_restored: Option<Restored<'a>>,
    /// What came back of a session that slept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) woke: Option<Back<'a>>,
    /// The request for input that is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) input: Option<Asked<'a>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    left: &'a [String],
    /// Bytes of output that are not here.
    dropped: u64,
    /// The number of the newest event: `…/events?after=` it waits for the next one.
    newest: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    outcome: Option<End<'a>>,
}

/// A rich value that the code showed.
#[derive(Debug, Serialize, ToSchema)]
struct Shown<'a> {
    #[schema(value_type = Object)]
    mime: Bundle<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    display_id: Option<&'a str>,
    update: bool,
}

/// What came of bringing a state back.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Back<'a> {
    restored: &'a [String],
    lost: Vec<Lost<'a>>,
    passed_over: &'a [String],
}

#[derive(Debug, Serialize, ToSchema)]
struct Lost<'a> {
    name: &'a str,
    reason: &'a str,
}

impl<'a> From<&'a Woken> for Back<'a> {
    fn from(woken: &'a Woken) -> Self {
        let lost = woken.lost.iter().map(|lost| Lost { name: &lost.name, reason: &lost.reason });
        Self { restored: &woken.names, lost: lost.collect(), passed_over: &woken.passed_over }
    }
}

/// A request for input.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Asked<'a> {
    request: u64,
    prompt: &'a str,
    password: bool,
}

impl<'a> Report<'a> {
    /// From everything that its log holds. `open`: the request for input that is open.
    pub(crate) fn new(
        execution: &'a str,
        accepted_at: &'a str,
        entries: &'a [Logged],
        open: Option<u64>,
    ) -> Self {
        let mut report = Self {
            execution,
            state: "running",
            session: None,
            generation: None,
            label: None,
            accepted_at,
            stdout: printed(entries, Stream::Stdout),
            stderr: printed(entries, Stream::Stderr),
            displays: Vec::new(),
            session_restored: None,
            woke: None,
            input: None,
            left: &[],
            dropped: 0,
            newest: entries.last().map_or(0, Logged::seq),
            outcome: None,
        };
        for entry in entries {
            match entry {
                Logged::Event { event, .. } => report.take(event, open),
                Logged::Missed { bytes, .. } => report.dropped += bytes,
                Logged::Ended { outcome, duration, .. } => report.end(outcome, *duration),
                _new => {}
            }
        }
        report
    }

    fn take(&mut self, event: &'a Event, open: Option<u64>) {
        match event {
            Event::SessionRestored(news) => self.session_restored = Some(Restored::from(&**news)),
            Event::Started { generation, .. } => self.generation = Some(generation.0),
            Event::Display(display) => self.displays.push(Shown {
                mime: Bundle(&display.mime),
                display_id: display.id.as_deref(),
                update: display.update,
            }),
            Event::Input(asked) if open == Some(asked.request) => {
                self.state = "waiting_for_input";
                self.input =
                    Some(Asked { request: asked.request, prompt: &asked.prompt, password: asked.password });
            }
            Event::Left { what } => self.left = what,
            Event::Dropped { bytes } => self.dropped += bytes,
            Event::Output { .. } | Event::Input(_) | Event::Notification { .. } | Event::Asked(_) => {}
            _new => {}
        }
    }

    fn end(&mut self, outcome: &'a Arc<Outcome>, duration: Duration) {
        self.state = "ended";
        self.outcome = Some(End::new(outcome, duration).with_value(outcome));
    }
}

/// What was printed to a stream; what is left out is said in brackets.
fn printed(entries: &[Logged], to: Stream) -> String {
    let mut text = String::new();
    for entry in entries {
        match entry {
            Logged::Event { event, .. } => {
                if let Event::Output { stream, data } = &**event
                    && *stream == to
                {
                    text.push_str(&String::from_utf8_lossy(data));
                }
            }
            Logged::Missed { bytes, .. } if to == Stream::Stdout => {
                text.push_str(&format!("\n[... {bytes} bytes of output left out ...]\n"));
            }
            Logged::Missed { .. } | Logged::Ended { .. } => {}
            _new => {}
        }
    }
    text
}

/// What a person sees: what was printed to stdout, and behind it why it did not complete.
pub(crate) fn text(entries: &[Logged]) -> String {
    let mut text = printed(entries, Stream::Stdout);
    let Some(Logged::Ended { outcome, .. }) = entries.last() else { return text };
    let why: Cow<'_, str> = match &**outcome {
        Outcome::Completed(_) => return text,
        Outcome::Failed(_) | Outcome::Cancelled(_) | Outcome::TimedOut(_) | Outcome::Lost(_) => {
            outcome.to_string().into()
        }
    };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    text.push_str(&why);
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use ostler::{CancelStage, Cancelled};

    use super::*;

    fn entries() -> Vec<Logged> {
        let output = |seq, stream, text: &'static str| Logged::Event {
            seq,
            event: Arc::new(Event::Output { stream, data: text.into() }),
        };
        let outcome = Arc::new(Outcome::Cancelled(Cancelled::new(CancelStage::Queued, None)));
        vec![
            output(1, Stream::Stdout, "a"),
            output(2, Stream::Stderr, "b"),
            Logged::Missed { first: 3, last: 8, bytes: 70 },
            output(9, Stream::Stdout, "c"),
            Logged::Ended { seq: 10, outcome, duration: Duration::from_secs(1) },
        ]
    }

    #[test]
    fn a_report_has_both_ends_of_the_output_and_says_what_is_left_out() {
        let entries = entries();
        let report = serde_json::to_value(Report::new("e-1", "then", &entries, None)).unwrap();
        assert_eq!(report["stdout"], "a\n[... 70 bytes of output left out ...]\nc");
        assert_eq!((&report["stderr"], &report["dropped"]), (&"b".into(), &70.into()));
        assert_eq!((&report["state"], &report["newest"]), (&"ended".into(), &10.into()));
        assert_eq!(report["outcome"]["outcome"], "cancelled");
    }

    #[test]
    fn a_text_ends_with_why_it_did_not_complete() {
        assert!(text(&entries()).ends_with("\nc\ncancelled before it was given to a worker\n"));
        assert_eq!(text(&entries()[..1]), "a");
    }
}
