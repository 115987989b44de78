//! Input and the fence (C5, C6, C9, E4): what is asked while code runs, and what was printed before something was said.

use std::time::Duration;

use ostler::{
    Event, Exit, InputRequest, Outcome, Request, Stream,
    protocol::{Display, FromWorker, Mime, MimeData, ToWorker},
    testing::{ScriptedSpawner, Stage},
};
use tokio::time::Instant;

use crate::{
    support::{Pool, guarded},
    workers::first_does,
};

/// Workers that ask, and answer with what they were told, or with `EOF`.
fn asking() -> ScriptedSpawner {
    ScriptedSpawner::new(|mut stage: Stage| async move {
        stage.ready().await;
        while let Some(execute) = stage.next_execute().await {
            stage.started(execute.id).await;
            if execute.code == "worker" {
                stage.completed(execute.id, stage.number() as u64).await;
                continue;
            }
            match stage.input(execute.id, "> ").await {
                Some(answer) if answer.eof => stage.completed(execute.id, "EOF").await,
                Some(answer) => stage.completed(execute.id, answer.value.unwrap_or_default()).await,
                None => return Exit::Code(0),
            }
        }
        Exit::Code(0)
    })
}

async fn asked(execution: &mut ostler::Execution) -> InputRequest {
    while let Some(event) = execution.next().await {
        if let Event::Input(asked) = event {
            return asked;
        }
    }
    panic!("the code asks for input")
}

#[tokio::test(start_paused = true)]
async fn input_is_answered_with_a_line_or_with_its_end() {
    guarded(async {
        let pool = Pool::start(asking()).await;
        for (line, expected) in [(Some("Ada"), "Ada"), (Some(""), ""), (None, "EOF")] {
            let mut execution = pool.runtime.execute("asks").await.unwrap();
            let InputRequest { request, prompt, password } = asked(&mut execution).await;
            assert_eq!((prompt.as_str(), password), ("> ", false));
            match line {
                Some(line) => execution.input(request, line),
                None => execution.end_of_input(request),
            }
            assert_eq!(execution.outcome().await.value(), Some(&expected.into()));
        }
        pool.close().await;
    })
    .await;
}

/// An answer to nothing, to another question, or too late, is no answer and does no harm.
#[tokio::test(start_paused = true)]
async fn an_answer_that_nobody_asked_for_is_ignored() {
    guarded(async {
        let pool = Pool::start(asking()).await;
        let mut execution = pool.runtime.execute("asks").await.unwrap();
        let canceller = execution.canceller();
        let InputRequest { request, .. } = asked(&mut execution).await;
        execution.input(request + 7, "wrong question");
        execution.input(request, "right");
        execution.input(request, "late");
        assert_eq!(execution.outcome().await.value(), Some(&"right".into()));
        canceller.input(request, Some("later still".into()));
        pool.works_on_worker(1).await;
        pool.close().await;
    })
    .await;
}

/// Who waits for input can be cancelled and times out; nothing of the runtime waits with it.
#[tokio::test(start_paused = true)]
async fn an_execution_that_waits_for_input_is_cancelled_and_times_out_as_any() {
    guarded(async {
        let pool = Pool::start(first_does(|mut stage, id| async move {
            for id in [Some(id), None] {
                let id = match id {
                    Some(id) => id,
                    None => stage.next_execute().await.expect("a second one comes").id,
                };
                let question = ostler::protocol::InputRequest::new(id, 1_u64, "> ");
                stage.send(&FromWorker::InputRequest(question)).await;
                stage.wait_for_cancel(id).await;
                stage.cancelled(id).await;
            }
            Ok(stage)
        }))
        .await;
        let mut execution = pool.runtime.execute("asks").await.unwrap();
        asked(&mut execution).await;
        assert_eq!(pool.runtime.list().await.len(), 1, "the supervisor does not wait with it");
        execution.cancel();
        assert!(matches!(execution.outcome().await, Outcome::Cancelled(_)));
        let begun = Instant::now();
        let after = Duration::from_secs(2);
        let outcome = pool.runtime.run(Request::python("asks").deadline(after)).await.unwrap().outcome;
        assert!(matches!(outcome, Outcome::TimedOut(_)) && begun.elapsed() == after, "{outcome}");
        pool.works_on_worker(1).await;
        pool.close().await;
    })
    .await;
}

