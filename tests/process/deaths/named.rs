//! Named sessions: their state outlives their worker, their runtime, and a host that is killed at any moment (B7, F4).

use std::{
    collections::BTreeMap,
    fs,
    num::NonZeroU32,
    path::{Path, PathBuf},
    time::Duration,
};

use ostler::{Runtime, StartError, StateError, StoreError, WorkerSpec};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::{
    subhost::{Host, say},
    unstarted::{first_act, ran},
};
use crate::{
    python::{completed, one, shows},
    support::{
        processes::{nothing_left, pool_tag},
        wait::{SOON, eventually, guarded, pool_is},
    },
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
        let [states, _] = places(folder.path());
        let mut host = Host::start("saves", folder.path().to_str().unwrap(), "");
        host.says("saved");
        let error = one().state_dir(&states).start().await.unwrap_err();
        let StartError::Store(StoreError::InUse { pid: Some(pid), .. }) = &error else { panic!("{error}") };
        assert_ne!(*pid, std::process::id());
        host.kill();
        // The kernel gives a lock back a moment after the process is gone.
        let runtime = one().state_dir(&states).start().await.unwrap();
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

/// What is on the disk for a large state that has changed in one place, and what comes back of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_save_of_a_large_state_writes_what_is_new() {
    guarded(async {
        let folder = tempfile::tempdir().unwrap();
        let len =
            |generation: &str| fs::metadata(folder.path().join("large").join(generation)).unwrap().len();
        let digest = "import hashlib\nhashlib.md5(state).hexdigest()";
        let runtime = one().state_dir(folder.path()).start().await.unwrap();
        let (session, _) = runtime.session_named("large").await.unwrap();
        let make = "import random; state = bytearray(random.Random(1).randbytes(24 << 20))";
        completed(&session.run(make).await.unwrap());
        assert_eq!(session.save().await, Ok(1));
        completed(&session.run("early = 'x' * 1000; state[9 << 20] ^= 1").await.unwrap());
        assert_eq!(session.save().await, Ok(2));
        assert!(len("00000001") > 24 << 20);
        // The chunks of the changed byte and of the new name, each of 4 MiB at most.
        assert!((1000..13 << 20).contains(&len("00000002")), "{}", len("00000002"));
        let before = shows(&session, digest).await;
        drop(session);
        runtime.shutdown(Duration::from_secs(1)).await;
        drop(runtime);
        let runtime = one().state_dir(folder.path()).start().await.unwrap();
        let (session, restored) = runtime.session_named("large").await.unwrap();
        assert!(restored.unwrap().names.contains(&"early".into()));
        assert_eq!(shows(&session, digest).await, before);
    })
    .await;
}

/// Fault 65: a save that the disk refuses is told, the one before it is there, and the session goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f65_a_save_that_the_disk_refuses_costs_nothing_but_itself() {
    let folder = tempfile::tempdir().unwrap();
    // No file may become larger than half a megabyte: what is beyond that is refused as by a full disk.
    let host = Host::start("fills", folder.path().to_str().unwrap(), "trap '' XFSZ; ulimit -f 1024; ");
    assert!(host.ended_well());
}

/// The host of that test.
pub(super) async fn fills(folder: &Path) {
    let builder = one().state_dir(folder).save_every(NonZeroU32::MIN);
    let runtime = builder.start().await.unwrap();
    let (session, _) = runtime.session_named("work").await.unwrap();
    completed(&session.run("x = 1").await.unwrap());
    pool_is(&runtime, "saved", |status| status.saved == 1).await;
    completed(&session.run("x = 2; large = bytes(4 << 20)").await.unwrap());
    pool_is(&runtime, "not saved", |status| status.not_saved == 1).await;
    let told = session.last_save();
    assert!(matches!(&told, Some(Err(StateError::Store(StoreError::Disk { .. })))), "{told:?}");
    let error = session.save().await.unwrap_err();
    assert!(matches!(&error, StateError::Store(StoreError::Disk { action: "write", .. })), "{error}");
    assert_eq!(shows(&session, "x, len(large)").await, "(2, 4194304)", "it goes on");
    drop(session);
    // The save before its end fails too, and holds nothing up.
    let (session, _) = runtime.resume("work").await.unwrap();
    assert_eq!(shows(&session, "x, 'large' in globals()").await, "(1, False)", "the last whole one");
    completed(&session.run("x = 3").await.unwrap());
    assert_eq!(session.end().await.map(|generation| generation > 1), Ok(true), "and there is room again");
    runtime.shutdown(Duration::from_secs(5)).await;
}

