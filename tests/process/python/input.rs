//! Code that asks for input (C5): it never holds up anything else (E4).

use std::time::Duration;

use ostler::{CancelStage, Event, Execution, InputRequest, Outcome, Phase, Request, TimedOut, Value};

use super::{completed, one, shows};
use crate::support::wait::guarded;

/// Takes events until the code asks.
async fn question(execution: &mut Execution) -> InputRequest {
    while let Some(event) = execution.next().await {
        if let Event::Input(input) = event {
            return input;
        }
    }
    panic!("the code ended without a question")
}

/// C5; E10, the last of three steps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn input_is_answered_by_the_caller() {
    guarded(async {
        let runtime = one().start().await.unwrap();
        let mut execution = runtime.execute("x = input('name? '); print(x)\nx").await.unwrap();
        let asked = question(&mut execution).await;
        assert_eq!((&*asked.prompt, asked.password), ("name? ", false));
        execution.input(asked.request + 17, "not what was asked");
        execution.input(asked.request, "Ada ∑");
        execution.input(asked.request, "too late");
        let report = execution.report().await;
        assert_eq!(report.stdout_text(), "Ada ∑\n");
        assert_eq!(report.value(), Some(&Value::from("Ada ∑")));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_to_read_stdin_asks_the_caller() {
    let code = "import getpass, sys, threading\nlines = [input(), sys.stdin.readline(), getpass.getpass('key: ')]\n\
                thread = threading.Thread(target=lambda: lines.append(input('thread: ')))\nthread.start(); thread.join()\n\
                lines + [line for line in sys.stdin]";
    guarded(async {
        let runtime = one().start().await.unwrap();
        let mut execution = runtime.execute(code).await.unwrap();
        let mut passwords = Vec::new();
        for line in ["a", "b", "c", "d", "e"] {
            let asked = question(&mut execution).await;
            passwords.push(asked.password);
            execution.input(asked.request, line);
        }
        let asked = question(&mut execution).await;
        execution.end_of_input(asked.request);
        let report = execution.report().await;
        assert_eq!(report.outcome.to_string(), r"['a', 'b\n', 'c', 'd', 'e\n']");
        assert_eq!(passwords, [false, false, true, false, false]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_the_input_is_an_eof_error() {
    guarded(async {
        let runtime = one().start().await.unwrap();
        let code = "try: input()\nexcept EOFError: print('end')";
        let mut execution = runtime.execute(code).await.unwrap();
        let asked = question(&mut execution).await;
        execution.end_of_input(asked.request);
        assert_eq!(execution.report().await.stdout_text(), "end\n");

        // Without a question at all, if the caller allows none.
        let report = runtime.run(Request::python(code).allow_input(false)).await.unwrap();
        assert_eq!(report.stdout_text(), "end\n");
    })
    .await;
}

/// C5: a wait for input ends at the deadline, and the session goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn input_that_never_comes_times_out() {
    guarded(async {
        let runtime = one().grace(Duration::from_secs(20)).start().await.unwrap();
        let session = runtime.session().await.unwrap();
        session.run("kept = 1").await.unwrap();
        let after = Duration::from_secs(1);
        let mut execution = session.execute(Request::python("input()").deadline(after)).await.unwrap();
        question(&mut execution).await;
        let outcome = execution.outcome().await;
        assert_eq!(outcome.without_activity(), Outcome::TimedOut(TimedOut::new(after, Phase::Running)));
        assert_eq!(shows(&session, "kept").await, "1");
    })
    .await;
}

/// C5, E4: cancel and interrupt go on while code waits for input.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_for_input_can_be_cancelled_and_interrupted() {
    guarded(async {
        let runtime = one().grace(Duration::from_secs(20)).start().await.unwrap();
        let session = runtime.session().await.unwrap();
        let mut execution = session.execute("input()").await.unwrap();
        question(&mut execution).await;
        execution.cancel();
        let outcome = execution.outcome().await;
        assert!(matches!(&outcome, Outcome::Cancelled(it) if it.stage != CancelStage::Kill), "{outcome}");

        let code = "try: input()\nexcept KeyboardInterrupt: print('interrupted')";
        let mut execution = session.execute(code).await.unwrap();
        question(&mut execution).await;
        execution.interrupt();
        let report = execution.report().await;
        completed(&report);
        assert_eq!(report.stdout_text(), "interrupted\n");
    })
    .await;
}

/// An execution that waits for input blocks no other session, and is listed meanwhile (E5).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn others_run_while_one_waits_for_input() {
    guarded(async {
        let runtime = one().max_sessions(2).start().await.unwrap();
        let mut execution = runtime.execute(Request::python("input()").label("asks")).await.unwrap();
        let asked = question(&mut execution).await;
        for _ in 0..20 {
            completed(&runtime.run("1").await.unwrap());
        }
        let listed = runtime.list().await;
        assert_eq!(listed.iter().map(|it| it.label.as_deref()).collect::<Vec<_>>(), [Some("asks")]);
        execution.input(asked.request, "");
        completed(&execution.report().await);
    })
    .await;
}
