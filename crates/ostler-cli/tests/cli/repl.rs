//! `ostler repl`, from a pipe and in a terminal.

use rustix::process::Signal;

use crate::program::{Scratch, eventually, is_gone};

#[test]
fn statements_of_a_pipe_share_their_state() {
    let input = "x = 41\nx + 1\nNone\ndef f():\n    y = x\n\n    return y\nf()\n'text'\n";
    let ended = Scratch::new().ostler(&["repl"]).run(input).expect(0);
    assert_eq!((ended.out(), ended.err()), ("42\n41\n'text'\n", ""));
}

#[test]
fn each_statement_answers_before_the_next_is_read() {
    let scratch = Scratch::new();
    let mut running = scratch.ostler(&["repl"]).start();
    running.say("x = 1\nx\n");
    assert_eq!(running.line(), "1");
    running.say("x + 1\n");
    assert_eq!(running.line(), "2");
    running.end().expect(0);
}

#[test]
fn a_failure_is_shown_and_the_session_goes_on() {
    let ended = Scratch::new().ostler(&["repl"]).run("x = 1\n1/0\nx\n)\n").expect(1);
    assert_eq!(ended.out(), "1\n");
    assert!(ended.err().contains("ZeroDivisionError: division by zero\n"), "{}", ended.err());
    assert!(ended.err().contains("SyntaxError"), "{}", ended.err());
}

#[test]
fn the_code_asks_the_same_pipe() {
    let ended = Scratch::new().ostler(&["repl"]).run("name = input('who? ')\nAda\nname\n").expect(0);
    assert_eq!(ended.out(), "who? 'Ada'\n");
}

#[test]
fn exit_leaves_with_its_code() {
    for (input, code) in [("exit()\n1\n", 0), ("import sys\nsys.exit(5)\n1\n", 5), ("quit()\n1\n", 0)] {
        let ended = Scratch::new().ostler(&["repl"]).run(input).expect(code);
        assert_eq!((ended.out(), ended.err()), ("", ""));
    }
}

#[test]
fn a_crash_is_reported_and_a_new_session_begins() {
    let scratch = Scratch::new();
    scratch.file("start.py", "fresh = True");
    let input = "x = 1\nimport os; os.kill(os.getpid(), 9)\nx\nfresh\n";
    let ended = scratch.ostler(&["repl", "--startup", "start.py"]).run(input).expect(3);
    assert_eq!(ended.out(), "True\n");
    let crash =
        "ostler: the statement was lost while its code ran: the worker ended by itself (signal 9, SIGKILL)
ostler: a new session begins; the names of the old one are gone\n";
    assert!(ended.err().starts_with(crash), "{}", ended.err());
    assert!(ended.err().ends_with("NameError: name 'x' is not defined\n"), "{}", ended.err());
}

#[test]
fn what_runs_in_the_background_is_shown() {
    let scratch = Scratch::new();
    let mut running = scratch.ostler(&["repl"]).start();
    running.say("import threading\nthreading.Timer(0.1, print, ['from behind']).start()\n");
    assert_eq!(running.line(), "from behind");
    running.end().expect(0);
}

/// As `python` would: threads end, exit handlers run, files are written, and all that is seen.
#[test]
fn the_session_ends_in_order() {
    let scratch = Scratch::new();
    let input = "import atexit, threading, time\nkept = open('kept', 'w')\n_ = kept.write('a')\n\
        _ = atexit.register(print, 'bye')\ndef late():\n    time.sleep(0.3); print('late')\n\n\
        threading.Thread(target=late).start()\n";
    for end in ["", "exit()\n"] {
        let ended = scratch.ostler(&["repl", "--grace", "1h"]).run(&format!("{input}{end}")).expect(0);
        assert_eq!((ended.out(), ended.err()), ("late\nbye\n", ""));
        assert_eq!(std::fs::read_to_string(scratch.path().join("kept")).unwrap(), "a");
    }
}

#[test]
fn what_does_not_end_is_not_waited_for_past_the_grace() {
    let stays = "import atexit, time\n_ = atexit.register(time.sleep, 3600)\n";
    let ended = Scratch::new().ostler(&["repl", "--grace", "200ms"]).run(stays).expect(0);
    let told = "ostler: the code had left something running that did not end, so its worker was killed\n";
    assert_eq!((ended.out(), ended.err()), ("", told));
}

