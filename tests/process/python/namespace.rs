//! What persists and what does not: namespaces, arguments, scripts, await.

use std::time::Duration;

use ostler::{Failure, Outcome, Request, SubmitError, Value};

use super::{completed, one, prints, shows};
use crate::support::wait::guarded;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_execution_of_the_pool_has_a_fresh_namespace() {
    guarded(async {
        let runtime = one().start().await.unwrap();
        let code = "import json, os\nassert 'x' not in globals() and 'json' not in dir()[:0]\nx = 1\n\
                    assert set(globals()) - {'x', 'json', 'os'} == {n for n in globals() if n.startswith('__')}\nos.getpid()";
        let mut pids = Vec::new();
        for _ in 0..5 {
            let report = runtime.run(code).await.unwrap();
            completed(&report);
            pids.push(report.value().cloned());
        }
        pids.dedup();
        assert_eq!(pids.len(), 1, "one worker served them all");
        let report = runtime.run("x").await.unwrap();
        assert!(report.outcome.to_string().ends_with("NameError: name 'x' is not defined"), "{}", report.outcome);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leased_session_keeps_its_namespace_and_its_worker_serves_nobody_else() {
    guarded(async {
        let runtime = one().start().await.unwrap();
        let session = runtime.session().await.unwrap();
        prints(&session, "import math\ndef area(r): return round(math.pi * r * r)\nsecret = 'mine'").await;
        assert_eq!(shows(&session, "area(10)").await, "314");
        assert_eq!(shows(&session, "_ + 1").await, "315");
        assert_eq!(shows(&session, "import __main__; __main__.secret").await, "'mine'");
        let (pid, generation) = (session.pid(), session.generation());
        drop(session);

        let next = runtime.session().await.unwrap();
        assert_ne!(next.pid(), pid, "the worker of a lease is replaced");
        assert!(next.generation() > generation);
        assert_eq!(shows(&next, "'secret' in globals()").await, "False");
    })
    .await;
}

/// D4.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_execution_on_a_busy_session_waits_in_its_bounded_line() {
    guarded(async {
        let runtime = one().session_queue(2).start().await.unwrap();
        let session = runtime.session().await.unwrap();
        let mut first = session.execute("order = [1]\ninput()").await.unwrap();
        let request = loop {
            if let Some(ostler::Event::Input(input)) = first.next().await {
                break input.request;
            }
        };
        let second = session.execute("order.append(2)").await.unwrap();
        let third = session.execute("order.append(3)\norder").await.unwrap();
        let fourth = session.execute("order.append(4)").await;
        assert_eq!(fourth.map(|it| it.id()).unwrap_err(), SubmitError::SessionQueueFull { limit: 2 });
        first.input(request, "");
        assert!(first.outcome().await.is_completed());
        assert!(second.outcome().await.is_completed());
        assert_eq!(third.outcome().await.to_string(), "[1, 2, 3]");
    })
    .await;
}

/// Code is no program, whatever it is called: arguments and a file are what a `Script` has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_has_a_name_and_a_module_path_and_no_arguments() {
    let code = "import sys\nprint(__name__, '__file__' in globals(), sys.argv, sys.path[0])";
    guarded(async {
        let runtime = one().start().await.unwrap();
        let request = Request::python(code).filename("/no/where/tool.py").sys_path(["/no/where"]);
        let report = runtime.run(request).await.unwrap();
        completed(&report);
        assert_eq!(report.stdout_text(), "__main__ False [''] /no/where\n");
        let report = runtime.run("import sys; sys.argv, '/no/where' in sys.path").await.unwrap();
        assert_eq!(report.outcome.to_string(), "([''], False)", "nothing of it stays");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_may_name_its_working_folder() {
    guarded(async {
        let runtime = one().start().await.unwrap();
        let home = runtime.run("import os; os.getcwd()").await.unwrap().outcome.to_string();
        let report = runtime.run(Request::python("import os; os.getcwd()").cwd("/proc")).await.unwrap();
        assert_eq!(report.value(), Some(&Value::from("/proc")));
        let after = runtime.run("import os; os.getcwd()").await.unwrap().outcome.to_string();
        assert_eq!(after, home, "the folder was lent");
        let report = runtime.run(Request::python("1").cwd("/no/such/folder")).await.unwrap();
        let refused = matches!(&report.outcome, Outcome::Failed(Failure::Protocol { what }) if what.contains("/no/such/folder"));
        assert!(refused, "{}", report.outcome);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn top_level_await_runs_and_tasks_live_on_in_a_lease() {
    guarded(async {
        let runtime = one().start().await.unwrap();
        let session = runtime.session().await.unwrap();
        let code = "import asyncio\nasync def later(): await asyncio.sleep(0.01); return 7\n\
                    task = asyncio.create_task(later())\nawait asyncio.sleep(0)\nlen(asyncio.all_tasks())";
        assert_eq!(shows(&session, code).await, "2");
        assert_eq!(shows(&session, "await task").await, "7");
    })
    .await;
}

/// P6 by deadline: it is told when it passes, and the session keeps its state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_ends_the_code_and_not_the_session() {
    guarded(async {
        let runtime = one().grace(Duration::from_secs(20)).start().await.unwrap();
        let session = runtime.session().await.unwrap();
        session.run("kept = 1").await.unwrap();
        let after = Duration::from_millis(100);
        let report = session.run(Request::python("while True: pass").deadline(after)).await.unwrap();
        assert_eq!(report.outcome.kind(), "timed_out", "{}", report.outcome);
        assert_eq!(shows(&session, "kept").await, "1");
    })
    .await;
}
