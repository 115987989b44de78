//! Every fault has its name, and costs the worker what it should and no more.

use bytes::{Bytes, BytesMut};

use super::{CODECS, decode_both, payloads, to_worker};
use crate::{
    Codec, DEPTH_MAX, DecodeError, EncodeError, Execute, ExecutionId, ExecutionResult, ToWorker, Value,
};

/// The same payload in both codecs; MessagePack by another implementation.
fn both_codecs(json: &str) -> [(Codec, Bytes); 2] {
    let value: Value = serde_json::from_str(json).unwrap();
    let packed = rmp_serde::to_vec(&value).unwrap();
    [(Codec::MessagePack, packed.into()), (Codec::Json, json.to_owned().into())]
}

fn malformed(reason: &str) -> DecodeError {
    DecodeError::Malformed { reason: reason.to_owned() }
}

/// Whether this is the fault of the bytes, and not of a field.
fn is_malformed<T>(decoded: &Result<T, DecodeError>) -> bool {
    matches!(decoded, Err(DecodeError::Malformed { .. }))
}

/// Faults 21 and 23.
#[test]
fn a_message_cut_anywhere_or_continued_is_malformed() {
    for codec in CODECS {
        for payload in payloads(codec, 7) {
            for cut in (0..payload.len()).filter(|cut| *cut < 400 || payload.len() - *cut < 400) {
                let (from, to) = decode_both(codec, &payload.slice(..cut));
                assert!(is_malformed(&from) && is_malformed(&to), "{codec}, {cut} of {payload:?}");
            }
            let mut longer = payload.to_vec();
            longer.push(b'1');
            let (from, to) = decode_both(codec, &longer.into());
            assert!(is_malformed(&from) && is_malformed(&to), "{codec}, {payload:?}");
        }
    }
}

struct WrongField {
    json: &'static str,
    id: Option<u64>,
    field: &'static str,
    expected: &'static str,
    got: &'static str,
}

const UINT: &str = "an integer from 0 to 18446744073709551615";
const ID: &str = "an id: a string of 1 to 64 bytes";

#[rustfmt::skip]
const WRONG_FIELDS: [WrongField; 13] = [
    WrongField { json: r#"{"type":"result","id":"7"}"#,
        id: Some(7), field: "execution_time", expected: "a number", got: "nothing" },
    WrongField { json: r#"{"type":"result","execution_time":"1","id":"7"}"#,
        id: Some(7), field: "execution_time", expected: "a number", got: "the string \"1\"" },
    WrongField { json: r#"{"type":"result","id":"7","execution_time":1,"repr":5}"#,
        id: Some(7), field: "repr", expected: "a string", got: "the integer 5" },
    WrongField { json: r#"{"type":"started","id":7}"#,
        id: None, field: "id", expected: ID, got: "the integer 7" },
    WrongField { json: r#"{"type":"started","id":null}"#,
        id: None, field: "id", expected: ID, got: "nil" },
    WrongField { json: r#"{"type":"started","id":"7","id":"7"}"#,
        id: Some(7), field: "id", expected: ID, got: "a second one" },
    WrongField { json: r#"{"type":"output","id":"7","stream":"log","seq":0,"data":""}"#,
        id: Some(7), field: "stream", expected: "`stdout` or `stderr`", got: "the string \"log\"" },
    WrongField { json: r#"{"type":"output","id":"7","stream":"stdout","seq":-1,"data":""}"#,
        id: Some(7), field: "seq", expected: UINT, got: "the integer -1" },
    WrongField { json: r#"{"type":"output","id":"7","stream":"stdout","seq":0.0,"data":""}"#,
        id: Some(7), field: "seq", expected: UINT, got: "the float 0.0" },
    WrongField { json: r#"{"type":"output","id":"7","stream":"stdout","seq":0,"data":{"$bytes":"%"}}"#,
        id: Some(7), field: "data", expected: "bytes or a string", got: "a map of 1" },
    WrongField { json: r#"{"type":"error","id":"7","execution_time":0,"kind":"exception","exception":{
            "type":"E","message":"","cause":{"type":"E","message":"","frames":[{"file":"","line":true,"name":""}]}}}"#,
        id: Some(7), field: "exception.cause.frames.line", expected: UINT, got: "the boolean true" },
    WrongField { json: r#"{"type":"log","level":"fatal","message":""}"#,
        id: None, field: "level", expected: "`debug`, `info`, `warn` or `error`", got: "the string \"fatal\"" },
    WrongField { json: r#"{"type":"heartbeat","memory_usage":1,"cpu_percent":0,"namespace_size":0,"where":["f",1]}"#,
        id: None, field: "where", expected: "a list of file, line and function", got: "a list of 2" },
];

