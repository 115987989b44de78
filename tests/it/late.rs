//! Truth about what is late: a kill that did not happen, a copy that had to wait, and two specs at once.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use ostler::{
    CancelStage, Exit, Outcome, ReloadError, Request, SpawnError, StateError, SubmitError, WorkerSpec,
    protocol::{Forked, FromWorker, Ready, ToWorker},
    testing::{Branch, Control, Fact, Inspection, Order, ScriptedSpawner, Spawner, Stage, Worker},
};
use tokio::{sync::Notify, time::Instant};

use crate::{
    support::{Pool, guarded, settings},
    workers::{polite, serve},
};

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
const SECOND: Duration = Duration::from_secs(1);

/// A spawner around scripts: it remembers its specs, its workers take a while to be examined, and can be forked.
#[derive(Clone, Debug)]
struct Around {
    scripts: ScriptedSpawner,
    examining: Duration,
    specs: Arc<Mutex<Vec<WorkerSpec>>>,
    /// Told when a worker was asked to fork itself.
    forks: Arc<Notify>,
}

impl Around {
    fn new(scripts: &ScriptedSpawner) -> Self {
        let examining = Duration::from_millis(60);
        Self { scripts: scripts.clone(), examining, specs: Arc::default(), forks: Arc::default() }
    }

    async fn pool(
        &self,
        scripts: &ScriptedSpawner,
        change: impl FnOnce(ostler::RuntimeBuilder) -> ostler::RuntimeBuilder,
    ) -> Pool {
        let runtime = change(settings(scripts).spawner(self.clone())).start().await.unwrap();
        Pool { runtime, workers: scripts.clone() }
    }
}

struct Slow(Box<dyn Control>, Duration);

impl Control for Slow {
    fn interrupt(&self) {
        self.0.interrupt();
    }
    fn kill(&self) {
        self.0.kill();
    }
    fn examine(&self) -> Boxed<Inspection> {
        let (inspection, after) = (self.0.examine(), self.1);
        Box::pin(async move {
            tokio::time::sleep(after).await;
            inspection.await
        })
    }
}

impl Spawner for Around {
    fn spawn(&self, tag: &str) -> Boxed<Result<Worker, SpawnError>> {
        let (spawning, examining) = (self.scripts.spawn(tag), self.examining);
        Box::pin(async move {
            let worker = spawning.await?;
            Ok(Worker { control: Box::new(Slow(worker.control, examining)), ..worker })
        })
    }
    fn branch(&self, tag: &str) -> Boxed<Result<Branch, SpawnError>> {
        let (copy, forks) = (self.spawn(tag), Arc::clone(&self.forks));
        let order = Order {
            address: "somewhere".into(),
            secret: "whatever".into(),
            tag: tag.into(),
            folder: "/nowhere".into(),
        };
        let worker = Box::pin(async move {
            forks.notified().await;
            copy.await
        });
        Box::pin(async move { Ok(Branch { order, worker }) })
    }
    fn reload(&self, spec: WorkerSpec) {
        let slow = format!("{spec:?}").contains("slow");
        self.specs.lock().unwrap().push(spec);
        if slow {
            std::thread::sleep(Duration::from_millis(150));
        }
    }
}

