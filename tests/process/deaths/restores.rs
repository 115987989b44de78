//! Sessions whose workers are killed at any moment, and that go on in new ones (F4).

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use ostler::{
    Event, Failure, LostCause, OnDeath, Outcome, Report, Request, Runtime, RuntimeBuilder, Session,
    SessionRestored, StateError, WorkerSpec,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use rustix::process::Signal;
use tokio::task::JoinSet;

use super::unstarted::{as_told, first_act, ran};
use crate::{
    python::{completed, one},
    support::{
        processes::signal,
        wait::{SOON, eventually, guarded, guarded_for, pool_is},
    },
};

/// A session of a pool that restores it, with `kept` saved in it.
async fn kept(change: impl FnOnce(RuntimeBuilder) -> RuntimeBuilder) -> (Runtime, Session) {
    let runtime = change(one().on_death(OnDeath::Restore)).start().await.unwrap();
    let session = runtime.session().await.unwrap();
    completed(&session.run("kept = 41").await.unwrap());
    (runtime, session)
}

/// Kills the worker of a session in which nothing runs, and waits until it has another one.
async fn kill_idle(session: &Session) {
    let before = session.generation();
    assert!(signal(session.pid().unwrap(), Signal::KILL));
    eventually("it has another worker", SOON, || session.generation() > before).await;
}

/// The next code is told that the session was restored, and finds what was kept.
async fn goes_on(session: &Session, unsaved: u64) -> SessionRestored {
    let report = session.run("kept + 1").await.unwrap();
    completed(&report);
    assert_eq!(report.outcome.to_string(), "42");
    let news = *report.restored.expect("it is told");
    assert_eq!((news.unsaved, news.generation), (unsaved, session.generation()), "{news:?}");
    news
}

/// Faults 17 and 18: at the soft limit the code is stopped and its session is saved before anything else runs; at the hard
/// one the worker is killed, and the session goes on with what was saved.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f17_f18_a_session_that_takes_too_much_memory_keeps_its_state() {
    const MIB: u64 = 1 << 20;
    guarded(async {
        let (runtime, session) = kept(|it| it.soft_memory(64 * MIB)).await;
        let grows =
            "import time\ntaken = []\nwhile True:\n    taken.append(bytearray(1 << 20)); time.sleep(0.005)";
        let report = session.run(grows).await.unwrap();
        assert!(matches!(report.outcome, Outcome::Failed(Failure::MemoryLimit { .. })), "{}", report.outcome);
        pool_is(&runtime, "its state is saved", |status| status.saved == 1).await;
        kill_idle(&session).await;
        let news = goes_on(&session, 0).await;
        assert!(news.restored.contains(&"taken".to_owned()), "{news:?}");

        let (_runtime, session) = kept(|it| it.hard_memory(256 * MIB)).await;
        session.checkpoint().await.unwrap();
        let report = session.run("b = bytearray(300 << 20)\nimport time\ntime.sleep(60)").await.unwrap();
        assert!(
            report.outcome.to_string().contains("more than its limit of 268435456"),
            "{}",
            report.outcome
        );
        let news = goes_on(&session, 1).await;
        assert!(news.why.contains("more than its limit of 268435456"), "{}", news.why);
    })
    .await;
}

/// F4: whatever ends the worker of a session, its outcome is typed, and the session goes on: idle, busy, killed for its
/// deadline, waiting for input, in the middle of a save.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f4_a_session_goes_on_however_its_worker_died() {
    const STUBBORN: &str = "import signal\nfor it in (2, 23): signal.signal(it, signal.SIG_IGN)\n\
                            while True:\n    try:\n        while True: pass\n    except BaseException: pass";
    guarded(async {
        let (_runtime, session) = kept(|it| it.grace(Duration::from_millis(200))).await;
        session.checkpoint().await.unwrap();
        let died = |outcome: &Outcome| {
            assert!(
                matches!(outcome, Outcome::Lost(lost) if matches!(lost.cause, LostCause::Died(_))),
                "{outcome}"
            );
        };
        kill_idle(&session).await;
        goes_on(&session, 0).await;
        // What asked whether it goes on is not saved.
        died(&session.run("import os; os.abort()").await.unwrap().outcome);
        goes_on(&session, 2).await;
        let late = Request::python(STUBBORN).deadline(Duration::from_millis(300));
        let outcome = session.run(late).await.unwrap().outcome;
        assert!(matches!(outcome, Outcome::TimedOut(_)), "{outcome}");
        goes_on(&session, 2).await;
        let mut asks = session.execute("input('? ')").await.unwrap();
        while !matches!(asks.next().await.expect("it asks"), Event::Input(_)) {}
        assert!(signal(session.pid().unwrap(), Signal::KILL));
        died(&asks.outcome().await);
        goes_on(&session, 2).await;
        let slow = "class Slow:\n    def __reduce__(self):\n        import os; os.abort()\nslow = Slow()";
        completed(&session.run(slow).await.unwrap());
        let error = session.checkpoint().await.unwrap_err();
        assert!(matches!(error, StateError::Lost(_)), "{error}");
        goes_on(&session, 2).await;
        assert_eq!(session.generation().0, 6);
    })
    .await;
}

