//! How a script is stopped, and what every outcome says of it.

use std::{env, process::Command, time::Duration};

use ostler::{CancelStage, Event, Exit, Failure, Lost, LostCause, Outcome, Request, Script, SubmitError};

use super::{folder, pool, spec, written};
use crate::support::processes::{nothing_left, pool_tag};
use crate::support::wait::{SOON, eventually, guarded, pool_is};

/// Reads on until it has said `word`, and hands it back.
async fn until_it_says(mut execution: ostler::Execution, word: &str) -> ostler::Execution {
    let (mut said, mut events) = (String::new(), Vec::new());
    while !said.contains(word) {
        match execution.next().await {
            Some(Event::Output { data, .. }) => said.push_str(&String::from_utf8_lossy(&data)),
            Some(event) => events.push(event),
            None => panic!(
                "before {word:?} it said {said:?}, {events:?}, and it ended: {:?}",
                execution.outcome().await
            ),
        }
    }
    execution
}

/// Case c11, c38 and c39: whatever handles SIGINT hears it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_is_a_real_sigint_and_a_handler_of_the_code_hears_it() {
    // Short sleeps: a SIGINT between CPython's last look for one and the system call is heard behind that call, with and
    // without Ostler.
    let handled = "import signal, sys, time\ndef down(*_):\n    print('closing down'); sys.exit(3)\n\
                   signal.signal(signal.SIGINT, down)\nprint('ready', flush=True)\n\
                   while True: time.sleep(0.01)";
    let plain = "import time\ntry:\n    print('ready', flush=True)\n    while True: time.sleep(0.01)\n\
                 finally:\n    print('closing down')";
    let asyncs = "import asyncio\nasync def main():\n    try:\n        print('ready', flush=True)\n        \
                  while True: await asyncio.sleep(0.01)\n    \
                  finally:\n        print('closing down')\nasyncio.run(main())";
    let last = "import atexit, time\natexit.register(print, 'closing down')\nprint('ready', flush=True)\n\
                while True: time.sleep(0.01)";
    guarded(async {
        for code in [handled, plain, asyncs, last] {
            let folder = written(&[("a.py", code)]);
            for spec in [spec(folder.path()), spec(folder.path()).preload(["json"])] {
                let runtime = pool(spec).grace(Duration::from_secs(3_600)).start().await.unwrap();
                let mut execution = runtime.execute(Script::file("a.py")).await.unwrap();
                execution = until_it_says(execution, "ready").await;
                execution.cancel();
                execution = until_it_says(execution, "closing down").await;
                let outcome = execution.outcome().await;
                assert!(
                    matches!(&outcome, Outcome::Cancelled(it) if it.stage == CancelStage::Interrupt),
                    "{outcome}"
                );
            }
        }
    })
    .await;
}

/// A shell without job control has its background jobs ignore SIGINT, and a program starts with what its parent ignores.
#[test]
fn a_host_that_ignores_sigint_has_scripts_that_hear_it() {
    let again = "scripts::ends::a_cancel_is_a_real_sigint_and_a_handler_of_the_code_hears_it";
    #[expect(clippy::disallowed_methods, reason = "this process cannot ignore a signal for one test")]
    let mut host = Command::new("sh");
    host.args(["-c", "trap '' INT; exec \"$0\" --exact \"$1\""]).arg(env::current_exe().unwrap()).arg(again);
    let host = host.output().unwrap();
    let said = String::from_utf8_lossy(&host.stdout);
    assert!(said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&host.stderr));
}

