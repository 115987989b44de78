//! `ostler run FILE` is `python FILE`: what a file finds, and what is found of it.

use crate::program::{Program, Scratch};

#[test]
fn a_file_finds_what_python_would_give_it() {
    let scratch = Scratch::new();
    scratch.file("lib/beside.py", "WHERE = 'beside'");
    let code = "
import os, sys, beside
print(sys.argv, __file__, __name__, sys.path[0], os.getcwd(), os.environ['OF_THE_USER'], beside.WHERE)
print([name for name in sorted(globals()) if not name.startswith('__')])
";
    scratch.file("lib/script.py", code);
    std::os::unix::fs::symlink("lib/script.py", scratch.path().join("link.py")).unwrap();
    for file in ["lib/script.py", "./lib/../lib/script.py", "link.py"] {
        let python =
            Program::new("python3", &[file, "-x", "a b"], scratch.path()).env("OF_THE_USER", "yes").run("");
        let ours =
            scratch.ostler(&["run", file, "--", "-x", "a b"]).env("OF_THE_USER", "yes").run("").expect(0);
        // `..` in a name is not Python's to resolve, nor ours.
        assert_eq!(ours.out(), python.expect(0).out(), "{file}");
        assert_eq!(ours.err(), "");
    }
}

#[test]
fn code_and_standard_input_find_what_python_would_give_them() {
    let scratch = Scratch::new();
    let code =
        "import sys; print(sys.argv, repr(sys.path[0]), __name__, globals().get('__file__'))\n40 + 2\n";
    let python = Program::new("python3", &["-c", code, "x"], scratch.path()).run("").expect(0);
    assert_eq!(scratch.ostler(&["run", "-c", code, "--", "x"]).run("").expect(0).out(), python.out());
    let python = Program::new("python3", &["-", "x"], scratch.path()).run(code).expect(0);
    assert_eq!(scratch.ostler(&["run", "-", "--", "x"]).run(code).expect(0).out(), python.out());
}

#[test]
fn modules_are_found_where_python_finds_them() {
    let scratch = Scratch::new();
    let version = ostler::python_info("python3").unwrap().version;
    let (version, _patch) = version.rsplit_once('.').unwrap();
    scratch.file(&format!("base/lib/python{version}/site-packages/mine.py"), "");
    scratch.file("lib/beside.py", "");
    scratch.file("script.py", "import sys; print('\\n'.join(sys.path))");
    let base = scratch.path().join("base");
    let set = |program: Program| {
        program.env("PYTHONPATH", "lib:/else/where").env("PYTHONUSERBASE", base.to_str().unwrap())
    };
    let python = set(Program::new("python3", &["script.py"], scratch.path())).run("").expect(0);
    let ours = set(scratch.ostler(&["run", "script.py"])).run("").expect(0);
    assert_eq!(ours.out(), python.out());
}

#[test]
fn a_traceback_is_the_one_of_python() {
    let scratch = Scratch::new();
    scratch.file("bad.py", "def f():\n    return 1 / 0\n\nf()\n");
    let python = Program::new("python3", &["bad.py"], scratch.path()).run("").expect(1);
    let ours = scratch.ostler(&["run", "bad.py"]).run("").expect(1);
    assert_eq!(ours.err(), python.err());
    assert_eq!(ours.out(), "");
}

/// Case c17: the coding line says how a file is read, and Python says what is wrong with it.
#[test]
fn a_file_is_read_by_its_coding_line() {
    let scratch = Scratch::new();
    scratch.file("latin.py", b"# -*- coding: latin-1 -*-\nprint(ascii('caf\xE9'))\n");
    assert_eq!(scratch.ostler(&["run", "latin.py"]).run("").expect(0).out(), "'caf\\xe9'\n");
    scratch.file("wrong.py", b"x = 1\ny = '\xE9'\n");
    let python = Program::new("python3", &["wrong.py"], scratch.path()).run("").expect(1);
    assert_eq!(scratch.ostler(&["run", "wrong.py"]).run("").expect(1).err(), python.err());
}

