//! What the tests share: a guard against hanging, and the checks at the end of each pool.

use std::{
    io::{self, Write},
    sync::mpsc,
    thread,
    time::Duration,
};

use ostler::{Outcome, PoolStatus, Runtime, RuntimeBuilder, WorkerSpec, testing::ScriptedSpawner};
use tokio::time::Instant;

/// Virtual time that no test needs. With a paused clock it passes at once when nothing else can happen.
const VIRTUAL_LIMIT: Duration = Duration::from_secs(24 * 3_600);
/// Real time that no test needs: a loop that never waits is not stopped by a clock that only moves when all wait.
const REAL_LIMIT: Duration = Duration::from_secs(120);

/// Runs a test, and ends it when it hangs: by the paused clock, or by the clock on the wall.
pub(crate) async fn guarded<T>(test: impl Future<Output = T>) -> T {
    let (done, waiting) = mpsc::sync_channel::<()>(1);
    let name = thread::current().name().unwrap_or_default().to_owned();
    thread::spawn(move || {
        if waiting.recv_timeout(REAL_LIMIT) == Err(mpsc::RecvTimeoutError::Timeout) {
            let _ = writeln!(io::stderr(), "`{name}` has not ended after {REAL_LIMIT:?} of real time");
            std::process::abort();
        }
    });
    let result = tokio::time::timeout(VIRTUAL_LIMIT, test).await;
    drop(done);
    result
        .unwrap_or_else(|_| panic!("hung: nothing happened any more, for {VIRTUAL_LIMIT:?} of virtual time"))
}

/// Waits for so many turns among the tasks that are ready. `yield_now` waits until none is, and a test's own future is
/// asked only then: neither gets between two messages.
pub(crate) async fn turns(count: usize) {
    for _ in 0..count {
        let mut woken = false;
        std::future::poll_fn(|context| {
            if std::mem::replace(&mut woken, true) {
                return std::task::Poll::Ready(());
            }
            context.waker().wake_by_ref();
            std::task::Poll::Pending
        })
        .await;
    }
}

/// A pool of scripted workers.
pub(crate) struct Pool {
    pub(crate) runtime: Runtime,
    pub(crate) workers: ScriptedSpawner,
}

/// One session, a grace of a second, a deadline of a minute, and a fixed seed.
pub(crate) fn settings(workers: &ScriptedSpawner) -> RuntimeBuilder {
    Runtime::builder(WorkerSpec::python())
        .max_sessions(1)
        .grace(Duration::from_secs(1))
        .deadline(Duration::from_secs(60))
        .seed(1)
        .spawner(workers.clone())
}

impl Pool {
    /// Starts a pool with the usual [`settings`].
    pub(crate) async fn start(workers: ScriptedSpawner) -> Self {
        Self::start_with(workers, |builder| builder).await
    }

    pub(crate) async fn start_with(
        workers: ScriptedSpawner,
        change: impl FnOnce(RuntimeBuilder) -> RuntimeBuilder,
    ) -> Self {
        let runtime = change(settings(&workers)).start().await.expect("the first worker becomes ready");
        Self { runtime, workers }
    }

    pub(crate) async fn status(&self) -> PoolStatus {
        self.runtime.status().await
    }

    /// Runs `code` and returns its outcome.
    pub(crate) async fn outcome(&self, code: &str) -> Outcome {
        self.runtime.run(code).await.expect("the pool takes requests").outcome
    }

    /// The next request works, on a worker of which this pool has had `workers` by then.
    pub(crate) async fn works_on_worker(&self, number: usize) {
        let outcome = self.outcome("worker").await;
        assert_eq!(outcome.value(), Some(&(number as u64).into()), "the request after the fault: {outcome}");
    }

    /// Waits, for up to 10 s of virtual time, until `condition` holds.
    pub(crate) async fn eventually(&self, what: &str, condition: impl Fn(&PoolStatus) -> bool) -> PoolStatus {
        self.eventually_within(Duration::from_secs(10), what, condition).await
    }

    pub(crate) async fn eventually_within(
        &self,
        limit: Duration,
        what: &str,
        condition: impl Fn(&PoolStatus) -> bool,
    ) -> PoolStatus {
        let begun = Instant::now();
        loop {
            let status = self.status().await;
            if condition(&status) {
                return status;
            }
            assert!(begun.elapsed() <= limit, "not within {limit:?}: {what}; {status:?}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The counters add up, and after the shutdown nothing is left.
    pub(crate) async fn close(self) {
        let status = self.status().await;
        adds_up(&status);
        let most = if status.max_sessions == 0 { usize::MAX } else { status.max_sessions };
        assert!(self.workers.peak() <= most, "{} workers at once", self.workers.peak());
        self.runtime.shutdown(Duration::from_secs(5)).await;
        assert_eq!(self.workers.live(), 0, "workers alive after the shutdown");
        let totals = self.status().await.totals;
        assert_eq!(totals.in_flight, 0, "{totals:?}");
    }
}

/// P16: accepted is the sum of the outcomes and what is in flight, and what is in flight is what is queued or runs.
pub(crate) fn adds_up(status: &PoolStatus) {
    let totals = &status.totals;
    let ended = totals.completed + totals.failed + totals.cancelled + totals.timed_out + totals.lost;
    assert_eq!(totals.accepted, ended + totals.in_flight, "{totals:?}");
}
