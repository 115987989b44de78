//! Each kind of event, to the byte.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;

use super::*;
use crate::outcome::{
    CancelStage, Cancelled, Completion, Failure, Generation, Lost, LostCause, Outcome, Phase, TimedOut,
};
use crate::protocol::Exception;

fn text(what: What<'_>) -> String {
    String::from_utf8(Line::new(ExecutionId(7), Some("a.py"), what).to_line()).unwrap()
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
    let cancelled = Outcome::Cancelled(Cancelled::new(CancelStage::Kill, None));
    let timed_out = Outcome::TimedOut(TimedOut::new(after, Phase::Running));
    let lost = Outcome::Lost(Lost { started: true, cause: LostCause::PoolFailed });
    let exception = Exception::new("KeyError", "'x'");
    let failed = Outcome::Failed(Failure::Exception(Box::new(exception)));
    for (outcome, expected) in [
        (cancelled, "\"outcome\":\"cancelled\",\"duration\":1.5,"),
        (timed_out, "\"phase\":\"running\"}"),
        (lost, "\"started\":true}"),
        (
            failed,
            "\"message\":\"KeyError: 'x'\",\"exception\":{\"type\":\"KeyError\",\"message\":\"'x'\",\"frames\":[]}}",
        ),
    ] {
        let line = text(What::Outcome(Box::new(End::new(&outcome, after))));
        assert!(line.starts_with("{\"event\":\"outcome\",\"id\":7,\"label\":\"a.py\","), "{line}");
        assert!(line.contains(expected), "{line}");
    }
}

#[test]
fn an_entry_of_a_log_has_its_number_and_the_handle_that_is_asked_for() {
    let png = MimeData::Binary(Bytes::from_static(b"\x89PNG"));
    let mime = Mime(vec![("image/png".into(), png), ("text/plain".into(), MimeData::Text("<plot>".into()))]);
    let display = Event::Display(Box::new(Display { mime, id: None, update: false }));
    let started = Event::Started { pid: Some(4), generation: Generation(2) };
    let value = Completion { value: Some(Value::from(42)), repr: Some("42".into()), ..Completion::default() };
    let outcome = Arc::new(Outcome::Completed(Box::new(value)));
    for (entry, expected) in [
        (
            Logged::Event { seq: 1, event: Arc::new(started) },
            "{\"seq\":1,\"event\":\"started\",\"id\":\"e-1\",\"pid\":4,\"generation\":2}\n",
        ),
        (
            Logged::Event { seq: 2, event: Arc::new(display) },
            "{\"seq\":2,\"event\":\"display\",\"id\":\"e-1\",\"mime\":{\"image/png\":{\"base64\":\"iVBORw==\"},\
             \"text/plain\":\"<plot>\"},\"update\":false}\n",
        ),
        (
            Logged::Missed { first: 3, last: 9, bytes: 70 },
            "{\"seq\":9,\"event\":\"missed\",\"id\":\"e-1\",\"first\":3,\"last\":9,\"bytes\":70}\n",
        ),
        (
            Logged::Ended { seq: 10, outcome, duration: Duration::from_secs(1) },
            "{\"seq\":10,\"event\":\"outcome\",\"id\":\"e-1\",\"outcome\":\"completed\",\"duration\":1.0,\
             \"message\":\"completed\",\"value\":42,\"repr\":\"42\",\"exit_code\":0}\n",
        ),
    ] {
        assert_eq!(String::from_utf8(Line::logged("e-1", None, &entry).to_line()).unwrap(), expected);
    }
}
