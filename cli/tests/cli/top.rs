//! `ostler top` beside a pool that runs.

use crate::program::Scratch;

#[test]
fn a_pool_shows_itself_while_it_runs() {
    let scratch = Scratch::new();
    let code = "import os; print(os.getpid(), flush=True); input()";
    let mut running = scratch.ostler(&["run", "-c", code, "--monitor=pool.sock"]).start();
    let pid = running.line();
    let ended = scratch.ostler(&["top", "--once", "pool.sock"]).run("").expect(0);
    let picture = ended.out();
    assert!(picture.starts_with("pool of process "), "{picture}");
    assert!(picture.contains("\nsessions  1 busy, 0 leased, "), "{picture}");
    assert!(picture.contains(&format!(" {pid} ")) && picture.contains(" busy "), "{picture}");
    assert!(picture.contains(&format!("worker {pid} started, generation 1\n")), "{picture}");
    running.say("\n");
    running.end().expect(0);
    assert!(!scratch.path().join("pool.sock").exists());
    let ended = scratch.ostler(&["top", "--once", "pool.sock"]).run("").expect(2);
    assert!(ended.err().starts_with("ostler: no pool can be reached at `pool.sock`"), "{}", ended.err());
}

#[test]
fn without_a_path_the_newest_pool_is_shown() {
    let scratch = Scratch::new();
    let folder = scratch.path().to_str().unwrap().to_owned();
    let none = scratch.ostler(&["top"]).env("XDG_RUNTIME_DIR", &folder).run("").expect(2);
    assert!(none.err().contains("start one with --monitor"), "{}", none.err());
    let mut running = scratch.ostler(&["repl", "--monitor"]).env("XDG_RUNTIME_DIR", &folder).start();
    running.say("1\n");
    running.line();
    let ended = scratch.ostler(&["top"]).env("XDG_RUNTIME_DIR", &folder).run("").expect(0);
    assert!(ended.out().contains("idle, leased"), "{}", ended.out());
    running.end().expect(0);
}

#[test]
fn a_file_that_is_no_socket_is_left_alone() {
    let scratch = Scratch::new();
    scratch.file("precious", "text");
    let ended = scratch.ostler(&["run", "-c", "1", "--monitor=precious"]).run("").expect(2);
    assert!(
        ended.err().contains("cannot serve the monitor at `precious`: there is a file"),
        "{}",
        ended.err()
    );
    assert_eq!(std::fs::read_to_string(scratch.path().join("precious")).unwrap(), "text");
}
