//! `ostler call`.

use std::path::Path;

use serde_json::{Value, json};

use crate::program::{Ended, Scratch};

/// The server of the library's tests, which does what its requests say.
fn server() -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/process/rpc/server.py");
    format!("python3 -u '{}'", script.display())
}

fn call(scratch: &Scratch, args: &[&str], input: &str) -> Ended {
    scratch.ostler(&[&["call", "--server", &server()], args].concat()).run(input)
}

fn events(ended: &Ended) -> Vec<Value> {
    ended.out().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn one_call_prints_its_result_as_json() {
    let scratch = Scratch::new();
    let ended = call(&scratch, &["echo", r#"{"a": [1, "ü"], "$ref": null}"#], "").expect(0);
    let printed: Value = serde_json::from_str(ended.out()).unwrap();
    assert_eq!(printed, json!({"a": [1, "ü"], "$ref": null}));
    assert!(ended.out().contains("\n  \"a\""), "for a person: {}", ended.out());
    assert_eq!(call(&scratch, &["echo", "{}", "--mcp"], "").expect(0).out(), "{}\n");
    let framed = format!("{} --framed", server());
    let ended = scratch.ostler(&["call", "-s", &framed, "--content-length", "echo", "{}"]).run("").expect(0);
    assert_eq!((ended.out(), ended.err()), ("{}\n", ""));
}

/// The same numbers as `ostler run`.
#[test]
fn the_exit_code_says_how_it_ended_and_stderr_why() {
    let scratch = Scratch::new();
    for (args, code, said) in [
        (
            &["fail", "{}"][..],
            1,
            "ostler: fail: the server answered with an error: it failed (code 13): {\"why\":\"{}\"}",
        ),
        (&["no-such"], 1, "no method no-such (code -32601)"),
        (&["echo", "{"], 2, "the parameters are not JSON"),
        (&["echo", "5"], 2, "the parameters are an object or a list"),
        (&[], 2, "required"),
        (&["echo", "--calls", "x"], 2, "cannot be used with"),
        (&["die", "{}"], 3, "the worker ended by itself (exit code 7)"),
        (&["sleep", r#"{"s": 60}"#, "--deadline", "300ms"], 4, "timed out after 300ms"),
    ] {
        let ended = call(&scratch, args, "").expect(code);
        assert!(ended.err().contains(said), "{args:?}: {}", ended.err());
        assert_eq!(ended.out(), "", "{args:?}");
    }
    for (server, code, said) in [
        ("no-such-server", 5, "worker program `no-such-server` was not found in PATH"),
        ("sh -c 'echo no licence >&2; exit 9'", 5, "no licence"),
        ("server 'x", 2, "opens a quote"),
        ("", 2, "--server is empty"),
    ] {
        let ended = scratch.ostler(&["call", "--mcp", "--server", server, "echo"]).run("").expect(code);
        assert!(ended.err().contains(said), "{server}: {}", ended.err());
    }
    let ended = scratch.ostler(&["call", "echo"]).run("").expect(2);
    assert!(ended.err().contains("no server to call: give --server"), "{}", ended.err());
}

/// B10: results come in the order of the lines, from as few processes as were asked for.
#[test]
fn a_file_of_calls_goes_over_a_pool_and_its_results_come_in_order() {
    let scratch = Scratch::new();
    let line = |n: usize| json!({"method": "echo", "params": {"n": n}}).to_string();
    let first = json!({"method": "sleep", "params": {"s": 0.3}}).to_string();
    let lines: Vec<String> = std::iter::once(first).chain((0..50).map(line)).collect();
    scratch.file("calls.jsonl", lines.join("\n"));
    let ended = call(&scratch, &["--calls", "calls.jsonl", "--stats"], "").expect(0);
    let expected: Vec<String> =
        std::iter::once("\"slept\"".to_owned()).chain((0..50).map(|n| json!({"n": n}).to_string())).collect();
    assert_eq!(ended.out().lines().collect::<Vec<_>>(), expected);
    assert!(
        ended.err().contains("51 calls in ") && ended.err().contains(": 51 completed"),
        "{}",
        ended.err()
    );

    let calls = "{\"method\":\"pid\"}\n\n{\"method\":\"fail\",\"params\":{}}\n";
    let ended = call(&scratch, &["--calls", "-", "--workers", "2"], calls).expect(1);
    assert_eq!(ended.out().lines().count(), 1);
    assert!(
        ended.err().contains("ostler: -:3: `fail`: the server answered with an error"),
        "{}",
        ended.err()
    );
    let ended = call(&scratch, &["--calls", "-"], "{\"method\":\"pid\"}\n{oops\n").expect(2);
    assert!(ended.err().contains("-:2: expected an object with `method`"), "{}", ended.err());
    assert!(call(&scratch, &["--calls", "missing"], "").expect(2).err().contains("missing"));
}

#[test]
fn json_has_an_event_for_everything() {
    let scratch = Scratch::new();
    let calls = [
        json!({"method": "notes", "params": {"n": 1}, "label": "noted"}),
        json!({"method": "fail", "params": {}}),
        json!({"method": "die", "params": {}}),
    ];
    let calls: Vec<String> = calls.iter().map(Value::to_string).collect();
    let args = ["--calls", "-", "--json", "--in-flight", "1"];
    let all = events(&call(&scratch, &args, &calls.join("\n")).expect(3));
    let [note, noted, failed, lost, summary] = &all[..] else { panic!("{all:#?}") };
    assert_eq!((&note["event"], &note["method"]), (&json!("notification"), &json!("note")));
    assert_eq!((&note["label"], &note["params"]["n"]), (&json!("noted"), &json!(0)));
    assert_eq!((&noted["outcome"], &noted["result"]), (&json!("completed"), &json!("noted")));
    let error = json!({"code": 13, "message": "it failed", "data": {"why": "{}"}});
    assert_eq!((&failed["outcome"], &failed["error"]), (&json!("failed"), &error));
    assert_eq!((&lost["outcome"], &lost["started"]), (&json!("lost"), &json!(true)));
    assert_eq!((&summary["event"], &summary["completed"]), (&json!("summary"), &json!(1)));
    assert_eq!((&summary["lost"], &summary["exit_code"]), (&json!(1), &json!(3)));
}

#[test]
fn ctrl_c_cancels_what_is_called_and_begins_no_more() {
    let scratch = Scratch::new();
    let calls = "{\"method\":\"notes\",\"params\":{\"n\":1}}\n\
        {\"method\":\"sleep\",\"params\":{\"s\":60,\"says\":\"asleep\"}}\n{\"method\":\"echo\",\"params\":{}}\n";
    scratch.file("calls.jsonl", calls);
    let command = format!("{} --mcp", server());
    let args = ["call", "-s", &command, "--mcp", "--calls", "calls.jsonl", "--json", "--in-flight", "1"];
    let mut running = scratch.ostler(&args).start();
    running.until("\"asleep\"");
    running.signal(rustix::process::Signal::INT);
    let ended = running.end().expect(130);
    let last = events(&ended).pop().unwrap();
    assert_eq!((&last["cancelled"], &last["not_run"]), (&json!(1), &json!(1)), "{last}");
}

/// Digits are not rounded on the way in or out, and an error of a server is shown in whichever form it comes.
#[test]
fn what_is_shown_is_what_the_server_said() {
    let scratch = Scratch::new();
    let wei = r#"{"wei":12345678901234567890123}"#;
    let shown = "{\n  \"wei\": 12345678901234567890123\n}\n";
    assert_eq!(call(&scratch, &["echo", wei], "").expect(0).out(), shown);
    let file = format!("{{\"method\":\"echo\",\"params\":{wei}}}\n");
    assert_eq!(call(&scratch, &["--calls", "-"], &file).expect(0).out(), format!("{wei}\n"));
    let json = call(&scratch, &["--json", "echo", wei], "").expect(0);
    assert!(json.out().contains(&format!("\"result\":{wei}")), "{}", json.out());
    for (error, told) in
        [("\"quota used up\"", "quota used up"), (r#"{"code":"E1","message":"no"}"#, "E1: no")]
    {
        let answer = format!("{{\"jsonrpc\":\"2.0\",\"id\":\"$ID\",\"error\":{error}}}\n");
        let params = json!({"text": answer, "answer": false}).to_string();
        let ended = call(&scratch, &["raw", &params], "").expect(1);
        assert!(
            ended.err().contains(&format!("the server answered with an error: {told}\n")),
            "{}",
            ended.err()
        );
    }
}

/// A server that installs itself first, as `npx` and `uvx` have it.
#[test]
fn a_slow_start_has_an_option_which_the_error_names() {
    let scratch = Scratch::new();
    let server = format!("sh -c 'sleep 2; exec {} --mcp'", server().replace('\'', "\""));
    let args = ["call", "--mcp", "-s", &server, "echo", "{}"];
    let ended = scratch.ostler(&[&args[..], &["--ready-timeout", "500ms"]].concat()).run("").expect(5);
    for named in ["not ready after 500ms", "--ready-timeout 2m", "OSTLER_POOL_READY_TIMEOUT=2m"] {
        assert!(ended.err().contains(named), "{}", ended.err());
    }
    let ended = scratch.ostler(&[&args[..], &["--ready-timeout", "5m"]].concat()).run("").expect(0);
    assert_eq!(ended.out(), "{}\n");
    let variable = |time| scratch.ostler(&args).env("OSTLER_POOL_READY_TIMEOUT", time);
    assert!(variable("500ms").run("").expect(5).err().contains("not ready after 500ms"));
    assert_eq!(variable("5m").run("").expect(0).out(), "{}\n");
}

/// JSON lacks them, so they are shown as text.
#[test]
fn numbers_that_json_lacks_are_shown() {
    let scratch = Scratch::new();
    let code = "import json\nid = json.loads(input())['id']\n\
        print(json.dumps({'jsonrpc': '2.0', 'id': id, 'result': [float('nan'), {'x': -float('inf')}]}), flush=True)\ninput()";
    scratch.file("server.py", code);
    let ended =
        scratch.ostler(&["call", "-s", "python3 server.py", "f", "--quiet", "--json"]).run("").expect(0);
    assert!(ended.out().contains(r#""result":["NaN",{"x":"-Infinity"}]"#), "{}", ended.out());
}
