//! What is told of code that is late: where it is, what it waits for, and who works for it.

use std::time::Duration;

use ostler::{
    Activity, CancelStage, Event, Execution, Failure, Outcome, Phase, Request, Runtime, Transport, WorkerSpec,
};

use crate::{
    python::{completed, one, prints},
    support::wait::guarded,
};

/// Where the code is, as the first line of the stack says.
fn place(activity: &Activity) -> String {
    let main = activity.stacks.iter().find(|stack| stack.main);
    main.and_then(|stack| stack.calls.first()).map_or_else(|| format!("{activity:?}"), ToString::to_string)
}

async fn prints_something(execution: &mut Execution) {
    while !matches!(execution.next().await.unwrap(), Event::Output { .. }) {}
}

/// Waits until the code is in this function.
async fn arrives(execution: &Execution, function: &str) {
    let is_there = |activity: &Activity| place(activity).ends_with(function);
    while !execution.inspect().await.as_ref().is_some_and(is_there) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

const WAITS: &str = "
import subprocess, threading, time
def helps():
    time.sleep(60)
threading.Thread(target=helps, daemon=True).start()
child = subprocess.Popen(['sleep', '61'])
def waits():
    print('here', flush=True)
    time.sleep(60)
waits()
";

/// Issue 2, timeouts that explain: the stacks of all threads, age of the last output, waiting, children.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_says_where_the_code_was_and_what_it_waited_for() {
    guarded(async {
        for transport in [Transport::Socket, Transport::Stdio] {
            let runtime = Runtime::builder(WorkerSpec::python().transport(transport)).start().await.unwrap();
            // Long enough for two looks at the worker, which tell what it used.
            let request = Request::python(WAITS).filename("waits.py").deadline(Duration::from_millis(2_500));
            let outcome = runtime.run(request).await.unwrap().outcome;
            let Outcome::TimedOut(timed_out) = &outcome else { panic!("{outcome}") };
            assert_eq!(timed_out.phase, Phase::Running);
            let activity = outcome.activity().unwrap();
            assert!(place(activity).ends_with("waits.py:9 in waits"), "{activity}");
            let calls = |at: usize| {
                activity.stacks[at].calls.iter().map(|call| call.function.as_str()).collect::<Vec<_>>()
            };
            assert_eq!(calls(0), ["waits", "<module>"], "only theirs: {activity}");
            assert_eq!((activity.stacks.len(), calls(1)[0]), (2, "helps"), "{activity}");
            let [child] = activity.children.as_slice() else { panic!("{activity}") };
            assert_eq!(child.command, "sleep 61");
            let silent = activity.silent_for.unwrap();
            assert!(silent > Duration::from_secs(1) && silent < activity.running_for.unwrap(), "{activity}");
            let load = activity.load.expect("it was looked at");
            assert!(load.processors() < 0.5, "{activity}");
            assert!(activity.vitals.is_some_and(|vitals| vitals.memory > 1 << 20), "{activity}");
            println!("{outcome}\n\n{activity}\n");
            runtime.shutdown(Duration::ZERO).await;
        }
    })
    .await;
}

const SUMS: &str = "def sums():\n    sum(range(10**13))\nprint(1)\nsums()";

/// A cancel that ends in a kill tells where C code was called that held the interpreter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kill_says_where_the_code_was_that_did_not_stop() {
    guarded(async {
        let runtime = one().grace(Duration::from_millis(1_500)).start().await.unwrap();
        let session = runtime.session().await.unwrap();
        let execution = session.execute(Request::python(SUMS).filename("sums.py")).await;
        let execution = execution.unwrap();
        // Twice, so that the call has begun: until it has, an interrupt is obeyed.
        for _ in 0..2 {
            arrives(&execution, "in sums").await;
        }
        execution.cancel_because("enough");
        let outcome = execution.outcome().await;
        let Outcome::Cancelled(cancelled) = &outcome else { panic!("{outcome}") };
        assert_eq!(cancelled.stage, CancelStage::Kill);
        let activity = outcome.activity().unwrap();
        assert!(place(activity).ends_with("sums.py:2 in sums"), "{activity}");
        assert!(!activity.load.unwrap().used.is_zero(), "it computed: {activity}");
        println!("{outcome}");
    })
    .await;
}

/// `inspect` looks while code runs, as often as one likes, and the code does not notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_inspected_while_its_code_runs_and_while_it_waits() {
    guarded(async {
        let runtime = one().start().await.unwrap();
        let session = runtime.session().await.unwrap();
        let idle = session.inspect().await.unwrap();
        assert_eq!((idle.execution, idle.running_for), (None, None));
        assert!(idle.stacks.iter().all(|stack| stack.calls.is_empty()), "nothing of theirs: {idle}");

        let code = "def loops():\n    while not stop:\n        pass\nstop = False\nprint(1)\nloops()";
        let execution = session.execute(code).await.unwrap();
        arrives(&execution, "in loops").await;
        // At the same moment, and one after another.
        let (first, second) = tokio::join!(session.inspect(), execution.inspect());
        for activity in [first.unwrap(), second.unwrap(), session.inspect().await.unwrap()] {
            assert_eq!(activity.execution, Some(execution.id()));
            assert!(place(&activity).contains(" in loops"), "{activity}");
            assert!(activity.running_for.is_some());
        }
        execution.cancel();
        assert!(execution.inspect().await.is_none_or(|activity| activity.children.is_empty()));
        let outcome = execution.outcome().await;
        assert!(matches!(&outcome, Outcome::Cancelled(it) if it.stage != CancelStage::Kill), "{outcome}");
        assert_eq!(prints(&session, "print(6 * 7)").await, "42\n", "it goes on");
    })
    .await;
}

