//! Saving and restoring through the pool: the question waits its turn, and has exactly one answer (C7, P1).

use std::time::Duration;

use bytes::Bytes;
use ostler::{
    Checkpoint, Exit, Lost, LostCause, Outcome, StateError, SubmitError,
    protocol::{self, CheckpointData, Codec, FromWorker, Ready, Restored, SkippedName, ToWorker, VERSION},
    testing::{ScriptedSpawner, Stage},
};
use tokio::time::Instant;

use crate::{
    support::{Pool, adds_up, guarded},
    workers::obey,
};

/// What a worker does with a question; `None`: its state, which is one text.
pub(crate) type Deed = fn(&protocol::Checkpoint) -> Option<Vec<FromWorker>>;

/// Workers whose state is what they were last told to `keep`, and that save it in two parts. `poison` kills the worker that
/// it is brought back in; `refusal` is refused.
pub(crate) fn keepers(deed: Deed) -> ScriptedSpawner {
    ScriptedSpawner::new(move |mut stage: Stage| async move {
        let mut ready = Ready::new(VERSION, 1_u32, Codec::MessagePack, "script");
        ready.capabilities.push("checkpoint".into());
        ready.version = Some("7".into());
        stage.send(&FromWorker::Ready(ready)).await;
        let (mut kept, mut incoming) = (String::new(), Vec::new());
        while let Some(message) = stage.recv().await {
            match message {
                ToWorker::Execute(execute) => {
                    let falls = execute.code.strip_prefix("fall ").map(|workers| workers.parse().unwrap());
                    if falls.is_some_and(|workers: usize| stage.number() <= workers) {
                        return Exit::Signal(9);
                    }
                    stage.started(execute.id).await;
                    match execute.code.split_once(' ') {
                        Some(("keep", text)) => kept = text.into(),
                        _ if execute.code == "tell" => {
                            stage.completed(execute.id, kept.as_str()).await;
                            continue;
                        }
                        _ => {
                            if let Some(exit) = obey(&mut stage, execute.id, &execute.code).await {
                                return exit;
                            }
                            continue;
                        }
                    }
                    stage.completed(execute.id, "kept").await;
                }
                ToWorker::Checkpoint(question) => match deed(&question) {
                    Some(answers) if answers.is_empty() => return Exit::Signal(9),
                    Some(answers) => {
                        for answer in answers {
                            stage.send(&answer).await;
                        }
                    }
                    None => save(&mut stage, &question, &kept).await,
                },
                ToWorker::Restore(part) => {
                    incoming.extend_from_slice(&part.data);
                    if part.last {
                        kept = String::from_utf8(std::mem::take(&mut incoming)).unwrap();
                        match kept.as_str() {
                            "poison" => return Exit::Signal(11),
                            "refusal" => {
                                stage.failed(part.id, "ValueError", "not that one").await;
                                continue;
                            }
                            _ => {}
                        }
                        let restored = Restored::new(part.id, vec!["text".to_owned()]);
                        stage.send(&FromWorker::Restored(restored)).await;
                    }
                }
                ToWorker::Cancel(cancel) => stage.cancelled(cancel.id).await,
                ToWorker::Shutdown(_) => return Exit::Code(0),
                _ => {}
            }
        }
        Exit::Code(0)
    })
}

async fn save(stage: &mut Stage, question: &protocol::Checkpoint, kept: &str) {
    let (first, second) = kept.split_at(kept.len() / 2);
    for (number, half) in [(0_u64, first), (1, second)] {
        let mut part = CheckpointData::new(question.id, number, number == 1);
        part.data = Bytes::copy_from_slice(half.as_bytes());
        if part.last {
            part.names.push("text".into());
            part.skipped.push(SkippedName::new("socket", "Socket", "it is open"));
            (part.bytes, part.checksum) = (Some(kept.len() as u64), None);
        }
        stage.send(&FromWorker::CheckpointData(Box::new(part))).await;
    }
}

#[tokio::test(start_paused = true)]
async fn c7_a_state_is_saved_kept_as_bytes_and_restored_elsewhere() {
    guarded(async {
        let pool = Pool::start_with(keepers(|_| None), |it| it.max_sessions(2)).await;
        let session = pool.runtime.session().await.unwrap();
        let text = "x".repeat(9 << 20) + "the end";
        session.run(format!("keep {text}").as_str()).await.unwrap();
        let saved = session.checkpoint().await.unwrap();
        assert_eq!((saved.language(), saved.version()), ("script", Some("7")));
        assert_eq!((saved.names(), saved.data().len()), (&["text".to_owned()][..], text.len()));
        let bytes = saved.to_bytes();
        let (other, restored) =
            pool.runtime.session_from(&Checkpoint::from_bytes(bytes).unwrap()).await.unwrap();
        assert_eq!(restored.names, ["text"]);
        assert_eq!(restored.lost[0].reason, "it was not saved: it is open");
        assert_eq!(other.run("tell").await.unwrap().value(), Some(&text.as_str().into()));
        assert_ne!(session.slot(), other.slot());
        drop((session, other));
        pool.close().await;
    })
    .await;
}

