//! Workers that were forked from a zygote: what code finds in them is what it finds in any other.

use std::time::Duration;

use ostler::{CancelStage, Event, Outcome, Request, Runtime, RuntimeBuilder, WorkerSpec};

use super::{completed, prints, shows};
use crate::{deaths::line, support::wait::guarded};

fn forking<const N: usize>(modules: [&str; N]) -> RuntimeBuilder {
    Runtime::builder(WorkerSpec::python().preload(modules)).max_sessions(2)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forked_workers_have_the_modules_and_share_nothing_else() {
    guarded(async {
        let runtime = forking(["json", "xml.dom"]).start().await.unwrap();
        let (one, other) = (runtime.session().await.unwrap(), runtime.session().await.unwrap());
        for session in [&one, &other] {
            assert_eq!(shows(session, "import sys; {'json', 'xml.dom'} <= set(sys.modules)").await, "True");
            assert_eq!(shows(session, "import json, os; x = hasattr(json, 'mark'); json.mark = 1; x").await, "False");
            assert_eq!(shows(session, "os.environ.setdefault('MARK', str(os.getpid())) == str(os.getpid())").await, "True");
            assert_eq!(shows(session, "os.getpid() == os.getpgrp() and sys.argv").await, "['']");
        }
        assert_ne!(prints(&one, "print(os.getcwd())").await, prints(&other, "print(os.getcwd())").await);
        let chance = "import random, secrets, tempfile, uuid\n\
                      print(random.random(), secrets.token_hex(8), uuid.uuid4(), next(tempfile._get_candidate_names()))";
        let (first, second) = (prints(&one, chance).await, prints(&other, chance).await);
        for (a, b) in first.split_whitespace().zip(second.split_whitespace()) {
            assert_ne!(a, b);
        }
    })
    .await;
}

/// The same generator that a module made for all of them, and those that are the same in each: all differ.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chance_that_was_used_before_the_fork_differs_after_it() {
    guarded(async {
        let runtime = forking(["random", "uuid", "secrets", "tempfile"]).start().await.unwrap();
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..5 {
            let session = runtime.session().await.unwrap();
            for code in [
                "import random; random.random()",
                "import uuid; str(uuid.uuid4())",
                "import uuid; str(uuid.uuid1())",
            ] {
                assert!(seen.insert(shows(&session, code).await), "{code} repeats itself");
            }
        }
    })
    .await;
}

/// The doorbell of each rings in it, and in no other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cancels_deadlines_interrupts_and_input_work_in_forked_workers() {
    guarded(async {
        let runtime = forking([]).grace(Duration::from_secs(30)).start().await.unwrap();
        let (one, other) = (runtime.session().await.unwrap(), runtime.session().await.unwrap());
        completed(&one.run("x = 1").await.unwrap());
        let mut bystander =
            other.execute("import time\nprint('ready')\ntime.sleep(0.5)\n'undisturbed'").await.unwrap();
        line(&mut bystander).await;
        for code in [
            "while True: pass",
            "import time; time.sleep(600)",
            "import subprocess; subprocess.run(['sleep', '600'])",
        ] {
            let mut execution = one.execute(format!("print('ready')\n{code}")).await.unwrap();
            line(&mut execution).await;
            execution.cancel();
            let outcome = execution.outcome().await;
            assert!(
                matches!(&outcome, Outcome::Cancelled(it) if it.stage != CancelStage::Kill),
                "{code}: {outcome}"
            );
        }
        let late = Request::python("while True: pass").deadline(Duration::from_millis(100));
        let outcome = one.execute(late).await.unwrap().outcome().await;
        assert!(matches!(outcome, Outcome::TimedOut(_)), "{outcome}");
        let mut asks = one.execute("input('name? ') + str(x)").await.unwrap();
        while let Some(event) = asks.next().await {
            if let Event::Input(question) = event {
                asks.input(question.request, "n");
            }
        }
        assert_eq!(asks.outcome().await.to_string(), "'n1'");
        assert_eq!(bystander.outcome().await.to_string(), "'undisturbed'");
        assert_eq!(shows(&one, "open(0, closefd=False).read()").await, "''");
    })
    .await;
}
