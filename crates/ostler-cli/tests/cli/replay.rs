//! `ostler replay`.

use std::fs;

use crate::program::Scratch;

/// What was run is shown, and runs again with the same input; what ends differently is said.
#[test]
fn a_recording_is_shown_and_run_again() {
    let scratch = Scratch::new();
    let code = "import os\nprint('hello', input('name? '))\nAda\nif os.path.exists('flag'): 1/0\n\n";
    let recorded = scratch.ostler(&["repl"]).env("OSTLER_POOL_RECORD", "recordings").run(code).expect(0);
    assert!(recorded.out().contains("hello Ada"), "{}", recorded.out());
    // There is one of a worker that nobody used, too.
    let files = fs::read_dir(scratch.path().join("recordings")).unwrap().flatten();
    let file = files.max_by_key(|file| file.metadata().unwrap().len()).unwrap().path().display().to_string();

    let shown = scratch.ostler(&["replay", &file]).run("").expect(0);
    for part in [
        "worker  ready: process",
        "execute",
        "input for",
        "\"Ada\"",
        "hello Ada",
        "result",
        "ended: exit code 0",
    ] {
        assert!(shown.out().contains(part), "`{part}` is not in\n{}", shown.out());
    }
    let same = scratch.ostler(&["replay", &file, "--run"]).run("").expect(0);
    assert!(same.out().starts_with("same  "), "{}", same.out());
    scratch.file("flag", b"");
    let differs = scratch.ostler(&["replay", &file, "--run"]).run("").expect(1);
    assert!(differs.out().contains("now: ZeroDivisionError: division by zero"), "{}", differs.out());
}

#[test]
fn another_file_is_no_recording() {
    let scratch = Scratch::new();
    scratch.file("notes.txt", "not a recording");
    let refused = scratch.ostler(&["replay", "notes.txt"]).run("").expect(2);
    assert_eq!(refused.err(), "ostler: `notes.txt` is no recording: it does not begin as one\n");
}
