//! Operations as such: each has a name, a state, a limit and a way to stop it, and there may be many.

use std::{sync::Arc, time::Duration};

use ostler::{
    CancelStage, Cancelled, Exit, Failure, Outcome, Phase, Request, Stream, TimedOut, Value,
    config::LATE_IDS_MAX,
    protocol::{Execute, FromWorker, Output},
    testing::{ScriptedSpawner, Stage},
};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    channel_faults::without_time,
    support::{Pool, guarded},
    workers::{deaf, first_does, polite},
};

const SLEEP: &str = "sleep 3600000";

/// E5: wherever an operation is, it is listed by its id with its state, and can be stopped by its id.
#[tokio::test(start_paused = true)]
async fn every_operation_is_listed_with_its_state_and_stopped_by_its_id() {
    guarded(async {
        let pool = Pool::start_with(polite(), |it| it.max_sessions(2)).await;
        let session = pool.runtime.session().await.unwrap();
        let labelled = |label: &str| Request::python(SLEEP).label(label).no_deadline();
        let held = [
            session.execute(labelled("runs in a session")).await.unwrap(),
            session.execute(labelled("waits in a session")).await.unwrap(),
            pool.runtime.execute(labelled("runs")).await.unwrap(),
            pool.runtime.execute(labelled("waits")).await.unwrap(),
        ];
        pool.eventually("two run", |status| status.busy == 1 && status.totals.in_flight == 4).await;
        tokio::time::sleep(Duration::from_secs(1)).await;

        let mut listed = pool.runtime.list().await;
        listed.sort_by_key(|it| it.id);
        let places: Vec<_> =
            listed.iter().map(|it| (it.label.as_deref(), it.phase, it.slot.is_some())).collect();
        assert_eq!(
            places,
            [
                (Some("runs in a session"), Phase::Running, true),
                (Some("waits in a session"), Phase::Queued, false),
                (Some("runs"), Phase::Running, true),
                (Some("waits"), Phase::Queued, false),
            ]
        );
        assert!(listed.iter().zip(&held).all(|(it, held)| it.id == held.id()));
        assert!(listed.iter().all(|it| it.age >= Duration::from_secs(1)), "{listed:?}");

        // The last one first: none of them gets a place that another one leaves.
        for (execution, stage) in
            held.into_iter().zip([CancelStage::Interrupt, CancelStage::Queued].repeat(2)).rev()
        {
            let id = execution.id();
            pool.runtime.cancel(id).await.unwrap();
            assert_eq!(execution.outcome().await, Outcome::Cancelled(Cancelled::new(stage, None)));
            tokio::time::sleep(Duration::from_millis(1)).await;
            assert!(pool.runtime.cancel(id).await.is_err(), "it has ended");
        }
        assert!(pool.runtime.list().await.is_empty());
        drop(session);
        pool.close().await;
    })
    .await;
}

/// E5: and each has its deadline, wherever it is when that passes.
#[tokio::test(start_paused = true)]
async fn every_operation_ends_at_its_deadline_wherever_it_is() {
    guarded(async {
        let pool = Pool::start_with(polite(), |it| it.max_sessions(2)).await;
        let session = pool.runtime.session().await.unwrap();
        let after = Duration::from_secs(5);
        let limited = || Request::python(SLEEP).deadline(after);
        let begun = Instant::now();
        let held = [
            (session.execute(limited()).await.unwrap(), Phase::Running),
            (session.execute(limited()).await.unwrap(), Phase::Queued),
            (pool.runtime.execute(limited()).await.unwrap(), Phase::Running),
            (pool.runtime.execute(limited()).await.unwrap(), Phase::Queued),
        ];
        for (execution, phase) in held {
            assert_eq!(
                execution.outcome().await.without_activity(),
                Outcome::TimedOut(TimedOut::new(after, phase))
            );
            assert_eq!(begun.elapsed(), after);
        }
        drop(session);
        pool.close().await;
    })
    .await;
}

