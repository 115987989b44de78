//! Signals, a reader that goes away, and what is left behind.

use rustix::process::Signal;

use crate::program::{Program, Running, Scratch, eventually, gone, is_gone};

/// Prints its own process id and that of a child, says so, and then does this.
fn with_a_child(then: &str) -> String {
    format!(
        "import os, subprocess, sys, time
child = subprocess.Popen(['sleep', '1000'])
print(os.getpid())
print(child.pid)
{then}"
    )
}

fn pids(running: &mut Running) -> [String; 2] {
    [running.line(), running.line()]
}

/// Sends a signal until this process is gone: two that come before the program looks are one.
fn signal_until_gone(running: &Running, signal: Signal, pid: &str) {
    eventually("the end of a worker", || {
        running.signal(signal);
        is_gone(pid).then_some(())
    });
}

/// Fault 58.
#[test]
fn ctrl_c_cancels_and_lets_the_code_clean_up() {
    let scratch = Scratch::new();
    // Longer than a forced interrupt would wait, and shorter than the grace.
    let code =
        with_a_child("try: print('tries'); time.sleep(1000)\nfinally: time.sleep(0.4); print('cleaned up')");
    let mut running = scratch.ostler(&["run", "-c", &code, "--grace", "30s"]).start();
    let pids = pids(&mut running);
    assert_eq!(running.line(), "tries");
    running.signal(Signal::INT);
    assert_eq!(running.line(), "cleaned up");
    let ended = running.end().expect(130);
    assert!(ended.err().ends_with("\nKeyboardInterrupt\n"), "{}", ended.err());
    pids.iter().for_each(|pid| gone(pid));
}

#[test]
fn a_second_ctrl_c_kills_at_once() {
    let scratch = Scratch::new();
    let deaf = "
try:
    print('deaf from here', flush=True)
    time.sleep(1000)
except BaseException:
    print('heard it', flush=True)
while True:
    try: sum(range(10**13))
    except BaseException: pass";
    // Without the second one, the grace would outlast the guard.
    let mut running = scratch.ostler(&["run", "-c", &with_a_child(deaf), "--grace", "1h"]).start();
    let pids = pids(&mut running);
    assert_eq!(running.line(), "deaf from here");
    running.signal(Signal::INT);
    assert_eq!(running.line(), "heard it");
    signal_until_gone(&running, Signal::INT, &pids[0]);
    let ended = running.end().expect(130);
    assert_eq!(ended.err(), "ostler: `-c`: cancelled: the code did not stop, so its worker was killed\n");
    pids.iter().for_each(|pid| gone(pid));
}

#[test]
fn code_that_does_not_stop_is_killed_at_the_end_of_the_grace() {
    let scratch = Scratch::new();
    let deaf = "
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
print('begun', flush=True)
while True: pass";
    let mut running = scratch.ostler(&["run", "--json", "-c", deaf, "--grace", "200ms"]).start();
    running.until("begun");
    running.signal(Signal::INT);
    let ended = running.end().expect(130);
    assert!(ended.out().contains("\"outcome\":\"cancelled\""), "{}", ended.out());
    assert!(ended.out().contains("\"stage\":\"kill\""), "{}", ended.out());
    assert!(ended.out().ends_with("\"exit_code\":130}\n"), "{}", ended.out());
}

/// Fault 58.
#[test]
fn sigterm_lets_code_finish_within_the_grace() {
    let scratch = Scratch::new();
    let mut running =
        scratch.ostler(&["run", "-c", &with_a_child("print(input())"), "--grace", "30s"]).start();
    let pids = pids(&mut running);
    running.signal(Signal::TERM);
    running.until_it_says("what runs may end within 30s");
    running.say("finished\n");
    assert_eq!(running.line(), "finished");
    running.end().expect(143);
    pids.iter().for_each(|pid| gone(pid));
}

/// Fault 58.
#[test]
fn sigterm_leaves_nothing() {
    let scratch = Scratch::new();
    let code = with_a_child("while True: pass");
    for (signal, code_of_it) in [(Signal::TERM, 143), (Signal::HUP, 129)] {
        let mut running = scratch.ostler(&["run", "-c", &code, "--grace", "200ms"]).start();
        let pids = pids(&mut running);
        running.signal(signal);
        running.end().expect(code_of_it);
        pids.iter().for_each(|pid| gone(pid));
    }
}

