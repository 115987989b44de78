//! `ostler run`.

use serde_json::Value;

use crate::program::{Ended, Scratch};

fn run_code(code: &str) -> Ended {
    Scratch::new().ostler(&["run", "-c", code]).run("")
}

#[test]
fn the_exit_code_says_how_it_ended() {
    for (code, expected) in [
        ("pass", 0),
        ("1/0", 1),
        ("(", 1),
        ("import sys; sys.exit(7)", 7),
        ("import sys; sys.exit(-1)", 255),
        ("import sys; sys.exit()", 0),
        ("raise SystemExit('bye')", 1),
        ("import os; os._exit(9)", 9),
        ("import os, sys; os.execv(sys.executable, [sys.executable, '-c', 'raise SystemExit(6)'])", 6),
        ("import os; os.kill(os.getpid(), 9)", 128 + 9),
        ("import os; os.kill(os.getpid(), 15)", 128 + 15),
        ("import os; os.abort()", 128 + 6),
    ] {
        let ended = run_code(code);
        assert_eq!(ended.code, Some(expected), "{code}: {}", ended.err());
    }
}

#[test]
fn a_text_given_to_exit_is_printed_once() {
    assert_eq!(run_code("import sys; sys.exit('bye')").expect(1).err(), "bye\n");
    assert_eq!(run_code("import sys; sys.exit(5)").expect(5).err(), "");
}

#[test]
fn wrong_usage_ends_with_2_before_anything_runs() {
    let scratch = Scratch::new();
    scratch.file("good.py", "print('ran')");
    for (args, expected) in [
        (&["run"][..], "required"),
        (&["run", "missing.py"], "ostler: cannot run `missing.py`: there is no such file; check its path\n"),
        (
            &["run", "good.py", "1000"],
            "there is no such file; check its path; arguments for the code follow `--`\n",
        ),
        (
            &["run", "."],
            "ostler: cannot run `.`: it is a folder without a `__main__.py`; name the files in it\n",
        ),
        (&["run", "-", "-"], "named twice"),
        (&["run", "good.py", "--deadline", "30"], "30s"),
        (&["run", "good.py", "--workers", "0"], "1..=1024"),
        (&["run", "good.py", "--warmup", "import json"], "--warmup is of no use to `ostler run`"),
        (&["repl", "--warmup", "@missing"], "cannot read warmup file `missing`"),
        (&["walk"], "unrecognized"),
    ] {
        let ended = scratch.ostler(args).run("").expect(2);
        assert!(ended.err().contains(expected), "{args:?}: {}", ended.err());
        assert_eq!(ended.out(), "", "{args:?}");
    }
}

#[test]
fn an_interpreter_that_is_missing_ends_with_5() {
    let ended = Scratch::new().ostler(&["run", "-c", "1", "--python", "/no/such/python"]).run("").expect(5);
    assert!(
        ended.err().starts_with("ostler: worker program `/no/such/python` was not found"),
        "{}",
        ended.err()
    );
}

#[test]
fn a_warmup_that_fails_ends_with_5() {
    let ended = Scratch::new().ostler(&["repl", "--warmup", "1/0"]).run("").expect(5);
    assert!(ended.err().contains("ZeroDivisionError"), "{}", ended.err());
}

#[test]
fn a_deadline_ends_with_4() {
    let ended =
        Scratch::new().ostler(&["run", "-c", "while True: pass", "--deadline", "300ms"]).run("").expect(4);
    // The code may say in the meantime that it was interrupted.
    let told = ended.err();
    let expected = "ostler: `-c`: timed out after 300ms while its code ran\n    execution ";
    assert!(told.contains(expected), "what it was doing: {told}");
}

#[test]
fn a_lost_worker_is_named_with_its_cause() {
    let ended = run_code("import os; os.kill(os.getpid(), 9)").expect(128 + 9);
    let expected = "ostler: `-c`: lost while its code ran: the worker ended by itself (signal 9, SIGKILL)\n";
    assert_eq!(ended.err(), expected);
}

#[test]
fn input_comes_from_standard_input_until_its_end() {
    let scratch = Scratch::new();
    let code = "
import sys
print('hello', input('who? '))
for line in sys.stdin:
    print(repr(line))
try:
    input()
except EOFError:
    print('end')
";
    scratch.file("ask.py", code);
    let ended = scratch.ostler(&["run", "ask.py"]).run("Ada\none\ntwo\n").expect(0);
    assert_eq!(ended.out(), "who? hello Ada\n'one\\n'\n'two\\n'\nend\n");
}

