//! Workers that die (fault rows 11 to 16): what the caller is told, and that the next request works.

use std::time::Duration;

use ostler::{
    Death, DeathCause, Event, Exit, Lost, LostCause, Outcome, Stream,
    protocol::ToWorker,
    testing::{Fact, ScriptedSpawner, Stage},
};
use tokio::time::Instant;

use crate::{
    support::{Pool, guarded},
    workers::{first_does, given, half_spoken, serve},
};

pub(crate) fn died(started: bool, cause: DeathCause, exit: Exit) -> Outcome {
    let death = Death::new(cause, exit);
    Outcome::Lost(Lost { started, cause: LostCause::Died(death) })
}

/// A worker without a pipe for stderr of its own tells of it in frames: its last words are in the story all the same.
#[tokio::test(start_paused = true)]
async fn the_last_words_of_a_worker_are_told_whichever_way_they_came() {
    guarded(async {
        let pool = Pool::start(first_does(|mut stage: Stage, id| async move {
            stage.output(id, Stream::Stderr, "cannot go on").await;
            Err(Exit::Code(3))
        }))
        .await;
        let Outcome::Lost(Lost { started: true, cause: LostCause::Died(death) }) = pool.outcome("x").await
        else {
            panic!("its worker died")
        };
        assert_eq!((death.exit, &*death.stderr), (Exit::Code(3), "cannot go on"));
        pool.close().await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn f11_killed_while_idle_is_replaced_once_and_nobody_is_told() {
    guarded(async {
        let workers = ScriptedSpawner::new(|mut stage: Stage| async move {
            if stage.number() > 1 {
                return serve(stage).await;
            }
            stage.ready().await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            Exit::Signal(9)
        });
        let pool = Pool::start(workers).await;
        let status =
            pool.eventually("it is replaced", |status| status.spawned == 2 && status.idle == 1).await;
        assert_eq!(status.crashed, 1);
        pool.works_on_worker(2).await;
        assert_eq!(pool.workers.spawned(), 2, "one new worker for one death");
        pool.close().await;
    })
    .await;
}

/// Workers of which the first `dying` die when they are given code, before they acknowledge it.
fn dies_unstarted(dying: usize) -> ScriptedSpawner {
    ScriptedSpawner::new(move |mut stage: Stage| async move {
        if stage.number() > dying {
            return serve(stage).await;
        }
        stage.ready().await;
        stage.next_execute().await;
        Exit::Signal(9)
    })
}

#[tokio::test(start_paused = true)]
async fn f12_killed_before_it_started_the_code_hands_it_to_another_worker() {
    guarded(async {
        let pool = Pool::start(dies_unstarted(1)).await;
        let mut execution = pool.runtime.execute("worker").await.unwrap();
        let mut events = Vec::new();
        while let Some(event) = execution.next().await {
            events.push(event);
        }
        assert!(matches!(events[..], [Event::Started { pid: Some(2), .. }]), "one start is seen: {events:?}");
        assert_eq!(execution.outcome().await.value(), Some(&2.into()));
        assert_eq!(given(&pool.workers, "worker"), 2);
        assert_eq!(pool.status().await.totals.requeued, 1);
        pool.close().await;
    })
    .await;
}

/// Also the limit of P5: once.
#[tokio::test(start_paused = true)]
async fn f12_a_second_death_before_the_start_is_told_and_proves_that_nothing_ran() {
    guarded(async {
        let pool = Pool::start(dies_unstarted(2)).await;
        assert_eq!(pool.outcome("worker").await, died(false, DeathCause::Itself, Exit::Signal(9)));
        assert_eq!(given(&pool.workers, "worker"), 2, "no third worker is tried");
        pool.works_on_worker(3).await;
        assert_eq!(pool.status().await.totals.requeued, 1);
        pool.close().await;
    })
    .await;
}

/// The one that lost its worker does not queue again behind those that came later.
#[tokio::test(start_paused = true)]
async fn f12_a_requeued_request_keeps_its_place() {
    guarded(async {
        let pool = Pool::start(dies_unstarted(1)).await;
        let first = pool.runtime.execute("first").await.unwrap();
        let second = pool.runtime.execute("second").await.unwrap();
        assert!(first.outcome().await.is_completed() && second.outcome().await.is_completed());
        let taken: Vec<_> = pool.workers.log().into_iter().filter(|entry| entry.worker == 2).collect();
        let codes: Vec<_> = taken
            .iter()
            .filter_map(|entry| match &entry.fact {
                Fact::Received(ToWorker::Execute(execute)) => Some(execute.code.as_str()),
                _other => None,
            })
            .collect();
        assert_eq!(codes, ["first", "second"]);
        pool.close().await;
    })
    .await;
}

/// Also rows 16 and 5 in service: whatever ends it, the cause is told, at once, behind what had been printed.
#[tokio::test(start_paused = true)]
async fn f13_f16_killed_while_it_runs_is_told_at_once_with_the_signal() {
    for exit in
        [Exit::Signal(9), Exit::Signal(11), Exit::Signal(6), Exit::Signal(7), Exit::Code(0), Exit::Code(3)]
    {
        guarded(async {
            let pool = Pool::start(first_does(move |mut stage, id| async move {
                stage.output(id, Stream::Stdout, "one ").await;
                stage.print(Stream::Stdout, "two ").await;
                stage.output(id, Stream::Stdout, "three").await;
                Err(exit)
            }))
            .await;
            let begun = Instant::now();
            let report = pool.runtime.run("runs").await.unwrap();
            assert_eq!(report.outcome, died(true, DeathCause::Itself, exit));
            assert!(begun.elapsed() <= Duration::from_millis(100), "P7: {:?}", begun.elapsed());
            let text = report.stdout_text();
            assert!(text.contains("one three") || text.contains("one two three"), "in order: {text}");
            assert_eq!(text.len(), "one two three".len(), "none lost: {text}");
            pool.works_on_worker(2).await;
            assert_eq!(pool.status().await.crashed, 1);
            pool.close().await;
        })
        .await;
    }
}

/// Row 14, fixed: what it had begun to say is a broken frame, the exit is told with it, and no part is delivered.
#[tokio::test(start_paused = true)]
async fn f14_killed_in_the_middle_of_a_frame_names_the_bytes_that_came() {
    for sent in [1, 3, 4, 5, 20] {
        guarded(async {
            let pool = Pool::start(first_does(move |stage, id| half_spoken(stage, id, sent))).await;
            let Outcome::Lost(Lost { started: true, cause: LostCause::Died(death) }) =
                pool.outcome("runs").await
            else {
                panic!("its worker died")
            };
            let DeathCause::Protocol(what) = &death.cause else { panic!("{death}") };
            assert!(
                what.starts_with(&format!("stream ended inside a frame: got {sent} bytes of it")),
                "{what}"
            );
            assert_eq!(death.exit, Exit::Signal(9));
            pool.works_on_worker(2).await;
            pool.close().await;
        })
        .await;
    }
}

/// The corpse is never offered, or hands back what it was given: the next request does not notice.
#[tokio::test(start_paused = true)]
async fn f15_dies_right_after_its_result_and_the_next_request_does_not_notice() {
    for reaped_after in [0, 1, 30, 500] {
        guarded(async {
            let workers = first_does(|mut stage, id| async move {
                stage.completed(id, "done").await;
                Err(Exit::Signal(9))
            })
            .reaped_after(Duration::from_millis(reaped_after));
            let pool = Pool::start(workers).await;
            assert_eq!(pool.outcome("last words").await.value(), Some(&"done".into()));
            pool.works_on_worker(2).await;
            pool.close().await;
        })
        .await;
    }
}
