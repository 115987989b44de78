//! Sessions that are forked: the copy is a session as any other, whatever becomes of the one that it was copied from.

use std::{fs, time::Duration};

use ostler::{
    Codec, DeathCause, Exit, Lost, LostCause, Outcome, Request, Runtime, RuntimeBuilder, Session, StateError,
    SubmitError, Transport, WorkerSpec,
};
use rustix::process::Signal;

use crate::{
    python::completed,
    support::{
        processes::{nothing_left, pool_tag, scratch_folders, signal, tagged},
        wait::{SOON, eventually, guarded, pool_is},
    },
};

const STATE: &str = "\
import random, threading, os
random.seed(1)
numbers = iter(range(10))
lock = threading.Lock()
next(numbers)
x = [1]
";

fn pool(spec: WorkerSpec, sessions: usize) -> RuntimeBuilder {
    Runtime::builder(spec).max_sessions(sessions).min_idle(1)
}

/// A plain worker, and one from a zygote.
fn specs() -> [WorkerSpec; 2] {
    [WorkerSpec::python(), WorkerSpec::python().preload(["json"])]
}

async fn value(session: &Session, code: &str) -> String {
    let report = session.run(code).await.unwrap();
    completed(&report);
    report.value().map(ToString::to_string).unwrap_or_default()
}

async fn lost(session: &Session, code: &str) -> Lost {
    match session.run(code).await.unwrap().outcome {
        Outcome::Lost(lost) => lost,
        other => panic!("not lost: {other}"),
    }
}

async fn refused(session: &Session) -> String {
    match session.fork().await {
        Err(StateError::NotForked { why }) => why,
        other => panic!("not refused: {other:?}"),
    }
}

/// C7: what no checkpoint could save is there too; then both go their own ways.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c7_a_copy_has_all_that_the_session_had_and_a_life_of_its_own() {
    for spec in specs() {
        guarded(async {
            let runtime = pool(spec, 3).start().await.unwrap();
            let session = runtime.session().await.unwrap();
            completed(&session.run(STATE).await.unwrap());
            let copy = session.fork().await.unwrap();
            assert_ne!((copy.pid(), copy.slot()), (session.pid(), session.slot()));
            let again = copy.fork().await.unwrap();
            let code = "x.append(os.getpid()); [next(numbers), random.random(), lock.locked(), x[0], len(x)]";
            let mut seen = Vec::new();
            for session in [&session, &copy, &again] {
                seen.push(value(session, code).await);
                assert_eq!(value(session, "os.getpid()").await, session.pid().unwrap().to_string());
            }
            assert!(seen[0].starts_with("[1, 0.134") && seen[0].ends_with("False, 1, 2]"), "{}", seen[0]);
            assert!(seen.iter().all(|other| *other == seen[0]), "{seen:?}");
            // Each prints, asks, is interrupted and reads its own channel only.
            let report = copy.run("print('from the copy')").await.unwrap();
            assert_eq!(report.stdout, "from the copy\n");
            let cancelled = copy.execute(Request::python("while True: pass").no_deadline()).await.unwrap();
            cancelled.cancel();
            assert!(matches!(cancelled.outcome().await, Outcome::Cancelled(_)));
            assert_eq!(value(&again, "len(x)").await, "2");
            // Its folder is its own, as its worker's tag and its end are.
            let folders: Vec<String> =
                [value(&session, "os.getcwd()").await, value(&copy, "os.getcwd()").await]
                    .map(|folder| folder.trim_matches('\'').to_owned())
                    .into();
            assert_ne!(folders[0], folders[1]);
            assert!(folders[1].contains("/ostler-") && fs::exists(&folders[1]).unwrap(), "{folders:?}");
            let tag = pool_tag(session.pid().unwrap());
            // The reserve gave way to the second copy, and its folder goes behind it.
            eventually("each has a folder", SOON, || scratch_folders(&tag).len() == 3).await;
            drop((session, copy, again));
            runtime.shutdown(Duration::from_secs(5)).await;
            nothing_left(&tag, SOON).await;
        })
        .await;
    }
}