/// The fence: what was printed before a frame that ends or asks or shows comes before it, and what is printed later
/// does not.
#[tokio::test(start_paused = true)]
async fn what_was_printed_before_is_delivered_before() {
    guarded(async {
        let pool = Pool::start(first_does(|mut stage, id| async move {
            for round in 0..100_u64 {
                stage.print(Stream::Stdout, format!("out{round}")).await;
                stage.print(Stream::Stderr, format!("err{round}")).await;
                if round % 2 == 0 {
                    let mime = Mime(vec![("text/plain".into(), MimeData::Text(round.to_string()))]);
                    stage.send(&FromWorker::Display(Display::new(id, mime))).await;
                } else {
                    let question = ostler::protocol::InputRequest::new(id, round, round.to_string());
                    stage.send(&FromWorker::InputRequest(question)).await;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            stage.print(Stream::Stdout, "last").await;
            stage.completed(id, "done").await;
            tokio::time::sleep(Duration::from_millis(1)).await;
            stage.print(Stream::Stdout, "after").await;
            Ok(stage)
        }))
        .await;
        let mut execution = pool.runtime.execute("prints").await.unwrap();
        let (mut stdout, mut stderr, mut round) = (String::new(), String::new(), 0_u64);
        while let Some(event) = execution.next().await {
            match event {
                Event::Output { stream: Stream::Stdout, data } => stdout += &String::from_utf8_lossy(&data),
                Event::Output { stream: Stream::Stderr, data } => stderr += &String::from_utf8_lossy(&data),
                Event::Display(_) | Event::Input(_) => {
                    assert!(stdout.ends_with(&format!("out{round}")), "before {round}: {stdout}");
                    assert!(stderr.ends_with(&format!("err{round}")), "before {round}: {stderr}");
                    round += 1;
                }
                _other => {}
            }
        }
        assert_eq!(round, 100);
        assert!(stdout.ends_with("last"), "{stdout}");
        assert!(execution.outcome().await.is_completed());
        pool.works_on_worker(1).await;
        pool.close().await;
    })
    .await;
}

/// A thread that prints without end holds no frame: what is there when the frame comes is taken, and no more.
#[tokio::test(start_paused = true)]
async fn a_thread_that_goes_on_printing_does_not_hold_the_result() {
    guarded(async {
        let pool = Pool::start(first_does(|mut stage, id| async move {
            stage.print(Stream::Stdout, "first").await;
            stage.completed(id, "done").await;
            for _ in 0..5_000 {
                stage.print(Stream::Stdout, [b'x'; 64]).await;
                tokio::time::sleep(Duration::from_micros(100)).await;
            }
            Ok(stage)
        }))
        .await;
        let begun = Instant::now();
        let report = pool.runtime.run("prints").await.unwrap();
        assert!(report.stdout_text().starts_with("first"));
        assert!(begun.elapsed() <= Duration::from_millis(2), "{:?}", begun.elapsed());
        pool.works_on_worker(1).await;
        pool.close().await;
    })
    .await;
}

/// C9, E4: figures, cancels and interrupts pass while code runs; the answers come between its output.
#[tokio::test(start_paused = true)]
async fn a_worker_that_is_busy_is_talked_to_all_the_same() {
    guarded(async {
        let pool = Pool::start(first_does(|mut stage, id| async move {
            for beat in 0..50_u64 {
                stage.heartbeat(Some(beat), Some(id)).await;
                stage.output(id, Stream::Stdout, ".").await;
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            assert!(matches!(stage.recv().await, Some(ToWorker::Interrupt)));
            assert!(matches!(stage.recv().await, Some(ToWorker::Cancel(_))));
            stage.cancelled(id).await;
            Ok(stage)
        }))
        .await;
        let execution = pool.runtime.execute("prints").await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        execution.interrupt();
        execution.cancel();
        let report = execution.report().await;
        assert_eq!(report.stdout_text(), ".".repeat(50));
        assert!(matches!(report.outcome, Outcome::Cancelled(_)));
        pool.works_on_worker(1).await;
        pool.close().await;
    })
    .await;
}

/// A report keeps what fits, counts the rest, and has the outcome in any case (P11).
#[tokio::test(start_paused = true)]
async fn a_report_is_cut_at_its_limit_and_says_how_much() {
    guarded(async {
        let workers = first_does(|mut stage, id| async move {
            stage.output(id, Stream::Stdout, "12345").await;
            stage.output(id, Stream::Stderr, "678").await;
            let mime = Mime(vec![("text/plain".into(), MimeData::Text("too long".into()))]);
            stage.send(&FromWorker::Display(Display::new(id, mime))).await;
            stage.output(id, Stream::Stdout, "90abcdef").await;
            stage.completed(id, "done").await;
            Ok(stage)
        });
        let pool = Pool::start_with(workers, |it| it.max_report_bytes(10)).await;
        let report = pool.runtime.run(Request::python("prints").label("cut")).await.unwrap();
        let told = (report.stdout_text(), report.stderr_text());
        assert_eq!(told, ("12345\n[... 7 bytes left out ...]\nf".into(), "678".into()));
        assert_eq!(report.dropped, "text/plain".len() as u64 + 8 + 7);
        assert!(report.displays.is_empty() && report.outcome.is_completed());
        assert_eq!(report.label.as_deref(), Some("cut"));
        pool.close().await;
    })
    .await;
}
