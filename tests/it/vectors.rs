//! Protocol version 1 is frozen by a corpus of conversations (E16): what is in `tests/vectors` never changes.
//!
//! The worker's own tests replay the same files against a real interpreter. `PROTOCOL.md` quotes them.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use ostler::protocol::{
    Codec, DecodeError, Decoder, EncodeError, FRAME_LEN_MAX, FrameError, FromWorker, ToWorker,
};
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn vectors() -> BTreeMap<String, Value> {
    let folder = fs::read_dir(root().join("tests/vectors")).unwrap();
    let files = folder.map(|entry| entry.unwrap().path());
    files
        .map(|path| {
            let vector: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            let name = vector["name"].as_str().unwrap().to_owned();
            assert_eq!(path.file_stem().unwrap().to_str(), Some(&*name));
            (name, vector)
        })
        .collect()
}

fn text<'a>(step: &'a Value, field: &str) -> &'a str {
    step[field].as_str().unwrap_or_else(|| panic!("`{field}` is text in {step}"))
}

fn entries<'a>(of: &'a Value, field: &str) -> &'a [Value] {
    of[field].as_array().unwrap_or_else(|| panic!("`{field}` is a list in {of}"))
}

fn unhex(hex: &str) -> Bytes {
    assert_eq!(hex.len() % 2, 0, "{hex}");
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

/// The payload of a frame that is alone.
fn payload(frame: &[u8]) -> Bytes {
    let mut decoder = Decoder::new(FRAME_LEN_MAX);
    decoder.buffer().extend_from_slice(frame);
    let payload = decoder.next().unwrap().expect("the frame is whole");
    assert_eq!(decoder.finish(), Ok(()));
    payload
}

/// Compares one message with its frozen forms, each way and in both codecs.
fn compare<M: Debug>(
    step: &Value,
    decode: impl Fn(Codec, Bytes) -> Result<M, DecodeError>,
    encode: impl Fn(Codec, &M, &mut BytesMut) -> Result<(), EncodeError>,
) {
    let json = text(step, "json");
    let frame = unhex(text(step, "msgpack"));
    assert_eq!(serde_json::from_str::<Value>(json).unwrap(), step["message"]);
    let message = decode(Codec::Json, json.to_owned().into()).unwrap();
    // As text, because a message with a value that is not a number is not equal to itself.
    let unpacked = decode(Codec::MessagePack, payload(&frame)).unwrap();
    assert_eq!(format!("{unpacked:?}"), format!("{message:?}"));

    let mut encoded = BytesMut::new();
    encode(Codec::MessagePack, &message, &mut encoded).unwrap();
    assert_eq!(encoded, frame, "{message:?}");
    encoded.clear();
    encode(Codec::Json, &message, &mut encoded).unwrap();
    assert_eq!(str::from_utf8(&payload(&encoded)).unwrap(), json);
}

fn error_name(error: &DecodeError) -> &'static str {
    match error {
        DecodeError::Malformed { .. } => "Malformed",
        DecodeError::UnknownType { .. } => "UnknownType",
        DecodeError::Field { .. } => "Field",
        DecodeError::ForeignId { .. } => "ForeignId",
    }
}

/// A message that is wrong on purpose: the same error in both codecs.
fn compare_error(step: &Value) {
    let wanted = &step["error"];
    for (codec, payload) in [
        (Codec::Json, text(step, "json").to_owned().into()),
        (Codec::MessagePack, payload(&unhex(text(step, "msgpack")))),
    ] {
        let error = codec.decode_to_worker(payload).unwrap_err();
        assert_eq!(error_name(&error), text(wanted, "name"));
        if let DecodeError::Field { type_name, id, field, expected, got } = error {
            let found = [&*type_name, &*id.unwrap().to_string(), &*field, expected, &*got];
            assert_eq!(found, ["type_name", "id", "field", "expected", "got"].map(|name| text(wanted, name)));
        }
    }
}

/// A1, A2, C1 to C9: every message in its frozen form.
#[test]
fn every_frozen_conversation_is_spoken_to_the_byte() {
    for (name, vector) in vectors().iter().filter(|(name, _)| *name != "malformed") {
        for step in entries(vector, "steps") {
            match text(step, "from") {
                _ if step["invalid"] == true => compare_error(step),
                "host" => compare(step, Codec::decode_to_worker, |codec, message: &ToWorker, out| {
                    codec.encode(message, out)
                }),
                "worker" => compare(step, Codec::decode, |codec, message: &FromWorker, out| {
                    codec.encode_from_worker(message, out)
                }),
                other => panic!("{name}: {other} does not speak"),
            }
        }
    }
}