/// Code that stops while its worker is looked at, before the kill at the end of its grace: it was not killed, and its
/// worker goes on with its state.
#[tokio::test(start_paused = true)]
async fn code_that_stops_before_the_kill_was_not_killed() {
    for (stops_after_ms, killed) in [(900, false), (950, false), (1_200, true)] {
        guarded(async {
            let scripts = ScriptedSpawner::new(move |mut stage: Stage| async move {
                if stage.number() > 1 {
                    return serve(stage).await;
                }
                stage.ready().await;
                let Some(execute) = stage.next_execute().await else { return Exit::Code(0) };
                stage.started(execute.id).await;
                stage.wait_for_cancel(execute.id).await;
                tokio::time::sleep(Duration::from_millis(stops_after_ms)).await;
                stage.cancelled(execute.id).await;
                crate::workers::serve_on(stage).await
            });
            let pool = Around::new(&scripts).pool(&scripts, |it| it).await;
            let execution = pool.runtime.execute(Request::python("long").no_deadline()).await.unwrap();
            pool.eventually("it runs", |status| status.busy == 1).await;
            tokio::time::sleep(SECOND).await;
            execution.cancel();
            let Outcome::Cancelled(cancelled) = execution.outcome().await else { panic!("not cancelled") };
            let stage = if killed { CancelStage::Kill } else { CancelStage::Force };
            assert_eq!(cancelled.stage, stage, "it stopped after {stops_after_ms} ms of a grace of 1 s");
            pool.works_on_worker(if killed { 2 } else { 1 }).await;
            let kills = pool.workers.log().iter().filter(|entry| entry.fact == Fact::Killed).count();
            assert_eq!(kills, usize::from(killed));
            pool.close().await;
        })
        .await;
    }
}

/// A deadline is told when it passes: a worker that cannot be examined holds its outcome up for a bounded time.
#[tokio::test(start_paused = true)]
async fn a_deadline_waits_for_no_examination_without_a_limit() {
    for (examining_ms, told_ms) in [(60, 60), (10_000, 150)] {
        guarded(async {
            let examining = Duration::from_millis(examining_ms);
            let scripts = polite();
            let around = Around { examining, ..Around::new(&scripts) };
            let pool = around.pool(&scripts, |it| it).await;
            let request = Request::python("sleep 60000").deadline(SECOND);
            let execution = pool.runtime.execute(request).await.unwrap();
            let begun = Instant::now();
            let Outcome::TimedOut(late) = execution.outcome().await else { panic!("it did not time out") };
            assert_eq!(begun.elapsed(), SECOND + Duration::from_millis(told_ms));
            assert_eq!(late.activity.is_some(), examining_ms == told_ms);
            pool.close().await;
        })
        .await;
    }
}

/// Workers that can be forked. `forks` is told when one is, so that its copy comes.
fn forkable(forks: &Arc<Notify>) -> ScriptedSpawner {
    let forks = Arc::clone(forks);
    ScriptedSpawner::new(move |mut stage: Stage| {
        let forks = Arc::clone(&forks);
        async move {
            let mut ready =
                Ready::new(ostler::protocol::VERSION, 7_u32, ostler::protocol::Codec::MessagePack, "script");
            ready.capabilities = ["fork", "secret"].map(Into::into).into();
            if stage.number() > 1 {
                // A copy takes its time, too.
                tokio::time::sleep(2 * SECOND).await;
            }
            stage.send(&FromWorker::Ready(ready)).await;
            loop {
                match stage.recv().await {
                    None | Some(ToWorker::Shutdown(_)) => return Exit::Code(0),
                    Some(ToWorker::Fork(fork)) => {
                        forks.notify_one();
                        stage.send(&FromWorker::Forked(Forked::new(fork.id))).await;
                    }
                    Some(ToWorker::Execute(execute)) => {
                        stage.started(execute.id).await;
                        crate::workers::obey(&mut stage, execute.id, &execute.code).await;
                    }
                    Some(_other) => {}
                }
            }
        }
    })
}

