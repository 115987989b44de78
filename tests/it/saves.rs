//! States that are saved without being asked for: when, where, and that nobody waits for it in vain (P10).

use std::{fs, num::NonZeroU32, path::Path, time::Duration};

use ostler::{
    OnDeath, Outcome, RuntimeBuilder, Session, SessionEvent, StateError, StoreError, Value,
    testing::ScriptedSpawner,
};
use tokio::time::{Instant, sleep};

use crate::{
    state::{Deed, keepers, part},
    support::{Pool, guarded},
};

const SECOND: Duration = Duration::from_secs(1);

fn faithful() -> ScriptedSpawner {
    keepers(|_| None)
}

/// Saves nothing, and says nothing.
const SILENT: Deed = |question| Some(vec![part(question, 0, false)]);

async fn restoring(change: impl FnOnce(RuntimeBuilder) -> RuntimeBuilder) -> (Pool, Session) {
    let pool = Pool::start_with(faithful(), |it| change(it.on_death(OnDeath::Restore))).await;
    let session = pool.runtime.session().await.unwrap();
    (pool, session)
}

async fn named(folder: &Path, workers: ScriptedSpawner) -> (Pool, Session) {
    let pool = Pool::start_with(workers, |it| it.state_dir(folder)).await;
    let (session, _) = pool.runtime.session_named("work").await.unwrap();
    (pool, session)
}

/// What a host that comes later finds.
async fn found(folder: &Path) -> Option<Value> {
    let (pool, session) = named(folder, faithful()).await;
    let value = session.run("tell").await.unwrap().value().cloned();
    drop(session);
    pool.close().await;
    value
}

async fn after_its_death(session: &Session) -> (Option<Value>, u64) {
    let died = session.run("die 9").await.unwrap().outcome;
    assert!(matches!(died, Outcome::Lost(_)), "{died}");
    let report = session.run("tell").await.unwrap();
    (report.value().cloned(), report.restored.expect("it is told").unsaved)
}

#[tokio::test(start_paused = true)]
async fn a_session_without_a_name_is_saved_in_memory_behind_so_many_executions() {
    guarded(async {
        let (pool, session) = restoring(|it| it.save_every(NonZeroU32::new(2).unwrap())).await;
        for text in ["keep one", "keep two", "keep three"] {
            session.run(text).await.unwrap();
        }
        pool.eventually("saved", |status| status.saved == 1).await;
        assert_eq!(session.last_save(), Some(Ok(1)));
        assert_eq!(after_its_death(&session).await, (Some("two".into()), 2));
        let status = pool.status().await;
        assert_eq!((status.saved, status.not_saved, status.restored), (1, 0, 1));
        drop(session);
        pool.close().await;
    })
    .await;
}

/// Time alone saves a session, once; one that runs is not disturbed, and saved when it is free.
#[tokio::test(start_paused = true)]
async fn a_session_is_saved_after_a_while_when_nothing_runs_in_it() {
    guarded(async {
        let (pool, session) = restoring(|it| it.save_interval(10 * SECOND)).await;
        sleep(30 * SECOND).await;
        assert_eq!(pool.status().await.saved, 0, "there is nothing to save");
        session.run("keep one").await.unwrap();
        pool.eventually("it was due, and waited for something to save", |status| status.saved == 1).await;
        session.run("keep two").await.unwrap();
        sleep(9 * SECOND).await;
        assert_eq!(pool.status().await.saved, 1, "not yet");
        pool.eventually("its time has come", |status| status.saved == 2).await;
        sleep(100 * SECOND).await;
        assert_eq!(pool.status().await.saved, 2, "once");
        session.run("keep three").await.unwrap();
        assert!(session.run("sleep 20000").await.unwrap().outcome.is_completed());
        sleep(SECOND).await;
        assert_eq!(pool.status().await.saved, 4, "one behind each that found it due");
        assert_eq!(after_its_death(&session).await, (Some("three".into()), 1));
        drop(session);
        pool.close().await;
    })
    .await;
}

/// Who drops it, lets it expire, or ends the pool, loses nothing.
#[tokio::test(start_paused = true)]
async fn a_named_session_is_saved_before_it_ends_however_it_ends() {
    guarded(async {
        for end in ["drop", "expiry", "shutdown", "last handle"] {
            let folder = tempfile::tempdir().unwrap();
            let pool =
                Pool::start_with(faithful(), |it| it.state_dir(folder.path()).session_timeout(60 * SECOND))
                    .await;
            let (mut session, restored) = pool.runtime.session_named("work").await.unwrap();
            assert_eq!(restored, None);
            session.run(format!("keep {end}").as_str()).await.unwrap();
            match end {
                "drop" => {
                    drop(session);
                    // Whoever wants the name waits until it is saved.
                    let (session, restored) = pool.runtime.resume("work").await.unwrap();
                    assert_eq!(restored.names, ["text"]);
                    drop(session);
                    pool.close().await;
                }
                "expiry" => {
                    let event = session.next_event().await;
                    assert!(matches!(event, Some(SessionEvent::Ended { .. })), "{event:?}");
                    drop(session);
                    pool.close().await;
                }
                "shutdown" => {
                    pool.runtime.shutdown(5 * SECOND).await;
                    assert_eq!(session.last_save(), Some(Ok(1)));
                    drop(session);
                    pool.close().await;
                }
                _ => {
                    let Pool { runtime, workers } = pool;
                    drop((runtime, session));
                    while workers.live() > 0 {
                        sleep(SECOND / 100).await;
                    }
                    sleep(SECOND).await; // The lock of the folder goes with the last task.
                }
            }
            assert_eq!(found(folder.path()).await, Some(end.into()), "after {end}");
        }
    })
    .await;
}

