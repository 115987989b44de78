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
fn it_ends_with_its_terminal_and_with_a_signal() {
    let scratch = Scratch::new();
    scratch.file(
        "window.py",
        "\
import fcntl, os, pty, select, signal, struct, termios, time

def top(ignored=()):
    child, window = pty.fork()
    if child == 0:
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        os.execv(os.environ['PROGRAM'], ['ostler', 'top', 'pool.sock'])
    fcntl.ioctl(window, termios.TIOCSWINSZ, struct.pack('4H', 24, 100, 0, 0))
    shown = b''
    while b'pool of process' not in shown:
        shown += os.read(window, 65536)
    return child, window

def end(child, window):
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if window is not None and select.select([window], [], [], 0)[0]:
                os.read(window, 65536)
        except OSError:  # the other end is closed
            window = None
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    return 'lives on'

child, window = top()
os.close(window)
print('window closed:', end(child, None))
child, window = top([signal.SIGHUP])
os.close(window)
print('and nobody said so:', end(child, None))
child, window = top()
os.kill(child, signal.SIGTERM)
print('told to end:', end(child, window))
child, window = top()
os.write(window, b'q')
print('typed:', end(child, window))
",
    );
    let mut running = scratch.ostler(&["repl", "--monitor=pool.sock"]).start();
    running.say("1\n");
    running.line();
    let program = env!("CARGO_BIN_EXE_ostler");
    let ended = scratch.ostler(&["run", "window.py"]).env("PROGRAM", program).run("").expect(0);
    let expected = "window closed: 129\nand nobody said so: 129\ntold to end: 143\ntyped: 0\n";
    assert_eq!(ended.out(), expected);
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
