//! Sessions with a name, in `ostler repl`.

use crate::program::Scratch;

const REPL: [&str; 5] = ["repl", "--session", "demo", "--state-dir", "states"];

/// The names are there the next time, what could not be saved is said, and the list knows the session.
#[test]
fn the_state_of_a_named_session_is_there_the_next_time() {
    let scratch = Scratch::new();
    let typed = "x = 41\ndef f(n):\n    return n + x\n\nimport threading; lock = threading.Lock()\n";
    let first = scratch.ostler(&REPL).run(typed).expect(0);
    assert_eq!((first.out(), first.err()), ("", ""));
    let listed = scratch.ostler(&["sessions", "--state-dir", "states"]).run("").expect(0);
    assert_eq!(listed.out(), "demo\n");

    let second = scratch.ostler(&REPL).run("f(1)\n").expect(0);
    assert_eq!(second.out(), "42\n");
    assert!(
        second.err().starts_with("ostler: session `demo` is back: x, f, threading\n"),
        "{}",
        second.err()
    );
    assert!(second.err().contains("lost `lock`: it was not saved: TypeError"), "{}", second.err());
}

/// A worker that dies costs a named session one statement.
#[test]
fn a_named_session_goes_on_after_the_death_of_its_worker() {
    let scratch = Scratch::new();
    let ended = scratch.ostler(&REPL).run("x = 41\nimport os; os._exit(3)\nx + 1\n").expect(3);
    assert_eq!(ended.out(), "42\n");
    assert!(ended.err().contains("the worker ended by itself (exit code 3)"), "{}", ended.err());
    assert!(
        ended.err().contains("session `demo` goes on in a new worker; back: x; what 1 execution made"),
        "{}",
        ended.err()
    );
}

#[test]
fn commands_begin_with_a_colon() {
    let scratch = Scratch::new();
    let typed = "x = [1] * 100\n:vars\n:save\n:nonsense\n:help\n";
    let ended = scratch.ostler(&["repl"]).run(typed).expect(0);
    assert!(ended.out().starts_with("x  list    856 B  [1, 1, 1, 1, 1, 1, ...]\n"), "{}", ended.out());
    assert!(ended.out().contains(":vars    the names of the session"), "{}", ended.out());
    let expected = "ostler: this session has no name: say which file, as in :save FILE, or start with --session NAME\n\
                    ostler: there is no command `:nonsense`; see :help\n";
    assert_eq!(ended.err(), expected);
    let named = scratch.ostler(&REPL).run("x = 1\n:save\n").expect(0);
    assert!(named.err().starts_with("ostler: saved, generation "), "{}", named.err());
}

/// A name becomes a folder: nothing that leads elsewhere is one.
#[test]
fn a_name_that_cannot_be_one_is_refused_before_anything_starts() {
    let scratch = Scratch::new();
    for name in ["../x", "A", "", ".hidden", "a/b"] {
        let refused =
            scratch.ostler(&["repl", "--session", name, "--state-dir", "states"]).run("1\n").expect(2);
        assert!(refused.err().contains("cannot be the name of a session"), "{name}: {}", refused.err());
    }
    assert!(!scratch.path().join("states").exists());
    let refused = scratch.ostler(&["repl", "--state-dir", "states"]).run("1\n").expect(2);
    assert_eq!(refused.err(), "ostler: --state-dir is for a --session with a name\n");
    let empty = scratch.ostler(&["sessions", "--state-dir", "states"]).run("").expect(0);
    assert_eq!(empty.out(), "");
}
