//! Going back in `ostler repl`: undo, branches, and states in files.

use crate::program::Scratch;

/// What no checkpoint could save is back, too.
#[test]
fn a_statement_is_undone_with_all_that_it_did() {
    let typed = "gen = iter(range(9))\n:undo\n:undo on\nx = [next(gen)]\nx.append(next(gen))\n:undo\nx, next(gen)\n:undo\n:undo\nx\n";
    let ended = Scratch::new().ostler(&["repl"]).run(typed).expect(1);
    assert_eq!(ended.out(), "([0], 1)\n");
    let told = "ostler: no states are kept; see `:undo on`\n\
                ostler: undone: `x.append(next(gen))`; 1 more can be\n\
                ostler: undone: `x, next(gen)`; 1 more can be\n\
                ostler: undone: `x = [next(gen)]`\n";
    assert!(ended.err().starts_with(told), "{}", ended.err());
    assert!(ended.err().ends_with("NameError: name 'x' is not defined\n"), "{}", ended.err());
}

#[test]
fn only_the_last_states_are_kept() {
    let typed = ":undo on\n".to_owned()
        + &"n = globals().get('n', 0) + 1\n".repeat(12)
        + &":undo\n".repeat(9)
        + "n\n";
    let ended = Scratch::new().ostler(&["repl"]).run(&typed).expect(0);
    assert_eq!(ended.out(), "4\n");
    assert!(
        ended.err().contains("1 more can be\n") && ended.err().contains("ostler: there is nothing to undo\n")
    );
}

/// The death of the worker is one more statement that can be undone; where the session cannot be copied it is saved.
#[test]
fn undo_brings_back_what_a_crash_took_and_says_what_a_thread_cost() {
    let typed = ":undo on\nx = 41\nimport os; os._exit(3)\n:undo\nx + 1\n";
    let ended = Scratch::new().ostler(&["repl"]).run(typed).expect(3);
    assert_eq!(ended.out(), "42\n");
    assert!(ended.err().contains("are gone; :undo goes back to before it\n"), "{}", ended.err());

    let typed = "import threading; e = threading.Event(); threading.Thread(target=e.wait).start()\n:undo on\nx = 1\nx = 2\n:undo\nx\n";
    let ended = Scratch::new().ostler(&["repl"]).run(typed).expect(0);
    assert_eq!(ended.out(), "1\n");
    assert!(ended.err().contains("undone: `x = 2`; 1 more can be\n    lost `e`: "), "{}", ended.err());
}

#[test]
fn branches_go_their_own_ways() {
    let typed = "x = 1\n:fork\nx = 2\n:branch 1\nx\n:branch 2\nx\n:branch\n:branch drop 2\n:branch 1\n:branch drop 2\n:branch 2\n:branch\n:fork\n:fork\n:fork\n:fork\n";
    let ended = Scratch::new().ostler(&["repl"]).run(typed).expect(0);
    assert_eq!(ended.out(), "1\n2\n  1\n* 2\n* 1\n");
    let told = "ostler: branch 2 begins here; `:branch 1` goes back\n\
                ostler: branch 1\n\
                ostler: branch 2\n\
                ostler: this branch is in use; go on in another one first\n\
                ostler: branch 1\n\
                ostler: branch 2 has ended\n\
                ostler: there is no branch `2`; see :branch\n\
                ostler: branch 2 begins here; `:branch 1` goes back\n\
                ostler: branch 3 begins here; `:branch 2` goes back\n\
                ostler: branch 4 begins here; `:branch 3` goes back\n\
                ostler: there are 4 branches already; end one with `:branch drop N`\n";
    assert_eq!(ended.err(), told);
}

/// The state of a session with a name is that of the branch that took its place.
#[test]
fn a_name_stays_through_an_undo() {
    let scratch = Scratch::new();
    let repl = ["repl", "--session", "demo", "--state-dir", "states"];
    let first = scratch.ostler(&repl).run(":undo on\nx = 1\nx = 2\n:undo\ny = x\n").expect(0);
    assert_eq!(first.err(), "ostler: undone: `x = 2`; 1 more can be\n");
    let second = scratch.ostler(&repl).run("x, y\n").expect(0);
    assert_eq!(second.out(), "(1, 1)\n");
}

#[test]
fn a_state_goes_into_a_file_and_comes_back_from_it() {
    let scratch = Scratch::new();
    let typed =
        "x = [1] * 3\nimport threading; lock = threading.Lock()\n:save kept.state\n:save no/such/folder\n";
    let saved = scratch.ostler(&["repl"]).run(typed).expect(0);
    let told = saved.err();
    assert!(
        told.starts_with("ostler: saved x, threading in `kept.state`\n    not `lock`: TypeError"),
        "{told}"
    );
    assert!(told.contains("ostler: not saved: cannot write `no/such/folder`: No such file"), "{told}");
    scratch.file("other", "text");
    let loaded =
        scratch.ostler(&["repl"]).run(":load kept.state\nx\n:load other\n:load none\n:load\n").expect(0);
    assert_eq!(loaded.out(), "[1, 1, 1]\n");
    let told = loaded.err();
    assert!(
        told.starts_with("ostler: `kept.state` is loaded: x, threading\n    lost `lock`: it was not saved"),
        "{told}"
    );
    assert!(
        told.contains("ostler: not loaded: cannot load `other`: these bytes are no checkpoint"),
        "{told}"
    );
    assert!(
        told.ends_with(
            "cannot read `none`: No such file or directory (os error 2)\nostler: say which file: :load FILE\n"
        ),
        "{told}"
    );
}