/// How many sessions are killed, unless `OSTLER_SESSIONS` says so.
const SESSIONS: u64 = 24;
/// Of so many, some have saved something when they are first killed, and some have not: a few may all be of one kind.
const MANY: u64 = 200;
const AT_ONCE: usize = 3;
const STEPS: u32 = 12;

/// What happened, over all sessions.
#[derive(Debug, Default)]
struct Tally {
    kills: AtomicU32,
    restored: AtomicU32,
    from_nothing: AtomicU32,
    lost: AtomicU32,
    lost_saves: AtomicU32,
    unstarted: AtomicU32,
}

/// A ledger that the code writes itself, with a file for each execution, and what was told of it.
struct Ledger {
    folder: tempfile::TempDir,
    told: Mutex<Vec<(String, Outcome)>>,
}

impl Ledger {
    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Compares, when nothing runs any more: nothing ran twice, nor what was told unstarted at all.
    fn holds(&self) {
        for (name, outcome) in &*self.told.lock().unwrap() {
            let ran = ran(&self.file(name));
            assert!(as_told(outcome).contains(&ran), "the code of {name} ran {ran} times: {outcome:?}");
        }
    }
}

/// Each goes on with a state that was whole at one moment, and is told what it lost: no error without a type, no name that
/// is missing and was not announced.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sessions_that_are_killed_at_any_moment_go_on_with_a_whole_state() {
    let sessions = std::env::var("OSTLER_SESSIONS").map_or(SESSIONS, |it| it.parse().unwrap());
    let tally = Arc::new(Tally::default());
    let ledger = Arc::new(Ledger { folder: tempfile::tempdir().unwrap(), told: Mutex::default() });
    let limit = Duration::from_secs(120) + Duration::from_secs(5) * u32::try_from(sessions).unwrap();
    guarded_for(limit, async {
        let spec = WorkerSpec::python().preload(["json", "threading"]);
        let builder = Runtime::builder(spec).max_sessions(AT_ONCE).min_idle(0).on_death(OnDeath::Restore);
        let every = std::num::NonZeroU32::new(2).unwrap();
        let runtime = builder.save_every(every).start().await.unwrap();
        let mut running = JoinSet::new();
        for seed in 0..sessions {
            if running.len() == AT_ONCE {
                running.join_next().await.unwrap().unwrap();
            }
            running.spawn(one_session(runtime.clone(), seed, Arc::clone(&tally), Arc::clone(&ledger)));
        }
        while let Some(ended) = running.join_next().await {
            ended.unwrap();
        }
        let status = runtime.status().await;
        // What is restored behind the last execution is told to nobody.
        assert!(u64::from(tally.restored.load(Relaxed)) <= status.restored, "{tally:?}, {status:?}");
        println!("{sessions} sessions: {tally:?}, {} requeued", status.totals.requeued);
        runtime.shutdown(Duration::from_secs(5)).await;
        ledger.holds();
    })
    .await;
    let (restored, from_nothing) = (tally.restored.load(Relaxed), tally.from_nothing.load(Relaxed));
    let both = restored > from_nothing && from_nothing > 0;
    assert!(sessions < MANY || both, "both come: {tally:?}");
}

/// What one session should have in it.
struct Expected {
    /// The value of `n` after each execution that its workers were given; `None`: nobody knows.
    history: Vec<Option<u64>>,
    /// Whether there was a lock in it then, which cannot be saved, and nobody was told yet that it is lost.
    locks: Vec<bool>,
    tally: Arc<Tally>,
}