/// Sessions with a name in the host that is killed.
const NAMES: [&str; 3] = ["one", "two", "three"];

/// Faults 59, 63 and 72: whatever the host was doing, a state that it has answered for is there, and it is a whole one; and
/// nothing of the host is left: no worker, no zygote, no child of theirs that left its group, no scratch folder.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f59_f63_named_sessions_resume_after_their_host_was_killed_at_any_moment() {
    let folder = tempfile::tempdir().unwrap();
    let [states, ledger] = places(folder.path());
    let (mut runs, mut completed) = (0, 0);
    let kills = std::env::var("OSTLER_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let mut chance = StdRng::seed_from_u64(63);
    let mut known = BTreeMap::new();
    let mut gone = Vec::new();
    for kill in 0..kills {
        guarded(async {
            let mut host = Host::start("saves", folder.path().to_str().unwrap(), "");
            let tag = host.says("tag");
            for _ in 0..chance.random_range(1..12) {
                let said = host.says("saved");
                let [name, run, count] = said.split(' ').collect::<Vec<_>>()[..] else { panic!("{said}") };
                known.insert(name.to_owned(), count.parse::<u64>().unwrap());
                assert_eq!(ran(&ledger.join(run)), 1, "{said}");
                completed += 1;
            }
            tokio::time::sleep(Duration::from_micros(chance.random_range(0..30_000))).await;
            host.kill();
            gone.push(nothing_left(&tag, SOON).await);
            // Nobody was told of what ran then; it did not begin again with the next host, or beside it.
            runs = 0;
            for run in fs::read_dir(&ledger).unwrap() {
                let run = run.unwrap().path();
                assert!(ran(&run) <= 1, "{run:?} ran {} times", ran(&run));
                runs += 1;
            }
            let runtime = one().state_dir(&states).start().await.unwrap();
            for (name, known) in &known {
                let (session, restored) = runtime.resume(name).await.unwrap();
                assert_eq!(restored.lost, []);
                let found: u64 = shows(&session, "n").await.parse().unwrap();
                assert!(found >= *known, "kill {kill}, {name}: {known} was answered for, {found} is there");
                assert_eq!(shows(&session, "copies == [n] * 1000").await, "True", "all of one moment");
            }
            runtime.shutdown(Duration::ZERO).await;
        })
        .await;
    }
    gone.sort_unstable();
    let late = gone.iter().filter(|after| **after > Duration::from_secs(1)).count();
    println!(
        "{kills} hosts killed ({completed} runs told of, {runs} in the ledger): all of it gone after {:?} (median), {:?} (worst); {late} after more than 1 s",
        gone[gone.len() / 2],
        gone.last().unwrap()
    );
}

/// Where a host keeps its states, and where its code writes that it runs.
fn places(folder: &Path) -> [PathBuf; 2] {
    ["states", "ledger"].map(|name| folder.join(name))
}

/// The host of these tests: its sessions count, and it says what it has saved; others run beside them, and leave things
/// behind.
pub(super) async fn saves(folder: &Path) {
    let [states, ledger] = places(folder);
    fs::create_dir_all(&ledger).unwrap();
    let spec = WorkerSpec::python().preload(["json"]);
    let runtime = Runtime::builder(spec).max_sessions(5).state_dir(states).start().await.unwrap();
    say("tag", pool_tag(runtime.status().await.sessions[0].pid.unwrap()));
    for name in NAMES {
        let (runtime, ledger) = (runtime.clone(), ledger.clone());
        tokio::spawn(async move {
            let (session, _) = runtime.session_named(name).await.unwrap();
            for run in 0.. {
                let run = format!("{}-{name}-{run}", std::process::id());
                let count = "n = globals().get('n', 0) + 1\ncopies = [n] * 1000\nn";
                let code = first_act(&ledger.join(&run)) + count;
                let report = session.run(code).await.unwrap();
                completed(&report);
                session.save().await.unwrap();
                say("saved", format!("{name} {run} {}", report.outcome));
            }
        });
    }
    let littering = "import os, subprocess\nos.mkdir('closed', 0)\nopen('litter', 'w').write('x' * 9999)\n\
                     subprocess.Popen(['sleep', '1000'], start_new_session=True)";
    loop {
        runtime.session().await.unwrap().run(littering).await.unwrap();
    }
}