#[test]
fn a_second_signal_after_sigterm_kills_at_once() {
    let scratch = Scratch::new();
    let code = with_a_child("print('runs', flush=True)\nwhile True: pass");
    // Without the second one, the grace would outlast the guard.
    let mut running = scratch.ostler(&["run", "-c", &code, "--grace", "1h"]).start();
    let pids = pids(&mut running);
    assert_eq!(running.line(), "runs");
    running.signal(Signal::TERM);
    signal_until_gone(&running, Signal::TERM, &pids[0]);
    let ended = running.end().expect(143);
    assert!(ended.err().ends_with("the code did not stop, so its worker was killed\n"), "{}", ended.err());
    pids.iter().for_each(|pid| gone(pid));
}

#[test]
fn sigterm_begins_no_other_file_and_lets_those_that_run_end() {
    let scratch = Scratch::new();
    scratch.file("first.py", "import os; print(os.getpid()); print(input())");
    scratch.file("second.py", "print('never')");
    let mut running =
        scratch.ostler(&["run", "first.py", "second.py", "--workers", "1", "--grace", "30s"]).start();
    let pid = running.line().replace("first.py  | ", "");
    running.signal(Signal::TERM);
    running.until_it_says("what runs may end within 30s");
    running.say("finished\n");
    let ended = running.end().expect(143);
    assert!(ended.out().ends_with("first.py  | finished\n"), "{}", ended.out());
    assert!(ended.err().contains("1 completed, 1 not run"), "{}", ended.err());
    gone(&pid);
}

#[test]
fn sigterm_lets_a_statement_of_the_repl_end_and_a_second_one_kills_it() {
    let scratch = Scratch::new();
    let mut running = scratch.ostler(&["repl", "--grace", "1h"]).start();
    running.say("import os; print(os.getpid(), flush=True); print(input())\n");
    let pid = running.line();
    running.signal(Signal::TERM);
    running.say("finished\n");
    assert_eq!(running.line(), "finished");
    running.end().expect(143);
    gone(&pid);

    let mut running = scratch.ostler(&["repl", "--grace", "1h"]).start();
    running.say("import os, time; print(os.getpid(), flush=True); time.sleep(1000)\n");
    let pid = running.line();
    running.signal(Signal::TERM);
    signal_until_gone(&running, Signal::TERM, &pid);
    let ended = running.end().expect(143);
    assert!(ended.err().contains("so its worker is killed"), "{}", ended.err());
    gone(&pid);
}

#[test]
fn sigterm_before_anything_runs_leaves_nothing() {
    let scratch = Scratch::new();
    let warmup = "import os; open('pid', 'w').write(str(os.getpid())); import time; time.sleep(1000)";
    for command in [&["repl"][..], &["doctor"]] {
        let args = [command, &["--warmup", warmup]].concat();
        let running = scratch.ostler(&args).start();
        let file = scratch.path().join("pid");
        let pid =
            eventually("the warmup", || std::fs::read_to_string(&file).ok().filter(|pid| !pid.is_empty()));
        running.signal(Signal::TERM);
        running.end().expect(143);
        gone(&pid);
        std::fs::remove_file(&file).unwrap();
    }
}

#[test]
fn a_normal_end_leaves_nothing() {
    let scratch = Scratch::new();
    let mut running = scratch.ostler(&["run", "-c", &with_a_child("")]).start();
    let pids = pids(&mut running);
    running.end().expect(0);
    pids.iter().for_each(|pid| gone(pid));
}

#[test]
fn files_that_wait_are_not_run_after_a_ctrl_c() {
    let scratch = Scratch::new();
    scratch.file("first.py", "import time; print('runs', flush=True); time.sleep(1000)");
    scratch.file("second.py", "print('never')");
    let mut running = scratch.ostler(&["run", "first.py", "second.py", "--workers", "1"]).start();
    assert_eq!(running.line(), "first.py  | runs");
    running.signal(Signal::INT);
    let ended = running.end().expect(130);
    assert_eq!(ended.out(), "first.py  | runs\n");
    assert!(ended.err().contains("1 cancelled, 1 not run"), "{}", ended.err());
}

#[test]
fn a_background_job_does_not_hear_a_ctrl_c() {
    let scratch = Scratch::new();
    // What a shell does for `ostler run … &`: the code finds the signal ignored, as it would without us.
    let code = "
import os, signal
os.kill(os.getpid(), signal.SIGINT)
print(signal.getsignal(signal.SIGINT) is signal.SIG_IGN, flush=True)
print(input())";
    scratch.file("job.py", code);
    let script = format!("trap '' INT; exec {} run job.py", env!("CARGO_BIN_EXE_ostler"));
    let mut running = Program::new("sh", &["-c", &script], scratch.path()).start();
    assert_eq!(running.line(), "True");
    running.signal(Signal::INT);
    running.say("goes on\n");
    assert_eq!(running.line(), "goes on");
    running.end().expect(0);
}

