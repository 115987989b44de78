//! What real servers write in their own way is read where nothing is lost by it.

use super::{call, cut, line, map};
use crate::{
    ExecutionId, PlainJson, Value,
    rpc::{Framing, Id, Incoming, RpcError},
};

fn result_of(json: &str) -> Value {
    let text = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{json}}}"#);
    match line(&text).pop() {
        Some(Incoming::Answer { answer: Ok(value), .. }) => value,
        other => panic!("{json}: {other:?}"),
    }
}

fn error_of(json: &str) -> RpcError {
    let text = format!(r#"{{"jsonrpc":"2.0","id":7,"error":{json}}}"#);
    match line(&text).pop() {
        Some(Incoming::Answer { answer: Err(error), .. }) => error,
        other => panic!("{json}: {other:?}"),
    }
}

/// A number of ours is the same in every way of saying it, and no other number is.
#[test]
fn an_id_is_the_number_that_it_says() {
    for (json, number) in [
        ("7", 7),
        ("7.0", 7),
        ("7.000", 7),
        ("\"7\"", 7),
        ("\"7.0\"", 7),
        ("70e-1", 7),
        ("0.7E1", 7),
        ("\"\\u0037\"", 7),
        ("0", 0),
        ("1e3", 1000),
        ("9007199254740993.0", 9_007_199_254_740_993),
        ("18446744073709551615", u64::MAX),
        ("18446744073709551615.0", u64::MAX),
    ] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{json},"result":1}}"#);
        assert_eq!(line(&text), [Incoming::Answer { id: call(number), answer: Ok(Value::Int(1)) }], "{json}");
    }
    for json in [
        "7.5",
        "-7",
        "-7.0",
        "7.00000000000000000001",
        "1e99",
        "1e-99",
        "1e99999999999999999999",
        "18446744073709551616",
        "18446744073709551616.0",
        "true",
        "false",
        "[7]",
        "{\"id\":7}",
        "\"\"",
        "\" 7\"",
        "\"7x\"",
        "\"e\"",
        "\"inf\"",
        "\"-\"",
        "\".\"",
        "\"nan\"",
    ] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":{json},"result":1}}"#);
        let all = line(&text);
        assert!(matches!(&all[..], [Incoming::Answer { id: Id::Foreign(_), .. }]), "{json}: {all:?}");
    }
}