/// F4, P7, P9: exact also when the parent is gone, and nothing stays behind of either.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f4_the_death_of_the_parent_leaves_the_copy_and_the_copys_own_end_is_told_exactly() {
    for spec in specs() {
        guarded(async {
            let runtime = pool(spec, 3).start().await.unwrap();
            for (code, exit) in [
                ("os._exit(3)", Exit::Code(3)),
                ("os._exit(0)", Exit::Code(0)),
                ("os.abort()", Exit::Signal(6)),
                ("os.kill(os.getpid(), 9)", Exit::Signal(9)),
            ] {
                let session = runtime.session().await.unwrap();
                completed(&session.run(STATE).await.unwrap());
                let copy = session.fork().await.unwrap();
                let tag = pool_tag(session.pid().unwrap());
                assert!(signal(session.pid().unwrap(), Signal::KILL));
                // Whichever comes first, the request or the news.
                let ended = session.run("x").await;
                assert!(!ended.is_ok_and(|report| report.outcome.is_completed()));
                drop(session);
                assert_eq!(value(&copy, "next(numbers)").await, "1");
                let code = format!(
                    "import subprocess\nsubprocess.Popen(['sleep', '600'], start_new_session=True)\n{code}"
                );
                let LostCause::Died(death) = lost(&copy, &code).await.cause else { panic!("did not die") };
                assert_eq!((death.exit, death.cause), (exit, DeathCause::Itself), "{code}");
                let pid = copy.pid().unwrap();
                eventually("no zombie is left", SOON, || !fs::exists(format!("/proc/{pid}")).unwrap()).await;
                let tag = format!("{tag}{}.{}", copy.slot(), copy.generation());
                nothing_left(&tag, SOON).await;
            }
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_must_not_be_forked_says_why_and_goes_on() {
    guarded(async {
        let runtime = pool(WorkerSpec::python(), 2).start().await.unwrap();
        let session = runtime.session().await.unwrap();
        for (make, told, mend) in [
            (
                "import threading\nend = threading.Event()\nt = threading.Thread(target=end.wait, name='pump')\nt.start()",
                "threads run in it: 'pump', which runs `threading.Event.wait`; join them, or shut down",
                "end.set(); t.join()",
            ),
            (
                "import subprocess\np = subprocess.Popen(['sleep', '600'])",
                "child processes",
                "p.kill(); p.wait()",
            ),
            (
                "import asyncio\nasync def f(): await asyncio.sleep(600)\nasync def g():\n    global t\n    t = asyncio.ensure_future(f())\nawait g()",
                "asyncio tasks",
                "t.cancel()\nawait asyncio.sleep(0)\n",
            ),
        ] {
            completed(&session.run(make).await.unwrap());
            let why = refused(&session).await;
            assert!(why.contains(told), "{why}");
            completed(&session.run(mend).await.unwrap());
            let copy = session.fork().await.unwrap();
            assert_eq!(value(&copy, "1 + 1").await, "2");
        }
        let (before, copy) = ("import asyncio\nawait asyncio.sleep(0)", "await asyncio.sleep(0.01)\n7");
        completed(&session.run(before).await.unwrap());
        let forked = session.fork().await.unwrap();
        assert_eq!((value(&forked, copy).await, value(&session, copy).await), ("7".into(), "7".into()));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_counts_as_a_session_and_an_idle_worker_gives_way() {
    guarded(async {
        let wait = Duration::from_millis(300);
        let runtime = pool(WorkerSpec::python(), 2).lease_timeout(wait).start().await.unwrap();
        let session = runtime.session().await.unwrap();
        pool_is(&runtime, "the reserve is there", |it| it.idle == 1).await;
        let copy = session.fork().await.unwrap();
        let status = runtime.status().await;
        assert_eq!((status.leased, status.sessions.len()), (2, 2), "{status:#?}");
        match session.fork().await {
            Err(StateError::Submit(SubmitError::NoSession { sessions: 2, limit: 2, after })) => {
                assert_eq!(after, wait, "it waited");
            }
            other => panic!("not refused: {other:?}"),
        }
        drop(copy);
        let copy = loop {
            match session.fork().await {
                Ok(copy) => break copy,
                Err(StateError::Submit(SubmitError::NoSession { .. })) => {}
                Err(other) => panic!("{other}"),
            }
        };
        drop(session);
        assert_eq!(value(&copy, "1").await, "1");
    })
    .await;
}

/// The caller leaves at any moment: nothing is left of what it wanted, and the session serves on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_nobody_waits_for_ends() {
    guarded(async {
        let runtime = pool(WorkerSpec::python(), 2).min_idle(0).start().await.unwrap();
        let session = runtime.session().await.unwrap();
        let tag = pool_tag(session.pid().unwrap());
        for micros in (0..40).map(|step| step * step * 10) {
            let fork = tokio::time::timeout(Duration::from_micros(micros), session.fork()).await;
            drop(fork);
            assert_eq!(value(&session, "1 + 1").await, "2");
            pool_is(&runtime, "one is left", |it| it.sessions.len() == 1).await;
            eventually("one process is left", SOON, || tagged(&tag).len() == 1).await;
        }
        eventually("one folder is left", SOON, || scratch_folders(&tag).len() == 1).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_speak_as_their_originals_do_and_share_no_file_of_the_worker() {
    for (transport, codec) in [(Transport::Stdio, Codec::MessagePack), (Transport::Socket, Codec::Json)] {
        guarded(async {
            let spec = WorkerSpec::python().transport(transport).codec(codec);
            let runtime = pool(spec, 3).start().await.unwrap();
            let session = runtime.session().await.unwrap();
            completed(&session.run("import os\nlog = open('log', 'w')\nlog.write('once')").await.unwrap());
            let copy = session.fork().await.unwrap();
            assert_eq!(copy.run("print('hello')\nlog.close()").await.unwrap().stdout, "hello\n");
            assert_eq!(value(&session, "log.close(); open('log').read()").await, "'once'");
            let place = |pid| {
                fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten().find_map(|entry| {
                    let name = fs::read_link(entry.path()).ok()?;
                    let ours = name.to_string_lossy().starts_with("/memfd:ostler-stacks");
                    ours.then(|| std::os::unix::fs::MetadataExt::ino(&fs::metadata(entry.path()).unwrap()))
                })
            };
            let places = [&session, &copy].map(|it| place(it.pid().unwrap()).unwrap());
            assert_ne!(places[0], places[1], "the stacks of both go to one file");
        })
        .await;
    }
}

/// The names are told between executions, and one that resists costs the others nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_names_of_a_session_are_told_with_their_sizes() {
    guarded(async {
        let runtime = pool(WorkerSpec::python(), 1).start().await.unwrap();
        let session = runtime.session().await.unwrap();
        let code = "\
x = 41
big = bytearray(10**6)
class Odd:
    def __repr__(self): raise ValueError
odd = Odd()
import time
time.sleep(0.2)
last = 1";
        let running = session.execute(code).await.unwrap();
        let names = session.vars().await.unwrap();
        assert!(running.outcome().await.is_completed());
        let told: Vec<_> = names.list.iter().map(|it| (&*it.name, &*it.type_name, &*it.repr)).collect();
        assert_eq!(told[0], ("x", "int", "41"));
        assert!(told[3].0 == "odd" && told[3].2.starts_with("<Odd instance at "), "{:?}", told[3]);
        assert_eq!(told.last().unwrap().0, "last", "asked while code ran, told when it had ended");
        assert!(names.list[1].size.unwrap() > 1_000_000 && names.list[1].repr.len() <= 400);
        completed(&session.run("globals().update({f'n{i}': i for i in range(11000)})").await.unwrap());
        let names = session.vars().await.unwrap();
        assert_eq!((names.list.len(), names.total), (ostler::config::VARS_MAX, 11_006));
        completed(
            &session.run("class Slow:\n    def __repr__(self): time.sleep(60)\nslow = Slow()").await.unwrap(),
        );
        completed(&session.run("for i in range(11000): del globals()[f'n{i}']").await.unwrap());
        let left = tokio::time::timeout(Duration::from_millis(100), session.vars()).await;
        assert!(left.is_err());
        assert_eq!(value(&session, "x").await, "41", "cancel safe: the session goes on");
    })
    .await;
}

/// Bytes that make a session worth a copy.
const LARGE: &str = "state = bytearray(b'x') * (64 << 20)\nlist = [state]\n";

/// C7: the state of the moment of the question; the session goes on meanwhile, and code that hangs hurts the copy only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c7_a_large_session_goes_on_while_a_copy_of_it_is_saved() {
    guarded(async {
        let runtime =
            pool(WorkerSpec::python(), 2).checkpoint_timeout(Duration::from_secs(60)).start().await.unwrap();
        let session = runtime.session().await.unwrap();
        let tag = pool_tag(session.pid().unwrap());
        completed(&session.run(LARGE).await.unwrap());
        let slow = "\
import time, os
class Slow:
    def __reduce__(self):
        while not os.path.exists('go'): time.sleep(0.01)
        print('from the copy')
        return (int, (7,))
slow = Slow()
x = 'before'";
        completed(&session.run(slow).await.unwrap());
        // The copy cannot be done before this code runs.
        let goes_on = async {
            tokio::task::yield_now().await;
            value(&session, "x = 'after'; open('go', 'w').close(); x").await
        };
        let (saved, x) = tokio::join!(session.checkpoint(), goes_on);
        assert_eq!(x, "'after'");
        let (copy, restored) = runtime.session_from(&saved.unwrap()).await.unwrap();
        assert!(restored.lost.is_empty(), "{restored:?}");
        assert_eq!(
            value(&copy, "[x, slow, len(state), list[0] is state]").await,
            "['before', 7, 67108864, True]"
        );
        assert_eq!(value(&session, "time.sleep(0)\nos.remove('go')\nx").await, "'after'");
        drop(copy);

        // Whoever leaves takes the copy along.
        let left = tokio::time::timeout(Duration::from_millis(300), session.checkpoint()).await;
        assert!(left.is_err(), "{left:?}");
        assert_eq!(value(&session, "x").await, "'after'");
        pool_is(&runtime, "the other worker is there", |it| it.idle == 1).await;
        eventually("the copy is gone", SOON, || tagged(&tag).len() == 2).await;
    })
    .await;
}

/// What goes wrong in the copy is told as it is of the session itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c7_a_copy_that_cannot_save_says_why_and_one_that_cannot_be_made_is_done_without() {
    guarded(async {
        let runtime = pool(WorkerSpec::python(), 2).max_checkpoint_bytes(80 << 20).start().await.unwrap();
        let session = runtime.session().await.unwrap();
        completed(&session.run(LARGE).await.unwrap());
        let thread =
            "import threading\nend = threading.Event()\nt = threading.Thread(target=end.wait)\nt.start()";
        completed(&session.run(thread).await.unwrap());
        let saved = session.checkpoint().await.unwrap();
        assert_eq!(saved.skipped().map(|it| it.name).collect::<Vec<_>>(), ["end", "t"]);
        completed(&session.run("end.set(); t.join()\nmore = bytearray(20 << 20)").await.unwrap());
        match session.checkpoint().await {
            Err(StateError::TooLarge { limit }) => assert_eq!(limit, 80 << 20),
            other => panic!("not refused: {other:?}"),
        }
        let dies = "del more\nimport os\nclass Dies:\n    def __reduce__(self): os._exit(3)\ndies = Dies()";
        completed(&session.run(dies).await.unwrap());
        match session.checkpoint().await {
            Err(StateError::Damaged { .. }) => {}
            other => panic!("not damaged: {other:?}"),
        }
        assert_eq!(value(&session, "len(state)").await, "67108864", "the session has not noticed");
    })
    .await;
}

/// The time in which its session did other things is not taken off the `ready_timeout` of the copy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f113_a_copy_of_a_busy_session_has_all_of_its_time() {
    guarded(async {
        let ready = Duration::from_secs(4);
        let runtime = pool(WorkerSpec::python(), 3).ready_timeout(ready).start().await.unwrap();
        let session = runtime.session().await.unwrap();
        completed(&session.run("x = 41").await.unwrap());
        let running = session.execute("import time; time.sleep(5)").await.unwrap();
        let copy = session.fork().await.unwrap();
        assert_eq!(value(&copy, "x + 1").await, "42");
        assert!(running.outcome().await.is_completed());
    })
    .await;
}
