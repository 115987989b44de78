use super::*;

mod liberal;

#[path = "../../../../tests/support/server_lines.rs"]
mod server_lines;

fn said(framing: Framing, text: &[u8]) -> Vec<Incoming> {
    let mut said = Vec::new();
    parse_messages(framing, text, &mut said);
    said
}

fn line(text: &str) -> Vec<Incoming> {
    said(Framing::Lines, text.as_bytes())
}

fn map(entries: &[(&str, Value)]) -> Value {
    entries.iter().map(|(key, value)| (*key, value.clone())).collect()
}

fn call(id: u64) -> Id {
    Id::Call(ExecutionId(id))
}

#[test]
fn answers_are_told_by_their_ids() {
    let ok = |value| Ok(value);
    for (text, id, answer) in [
        (
            r#"{"jsonrpc":"2.0","id":7,"result":{"a":[1,-2.5,null,true]}}"#,
            call(7),
            ok(map(&[(
                "a",
                Value::List(vec![Value::Int(1), Value::Float(-2.5), Value::None, Value::Bool(true)]),
            )])),
        ),
        (r#" {"id":7 , "result":null,"jsonrpc":"2.0", "more":1} "#, call(7), ok(Value::None)),
        (r#"{"jsonrpc":"2.0","id":"ostler-3","result":{}}"#, Id::Own(3), ok(Value::Map(vec![]))),
        // What only looks marked is left as it is.
        (
            r#"{"jsonrpc":"2.0","id":1,"result":{"$bytes":"aGk="}}"#,
            call(1),
            ok(map(&[("$bytes", "aGk=".into())])),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"error":{"code":-3,"message":"no"}}"#,
            call(1),
            Err(RpcError::new(-3, "no")),
        ),
        (
            r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"?"}}"#,
            Id::Null,
            Err(RpcError::new(-32700, "?")),
        ),
        (r#"{"jsonrpc":"2.0","id":1.5,"result":1}"#, Id::Foreign(r#""1.5""#.into()), ok(Value::Int(1))),
        (r#"{"jsonrpc":"2.0","id":-1,"result":1}"#, Id::Foreign(r#""-1""#.into()), ok(Value::Int(1))),
    ] {
        assert_eq!(line(text), [Incoming::Answer { id, answer }], "{text}");
    }
}

#[test]
fn requests_and_notifications_are_told_by_whether_they_have_an_id() {
    let params = map(&[("n", 1.into())]);
    let method = || "ask".to_owned();
    assert_eq!(
        line(r#"{"jsonrpc":"2.0","id":"x\"y","method":"ask","params":{"n":1}}"#),
        [Incoming::Request { id: r#""x\"y""#.into(), method: method(), params: params.clone() }]
    );
    assert_eq!(
        line(r#"{"jsonrpc":"2.0","method":"ask","params":{"n":1}}"#),
        [Incoming::Notification { method: method(), params }]
    );
    assert_eq!(
        line(r#"{"jsonrpc":"2.0","method":"ask"}"#),
        [Incoming::Notification { method: method(), params: Value::None }]
    );
}

/// C12: a member that is missing or of a wrong type is blamed on the call that it is about.
#[test]
fn a_wrong_member_is_blamed_on_its_call_if_that_can_be_told() {
    let deep = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{}{}}}"#, "[".repeat(100), "]".repeat(100));
    for (text, id, what) in [
        (r#"{"jsonrpc":"2.0","id":7}"#, Some(7), "expected a member `result` or `error`, got neither"),
        (r#"{"jsonrpc":"2.0","id":7,"result":1,"error":{"code":1}}"#, Some(7), "got both"),
        (
            r#"{"jsonrpc":"1.0","id":7,"result":1}"#,
            Some(7),
            "member `jsonrpc`: expected \"2.0\", got \"1.0\"",
        ),
        (r#"{"id":7,"result":1}"#, Some(7), "member `jsonrpc`: expected \"2.0\", got nothing"),
        (r#"{"jsonrpc":"2.0","method":5}"#, None, "member `method`: expected text"),
        (r#"{"jsonrpc":"2.0"}"#, None, "expected a member `method` or `id`, got neither"),
        (&deep, Some(7), "member `result`: "),
    ] {
        let all = line(text);
        let [Incoming::Wrong { call, what: said }] = &all[..] else { panic!("{text}: {all:?}") };
        assert_eq!(call.map(ExecutionId::get), id, "{text}");
        assert!(said.contains(what), "{text}: {said}");
    }
}

/// Fault 23: what a program prints beside its messages is told from a message that is broken.
#[test]
fn lines_of_a_log_are_no_messages_and_half_a_message_is_no_log() {
    for stray in ["starting", "[INFO] starting", r#"{"level":"info","id":3}"#, "{oops", "5", "[]", "{}"] {
        assert_eq!(line(stray), [Incoming::NotAMessage], "{stray}");
    }
    assert_eq!(said(Framing::Lines, b"\xFF\xFE log"), [Incoming::NotAMessage]);
    assert_eq!(line("  \r"), []);
    for broken in [
        &br#"{"jsonrpc":"2.0","id":7,"result":"#[..],
        br#"loading... {"jsonrpc":"2.0","id":7,"result":1}"#,
        b"{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":\"\xFF\"}",
        br#"{"jsonrpc":"2.0","id":7,"result":1} INFO done"#,
    ] {
        let all = said(Framing::Lines, broken);
        assert!(
            matches!(&all[..], [Incoming::Broken(what)] if what.contains("not JSON as expected")),
            "{all:?}"
        );
    }
    for text in ["starting", "{}", "5", "[]"] {
        let all = said(Framing::ContentLength, text.as_bytes());
        assert!(
            matches!(&all[..], [Incoming::Broken(_)]),
            "{text}: in frames there are only messages, got {all:?}"
        );
    }
}

#[test]
fn a_batch_is_several_messages() {
    let all = line(r#"[{"jsonrpc":"2.0","id":1,"result":1},{"jsonrpc":"2.0","method":"a"},{"b":1}]"#);
    assert_eq!(all[0], Incoming::Answer { id: call(1), answer: Ok(Value::Int(1)) });
    assert_eq!(
        all[1..],
        [Incoming::Notification { method: "a".into(), params: Value::None }, Incoming::NotAMessage]
    );
}

fn cut(framing: Framing, stream: &[u8], limit: usize, step: usize) -> (Vec<String>, Option<String>, usize) {
    let mut cutter = Cutter::new(framing, limit);
    let mut texts = Vec::new();
    for piece in stream.chunks(step) {
        cutter.buffer().extend_from_slice(piece);
        loop {
            match cutter.next_message() {
                Ok(Some(text)) => texts.push(String::from_utf8_lossy(&text).into_owned()),
                Ok(None) => break,
                Err(error) => return (texts, Some(error), 0),
            }
        }
    }
    (texts, None, cutter.rest().len())
}

#[test]
fn texts_arrive_however_the_stream_is_cut() {
    for (framing, stream) in [
        (Framing::Lines, &b"one\ntwo\n\nthree\nfo"[..]),
        (Framing::ContentLength, b"Content-Length: 3\r\n\r\none\
          content-length:3\r\nContent-Type: x\r\n\r\ntwoContent-Length: 0\r\n\r\nContent-Length: 5\r\n\r\nthreeCo"),
    ] {
        for step in 1..=stream.len() {
            let (texts, error, rest) = cut(framing, stream, 100, step);
            assert_eq!((texts.join(","), error, rest), ("one,two,,three".into(), None, 2), "{framing:?} by {step}");
        }
    }
}

/// Fault 22: refused before more of it is kept than the limit.
#[test]
fn a_message_past_the_limit_is_refused_with_both_numbers() {
    let long = [&[b'x'; 200][..], b"\n"].concat();
    let (_, error, _) = cut(Framing::Lines, &long, 199, 201);
    assert!(error.unwrap().starts_with("a line of 200 bytes, the limit is 199; it begins \"xxx"));
    assert_eq!(cut(Framing::Lines, &long, 200, 7).0.len(), 1);
    let (_, error, _) = cut(Framing::Lines, &long[..150], 100, 50);
    assert!(error.unwrap().starts_with("a line of more than 100 bytes, the limit"));
    let (_, error, _) = cut(Framing::ContentLength, b"Content-Length: 101\r\n\r\n", 100, 5);
    assert_eq!(error.unwrap(), "a message of 101 bytes announced, the limit is 100");
    let (_, error, _) = cut(Framing::ContentLength, b"INFO starting\nhello", 100, 5);
    assert!(error.unwrap().starts_with("expected a header with `Content-Length`, got \"INFO starting"));
    for wrong in
        ["Content-Length: -1\r\n\r\n", "Content-Length: 99999999999999999999\r\n\r\n", "A: 1\r\n\r\n"]
    {
        assert!(cut(Framing::ContentLength, wrong.as_bytes(), 100, 64).1.is_some(), "{wrong}");
    }
}

fn written(style: Style, params: &Value) -> (String, Tokens) {
    let (text, tokens) =
        encode_call(style, Framing::Lines, ExecutionId(7), false, "m", params).expect("plain parameters");
    (String::from_utf8(text.to_vec()).unwrap(), tokens)
}

/// E16: the bytes of this dialect do not change by accident.
#[test]
fn what_is_sent_is_frozen() {
    let params = map(&[("a", 1.into()), ("$ref", "x".into())]);
    for (style, expected) in [
        (Style::Plain, r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"a":1,"$ref":"x"}}"#),
        (Style::Lsp, r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"a":1,"$ref":"x"}}"#),
        (
            Style::Mcp,
            r#"{"jsonrpc":"2.0","id":7,"method":"m","params":{"a":1,"$ref":"x","_meta":{"progressToken":7}}}"#,
        ),
    ] {
        assert_eq!(written(style, &params).0, format!("{expected}\n"));
    }
    assert_eq!(written(Style::Plain, &Value::None).0, "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"m\"}\n");
    let say = |style, saying: &Outgoing| {
        encode(style, Framing::Lines, saying).map(|text| String::from_utf8(text.to_vec()).unwrap())
    };
    let cancel = Outgoing::Cancel(ExecutionId(7));
    assert_eq!(say(Style::Plain, &cancel), None);
    let expected =
        "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":7}}\n";
    assert_eq!(say(Style::Mcp, &cancel).as_deref(), Some(expected));
    let expected = "{\"jsonrpc\":\"2.0\",\"method\":\"$/cancelRequest\",\"params\":{\"id\":7}}\n";
    assert_eq!(say(Style::Lsp, &cancel).as_deref(), Some(expected));
    let ask = Outgoing::Ask { own: 2, method: "ping".into(), params: None };
    let expected = "{\"jsonrpc\":\"2.0\",\"id\":\"ostler-2\",\"method\":\"ping\"}\n";
    assert_eq!(say(Style::Mcp, &ask).as_deref(), Some(expected));
    let refuse = Outgoing::Reply { id: "\"q\"".into(), answer: Err(RpcError::new(METHOD_NOT_FOUND, "no")) };
    let expected = "{\"jsonrpc\":\"2.0\",\"id\":\"q\",\"error\":{\"code\":-32601,\"message\":\"no\"}}\n";
    assert_eq!(say(Style::Mcp, &refuse).as_deref(), Some(expected));
    let framed = encode(Style::Lsp, Framing::ContentLength, &cancel).unwrap();
    assert!(framed.starts_with(b"Content-Length: 62\r\n\r\n{"), "{framed:?}");
}

#[test]
fn what_json_cannot_say_is_not_sent() {
    for (params, why) in [
        (Value::Int(5), "expected a map, a list or nothing"),
        (map(&[("f", f64::NAN.into())]), "JSON has no number `NaN`"),
        (map(&[("b", Value::Bytes(vec![1].into()))]), "JSON has no bytes"),
        (Value::Map(vec![(Value::Int(1), Value::None)]), "expected text as the key"),
    ] {
        let error = encode_call(Style::Mcp, Framing::Lines, ExecutionId(7), false, "m", &params)
            .unwrap_err()
            .to_string();
        assert!(error.contains(why), "{error}");
    }
}

/// What two callers call their progress never meets.
#[test]
fn tokens_of_callers_are_replaced_on_the_way_out_and_put_back_on_the_way_in() {
    let params = map(&[("_meta", map(&[("progressToken", "mine".into()), ("other", 1.into())]))]);
    let (text, tokens) = written(Style::Mcp, &params);
    assert!(text.contains(r#""_meta":{"other":1,"progressToken":7}"#), "{text}");
    let mut progress = map(&[("progressToken", 7.into()), ("progress", 1.into())]);
    assert_eq!(progress_of("notifications/progress", &progress), Some(ExecutionId(7)));
    tokens.restore("notifications/progress", &mut progress);
    assert_eq!(progress.get("progressToken"), Some(&"mine".into()));

    let params = map(&[("workDoneToken", "w".into()), ("partialResultToken", 9.into()), ("x", 1.into())]);
    let (text, tokens) = written(Style::Lsp, &params);
    assert!(text.contains(r#"{"workDoneToken":"7.work","partialResultToken":"7.partial","x":1}"#), "{text}");
    for (ours, theirs) in [("7.work", Value::from("w")), ("7.partial", Value::from(9))] {
        let mut progress = map(&[("token", ours.into())]);
        assert_eq!(progress_of("$/progress", &progress), Some(ExecutionId(7)));
        tokens.restore("$/progress", &mut progress);
        assert_eq!(progress.get("token"), Some(&theirs));
    }
    for foreign in ["x", "7.other", "a.work"] {
        assert_eq!(progress_of("$/progress", &map(&[("token", foreign.into())])), None);
    }
}

/// C11: the page says what is said.
#[test]
fn the_conversation_of_the_page_is_what_is_said() {
    let page = include_str!("../../../../JSONRPC.md");
    let spoken = |who: &str| -> Vec<&str> {
        page.lines().filter_map(|line| line.strip_prefix(who)?.strip_prefix("  ")).map(str::trim).collect()
    };
    let ask = |own, method: &str, params: Option<&str>| Outgoing::Ask {
        own,
        method: method.into(),
        params: params.map(Into::into),
    };
    let call = |id, method, params: &[(&str, Value)]| {
        let written =
            encode_call(Style::Mcp, Framing::Lines, ExecutionId(id), false, method, &map(params)).unwrap();
        String::from_utf8(written.0.to_vec()).unwrap()
    };
    let say = |saying: Outgoing| {
        let text = encode(Style::Mcp, Framing::Lines, &saying).unwrap();
        String::from_utf8(text.to_vec()).unwrap()
    };
    let refused = RpcError::new(METHOD_NOT_FOUND, "`roots/list` cannot be answered: no request is in flight");
    let expected = [
        say(ask(1, "initialize", Some("{…}"))),
        say(Outgoing::Note { method: "notifications/initialized".into(), params: None }),
        call(7, "tools/call", &[("name", "add".into())]),
        call(8, "tools/list", &[]),
        say(Outgoing::Cancel(ExecutionId(7))),
        say(ask(2, "ping", None)),
        say(Outgoing::Reply { id: "\"a\"".into(), answer: Err(refused) }),
    ];
    let expected: Vec<_> = expected.iter().map(|line| line.trim()).collect();
    assert_eq!(spoken("host  "), expected);
    for text in spoken("server") {
        let all = line(text);
        let whole = matches!(
            &all[..],
            [Incoming::Answer { .. } | Incoming::Notification { .. } | Incoming::Request { .. }]
        );
        assert!(whole, "{text}: {all:?}");
    }
    assert_eq!(spoken("server").len(), 6);
}

/// `tests/leaks` floods a host with each of these lines: a kind of message that is new must be among them.
#[test]
fn every_kind_of_message_is_among_the_lines_to_flood_with() {
    const KINDS: [&str; 9] =
        ["call", "own", "null", "foreign", "notification", "request", "wrong", "broken", "stray"];
    let kind = |said: &Incoming| match said {
        Incoming::Answer { id: Id::Call(_), .. } => "call",
        Incoming::Answer { id: Id::Own(_), .. } => "own",
        Incoming::Answer { id: Id::Null, .. } => "null",
        Incoming::Answer { id: Id::Foreign(_), .. } => "foreign",
        Incoming::Notification { .. } => "notification",
        Incoming::Request { .. } => "request",
        Incoming::Wrong { .. } => "wrong",
        Incoming::Broken(_) => "broken",
        Incoming::NotAMessage => "stray",
    };
    let lines = server_lines::SERVER_LINES.map(|(_, text)| text.replace("CALL", "7"));
    let there: Vec<_> = lines.iter().flat_map(|text| line(text)).map(|said| kind(&said)).collect();
    let missing: Vec<_> = KINDS.iter().filter(|kind| !there.contains(kind)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

/// P11: a few bytes of a batch become many messages.
#[test]
fn a_batch_has_a_bound_in_number_and_in_memory() {
    let many = format!("[{}1]", "1,".repeat(BATCH_MAX));
    assert_eq!(line(&many), [Incoming::NotAMessage], "it is no batch");
    let note =
        r#"{"jsonrpc":"2.0","method":"n","params":[PARAMS]}"#.replace("PARAMS", &["1"; 100_000].join(","));
    let large = format!("[{}]", vec![note; 100].join(","));
    let said = line(&large);
    assert!(
        matches!(said.last(), Some(Incoming::Broken(what)) if what.contains("batch")),
        "{} messages",
        said.len()
    );
    let held: usize = said.iter().map(Incoming::heap_size).sum();
    assert!(held < 2 * crate::FRAME_LEN_MAX + large.len(), "{held} bytes");
}