/// Idle only: what was submitted before runs first, what comes after waits.
#[tokio::test(start_paused = true)]
async fn a_question_waits_for_what_runs_and_holds_up_what_follows() {
    guarded(async {
        let pool = Pool::start(keepers(|_| None)).await;
        let session = pool.runtime.session().await.unwrap();
        session.run("keep old").await.unwrap();
        let running = session.execute("sleep 1000").await.unwrap();
        let before = session.execute("keep new").await.unwrap();
        let begun = Instant::now();
        let (saved, after) = tokio::join!(session.checkpoint(), async {
            session.execute("keep newer").await.unwrap().outcome().await
        });
        assert!(begun.elapsed() >= Duration::from_secs(1));
        assert_eq!(saved.unwrap().data()[..], b"new"[..]);
        assert!(after.is_completed() && running.outcome().await.is_completed());
        assert!(before.outcome().await.is_completed());
        adds_up(&pool.status().await);
        drop(session);
        pool.close().await;
    })
    .await;
}

/// F4: the death of the worker is the answer, typed, and the session ends with it.
#[tokio::test(start_paused = true)]
async fn a_worker_that_dies_while_it_saves_is_the_answer() {
    guarded(async {
        let pool = Pool::start(keepers(|_| Some(vec![]))).await;
        let session = pool.runtime.session().await.unwrap();
        let error = session.checkpoint().await.unwrap_err();
        assert!(
            matches!(&error, StateError::Lost(Lost { started: true, cause: LostCause::Died(_) })),
            "{error}"
        );
        let error = session.checkpoint().await.unwrap_err();
        assert!(matches!(error, StateError::Submit(SubmitError::SessionEnded { .. })), "{error}");
        drop(session);
        pool.close().await;
    })
    .await;
}

/// It is cancelled at its limit; a worker that obeys is kept with its state, another is killed at the end of the grace.
#[tokio::test(start_paused = true)]
async fn saving_ends_at_its_limit() {
    guarded(async {
        let limit = Duration::from_secs(5);
        let quiet: Deed = |question| Some(vec![part(question, 0, false)]);
        let pool = Pool::start_with(keepers(quiet), |it| it.checkpoint_timeout(limit)).await;
        let session = pool.runtime.session().await.unwrap();
        let begun = Instant::now();
        session.run("keep it").await.unwrap();
        assert_eq!(session.checkpoint().await, Err(StateError::TimedOut { after: limit }));
        assert!(begun.elapsed() <= limit + Duration::from_millis(250));
        assert_eq!(session.run("tell").await.unwrap().value(), Some(&"it".into()), "it obeyed, and was kept");
        drop(session);
        pool.close().await;
    })
    .await;
}

pub(crate) fn part(question: &protocol::Checkpoint, number: u64, last: bool) -> FromWorker {
    let mut part = CheckpointData::new(question.id, number, last);
    part.data = Bytes::from_static(b"part");
    FromWorker::CheckpointData(Box::new(part))
}

#[tokio::test(start_paused = true)]
async fn a_damaged_a_wrong_and_an_oversized_answer_are_told_as_what_they_are() {
    guarded(async {
        let damaged: Deed = |question| {
            let FromWorker::CheckpointData(mut last) = part(question, 0, true) else { unreachable!() };
            last.checksum = Some("crc32:00000000".into());
            Some(vec![FromWorker::CheckpointData(last)])
        };
        let pool = Pool::start(keepers(damaged)).await;
        let session = pool.runtime.session().await.unwrap();
        let error = session.checkpoint().await.unwrap_err();
        assert!(matches!(&error, StateError::Damaged { got, .. } if got.starts_with("4 bytes")), "{error}");
        assert!(session.run("tell").await.unwrap().outcome.is_completed(), "the session goes on");
        drop(session);
        pool.close().await;

        let oversized: Deed = |question| Some(vec![part(question, 0, false), part(question, 1, false)]);
        let pool = Pool::start_with(keepers(oversized), |it| it.max_checkpoint_bytes(7)).await;
        let session = pool.runtime.session().await.unwrap();
        let error = session.checkpoint().await.unwrap_err();
        assert!(error.to_string().contains("at most 7 bytes were asked for, 8 came"), "{error}");
        drop(session);
        pool.close().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_without_the_capability_is_not_asked_and_serves_on() {
    guarded(async {
        let pool = Pool::start(crate::workers::polite()).await;
        let session = pool.runtime.session().await.unwrap();
        let error = session.checkpoint().await.unwrap_err();
        assert!(error.to_string().contains("does not offer `checkpoint`"), "{error}");
        assert!(matches!(session.run("worker").await.unwrap().outcome, Outcome::Completed(_)));
        drop(session);
        pool.close().await;
    })
    .await;
}

/// B19: dropping the future cancels it, and frees the session.
#[tokio::test(start_paused = true)]
async fn a_question_that_nobody_waits_for_is_cancelled() {
    guarded(async {
        let quiet: Deed = |question| Some(vec![part(question, 0, false)]);
        let pool = Pool::start(keepers(quiet)).await;
        let session = pool.runtime.session().await.unwrap();
        let waited = tokio::time::timeout(Duration::from_secs(1), session.checkpoint()).await;
        assert!(waited.is_err());
        assert!(session.run("tell").await.unwrap().outcome.is_completed());
        drop(session);
        pool.close().await;
    })
    .await;
}