#[test]
fn the_corpus_has_every_conversation_and_every_message() {
    let vectors = vectors();
    for name in [
        "arguments",
        "cancel",
        "checkpoint_restore",
        "display",
        "exception",
        "exit",
        "fork",
        "fork_secret",
        "heartbeat_busy",
        "hello",
        "input",
        "malformed",
        "names",
        "other_version",
        "session",
        "shutdown",
        "shutdown_busy",
        "streaming",
        "swallowed_cancel",
        "wrong_request",
    ] {
        assert!(vectors.contains_key(name), "{name}");
    }
    let spoken: Vec<(&str, &str)> = vectors
        .values()
        .filter_map(|vector| vector["steps"].as_array())
        .flatten()
        .map(|step| (text(step, "from"), step["message"]["type"].as_str().unwrap_or("")))
        .collect();
    for (side, types) in [
        (
            "host",
            "init execute cancel interrupt input_response ping reset vars complete get set inspect checkpoint restore \
             fork shutdown protocol_error",
        ),
        (
            "worker",
            "ready started output display input_request result error heartbeat cancel_ack protocol_error log \
             reset_result vars_result complete_result get_result set_result inspect_result checkpoint_data restored bye",
        ),
    ] {
        for type_name in types.split_whitespace() {
            assert!(spoken.contains(&(side, type_name)), "no {side} says {type_name}");
        }
    }
}

/// A1: the frame that the description of the protocol begins with.
#[test]
fn the_example_of_124_bytes_is_among_them() {
    let vectors = vectors();
    let output = &entries(&vectors["streaming"], "steps")[4];
    let frame = unhex(text(output, "msgpack"));
    assert_eq!(frame.len(), 4 + 124);
    assert_eq!(frame[..4], [0x00, 0x00, 0x00, 0x7C]);
    assert_eq!(frame[4..19], b"\x85\xA4type\xA6output\xA2i"[..15]);
}

/// P12, faults 8, 14, 21 to 23 and 26.
#[test]
fn malformed_streams_end_as_frozen() {
    for case in entries(&vectors()["malformed"], "cases") {
        let codec = if case["codec"] == "json" { Codec::Json } else { Codec::MessagePack };
        let mut decoder = Decoder::new(FRAME_LEN_MAX);
        decoder.buffer().extend_from_slice(&unhex(text(case, "bytes")));
        let (name, id) = match decoder
            .next()
            .and_then(|frame| frame.map_or_else(|| Err(decoder.finish().unwrap_err()), Ok))
        {
            Err(FrameError::TooLong { .. }) => ("TooLong", None),
            Err(FrameError::Empty) => ("Empty", None),
            Err(FrameError::Truncated { .. }) => ("Truncated", None),
            Err(other) => panic!("{case}: {other}"),
            Ok(frame) => {
                let error = match text(case, "from") {
                    "worker" => codec.decode(frame).unwrap_err(),
                    _ => codec.decode_to_worker(frame).unwrap_err(),
                };
                let id = if let DecodeError::Field { id, .. } = &error { *id } else { None };
                (error_name(&error), id)
            }
        };
        assert_eq!(name, text(case, "expect"), "{case}");
        assert_eq!(id.map(|id| id.to_string()).as_deref(), case["id"].as_str(), "{case}");
    }
}

/// C11: each conversation of the page is one of these, to the letter.
#[test]
fn the_examples_of_the_page_are_these_conversations() {
    let page = fs::read_to_string(root().join("PROTOCOL.md")).unwrap();
    let (_, conversations) = page.split_once("\n## Conversations\n").unwrap();
    let vectors = vectors();
    let mut count = 0;
    for section in conversations.split("\n### `").skip(1) {
        let (name, rest) = section.split_once("`\n").unwrap();
        let (_, block) = rest.split_once("```text\n").unwrap();
        let (block, _) = block.split_once("\n```").unwrap();
        let steps = entries(&vectors[name], "steps");
        assert_eq!(block.lines().count(), steps.len(), "{name}");
        for (line, step) in block.lines().zip(steps) {
            let (from, json) = line.split_once(' ').unwrap();
            assert_eq!((from, json.trim_start()), (text(step, "from"), text(step, "json")), "{name}");
        }
        count += 1;
    }
    assert_eq!(count, vectors.values().filter(|vector| vector["steps"].is_array()).count());
}