/// Case c16: any name and any argument that the system allows.
#[test]
fn names_and_arguments_are_bytes() {
    use std::os::unix::ffi::OsStrExt as _;
    let scratch = Scratch::new();
    let name = std::ffi::OsStr::from_bytes(b"caf\xE9.py");
    std::fs::write(scratch.path().join(name), "import sys; print(ascii(sys.argv))").unwrap();
    let ended = scratch.ostler_os(&["run".as_ref(), name, "--".as_ref(), name]).run("").expect(0);
    assert_eq!(ended.out(), "['caf\\udce9.py', 'caf\\udce9.py']\n");
}

/// Case c15.
#[test]
fn variables_that_steer_python_steer_it() {
    let scratch = Scratch::new();
    let code = "import sys; print(hash('a'), sys.flags.dev_mode, sys.warnoptions)";
    let run = || {
        let program = scratch.ostler(&["run", "-c", code]);
        let program = program.env("PYTHONHASHSEED", "7").env("PYTHONDEVMODE", "1");
        program.env("PYTHONWARNINGS", "error").run("").expect(0)
    };
    let (first, second) = (run(), run());
    assert_eq!(first.out(), second.out());
    assert!(first.out().contains(" True ['"), "{}", first.out());
}

/// What only the start of an interpreter reads is heeded by a file that is forked, too: it is started then.
#[test]
fn variables_and_bytes_reach_a_forked_file_as_they_reach_python() {
    let scratch = Scratch::new();
    let by_python = |code: &str| Program::new("python3", &["-c", code], scratch.path());
    let forked = |code: &str| scratch.ostler(&["run", "--preload", "json", "-c", code]);
    for (name, value, code) in [
        ("PYTHONHASHSEED", "7", "print(hash('a'))"),
        ("PYTHONOPTIMIZE", "1", "assert 0; print(__debug__)"),
        ("PYTHONIOENCODING", "latin-1:replace", "import sys; print(sys.stdout.encoding, sys.stdout.errors)"),
        ("PYTHONUNBUFFERED", "1", "import os; print('kept', end=''); os._exit(0)"),
        ("PYTHONDONTWRITEBYTECODE", "1", "import sys; print(sys.dont_write_bytecode)"),
        ("PYTHONFAULTHANDLER", "1", "import faulthandler; print(faulthandler.is_enabled())"),
        ("NONE", "1", "import sys; print([*map(ascii, sys.stdin)], sys.stdin)"),
    ] {
        let input = "a\r\nb\r";
        let expected = by_python(code).env(name, value).run(input).expect(0);
        assert_eq!(
            forked(code).env(name, value).run(input).expect(0).out(),
            expected.out(),
            "{name}={value}"
        );
    }
}

/// Folders and zip files run by their `__main__`.
#[test]
fn a_folder_with_a_main_is_run() {
    let scratch = Scratch::new();
    scratch.file("tool/__main__.py", "import helper; print(helper.NAME, __name__)");
    scratch.file("tool/helper.py", "NAME = 'beside'");
    assert_eq!(scratch.ostler(&["run", "tool"]).run("").expect(0).out(), "beside __main__\n");
}

/// Case c18.
#[test]
fn a_full_disk_is_an_error() {
    let scratch = Scratch::new();
    let script = format!("{} run -c 'print(1)' > /dev/full", env!("CARGO_BIN_EXE_ostler"));
    let ended = Program::new("sh", &["-c", &script], scratch.path()).run("");
    assert!(ended.code != Some(0) && ended.err().contains("No space left on device"), "{}", ended.err());
}