/// F3: 200 tasks, 10 sessions, 10,000 operations of every kind, and each has the end that belongs to it.
#[tokio::test(start_paused = true)]
async fn two_hundred_tasks_do_ten_thousand_operations_on_ten_sessions() {
    const TASKS: u64 = 200;
    const EACH: u64 = 50;
    guarded(async {
        let pool = Pool::start_with(polite(), |it| it.max_sessions(10).queue(200)).await;
        let runtime = Arc::new(pool.runtime.clone());
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            let runtime = Arc::clone(&runtime);
            tasks.spawn(async move {
                for n in 0..EACH {
                    let code = format!("{task} {n}");
                    match n % 5 {
                        0 => {
                            let execution =
                                runtime.execute(Request::python(SLEEP).no_deadline()).await.unwrap();
                            execution.cancel();
                            assert!(matches!(execution.outcome().await, Outcome::Cancelled(_)));
                        }
                        1 => {
                            let report = runtime.run(format!("raise {code}").as_str()).await.unwrap();
                            let Outcome::Failed(Failure::Exception(exception)) = report.outcome else {
                                panic!()
                            };
                            assert_eq!(exception.message, code);
                        }
                        2 => {
                            let report = runtime.run("print 3").await.unwrap();
                            assert_eq!(report.stdout_text(), "012");
                        }
                        _ => {
                            let report = runtime.run(code.as_str()).await.unwrap();
                            assert_eq!(report.value(), Some(&Value::from(code.as_str())));
                        }
                    }
                }
            });
        }
        while let Some(done) = tasks.join_next().await {
            done.unwrap();
        }
        let totals = pool.status().await.totals;
        let share = TASKS * EACH / 5;
        assert_eq!((totals.accepted, totals.cancelled, totals.failed), (5 * share, share, share));
        assert_eq!((totals.completed, totals.lost, totals.in_flight), (3 * share, 0, 0));
        assert_eq!(pool.workers.spawned(), 10, "everybody obeyed, so nobody was replaced");
        drop(runtime);
        pool.close().await;
    })
    .await;
}

/// F15: a worker that does not answer whether it is idle is not asked for ever.
#[tokio::test(start_paused = true)]
async fn a_question_that_is_never_answered_ends_the_worker_at_the_grace() {
    guarded(async {
        let pool = Pool::start(first_does(|mut stage, id| async move {
            stage.send_bytes(&without_time(id)).await;
            deaf(stage, id).await
        }))
        .await;
        let begun = Instant::now();
        assert!(matches!(pool.outcome("runs").await, Outcome::Failed(Failure::Protocol { .. })));
        assert!(begun.elapsed() < Duration::from_millis(10), "its caller is told at once");
        pool.works_on_worker(2).await;
        assert_eq!(begun.elapsed().as_secs(), 1, "the grace is a second: {:?}", begun.elapsed());
        pool.close().await;
    })
    .await;
}

/// B21: a session remembers so many ended executions, whose late frames it forgives, and no more.
#[tokio::test(start_paused = true)]
async fn the_ids_of_ended_executions_are_forgotten_in_the_end() {
    guarded(async {
        let pool = Pool::start(ScriptedSpawner::new(|mut stage: Stage| async move {
            stage.ready().await;
            let mut first = None;
            while let Some(Execute { id, code, .. }) = stage.next_execute().await {
                stage.started(id).await;
                let first = *first.get_or_insert(id);
                if code == "speaks of the first" {
                    stage
                        .send(&FromWorker::Output(Output::new(first, Stream::Stdout, 7_u64, vec![b'x'])))
                        .await;
                }
                stage.completed(id, "done").await;
            }
            Exit::Code(0)
        }))
        .await;
        for _ in 1..LATE_IDS_MAX {
            assert!(pool.outcome("runs").await.is_completed());
        }
        for late in 1..=2 {
            assert!(pool.outcome("speaks of the first").await.is_completed());
            assert_eq!(pool.status().await.totals.late_frames, late);
        }
        let Outcome::Lost(lost) = pool.outcome("speaks of the first").await else {
            panic!("it is forgotten")
        };
        assert!(lost.to_string().contains("which it was never given"), "{lost}");
        pool.close().await;
    })
    .await;
}
