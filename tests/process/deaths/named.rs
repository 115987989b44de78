//! Named sessions: their state outlives their worker, their runtime, and a host that is killed at any moment (B7, F4).

use std::{num::NonZeroU32, path::Path, time::Duration};

use ostler::{Runtime, StartError, StateError, StoreError, WorkerSpec};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::subhost::{Host, say};
use crate::{
    python::{completed, one, shows},
    support::wait::{SOON, eventually, guarded},
};

/// How often a host is killed, unless `OSTLER_KILLS` says so.
const KILLS: u32 = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_named_session_goes_on_after_its_worker_and_in_another_runtime() {
    guarded(async {
        let folder = tempfile::tempdir().unwrap();
        let runtime = one().state_dir(folder.path()).start().await.unwrap();
        let missing = runtime.resume("work").await.unwrap_err();
        assert_eq!(missing, StateError::NotSaved { name: "work".into() });
        let (session, restored) = runtime.session_named("work").await.unwrap();
        assert_eq!((session.name(), restored, session.last_save()), (Some("work"), None, None));
        completed(&session.run("import threading\nx = [1]; y = x; lock = threading.Lock()").await.unwrap());
        assert_eq!(session.save().await, Ok(1));
        let taken = runtime.session_named("work").await.unwrap_err();
        assert_eq!(taken, StateError::Store(StoreError::NameInUse { name: "work".into() }));
        completed(&session.run("x.append(2)").await.unwrap());
        let aborted = session.run("import os; os.abort()").await.unwrap().outcome;
        assert!(matches!(aborted, ostler::Outcome::Lost(_)), "{aborted}");
        let error = session.save().await.unwrap_err();
        assert!(matches!(error, StateError::Submit(_)), "{error}");
        assert_eq!(session.last_save(), Some(Err(error)));
        drop(session);

        let (session, restored) = runtime.resume("work").await.unwrap();
        assert_eq!(restored.lost[0].name, "lock");
        assert_eq!(shows(&session, "x, y is x").await, "([1], True)", "as it was last saved");
        completed(&session.run("x.append(3)").await.unwrap());
        assert_eq!(session.end().await, Ok(2));
        runtime.shutdown(Duration::from_secs(1)).await;
        drop(runtime);

        let runtime = one().state_dir(folder.path()).start().await.unwrap();
        assert_eq!(runtime.saved_sessions().await.unwrap(), ["work"]);
        let (session, _) = runtime.resume("work").await.unwrap();
        assert_eq!(shows(&session, "x").await, "[1, 3]");
    })
    .await;
}

/// Fault 66, and what is refused before anything runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f66_two_hosts_never_share_a_state_folder() {
    guarded(async {
        let folder = tempfile::tempdir().unwrap();
        let mut host = Host::start("saves", folder.path().to_str().unwrap(), "");
        host.says("saved");
        let error = one().state_dir(folder.path()).start().await.unwrap_err();
        let StartError::Store(StoreError::InUse { pid: Some(pid), .. }) = &error else { panic!("{error}") };
        assert_ne!(*pid, std::process::id());
        host.kill();
        // The kernel gives a lock back a moment after the process is gone.
        let runtime = one().state_dir(folder.path()).start().await.unwrap();
        let error = runtime.session_named("no/name").await.unwrap_err();
        assert!(matches!(error, StateError::Store(StoreError::Name { .. })), "{error}");
        let session = runtime.session().await.unwrap();
        assert_eq!(session.save().await, Err(StateError::Nameless));
        let plain = one().start().await.unwrap();
        assert_eq!(plain.saved_sessions().await, Err(StateError::NotKept));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_saved_behind_every_so_many_executions() {
    guarded(async {
        let folder = tempfile::tempdir().unwrap();
        let every = NonZeroU32::new(3).unwrap();
        let runtime = one().state_dir(folder.path()).save_every(every).start().await.unwrap();
        let (session, _) = runtime.session_named("counts").await.unwrap();
        completed(&session.run("n = 1").await.unwrap());
        completed(&session.run("n = 2").await.unwrap());
        assert_eq!(session.last_save(), None);
        completed(&session.run("n = 3").await.unwrap());
        eventually("it is saved", SOON, || session.last_save() == Some(Ok(1))).await;
        completed(&session.run("n = 4").await.unwrap());
        drop(session);
        // Whoever wants the name waits until the last state is saved, and no longer.
        let (session, _) = runtime.resume("counts").await.unwrap();
        assert_eq!(shows(&session, "n").await, "4", "what was not saved yet is saved when the lease ends");
    })
    .await;
}

/// Faults 59 and 63: whatever the host was doing, a state that it has answered for is there, and it is a whole one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f63_a_named_session_resumes_after_its_host_was_killed_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let kills = std::env::var("OSTLER_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let mut chance = StdRng::seed_from_u64(63);
    let mut known = 0;
    for kill in 0..kills {
        guarded(async {
            let mut host = Host::start("saves", folder.path().to_str().unwrap(), "");
            for _ in 0..chance.random_range(1..5) {
                known = host.says("saved").parse::<u64>().unwrap();
            }
            tokio::time::sleep(Duration::from_micros(chance.random_range(0..30_000))).await;
            host.kill();
            let runtime = one().state_dir(folder.path()).start().await.unwrap();
            let (session, restored) = runtime.resume("work").await.unwrap();
            assert_eq!(restored.lost, []);
            let found: u64 = shows(&session, "n").await.parse().unwrap();
            assert!(found >= known, "kill {kill}: {known} was answered for, {found} is there");
            assert_eq!(shows(&session, "copies == [n] * 1000").await, "True", "all of one moment");
            runtime.shutdown(Duration::ZERO).await;
        })
        .await;
    }
}

/// The host of these tests: it counts, and says what it has saved.
pub(super) async fn saves(folder: &Path) {
    let runtime =
        Runtime::builder(WorkerSpec::python()).max_sessions(1).state_dir(folder).start().await.unwrap();
    let (session, _) = runtime.session_named("work").await.unwrap();
    loop {
        let count = "n = globals().get('n', 0) + 1\ncopies = [n] * 1000\nn";
        let report = session.run(count).await.unwrap();
        completed(&report);
        session.save().await.unwrap();
        say("saved", &report.outcome);
    }
}