/// The time for which a fork waits, for a place or in the queue of its session, is not its copy's: that has the whole
/// `ready_timeout` from the fork on.
#[tokio::test(start_paused = true)]
async fn a_copy_has_all_of_its_time_however_long_it_had_to_wait() {
    guarded(async {
        let forks = Arc::default();
        let scripts = forkable(&forks);
        let around = Around { forks, ..Around::new(&scripts) };
        let ready = 3 * SECOND;
        let pool = around.pool(&scripts, |it| it.max_sessions(2).min_idle(1).ready_timeout(ready)).await;
        let session = pool.runtime.session().await.unwrap();
        for busy in ["sleep 1", "sleep 2000", "sleep 10000"] {
            let running = session.execute(busy).await.unwrap();
            let (begun, copy) = (Instant::now(), session.fork().await.unwrap());
            println!("{busy}: a copy after {:?}", begun.elapsed());
            assert!(copy.run("x").await.unwrap().outcome.is_completed());
            assert!(running.outcome().await.is_completed());
        }
        // The line of the pool is no part of it, either.
        let full = pool.runtime.session().await.unwrap();
        let late = tokio::spawn(async move {
            tokio::time::sleep(20 * SECOND).await;
            drop(full);
        });
        let running = session.execute("sleep 25000").await.unwrap();
        assert!(session.fork().await.unwrap().run("x").await.unwrap().outcome.is_completed());
        assert!(running.outcome().await.is_completed());
        late.await.unwrap();
        drop(session);
        pool.close().await;
    })
    .await;
}

/// A pool that is full: a fork waits as a lease does, says for how long it waited, and leaves nothing in the queue.
#[tokio::test(start_paused = true)]
async fn a_fork_waits_for_a_place_as_long_as_a_lease() {
    guarded(async {
        let forks = Arc::default();
        let scripts = forkable(&forks);
        let around = Around { forks, ..Around::new(&scripts) };
        let pool = around.pool(&scripts, |it| it.max_sessions(2).lease_timeout(5 * SECOND).queue(1)).await;
        let (session, other) = (pool.runtime.session().await.unwrap(), pool.runtime.session().await.unwrap());
        let begun = Instant::now();
        let full = session.fork().await.unwrap_err();
        let expected = SubmitError::NoSession { after: 5 * SECOND, sessions: 2, limit: 2 };
        assert!(matches!(&full, StateError::Submit(error) if *error == expected), "{full}");
        assert_eq!(begun.elapsed(), 5 * SECOND);
        let (first, second) = tokio::join!(session.fork(), session.fork());
        let told = [first.unwrap_err().to_string(), second.unwrap_err().to_string()];
        assert!(
            told.iter().any(|told| told.contains("queue is full")),
            "one waits, as many as `queue`: {told:?}"
        );
        assert!(told.iter().any(|told| told.contains("no session became free within 5s")), "{told:?}");
        let copy = session.fork();
        let copy = async {
            let leaves = tokio::time::sleep(2 * SECOND);
            tokio::pin!(copy);
            tokio::select! { _early = &mut copy => panic!("there was no place"), () = leaves => {} }
            drop(other);
            copy.await
        };
        assert!(copy.await.unwrap().run("x").await.unwrap().outcome.is_completed());
        drop(session);
        pool.close().await;
    })
    .await;
}

/// Of two reloads at once, one is the last: its spec is what workers are made from, and only its caller hears `Ok`. On the
/// real clock, in threads: the one that comes first is not done when the second one comes.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_two_reloads_the_one_that_is_told_has_won() {
    let starts = |_number| async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        Ok(())
    };
    let scripts = polite().before_start(starts);
    let around = Around::new(&scripts);
    let pool = around.pool(&scripts, |it| it.max_sessions(2)).await;
    let spec = |name: &str| WorkerSpec::python().env("NAME", name);
    let reload = |name: &str, after_ms: u64| {
        let (runtime, spec) = (pool.runtime.clone(), spec(name));
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(after_ms)).await;
            runtime.reload(spec).await
        })
    };
    let (slow, quick) = (reload("slow", 0), reload("quick", 40));
    let told = [("slow", slow.await.unwrap()), ("quick", quick.await.unwrap())];
    let won: Vec<_> = told.iter().filter(|(_, told)| told.is_ok()).map(|(name, _)| *name).collect();
    let lost = told.iter().filter(|(_, told)| matches!(told, Err(ReloadError::Superseded))).count();
    assert_eq!((won.len(), lost), (1, 1), "{told:?}");
    assert_eq!(around.specs.lock().unwrap().last(), Some(&spec(won[0])), "{told:?}");
    pool.close().await;
}