#[test]
fn code_from_standard_input_finds_its_input_at_the_end() {
    let ended =
        Scratch::new().ostler(&["run", "-"]).run("try: input()\nexcept EOFError: print('end')\n").expect(0);
    assert_eq!(ended.out(), "end\n");
}

#[test]
fn output_arrives_while_the_code_runs() {
    let scratch = Scratch::new();
    let mut running = scratch.ostler(&["run", "-c", "print('before')\nprint(input())"]).start();
    assert_eq!(running.line(), "before");
    running.say("after\n");
    assert_eq!(running.line(), "after");
    running.end().expect(0);
}

#[test]
fn bytes_arrive_as_they_are_and_in_order() {
    let code = "
import os, sys
for number in range(500):
    print(number)
    os.write(1, b'\\xff\\x00\\r' + str(number).encode() + b'\\n')
sys.stdout.write('no end of line')
";
    let mut expected = Vec::new();
    for number in 0..500 {
        expected.extend_from_slice(format!("{number}\n").as_bytes());
        expected.extend_from_slice(b"\xff\x00\r");
        expected.extend_from_slice(format!("{number}\n").as_bytes());
    }
    expected.extend_from_slice(b"no end of line");
    assert!(run_code(code).expect(0).stdout == expected, "output differs");
}

#[test]
fn stderr_is_stderr() {
    let ended = run_code("import sys; print('one'); print('two', file=sys.stderr)").expect(0);
    assert_eq!((ended.out(), ended.err()), ("one\n", "two\n"));
}

#[test]
fn several_files_run_at_the_same_time() {
    let scratch = Scratch::new();
    // Each end of a named pipe waits until somebody opens the other.
    scratch.file(
        "a.py",
        "import os; os.mkfifo('made'); os.rename('made', 'pipe')\nopen('pipe', 'w').write('hello')",
    );
    let reader = "import os\nwhile not os.path.exists('pipe'): pass\nprint(open('pipe').read())";
    scratch.file("b.py", reader);
    let ended = scratch.ostler(&["run", "a.py", "b.py", "--workers", "2"]).run("").expect(0);
    assert_eq!(ended.out(), "b.py | hello\n");
    assert!(
        ended.err().starts_with("2 files in ") && ended.err().ends_with(": 2 completed\n"),
        "{}",
        ended.err()
    );
}

#[test]
fn several_files_are_told_apart_and_summed_up() {
    let scratch = Scratch::new();
    scratch.file("jobs/good.py", "import sys\nfor i in range(3): print('line', i)\nsys.stdout.write('rest')");
    scratch.file(
        "jobs/bad.py",
        "import sys; print('see'); print('oh', file=sys.stderr); raise ValueError('no')",
    );
    scratch.file("jobs/exit.py", "raise SystemExit(3)");
    let args = ["run", "jobs/good.py", "jobs/bad.py", "jobs/exit.py", "--workers", "1"];
    let ended = scratch.ostler(&args).run("").expect(1);
    assert_eq!(
        ended.out(),
        "good.py | line 0\ngood.py | line 1\ngood.py | line 2\ngood.py | rest\nbad.py  | see\n"
    );
    let (before, summary) = ended.err().split_once("3 files in ").unwrap();
    assert!(before.starts_with("bad.py  | oh\nbad.py  | Traceback (most recent call last):\n"), "{before}");
    assert!(before.ends_with("bad.py  | ValueError: no\n"), "{before}");
    let expected = "1 completed, 2 failed\n  jobs/bad.py   ValueError: no\n  jobs/exit.py  the code asked to exit with code 3\n";
    assert!(summary.ends_with(expected), "{summary}");
    let quiet = scratch.ostler(&["run", "-q", "jobs/good.py", "jobs/exit.py"]).run("").expect(1);
    assert_eq!(quiet.err(), "");
}

