//! Workers in Rust: this test binary once more, in the role of one.

use std::{thread, time::Duration};

use ostler::{
    Event, Outcome, Request, Runtime, Transport, Value, WorkerSpec,
    protocol::{Mime, MimeData},
};
use ostler_worker::{Error, Task, Worker};

use crate::{conform::example_worker, support::wait::guarded};

/// What a host sets for each of its workers.
const TRANSPORT: &str = "OSTLER_TRANSPORT";

/// The worker, if a host has started this process. Its harness prints, so it speaks on a socket only.
#[test]
fn a_worker() {
    if std::env::var_os(TRANSPORT).is_some() {
        Worker::new("test").run(|task| match task.code() {
            "prints" => prints(task),
            "asks" => asks(task),
            other => Err(Error::syntax(other)),
        });
    }
}

/// Prints with what the standard library has, which keeps an unfinished line.
fn prints(task: &Task<'_>) -> Result<Value, Error> {
    print!("before the display, ");
    task.display(Mime(vec![("text/plain".into(), MimeData::Text("shown".into()))]))?;
    print!("before the question, ");
    let line = task.input("?")?;
    print!("before the password, ");
    task.password("??")?;
    print!("before the end");
    Ok(line.into())
}

/// Two threads ask at once.
fn asks(task: &Task<'_>) -> Result<Value, Error> {
    thread::scope(|scope| {
        let asked = ["a", "b"].map(|prompt| scope.spawn(move || task.input(prompt)));
        let answers = asked.map(|thread| thread.join().expect("it only asks"));
        answers
            .into_iter()
            .map(|line| Ok(line?.into()))
            .collect::<Result<Vec<Value>, Error>>()
            .map(Value::List)
    })
}

fn worker() -> WorkerSpec {
    let test = std::env::current_exe().unwrap();
    WorkerSpec::command(test)
        .arg("--exact")
        .arg("rust_worker::a_worker")
        .arg("--nocapture")
        .transport(Transport::Socket)
}

/// PROTOCOL.md, "The fence": whatever was printed comes before the display, the question and the end behind it.
#[tokio::test]
async fn what_a_worker_in_rust_has_printed_comes_before_what_it_shows_and_asks() {
    guarded(async {
        let runtime = Runtime::builder(worker()).max_sessions(1).start().await.unwrap();
        let mut execution = runtime.execute(Request::new("prints")).await.unwrap();
        let mut seen = String::new();
        while let Some(event) = execution.next().await {
            match event {
                Event::Output { data, .. } => seen.push_str(&String::from_utf8_lossy(&data)),
                Event::Display(_) => seen.push_str("[display] "),
                Event::Input(question) => {
                    seen.push_str(if question.password { "[password] " } else { "[question] " });
                    execution.input(question.request, "an answer");
                }
                other => assert!(matches!(other, Event::Started { .. }), "{other:?}"),
            }
        }
        // What is printed behind a display may overtake it: the pipe is read up to where it is when the display arrives.
        let place = |word: &str| seen.find(word).unwrap_or_else(|| panic!("no {word:?} in {seen:?}"));
        for event in ["display", "question", "password"] {
            assert!(place(&format!("before the {event}")) < place(&format!("[{event}]")), "{seen:?}");
        }
        place("before the end");
        let outcome = execution.outcome().await;
        assert!(
            matches!(&outcome, Outcome::Completed(done) if done.value == Some("an answer".into())),
            "{outcome}"
        );
        runtime.shutdown(Duration::from_secs(1)).await;
    })
    .await;
}

#[tokio::test]
async fn two_threads_of_a_worker_in_rust_ask_at_once_and_both_are_answered() {
    guarded(async {
        let runtime = Runtime::builder(worker()).max_sessions(1).start().await.unwrap();
        for round in 0..3 {
            let mut execution = runtime.execute(Request::new("asks")).await.unwrap();
            let mut asked = Vec::new();
            while let Some(event) = execution.next().await {
                if let Event::Input(question) = event {
                    asked.push(question);
                    if asked.len() == 2 {
                        asked.iter().rev().for_each(|one| execution.input(one.request, one.prompt.clone()));
                    }
                }
            }
            let outcome = execution.outcome().await;
            let both = Value::List(vec!["a".into(), "b".into()]);
            assert!(
                matches!(&outcome, Outcome::Completed(done) if done.value == Some(both)),
                "{round}: {outcome}"
            );
        }
        runtime.shutdown(Duration::from_secs(1)).await;
    })
    .await;
}

/// The example: it keeps its state, an error is the code's own, and what would run for ever is stopped.
#[tokio::test]
async fn a_session_of_the_example_goes_on_behind_an_error_and_behind_a_stop() {
    guarded(async {
        let runtime = Runtime::builder(WorkerSpec::command(example_worker())).start().await.unwrap();
        let session = runtime.session().await.unwrap();
        let report = session.run("say hello\nkeep greeting hi\nsum 40 2").await.unwrap();
        assert_eq!((&*report.stdout_text(), report.value()), ("hello\n", Some(&Value::from(42))));
        let report = session.run("sum 1 two").await.unwrap();
        assert!(matches!(report.outcome, Outcome::Failed(_)), "{}", report.outcome);
        let late = Request::new("spin").deadline(Duration::from_millis(200));
        let outcome = session.run(late).await.unwrap().outcome;
        assert!(matches!(outcome, Outcome::TimedOut(_)), "{outcome}");
        let report = session.run("get greeting").await.unwrap();
        assert_eq!(report.value(), Some(&Value::from("hi")));
        runtime.shutdown(Duration::from_secs(1)).await;
    })
    .await;
}