#[test]
fn a_reader_that_goes_away_ends_it() {
    let scratch = Scratch::new();
    // The code itself writes to the pipe, and hears of it as it would without us.
    let mut running = scratch.ostler(&["run", "-c", "while True: print('y')"]).start();
    running.line();
    running.close_stdout();
    let ended = running.end();
    assert!(ended.code != Some(0) && ended.err().contains("BrokenPipeError"), "{}", ended.err());
    let mut running = scratch.ostler(&["run", "--json", "-c", "while True: print('y')"]).start();
    running.line();
    running.close_stdout();
    assert_eq!(running.end().expect(141).err(), "");
}

/// Fault 99: a limit on the size of files is an error of the write, not the end of the program by a signal.
#[test]
fn f99_output_beyond_the_limit_of_files_is_an_error() {
    let scratch = Scratch::new();
    let run = |options: &str| {
        let program = env!("CARGO_BIN_EXE_ostler");
        let script = format!(
            "ulimit -f 8; exec {program} run {options} -c 'while True: print(\"y\" * 1000)' > printed"
        );
        Program::new("sh", &["-c", &script], scratch.path()).start().end()
    };
    let ended = run("--json").expect(1);
    assert_eq!(ended.err(), "ostler: cannot write to standard output: File too large (os error 27)\n");
    // A single file writes by itself.
    let ended = run("").expect(1);
    assert!(ended.err().ends_with("OSError: [Errno 27] File too large\n"), "{}", ended.err());
}

#[test]
fn a_reader_that_does_not_read_does_not_hold_a_ctrl_c() {
    let scratch = Scratch::new();
    let mut running = scratch.ostler(&["run", "-c", "print('begun')\nwhile True: print('y' * 1000)"]).start();
    assert_eq!(running.line(), "begun");
    // From here on the pipe fills: nobody takes another line.
    running.signal(Signal::INT);
    running.ended_by_itself(130);
}

#[test]
fn a_reader_that_does_not_read_does_not_hold_a_second_ctrl_c() {
    let scratch = Scratch::new();
    let code = "
try:
    print('begun', flush=True)
    while True: print('y' * 1000)
except KeyboardInterrupt:
    open('heard', 'w').close()
    raise";
    let mut running = scratch.ostler(&["run", "-c", code, "--grace", "1h"]).start();
    assert_eq!(running.line(), "begun");
    running.signal(Signal::INT);
    let heard = scratch.path().join("heard");
    eventually("the interrupt", || heard.exists().then_some(()));
    running.signal(Signal::INT);
    running.ended_by_itself(130);
}

/// Case c12: what handles a TERM hears of it.
#[test]
fn signals_that_mean_no_end_are_passed_on_to_a_file() {
    let scratch = Scratch::new();
    let code = "
import signal, sys, time
def heard(number, _):
    print(signal.Signals(number).name, flush=True)
    if number == signal.SIGUSR2: sys.exit(7)
for number in signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2: signal.signal(number, heard)
print('ready', flush=True)
while True: time.sleep(1000)";
    let mut running = scratch.ostler(&["run", "-c", code]).start();
    assert_eq!(running.line(), "ready");
    for (signal, name) in [
        (Signal::HUP, "SIGHUP"),
        (Signal::USR1, "SIGUSR1"),
        (Signal::HUP, "SIGHUP"),
        (Signal::USR2, "SIGUSR2"),
    ] {
        running.signal(signal);
        assert_eq!(running.line(), name);
    }
    running.end().expect(7);
}

#[test]
fn sigterm_is_passed_on_to_code_that_handles_it() {
    let scratch = Scratch::new();
    let code = "
import signal, sys, time
def down(*_):
    print('closing down', flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, down)
print('ready', flush=True)
time.sleep(1000)";
    let mut running = scratch.ostler(&["run", "-c", code, "--grace", "1h"]).start();
    assert_eq!(running.line(), "ready");
    running.signal(Signal::TERM);
    assert_eq!(running.line(), "closing down");
    running.end().expect(143);
}

/// Case c11.
#[test]
fn ctrl_c_reaches_a_handler_of_the_code() {
    let scratch = Scratch::new();
    let code = "
import signal, sys, time
def down(*_):
    print('closing down', flush=True)
    sys.exit(4)
signal.signal(signal.SIGINT, down)
print('ready', flush=True)
time.sleep(1000)";
    let mut running = scratch.ostler(&["run", "-c", code, "--grace", "1h"]).start();
    assert_eq!(running.line(), "ready");
    running.signal(Signal::INT);
    assert_eq!(running.line(), "closing down");
    running.end().expect(130);
}