/// Case c12.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn terminate_is_a_sigterm_which_the_code_may_handle() {
    let code = "import signal, sys, time\ndef down(*_):\n    print('closing down', flush=True); sys.exit(0)\n\
                signal.signal(signal.SIGTERM, down)\nprint('ready', flush=True)\ntime.sleep(60)";
    guarded(async {
        let (_folder, builder) = folder(&[("a.py", code)]);
        let runtime = builder.start().await.unwrap();
        let mut execution = runtime.execute(Script::file("a.py")).await.unwrap();
        execution = until_it_says(execution, "ready").await;
        execution.terminate();
        execution = until_it_says(execution, "closing down").await;
        assert!(execution.outcome().await.is_completed());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_hears_nothing_is_killed_with_all_that_it_started() {
    let code = "import signal, subprocess, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n\
                signal.signal(signal.SIGTERM, signal.SIG_IGN)\nchild = subprocess.Popen(['sleep', '60'])\n\
                print('ready', child.pid, flush=True)\ntime.sleep(60)";
    guarded(async {
        let (_folder, builder) = folder(&[("a.py", code)]);
        let runtime = builder.grace(Duration::from_millis(300)).start().await.unwrap();
        let mut execution = runtime.execute(Script::file("a.py")).await.unwrap();
        let Some(Event::Started { pid: Some(running), .. }) = execution.next().await else {
            panic!("not started")
        };
        eventually("it ignores what it may", SOON, || ignores_int(running)).await;
        // Behind that: a process that is just being started shows no environment for a moment.
        let tag = pool_tag(running);
        execution.cancel();
        let outcome = execution.outcome().await;
        let Outcome::Cancelled(cancelled) = &outcome else { panic!("{outcome}") };
        assert_eq!(cancelled.stage, CancelStage::Kill);
        nothing_left(&tag, SOON).await;
        let status = pool_is(&runtime, "its place is free", |status| status.busy == 0).await;
        assert_eq!(status.crashed, 0, "{status:?}");
    })
    .await;
}

fn ignores_int(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or("0");
    let ignored = u64::from_str_radix(line.trim(), 16).unwrap_or(0);
    ignored & 0b10 != 0 && ignored & (1 << 14) != 0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_ends_a_script_is_its_outcome() {
    guarded(async {
        let (_folder, builder) = folder(&[
            ("fails.py", "1 / 0"),
            ("explains.py", "raise ValueError('first line\\nsecond line')"),
            ("dies.py", "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"),
            ("late.py", "import time; time.sleep(60)"),
            ("burns.py", "while True: pass"),
        ]);
        let runtime = builder.grace(Duration::from_secs(5)).start().await.unwrap();
        let outcome = runtime.run(Script::file("fails.py")).await.unwrap().outcome;
        let message = Some("ZeroDivisionError: division by zero".into());
        assert_eq!(
            outcome,
            Outcome::Failed(Failure::Exit { code: 1, message }),
            "with the end of its stderr"
        );
        let outcome = runtime.run(Script::file("explains.py")).await.unwrap().outcome;
        assert_eq!(outcome.to_string(), "the code asked to exit with code 1: ValueError: first line");
        let outcome = runtime.run(Script::file("dies.py")).await.unwrap().outcome;
        let Outcome::Lost(Lost { started: true, cause: LostCause::Died(death) }) = &outcome else {
            panic!("{outcome}")
        };
        assert_eq!(death.exit, Exit::Signal(11));
        let late = Request::from(Script::file("late.py")).deadline(Duration::from_millis(300));
        let outcome = runtime.run(late).await.unwrap().outcome;
        assert!(matches!(outcome, Outcome::TimedOut(_)), "{outcome}");
        let burns = Request::from(Script::file("burns.py")).max_cpu(Duration::from_millis(200));
        let outcome = runtime.run(burns).await.unwrap().outcome;
        assert!(matches!(outcome, Outcome::Failed(Failure::CpuLimit { .. })), "{outcome}");
        let outcome = runtime.run(Script::file("not there.py")).await.unwrap();
        let absent = matches!(outcome.outcome, Outcome::Failed(Failure::Exit { code: 2, .. }));
        assert!(absent, "as `python` says it: {}", outcome.outcome);
        let status = runtime.status().await;
        assert_eq!((status.crashed, status.failed), (0, None), "scripts say nothing of workers");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_script_that_cannot_be_started_is_lost_unstarted() {
    guarded(async {
        let (folder, builder) = folder(&[("a.py", "")]);
        let runtime = builder.start().await.unwrap();
        let gone = folder.path().join("gone");
        let outcome = runtime.run(Request::from(Script::file("a.py")).cwd(&gone)).await.unwrap().outcome;
        let Outcome::Lost(Lost { started: false, cause: LostCause::NotLaunched { why } }) = &outcome else {
            panic!("{outcome}")
        };
        assert!(why.contains("gone"), "{why}");
        let runtime_of_servers =
            ostler::Runtime::builder(ostler::WorkerSpec::command("cat")).min_idle(0).start().await.unwrap();
        let refused = runtime_of_servers.run(Script::file("a.py")).await;
        assert!(matches!(refused, Err(SubmitError::Unfit { .. })), "{refused:?}");
    })
    .await;
}

/// Never more processes than places; scripts and code take turns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_and_code_share_the_places_of_the_pool() {
    guarded(async {
        let code = "import os, time\nopen(f'runs-{os.getpid()}', 'w').close()\nn = len([f for f in os.listdir() if f.startswith('runs')])\n\
                    time.sleep(0.05)\nos.remove(f'runs-{os.getpid()}')\nprint(n)";
        let (_folder, builder) = folder(&[("a.py", code)]);
        let runtime = builder.max_sessions(2).min_idle(1).start().await.unwrap();
        let mut turns = tokio::task::JoinSet::new();
        for number in 0..12 {
            let runtime = runtime.clone();
            turns.spawn(async move {
                match number % 2 {
                    0 => {
                        let report = runtime.run(Script::file("a.py")).await.unwrap();
                        assert!(report.outcome.is_completed(), "{}", report.outcome);
                        report.stdout_text().trim().parse::<usize>().unwrap()
                    }
                    _ => {
                        assert!(runtime.run("1 + 1").await.unwrap().outcome.is_completed());
                        0
                    }
                }
            });
        }
        let most = turns.join_all().await.into_iter().max();
        assert!(most <= Some(2), "{most:?} at once");
        let status = runtime.status().await;
        assert_eq!(status.crashed, 0);
    })
    .await;
}

/// Where its code is, can be told of a script that was forked from the zygote.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forked_script_says_where_it_is() {
    guarded(async {
        let (folder, _) = folder(&[("a.py", "def turns():\n    while True: pass\nturns()")]);
        let runtime = pool(spec(folder.path()).preload(["json"])).start().await.unwrap();
        let execution = runtime.execute(Script::file("a.py")).await.unwrap();
        let begun = std::time::Instant::now();
        loop {
            // It is there when it writes its stacks in time, which a busy machine may not let it.
            let told = execution.inspect().await.map(|activity| activity.to_string()).unwrap_or_default();
            if told.contains("a.py:2 in turns") {
                break;
            }
            assert!(begun.elapsed() < SOON, "{told}");
        }
        execution.cancel();
    })
    .await;
}