/// What the code does to its descriptors and signals costs an answer, never the worker.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_cannot_tell_its_stacks_is_left_alone() {
    guarded(async {
        let runtime = one().start().await.unwrap();
        for (what, code) in [
            ("closes everything", "import os; os.closerange(3, 4096)"),
            ("resets the signal", "import signal; signal.signal(signal.SIGUSR2, signal.SIG_DFL)"),
            ("ignores the signal", "import signal; signal.signal(signal.SIGUSR2, signal.SIG_IGN)"),
        ] {
            let session = runtime.session().await.unwrap();
            let mut execution = session.execute(format!("{code}\nprint(1)\nwhile True: pass")).await.unwrap();
            prints_something(&mut execution).await;
            if let Some(activity) = execution.inspect().await {
                assert!(activity.stacks.is_empty(), "{what}: {activity}");
                assert!(activity.vitals.is_some(), "{what}: {activity}");
            }
            execution.cancel();
            let outcome = execution.outcome().await;
            assert!(!matches!(&outcome, Outcome::Lost(_)) || what.starts_with("closes"), "{what}: {outcome}");
        }
    })
    .await;
}

/// The limits of one request are named in its outcome; a worker that obeys is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_that_uses_too_much_of_a_processor_is_stopped_and_code_that_waits_is_not() {
    guarded(async {
        let runtime = one().start().await.unwrap();
        let limit = Duration::from_millis(200);
        let report = runtime.run(Request::python("while True: pass").max_cpu(limit)).await.unwrap();
        let Outcome::Failed(Failure::CpuLimit { limit: told, used }) = &report.outcome else {
            panic!("{}", report.outcome)
        };
        assert_eq!(*told, limit);
        assert!(*used > limit, "{used:?}");
        // What the worker used before does not count, and neither does waiting.
        let waits = Request::python("import time; time.sleep(0.5); 'here'").max_cpu(limit);
        completed(&runtime.run(waits).await.unwrap());
        assert_eq!(runtime.status().await.spawned, 1, "it obeyed");
        // C code that holds the interpreter has to be killed, and has failed by its limit all the same.
        let report = runtime.run(Request::python("sum(range(10**13))").max_cpu(limit)).await.unwrap();
        assert!(matches!(report.outcome, Outcome::Failed(Failure::CpuLimit { .. })), "{}", report.outcome);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_is_too_large_is_named_with_its_size() {
    guarded(async {
        let runtime = one().start().await.unwrap();
        let report = runtime.run(Request::python("b'x' * 10_000").max_result(9_999)).await.unwrap();
        let Outcome::Failed(Failure::ResultLimit { limit: 9_999, size }) = report.outcome else {
            panic!("{}", report.outcome)
        };
        assert!(size >= 10_000, "{size}");
        completed(&runtime.run(Request::python("'x' * 1_000").max_result(9_999)).await.unwrap());
    })
    .await;
}

/// Memory guard: at the soft limit the code is stopped and the worker serves on, at the hard one the worker is killed, and
/// both say the figures.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f17_code_that_takes_too_much_memory_is_stopped_and_its_worker_is_killed_if_that_does_not_help() {
    const MIB: u64 = 1 << 20;
    guarded(async {
        let runtime = one().soft_memory(64 * MIB).start().await.unwrap();
        let session = runtime.session().await.unwrap();
        completed(&session.run("kept = 41").await.unwrap());
        let grows =
            "taken = []\nimport time\nwhile True:\n    taken.append(bytearray(1 << 20)); time.sleep(0.005)";
        let report = session.run(grows).await.unwrap();
        let Outcome::Failed(Failure::MemoryLimit { limit, used }) = &report.outcome else {
            panic!("{}", report.outcome)
        };
        assert!(*limit == 64 * MIB && *used > *limit, "{used}");
        completed(&session.run("taken.clear()").await.unwrap());
        assert_eq!(prints(&session, "print(kept + 1)").await, "42\n", "its state is there");

        // Without a soft limit nothing else stops it.
        let runtime = one().hard_memory(256 * MIB).start().await.unwrap();
        let report = runtime.run("b = bytearray(300 << 20)\nimport time\ntime.sleep(60)").await.unwrap();
        match &report.outcome {
            Outcome::Lost(lost) => {
                let text = lost.to_string();
                assert!(text.contains("more than its limit of 268435456"), "{text}");
            }
            outcome => panic!("{outcome}"),
        }
        assert_eq!(runtime.status().await.deaths.get("memory_limit"), Some(&1));
    })
    .await;
}