/// What has been saved is not saved again.
#[tokio::test(start_paused = true)]
async fn a_session_that_ran_nothing_since_its_last_save_just_ends() {
    guarded(async {
        let folder = tempfile::tempdir().unwrap();
        let (pool, session) = named(folder.path(), faithful()).await;
        session.run("keep it").await.unwrap();
        assert_eq!(session.end().await, Ok(1));
        let (session, _) = pool.runtime.resume("work").await.unwrap();
        drop(session);
        let (session, _) = pool.runtime.resume("work").await.unwrap();
        assert_eq!(session.save().await, Ok(2), "nobody saved it in between");
        drop(session);
        pool.close().await;
    })
    .await;
}

/// P10: a save that comes to nothing holds up neither the end of its session, nor its name, nor the shutdown.
#[tokio::test(start_paused = true)]
async fn a_save_that_hangs_or_fails_holds_nothing_up_beyond_its_limit() {
    guarded(async {
        let folder = tempfile::tempdir().unwrap();
        let pool = Pool::start_with(keepers(SILENT), |it| {
            it.state_dir(folder.path()).checkpoint_timeout(7 * SECOND).max_sessions(2)
        })
        .await;
        let (session, _) = pool.runtime.session_named("work").await.unwrap();
        session.run("keep it").await.unwrap();
        let held = pool.runtime.session_named("work").await.unwrap_err();
        assert_eq!(
            held,
            StateError::Store(StoreError::NameInUse { name: "work".into() }),
            "its holder is there"
        );
        let begun = Instant::now();
        drop(session);
        let (session, restored) = pool.runtime.session_named("work").await.unwrap();
        assert_eq!(restored, None);
        let waited = begun.elapsed();
        assert!(waited >= 7 * SECOND && waited < 9 * SECOND, "{waited:?}");
        assert_eq!(pool.status().await.not_saved, 1);
        session.run("keep it").await.unwrap();
        let begun = Instant::now();
        pool.runtime.shutdown(2 * SECOND).await;
        assert!(begun.elapsed() <= 3 * SECOND, "{:?}", begun.elapsed());
        drop(session);
        pool.close().await;
    })
    .await;
}

/// One that is asked for and one that comes by itself: both are answered, and what waits runs behind them.
#[tokio::test(start_paused = true)]
async fn saves_that_meet_do_not_wait_for_each_other() {
    guarded(async {
        let folder = tempfile::tempdir().unwrap();
        let pool = Pool::start_with(faithful(), |it| {
            it.state_dir(folder.path()).save_every(NonZeroU32::MIN).on_death(OnDeath::Restore)
        })
        .await;
        let (session, _) = pool.runtime.session_named("work").await.unwrap();
        for round in 0..20 {
            let code = format!("keep {round}");
            let (ran, saved, told) =
                tokio::join!(session.run(code.as_str()), session.save(), session.run("tell"));
            assert!(ran.unwrap().outcome.is_completed());
            assert!(saved.unwrap() > 0);
            assert_eq!(told.unwrap().value(), Some(&round.to_string().as_str().into()));
        }
        drop(session);
        pool.close().await;
    })
    .await;
}

/// Whoever opens a pipe that nobody writes waits until somebody does.
fn hang(file: &Path) {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    fs::remove_file(file).unwrap();
    mknodat(CWD, file, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// Fault 82: a session that waits for a disk that hangs ends, and says why; its name is in use until the disk is done.
#[tokio::test]
async fn f82_a_disk_that_hangs_holds_no_session_in_its_restore_beyond_the_limit() {
    guarded(async {
        let folder = tempfile::tempdir().unwrap();
        let pool = Pool::start_with(faithful(), |it| {
            let it = it.state_dir(folder.path()).on_death(OnDeath::Restore);
            it.checkpoint_timeout(2 * SECOND).lease_timeout(2 * SECOND)
        })
        .await;
        let (mut session, _) = pool.runtime.session_named("work").await.unwrap();
        session.run("keep one").await.unwrap();
        assert_eq!(session.save().await, Ok(1));
        let newest = folder.path().join("work/00000001");
        hang(&newest);
        let died = session.run("die 9").await.unwrap().outcome;
        assert!(matches!(died, Outcome::Lost(_)), "{died}");
        let why = loop {
            match session.next_event().await {
                Some(SessionEvent::Ended { why, .. }) => break why,
                Some(_) => {}
                None => panic!("it ended without a word"),
            }
        };
        assert!(why.contains("failed to load") && why.contains("within 2s"), "{why}");
        drop(session);
        let error = pool.runtime.session_named("work").await.unwrap_err();
        assert_eq!(error, StateError::Store(StoreError::NameInUse { name: "work".into() }));
        let begun = Instant::now();
        pool.runtime.shutdown(SECOND).await;
        assert!(begun.elapsed() < 10 * SECOND, "{:?}", begun.elapsed());
        drop(fs::OpenOptions::new().write(true).open(&newest).unwrap());
        pool.close().await;
    })
    .await;
}