#[test]
fn half_a_surrogate_pair_is_the_sign_for_it_and_nothing_else_is_lost() {
    for (json, text) in [
        (r#""cut here: \ud83d""#, "cut here: \u{FFFD}"),
        (r#""\ud83d and on""#, "\u{FFFD} and on"),
        (r#""\udc00\ud83d\n""#, "\u{FFFD}\u{FFFD}\n"),
        (r#""\ud83d\ud83d\ude00""#, "\u{FFFD}\u{1F600}"),
        (r#""\ud83d\u0041""#, "\u{FFFD}A"),
        (r#""\uD83D\uDE00 \uFFFF \u0000""#, "\u{1F600} \u{FFFF} \0"),
        (
            r#""no escape: \\ud83d \\\\ \" \/ \b\f\n\r\t é 🦀""#,
            "no escape: \\ud83d \\\\ \" / \u{8}\u{c}\n\r\t é 🦀",
        ),
        (r#""""#, ""),
    ] {
        assert_eq!(result_of(json), Value::from(text), "{json}");
    }
    assert_eq!(
        result_of(r#"{"a\ud83d":["\udead"]}"#),
        map(&[("a\u{FFFD}", Value::List(vec!["\u{FFFD}".into()]))])
    );
    let method = r#"{"jsonrpc":"2.0","\ud83d":0,"method":"a\ud83d","params":["\udead"]}"#;
    let params = Value::List(vec!["\u{FFFD}".into()]);
    assert_eq!(line(method), [Incoming::Notification { method: "a\u{FFFD}".into(), params }]);
    assert_eq!(error_of(r#"{"code":1,"message":"\ud83d!"}"#), RpcError::new(1, "\u{FFFD}!"));
    // Its own id is given back as it wrote it.
    let asks = line(r#"{"jsonrpc":"2.0","id":"\ud83d","method":"m"}"#);
    assert!(matches!(&asks[..], [Incoming::Request { id, .. }] if **id == *r#""\ud83d""#), "{asks:?}");
}

/// Each is written again as it came, and those that a machine has a number for are that number.
#[test]
fn no_number_is_rounded() {
    for json in [
        "12345678901234567890123",
        "-12345678901234567890123",
        "18446744073709551616",
        "-9223372036854775809",
        "0.1234567890123456789012345",
        "12345678901234567890.5",
        "1e400",
        "-1e400",
        "1e-400",
        "1E999999999999999999999",
        "123456789012345678901e3",
    ] {
        for nested in [json.to_owned(), format!(r#"{{"a":[1,{{"wei":{json}}}]}}"#)] {
            let value = result_of(&nested);
            assert_eq!(serde_json::to_string(&PlainJson(&value)).unwrap(), nested);
            let why = serde_json::Value::try_from(value).unwrap_err().to_string();
            assert!(why.contains(json), "{why}");
        }
        assert_eq!(result_of(json), Value::Number(json.into()));
        assert_eq!(Value::from_json(json).unwrap(), Value::Number(json.into()));
    }
    for (json, value) in [
        ("18446744073709551615", Value::UInt(u64::MAX)),
        ("-9223372036854775808", Value::Int(i64::MIN)),
        ("-0", Value::Float(-0.0)),
        ("0.0", Value::Float(0.0)),
        ("0e9", Value::Float(0.0)),
        ("0.1", Value::Float(0.1)),
        ("1E2", Value::Float(100.0)),
        ("0.30000000000000004", Value::Float(0.300_000_000_000_000_04)),
        ("1.7976931348623157e308", Value::Float(f64::MAX)),
        ("2.50000000000000000000000", Value::Float(2.5)),
    ] {
        assert_eq!(format!("{:?}", result_of(json)), format!("{value:?}"), "{json}");
    }
    assert_eq!(result_of("12345678901234567890123").as_f64(), Some(12_345_678_901_234_567_890_123.0));
}

/// As whoever reads JSON into a map of their own has it.
#[test]
fn of_two_members_with_one_name_the_last_counts() {
    let new = || [Incoming::Answer { id: call(7), answer: Ok(map(&[("new", 2.into())])) }];
    for text in [
        r#"{"jsonrpc":"2.0","id":7,"result":{"old":1},"result":{"new":2}}"#,
        r#"{"jsonrpc":"2.0","id":6,"id":7,"result":{"new":2}}"#,
        r#"{"jsonrpc":"1.0","jsonrpc":"2.0","id":7,"result":{"new":2}}"#,
        r#"{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"no"},"error":null,"result":{"new":2}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{"new":1,"new":2}}"#,
        r#"{"jsonrpc":"2.0","id":7,"\u0072esult":1,"result":{"new":2}}"#,
    ] {
        assert_eq!(line(text), new(), "{text}");
    }
    let error = error_of(r#"{"code":1,"code":2,"message":"a","message":"b"}"#);
    assert_eq!(error, RpcError::new(2, "b"));
    let many: Vec<String> = (0..40).chain(0..40).map(|n| format!("\"k{}\":{n}", n % 30)).collect();
    let read = result_of(&format!("{{{}}}", many.join(",")));
    assert_eq!(read.as_map().map(<[_]>::len), Some(30));
    assert_eq!((read.get("k3"), read.get("k12")), (Some(&Value::Int(33)), Some(&Value::Int(12))));
    assert_eq!(read.as_map().unwrap()[4].0, "k4".into());
}

/// Whatever the form of the error: what the server says of it is told.
#[test]
fn the_message_of_an_error_is_told_in_whichever_form_it_comes() {
    let none = RpcError::NO_CODE;
    for (json, code, message) in [
        (r#"{"code":-32000,"message":"no"}"#, -32000, "no"),
        (r#"{"code":-32000.0,"message":"no"}"#, -32000, "no"),
        (r#"{"code":"-32000","message":"no"}"#, -32000, "no"),
        (r#"{"code":"ENOENT","message":"no such file: a.txt"}"#, none, "ENOENT: no such file: a.txt"),
        (r#"{"code":1.5,"message":"no"}"#, none, "1.5: no"),
        (r#"{"code":99999999999999999999,"message":"no"}"#, none, "99999999999999999999: no"),
        (r#"{"code":null,"message":"no"}"#, none, "no"),
        (r#"{"message":"no"}"#, none, "no"),
        (r#""quota used up""#, none, "quota used up"),
        (r#"["quota", 5]"#, none, r#"["quota", 5]"#),
        ("true", none, "true"),
        ("5", none, "5"),
        (r#"{"code":3}"#, 3, r#"{"code":3}"#),
        (r#"{"code":3,"message":null,"detail":"x"}"#, 3, r#"{"code":3,"message":null,"detail":"x"}"#),
        (r#"{"code":3,"message":{"text":"no"}}"#, 3, r#"{"text":"no"}"#),
        ("{}", none, "{}"),
    ] {
        assert_eq!(error_of(json), RpcError::new(code, message), "{json}");
        assert!(error_of(json).to_string().contains(message), "{json}");
    }
    assert_eq!(RpcError::new(none, "no").to_string(), "no");
    let deep = format!("{}{}", "[".repeat(100), "]".repeat(100));
    let error = error_of(&format!(r#"{{"code":1,"message":"no","data":{deep}}}"#));
    assert_eq!(error, RpcError { code: 1, message: "no".into(), data: Some(Value::from(&*deep)) });
}

#[test]
fn an_answer_is_an_answer_with_what_does_not_belong_to_it() {
    let error = || Err(RpcError::new(1, "no"));
    for (text, id, answer) in [
        (r#"{"jsonrpc":"2.0","id":7,"result":null,"error":{"code":1,"message":"no"}}"#, call(7), error()),
        (r#"{"jsonrpc":"2.0","id":7,"result":1,"error":null}"#, call(7), Ok(Value::Int(1))),
        (r#"{"jsonrpc":"2.0","id":7,"result":null,"error":null}"#, call(7), Ok(Value::None)),
        (r#"{"jsonrpc":"2.0","id":7,"method":"tools/list","result":1}"#, call(7), Ok(Value::Int(1))),
        (r#"{"jsonrpc":"2.0","id":7,"method":null,"params":null,"result":1}"#, call(7), Ok(Value::Int(1))),
        (r#"{"jsonrpc":2.0,"id":7,"result":1}"#, call(7), Ok(Value::Int(1))),
        ("\u{FEFF}{\"jsonrpc\":\"2\",\"id\":7,\"result\":1}\r", call(7), Ok(Value::Int(1))),
        (r#"{"jsonrpc":"2.0","error":{"code":1,"message":"no"}}"#, Id::Null, error()),
        (r#"{"jsonrpc":"2.0","result":1}"#, Id::Null, Ok(Value::Int(1))),
    ] {
        assert_eq!(line(text), [Incoming::Answer { id, answer }], "{text}");
    }
    let both = line(r#"{"jsonrpc":"2.0","id":7,"result":1,"error":{"code":1,"message":"quota"}}"#);
    let what = "expected a member `result` or `error`, got both; the error is: quota (code 1)".to_owned();
    assert_eq!(both, [Incoming::Wrong { call: Some(ExecutionId(7)), what }]);
    let note = line(r#"{"jsonrpc":"2.0","id":null,"method":"n"}"#);
    assert_eq!(note, [Incoming::Notification { method: "n".into(), params: Value::None }]);
    let odd = line(r#"[1,"x",null,[],{"jsonrpc":"2.0","id":"7","result":1,"result":2},{}]"#);
    assert_eq!(odd.iter().filter(|said| **said == Incoming::NotAMessage).count(), 5, "{odd:?}");
    assert_eq!(odd[4], Incoming::Answer { id: call(7), answer: Ok(Value::Int(2)) });
}

/// However they are cut.
#[test]
fn headers_are_read_in_the_forms_that_servers_write() {
    for header in [
        "Content-Length: 3\n\n",
        "Content-Length: 3\r\n\n",
        "Content-Length: 3\n\r\n",
        "content-length:3\n\n",
        "CONTENT-LENGTH : 3 \r\n\r\n",
        "Content-Type: application/vscode-jsonrpc; charset=utf-8\nContent-Length: 3\n\n",
        "Content-Length: 3\r\nContent-Type: text/plain; charset=\"utf8\"\r\nX-Unknown: a: b\r\n\r\n",
        "\u{FEFF}Content-Length: 3\r\n\r\n",
        "\r\n\nContent-Length: 3\r\n\r\n",
        "INFO: a line of a log\nContent-Length: 3\n\n",
        "X: \u{e9}\r\nContent-Length: 3\r\n\r\n",
    ] {
        // The body may begin and end as a header does.
        let stream = format!("{header}one{header}\n\ntContent-Length: 0\n\n{header}two\n{header}e:\nCo");
        for step in 1..=stream.len() {
            let (texts, error, rest) = cut(Framing::ContentLength, stream.as_bytes(), 100, step);
            assert_eq!(
                (texts.join("|"), error, rest),
                ("one|\n\nt||two|e:\n".into(), None, 2),
                "{stream:?} by {step}"
            );
        }
    }
    for (stream, got) in [
        ("{\"jsonrpc\":\"2.0\"}\n", "expected a header with `Content-Length`, got \"{"),
        ("Content-Type: x\n\n{}", "expected a header with `Content-Length` and a number"),
        ("Content-Length: 3.5\n\n", "expected a header with `Content-Length` and a number"),
        ("starting\n", "expected a header with `Content-Length`, got \"starting"),
    ] {
        let (_, error, _) = cut(Framing::ContentLength, stream.as_bytes(), 100, 3);
        assert!(error.as_deref().is_some_and(|error| error.starts_with(got)), "{stream:?}: {error:?}");
    }
}

/// As Python's `json` writes them.
#[test]
fn numbers_that_json_lacks_are_read_where_they_stand_for_numbers() {
    let json = r#"[NaN,{"up":Infinity,"NaN":"Infinity \" NaN"},-Infinity,"NaN\\",[Infinity]]"#;
    let Value::List(items) = result_of(json) else { panic!("it is a list") };
    assert!(matches!(items[0], Value::Float(float) if float.is_nan()), "{items:?}");
    let (up, down) = (Value::from(f64::INFINITY), Value::from(f64::NEG_INFINITY));
    let inner = map(&[("up", up.clone()), ("NaN", "Infinity \" NaN".into())]);
    assert_eq!(items[1..], [inner, down, "NaN\\".into(), Value::List(vec![up])]);
    // What is no JSON for other reasons stays a line that somebody printed.
    assert_eq!(line("loss: NaN"), [Incoming::NotAMessage]);
}