async fn one_session(runtime: Runtime, seed: u64, tally: Arc<Tally>, ledger: Arc<Ledger>) {
    let mut chance = StdRng::seed_from_u64(seed);
    let session = Arc::new(runtime.session().await.unwrap());
    let killer = tokio::spawn(kills(Arc::clone(&session), StdRng::seed_from_u64(!seed), Arc::clone(&tally)));
    let mut expected = Expected { history: vec![Some(0)], locks: vec![false], tally };
    for step in 0..STEPS {
        if chance.random_bool(0.3) {
            match session.checkpoint().await {
                Ok(_) => {}
                Err(StateError::Lost(_)) => drop(expected.tally.lost_saves.fetch_add(1, Relaxed)),
                Err(error) => panic!("session {seed}: {error:?}"),
            }
        }
        let code = format!(
            "n = globals().get('n', 0) + 1\nv{n} = n\ncopies = [n] * 200_000\nimport threading\n\
             lock = threading.Lock()\n(n, copies == [n] * 200_000, 'lock' in globals(), \
             sorted(name for name in globals() if name[0] == 'v'), sorted(before))",
            n = step
        );
        let name = format!("{seed}-{step}");
        let code = format!("{}before = set(globals())\n{code}", first_act(&ledger.file(&name)));
        let report = session.run(code.as_str()).await.unwrap();
        expected.check(seed, &report);
        ledger.told.lock().unwrap().push((name, report.outcome));
    }
    killer.await.unwrap();
}

/// Kills the worker of the session now and then: while code runs, while it is saved or restored, while nothing happens.
async fn kills(session: Arc<Session>, mut chance: StdRng, tally: Arc<Tally>) {
    for _ in 0..chance.random_range(1..4) {
        // Most have saved something by then, however busy the machine is.
        while chance.random_bool(0.997) && session.last_save().is_none_or(|saved| saved.is_err()) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_micros(chance.random_range(0..100_000))).await;
        let killed = session.pid().is_some_and(|pid| signal(pid, Signal::KILL));
        tally.kills.fetch_add(u32::from(killed), Relaxed);
    }
}

impl Expected {
    fn check(&mut self, seed: u64, report: &Report) {
        if let Some(news) = &report.restored {
            self.restored(seed, news, report);
        }
        match &report.outcome {
            Outcome::Completed(_) => {
                let before = self.history.last().copied().flatten().expect("known, or just restored");
                let told = report.outcome.to_string();
                let begins = format!("({}, True, True, ", before + 1);
                assert!(told.starts_with(&begins), "session {seed}: {told}, and not {begins}");
                self.history.push(Some(before + 1));
                self.locks.push(true);
            }
            Outcome::Lost(lost) => {
                assert!(matches!(lost.cause, LostCause::Died(_)), "session {seed}: {lost}");
                self.tally.lost.fetch_add(1, Relaxed);
                self.tally.unstarted.fetch_add(u32::from(!lost.started), Relaxed);
                self.history.push(None);
                self.locks.push(false);
            }
            other => panic!("session {seed}: {other}"),
        }
    }

    /// What is back is what was there so many executions ago.
    fn restored(&mut self, seed: u64, news: &SessionRestored, report: &Report) {
        self.tally.restored.fetch_add(1, Relaxed);
        let last = self.history.len() - 1;
        let back_to = last - usize::try_from(news.unsaved).unwrap();
        let found = self.history[back_to];
        assert!(
            found.is_some(),
            "session {seed}: a state of which nobody knows: {news:?}, {:?}",
            self.history
        );
        if !news.from_checkpoint {
            self.tally.from_nothing.fetch_add(1, Relaxed);
            assert_eq!((found, news.restored.len()), (Some(0), 0), "session {seed}: {news:?}");
        } else if news.restored.is_empty() {
            assert_eq!(
                (found, &news.lost[..]),
                (Some(0), &[][..]),
                "session {seed}: saved before anything ran"
            );
        } else {
            let lost = news.lost.iter().map(|it| (&*it.name, it.type_name.as_deref())).collect::<Vec<_>>();
            let told = lost == [("lock", Some("lock"))];
            // A state that was saved behind a restore has none to lose.
            let had = self.locks[back_to];
            assert!(told || !had && lost.is_empty(), "session {seed}: {news:?}");
            if report.outcome.is_completed() {
                let told = report.outcome.to_string();
                for name in news.restored.iter().filter(|name| !name.starts_with("__")) {
                    assert!(
                        told.contains(&format!("'{name}'")),
                        "session {seed}: `{name}` was announced: {told}"
                    );
                }
            }
        }
        // Counted from here on, as what was lost is lost.
        self.history[last] = found;
        self.locks[last] = false;
    }
}