#[test]
fn a_signal_ends_a_session_that_is_ending() {
    let scratch = Scratch::new();
    let mut running = scratch.ostler(&["repl", "--grace", "1h"]).start();
    running
        .say("import os, threading\nos.getpid()\nthreading.Thread(target=threading.Event().wait).start()\n");
    let pid = running.line();
    eventually("the end of the worker", || {
        running.signal(Signal::INT);
        is_gone(&pid).then_some(())
    });
    running.end().expect(130);
}

#[cfg(target_os = "linux")]
mod in_a_terminal {
    use crate::program::{Program, Running, Scratch};

    const CTRL_C: &str = "\x03";
    const CTRL_D: &str = "\x04";
    /// What the editor writes before a prompt.
    const NEW_LINE: &str = "\r\x1b[K";
    const UP: &str = "\x1b[A";

    /// The program in a terminal of its own, which `script` makes. What is typed is shown too: look for what only an
    /// answer can contain.
    fn start(scratch: &Scratch) -> Running {
        let command = format!("exec env --default-signal=INT {} repl", env!("CARGO_BIN_EXE_ostler"));
        let program =
            Program::new("script", &["-qfec", &command, "/dev/null"], scratch.path()).env("TERM", "xterm");
        let mut running = program.start();
        assert!(running.until(">>> ").contains("Ctrl-C interrupts, Ctrl-D ends."));
        running
    }

    fn leave(mut running: Running) {
        running.say(CTRL_D);
        running.end().expect(0);
    }

    #[test]
    fn values_are_shown_and_blocks_end_at_a_blank_line() {
        let scratch = Scratch::new();
        let mut running = start(&scratch);
        running.say("x = 40\r");
        running.until(">>> ");
        running.say("def f():\r");
        running.until("...     ");
        running.say("return x + 2\r");
        running.until("... ");
        running.say("\r");
        running.until(">>> ");
        running.say("f()\r");
        running.until("42\r\n");
        // What was typed ahead, while something else ran, is not lost.
        running.say("import time; time.sleep(0.3)\ry = x + 3\ry\r");
        running.until("43\r\n");
        leave(running);
    }

    #[test]
    fn ctrl_c_interrupts_the_code_and_keeps_the_state() {
        let scratch = Scratch::new();
        let mut running = start(&scratch);
        running.say("x = 41; print('run' + 'ning'); __import__('time').sleep(1000)\r");
        running.until("running\r\n");
        running.say(CTRL_C);
        running.until("KeyboardInterrupt");
        running.until(">>> ");
        running.say("half a line");
        running.until("half a line");
        running.say(CTRL_C);
        running.until(">>> ");
        running.say("x + 1\r");
        running.until("42\r\n");
        leave(running);
    }

    #[test]
    fn input_asks_in_the_terminal() {
        let scratch = Scratch::new();
        let mut running = start(&scratch);
        running.say("'<' + input('who? ').upper() + '>'\r");
        running.until(&format!("{NEW_LINE}who? "));
        running.say("ada\r");
        running.until("'<ADA>'");
        running.until(">>> ");
        running.say("input('again? ')\r");
        running.until(&format!("{NEW_LINE}again? "));
        running.say(CTRL_C);
        running.until("KeyboardInterrupt");
        running.until(">>> ");
        running.say("import getpass; len(getpass.getpass())\r");
        running.until(&format!("{NEW_LINE}Password: "));
        running.say("secret\r");
        assert!(!running.until("\n6\r\n").contains("secret"));
        leave(running);
    }

    #[test]
    fn a_crash_is_reported_and_the_session_goes_on() {
        let scratch = Scratch::new();
        let mut running = start(&scratch);
        running.say("import os; os.kill(os.getpid(), 9)\r");
        running.until("signal 9, SIGKILL");
        running.until("a new session begins");
        running.until(">>> ");
        running.say("6 * 7\r");
        running.until("42\r\n");
        leave(running);
    }

    #[test]
    fn what_runs_in_the_background_is_shown_above_the_prompt() {
        let scratch = Scratch::new();
        let mut running = start(&scratch);
        running.say("import threading; threading.Timer(0.2, print, ['from' + ' behind']).start()\r");
        running.until("from behind");
        running.until(">>> ");
        leave(running);
    }

    #[test]
    fn the_history_is_kept_for_the_next_time() {
        let scratch = Scratch::new();
        let mut running = start(&scratch);
        running.say("6 * 7\r");
        running.until("42\r\n");
        running.until(">>> ");
        leave(running);
        assert!(std::fs::read_to_string(scratch.path().join("ostler/history")).unwrap().contains("6 * 7"));
        let mut running = start(&scratch);
        running.say(UP);
        running.until("6 * 7");
        running.say("\r");
        running.until("42\r\n");
        leave(running);
    }
}