/// As c18, for what the program itself prints; and who has no reader any more ends as other programs do.
#[test]
fn every_command_tells_by_its_exit_code_that_its_output_went_nowhere() {
    let scratch = Scratch::new();
    scratch.file("states/analysis/analysis/0", "");
    let server = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/process/rpc/server.py");
    let commands = [
        "config --print-default".to_owned(),
        "sessions --state-dir states".to_owned(),
        format!("call --server 'python3 {server}' echo '{{}}'"),
        "repl".to_owned(),
    ];
    for command in commands {
        let command = format!("echo 1 | {} {command}", env!("CARGO_BIN_EXE_ostler"));
        let full = Program::new("sh", &["-c", &format!("{command} > /dev/full")], scratch.path()).run("");
        let told = "ostler: cannot write to standard output: No space left on device (os error 28)\n";
        assert_eq!((full.expect(1).err(), command.as_str()), (told, command.as_str()));
        // Its reader has ended before it begins.
        let closed = format!("mkfifo gone; (exec 3< gone) & ({command}; echo $? >&2) > gone; rm gone");
        let ended = Program::new("sh", &["-c", &closed], scratch.path()).run("");
        assert_eq!((ended.err(), command.as_str()), ("141\n", command.as_str()));
    }
}

/// A conversation is not gone on with for nobody, also while a statement runs.
#[test]
fn a_session_ends_when_nobody_reads_what_it_shows() {
    let scratch = Scratch::new();
    let code = "import time\nfor i in range(100000): print(i, flush=True)\n\ntime.sleep(1000)\n";
    for input in [code, "import time\nwhile True: print(1, flush=True); time.sleep(0.01)\n\n1\n"] {
        let mut running = scratch.ostler(&["repl"]).start();
        running.say(input);
        running.line();
        running.close_stdout();
        assert_eq!(running.end().expect(141).err(), "");
    }
}

/// Case c10: one line of 70 MB, which is longer than any frame.
#[test]
fn a_line_of_input_that_is_longer_than_a_frame_reaches_the_script() {
    let scratch = Scratch::new();
    let code = "import sys; print(len(sys.stdin.read().rstrip('\\n')))";
    let script = format!(
        "head -c 70000000 /dev/zero | tr '\\0' x | {} run -c \"{code}\"",
        env!("CARGO_BIN_EXE_ostler")
    );
    let ended = Program::new("sh", &["-c", &script], scratch.path()).run("").expect(0);
    assert_eq!(ended.out(), "70000000\n");
}

/// Case c14: what one file leaves behind no other finds.
#[test]
fn every_file_has_a_process_of_its_own() {
    let scratch = Scratch::new();
    let names: Vec<String> = (0..20).map(|number| format!("{number:02}.py")).collect();
    for name in &names {
        let code = "import builtins, os\nassert not hasattr(builtins, 'leak')\nbuiltins.leak = 1\nprint(os.getpid())";
        scratch.file(name, code);
    }
    let mut args = vec!["run", "--workers", "1"];
    args.extend(names.iter().map(String::as_str));
    let ended = scratch.ostler(&args).run("").expect(0);
    let pids: std::collections::HashSet<&str> =
        ended.out().lines().map(|line| line.split_once(" | ").unwrap().1).collect();
    assert_eq!((ended.out().lines().count(), pids.len()), (20, 20));
}

/// A pipe at its standard input does not part a file from the terminal.
#[cfg(target_os = "linux")]
#[test]
fn a_file_whose_input_is_a_pipe_may_ask_for_a_password() {
    let scratch = Scratch::new();
    let code = "import sys\nprint('asks for', sys.stdin.read(), flush=True)\nprint('was told', open('/dev/tty').readline())";
    scratch.file("a.py", code);
    let command = format!("printf data | {} run a.py", env!("CARGO_BIN_EXE_ostler"));
    let mut running = Program::new("script", &["-qfec", &command, "/dev/null"], scratch.path()).start();
    running.until("asks for data");
    running.say("a secret\r");
    running.until("was told a secret");
    running.end().expect(0);
}