/// C12: the one execution is named wherever its id stands, and so is the field.
#[test]
fn a_wrong_field_is_named_with_its_execution() {
    for case in WRONG_FIELDS {
        for (codec, payload) in both_codecs(case.json) {
            let error = codec.decode(payload).unwrap_err();
            let DecodeError::Field { id, field, expected, got, .. } = error else {
                panic!("{codec} {}: {error}", case.json);
            };
            let found = (id, &*field, expected, &*got);
            let wanted = (case.id.map(ExecutionId), case.field, case.expected, case.got);
            assert_eq!(found, wanted, "{codec} {}", case.json);
        }
    }
}

/// A10.
#[test]
fn errors_say_what_was_expected_and_what_came() {
    let error =
        Codec::Json.decode(r#"{"type":"result","id":"7","execution_time":"soon"}"#.into()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "`result` message: field `execution_time`: expected a number, got the string \"soon\""
    );
    let error = Codec::Json.decode(r#"{"id":"7","type":"started"}"#.into()).unwrap_err();
    assert_eq!(error.to_string(), "malformed payload: expected `type` as the first key, got \"id\"");
    let error = Codec::Json.decode(r#"{"type":"started","id":"e7"}"#.into()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "id `e7` was never issued: expected a decimal number that an `execute` carried"
    );
}

/// Fault 26: such an id cannot be one of ours, whatever else is wrong with the message.
#[test]
fn an_id_that_no_host_of_ours_issues_is_foreign() {
    let long = format!(r#"{{"type":"started","id":"{}"}}"#, "9".repeat(100));
    for (json, foreign) in [
        (r#"{"type":"started","id":"e7"}"#, "e7"),
        (r#"{"type":"started","id":"007"}"#, "007"),
        (r#"{"type":"started","id":""}"#, ""),
        (r#"{"type":"result","execution_time":true,"id":"e7"}"#, "e7"),
        (r#"{"type":"heartbeat","memory_usage":1,"cpu_percent":0,"namespace_size":0,"running":"x"}"#, "x"),
        (&long, &format!("{}…", "9".repeat(64))),
    ] {
        for (codec, payload) in both_codecs(json) {
            let foreign = DecodeError::ForeignId { id: foreign.to_owned() };
            assert_eq!(codec.decode(payload), Err(foreign), "{codec} {json}");
        }
    }
}

#[test]
fn an_unknown_type_is_told_from_a_broken_message() {
    for (codec, payload) in both_codecs(r#"{"type":"progress","id":"any","done":[1,{"a":2}]}"#) {
        let unknown = DecodeError::UnknownType { type_name: "progress".to_owned(), id: None };
        assert_eq!(codec.decode(payload.clone()), Err(unknown));
        assert!(is_malformed(&codec.decode(payload.slice(..payload.len() - 1))));
    }
    for (codec, payload) in both_codecs(r#"{"type":"execute","id":"1","code":""}"#) {
        let unknown = DecodeError::UnknownType { type_name: "execute".to_owned(), id: Some(ExecutionId(1)) };
        assert_eq!(codec.decode(payload), Err(unknown), "the other direction is another language");
    }
}

#[test]
fn what_is_no_message_is_malformed() {
    for (json, reason) in [
        ("[]", "expected a map, got a list of 0"),
        ("{}", "expected a map whose first key is `type`, got an empty one"),
        (r#"{"id":"1","type":"started"}"#, r#"expected `type` as the first key, got "id""#),
        (r#"{"type":5}"#, "expected the type as a string, got the integer 5"),
    ] {
        for (codec, payload) in both_codecs(json) {
            assert_eq!(codec.decode(payload), Err(malformed(reason)), "{codec} {json}");
        }
    }
    for (bytes, reason) in [
        (&b""[..], "payload ends early: expected 1 bytes at 0, got 0"),
        (b"\xC1", "byte C1 at 0: MessagePack never uses it"),
        (b"\x81\x05\x01", "key at 1: expected a string, got the integer 5"),
        (b"\x82\xA4type\xA3bye\xC0\x01", "key at 10: expected a string, got nil"),
        (
            b"\x82\xA4type\xA3bye\xA1\xFF\x01",
            "a string is not UTF-8: invalid utf-8 sequence of 1 bytes from index 0",
        ),
        (
            b"\x82\xA4type\xA3bye\xA1x\xDD\xFF\xFF\xFF\xFF",
            "4294967295 entries announced at 17, but only 0 bytes follow",
        ),
        (
            b"\x82\xA4type\xA3bye\xA1x\xDB\xFF\xFF\xFF\xFF",
            "payload ends early: expected 4294967295 bytes at 17, got 0",
        ),
    ] {
        assert_eq!(Codec::MessagePack.decode(Bytes::from_static(bytes)), Err(malformed(reason)));
    }
}

/// Newer peers may say more than we understand.
#[test]
fn unknown_keys_and_absent_options_change_nothing() {
    let json = r#"{"type":"result","new":[{"a":[]}],"id":"1","execution_time":2,"repr":null,"tainted":null,
        "new_names":null,"x":null}"#;
    for (codec, payload) in both_codecs(json) {
        let expected = ExecutionResult::new(1, 2.0);
        assert_eq!(codec.decode(payload), Ok(expected.into()), "{codec}");
    }
}

#[test]
fn nesting_ends_at_the_limit() {
    // The message itself is the first level.
    let nested = |levels: usize| {
        let mut payload = b"\x84\xA4type\xA6result\xAEexecution_time\x00\xA5value".to_vec();
        payload.extend(std::iter::repeat_n(0x91, levels));
        payload.extend_from_slice(b"\xC0\xA2id\xA11");
        Codec::MessagePack.decode(payload.into())
    };
    assert!(nested(DEPTH_MAX - 1).is_ok());
    for levels in [DEPTH_MAX, 10_000, 1 << 20] {
        assert!(is_malformed(&nested(levels)), "{levels} levels");
    }
    let mut value = Value::None;
    for _ in 1..DEPTH_MAX {
        value = vec![value].into();
    }
    let execute =
        |value| ToWorker::from(Execute { args: vec![("x".to_owned(), value)], ..Execute::new(1, "") });
    for codec in CODECS {
        let mut out = BytesMut::from("before");
        let error = codec.encode(&execute(value.clone()), &mut out);
        assert_eq!((error, &out[..]), (Err(EncodeError::TooDeep), &b"before"[..]), "{codec}");
        let [ref inner] = *value.as_list().unwrap() else { unreachable!("one entry at each level") };
        let right = execute(inner.clone());
        assert_eq!(codec.decode_to_worker(to_worker(codec, &right)), Ok(right));
    }
}

/// P12: each nil is one byte on the wire and 40 in memory.
#[test]
fn lists_that_grow_too_large_in_memory_fail_their_execution() {
    const HEAD: &[u8] = b"\x84\xA4type\xA6result\xA2id\xA11\xAEexecution_time\x00\xA5value";
    let nils = |len: u32| {
        let mut list = vec![0xDD];
        list.extend_from_slice(&len.to_be_bytes());
        list.resize(list.len() + len as usize, 0xC0);
        list
    };
    let decode = |value: &[u8]| Codec::MessagePack.decode([HEAD, value].concat().into());
    assert!(decode(&nils(1 << 20)).is_ok());
    assert_eq!(
        decode(&nils(4 << 20)).unwrap_err().to_string(),
        "`result` message: field `value`: expected lists that fit into 64 MiB of memory, got one of 4194304"
    );
    let two_that_fit = [&b"\x92"[..], &nils(1 << 20), &nils(1 << 20)].concat();
    assert!(matches!(decode(&two_that_fit), Err(DecodeError::Field { .. })), "together they do not");
}