#[test]
fn json_is_one_event_a_line() {
    let scratch = Scratch::new();
    let code = "import os, sys\nprint('é')\nos.write(2, b'\\xff')\nprint(input('who? '))\nraise ValueError('no\\nmore')";
    scratch.file("a.py", code);
    scratch.file("b.py", "import sys; sys.exit(4)");
    let ended = scratch.ostler(&["run", "--json", "--workers", "1", "a.py", "b.py"]).run("Ada\n").expect(1);
    assert_eq!(ended.err(), "");
    let events: Vec<Value> = ended.out().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |label: &str, event: &str| -> Vec<&Value> {
        events.iter().filter(|line| line["label"] == label && line["event"] == event).collect()
    };
    assert!(of("a.py", "started")[0]["pid"].is_u64());
    let text: String = of("a.py", "output").iter().filter_map(|line| line["text"].as_str()).collect();
    assert!(text.contains("é\n") && text.contains("who? Ada\n"), "{text}");
    let bytes = of("a.py", "output").into_iter().find(|line| line["base64"].is_string()).unwrap();
    assert!(bytes["base64"].as_str().unwrap().starts_with('/'), "{bytes}");
    let outcome = of("a.py", "outcome")[0];
    assert_eq!(outcome["outcome"], "failed");
    assert_eq!(outcome["message"], "ValueError: no");
    assert_eq!(outcome["exit_code"], 1);
    assert!(outcome["duration"].as_f64().unwrap() > 0.0);
    assert_eq!(of("b.py", "outcome")[0]["exit_code"], 4);
    let summary = events.last().unwrap();
    assert_eq!((&summary["event"], &summary["failed"]), (&"summary".into(), &2.into()));
    assert_eq!(summary["exit_code"], 1);
    let one_id = |label: &str| {
        let mut ids =
            events.iter().filter(|line| line["label"] == label).map(|line| line["id"].as_u64().unwrap());
        let first = ids.next().unwrap();
        assert!(ids.all(|id| id == first));
        first
    };
    assert_ne!(one_id("a.py"), one_id("b.py"));
}

#[test]
fn preloaded_modules_are_there_and_a_missing_one_ends_with_5() {
    let scratch = Scratch::new();
    scratch.file("a.py", "import sys; print('decimal' in sys.modules, sys.argv)");
    let ended = scratch.ostler(&["run", "a.py", "--preload", "json,decimal"]).run("").expect(0);
    assert_eq!(ended.out(), "True ['a.py']\n");
    let ended = scratch.ostler(&["run", "a.py", "--preload", "json,no_such_module"]).run("").expect(5);
    assert!(ended.err().contains("failed to preload module `no_such_module`"), "{}", ended.err());
    let ended = scratch.ostler(&["run", "a.py", "--preload", "json,"]).run("").expect(2);
    assert!(ended.err().contains("`preload`: expected the name of a module"), "{}", ended.err());
}

#[test]
fn the_trace_goes_to_stderr() {
    let ended = Scratch::new().ostler(&["run", "-v", "-c", "print(1)"]).run("").expect(0);
    assert_eq!(ended.out(), "1\n");
    assert!(ended.err().contains("script started"), "{}", ended.err());
}

#[test]
fn the_help_lists_what_the_program_does() {
    let scratch = Scratch::new();
    let ended = scratch.ostler(&["--version"]).run("").expect(0);
    assert_eq!(ended.out(), format!("ostler {}\n", env!("CARGO_PKG_VERSION")));
    for (args, expected) in [
        (&["--help"][..], "ostler run hello.py"),
        (&["run", "--help"], "Exit codes:"),
        (&["repl", "--help"], "Ctrl-D"),
        (&["doctor", "--help"], "ostler doctor --python"),
    ] {
        let ended = scratch.ostler(args).run("").expect(0);
        assert!(ended.out().contains(expected), "{args:?}: {}", ended.out());
    }
}

#[test]
fn the_figures_of_a_run_are_printed_at_its_end() {
    let scratch = Scratch::new();
    scratch.file("a.py", "import time; time.sleep(1.3)");
    scratch.file("b.py", "1 / 0");
    let ended =
        scratch.ostler(&["run", "--stats", "--quiet", "a.py", "b.py", "--workers", "2"]).run("").expect(1);
    let (_, table) = ended.err().split_once("requests    ").unwrap();
    assert!(table.starts_with("1 completed, 1 failed\nthroughput  "), "{table}");
    assert!(table.contains("\nqueue wait  ") && table.contains("\nrun time  "), "{table}");
    assert!(table.contains("\nworkers     2 started, 0 crashed, 0 recycled\nmemory      "), "{table}");
    assert!(table.ends_with(" MiB at most, in one worker\n"), "{table}");
}
